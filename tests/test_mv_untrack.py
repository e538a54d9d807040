"""mv and untrack: pointer, ignore line and content together."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

import past
import working
from building import read_file_tree
from mlrepro import durable, engine, render, writing
from mlrepro.commands import mv
from mlrepro.errors import MlreproError
from mlrepro.result import Options
from past import FOURTH, ONE, THREE, Past, told


@pytest.fixture
def work(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Past:
    return past.copy(tmp_path / "repo", tmp_path_factory.getbasetemp())


def refused(work: Past, old: str, new: str) -> MlreproError:
    before = read_file_tree(work.root)
    with pytest.raises(MlreproError) as caught:
        work.mv(old, new)
    assert caught.value.hint and "\n" not in caught.value.message
    assert read_file_tree(work.root) == before and work.status == ""
    return caught.value


def staged(work: Past) -> set[str]:
    return set(work.git("diff", "--cached", "--name-only", "--no-renames").stdout.split())


def is_whole(work: Past) -> bool:
    return work.status_of().restorable and all(s == "unchanged" for s in work.states().values())


def test_a_file_moves_with_all_that_belongs_to_it(work: Past) -> None:
    result = work.mv("data/x.csv", "raw/deep/first.csv")
    assert (result.old, result.new) == ("data/x.csv", "raw/deep/first.csv")
    assert work.read("raw/deep/first.csv").decode() == THREE
    assert not work.path("data/x.csv").exists() and not work.path("data/x.csv.dvc").exists()
    assert work.read("data/.gitignore") == b"/y.csv\n"
    assert work.read("raw/deep/.gitignore") == b"/first.csv\n"
    assert staged(work) == {
        "data/.gitignore", "data/x.csv.dvc", "raw/deep/.gitignore", "raw/deep/first.csv.dvc",
    }  # fmt: skip
    assert work.raw == [] and is_whole(work)
    work.git("commit", "--quiet", "--message", "moved")
    assert work.status == "" and work.verify(deep=True).exit_code == 0
    assert work.dvc("status").stdout.strip() == "Data and pipelines are up to date."
    lines = render.render("mv", result, str, Options())
    assert lines == ["moved data/x.csv -> raw/deep/first.csv", "  hint: git commit"]
    assert work.checkout("one").exit_code == 0
    assert work.read("data/x.csv").decode() == ONE and not work.path("raw").exists()


def test_moving_reads_nothing_again(work: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    time.sleep(0.05)  # files as new as this would be read again in any case
    work.status_of()
    work.mv("data/x.csv", "data/z.csv")
    work.mv("models", "nets")
    read: list[str] = []
    hash_files = engine.hash_files
    monkeypatch.setattr(
        engine, "hash_files", lambda paths, **how: read.extend(paths) or hash_files(paths, **how)
    )
    assert is_whole(work)
    assert read == []
    work.write("data/z.csv", THREE.replace("three", "THREE"))
    assert work.states()["data/z.csv"] == "modified"


def test_an_edit_that_put_its_date_back_is_not_hidden_by_a_move(work: Past) -> None:
    work.put(FOURTH)
    time.sleep(0.05)
    work.status_of()
    path = work.path("data/x.csv")
    before = path.stat()
    path.write_text(THREE.replace("three", "THREE"))  # of the same size, and in place
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    work.mv("data/x.csv", "data/z.csv")
    assert work.states()["data/z.csv"] == "modified"
    work.git("commit", "--quiet", "--message", "moved")
    assert work.oid("data/z.csv.dvc") == working.oid_of(THREE.replace("three", "THREE"))


def test_folders_and_ways_to_name_them(work: Past) -> None:
    work.mv("models.dvc", "nets.dvc")
    nets = {name[7:]: text.encode() for name, text in FOURTH.items() if name[0] == "m"}
    assert read_file_tree(work.root / "nets") == nets
    assert work.read(".gitignore").decode().splitlines().count("/nets") == 1
    assert "/models" not in work.read(".gitignore").decode().splitlines()
    work.mv("../nets", ".", cwd="data")  # into the folder where one stands
    work.mv("data/nets", "later/")  # into one that is yet to be made
    assert work.path("later/nets/a.bin").read_text() == "a1" and is_whole(work)
    work.mv("later/nets", "models")
    assert work.path("models/a.bin").exists() and is_whole(work)
    assert work.status == ""  # all as it was


def test_edited_and_absent_data_move_as_well(work: Past) -> None:
    work.write("data/x.csv", "edited\n")
    work.path("data/y.csv").unlink()
    work.mv("data/x.csv", "a.csv")
    work.mv("data/y.csv", "b.csv")
    assert work.read("a.csv") == b"edited\n"
    assert {k: v for k, v in work.states().items() if k in ("a.csv", "b.csv")} == {
        "a.csv": "modified", "b.csv": "missing",
    }  # fmt: skip
    assert work.pull("b.csv").restored == ("b.csv",)


def test_what_cannot_be_moved(work: Past, tmp_path: Path) -> None:
    work.write("notes.txt", "mine")
    work.write(".git/info/exclude", "/notes.txt\n/link\n")
    os.symlink(tmp_path, work.path("link"))
    cases = [
        ("nothing", "x", "path-not-tracked"),
        ("models/a.bin", "x", "path-not-tracked"),
        ("train.py", "x", "path-not-tracked"),
        ("data/x.csv", "notes.txt", "path-taken"),
        ("data/x.csv", "notes.txt/x", "path-taken"),
        ("data/x.csv", "data/y.csv", "path-taken"),
        ("data/x.csv", "data/x.csv", "path-taken"),
        ("data/x.csv", "models", "path-inside-tracked"),
        ("data/x.csv", "models/new/x.csv", "path-inside-tracked"),
        ("models", "models/sub", "path-taken"),
        ("data/x.csv", "../outside.csv", "path-outside"),
        ("data/x.csv", "link/x.csv", "path-symlink"),
        ("data/x.csv", "x.dvc", "path-reserved"),
        ("data/x.csv", ".dvc/x", "path-reserved"),
    ]
    for old, new, code in cases:
        assert refused(work, old, new).code == code, (old, new)
    assert work.mv("data/x.csv", "free.csv", dry_run=True).new == "free.csv"
    assert work.status == "" and not work.path("free.csv").exists()


@pytest.mark.parametrize("step", range(5))
def test_a_move_that_was_cut_short_is_completed(
    work: Past, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Killed after each of its steps in turn; the same command again ends as if nothing was."""
    steps = [
        (writing, "write_atomic"), (mv.ignore, "write"), (durable, "move"), (mv.gitadd, "stage"),
        (mv.git, "run"),
    ]  # fmt: skip
    module, name = steps[step]
    real = getattr(module, name)

    def last(*args: object, **given: object) -> object:
        if name == "run" and "--force-remove" not in args:
            return real(*args, **given)
        real(*args, **given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, name, last)
        with pytest.raises(KeyboardInterrupt):
            work.mv("data/x.csv", "data/z.csv")
    assert [n for n in ("data/x.csv", "data/z.csv") if work.path(n).exists()] != []
    work.mv("data/x.csv", "data/z.csv")
    assert work.read("data/z.csv").decode() == THREE and not work.path("data/x.csv").exists()
    assert staged(work) == {"data/.gitignore", "data/x.csv.dvc", "data/z.csv.dvc"}
    assert work.raw == [] and is_whole(work)


def test_untracked_data_stays(work: Past) -> None:
    result = work.untrack("data/x.csv", "models.dvc")
    assert result.untracked == ("data/x.csv", "models")
    assert work.has(FOURTH)
    assert staged(work) == {"data/.gitignore", "data/x.csv.dvc", "models.dvc", ".gitignore"}
    assert work.read("data/.gitignore") == b"/y.csv\n"
    assert set(work.raw) == {"data/x.csv"} | {n for n in FOURTH if n[0] == "m"}
    assert work.states() == {"data/y.csv": "unchanged"}
    assert result.notes == (
        "data/x.csv and 1 more is no longer ignored: git add takes it into git now",
    )
    work.save("fewer")
    assert work.verify(all_commits=True).exit_code == 0
    assert work.blob(THREE).exists()
    # An ignore file of ours that is empty goes as well; what is tracked again is as before.
    work.untrack("data/y.csv")
    assert not work.path("data/.gitignore").exists()
    work.track("data/x.csv", "data/y.csv", "models")
    assert work.git("diff", "--stat", "four").stdout == ""


def test_untrack_says_what_is_not_here(work: Past) -> None:
    work.path("data/x.csv").unlink()
    done = work.mlrepro("untrack", "x.csv", cwd="data")
    assert done.exit_code == 0
    assert (
        "note: data/x.csv is not here: only commits that track it can bring it back" in done.stdout
    )
    assert done.stdout.splitlines()[-2:] == ["1 path untracked", "  hint: git commit"]


def test_what_cannot_be_untracked(work: Past) -> None:
    out = f"- md5: {working.oid_of(ONE)}\n  size: {len(ONE)}\n  hash: md5\n  path: "
    work.write("both.dvc", f"outs:\n{out}p.csv\n{out}q.csv\n")
    result = work.untrack("models/a.bin", "nothing", "train.py", "p.csv", "data/y.csv")
    assert told(result) == [
        ("path-inside-tracked", "models/a.bin"),
        ("path-not-tracked", "nothing"),
        ("path-not-tracked", "train.py"),
        ("pointer-not-plain", "p.csv"),
    ]
    assert result.untracked == ("data/y.csv",)
    assert work.path("models.dvc").exists() and work.path("both.dvc").exists()
    assert work.untrack("p.csv", "q.csv").untracked == ("p.csv", "q.csv")
    assert not work.path("both.dvc").exists()
    before = working.snapshot(work.root)
    assert work.untrack("models", dry_run=True).untracked == ("models",)
    assert working.snapshot(work.root) == before


@pytest.mark.parametrize("name", ["x\u2028y.csv", "x\u0085y.csv", "x\x0cy.csv"])
def test_the_rule_of_a_name_with_what_only_python_takes_for_a_line_end(
    work: Past, name: str
) -> None:
    work.write(f"data/{name}", "odd\n")
    work.track(f"data/{name}")
    assert f"/{name}\n".encode() in work.read("data/.gitignore")
    before = work.read("data/.gitignore").replace(f"/{name}\n".encode(), b"")
    assert work.untrack(f"data/{name}").errors == ()
    assert work.read("data/.gitignore") == before
