"""Commits where data and pointers have gone separate ways: pulls, branches, rebases, worktrees."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hooked import DATA, FIRST, MOSTLY_PLAIN, POINTER, Hooked


def _teammate_committed(hooked: Hooked, tmp_path: Path, **files: str) -> str:
    """Somebody else's commit of newer data, on branch ``main`` of a clone; returns its hash."""
    bob = hooked.teammate(tmp_path / "bob")
    oid = bob.edit("by bob")
    for name, content in files.items():
        bob.stage(name.replace("_", "."), content)
    bob.commits("--allow-empty", "-m", "by bob")
    assert bob.is_good(), bob.explain()
    return oid


@pytest.mark.parametrize(
    "record", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["record", "no record"]
)
def test_a_workspace_that_is_behind_does_not_undo_a_teammates_work(
    hooked: Hooked, tmp_path: Path, record: bool
) -> None:
    theirs = _teammate_committed(hooked, tmp_path)
    hooked.unhooked("pull", "--quiet", str(tmp_path / "bob"), "main")
    if not record:
        shutil.rmtree(hooked.state)
    hooked.stage()
    said = hooked.commits("-m", "readme").stderr
    assert hooked.oid(POINTER, "HEAD") == hooked.oid(POINTER) == theirs
    assert hooked.read(DATA) == FIRST.encode()
    assert hooked.changed_in() == ["README.md"]
    assert DATA in said and "mlrepro pull" in said


def test_data_and_pointer_that_both_changed_are_refused(hooked: Hooked, tmp_path: Path) -> None:
    theirs = _teammate_committed(hooked, tmp_path)
    mine = hooked.edit("by me")
    hooked.git("pull", "--quiet", str(tmp_path / "bob"), "main")
    assert hooked.md5(DATA) == mine
    hooked.stage()
    said = hooked.refused("-m", "readme")
    assert mine in said and theirs in said and DATA in said and POINTER in said
    assert hooked.oid(POINTER) == hooked.oid(POINTER, ":0") == theirs
    assert hooked.mlrepro("track", DATA).exit_code == 0
    hooked.commits("-m", "mine")
    assert hooked.is_good(), hooked.explain()
    assert hooked.md5(DATA) == mine


def test_the_pointers_side_can_be_taken_instead(plain: Hooked, tmp_path: Path) -> None:
    theirs = _teammate_committed(plain, tmp_path)
    mine = plain.edit("by me")
    plain.git("pull", "--quiet", str(tmp_path / "bob"), "main")
    plain.stage()
    plain.refused("-m", "readme")
    assert plain.mlrepro("pull", "--force", DATA).exit_code == 0
    assert plain.md5(DATA) == theirs
    assert (plain.root / f".dvc/cache/files/md5/{mine[:2]}/{mine[2:]}").is_file()
    plain.commits("-m", "readme")
    assert plain.is_good(), plain.explain()


def test_data_of_another_branch_is_not_committed_here(hooked: Hooked) -> None:
    first = hooked.md5(DATA)
    hooked.git("switch", "--quiet", "-c", "branch")
    hooked.edit("on the branch")
    hooked.commits("--allow-empty", "-m", "on the branch")
    hooked.unhooked("switch", "--quiet", "main")
    hooked.stage()
    hooked.commits("-m", "on main")
    assert hooked.oid(POINTER, "HEAD") == hooked.oid(POINTER) == first
    assert hooked.changed_in() == ["README.md"]
    assert hooked.oid(POINTER, "branch") == hooked.md5(DATA)


def test_a_deliberate_return_to_old_bytes(hooked: Hooked) -> None:
    first = hooked.md5(DATA)
    hooked.edit()
    hooked.commits("--allow-empty", "-m", "edited")
    hooked.write(DATA, FIRST)
    hooked.commits("--allow-empty", "-m", "back")
    assert hooked.is_good(), hooked.explain()
    assert hooked.oid(POINTER, "HEAD") == first


def test_a_return_to_the_committed_bytes_before_any_commit(plain: Hooked) -> None:
    """The pointer was refreshed for a commit that was refused, and then the data went back."""
    plain.edit()
    plain.refused("-m", "data")
    plain.write(DATA, FIRST)
    plain.stage()
    plain.commits("-m", "readme")
    assert plain.is_good(), plain.explain()
    assert plain.changed_in() == ["README.md"]


def _three_commits(hooked: Hooked) -> str:
    """The first, one that changes the README, one that changes data; returns the first hash."""
    first = hooked.md5(DATA)
    hooked.stage()
    hooked.commits("-m", "readme")
    hooked.edit("later")
    hooked.commits("--allow-empty", "-m", "data")
    return first


@pytest.mark.parametrize("hooked", MOSTLY_PLAIN, indirect=True)
def test_amending_in_the_middle_of_a_rebase(hooked: Hooked) -> None:
    """The data is that of the newest commit all the while."""
    first = _three_commits(hooked)
    hooked.git(
        "rebase", "--quiet", "-i", "HEAD~2", env={"GIT_SEQUENCE_EDITOR": "sed -i -e 1s/pick/edit/"}
    )
    hooked.write("a.py", "one = 2\n")
    hooked.commits("-a", "--amend", "--no-edit")
    assert hooked.oid(POINTER, "HEAD") == hooked.oid(POINTER) == first
    assert hooked.changed_in() == ["README.md", "a.py"]
    hooked.git("rebase", "--continue")
    assert hooked.is_good(), hooked.explain()
    assert hooked.status == ""


def test_splitting_the_commit_that_changed_data(plain: Hooked) -> None:
    """``edit`` on it and ``reset HEAD~``: what is committed anew are the same versions."""
    first = _three_commits(plain)
    editor = {"GIT_SEQUENCE_EDITOR": "sed -i -e 2s/pick/edit/"}
    plain.git("rebase", "--quiet", "-i", "HEAD~2", env=editor)
    plain.git("reset", "--quiet", "HEAD~")
    plain.stage("a.py", "one = 2\n")
    plain.commits("-m", "code")
    assert plain.oid(POINTER, "HEAD") in (first, plain.md5(DATA))
    plain.git("add", POINTER)
    plain.commits("--allow-empty", "-m", "data")
    plain.git("rebase", "--continue")
    assert plain.is_good(), plain.explain()
    assert plain.status == ""


def test_a_merge_that_conflicts_only_in_code(hooked: Hooked, tmp_path: Path) -> None:
    theirs = _teammate_committed(hooked, tmp_path, a_py="one = 'bob'\n")
    hooked.stage("a.py", "one = 'me'\n")
    hooked.commits("-m", "mine")
    pulled = hooked.git("pull", "--no-rebase", str(tmp_path / "bob"), "main", check=False)
    assert pulled.returncode == 1
    hooked.write("a.py", "one = 'both'\n")
    hooked.commits("-am", "merged")
    assert hooked.oid(POINTER, "HEAD") == hooked.oid(POINTER) == theirs
    assert hooked.status == ""
    assert hooked.mlrepro("pull").exit_code == 0
    assert hooked.is_good(), hooked.explain()


def test_a_linked_worktree_without_data(hooked: Hooked, tmp_path: Path) -> None:
    hooked.unhooked("worktree", "add", "--quiet", str(tmp_path / "linked"))
    linked = Hooked(tmp_path / "linked")
    assert not linked.path(DATA).exists()
    linked.stage()
    linked.commits("-m", "readme")
    assert linked.oid(POINTER, "HEAD") == linked.oid(POINTER) == hooked.md5(DATA)
    assert linked.changed_in() == ["README.md"]
    assert linked.status == ""


def test_an_edit_in_a_linked_worktree_is_its_own(plain: Hooked, tmp_path: Path) -> None:
    plain.git("worktree", "add", "--quiet", str(tmp_path / "linked"))
    linked = Hooked(tmp_path / "linked")
    assert linked.read(DATA) == FIRST.encode()
    oid = linked.edit("in the worktree")
    linked.stage()
    linked.commits("-m", "there")
    assert linked.oid(POINTER, "HEAD") == linked.oid(POINTER) == oid
    assert plain.has_blob(oid)
    assert plain.is_good(), plain.explain()
    assert plain.status == ""


def test_stash_and_pop(hooked: Hooked) -> None:
    """A commit in between that takes the data along leaves nothing for the pop to fight over."""
    hooked.edit()
    assert hooked.mlrepro("track").exit_code == 0
    hooked.write("a.py", "one = 2\n")
    hooked.git("stash", "push", "--quiet")
    hooked.stage()
    hooked.commits("-m", "readme")
    hooked.git("stash", "pop", "--quiet")
    assert hooked.git("ls-files", "--unmerged").stdout == ""
    assert hooked.read("a.py") == b"one = 2\n"
    hooked.commits("-am", "the rest")
    assert hooked.is_good(), hooked.explain()
    assert hooked.status == ""


def test_a_commit_right_after_stash_and_pop(plain: Hooked) -> None:
    plain.edit()
    plain.refused("-am", "data")
    plain.git("stash", "--quiet")
    plain.git("stash", "pop", "--quiet")
    assert plain.git("ls-files", "--unmerged").stdout == ""
    plain.commits("-am", "data")
    assert plain.is_good(), plain.explain()


def test_a_cherry_pick_of_data_made_here(plain: Hooked) -> None:
    """No hook fires for a clean pick; the next commit finds data behind or in step, never newer."""
    first = plain.md5(DATA)
    plain.git("switch", "--quiet", "-c", "branch")
    oid = plain.edit("picked")
    plain.commits("--allow-empty", "-m", "on the branch")
    plain.git("switch", "--quiet", "main")
    assert plain.md5(DATA) == first
    plain.git("cherry-pick", "branch")
    plain.stage()
    plain.commits("-m", "readme")
    assert plain.oid(POINTER, "HEAD") == oid
    assert plain.changed_in() == ["README.md"]


def test_reverting_a_data_commit(plain: Hooked) -> None:
    first = plain.md5(DATA)
    plain.edit()
    plain.commits("--allow-empty", "-m", "edited")
    plain.git("revert", "--no-edit", "HEAD")
    plain.stage()
    plain.commits("-m", "readme")
    assert plain.oid(POINTER, "HEAD") == first


def test_going_back_to_an_old_pointer_by_hand(plain: Hooked) -> None:
    """``git checkout REV -- pointer`` and a commit: the pointer is what was asked for."""
    first = plain.md5(DATA)
    plain.edit()
    plain.commits("--allow-empty", "-m", "edited")
    plain.git("checkout", "--quiet", "HEAD~", "--", POINTER)
    plain.commits("-m", "back")
    assert plain.oid(POINTER, "HEAD") == first
    assert plain.mlrepro("pull").exit_code == 0
    assert plain.is_good(), plain.explain()


def test_data_of_a_commit_that_was_taken_back_does_not_come_again(plain: Hooked) -> None:
    """``git reset`` calls no hook: the data stay, but are not a new edit."""
    before = plain.oid(POINTER)
    plain.edit("regretted")
    plain.commits("--allow-empty", "--message", "regretted")
    plain.git("reset", "--quiet", "--hard", "HEAD~1")
    plain.unhooked("commit", "--quiet", "--allow-empty", "--message", "from elsewhere")
    plain.stage()
    plain.commits("--message", "readme")
    assert plain.oid(POINTER, "HEAD") == before
    assert plain.changed_in() == ["README.md"]
