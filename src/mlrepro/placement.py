"""One tracked path on its way to what its pointer says: what is to be done, what is known after."""

from __future__ import annotations

import os
from bisect import bisect_left
from itertools import pairwise

from mlrepro import collisions, executable, folder, index, legacy, transfer, walking
from mlrepro.dataclass import TYPE_CHECKING, dataclass, field
from mlrepro.errors import Refused
from mlrepro.listing import Members
from mlrepro.restoring import Restore
from mlrepro.safepath import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mlrepro.assembling import Whole
    from mlrepro.outputs import Tracked
    from mlrepro.project import Project
    from mlrepro.remote import Remote
    from mlrepro.restoring import Restored
    from mlrepro.store import Store
    from mlrepro.worktree import Data

NUMBERS = walking.NUMBERS


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
    was, now, is_known = _members(project, target, plan)
    if data.is_missing and not plan.only:
        plan.bring = _all_new(project, plan, lost)
        return
    stats = Stats(data)
    for name, oid in plan.members.items():
        here = now.get(name, "")
        if here == oid or oid in lost or not plan.concerns(name):
            continue
        path = project.absolute(f"{item.path}/{name}")
        size = stats.size(name)
        if _saved_since(plan, here, oid) and is_saved(target, oid, size):
            was[name] = here = oid
        if here and here != was.get(name) and (is_known or not is_saved(target, here, size)):
            if not force:
                plan.kept.append(f"{item.path}/{name}")
                continue
            plan.save.append(path)
        elif here and not is_saved(target, here, size):
            plan.save.append(path)
        plan.bring.append(Restore(oid, path, None, False, stats.get(name), item.out.legacy))
    _plan_removals(project, target, plan, was, now, force)


def _plan_removals(
    project: Project,
    target: Remote,
    plan: Plan,
    was: dict[str, str],
    now: dict[str, str],
    force: bool,
) -> None:
    """Decide what becomes of the members that the folder is to have no longer."""
    item, stats = plan.item, Stats(plan.data)
    for name, here in now.items():
        if name in plan.members or not plan.concerns(name):
            continue
        size = stats.size(name)
        saved = here == was.get(name) and is_saved(target, here, size)
        if not saved and not force:
            plan.kept.append(f"{item.path}/{name}")
            continue
        plan.remove.append((name, here))
        if not saved:
            plan.save.append(project.absolute(f"{item.path}/{name}"))


def _all_new(project: Project, plan: Plan, lost: set[str]) -> list[Restore]:
    """All members of a folder of which nothing is there to be compared, or kept."""
    base, legacy_ = project.absolute(plan.item.path), plan.item.out.legacy
    return [
        Restore(oid, f"{base}/{name}", None, False, None, legacy_)
        for name, oid in plan.members.items()
        if oid not in lost
    ]


def _members(
    project: Project, target: Remote, plan: Plan
) -> tuple[dict[str, str], dict[str, str], bool]:
    """The members of a folder when it was last in step, and now; sets what they are to be.

    Without those that are as they are to be already, of which there may be many. The third: whether
    it was ever in step, as far as is known.
    """
    item, data, synced = plan.item, plan.data, plan.entry.synced
    places = [target.cache] + ([target.store] if target.store is not None else [])
    listed = transfer.listing_of(item.oid, places) or Members()
    clashes = collisions.clashes(listed.names, project.state_dir)
    refused = collisions.refusal(clashes, next(iter(clashes), ""))
    if refused is not None:
        raise refused
    if data.tree is not None and data.oid == synced and not item.out.legacy:
        plan.members, was, left_out = _differing(listed, data.tree)
        return was, {**was, **left_out}, True  # may have been saved by DVC 2, under other hashes
    before = _listed(synced, places) if synced.endswith(".dir") else {}
    if data.tree is None:
        plan.members = dict(listed.pairs())
        return before, {}, bool(before)
    if item.out.legacy:
        plan.members, absolute = dict(listed.pairs()), project.absolute(item.path)
        now = legacy.members(places, absolute, data.tree, {**before, **plan.members})
        names = [name for name in data.tree.names if name not in now and name in plan.members]
        left_out = {name: legacy.other(plan.members[name]) for name in names}
    else:
        plan.members, now, left_out = _differing(listed, data.tree)
    return before, {**now, **left_out}, bool(before)


def _differing(
    listed: Members, tree: folder.Tree
) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """The members of a listing, and of a folder, that are not the same in both; and those of the
    listing that .dvcignore leaves out here, with a hash that is no content's: nobody saved them.
    """
    to_be, now, left_out = dict[str, str](), dict[str, str](), dict[str, str]()
    names, oids, end, at = tree.names, tree.oids, len(tree), 0
    every: Iterable[tuple[str, str]] = listed.pairs()
    if not all(name < following for name, following in pairwise(listed.names)):
        every = sorted(every)  # not as by DVC; those of the tree are sorted
    for name, oid in every:
        while at < end and names[at] < name:
            _note_here(now, names[at], oids[at * 16 : at * 16 + 16])
            at += 1
        here = oids[at * 16 : at * 16 + 16] if at < end and names[at] == name else b""
        at += bool(here)
        if here == folder.UNKNOWN or here.hex() != oid:
            to_be[name] = oid
            if here == folder.UNKNOWN:
                left_out[name] = legacy.other(oid)
            elif here:
                now[name] = here.hex()
    for rest in range(at, end):
        _note_here(now, names[rest], oids[rest * 16 : rest * 16 + 16])
    return to_be, now, left_out


def _note_here(now: dict[str, str], name: str, oid: bytes) -> None:
    if oid != folder.UNKNOWN:
        now[name] = oid.hex()


def _listed(oid: str, places: Sequence[Store]) -> dict[str, str]:
    """What a folder's listing names, relative path → hash; empty where none is at hand."""
    members = transfer.listing_of(oid, places)
    return dict(members.pairs()) if members is not None else {}


def after(
    project: Project,
    plan: Plan,
    done: dict[str, Restored],
    whole: bool,
    got: Whole | None = None,
) -> index.Entry:
    """The record of a path after it was brought: nothing of it needs to be hashed again.

    ``whole``: all of it was; ``got``: a folder that took its place as one.
    """
    entry, item = plan.entry, plan.item
    brought = bool(plan.bring) and plan.bring[0].dest in done
    is_alike = item.out.is_dir or plan.data.stat is None or plan.data.isexec == item.out.isexec
    entry.saw(item.seen, item.oid, is_alike=brought or is_alike)
    if item.out.is_dir:
        if got is not None:
            _after_whole(project, plan, got, whole)
        else:
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
        walked = walking.walk(project.root, plan.item.path, stats=tree is not None)
    except OSError:
        return
    numbers, nothing = walked.numbers, walking.packed([0]) * NUMBERS
    if tree is not None:
        oids, others = tree.proven(walked)
    else:
        oids, others = bytearray(16 * len(walked)), [*range(len(walked))]
        numbers = walked.numbers = nothing * len(walked)
    for at in others:
        span, name = slice(at * NUMBERS, (at + 1) * NUMBERS), walked.names[at]
        one, row = done.get(lead + name), nothing
        if one is not None and one.stat is not None and one.began_ns:
            now = walking.packed([*numbers_of(one.stat)])
            oid = plan.members.get(name, "")
            if oid and (tree is None or now == numbers[span]):
                row = now
                oids[at * 16 : at * 16 + 16] = bytes.fromhex(oid)
        numbers[span] = row  # where nothing is proven it will be read once
    began = max([one.began_ns for one in done.values()], default=0)
    proven = folder.Tree(
        plan.item.path, plan.item.oid if whole else "", walked, bytes(oids),
        max(began, plan.data.began_ns),
    )  # fmt: skip
    folder.save(project.state_dir, proven)


def _after_whole(project: Project, plan: Plan, got: Whole, whole: bool) -> None:
    """Keep what is known of a folder that took its place as one: its files as they were staged."""
    lead = len(project.absolute(plan.item.path)) + 1
    try:
        walked = walking.walk(project.root, plan.item.path, stats=False)
    except OSError:
        return
    same = len(walked) == len(plan.bring)
    pairs = zip(walked.names, plan.bring, strict=False)
    if same and all(one.dest[lead:] == name for name, one in pairs):
        places: Sequence[int] = range(len(walked))
        walked.numbers = got.numbers
    else:  # a listing in another order, or something came to the folder since
        where = {one.dest[lead:]: at for at, one in enumerate(plan.bring)}
        places = [where.get(name, -1) for name in walked.names]
        walked.numbers = walking.packed([])
        for at in places:
            walked.numbers += walking.packed([*got.row(at)])
    none = "0" * 32  # not proven: it will be read once
    oids = [plan.bring[at].oid if at >= 0 and got.row(at)[1] else none for at in places]
    digits = bytes.fromhex("".join(oids))
    del oids
    plan.bring.clear()  # done with, and as much as all that is to be kept
    plan.members.clear()
    oid = plan.item.oid if whole else ""
    folder.save(project.state_dir, folder.Tree(plan.item.path, oid, walked, digits, got.began_ns))


class Stats:
    """The five numbers by which each member of a folder is known, looked up when asked for."""

    __slots__ = ("_names", "_numbers")

    def __init__(self, data: Data) -> None:
        self._names = data.tree.names if data.tree is not None else []
        self._numbers = data.tree.numbers if data.tree is not None else None

    def get(self, name: str) -> tuple[int, ...] | None:
        """The numbers of this member, None where there is no such."""
        at = bisect_left(self._names, name)
        if self._numbers is None or at == len(self._names) or self._names[at] != name:
            return None
        return tuple(self._numbers[at * NUMBERS : (at + 1) * NUMBERS])

    def size(self, name: str) -> int | None:
        """The bytes of this member."""
        found = self.get(name)
        return found[0] if found is not None else None


def numbers_of(stat: os.stat_result) -> tuple[int, int, int, int, int]:
    """A file's five numbers as ``walking.Walk`` has them."""
    return (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev)
