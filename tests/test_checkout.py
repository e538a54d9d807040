"""checkout: the whole snapshot of a commit, here and in a worktree beside."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

import building
import past
import working
from building import blob_path, read_file_tree
from mlrepro import render, returning
from mlrepro.errors import MlreproError
from mlrepro.result import Options
from past import FIRST, FOURTH, ONE, SECOND, THREE, TWO, Past, told

CONTENT = {"one": FIRST, "two": SECOND, "three": SECOND, "four": FOURTH}
# What a command may note in passing, for this clone alone.
OUR_NOTES = {".git/mlrepro/index", ".git/mlrepro/place", ".dvc/config.local"}


@pytest.fixture
def work(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Past:
    return past.copy(tmp_path / "repo", tmp_path_factory.getbasetemp())


def refused(work: Past, *args: Any, **given: Any) -> MlreproError:
    with pytest.raises(MlreproError) as caught:
        work.checkout(*args, **given)
    assert "\n" not in caught.value.message and caught.value.hint
    return caught.value


def head(work: Past) -> str:
    return work.git("rev-parse", "--abbrev-ref", "HEAD").stdout.strip()


@pytest.mark.parametrize("hooks", ["with", "without"])
def test_every_commit_comes_back(work: Past, hooks: str) -> None:
    if hooks == "without":
        shutil.rmtree(work.root / ".git" / "hooks")
    for rev in ("one", "four", "three", "two", "one", "main"):
        result = work.checkout(rev)
        assert result.exit_code == 0, told(result)
        assert result.commit == work.head == work.git("rev-parse", rev).stdout.strip()
        assert work.has(CONTENT["four" if rev == "main" else rev])
        assert work.status == ""
        assert work.status_of().clean
        assert work.read("train.py") == {"one": b"lr = 1\n", "two": b"lr = 2\n"}.get(
            rev, b"lr = 3\n"
        )
        assert head(work) == ("main" if rev == "main" else "HEAD")
    assert work.dvc("status").stdout.strip() == "Data and pipelines are up to date."


def test_what_is_said(work: Past) -> None:
    done = work.mlrepro("checkout", "one")
    assert done.exit_code == 0, done.stderr
    commit = work.head[:10]
    assert done.stdout.splitlines() == [
        "restored  data/x.csv",
        "restored  models",
        "removed   data/y.csv",
        f"commit {commit}: 2 data paths brought",
        "  hint: back to where you were: mlrepro checkout main",
    ]
    done = work.mlrepro("--json", "checkout", "main", cwd="data")
    assert done.json["data"] == {
        "commit": work.head,
        "restored": ["x.csv", "y.csv", "../models"],
        "missing": [],
    }
    done = work.mlrepro("checkout", "two", "--dry-run")
    assert done.stdout.splitlines()[0].startswith("would check out commit ")
    assert work.has(FOURTH) and head(work) == "main"


def test_revisions_of_any_kind(work: Past) -> None:
    work.git("branch", "side", "two")
    for rev, now in (
        ("side", "side"),
        ("@{-1}", "main"),
        ("heads/side", "side"),
        ("HEAD~1", "HEAD"),
    ):
        assert work.checkout(rev).exit_code == 0
        assert head(work) == now, rev
    assert work.has(FIRST)
    assert work.checkout("main").left == ""
    assert work.checkout("one").left == "main"
    assert refused(work, "nonsense").code == "unknown-revision"
    assert refused(work, "--help").code == "unknown-revision"


@pytest.mark.parametrize(
    ("name", "rev"),
    [
        ("data/x.csv", "one"),
        ("models/b.bin", "one"),
        ("models/new.bin", "one"),
        ("data/y.csv", "one"),
    ],
)
def test_an_unsaved_change_stops_it_before_anything_is_done(
    work: Past, name: str, rev: str
) -> None:
    work.write(name, "edited\n")
    before = working.snapshot(work.root)
    result = work.checkout(rev)
    assert told(result) == [("unsaved-change", name)]
    assert "--force" in result.errors[0].hint
    after = working.snapshot(work.root)
    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    assert changed <= OUR_NOTES | {".git/index"}
    # An edit of what both commits have alike goes along, as one of code does.
    work.checkout("main")
    work.write("data/x.csv", THREE)


def test_an_edit_of_what_does_not_change_goes_along(work: Past) -> None:
    work.checkout("two")
    work.write("data/x.csv", "edited\n")
    result = work.checkout("three")
    assert result.exit_code == 0, told(result)
    assert work.read("data/x.csv") == b"edited\n"
    assert work.states()["data/x.csv"] == "modified"


def test_force_saves_first(work: Past) -> None:
    work.write("data/x.csv", "edited x\n")
    work.write("data/y.csv", "edited y\n")
    work.write("models/new.bin", "new")
    heard = working.Heard()
    result = work.checkout("one", force=True, reporter=heard)
    assert result.exit_code == 0, told(result)
    assert work.has(FIRST)
    assert work.status == ""
    assert {path for path, _ in result.saved} == {"data/x.csv", "data/y.csv", "models/new.bin"}
    assert len(heard.notes) == 3
    for note in heard.notes:
        path, command = note.partition(" as it was")[0], note.partition("to get it back: ")[2]
        if path.startswith("models/"):
            continue
        assert os.system(f"cd {work.root} && {command}") == 0
        assert work.read(path) == f"edited {path[5]}\n".encode()


@pytest.mark.parametrize("force", [False, True])
def test_data_that_was_tracked_just_now_goes_along(work: Past, force: bool) -> None:
    """As git takes a file along that was added, and that neither commit has."""
    work.write("other/n.csv", "new\n")
    assert work.track("other/n.csv").errors == ()
    result = work.checkout("one", force=force)
    assert result.errors == () and result.removed == ("data/y.csv",)
    assert work.read("other/n.csv") == b"new\n"
    assert work.git("diff", "--cached", "--name-only").stdout.split() == [
        "other/.gitignore", "other/n.csv.dvc",
    ]  # fmt: skip
    assert work.checkout("main", force=force).errors == ()
    assert work.read("other/n.csv") == b"new\n" and work.has(FOURTH)


def test_a_move_that_is_not_committed_goes_along(work: Past) -> None:
    """No data comes under the old name, where no pointer names it and git does not ignore it."""
    work.mv("models", "nets")
    assert work.checkout("two").errors == ()
    assert work.read("data/x.csv").decode() == TWO
    assert work.read("nets/a.bin") == b"a1" and not work.path("models").exists()
    assert "?? " not in work.git("status", "--porcelain").stdout


def test_edited_code_is_git_s_to_keep(work: Past) -> None:
    work.write("train.py", "mine\n")
    before = working.snapshot(work.root)
    error = refused(work, "one")
    assert (error.code, error.path) == ("checkout-refused", "train.py")
    assert "train.py has changes that are not committed" in error.message
    after = working.snapshot(work.root)
    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    assert changed <= OUR_NOTES | {".git/index"}
    assert work.has(FOURTH)
    error = refused(work, "one", force=True)
    assert error.code == "checkout-refused" and work.read("train.py") == b"mine\n"
    work.git("checkout", "--quiet", "train.py")
    work.write("data/x.csv", "tracked, not committed\n")
    work.track("data/x.csv")
    assert told(work.checkout("one")) == [("unsaved-change", "data/x.csv")]
    assert work.read("data/x.csv") == b"tracked, not committed\n"


def test_an_untracked_file_in_the_way(work: Past) -> None:
    work.checkout("one")
    work.write("data/y.csv", "mine, and never saved\n")
    result = work.checkout("four")
    assert told(result) == [("unsaved-change", "data/y.csv")]
    assert work.read("data/y.csv") == b"mine, and never saved\n"
    work.path("data/y.csv").unlink()
    work.git("rm", "--quiet", "train.py")
    work.save("no training")
    work.write("train.py", "mine\n")
    work.write(".git/info/exclude", "/train.py\n")  # git itself would overwrite it silently
    for rev in ("one", "four"):
        assert refused(work, rev).code == "checkout-refused"
        assert work.read("train.py") == b"mine\n" and work.has(FIRST)


def test_a_branch_that_another_worktree_has(work: Past, tmp_path: Path) -> None:
    """Refused before anything is done: what was taken away by hand stays away, too."""
    work.git("worktree", "add", "--quiet", "-b", "elsewhere/long-name", str(tmp_path / "w"), "one")
    work.path("data/x.csv").unlink()
    before = working.snapshot(work.root)
    for force in (False, True):
        error = refused(work, "elsewhere/long-name", force=force)
        assert error.code == "checkout-refused" and "elsewhere/long-name" in error.message
        assert str(tmp_path / "w") in error.message
        after = working.snapshot(work.root)
        changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
        assert changed <= OUR_NOTES | {".git/index"}
    assert head(work) == "main"


def test_what_git_refuses_at_the_end_leaves_all_as_it_was(work: Past, tmp_path: Path) -> None:
    """The data that had been taken away for it comes back, and nothing else does."""
    other = tmp_path / "w"
    work.git("worktree", "add", "--quiet", "-b", "searched", str(other), "one")
    building.git(other, "bisect", "start")
    building.git(other, "checkout", "--quiet", "--detach")  # git keeps the branch for it
    work.path("data/x.csv").unlink()
    error = refused(work, "searched")
    assert error.code == "checkout-refused" and "git did not check out searched:" in error.message
    assert work.has({name: text for name, text in FOURTH.items() if name != "data/x.csv"})
    assert head(work) == "main"
    building.git(other, "bisect", "reset", "HEAD")
    assert work.checkout("searched").exit_code == 0 and work.has(FIRST)


def test_an_edit_while_data_is_taken_away(work: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is seen at the last moment; what was taken away by then comes back."""
    for name in ("a", "b"):
        work.write(f"data/z/{name}", name)
    work.track("data/z")
    work.save("z")
    leave = returning.leave

    def late(*args: Any, **given: Any) -> Any:
        if not args[-1].dry_run:
            work.write("data/z/a", "mine")
        return leave(*args, **given)

    monkeypatch.setattr(returning, "leave", late)
    result = work.checkout("one")
    assert {code for code, _ in told(result)} == {"unsaved-change"}
    assert work.has({**FOURTH, "data/z/a": "mine", "data/z/b": "b"}) and head(work) == "main"
    assert (result.removed, result.restored) == ((), ())


def test_data_that_was_in_git_then(work: Past) -> None:
    """Git overwrites what it ignores: an edited file must not be lost to that."""
    work.git("rm", "--quiet", "data/y.csv.dvc")
    work.git("add", "--force", "data/y.csv")
    work.save("y in git")
    work.git("tag", "in-git")
    work.checkout("four")
    work.write("data/y.csv", "edited\n")
    assert told(work.checkout("in-git")) == [("unsaved-change", "data/y.csv")]
    assert work.read("data/y.csv") == b"edited\n"
    work.write("data/y.csv", "new\n")
    assert work.checkout("in-git").exit_code == 0
    assert work.status == "" and work.read("data/y.csv") == b"new\n"
    assert work.checkout("four").exit_code == 0
    assert work.status == "" and work.has(FOURTH)


def test_a_folder_that_was_tracked_file_by_file(work: Past) -> None:
    work.untrack("models")
    work.git("add", "--all", ".")
    work.git("reset", "--quiet", "--", "models")
    assert not work.track("models/a.bin", "models/b.bin", "models/d.bin").errors
    work.git("add", "--all")
    work.save("each")
    work.git("tag", "each")
    assert work.status == ""
    for rev, tree in (("one", FIRST), ("each", FOURTH), ("two", SECOND), ("each", FOURTH)):
        result = work.checkout(rev)
        assert result.exit_code == 0, told(result)
        assert work.has(tree) and work.status == "", rev


def test_a_file_that_was_a_folder(work: Past) -> None:
    shutil.rmtree(work.path("models"))
    work.write("models", "one file\n")
    assert not work.track("models").errors
    work.git("add", "--all")
    work.save("a file")
    work.git("tag", "file")
    for rev in ("one", "file", "four", "file"):
        result = work.checkout(rev)
        assert result.exit_code == 0, told(result)
        assert work.status == ""
        if rev == "file":
            assert work.read("models") == b"one file\n"
        else:
            assert work.has(CONTENT[rev])


def test_commits_before_there_was_any_data(work: Past, tmp_path: Path) -> None:
    work.git("checkout", "--quiet", "--orphan", "empty")
    work.git("rm", "--quiet", "-r", "--cached", ".")
    work.write("code.py", "first\n")
    work.git("add", "code.py")
    work.git("commit", "--quiet", "--no-verify", "--message", "only code")
    work.git("checkout", "--quiet", "--force", "main")
    result = work.checkout("empty")
    assert (result.exit_code, set(result.removed)) == (0, {"data/x.csv", "data/y.csv", "models"})
    assert work.found() == {}
    result = work.checkout("main")
    assert result.exit_code == 0 and work.has(FOURTH) and work.status == ""
    clone = Past(working.cloned(work, tmp_path / "clone", "--branch", "empty").root)
    assert refused(clone, "empty").code == "not-initialised"
    assert clone.checkout("origin/main").exit_code == 0
    assert clone.has(FOURTH)


def test_missing_blobs_are_named_and_the_rest_is_brought(work: Past) -> None:
    oid = work.lose(ONE, cache=True)
    result = work.checkout("one")
    assert told(result) == [("blob-missing", "data/x.csv")]
    assert [gap.oid for gap in result.missing] == [oid]
    assert work.head == work.git("rev-parse", "one").stdout.strip()
    assert {n for n in work.found() if n[0] == "m"} == {n for n in FIRST if n[0] == "m"}
    assert work.checkout("main").exit_code == 0
    assert work.has(FOURTH)


@pytest.mark.parametrize("times", [2, pytest.param(25, marks=pytest.mark.slow)])
def test_back_and_forth_leaves_no_trace(work: Past, times: int) -> None:
    def sizes() -> dict[str, int]:
        return {
            name: len(content)
            for name, (_, content) in working.snapshot(work.root).items()
            if ".git/logs" not in name and name != "<index>"
        }

    for rev in ("one", "main"):
        work.checkout(rev)
    before = sizes()
    for _ in range(times):
        for rev in ("one", "two", "three", "four", "main"):
            assert work.checkout(rev).exit_code == 0
    assert work.status == "" and work.has(FOURTH)
    assert sizes() == before
    leftovers = [p for p in work.root.rglob("*") if p.name.startswith((".mlrepro-", "old-"))]
    assert leftovers == [] and list((work.root / ".dvc/tmp/mlrepro").iterdir()) == []


def test_beside(work: Past, tmp_path: Path) -> None:
    work.write("data/x.csv", "edited here\n")
    before = work.found()
    for rev in ("one", "three"):
        result = work.checkout(rev, into=f"../../{rev}", cwd="data")
        assert result.exit_code == 0, told(result)
        there = Past(tmp_path / rev)
        assert result.into == str(there.root)
        assert there.has(CONTENT[rev]) and there.status == ""
        assert there.status_of().clean and there.status_of().restorable
        assert there.read("train.py") == {"one": b"lr = 1\n", "three": b"lr = 3\n"}[rev]
        # Ready to run: the data can be changed, tracked and committed like any other.
        for name in there.found():
            there.write(name, there.read(name))
        assert there.dvc("status").stdout.strip() == "Data and pipelines are up to date."
    assert work.found() == before and work.status == ""
    there.write("data/x.csv", "a new experiment\n")
    there.git("commit", "--quiet", "--allow-empty", "--message", "experiment")
    assert there.status_of().restorable and there.verify(all_commits=True).exit_code == 0
    assert work.found() == before
    lines = render.render("checkout", result, str, Options())
    assert lines[-1].startswith(f"  hint: cd {there.root}; when done with it: git worktree remove")


def test_beside_without_the_store(work: Past, tmp_path: Path) -> None:
    work.store.rename(tmp_path / "away")
    result = work.checkout("one", into="../one")
    assert Past(tmp_path / "one").has(FIRST)
    assert result.exit_code == 0, told(result)


def test_beside_as_links(work: Past, tmp_path: Path) -> None:
    result = work.checkout("one", into="../one", link=True)
    there = Past(tmp_path / "one")
    assert result.exit_code == 0 and set(result.restored) == {"data/x.csv", "models"}
    assert there.has(FIRST) and there.status_of().clean
    for name, text in FIRST.items():
        about = there.path(name).stat()
        assert about.st_ino == blob_path(there.cache, working.oid_of(text)).stat().st_ino
        assert stat.S_IMODE(about.st_mode) == 0o444
    plain = work.checkout("one", into="../plain")
    assert plain.exit_code == 0
    path = tmp_path / "plain" / "data" / "x.csv"
    assert path.stat().st_nlink == 1 and path.stat().st_mode & stat.S_IWUSR


def test_beside_where_it_cannot_be(work: Past, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("mine")
    assert refused(work, "one", into="../taken").code == "into-exists"
    assert refused(work, "one", into="README.md").code == "into-exists"
    assert refused(work, "one", into="models/inside").code == "path-inside-tracked"
    assert refused(work, "nonsense", into="../new").code == "unknown-revision"
    assert not (tmp_path / "new").exists()
    (tmp_path / "free").mkdir()
    assert work.checkout("one", into="../free").exit_code == 0
    shutil.rmtree(tmp_path / "free")
    assert refused(work, "one", into="../free").code == "into-registered"
    assert (tmp_path / "taken" / "file").read_text() == "mine"
    assert work.checkout("one", into="within").exit_code == 0
    assert work.status == "" and Past(work.root / "within").has(FIRST)
    result = work.checkout("one", into="../dry", dry_run=True)
    assert set(result.restored) == {"data/x.csv", "models"} and not (tmp_path / "dry").exists()


def test_beside_with_gaps(work: Past, tmp_path: Path) -> None:
    work.lose(ONE, cache=True)
    result = work.checkout("one", into="../one")
    assert told(result) == [("blob-missing", "data/x.csv")]
    there = Past(tmp_path / "one")
    assert set(there.found()) == {n for n in FIRST if n[0] == "m"}
    assert read_file_tree(there.root)["train.py"] == b"lr = 1\n"
