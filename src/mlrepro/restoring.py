"""Blobs back to files: staged, hashed on the way, flushed, and only then put in their places."""

from __future__ import annotations

import errno
import itertools
import os
import time
from _thread import allocate_lock

from mlrepro.anchor import Anchor
from mlrepro.dataclass import TYPE_CHECKING, dataclass, field
from mlrepro.durable import discard, flush, free_bytes, sync_dirs, sync_files
from mlrepro.errors import MlreproError, StoreError
from mlrepro.hashing import in_turn, stat_key
from mlrepro.kernel import reflink
from mlrepro.parallel import Crew
from mlrepro.placing import (
    FULL,
    disk_error,
    key_of,
    place_error,
    place_new,
    remove_files,
    replace,
)
from mlrepro.reading import Blob, open_blobs, set_aside
from mlrepro.result import Reporter
from mlrepro.shares import share_out
from mlrepro.smallblobs import Stage, keep
from mlrepro.staging import Staging, sweep
from mlrepro.store import Store
from mlrepro.streaming import SMALL

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Restore", "RestoreReport", "Restored", "remove_files", "restore_files"]

# What was staged: the file, size, mtime (ns), inode, device, whether the cache is without it.
Staged = tuple[str, int, int, int, int, bool]

_BATCH_FILES = 4096
_BATCH_BYTES = 1 << 29
_FLUSH_AT_ONCE = 1 << 24  # bytes; from here on a file is flushed while others are still copied
# A write is stamped with the last clock tick, up to 10 ms ago; the index counts on 20.
_TICK_NS = 12_000_000
_SETTLED_NS = 21_000_000


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
    expect: os.stat_result | tuple[int, ...] | None = None
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
    linked into the cache.
    """

    restored: list[Restored] = field(default_factory=list)
    missing: list[Restore] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failed: list[tuple[str, MlreproError]] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)
    recovered: list[str] = field(default_factory=list)
    unkept: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Staged:
    item: Restore
    temp: str
    size: int
    mtime_ns: int
    inode: int
    device: int
    beside: bool


def restore_files(
    items: Sequence[Restore],
    sources: Sequence[Store],
    staging: str,
    root: str,
    *,
    jobs: int = 0,
    reporter: Reporter | None = None,
) -> RestoreReport:
    """Bring blobs, each from the first of ``sources`` that has its right bytes, to their files.

    The first source is the cache: it gets a link to what came, unharmed, from another one.
    A file is replaced only by verified, flushed content and only if it is still as expected; its
    permission bits stay. Nothing outside ``root`` is reached, no symlink below it followed.
    ``staging``: a folder for temporary files, best on the same file system, made where missing.
    Raises StoreError: ``disk-full`` (before long work, where that can be told), ``disk-failed``.
    """
    if not items:
        return RestoreReport(recovered=sweep(staging))
    reporter = reporter or Reporter()
    try:
        os.makedirs(staging, exist_ok=True)
        with Staging(staging, staging) as room, Anchor(root) as anchor:
            restorer = _Restorer(sources, room, anchor, Crew(jobs), reporter)
            reporter.begin("restore", sum(item.size or 0 for item in items))
            try:
                restorer.run(items)
            finally:
                reporter.end()
    except OSError as error:
        raise disk_error(error, staging) from error
    restorer.report.recovered = room.recovered
    return restorer.report


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


class _Restorer:
    """One call of restore_files."""

    def __init__(
        self,
        sources: Sequence[Store],
        room: Staging,
        anchor: Anchor,
        crew: Crew,
        reporter: Reporter,
    ) -> None:
        self.sources = sources
        self.room = room
        self.anchor = anchor
        self.crew = crew
        self.reporter = reporter
        self.report = RestoreReport()
        self._device = os.stat(room.folder).st_dev
        self._guard = allocate_lock()
        self._one_batch = allocate_lock()
        self._batch: list[_Staged] = []
        self._bytes = 0
        self._placed: list[_Staged] = []
        self._placed_ns = 0
        self._last = 0

    def run(self, items: Sequence[Restore]) -> None:
        """Restore all: copied in several threads, put in place by one at a time."""
        sizes = [self._size(item) for item in items]
        self._check_space(items, sizes)
        stage = Stage([*self.sources], self.room, itertools.count())

        def fetch_small(share: int, at: int) -> Staged | None:
            item = items[at]
            if item.expect is not None and not _is_expected(item):
                return None
            return stage(share, item.oid, item.size, item.isexec)

        def take(at: int, staged: Staged) -> None:
            self._take(items[at], staged)

        def fetch(at: int) -> None:
            staged = fetch_small(0, at) if at in small else None
            if staged is not None:
                self._take(items[at], staged)
            else:
                self.fetch(items[at], beside=False)

        small = dict.fromkeys(self._small(items, sizes))
        left = share_out(list(small), self.crew.jobs, fetch_small, take)
        done = small.keys() - left
        if done:
            small.clear()  # what is left of them is out of the ordinary
        rest = [at for at in range(len(items)) if at not in done]
        self.crew.each(self.crew.one_by_one(fetch), in_turn(sizes, rest))
        self.place()
        self._settle()

    def _small(self, items: Sequence[Restore], sizes: list[int]) -> list[int]:
        """The positions of the items that nothing is said of that would take more than a copy."""
        devices: dict[str, bool] = {}
        found = []
        for at, item in enumerate(items):
            if item.legacy or sizes[at] > SMALL:
                continue
            folder = os.path.dirname(item.dest)
            if folder not in devices:
                devices[folder] = self._device_of(item.dest) == self._device
            if devices[folder]:
                found.append(at)
        return found

    def _take(self, item: Restore, staged: Staged) -> None:
        """Add a file that was staged to the batch."""
        temp, size, mtime_ns, inode, device, unkept = staged
        if unkept:
            self.report.unkept.append(item.oid)
        self.reporter.advance(size)
        self._add(_Staged(item, temp, size, mtime_ns, inode, device, False))

    def _size(self, item: Restore) -> int:
        size: int
        if item.size is not None:
            return item.size
        for at in dict.fromkeys((self._last, *range(len(self.sources)))):
            found = self.sources[at].find(item.oid)
            if found is not None:
                self._last, size = at, found[1].st_size  # the next one is likely there, too
                return size
        return 0

    def _check_space(self, items: Sequence[Restore], sizes: list[int]) -> None:
        free, total = free_bytes(self.room.folder), sum(sizes)
        old = sum(key_of(item.expect)[0] for item in items if item.expect is not None)
        needed = min(total, max(total - old, 0) + min(total, _BATCH_BYTES))
        if needed <= free or self._shares_blocks(items[sizes.index(max(sizes))].oid):
            return
        raise StoreError(
            f"{needed} bytes are needed at {self.anchor.root}, {free} are free.",
            "Free some space, then run this again",
            code="disk-full",
            path=self.anchor.root,
        )

    def _shares_blocks(self, oid: str) -> bool:
        """Whether the copy of a blob takes no space here, by trying."""
        temp = self.room.new()
        fd = os.open(temp, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC)
        try:
            for store in self.sources[:1]:
                for blob in open_blobs(store, oid, []):
                    return reflink(blob.fd, fd)
            return False
        finally:
            os.close(fd)
            discard(temp)

    def fetch(self, item: Restore, beside: bool) -> None:
        """Stage one file, from the first source whose bytes are right."""
        if not _is_expected(item):
            self.report.kept.append(item.dest)
            return
        beside = beside or self._device_of(item.dest) != self._device
        try:
            temp, fd = self._create(item, beside)
        except MlreproError as error:
            self.report.failed.append((item.dest, error))
            return
        try:
            if not self._fill(item, fd):
                discard(temp)
                return
            about = os.fstat(fd)
            if about.st_size >= _FLUSH_AT_ONCE:
                flush(fd)
        finally:
            os.close(fd)
        self._add(
            _Staged(
                item, temp, about.st_size, about.st_mtime_ns, about.st_ino, about.st_dev, beside
            )
        )

    def _add(self, staged: _Staged) -> None:
        with self._guard:
            self._batch.append(staged)
            self._bytes += staged.size
            full = len(self._batch) >= _BATCH_FILES or self._bytes >= _BATCH_BYTES
        if full:
            self.place()

    def _device_of(self, dest: str) -> int:
        """The device of the nearest folder above ``dest`` that there is."""
        folder = os.path.dirname(dest)
        while True:
            try:
                return os.stat(folder).st_dev
            except OSError:
                if len(folder) <= len(self.anchor.root):
                    return self._device
                folder = os.path.dirname(folder)

    def _create(self, item: Restore, beside: bool) -> tuple[str, int]:
        """A temporary file with a new file's mode, in staging or where the file itself goes."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        mode = 0o777 if item.isexec else 0o666
        if not beside:
            temp = self.room.new()
            return temp, os.open(temp, flags, mode)
        try:
            folder, _ = self.anchor.parent(item.dest, make=True)
            try:
                with self._guard:
                    temp = self.room.new_beside(os.path.dirname(item.dest))
                return temp, os.open(os.path.basename(temp), flags, mode, dir_fd=folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise place_error(error, item.dest) from error

    def _fill(self, item: Restore, fd: int) -> bool:
        """Copy the right bytes into an open file; else says what is wrong in the report."""
        problem: StoreError | None = None
        other_size = False
        for store in self.sources:
            bad: list[str] = []
            try:
                for blob in open_blobs(store, item.oid, bad):
                    if item.legacy and not blob.legacy:
                        continue  # the same text, maybe with other line ends
                    _empty(fd)
                    if blob.pour(fd, self._explain, self.crew.check, self.reporter.advance):
                        if item.size is None or blob.stat.st_size == item.size:
                            self._keep(blob)
                            return True
                        other_size = True  # right by DVC 2's hash, which one with CRLF has too
                        continue
                    bad.append(item.oid)
                    set_aside(store, item.oid, blob.path, blob.stat)
            except StoreError as error:
                if error.code.startswith("disk-"):
                    raise
                problem = error  # this source cannot be read: the next one may
            finally:
                self.report.corrupt += bad
        if item.legacy:
            rest = Restore(item.oid, item.dest, item.size, item.isexec, item.expect)
            return self._fill(rest, fd)
        if other_size:
            rest = Restore(item.oid, item.dest, None, item.isexec, item.expect)
            return self._fill(rest, fd)
        if problem is None:
            self.report.missing.append(item)
        else:
            self.report.failed.append((item.dest, problem))
        return False

    def _keep(self, blob: Blob) -> None:
        """Give the cache a blob whose bytes were just found right."""
        cache = self.sources[0]
        if blob.store is cache or blob.legacy:
            return
        if not keep(cache, blob.path, blob.oid, blob.stat):
            self.report.unkept.append(blob.oid)

    def _explain(self, error: OSError) -> StoreError:
        return disk_error(error, self.room.base)

    def place(self) -> None:
        """Flush what is staged, put each file in its place, and flush the names."""
        far: list[Restore] = []
        with self._one_batch:
            with self._guard:
                batch, self._batch, self._bytes = self._batch, [], 0
            if not batch:
                return
            for device in {one.device for one in batch}:
                here = [one for one in batch if one.device == device]
                sync_files([one.temp for one in here if one.size < _FLUSH_AT_ONCE])
            _wait_until(max(one.mtime_ns for one in batch) + _TICK_NS)
            folders: dict[int, set[str]] = {}
            with _Folder(self.anchor) as folder:
                for one in batch:
                    if self._place(one, folder, far):
                        folders.setdefault(folder.device, set()).add(folder.path)
                        self._placed.append(one)
            self._placed_ns = time.time_ns()
            for names in folders.values():
                sync_dirs(names)
        for item in far:
            self.fetch(item, beside=True)
        if far:
            self.place()

    def _place(self, one: _Staged, folder: _Folder, far: list[Restore]) -> bool:
        """Put one file in its place; says whether it is there."""
        item = one.item
        try:
            name = folder.enter(item.dest)
            if item.expect is None:
                done = place_new(one.temp, folder.fd, name)
            else:
                expect = key_of(item.expect)
                done = replace(one.temp, folder.fd, name, expect, self.room, isexec=item.isexec)
            if done:
                return True
            self.report.kept.append(item.dest)
        except MlreproError as error:
            self.report.failed.append((item.dest, error))
        except OSError as error:
            if error.errno == errno.EXDEV and not one.beside:
                far.append(item)  # a bind mount: one device, and yet no rename across
            elif error.errno in FULL:
                raise
            else:
                self.report.failed.append((item.dest, place_error(error, item.dest)))
        discard(one.temp)
        return False

    def _settle(self) -> None:
        """Take the stat of what was placed, once no later write can hide behind its times."""
        _wait_until(self._placed_ns + _SETTLED_NS)
        for one in self._placed:
            began_ns, dest = time.time_ns(), one.item.dest
            try:
                now = os.lstat(dest)
            except OSError:
                now = None
            was = (one.size, one.mtime_ns, one.inode)
            if now is None or (now.st_size, now.st_mtime_ns, now.st_ino) != was:
                now, began_ns = None, 0
            self.report.restored.append(Restored(dest, now, began_ns))


def _empty(fd: int) -> None:
    """Take out what an open file got from a source that was not right.

    Only then: ext4 writes a file that was truncated to the disk when it is closed, and waits.
    """
    if os.lseek(fd, 0, os.SEEK_CUR):
        os.ftruncate(fd, 0)
        os.lseek(fd, 0, os.SEEK_SET)


def _is_expected(item: Restore) -> bool:
    """A first look, before anything is copied; the one that counts is at the swap."""
    try:
        now = os.lstat(item.dest)
    except OSError:
        return item.expect is None
    return item.expect is not None and stat_key(now) == key_of(item.expect)


def _wait_until(when_ns: int) -> None:
    wait = when_ns - time.time_ns()
    if 0 < wait < 1_000_000_000:  # a clock that was set back is not waited for
        time.sleep(wait / 1e9)
