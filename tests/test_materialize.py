"""Folders brought to a version in which a name is of another kind, or fewer files are left."""

from __future__ import annotations

from pathlib import Path

import pytest

from building import read_file_tree
from working import Work, codes, made


def _versions(root: Path, first: dict[str, str], second: dict[str, str]) -> Work:
    """A folder ``d`` in two commits, with the data of the second."""
    work = made(root, hooks="none")
    for files in (first, second):
        for name in ("d/a", "d/a/b", "d/a/b/c", "d/z"):
            path = work.path(name)
            if path.is_file():
                path.unlink()
        for name in ("d/a/b", "d/a"):
            if work.path(name).is_dir():
                work.path(name).rmdir()
        for name, text in files.items():
            work.write(name, text)
        assert work.track("d").exit_code == 0
        work.save("version")
    return work


@pytest.mark.parametrize("inner", ["d/a/b", "d/a/b/c"])
def test_a_file_becomes_a_folder_and_back(tmp_path: Path, inner: str) -> None:
    file, folder = {"d/a": "file", "d/z": "z"}, {inner: "deep", "d/z": "z"}
    work = _versions(tmp_path / "repo", file, folder)
    for revision, files in (("HEAD~1", file), ("HEAD@{1}", folder)):
        work.git("reset", "--quiet", "--hard", revision)
        done = work.pull()
        assert (done.restored, done.errors) == (("d",), ())
        found = read_file_tree(work.path("d"))
        assert {f"d/{k}": v for k, v in found.items() if v is not None} == {
            name: text.encode() for name, text in files.items()
        }
        assert work.status_of().clean


def test_an_edited_file_in_the_way_of_a_folder_is_kept(tmp_path: Path) -> None:
    work = _versions(tmp_path / "repo", {"d/a/b": "deep", "d/z": "z"}, {"d/a": "file", "d/z": "z"})
    work.write("d/a", "edited")
    work.git("reset", "--quiet", "--hard", "HEAD~1")
    done = work.pull()
    assert done.kept == ("d/a",) and "unsaved-change" in codes(done)
    assert work.read("d/a") == b"edited"


def test_a_dry_run_tells_of_a_folder_from_which_files_only_go(tmp_path: Path) -> None:
    work = _versions(tmp_path / "repo", {"d/z": "z"}, {"d/a": "file", "d/z": "z"})
    work.git("reset", "--quiet", "--hard", "HEAD~1")
    assert work.pull(dry_run=True).restored == ("d",)
    assert work.path("d/a").exists()
    assert work.pull().restored == ("d",)
    assert not work.path("d/a").exists()
