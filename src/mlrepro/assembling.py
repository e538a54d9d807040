"""A new folder of many files: put together in staging, and given its name in one step."""

from __future__ import annotations

import os
import stat
import time

from mlrepro import walking
from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.durable import FEW, sync_dirs, sync_files
from mlrepro.errors import MlreproError
from mlrepro.index import TICK_NS
from mlrepro.kernel import dates_by_our_clock, rename_noreplace, syncfs
from mlrepro.ticks import pass_by

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlrepro.anchor import Anchor
    from mlrepro.settling import Restore
    from mlrepro.staging import Staging

# A kill loses what was put together until then, so no more than is copied anew in seconds.
_MOST_BYTES = 1 << 32
_LEAST = FEW + 1  # files; for fewer, what swaps names is not loaded
_ACL = "system.posix_acl_default"  # what a folder hands on to those that are made in it


class Whole:
    """The folder ``base``, at which nothing is yet; the files that go there have consecutive places
    in the restore, from ``first`` on.

    ``numbers``: five of each file that was staged, as ``walking.Walk`` has them, zeros where it was
    not. Those are the file's for good: giving the folder its name changes none of them.
    ``began_ns``: when (epoch ns) any later write began to show, as the index counts it.
    """

    def __init__(self, base: str, room: Staging, first: int, dests: Sequence[str]) -> None:
        self.base = base
        self.first = first
        self.end = first + len(dests)
        self.count = 0
        self.began_ns = 0
        self.numbers = walking.packed([0]) * (walking.NUMBERS * len(dests))
        self._packed = type(self.numbers)
        self._temp = room.new()
        self._newest_ns = 0
        self._folders = {self._temp: None}
        os.mkdir(self._temp)
        for below in sorted({os.path.dirname(self.path(dest)) for dest in dests}):
            self._make(below)

    def _make(self, path: str) -> None:
        if path not in self._folders:
            self._make(os.path.dirname(path))
            os.mkdir(path)
            self._folders[path] = None

    def path(self, dest: str) -> str:
        """Where the file that goes to ``dest`` is put meanwhile."""
        return self._temp + dest[len(self.base) :]

    def note(self, at: int, numbers: tuple[int, int, int, int, int]) -> None:
        """Note the file of the restore's place ``at`` as it was staged."""
        start = (at - self.first) * walking.NUMBERS
        try:
            row = self._packed("q", numbers)
        except OverflowError:  # inodes above 2**63
            row = walking.packed([*numbers])
        self.numbers[start : start + walking.NUMBERS] = row
        self._newest_ns = max(self._newest_ns, numbers[1], numbers[2])
        self.count += 1

    def row(self, at: int) -> tuple[int, ...]:
        """The numbers of its file ``at``, zeros where that was not staged, or is none of its."""
        count = walking.NUMBERS
        return tuple(self.numbers[at * count : (at + 1) * count]) if at >= 0 else (0,) * count

    def staged(self) -> Iterator[tuple[int, tuple[int, ...]]]:
        """The place and the numbers of each file that was staged."""
        rows = zip(*[iter(self.numbers)] * walking.NUMBERS, strict=True)
        for at, row in enumerate(rows, self.first):
            if row[1]:
                yield at, row

    def flush(self, items: Sequence[Restore]) -> None:
        """Bring what was staged to the disk: files and names; ``items``: of the whole restore."""
        if not (self.count > FEW and syncfs(self._temp)):
            sync_files([self.path(items[at].dest) for at, _ in self.staged()])
            sync_dirs(self._folders)

    def place(self, anchor: Anchor) -> bool:
        """Give the folder, once flushed, its name, unless something has it; says whether it did.

        Whatever else is in the way is left to a restore of each file by itself to find, and say.
        """
        if not pass_by(self._newest_ns, self._device()):
            return False
        try:
            above, name = anchor.parent(self.base)
            try:
                if not rename_noreplace(self._temp, name, new_dir=above):
                    return False
            finally:
                os.close(above)
        except (MlreproError, OSError):
            return False
        # Later than it is by as much as the index asks for: no write can hide any more.
        self.began_ns = time.time_ns() + TICK_NS
        sync_dirs([os.path.dirname(self.base)])
        return True

    def _device(self) -> int:
        return next((row[4] for _, row in self.staged()), 0)


def can_be_whole(base: str, room: Staging, sizes: Sequence[int]) -> bool:
    """Whether a folder made in staging is, with a rename, what one made at ``base`` would be."""
    if len(sizes) < _LEAST or sum(sizes) > _MOST_BYTES:
        return False
    above = os.path.dirname(base)
    try:
        there, here = os.stat(above), os.stat(room.folder)
        if os.path.lexists(base) or there.st_dev != here.st_dev:
            return False
        if not dates_by_our_clock(there.st_dev) or _ACL in os.listxattr(above):
            return False
    except OSError:
        return False
    group = stat.S_ISGID & there.st_mode, there.st_gid
    own = stat.S_ISGID & here.st_mode, here.st_gid
    return group == own or not (group[0] or own[0])
