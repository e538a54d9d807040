"""Commits made through the hook, in every way git makes one: what they name is the data, stored.

"Good" is: HEAD, index and worktree pointer all name the data as it is, and the store has it. Each
case runs with our own hooks alone, and with them beneath pre-commit and beneath prek.
"""

from __future__ import annotations

import os

import pytest

from hooked import POINTER, Hooked

AGAIN = "run the same command again"


@pytest.mark.parametrize("flag", ["-am", "-m"])
def test_a_commit_of_data_alone_says_again_and_then_is_good(hooked: Hooked, flag: str) -> None:
    hooked.edit()
    before = hooked.head
    assert AGAIN in hooked.refused(flag, "data")
    assert hooked.head == before
    hooked.commits(flag, "data")
    assert hooked.is_good(), hooked.explain()
    assert hooked.changed_in() == [POINTER]
    assert hooked.status == ""


@pytest.mark.parametrize("flags", [("--allow-empty", "-m", "data"), ("--amend", "--no-edit")])
def test_a_commit_that_may_be_empty_is_good_at_once(hooked: Hooked, flags: tuple[str, ...]) -> None:
    hooked.edit()
    hooked.commits(*flags)
    assert hooked.is_good(), hooked.explain()
    assert hooked.status == ""


def test_unstaged_code_stays_unstaged(hooked: Hooked) -> None:
    hooked.edit()
    hooked.stage()
    hooked.write("a.py", "one = 2\n")
    hooked.commits("-m", "readme")
    assert hooked.is_good(), hooked.explain()
    assert hooked.changed_in() == ["README.md", POINTER]
    assert hooked.status == " M a.py\n"


def test_an_unstaged_pointer_is_committed_too(hooked: Hooked) -> None:
    hooked.leave_pointer_unstaged()
    hooked.commits("-m", "readme")
    assert hooked.is_good(), hooked.explain()
    assert hooked.status == " M a.py\n"
    assert hooked.read("a.py") == b"one = 2\n"


def test_an_unstaged_pointer_that_is_behind_is_committed_too(hooked: Hooked) -> None:
    hooked.leave_pointer_unstaged()
    hooked.edit("second edit")
    hooked.commits("-m", "readme")
    assert hooked.is_good(), hooked.explain()
    assert hooked.status == " M a.py\n"
    assert hooked.read("a.py") == b"one = 2\n"


def test_a_staged_pointer_that_is_behind_is_brought_up(hooked: Hooked) -> None:
    hooked.edit("first edit")
    hooked.mlrepro("track")
    hooked.edit("second edit")
    hooked.write("a.py", "one = 2\n")
    hooked.commits("-m", "data")
    assert hooked.is_good(), hooked.explain()
    assert hooked.status == " M a.py\n"


@pytest.mark.parametrize("other", [False, True], ids=["alone", "beside a staged file"])
def test_a_commit_of_named_files_leaves_the_real_index_fresh(hooked: Hooked, other: bool) -> None:
    """Such a commit has an index of its own, and git writes the real one beside it."""
    if other:
        hooked.stage("other.txt", "staged before\n")
    hooked.edit()
    hooked.write("README.md", "changed\n")
    hooked.commits("-m", "readme", "README.md")
    assert hooked.is_good(), hooked.explain()
    assert hooked.changed_in() == ["README.md", POINTER]
    assert hooked.status == ("A  other.txt\n" if other else "")
    hooked.commits("--allow-empty", "-m", "the next one")
    assert hooked.is_good(), hooked.explain()


def test_commit_including_named_files(hooked: Hooked) -> None:
    hooked.stage("other.txt", "staged before\n")
    hooked.edit()
    hooked.write("README.md", "changed\n")
    hooked.commits("-m", "both", "-i", "README.md")
    assert hooked.is_good(), hooked.explain()
    assert hooked.changed_in() == ["README.md", POINTER, "other.txt"]
    assert hooked.status == ""


def test_commit_of_chosen_hunks(hooked: Hooked) -> None:
    hooked.edit()
    hooked.write("README.md", "changed\n")
    hooked.write("a.py", "one = 2\n")
    hooked.commits("-p", "-m", "readme", input="y\nn\n")
    assert hooked.is_good(), hooked.explain()
    assert hooked.status == " M a.py\n"


def test_commit_from_a_folder_below(hooked: Hooked) -> None:
    hooked.edit()
    hooked.stage()
    hooked.commits("-m", "readme", cwd="data")
    assert hooked.is_good(), hooked.explain()


def test_commit_from_elsewhere(hooked: Hooked) -> None:
    hooked.edit()
    hooked.stage()
    hooked.git("-C", "data", "commit", "--quiet", "-m", "readme", env={"GIT_PREFIX": "nowhere/"})
    assert hooked.is_good(), hooked.explain()


def test_commit_as_a_graphical_program_makes_it(hooked: Hooked) -> None:
    """No terminal, no home, and a PATH on which nothing of this environment is found."""
    hooked.edit()
    hooked.stage()
    tools = {name: os.environ[name] for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM")}
    code, told = hooked.bare_git("commit", "-m", "readme", env={"PATH": "/usr/bin:/bin", **tools})
    assert code == 0 and hooked.is_good(), told + hooked.explain()


@pytest.mark.parametrize("edited", [False, True], ids=["", "edited meanwhile"])
def test_a_rejected_message_loses_nothing(hooked: Hooked, edited: bool) -> None:
    hook = hooked.write(".git/hooks/commit-msg", '#!/bin/sh\ngrep -q TICKET "$1"\n')
    hook.chmod(0o755)
    hooked.edit("first edit")
    hooked.stage()
    hooked.refused("-m", "no ticket")
    if edited:
        hooked.edit("second edit")
    hooked.commits("-m", "TICKET 1")
    assert hooked.is_good(), hooked.explain()
    assert hooked.status == ""


def test_after_a_refusal_another_commit_is_not_stale(hooked: Hooked) -> None:
    hooked.edit()
    assert AGAIN in hooked.refused("-am", "data")
    hooked.stage()
    hooked.write("a.py", "one = 2\n")
    hooked.commits("-m", "readme")
    assert hooked.is_good(), hooked.explain()
    assert hooked.status == " M a.py\n"


def test_a_commit_that_changes_no_data_touches_no_pointer(hooked: Hooked) -> None:
    hooked.stage("README.md", "settled\n")
    hooked.commits("-m", "settled")
    before = hooked.untouched(POINTER)
    hooked.stage()
    said = hooked.commits("-m", "readme")
    assert hooked.untouched(POINTER) == before
    assert hooked.changed_in() == ["README.md"]
    if hooked.way == "plain":
        assert "mlrepro" not in said.stdout + said.stderr


def test_amending_an_empty_commit_with_data_alone_says_again(plain: Hooked) -> None:
    """Git compares with the parent then: what looks like a change against HEAD may be none."""
    plain.commits("--allow-empty", "-m", "empty")
    plain.edit()
    assert AGAIN in plain.refused("--amend", "--no-edit")
    plain.commits("--amend", "--no-edit")
    assert plain.is_good(), plain.explain()


@pytest.mark.parametrize("alias", ["commit --allow-empty", "!git commit --allow-empty"])
def test_an_alias_is_seen_through(plain: Hooked, alias: str) -> None:
    plain.git("config", "alias.ci", alias)
    plain.edit()
    plain.git("ci", "-m", "data")
    assert plain.is_good(), plain.explain()


@pytest.mark.parametrize("looked", [False, True], ids=["", "after a status"])
def test_the_executable_bit_is_part_of_the_commit(plain: Hooked, looked: bool) -> None:
    plain.stage(content="before\n")
    plain.commits("-m", "before")
    plain.path("data/x.csv").chmod(0o755)
    for _ in range(2 if looked else 0):  # what the first one sees is too fresh to be believed later
        assert plain.mlrepro("status").exit_code == 1
    plain.stage()
    plain.commits("-m", "executable")
    assert b"isexec: true" in plain.read(POINTER)
    assert "isexec: true" in plain.git("show", f"HEAD:{POINTER}").stdout
    assert plain.status == ""


def test_the_first_commit_of_a_repository(plain: Hooked) -> None:
    plain.git("checkout", "--quiet", "--orphan", "fresh")
    plain.edit()
    plain.commits("-m", "first of all")
    assert plain.is_good(), plain.explain()


def test_an_index_of_the_users_own_is_left_alone(plain: Hooked) -> None:
    plain.edit()
    own = {"GIT_INDEX_FILE": str(plain.root.parent / "own-index")}
    plain.git("read-tree", "HEAD", env=own)
    before = plain.read(POINTER)
    said = plain.commits("--allow-empty", "-m", "plumbing", env=own)
    assert "GIT_INDEX_FILE" in said.stderr
    assert plain.read(POINTER) == before
    assert plain.changed_in() == []


def test_a_pointer_that_was_removed_but_not_staged(plain: Hooked) -> None:
    """It is in the commit still, so it names the data; the removal stays unstaged."""
    plain.edit()
    plain.path(POINTER).unlink()
    plain.stage()
    plain.commits("-m", "readme")
    assert plain.oid(POINTER, "HEAD") == plain.oid(POINTER, ":0") == plain.md5("data/x.csv")
    assert plain.status == f" D {POINTER}\n"
