"""A hook framework without our own hooks beneath it: what it can do, and that nothing is lost.

pre-commit and prek set unstaged changes aside while their hooks run, and put them back afterwards;
a pointer among those must not be touched, or they fail and an edit of something else is gone from
the worktree. Each case calls us by ``make dvc``, and by the hook that we publish.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hooked import ALONE, EVERY_ALONE, POINTER, Hooked

AGAIN = "run the same command again"
OTHER_NAMES = ('data/a "b".csv', "data/x b/y.csv")


@pytest.mark.parametrize(
    "alone",
    [*ALONE, *(pytest.param(one, marks=pytest.mark.slow) for one in EVERY_ALONE[len(ALONE) :])],
    indirect=True,
)
@pytest.mark.parametrize("flag", ["-am", pytest.param("-m", marks=pytest.mark.slow)])
def test_data_alone(alone: Hooked, flag: str) -> None:
    alone.edit()
    assert AGAIN in alone.refused(flag, "data")
    alone.commits(flag, "data")
    assert alone.is_good(), alone.explain()
    assert alone.status == ""


def test_data_alone_with_allow_empty(alone: Hooked) -> None:
    alone.edit()
    alone.commits("--allow-empty", "-m", "data")
    assert alone.is_good(), alone.explain()


def test_unstaged_code_stays_unstaged(alone: Hooked) -> None:
    alone.edit()
    alone.stage()
    alone.write("a.py", "one = 2\n")
    alone.commits("-m", "readme")
    assert alone.is_good(), alone.explain()
    assert alone.status == " M a.py\n"
    assert alone.read("a.py") == b"one = 2\n"


@pytest.mark.parametrize("alone", EVERY_ALONE, indirect=True)
@pytest.mark.parametrize(
    "again", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["", "edited again"]
)
def test_an_unstaged_pointer_is_refused_with_the_way_out(alone: Hooked, again: bool) -> None:
    alone.leave_pointer_unstaged()
    if again:
        alone.edit("second edit")
    data = alone.md5("data/x.csv")
    said = alone.refused("-m", "readme")
    assert f"git add {POINTER}" in said
    assert alone.read("a.py") == b"one = 2\n"
    assert alone.md5("data/x.csv") == data
    assert " M a.py" in alone.status
    alone.git("add", POINTER)
    alone.commits("-m", "readme")
    assert alone.is_good(), alone.explain()
    assert alone.status == " M a.py\n"
    assert alone.read("a.py") == b"one = 2\n"


def test_a_staged_pointer_that_is_behind(alone: Hooked) -> None:
    alone.edit("first edit")
    alone.mlrepro("track")
    alone.edit("second edit")
    alone.write("a.py", "one = 2\n")
    alone.commits("-m", "data")
    assert alone.is_good(), alone.explain()
    assert alone.status == " M a.py\n"


def test_a_commit_of_named_files(alone: Hooked) -> None:
    alone.stage("other.txt", "staged before\n")
    alone.edit()
    alone.write("README.md", "changed\n")
    alone.write("a.py", "one = 2\n")
    alone.commits("-m", "readme", "README.md")
    assert alone.is_good(), alone.explain()
    assert alone.status == " M a.py\nA  other.txt\n"


def test_after_a_refusal_another_commit_is_not_stale(alone: Hooked) -> None:
    """The refused commit left its pointer unstaged: that is in the framework's patch then."""
    alone.edit()
    alone.refused("-am", "data")
    alone.stage()
    alone.write("a.py", "one = 2\n")
    if alone.commit_with("-m", "readme").exit_code:
        assert alone.read("a.py") == b"one = 2\n"
        alone.git("add", POINTER)
        alone.commits("-m", "readme")
    assert alone.is_good(), alone.explain()
    assert alone.status == " M a.py\n"
    assert alone.read("a.py") == b"one = 2\n"


def test_nothing_changed(alone: Hooked) -> None:
    before = alone.untouched(POINTER)
    alone.stage()
    alone.write("a.py", "one = 2\n")
    alone.commits("-m", "readme")
    assert alone.untouched(POINTER) == before
    assert alone.changed_in() == ["README.md"]
    assert alone.status == " M a.py\n"


@pytest.mark.parametrize("alone", EVERY_ALONE, indirect=True)
def test_run_by_hand_it_has_nothing_to_do(alone: Hooked) -> None:
    """There is no commit then whose pointers could be stale."""
    alone.edit()
    before = alone.read(POINTER)
    program = Path(sys.executable).parent / alone.way.partition(":")[0]
    argv = [program, "run", "--all-files"]
    subprocess.run(argv, cwd=alone.root, check=True, capture_output=True)
    assert alone.read(POINTER) == before
    assert alone.status == ""


def test_without_a_home(alone: Hooked) -> None:
    """Where the framework keeps its patches is then found as it finds it."""
    alone.leave_pointer_unstaged()
    kept = ("PATH", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM", "PYTHONPATH", "XDG_CACHE_HOME")
    env = {name: os.environ[name] for name in kept}
    code, said = alone.bare_git("commit", "-m", "readme", env=env)
    assert code == 1 and f"git add {POINTER}" in said
    assert alone.read("a.py") == b"one = 2\n"


@pytest.mark.parametrize(
    "name",
    ["data/Größe.csv", *(pytest.param(one, marks=pytest.mark.slow) for one in OTHER_NAMES)],
)
def test_a_name_that_git_quotes_is_found_in_the_patch(alone: Hooked, name: str) -> None:
    alone.write(name, "one")
    assert alone.mlrepro("track", name).exit_code == 0
    alone.commits("-m", "one more")
    alone.write(name, "two")
    assert alone.mlrepro("track", name).exit_code == 0
    alone.git("reset", "--quiet")
    alone.write("a.py", "one = 2\n")
    alone.stage()
    assert "git add" in alone.refused("-m", "readme")
    assert alone.read("a.py") == b"one = 2\n"
    alone.git("add", f"{name}.dvc")
    alone.commits("-m", "readme")
    assert alone.is_good(name), alone.explain(name)
    assert alone.status == " M a.py\n"
