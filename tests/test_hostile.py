"""A repository that is not trusted: nothing outside is reached, nothing hangs, all is said."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import confined
import hostile
from confined import Outside
from hostile import CASES
from mlrepro.listing import MAX_MEMBERS
from working import Work, made

COMMANDS = (
    ("status",), ("verify", "--all"), ("push",), ("pull", "--force"), ("track",), ("diff",),
    ("config",), ("gc", "-y"), ("checkout", "HEAD"), ("init",),
    ("git", "commit", "--allow-empty", "-m", "x"),
)  # fmt: skip
# In what a store is, its own folder has to be looked at.
LOOKED_AT = {"opened .", "read .", "opened sub", "read sub"}
# One of each kind, for the quick run.
QUICK = ("pipe pointer", "pipe rules", "link .dvc/tmp", "store outside", "loops of links")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """Two files and a folder, tracked and committed, in a repository that was moved since."""
    root = tmp_path_factory.mktemp("template")
    work = made(root / "first")
    for name in ("data/a.csv", "data/b.csv", "set/x.csv", "set/sub/y.csv"):
        work.write(name, f"{Path(name).stem}\n")
    assert work.track("data/a.csv", "data/b.csv", "set").exit_code == 0
    work.git("add", "--all")
    work.save("data")
    work.root.rename(root / "repo")
    return Work(root / "repo")


@pytest.fixture
def plant(template: Work, tmp_path: Path) -> Iterator[Callable[[str], tuple[Work, Outside]]]:
    """Makes a copy with one thing planted, beside a folder that is somebody's own."""
    outside = Outside(tmp_path / "outside")

    def make(case: str) -> tuple[Work, Outside]:
        work = Work(shutil.copytree(template.root, tmp_path / "repo", symlinks=True))
        CASES[case](work, outside)
        return work, outside

    yield make
    outside.close()


def check(done: confined.Confined, outside: Outside) -> None:
    seen = set(done.reached) <= LOOKED_AT
    done.check(ignoring=LOOKED_AT if seen else set())
    assert not outside.executed.exists()


@pytest.mark.parametrize("case", QUICK)
def test_nothing_outside_is_reached(
    plant: Callable[[str], tuple[Work, Outside]], case: str, record_property: Any
) -> None:
    work, outside = plant(case)
    for command in (("track",), ("pull",)):
        check(confined.run(work.root, *command, outside=outside), outside)
    assert work.read("data/b.csv") == b"b\n"
    confined.tried(record_property, "commands on planted repositories", 2)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1, 55], ids=["short names", "long names"])
def test_the_largest_listing_is_read_within_the_memory(
    template: Work, tmp_path: Path, record_property: Any, width: int
) -> None:
    work = Work(shutil.copytree(template.root, tmp_path / "repo", symlinks=True))
    names = (f"{at:0{width}x}" for at in range(MAX_MEMBERS))
    hostile.listing(work, names, oid_by_name=True)
    hostile.commit(work)
    for command in (("status",), ("verify", "--all"), ("pull",)):
        done = confined.run(work.root, *command, seconds=60)  # the work is in proportion
        done.check()
        assert len(done.said) < 100_000
    confined.tried(record_property, "commands on planted repositories", 3)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_no_command_reaches_outside(
    plant: Callable[[str], tuple[Work, Outside]], case: str, record_property: Any
) -> None:
    work, outside = plant(case)
    for command in COMMANDS:
        check(confined.run(work.root, *command, outside=outside), outside)
        assert not (work.root / "executed").exists()
    confined.tried(record_property, "commands on planted repositories", len(COMMANDS))
