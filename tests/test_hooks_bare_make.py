"""A hook that only runs ``make dvc``, as the tutorial and other hook managers have it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hooked import DATA, FIRST, POINTER, Hooked


@pytest.fixture
def made(plain: Hooked) -> Hooked:
    """The repository with that one hook, and none of ours."""
    shutil.rmtree(plain.path(".git/hooks"))
    plain.write(".git/hooks/pre-commit", "#!/bin/sh\nexec make dvc\n").chmod(0o755)
    return plain


def test_no_stale_pointer_is_committed(made: Hooked) -> None:
    made.edit()
    made.stage()
    made.write("a.py", "one = 2\n")
    made.commits("-m", "readme")
    assert made.is_good(), made.explain()
    assert made.status == " M a.py\n"


def test_data_alone_says_again(made: Hooked) -> None:
    made.edit()
    assert "run the same command again" in made.refused("-am", "data")
    made.commits("-am", "data")
    assert made.is_good(), made.explain()


def test_a_commit_of_named_files(made: Hooked) -> None:
    made.edit()
    made.write("README.md", "changed\n")
    made.commits("-m", "readme", "README.md")
    assert made.is_good(), made.explain()
    assert made.status == ""


def test_a_teammates_work_is_not_undone(made: Hooked, tmp_path: Path) -> None:
    bob = made.teammate(tmp_path / "bob")
    theirs = bob.edit("by bob")
    bob.commits("--allow-empty", "-m", "by bob")
    made.git("pull", "--quiet", "--ff-only", str(bob.root), "main")
    made.stage()
    made.commits("-m", "readme")
    assert made.oid(POINTER, "HEAD") == theirs
    assert made.read(DATA) == FIRST.encode()
