"""Blobs back to files: staged, hashed on the way, flushed, and only then put in their places."""

from __future__ import annotations

import itertools
import os
from _thread import allocate_lock
from bisect import bisect_right

from mlrepro.anchor import Anchor
from mlrepro.assembling import Whole, can_be_whole
from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.durable import discard, flush
from mlrepro.errors import MlreproError
from mlrepro.filling import Filler
from mlrepro.hashing import AT_ONCE, in_turn, stat_key
from mlrepro.parallel import Crew
from mlrepro.placing import (
    disk_error,
    key_of,
    place_error,
    remove_files,
)
from mlrepro.result import Reporter
from mlrepro.settling import (
    FLUSH_AT_ONCE,
    Batch,
    Restore,
    Restored,
    RestoreReport,
    Staged,
)
from mlrepro.shares import share_out
from mlrepro.smallblobs import Stage
from mlrepro.staging import Staging, sweep
from mlrepro.store import Store
from mlrepro.streaming import SMALL
from mlrepro.weighing import Sizes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Restore", "RestoreReport", "Restored", "remove_files", "restore_files"]

# What was staged: the file; size, mtime and ctime (ns), inode, device; whether the cache lacks it.
Found = tuple[str, tuple[int, int, int, int, int], bool]


def restore_files(
    items: Sequence[Restore],
    sources: Sequence[Store],
    staging: str,
    root: str,
    *,
    fresh: Mapping[str, tuple[int, int, int]] | None = None,
    jobs: int = 0,
    reporter: Reporter | None = None,
) -> RestoreReport:
    """Bring blobs, each from the first of ``sources`` that has its right bytes, to their files.

    The first source is the cache: it gets a link to what came, unharmed, from another one.
    A file is replaced only by verified, flushed content and only if it is still as expected; its
    permission bits stay. Nothing outside ``root`` is reached, no symlink below it followed.
    ``staging``: a folder for temporary files, best on the same file system, made where missing.
    ``fresh``: folders that are not there, and of which all that comes are the items between two
    places in ``items``; and how many bytes that is said to be, or 0. Each takes its place as one
    where that can be (see ``wholes``).
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
                restorer.run(items, fresh or {})
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
        self.batch = Batch(anchor, room, self.report)
        self._guard = allocate_lock()
        self.sizes = Sizes(sources, room, anchor.root)
        self.filler = Filler(sources, room.base, crew, reporter, self.report)
        self._wholes: list[Whole] = []
        self._starts: list[int] = []  # the first place of each

    def run(self, items: Sequence[Restore], fresh: Mapping[str, tuple[int, int, int]]) -> None:
        """Restore all: copied in several threads, put in place by one at a time."""
        sizes = self.sizes.of_all(items, fresh)
        for base, (first, end, _) in sorted(fresh.items(), key=lambda one: one[1]):
            if can_be_whole(base, self.room, sizes[first:end]):
                dests = [item.dest for item in items[first:end]]
                self._wholes.append(Whole(base, self.room, first, dests))
                self._starts.append(first)
        for start in range(0, len(items), AT_ONCE):
            self._stage(items, sizes, range(start, min(start + AT_ONCE, len(items))))
        for whole in self._wholes:
            self._finish(whole, items)
        self.place()
        self.batch.settle()

    def _stage(self, items: Sequence[Restore], sizes: list[int], places: range) -> None:
        """Stage the items of these places: small ones by several processes, others by threads."""
        stage = Stage([*self.sources], self.room, itertools.count())

        def fetch_small(share: int, at: int) -> Found | None:
            item = items[at]
            if item.expect is not None and not _is_expected(item):
                return None
            whole = self._whole_of(at)
            temp = whole.path(item.dest) if whole is not None else ""
            return stage(share, item.oid, item.size, item.isexec, temp)

        def take(at: int, staged: Found) -> None:
            self._take(items[at], at, staged)

        def fetch(at: int) -> None:
            staged = fetch_small(0, at) if at in small else None
            if staged is not None:
                self._take(items[at], at, staged)
            else:
                self.fetch(items[at], beside=False, at=at)

        small = dict.fromkeys(self._small(items, sizes, places))
        left = share_out(list(small), self.crew.jobs, fetch_small, take)
        done = small.keys() - left
        if done:
            small.clear()  # what is left of them is out of the ordinary
        rest = [at for at in places if at not in done]
        for at in rest:
            sizes[at] = self.sizes.of(items[at])  # not only what was said
        self.crew.each(self.crew.one_by_one(fetch), in_turn(sizes, rest))

    def _whole_of(self, at: int) -> Whole | None:
        """The folder put together that the item of this place belongs to, if any."""
        where = bisect_right(self._starts, at) - 1
        if where < 0:
            return None
        whole = self._wholes[where]
        return whole if at < whole.end else None

    def _finish(self, whole: Whole, items: Sequence[Restore]) -> None:
        """Give a folder its place; where that cannot be, its files are put there one by one."""
        if not whole.count:
            return
        whole.flush(items)
        if whole.place(self.anchor):
            self.report.wholes[whole.base] = whole
            return
        for at, row in whole.staged():
            size, mtime_ns, _, inode, device = row
            temp = whole.path(items[at].dest)
            self._add(Staged(items[at], temp, size, mtime_ns, inode, device, False))

    def place(self) -> None:
        """Put what is staged in its place; what goes behind a mount is staged there, and placed."""
        far = self.batch.place()
        for item in far:
            self.fetch(item, beside=True)
        if far:
            self.batch.place()

    def _add(self, staged: Staged) -> None:
        if self.batch.add(staged):
            self.place()

    def _small(self, items: Sequence[Restore], sizes: list[int], places: range) -> list[int]:
        """Those of these places of which nothing is said that would take more than a copy."""
        devices: dict[str, bool] = {}
        found = []
        for at in places:
            item = items[at]
            if item.legacy or sizes[at] > SMALL:
                continue
            if self._whole_of(at) is not None:
                found.append(at)
                continue
            folder = os.path.dirname(item.dest)
            if folder not in devices:
                devices[folder] = self._device_of(item.dest) == self._device
            if devices[folder]:
                found.append(at)
        return found

    def _take(self, item: Restore, at: int, staged: Found) -> None:
        """Add a file that was staged to its folder, or to the batch."""
        temp, numbers, unkept = staged
        if unkept:
            self.report.unkept.append(item.oid)
        self.reporter.advance(numbers[0])
        whole = self._whole_of(at)
        if whole is not None:
            whole.note(at, numbers)
            return
        size, mtime_ns, _, inode, device = numbers
        self._add(Staged(item, temp, size, mtime_ns, inode, device, False))

    def fetch(self, item: Restore, beside: bool, at: int = -1) -> None:
        """Stage one file, from the first source whose bytes are right."""
        if not _is_expected(item):
            self.report.kept.append(item.dest)
            return
        whole = self._whole_of(at)
        beside = beside or (whole is None and self._device_of(item.dest) != self._device)
        try:
            temp, fd = self._create(item, beside, whole)
        except MlreproError as error:
            self.report.failed.append((item.dest, error))
            return
        try:
            if not self.filler.fill(item, fd):
                discard(temp)
                return
            about = os.fstat(fd)
            if about.st_size >= FLUSH_AT_ONCE:
                flush(fd)
        finally:
            os.close(fd)
        if whole is not None:
            with self._guard:
                whole.note(at, stat_key(about))
            return
        self._add(
            Staged(item, temp, about.st_size, about.st_mtime_ns, about.st_ino, about.st_dev, beside)
        )

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

    def _create(self, item: Restore, beside: bool, whole: Whole | None) -> tuple[str, int]:
        """A temporary file with a new file's mode, in staging or where the file itself goes."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        mode = 0o777 if item.isexec else 0o666
        if not beside:
            temp = self.room.new()
            if whole is not None:
                temp = whole.path(item.dest)
                discard(temp)  # of a process that was killed before it could tell of it
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


def _is_expected(item: Restore) -> bool:
    """A first look, before anything is copied; the one that counts is at the swap."""
    try:
        now = os.lstat(item.dest)
    except OSError:
        return item.expect is None
    return item.expect is not None and stat_key(now) == key_of(item.expect)
