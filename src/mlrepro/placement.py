"""One tracked path on its way to what its pointer says: what is to be done, what is known after."""

from __future__ import annotations

import os

from mlrepro import collisions, executable, folder, index, legacy, transfer
from mlrepro.dataclass import TYPE_CHECKING, dataclass, field
from mlrepro.errors import Refused
from mlrepro.restoring import Restore
from mlrepro.safepath import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mlrepro.outputs import Tracked
    from mlrepro.project import Project
    from mlrepro.remote import Remote
    from mlrepro.restoring import Restored
    from mlrepro.store import Store
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
    isexec: bool = False  # of a file: as it is to be
    only: Sequence[str] = ()

    def concerns(self, name: str) -> bool:
        """Whether this member of a folder is to be brought."""
        return not self.only or any(name == one or name.startswith(one + "/") for one in self.only)


def is_saved(target: Remote, oid: str, size: int | None = None) -> bool:
    """Whether cache or store has the blob, of the size that the data has."""
    return any(place.has(oid, size) for place in (target.cache, target.store) if place is not None)


def plan_file(project: Project, target: Remote, plan: Plan, force: bool) -> None:
    """Decide what becomes of a file: brought, saved first, or kept. Raises Refused."""
    item, data, entry = plan.item, plan.data, plan.entry
    absolute = project.absolute(item.path)
    if data.tree is not None:
        raise Refused(
            f"{item.path} is a folder here, but its pointer names a file.",
            f"move the folder away, then: mlrepro pull {quoted(project.show(item.path))}",
            code="kind-changed",
        )
    if data.oid:
        oid = item.oid if _saved_since(plan, data.oid, item.oid) else data.oid
        in_step = oid == entry.synced
        saved = is_saved(target, oid, data.size)
        known = not entry.synced and not entry.pending and saved
        if not in_step and not known:
            if not force:
                plan.kept.append(item.path)
                return
            plan.save.append(absolute)
        elif not saved:
            plan.save.append(absolute)
    plan.bring.append(
        Restore(
            item.oid,
            absolute,
            item.out.size,
            plan.isexec,
            data.stat if data.oid else None,
            item.out.legacy,
        )
    )


def _saved_since(plan: Plan, here: str, oid: str) -> bool:
    """Whether what is here may be what DVC 3 saved since under the very hash that DVC 2 gave it.

    To DVC 2 the hash was that of the text, to DVC 3 it is that of these line ends.
    """
    since = plan.item.out.legacy and plan.entry.seen != plan.item.seen
    return since and here == legacy.other(oid)


def plan_folder(project: Project, target: Remote, plan: Plan, lost: set[str], force: bool) -> None:
    """Decide what becomes of each member of a folder, but for ``lost``: oids that are nowhere.

    Raises Refused, PointerError.
    """
    item, data = plan.item, plan.data
    if data.oid and data.tree is None:
        raise Refused(
            f"{item.path} is a file here, but its pointer names a folder.",
            f"move the file away, then: mlrepro pull {quoted(project.show(item.path))}",
            code="kind-changed",
        )
    was, now = _members(project, target, plan)
    stats = stats_of(data)
    for name, oid in plan.members.items():
        here = now.get(name, "")
        if here == oid or oid in lost or not plan.concerns(name):
            continue
        path = project.absolute(f"{item.path}/{name}")
        size = stats[name][0] if name in stats else None
        if _saved_since(plan, here, oid) and is_saved(target, oid, size):
            was[name] = here = oid
        if here and here != was.get(name) and (was or not is_saved(target, here, size)):
            if not force:
                plan.kept.append(f"{item.path}/{name}")
                continue
            plan.save.append(path)
        elif here and not is_saved(target, here, size):
            plan.save.append(path)
        plan.bring.append(Restore(oid, path, None, False, stats.get(name), item.out.legacy))
    for name, here in now.items():
        if name in plan.members or not plan.concerns(name):
            continue
        size = stats[name][0] if name in stats else None
        saved = here == was.get(name) and is_saved(target, here, size)
        if not saved and not force:
            plan.kept.append(f"{item.path}/{name}")
            continue
        plan.remove.append((name, here))
        if not saved:
            plan.save.append(project.absolute(f"{item.path}/{name}"))


def _members(project: Project, target: Remote, plan: Plan) -> tuple[dict[str, str], dict[str, str]]:
    """The members of a folder when it was last in step, and now; sets what they are to be."""
    item, data, synced = plan.item, plan.data, plan.entry.synced
    places = [target.cache] + ([target.store] if target.store is not None else [])
    plan.members = _listed(item.oid, places)
    clashes = collisions.clashes(plan.members, project.state_dir)
    refused = collisions.refusal(clashes, next(iter(clashes), ""))
    if refused is not None:
        raise refused
    was: dict[str, str] = {}
    if synced.endswith(".dir"):
        was = _listed(synced, places)
    if data.tree is None:
        return was, {}
    now = data.tree.members()
    if item.out.legacy:
        absolute = project.absolute(item.path)
        now = legacy.members(places, absolute, data.tree, {**was, **plan.members})
    elif data.oid == synced:
        was = dict(now)  # it may have been saved by DVC 2, under other hashes
    for name in data.tree.names:
        if name not in now and name in plan.members:
            now[name] = legacy.other(plan.members[name])  # left out by .dvcignore: nobody saved it
    return was, now


def _listed(oid: str, places: Sequence[Store]) -> dict[str, str]:
    """What a folder's listing names, relative path → hash; empty where none is at hand."""
    return {member.relpath: member.oid for member in transfer.listing_of(oid, places) or ()}


def after(project: Project, plan: Plan, done: dict[str, Restored], whole: bool) -> index.Entry:
    """The record of a path after it was brought: nothing of it needs to be hashed again."""
    entry, item = plan.entry, plan.item
    brought = bool(plan.bring) and plan.bring[0].dest in done
    is_alike = item.out.is_dir or plan.data.stat is None or plan.data.isexec == item.out.isexec
    entry.saw(item.seen, item.oid, is_alike=brought or is_alike)
    if item.out.is_dir:
        _after_folder(project, plan, done, whole)
        entry.hashed(item.oid if whole else "", item.out.size or 0, None, index.now_ns())
    elif brought:
        one = done[plan.bring[0].dest]
        if one.stat is not None and one.began_ns:
            now = executable.give(one.dest, one.stat, plan.isexec)
            proven = now if plan.isexec == item.out.isexec else None  # a commit has to look at it
            entry.hashed(item.oid, one.stat.st_size, proven, one.began_ns)
        else:
            entry.hashed(item.oid, item.out.size or 0, None, 0)  # it is hashed when looked at
    if whole:
        entry.stored = True
        entry.in_step(item.oid)
    return entry


def _after_folder(project: Project, plan: Plan, done: dict[str, Restored], whole: bool) -> None:
    lead = f"{project.absolute(plan.item.path)}/"
    tree = plan.data.tree
    try:  # where there was none, all that can be vouched for was just looked at
        walked = folder.walk(project.root, plan.item.path, stats=tree is not None)
    except OSError:
        return
    before = tree.unchanged(walked) if tree is not None else {}
    oids: list[str] = []
    numbers: list[int] = []
    began = max([one.began_ns for one in done.values()], default=0)
    for at, name in enumerate(walked.names):
        one = done.get(lead + name)
        row: Iterable[int] = ()
        if one is not None:
            row = numbers_of(one.stat) if one.stat is not None and one.began_ns else ()
            if tree is not None and row != tuple(walked.numbers[at * NUMBERS : (at + 1) * NUMBERS]):
                row = ()
            oid = plan.members.get(name, "") if row else ""
        else:
            oid = before.get(name, "")
            row = walked.numbers[at * NUMBERS : (at + 1) * NUMBERS] if oid else ()
        oids.append(oid or "0" * 32)
        numbers += row if oid else (0,) * NUMBERS  # not proven: it will be read once
    walked.numbers = folder.packed(numbers)
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
