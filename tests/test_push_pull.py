"""push and pull: content gets into the store and back, and nothing unsaved is lost on the way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from building import blob_path, read_file_tree
from mlrepro import gitlog, history, listing
from mlrepro.project import Project
from working import Heard, Work, cloned, codes, made, oid_of, only, snapshot

LANES = ("", "dvc")
FILES = {"data/x.csv": "one\n", "data/set/a.txt": "a", "data/set/b/c.txt": "c", "m/w.bin": "w"}
TRACKED = ("data/set", "data/x.csv", "m/w.bin")


@pytest.fixture(params=LANES)
def work(request: pytest.FixtureRequest, tmp_path: Path) -> Work:
    """Tracked and committed: two files and a folder; once for each lane."""
    found = made(tmp_path / "repo", str(request.param))
    for name, text in FILES.items():
        found.write(name, text)
    assert found.track(*TRACKED).exit_code == 0
    found.save("data")
    return found


def lose(work: Work, content: str) -> None:
    """Have a blob be nowhere."""
    for place in (work.store, work.path(".dvc/cache")):
        blob_path(place, oid_of(content)).unlink(missing_ok=True)


def edit(work: Work, name: str, text: str, message: str = "edit") -> str:
    """Edit, track and commit."""
    work.write(name, text)
    assert work.track().exit_code == 0
    return work.save(message)


# pull


def test_a_clone_where_nothing_is_on_the_disk(work: Work, tmp_path: Path) -> None:
    clone = cloned(work, tmp_path / "clone")
    dry = clone.pull(dry_run=True)
    assert set(dry.restored) == set(TRACKED)
    assert not clone.path("data/x.csv").exists()
    assert not clone.path(".dvc/cache/files").exists()
    done = clone.pull()
    assert (set(done.restored), done.errors) == (set(TRACKED), ())
    for name, text in FILES.items():
        assert clone.read(name) == text.encode()
        assert os.access(clone.path(name), os.W_OK)
    assert clone.status == ""
    assert clone.status_of().clean
    again = clone.pull()
    assert (again.restored, set(again.unchanged)) == ((), set(TRACKED))


@pytest.mark.parametrize(
    ("typed", "cwd", "brought"),
    [
        (["data/x.csv"], ".", {"data/x.csv"}),
        pytest.param(["data/x.csv.dvc"], ".", {"data/x.csv"}, marks=pytest.mark.slow),
        (["data"], ".", {"data/x.csv", "data/set"}),
        (["."], "data", {"data/x.csv", "data/set"}),
        (["x.csv"], "data", {"data/x.csv"}),
        (["../m/w.bin"], "data", {"m/w.bin"}),
        pytest.param(["*.csv"], "data", {"data/x.csv"}, marks=pytest.mark.slow),
        (["data/*"], ".", {"data/x.csv", "data/set"}),
        pytest.param(["**/*.bin"], ".", {"m/w.bin"}, marks=pytest.mark.slow),
        (["data/set/b/c.txt"], ".", {"data/set"}),
        (["*"], ".", set(TRACKED)),
        ([], ".", set(TRACKED)),
    ],
)
def test_what_a_path_means(
    work: Work, tmp_path: Path, typed: list[str], cwd: str, brought: set[str]
) -> None:
    clone = cloned(work, tmp_path / "clone")
    assert set(clone.pull(*typed, cwd=cwd).restored) == brought


def test_a_bracket_in_a_name_is_no_glob_where_there_is_such_a_name(work: Work) -> None:
    work.write("data/a[1].csv", "1")
    work.write("data/a1.csv", "2")
    work.track("data/a[1].csv", "data/a1.csv")
    for name in ("data/a[1].csv", "data/a1.csv"):
        work.path(name).unlink()
    assert work.pull("data/a[1].csv").restored == ("data/a[1].csv",)
    assert only(work.pull("nothing*")).code == "path-not-tracked"
    assert only(work.pull("../else")).code == "path-outside"


def test_an_unsaved_edit_is_kept_and_named(work: Work) -> None:
    work.write("data/x.csv", "mine\n")
    work.write("data/set/a.txt", "mine")
    work.write("data/set/own.txt", "mine")
    work.path("m/w.bin").unlink()
    done = work.pull()
    assert done.exit_code == 1
    assert done.restored == ("m/w.bin",)  # the others are served
    assert set(done.kept) == {"data/x.csv", "data/set/a.txt", "data/set/own.txt"}
    assert set(codes(done)) == {"unsaved-change"}
    assert all("--force" in error.hint for error in done.errors)
    assert work.read("data/x.csv") == b"mine\n"
    assert work.read("data/set/a.txt") == b"mine"


def test_force_saves_first_and_says_how_to_get_it_back(work: Work) -> None:
    work.write("data/x.csv", "mine\n")
    work.write("data/set/a.txt", "my own")
    work.write("data/set/own.txt", "new here")
    heard = Heard()
    done = work.pull(force=True, reporter=heard)
    assert work.read("data/x.csv") == b"one\n"
    assert work.read("data/set/a.txt") == b"a"
    assert set(done.saved) == {
        ("data/x.csv", oid_of("mine\n")),
        ("data/set/a.txt", oid_of("my own")),
        ("data/set/own.txt", oid_of("new here")),
        ("data/set/own.txt", oid_of("new here")),
    }
    for _, oid in done.saved:
        assert blob_path(work.path(".dvc/cache"), oid).exists()
    assert done.kept == ()
    assert not work.path("data/set/own.txt").exists()  # the folder is what its pointer says
    told = [line for line in heard.notes if "data/x.csv" in line]
    assert len(told) == 1
    command = told[0].partition(": ")[2]
    subprocess.run(command, shell=True, cwd=work.root, check=True)
    assert work.read("data/x.csv") == b"mine\n"
    assert os.access(work.path("data/x.csv"), os.W_OK)


def test_force_asks_for_nothing_where_all_is_as_it_should_be(work: Work) -> None:
    before = snapshot(work.root / "data")
    done = work.pull(force=True)
    assert (done.restored, done.saved, set(done.unchanged)) == ((), (), set(TRACKED))
    assert snapshot(work.root / "data") == before


def test_going_back_and_forth(work: Work) -> None:
    first = work.head
    work.write("data/set/new/d.txt", "d")
    work.path("data/set/a.txt").unlink()
    second = edit(work, "data/x.csv", "two\n")
    for commit, text, members in (
        (first, b"one\n", {"a.txt", "b/c.txt"}),
        (second, b"two\n", {"b/c.txt", "new/d.txt"}),
        (first, b"one\n", {"a.txt", "b/c.txt"}),
    ):
        work.git("-c", "core.hooksPath=/dev/null", "checkout", "--quiet", commit)
        done = work.pull()
        assert not done.errors, [error.message for error in done.errors]
        assert work.read("data/x.csv") == text
        assert set(read_file_tree(work.path("data/set"))) == members
        assert work.status_of().clean


def test_content_that_is_nowhere(work: Work, tmp_path: Path) -> None:
    commit = edit(work, "data/x.csv", "two\n")
    clone = cloned(work, tmp_path / "clone")
    lose(work, "two\n")
    clone.write("data/x.csv", "one\n")  # the version before it
    done = clone.pull()
    assert set(done.restored) == {"data/set", "m/w.bin"}
    gap = done.missing[0]
    assert (gap.path, gap.oid, gap.commit, gap.author) == (
        "data/x.csv", oid_of("two\n"), commit, "Ada Tester"
    )  # fmt: skip
    error = only(done)
    assert error.code == "blob-missing"
    for part in ("data/x.csv", commit[:10], "Ada Tester", gap.date[:10]):
        assert part in error.message
    assert "mlrepro push" in error.hint
    assert clone.read("data/x.csv") == b"one\n"
    told = clone.mlrepro("pull", "--json").json
    assert set(told["data"]) == {"restored", "unchanged", "kept", "missing"}
    assert set(told["data"]["missing"][0]) == {"path", "oid", "commit", "author"}
    assert (told["exit_code"], told["status"]) == (1, "findings")
    dry = clone.pull(dry_run=True)
    assert (len(dry.missing), dry.exit_code) == (1, 1)


def test_a_folder_of_which_a_part_is_nowhere(work: Work, tmp_path: Path) -> None:
    clone = cloned(work, tmp_path / "clone")
    lose(work, "c")
    done = clone.pull("data/set")
    assert [(gap.path, gap.oid) for gap in done.missing] == [("data/set/b/c.txt", oid_of("c"))]
    assert clone.read("data/set/a.txt") == b"a"  # what there is, is brought
    assert clone.states()["data/set"] == "modified"
    work.push()  # from the worktree, which has it
    assert clone.pull("data/set").exit_code == 0
    assert clone.read("data/set/b/c.txt") == b"c"
    assert clone.states()["data/set"] == "unchanged"


def test_a_folder_of_which_very_much_is_nowhere(
    work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for at in range(120):
        work.write(f"many/{at}", f"many {at}\n")
    assert work.track("many").exit_code == 0
    work.save("many")
    clone = cloned(work, tmp_path / "clone")
    for at in range(120):
        lose(work, f"many {at}\n")
    asked: list[tuple[str, ...]] = []
    real = gitlog.log

    def log(project: Project, *args: str) -> Any:
        asked.append(args)
        return real(project, *args)

    monkeypatch.setattr(gitlog, "log", log)
    done = clone.pull("many")
    assert len(asked) < 5  # git is asked for the commit once, not for each file
    assert len(done.missing) == 120
    assert len(done.errors) == history.MOST_TOLD + 1
    assert "20 more files" in done.errors[-1].message
    shown = clone.mlrepro("pull", "many").stdout
    assert len(shown.splitlines()) < 10, shown


def test_a_listing_that_is_very_large(
    work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MAX_MEMBERS", 2)
    for at in range(3):
        work.write(f"many/{at}", f"many {at}\n")
    clone = cloned(work, tmp_path / "clone")
    monkeypatch.chdir(work.root)
    if not work.lane:  # who makes it trusts it
        assert work.track("many").exit_code == 0
        assert work.git("config", listing.LARGE).stdout == "true\n"
    else:
        work.git("config", listing.LARGE, "true")
        assert work.track("many").exit_code == 0
    assert work.push().exit_code == 0
    work.save("many")
    clone.git("pull", "--quiet")
    monkeypatch.chdir(clone.root)
    for error in (only(clone.pull("many")), only(clone.push()), only(clone.pull("many"))):
        assert (error.code, error.path) == ("listing-large", "many")
        assert "more than 2 files" in error.message
        assert listing.LARGE in error.hint
    assert clone.status_of().exit_code == 1
    assert clone.pull().restored != ()  # the others are brought
    clone.git("config", listing.LARGE, "yes")
    assert clone.pull("many").restored == ("many",)
    assert clone.read("many/2") == b"many 2\n"


def test_a_folder_whose_listing_is_nowhere(work: Work, tmp_path: Path) -> None:
    clone = cloned(work, tmp_path / "clone")
    blob = blob_path(work.store, work.oid("data/set.dvc"))
    aside = blob.rename(tmp_path / "aside")
    done = clone.pull()
    assert [gap.path for gap in done.missing] == ["data/set"]
    assert set(done.restored) == {"data/x.csv", "m/w.bin"}
    aside.rename(blob)
    assert clone.pull().restored == ("data/set",)


def test_a_damaged_blob_never_reaches_the_workspace(work: Work, tmp_path: Path) -> None:
    clone = cloned(work, tmp_path / "clone")
    blob = blob_path(work.store, oid_of("one\n"))
    blob.chmod(0o644)
    blob.write_bytes(b"bad\n")  # of the right size
    blob.chmod(0o444)
    clone.write("data/x.csv", "before\n")
    done = clone.pull("data/x.csv", force=True)
    assert done.exit_code == 1
    assert clone.read("data/x.csv") == b"before\n"
    assert "data/x.csv" in {gap.path for gap in done.missing} | {e.path for e in done.errors}
    assert (
        not clone.path(".dvc/cache/files").exists()
        or not blob_path(clone.path(".dvc/cache"), oid_of("one\n")).exists()
    )


@pytest.mark.parametrize("moment", [1, 2, 4])
def test_a_pull_that_was_killed_is_resumed(tmp_path: Path, moment: int) -> None:
    work = made(tmp_path / "repo")
    for number in range(6):
        work.write(f"data/{number}.txt", f"{number}\n")
    work.track("data/*.txt")
    work.save("data")
    clone = cloned(work, tmp_path / "clone")
    clone.write("data/0.txt", "0\n")
    script = (
        "import os, sys\n"
        "from mlrepro import project, settling\n"
        "from mlrepro.commands import pull\n"
        "from mlrepro.result import Options\n"
        f"left, whole = [{moment}], settling.place_new\n"
        "def place(*args, **given):\n"
        "    left[0] -= 1\n"
        "    if not left[0]: os._exit(9)\n"
        "    return whole(*args, **given)\n"
        "settling.place_new = place\n"
        "pull.run(project.find(sys.argv[1], os.environ), [], False, Options(jobs=1))\n"
    )
    argv = [sys.executable, "-c", script, str(clone.root)]
    assert subprocess.run(argv, check=False).returncode == 9
    here = [name for name in os.listdir(clone.path("data")) if name.endswith(".txt")]
    assert len(here) < 6
    done = clone.pull()
    assert done.exit_code == 0
    assert [clone.read(f"data/{number}.txt") for number in range(6)] == [
        f"{number}\n".encode() for number in range(6)
    ]
    assert clone.status == ""
    assert clone.status_of().clean


def test_a_kind_that_changed_is_refused(work: Work) -> None:
    work.path("data/x.csv").unlink()
    work.write("data/x.csv/inside", "mine")
    done = work.pull(force=True)
    assert only(done).code == "kind-changed"
    assert work.read("data/x.csv/inside") == b"mine"
    shutil.rmtree(work.path("data/set"))
    work.write("data/set", "mine")
    assert codes(work.pull()) == ["kind-changed", "kind-changed"]
    assert work.read("data/set") == b"mine"


# push


def test_push_stores_what_the_cache_alone_has(work: Work) -> None:
    shutil.rmtree(work.store / "files")
    dry = work.push(dry_run=True)
    assert dry.stored.count == 5
    assert not (work.store / "files").exists()
    done = work.push()
    assert (done.stored.count, done.missing, done.errors) == (5, (), ())
    assert done.stored.bytes == dry.stored.bytes > 7
    assert work.push().stored.count == 0
    assert work.status_of().clean


def test_push_takes_from_the_worktree_what_the_cache_lacks(work: Work) -> None:
    shutil.rmtree(work.store / "files")
    work.forget()
    work.write("m/w.bin", "edited since")
    done = work.push()
    assert [gap.path for gap in done.missing] == ["m/w.bin"]
    assert done.exit_code == 1
    assert blob_path(work.store, oid_of("one\n")).exists()
    assert blob_path(work.store, oid_of("c")).exists()
    assert work.read("m/w.bin") == b"edited since"


def test_push_of_commits_and_of_all(work: Work) -> None:
    first = work.head
    second = edit(work, "data/x.csv", "two\n")
    work.git("checkout", "--quiet", "-b", "side", first)
    edit(work, "data/x.csv", "side\n")
    work.git("checkout", "--quiet", "main")
    work.pull()

    def stored(text: str) -> bool:
        return blob_path(work.store, oid_of(text)).exists()

    shutil.rmtree(work.store / "files")
    work.push(first)
    assert (stored("one\n"), stored("two\n"), stored("side\n")) == (True, False, False)
    work.push("side", "HEAD")
    assert (stored("two\n"), stored("side\n")) == (True, True)
    shutil.rmtree(work.store / "files")
    assert work.push(all_commits=True).errors == ()
    assert all(map(stored, ("one\n", "two\n", "side\n", "a", "c", "w")))
    lose(work, "one\n")
    done = work.push(all_commits=True)
    assert [(gap.path, gap.oid, gap.commit) for gap in done.missing] == [
        ("data/x.csv", oid_of("one\n"), first)
    ]
    told = work.mlrepro("push", second, "--json").json
    assert set(told["data"]) == {"stored", "missing"}
    told = work.mlrepro("push", "--all", "--json").json
    assert set(told["data"]["missing"][0]) == {"path", "oid", "commit"}
    unknown = work.mlrepro("push", "no-such-commit", "--json")
    assert (unknown.exit_code, unknown.json["errors"][0]["code"]) == (1, "unknown-revision")


def test_push_of_nothing(tmp_path: Path) -> None:
    work = Work.make(tmp_path / "repo")
    work.init()
    for done in (work.push(), work.push(all_commits=True)):
        assert (done.stored.count, done.missing, done.errors) == (0, (), ())


def test_a_damaged_blob_of_the_cache_is_not_pushed(work: Work) -> None:
    shutil.rmtree(work.store / "files")
    blob = blob_path(work.path(".dvc/cache"), oid_of("one\n"))
    blob.chmod(0o644)
    blob.write_bytes(b"bad\n")
    blob.chmod(0o444)
    data = work.path("data/x.csv").rename(work.path("aside"))
    done = work.push()
    assert done.exit_code == 1
    assert not blob_path(work.store, oid_of("one\n")).exists()
    assert blob_path(work.store, oid_of("w")).exists()
    data.rename(work.path("data/x.csv"))
    # The data itself is as it was.
    assert (work.track() if work.lane else work.push()).exit_code == 0
    assert blob_path(work.store, oid_of("one\n")).read_bytes() == b"one\n"
