"""What of a tracked folder is proven, and which of its files must be read."""

from __future__ import annotations

import os

from mlrepro import dvcignore, folder, glance, index, safepath, walking
from mlrepro.dataclass import TYPE_CHECKING, dataclass
from mlrepro.errors import PathError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mlrepro.project import Project
    from mlrepro.worktree import Data


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
        return len(self.walk) - len(unknown(self.oids))

    def anew(self) -> FolderPlan:
        """The same with every member still to be read."""
        left_out = {*unknown(self.oids)}.difference(self.fresh)
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


def unknown(oids: bytes | bytearray) -> list[int]:
    """The places without a hash."""
    places = []
    at = oids.find(folder.UNKNOWN)
    while at >= 0:
        if at % 16 == 0:
            places.append(at // 16)
        at = oids.find(folder.UNKNOWN, at - at % 16 + 16)
    return places


def of(project: Project, path: str) -> FolderPlan:
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
    _check(path, found, out)
    count = len(found)
    oids = tree.proven(found)[0] if tree is not None else bytearray(16 * count)
    fresh: Sequence[int] = unknown(oids) if tree is not None else range(count)
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


def _check(path: str, found: walking.Walk, left_out: set[str]) -> None:
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
