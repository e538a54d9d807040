"""What lies at each tracked path: proven to be as it was when it was hashed, or hashed now."""

from __future__ import annotations

import os
import stat as stat_module

from mlrepro import (
    dvcignore,
    engine,
    folder,
    glance,
    index,
    legacy,
    plainfile,
    pointer,
    safepath,
    walking,
)
from mlrepro.dataclass import TYPE_CHECKING, dataclass
from mlrepro.errors import MlreproError, PathError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from mlrepro.hashing import Stat
    from mlrepro.outputs import Tracked
    from mlrepro.project import Project
    from mlrepro.result import Options


@dataclass(slots=True)
class Data:
    """What lies at a tracked path now.

    ``oid``: "" where it is missing; ``size``: bytes; ``nfiles``: for a folder; ``tree``, ``plan``:
    for a folder, its members as hashed now; ``proven``: nothing had to be hashed.
    """

    path: str
    oid: str = ""
    size: int = 0
    nfiles: int | None = None
    isexec: bool = False
    stat: Stat | None = None
    began_ns: int = 0
    tree: folder.Tree | None = None
    proven: bool = False
    error: MlreproError | None = None
    plan: FolderPlan | None = None

    @property
    def is_missing(self) -> bool:
        return not self.oid and self.error is None


def examine(
    project: Project,
    paths: Sequence[str],
    record: index.Record,
    options: Options,
    items: Iterable[Tracked] = (),
) -> dict[str, Data]:
    """Say what lies at each path now: proven by the record where that is possible, else hashed.

    Of ``items``, what DVC 2 hashed, in its own way, gets that hash if it still is that content.
    """
    found: dict[str, Data] = {}
    to_hash: list[str] = []
    straight: set[str] = set()  # folders on the way to which there is no link
    for path in paths:
        data = found[path] = Data(path)
        absolute = project.absolute(path)
        try:
            if os.path.dirname(path) not in straight:
                refuse_link(project, path)
                straight.add(os.path.dirname(path))
            now = os.lstat(absolute)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            data.error = PathError(
                f"Cannot read {path}: {error.strerror}",
                f"ls -ld {safepath.quoted(path)}",
                path=path,
            )
            continue
        except MlreproError as error:
            data.error = error
            continue
        entry = record.entries.get(path)
        if stat_module.S_ISDIR(now.st_mode):
            _examine_folder(project, data, options)
        elif entry is not None and entry.oid and entry.is_unchanged(now):
            data.oid, data.size, data.stat = entry.oid, entry.size, now
            data.isexec = bool(now.st_mode & 0o111)
            data.began_ns, data.proven = entry.began_ns, True
        else:
            to_hash.append(path)
    _hash(project, to_hash, found, options)
    for item in items:
        if item.out.legacy and item.path in found and found[item.path].oid:
            _compare_as_dvc_2(project, item.out, found[item.path])
    return found


def _compare_as_dvc_2(project: Project, out: pointer.Out, data: Data) -> None:
    """Give data the hash that a pointer of DVC 2 names, if it is what that names; else another."""
    known = data.oid if data.tree is None else data.tree.alias
    size_fits = out.size is None or out.size == data.size
    if data.proven and known == out.oid and size_fits:
        data.oid = out.oid
        return
    where, path = legacy.places(project), project.absolute(data.path)
    same = size_fits and out.is_dir == (data.tree is not None)
    if same and data.tree is not None:
        named = legacy.listing(where, out.oid)
        same = bool(named) and legacy.members(where, path, data.tree, named) == named
    elif same:
        same = legacy.is_same(where, path, data.oid, data.size, out.oid, out.size)
    if same:
        data.oid = out.oid
    elif data.oid == out.oid:
        data.oid = legacy.other(data.oid)
    if same and data.tree is not None:
        data.tree.alias, data.proven = out.oid, False  # so that it is kept


def linked_parent(project: Project, path: str) -> str:
    """The first folder on the way to ``path`` that is a symbolic link, or ""."""
    return plainfile.linked_parent(project.root, path)


def refuse_link(project: Project, path: str) -> None:
    """Raise PathError where the way to ``path`` leads through a symbolic link."""
    link = linked_parent(project, path)
    if link:
        raise PathError(
            f"{path} lies behind a symbolic link: {link}",
            "name the real path",
            code="path-symlink",
            path=path,
        )


def _hash(project: Project, paths: list[str], found: dict[str, Data], options: Options) -> None:
    absolute = {project.absolute(path): path for path in paths}
    report = engine.hash_files(list(absolute), jobs=options.jobs, reporter=options.reporter)
    for done in report.saved:
        data = found[absolute[done.path]]
        data.oid, data.size, data.stat = done.oid, done.size, done.stat
        data.isexec, data.began_ns = done.isexec, done.began_ns
    for path, error in report.failed:
        error.path = absolute[path]
        found[absolute[path]].error = error


def check_folder(path: str, found: walking.Walk, left_out: set[str]) -> None:
    """Refuse what DVC would refuse, drop or follow: links, devices, repositories inside."""
    for name in found.odd:
        if name not in left_out:
            raise PathError(
                f"{path}/{name} is neither a file nor a folder (a link, a pipe, a device).",
                "take it out of the folder, or name it in .dvcignore",
                code="path-not-regular",
                path=f"{path}/{name}",
            )
    for name in found.nested:
        raise PathError(
            f"{path}/{name} is a repository of its own inside a tracked folder.",
            "move it out of the folder",
            code="path-nested-repository",
            path=f"{path}/{name}",
        )
    joined = "/".join(found.names)
    for name in found.names if ".dvcignore" in joined else ():
        if f"/{name}".endswith("/.dvcignore") and name not in left_out:
            raise PathError(
                f"A .dvcignore file cannot lie in a tracked folder: {path}/{name}",
                "move its rules to a folder above",
                code="path-ignore-file",
                path=f"{path}/{name}",
            )
    if "\n" in joined or not safepath.is_utf8(joined):  # before any of them is stored
        safepath.check_paths([name for name in found.names if name not in left_out], writing=True)


def _examine_folder(project: Project, data: Data, options: Options) -> None:
    try:
        plan = plan_folder(project, data.path)
        if plan.tree is not None:  # its listing is not asked for: all is as it was
            _complete(data, plan, plan.tree)
            data.oid, data.proven, data.plan = plan.tree.oid, True, plan
            return
        paths = plan.paths(project.absolute(data.path), plan.fresh)
        report = engine.hash_files(
            paths, jobs=options.jobs, reporter=options.reporter, note=plan.noting(plan.fresh)
        )
        for path, error in report.failed:
            error.path = f"{data.path}/{path[len(paths.base) :]}"
            raise error
    except MlreproError as error:
        data.error = error
        return
    finish_folder(data, plan)
    data.plan = plan


class _Paths:
    """The absolute paths of some members of a folder, each made when it is asked for."""

    __slots__ = ("base", "names", "places")

    def __init__(self, base: str, names: Sequence[str], places: Sequence[int]) -> None:
        self.base = base
        self.names = names
        self.places = places

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, at: int) -> str:
        return self.base + self.names[self.places[at]]

    def __iter__(self) -> Iterator[str]:
        return (self.base + self.names[at] for at in self.places)


@dataclass(slots=True)
class FolderPlan:
    """What of a folder is proven, and what must be read.

    ``oids``: of each file that the walk has, 16 bytes: ``folder.UNKNOWN`` where it must be read,
    or is left out; ``fresh``: which must be, by their places in the walk.
    """

    walk: walking.Walk
    oids: bytearray
    fresh: Sequence[int]
    began_ns: int
    tree: folder.Tree | None = None  # set when nothing changed at all
    checked: bool = False  # these very names are in a listing that was made before
    shelves: str = ""  # by which it is known what the store has of these: see ``Presence``
    finished: tuple[bytes, bytes, Data] | None = None  # oids, listing, what came of it

    def paths(self, base: str, places: Sequence[int]) -> _Paths:
        """The absolute paths of the files at these places, in the folder ``base``."""
        return _Paths(base.rstrip("/") + "/", self.walk.names, places)

    def sizes(self, places: Sequence[int]) -> Sequence[int]:
        """How large each of these was when it was listed, in bytes."""
        every = self.walk.numbers[:: walking.NUMBERS]
        return every if len(places) == len(every) else [every[at] for at in places]

    def oid(self, at: int) -> str:
        """The hash of the file at this place, "" where it is not known."""
        oid = self.oids[at * 16 : at * 16 + 16]
        return oid.hex() if oid != folder.UNKNOWN else ""

    def known(self) -> int:
        """How many hashes are known."""
        return len(self.walk) - len(_unknown(self.oids))

    def anew(self) -> FolderPlan:
        """The same with every member still to be read."""
        left_out = {*_unknown(self.oids)}.difference(self.fresh)
        every = [at for at in range(len(self.walk)) if at not in left_out]
        return FolderPlan(self.walk, bytearray(len(self.oids)), every, self.began_ns)

    def noting(
        self, places: Sequence[int]
    ) -> Callable[[int, str, tuple[int, ...], int, bool], None]:
        """What is to be told of each file that is read, by where it is in ``places``.

        It is kept as it was when it was read, which may be after it was listed. One that a writer
        was at is not vouched for: it will be read again.
        """
        numbers, oids, count = self.walk.numbers, self.oids, walking.NUMBERS

        def note(which: int, oid: str, stat: tuple[int, ...], began_ns: int, _: bool) -> None:
            at = places[which]
            row = stat[1:] if began_ns else (stat[1], *(0,) * (count - 1))
            first = at * count
            try:
                for place, number in enumerate(row, first):
                    numbers[place] = number
            except OverflowError:  # see ``packed``
                numbers[first : first + count] = walking.packed([*row])
            was, now = oids[at * 16 : at * 16 + 16], bytes.fromhex(oid)
            if was not in (now, folder.UNKNOWN):
                self.tree = None  # it was proven, and changed since
            oids[at * 16 : at * 16 + 16] = now

        return note


def _unknown(oids: bytes | bytearray) -> list[int]:
    """The places without a hash."""
    places = []
    at = oids.find(folder.UNKNOWN)
    while at >= 0:
        if at % 16 == 0:
            places.append(at // 16)
        at = oids.find(folder.UNKNOWN, at - at % 16 + 16)
    return places


def plan_folder(project: Project, path: str) -> FolderPlan:
    """List a folder and find which members have to be read. Raises PathError."""
    began = index.now_ns()
    seen = glance.taken(project.root, path)
    try:
        found = seen[0] if seen else walking.walk(project.root, path)
    except OSError as error:
        raise PathError(
            f"Cannot read {os.path.relpath(error.filename or path, project.root)}: "
            f"{error.strerror}",
            f"ls -ld {safepath.quoted(path)}",
            code="unreadable",
            path=path,
        ) from error
    if seen:
        began = seen[1]
    tree = seen[2] if seen else folder.load(project.state_dir, path)
    if tree is not None and tree.oid and tree.is_same(found):
        return FolderPlan(found, bytearray(tree.oids), (), tree.began_ns, tree)
    out = dvcignore.left_out(project, path, found)
    check_folder(path, found, out)
    count = len(found)
    oids = tree.proven(found)[0] if tree is not None else bytearray(16 * count)
    fresh: Sequence[int] = _unknown(oids) if tree is not None else range(count)
    if out:
        for at in [at for at in range(count) if found.names[at] in out]:
            oids[at * 16 : at * 16 + 16] = folder.UNKNOWN
        fresh = [at for at in fresh if found.names[at] not in out]
    # What was proven keeps the earlier date: the whole tree is only as old as its oldest hashing.
    # Racy files were read again, so the new date holds for everything that is not proven.
    plan = FolderPlan(found, oids, fresh, began)
    if tree is not None:
        plan.checked = bool(tree.oid) and tree.is_listed_as(found)  # so the same ones are left out
        plan.shelves = tree.shelves
    return plan


def finish_folder(data: Data, plan: FolderPlan) -> bytes:
    """Complete ``data``, now that all hashes are in ``plan``; returns the listing's bytes."""
    if plan.finished is not None and plan.finished[0] == plan.oids:
        _, listing, was = plan.finished
        data.oid, data.size, data.nfiles = was.oid, was.size, was.nfiles
        data.tree, data.proven, data.began_ns = was.tree, was.proven, was.began_ns
        return listing
    listing = pointer.render_members(plan.walk.names, plan.oids, checked=plan.checked)
    tree = plan.tree
    if tree is not None:
        data.oid, data.proven = tree.oid, True
    else:
        data.oid = pointer.listing_oid(listing)
        tree = folder.Tree(data.path, data.oid, plan.walk, bytes(plan.oids), plan.began_ns)
    _complete(data, plan, tree)
    plan.finished = tree.oids, listing, data
    return listing


def _complete(data: Data, plan: FolderPlan, tree: folder.Tree) -> None:
    """Note what a folder comes to, now that all its members are known."""
    data.tree = tree
    rows, left_out = plan.walk.numbers[:: walking.NUMBERS], _unknown(plan.oids)
    data.size = sum(rows) - sum([rows[at] for at in left_out])
    data.nfiles = len(rows) - len(left_out)
    data.began_ns = plan.began_ns


def note(entry: index.Entry, data: Data, item: Tracked | None) -> None:
    """Carry what was found into the record's entry.

    Where its executable bit is not what the pointer says, a commit has to look at the file again.
    """
    same = item is None or data.stat is None or data.isexec == item.out.isexec
    entry.hashed(data.oid, data.size, data.stat if same else None, data.began_ns)
    if item is not None:
        entry.saw(item.seen, item.oid, is_alike=same)
