"""Staged files to their places: flushed together, put there one by one, looked at once more."""

from __future__ import annotations

import errno
import os
import time
from _thread import allocate_lock

from mlrepro.dataclass import TYPE_CHECKING, dataclass, field
from mlrepro.durable import discard, sync_dirs, sync_files
from mlrepro.errors import MlreproError
from mlrepro.index import TICK_NS
from mlrepro.placing import FULL, key_of, place_error, place_new, replace
from mlrepro.ticks import pass_by

if TYPE_CHECKING:
    from mlrepro.anchor import Anchor
    from mlrepro.assembling import Whole
    from mlrepro.hashing import Stat
    from mlrepro.staging import Staging

_BATCH_FILES = 4096
BATCH_BYTES = 1 << 29  # so much is staged at once, beside what it replaces
FLUSH_AT_ONCE = 1 << 24  # bytes; from here on a file is flushed while others are still copied


@dataclass(slots=True)
class Restore:
    """One file to bring back.

    ``dest``: absolute path; ``size``: bytes, where known; ``expect``: the stat (or size, mtime_ns,
    ctime_ns, inode, device) that the file there must still have; None: there must be none.
    ``legacy``: a pointer of DVC 2 names it, whose own blob comes before DVC 3's.
    """

    oid: str
    dest: str
    size: int | None = None
    isexec: bool = False
    expect: Stat | tuple[int, ...] | None = None
    legacy: bool = False


@dataclass(slots=True)
class Restored:
    """A file that is in place: its stat, and since when (epoch ns) any write to it would show.

    Where it has been written to already, or is gone (``stat``: None), ``began_ns`` is 0.
    """

    dest: str
    stat: os.stat_result | None
    began_ns: int


@dataclass
class RestoreReport:
    """``missing``: no source has the right bytes; ``kept``: the file there is not as expected, or
    is being written to; ``failed``: could not be put in place, and why; ``corrupt``: oids that were
    found damaged in a source and set aside there; ``recovered``: users' files that a run which was
    killed left in staging, set aside; ``unkept``: blobs of other sources, right, that could not be
    linked into the cache; ``wholes``: folders that took their place as one, whose files are not
    among the ``restored``.
    """

    restored: list[Restored] = field(default_factory=list)
    missing: list[Restore] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failed: list[tuple[str, MlreproError]] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)
    recovered: list[str] = field(default_factory=list)
    unkept: list[str] = field(default_factory=list)
    wholes: dict[str, Whole] = field(default_factory=dict)


@dataclass(slots=True)
class Staged:
    """A file whose right content is in ``temp``; ``beside``: in the folder that it goes to."""

    item: Restore
    temp: str
    size: int
    mtime_ns: int
    inode: int
    device: int
    beside: bool


class _Folder:
    """The folder that the last file went to, kept open since the next one mostly goes there too."""

    def __init__(self, anchor: Anchor) -> None:
        self.path, self.fd, self.device = "", -1, 0
        self._anchor = anchor

    def __enter__(self) -> _Folder:
        return self

    def __exit__(self, *_: object) -> None:
        if self.fd >= 0:
            os.close(self.fd)

    def enter(self, dest: str) -> str:
        """Go to the folder of ``dest``, made where missing; returns its name there.

        Raises Refused where the way leads through a symlink or out of the root, and OSError.
        """
        path, _, name = dest.rpartition("/")
        if path != self.path or self.fd < 0:
            fd, name = self._anchor.parent(dest, make=True)
            self.__exit__()
            self.path, self.fd, self.device = path, fd, os.fstat(fd).st_dev
        return name


class Batch:
    """What is staged in ``room`` and waits for its place; any thread may add, one places."""

    def __init__(self, anchor: Anchor, room: Staging, report: RestoreReport) -> None:
        self._anchor = anchor
        self._room = room
        self._report = report
        self._guard = allocate_lock()
        self._one_batch = allocate_lock()
        self._batch: list[Staged] = []
        self._bytes = 0
        self._placed: list[Staged] = []
        self._placed_ns = 0
        self._devices: set[int] = set()

    def add(self, staged: Staged) -> bool:
        """Take over a staged file; says whether there are so many that they should be placed."""
        with self._guard:
            self._batch.append(staged)
            self._bytes += staged.size
            return len(self._batch) >= _BATCH_FILES or self._bytes >= BATCH_BYTES

    def place(self) -> list[Restore]:
        """Flush what is staged, put each file in its place, and flush the names.

        Returns the files that can only be staged in the folder that they go to. Raises OSError
        where the disk is full.
        """
        far: list[Restore] = []
        with self._one_batch:
            with self._guard:
                batch, self._batch, self._bytes = self._batch, [], 0
            if not batch:
                return far
            for device in {one.device for one in batch}:
                here = [one for one in batch if one.device == device]
                sync_files([one.temp for one in here if one.size < FLUSH_AT_ONCE])
                pass_by(max(one.mtime_ns for one in here), device)
            folders: dict[int, set[str]] = {}
            with _Folder(self._anchor) as folder:
                for one in batch:
                    if self._place(one, folder, far):
                        folders.setdefault(folder.device, set()).add(folder.path)
                        self._placed.append(one)
                        self._devices.add(one.device)
            self._placed_ns = time.time_ns()
            for names in folders.values():
                sync_dirs(names)
        return far

    def _place(self, one: Staged, folder: _Folder, far: list[Restore]) -> bool:
        """Put one file in its place; says whether it is there."""
        item = one.item
        try:
            name = folder.enter(item.dest)
            if item.expect is None:
                done = place_new(one.temp, folder.fd, name)
            else:
                expect = key_of(item.expect)
                done = replace(one.temp, folder.fd, name, expect, self._room, isexec=item.isexec)
            if done:
                return True
            self._report.kept.append(item.dest)
        except MlreproError as error:
            self._report.failed.append((item.dest, error))
        except OSError as error:
            if error.errno == errno.EXDEV and not one.beside:
                far.append(item)  # a bind mount: one device, and yet no rename across
            elif error.errno in FULL:
                raise
            else:
                self._report.failed.append((item.dest, place_error(error, item.dest)))
        discard(one.temp)
        return False

    def settle(self) -> None:
        """Take the stat of what was placed, once no later write can hide behind its times."""
        sure = {device: pass_by(self._placed_ns, device) for device in self._devices}
        for one in self._placed:
            began_ns, dest = time.time_ns(), one.item.dest
            try:
                now = os.lstat(dest)
            except OSError:
                now = None
            was = (one.size, one.mtime_ns, one.inode)
            if now is None or (now.st_size, now.st_mtime_ns, now.st_ino) != was:
                now, began_ns = None, 0
            elif max(now.st_mtime_ns, now.st_ctime_ns) < sure[one.device]:
                began_ns += TICK_NS  # as late as it takes for the index to believe what is sure
            self._report.restored.append(Restored(dest, now, began_ns))
