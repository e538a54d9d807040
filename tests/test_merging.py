"""Folders merged by their members, and ``resolve``, where no hook and no driver is at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

import working
from building import blob_path, read_file_tree
from mlrepro.commands import resolve
from mlrepro.merging import three_way
from working import Work, codes

A, B, C = ("a" * 32, "b" * 32, "c" * 32)


@pytest.mark.parametrize(
    ("ours", "theirs", "conflicts"),
    [
        ({"a": A}, {"a/b": B}, ["a"]),
        ({"a": A}, {"a/b/c": B}, ["a"]),
        ({"x/a/b/c/d": A}, {"x/a": B, "x/ab": C}, ["x/a"]),
        ({"a": A}, {"ab/c": B}, []),
    ],
)
def test_a_file_here_and_a_folder_there(
    ours: dict[str, str], theirs: dict[str, str], conflicts: list[str]
) -> None:
    assert three_way({}, ours, theirs)[1] == conflicts
    assert three_way({}, theirs, ours)[1] == conflicts


def _merged(root: Path, base: dict[str, str], ours: dict[str, str], theirs: dict[str, str]) -> Work:
    """A merge that stopped at the pointers of two folders, in a clone without merge driver."""
    work = working.made(root, hooks="none")
    for side, files in (("main", base), ("theirs", theirs), ("ours", ours)):
        if side != "main":
            work.git("checkout", "--quiet", "-B", side, "main")
            work.pull(force=True)
        for name, text in files.items():
            work.write(name, text)
        assert work.track("d", "e").exit_code == 0
        work.save(side)
    work.git("config", "--remove-section", "merge.mlrepro-pointer", check=False)
    assert work.git("merge", "theirs", check=False).returncode == 1
    return work


def _resolved(work: Work, side: str, *paths: str, **given: bool) -> resolve.ResolveResult:
    return resolve.run(work.project(), side, paths, work.options(**given))


BASE = {"d/x": "base", "e/x": "base"}
OURS = {"d/o": "ours", "e/x": "ours"}
THEIRS = {"d/t": "theirs", "e/x": "theirs"}


def test_what_is_left_to_decide_is_named_with_what_was_typed(tmp_path: Path) -> None:
    work = _merged(tmp_path / "repo", BASE, OURS, THEIRS)
    done = _resolved(work, "union", "e", "d")
    assert (done.resolved, done.conflicts) == (("d.dvc",), ("e/x",))
    assert codes(done) == ["both-changed"]
    assert "resolve --ours e or --theirs e" in done.errors[0].hint
    assert work.read("d/t") == b"theirs" and work.read("d/o") == b"ours"


def test_a_dry_run_of_a_union_writes_nothing(tmp_path: Path) -> None:
    work = _merged(tmp_path / "repo", BASE, OURS, THEIRS)
    before = read_file_tree(work.root)
    assert _resolved(work, "union", "d", dry_run=True).resolved == ("d.dvc",)
    assert read_file_tree(work.root) == before


def test_content_that_is_nowhere_is_named(tmp_path: Path) -> None:
    work = _merged(tmp_path / "repo", BASE, OURS, THEIRS)
    for place in (work.store, work.path(".dvc/cache")):
        blob_path(place, working.oid_of("theirs")).unlink()
    done = _resolved(work, "theirs", "e")
    assert done.resolved == ("e.dvc",) and codes(done) == ["blob-missing"]
    assert done.errors[0].oid == working.oid_of("theirs")
    assert work.read("e/x") == b"ours"


def test_sides_that_were_merged_into_each_other_have_no_union(tmp_path: Path) -> None:
    """What they have in common is then itself a merge of git's, with a conflict in it."""
    work = _merged(tmp_path / "repo", BASE, OURS, THEIRS)
    ours, theirs = (work.git("rev-parse", side).stdout.strip() for side in ("ours", "theirs"))
    assert _resolved(work, "ours", "d", "e").exit_code == 0
    work.git("commit", "--quiet", "--no-edit")
    work.git("checkout", "--quiet", "-B", "theirs", theirs)
    work.git("merge", ours, check=False)
    assert _resolved(work, "ours", "d", "e").exit_code == 0
    work.git("commit", "--quiet", "--no-edit")
    assert len(work.git("merge-base", "--all", "ours", "theirs").stdout.split()) == 2
    assert work.git("merge", "ours", check=False).returncode == 1
    done = _resolved(work, "union", "e")
    assert codes(done) == ["pointer-conflict"]
    assert "have in common" in done.errors[0].message
    assert "resolve --ours e.dvc" in done.errors[0].hint
    assert _resolved(work, "theirs", "e", "d").exit_code == 0
    assert work.read("e/x") == b"ours" and work.read("d/o") == b"ours"
