"""One tracked path on its way to what its pointer says: what is to be done, what is known after."""

from __future__ import annotations

import os
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlrepro import executable, folder, index

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mlrepro.outputs import Tracked
    from mlrepro.project import Project
    from mlrepro.restoring import Restore, Restored
    from mlrepro.worktree import Data

NUMBERS = folder.NUMBERS


@dataclass(slots=True)
class Plan:
    """What has to be done for one tracked path."""

    item: Tracked
    data: Data
    entry: index.Entry
    bring: list[Restore] = field(default_factory=list)
    members: dict[str, str] = field(default_factory=dict)  # of a folder, as it is to be
    remove: list[tuple[str, str]] = field(default_factory=list)  # member, its hash
    save: list[str] = field(default_factory=list)  # absolute paths to save before they go
    kept: list[str] = field(default_factory=list)
    in_part: bool = False  # not all of a folder can, or is to be, brought
    only: Sequence[str] = ()

    def concerns(self, name: str) -> bool:
        """Whether this member of a folder is to be brought."""
        return not self.only or any(name == one or name.startswith(one + "/") for one in self.only)


def after(project: Project, plan: Plan, done: dict[str, Restored], whole: bool) -> index.Entry:
    """The record of a path after it was brought: nothing of it needs to be hashed again."""
    entry, item = plan.entry, plan.item
    entry.seen, entry.named = item.seen, item.oid
    if item.out.is_dir:
        _after_folder(project, plan, done, whole)
        entry.hashed(item.oid if whole else "", item.out.size or 0, None, index.now_ns())
    elif plan.bring and plan.bring[0].dest in done:
        one = done[plan.bring[0].dest]
        now = executable.give(one.dest, one.stat, item.out.isexec)
        entry.hashed(item.oid, one.stat.st_size, now, one.began_ns)
    if whole:
        entry.stored = True
        entry.in_step(item.oid)
    return entry


def _after_folder(project: Project, plan: Plan, done: dict[str, Restored], whole: bool) -> None:
    base = project.absolute(plan.item.path)
    try:
        walked = folder.walk(project.root, plan.item.path)
    except OSError:
        return
    before = plan.data.tree.unchanged(walked) if plan.data.tree is not None else {}
    oids: list[str] = []
    numbers: list[int] = []
    began = max([one.began_ns for one in done.values()], default=0)
    for at, name in enumerate(walked.names):
        row: Iterable[int] = walked.numbers[at * NUMBERS : (at + 1) * NUMBERS]
        one = done.get(os.path.join(base, name))
        oid = before.get(name, "")
        if one is not None:
            same = one.began_ns and list(row) == list(numbers_of(one.stat))
            oid = plan.members.get(name, "") if same else ""
        if not oid:
            row = (0,) * NUMBERS  # not proven: it will be read once
        oids.append(oid or "0" * 32)
        numbers += row
    walked.numbers = array("q", numbers)
    proven = folder.Tree(
        plan.item.path, plan.item.oid if whole else "", walked, bytes.fromhex("".join(oids)),
        max(began, plan.data.began_ns),
    )  # fmt: skip
    folder.save(project.state_dir, proven)


def stats_of(data: Data) -> dict[str, tuple[int, int, int, int, int]]:
    """The five numbers by which each member of a folder is known."""
    if data.tree is None:
        return {}
    numbers = data.tree.numbers
    rows = zip(*[iter(numbers)] * NUMBERS, strict=True)
    return dict(zip(data.tree.names, rows, strict=True))


def numbers_of(stat: os.stat_result) -> tuple[int, int, int, int, int]:
    """A file's five numbers as ``folder.Walk`` has them."""
    return (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev)
