"""Blobs back to files: staged, hashed on the way, flushed, and only then put in their places."""

from __future__ import annotations

import errno
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
from mlrepro.staging import Staging, sweep
from mlrepro.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Restore", "RestoreReport", "Restored", "remove_files", "restore_files"]

_BATCH_FILES = 4096
_BATCH_BYTES = 1 << 29
_FLUSH_AT_ONCE = 1 << 24  # bytes; from here on a file is flushed while others are still copied
# A write is stamped with the last clock tick, up to 10 ms ago; the index counts on 20.
_TICK_NS = 12_000_000
_SETTLED_NS = 30_000_000


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

    Where it has been written to already, ``stat`` is not the file's and ``began_ns`` is 0.
    """

    dest: str
    stat: os.stat_result
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
    stat: os.stat_result
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

    def run(self, items: Sequence[Restore]) -> None:
        """Restore all: copied in several threads, put in place by one at a time."""
        sizes = [self._size(item.oid) for item in items]
        self._check_space(items, sizes)

        def fetch(at: int) -> None:
            self.fetch(items[at], beside=False)

        self.crew.each(self.crew.one_by_one(fetch), in_turn(sizes))
        self.place()
        self._settle()

    def _size(self, oid: str) -> int:
        for store in self.sources:
            found = store.find(oid)
            if found is not None:
                return found[1].st_size
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
        with self._guard:
            self._batch.append(_Staged(item, temp, about, beside))
            self._bytes += about.st_size
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
                    os.ftruncate(fd, 0)
                    os.lseek(fd, 0, os.SEEK_SET)
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
            return self._fill(Restore(item.oid, item.dest, item.size, item.isexec, item.expect), fd)
        if other_size:
            return self._fill(Restore(item.oid, item.dest, None, item.isexec, item.expect), fd)
        if problem is None:
            self.report.missing.append(item)
        else:
            self.report.failed.append((item.dest, problem))
        return False

    def _keep(self, blob: Blob) -> None:
        """Give the cache a blob whose bytes were just found right, where that costs no copy."""
        cache = self.sources[0]
        if blob.store is cache or blob.legacy:
            return
        try:
            if not cache.link_from(blob.path, blob.oid):
                if cache.stat(blob.oid) is None:
                    self.report.unkept.append(blob.oid)
            else:
                now = os.lstat(cache.path(blob.oid))
                if (now.st_ino, now.st_dev) != (blob.stat.st_ino, blob.stat.st_dev):
                    discard(cache.path(blob.oid))  # another file has its name since it was read
        except OSError:
            pass  # a cache can do without

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
            for device in {one.stat.st_dev for one in batch}:
                here = [one for one in batch if one.stat.st_dev == device]
                sync_files([one.temp for one in here if one.stat.st_size < _FLUSH_AT_ONCE])
            _wait_until(max(one.stat.st_mtime_ns for one in batch) + _TICK_NS)
            folders: dict[int, set[str]] = {}
            for one in batch:
                there = self._place(one, far)
                if there is not None:
                    folders.setdefault(there, set()).add(os.path.dirname(one.item.dest))
                    self._placed.append(one)
            for names in folders.values():
                sync_dirs(names)
        for item in far:
            self.fetch(item, beside=True)
        if far:
            self.place()

    def _place(self, one: _Staged, far: list[Restore]) -> int | None:
        """Put one file in its place; its device, or None where it was not put there."""
        item, done = one.item, False
        try:
            folder, name = self.anchor.parent(item.dest, make=True)
            try:
                if item.expect is None:
                    done = place_new(one.temp, folder, name)
                else:
                    expect = key_of(item.expect)
                    done = replace(one.temp, folder, name, expect, self.room, isexec=item.isexec)
                if done:
                    return os.fstat(folder).st_dev
            finally:
                os.close(folder)
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
        return None

    def _settle(self) -> None:
        """Take the stat of what was placed, once no later write can hide behind its times."""
        _wait_until(time.time_ns() + _SETTLED_NS if self._placed else 0)
        for one in self._placed:
            began_ns, dest = time.time_ns(), one.item.dest
            try:
                now = os.lstat(dest)
            except OSError:
                now = one.stat
            same = (now.st_size, now.st_mtime_ns, now.st_ino) == (
                one.stat.st_size, one.stat.st_mtime_ns, one.stat.st_ino,
            )  # fmt: skip
            if same and now is not one.stat:
                self.report.restored.append(Restored(dest, now, began_ns))
            else:
                self.report.restored.append(Restored(dest, one.stat, 0))


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
