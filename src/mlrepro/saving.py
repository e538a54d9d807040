"""One run that saves files: each read once, hashed while it is copied, and added to a landing."""

from __future__ import annotations

import itertools
import os

from mlrepro.dataclass import TYPE_CHECKING, dataclass, field
from mlrepro.durable import discard, flush, free_bytes, hard_link
from mlrepro.errors import MlreproError, StoreError
from mlrepro.hashing import (
    AT_ONCE,
    Hashed,
    in_turn,
    packed,
    read_stable,
    small,
    total,
    unpacked,
    watch,
)
from mlrepro.kernel import reflink
from mlrepro.landing import Landed, Landing, Target
from mlrepro.parallel import Crew
from mlrepro.result import Reporter
from mlrepro.shares import share_out
from mlrepro.smallfiles import Take
from mlrepro.store import store_error
from mlrepro.streaming import SMALL, Sink, md5_of, nothing, read_whole, stream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mlrepro.hashing import Note, Paths

_FLUSH_AT_ONCE = 1 << 24  # bytes; from here on a file is flushed while others are still read


@dataclass(slots=True)
class Saved(Hashed):
    """A file whose content is stored.

    ``stored_new``: the store (the cache, where no store was given) did not have it;
    ``bytes_written``: to cache and store together.
    """

    stored_new: bool
    bytes_written: int


@dataclass
class SaveReport:
    """``saved``: in the order asked for; ``failed``: the files that could not be read, and why;
    ``repaired``: oids under whose name something else was found, set aside and replaced.
    """

    saved: list[Saved] = field(default_factory=list)
    failed: list[tuple[str, MlreproError]] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)


def land(landing: Landing, oid: str, data: bytes) -> tuple[bool, int]:
    """Add bytes to the landing where they are lacking: whether to the first, bytes written."""
    if not landing.claim(oid):
        return False, 0
    missing = landing.lacking(oid, len(data), data)
    if not missing:
        return False, 0
    first, written = landing.targets[0], 0
    temps: list[str | None] = []
    for target in landing.targets:
        temp = None
        if target in missing:
            if target.shares:
                temp = temps[0] or _linked(first, target, oid)
            if temp is None:
                temp = target.write(data)
                written += len(data)
        temps.append(temp)
    landing.add(Landed(oid, len(data), tuple(temps)))
    return first in missing, written


def _linked(first: Target, target: Target, oid: str) -> str | None:
    """A temporary file that is the first target's blob, which was just found to be right."""
    temp = target.staging.new()
    try:
        return temp if hard_link(first.store.path(oid), temp) else None
    except OSError:
        return None


class Saver:
    """One call of save_files."""

    def __init__(
        self,
        paths: Paths,
        sizes: Sequence[int],
        landing: Landing,
        crew: Crew,
        reporter: Reporter,
        known: Mapping[str, str],
        note: Note | None,
    ) -> None:
        self.paths = paths
        self.landing = landing
        self.crew = crew
        self.reporter = reporter
        self.known = known
        self.sizes = sizes
        self.note = note
        self.saved: dict[int, Saved] = {}
        self.done = bytearray(len(paths))
        self.failed: list[tuple[str, MlreproError]] = []
        self.tight = self._check_space()

    def _check_space(self) -> bool:
        """Whether space may not suffice: then large files are hashed before they are copied.

        Raises StoreError where it certainly does not: a blob of a size that the store has no blob
        of cannot be there already.
        """
        tight = False
        for target in self.landing.targets:
            free = free_bytes(target.store.root)
            if target.shares or total(self.sizes) <= free:
                continue
            tight = True
            there = set(target.store.list_oids().values())
            needed = total([*(set(self.sizes) - there)])
            if needed > free:
                raise StoreError(
                    f"The folder {target.store.root} has {free} bytes free; "
                    f"at least {needed} are needed.",
                    "Free some space, then run this again",
                    code="store-full",
                    path=target.store.root,
                )
        return tight

    def run(self) -> None:
        """Save all: many small ones in several processes, the others in several threads."""
        for start in range(0, len(self.paths), AT_ONCE):
            self._save(range(start, min(start + AT_ONCE, len(self.paths))))

    def _save(self, places: range) -> None:
        take = Take(self.paths, self.landing, itertools.count())

        def took(at: int, read: tuple[str, tuple[int, ...], int, tuple[str | None, ...]]) -> None:
            self._took(at, *read)

        def save(at: int) -> None:
            read = take(0, at) if at in quick else None
            if read is not None:
                self._took(at, *read)
            else:
                self.save(at)

        quick = dict.fromkeys(small(self.sizes, places))
        left = share_out(list(quick), self.crew.jobs, take, took)
        rest = [at for at in places if not self.done[at]]
        if len(left) < len(quick):
            quick.clear()
        self.crew.each(self.crew.one_by_one(save), in_turn(self.sizes, rest))

    def _took(
        self,
        at: int,
        oid: str,
        about: tuple[int, ...],
        began_ns: int,
        temps: tuple[str | None, ...],
    ) -> None:
        """Add what was read, and written to temporary files, to the landing."""
        size, written = about[1], 0
        new = self.landing.claim(oid)
        if new:
            written = size * (len(temps) - temps.count(None))
            names = (*[temp or temps[0] for temp in temps],)
            self.landing.add(Landed(oid, size, names, as_blob=True))
        else:
            for temp in temps:
                discard(temp or "")
        self.reporter.advance(size)
        self._keep(at, oid, about, began_ns, new, written)

    def _keep(
        self, at: int, oid: str, about: tuple[int, ...], began_ns: int, new: bool, written: int
    ) -> None:
        """Tell of a file that is on its way to its place."""
        self.done[at] = 1
        if self.note is not None:
            self.note(at, oid, about, began_ns, new)
        else:
            stat = unpacked(about)
            self.saved[at] = Saved(self.paths[at], oid, about[1], stat, began_ns, new, written)

    def save(self, at: int) -> None:
        """Save one file; what is wrong with the file itself stops only this one."""
        path = self.paths[at]
        attempt = _Attempt(self, path)
        try:
            oid, about, began_ns = read_stable(path, attempt.read)
        except StoreError:
            raise
        except MlreproError as error:
            attempt.drop()
            self.failed.append((path, error))
            return
        if attempt.data is not None:
            new, written = land(self.landing, oid, attempt.data)
            self.reporter.advance(about.st_size)
        else:
            new, written = attempt.land(oid, about.st_size)
        self._keep(at, oid, packed(about), began_ns, new, written)


class _Attempt:
    """The reading of one file, which may have to be begun again."""

    __slots__ = ("data", "path", "saver", "temps")

    def __init__(self, saver: Saver, path: str) -> None:
        self.saver = saver
        self.path = path
        self.data: bytes | None = None
        self.temps: list[str] = []

    def drop(self) -> None:
        """Give up what a reading that was in vain has written."""
        for temp in self.temps:
            discard(temp)
        self.temps = []

    def read(self, fd: int, before: os.stat_result) -> str:
        """Hash a small file in memory; copy a large one on the way. Returns the oid."""
        self.drop()
        self.data = None
        if before.st_size <= SMALL:
            self.data = read_whole(fd, before.st_size)
            return md5_of(self.data)
        saver = self.saver
        hint = saver.known.get(self.path, "")
        if saver.tight or (hint and not saver.landing.lacking(hint, before.st_size)):
            oid = stream(fd, (), watch(fd, before, saver.crew), saver.reporter.advance)
            if not saver.landing.lacking(oid, before.st_size):
                return oid
            os.lseek(fd, 0, os.SEEK_SET)
            return self._copy(fd, before, nothing)
        return self._copy(fd, before, saver.reporter.advance)

    def _copy(self, fd: int, before: os.stat_result, advance: Callable[[int], None]) -> str:
        saver = self.saver
        source, sinks, opened = fd, list[Sink](), list[int]()
        try:
            for target in saver.landing.targets:
                if target.shares:
                    continue
                path, temp = target.create()
                self.temps.append(path)
                opened.append(temp)
                if reflink(fd, temp):
                    source = temp  # a snapshot that nobody else can write to
                else:
                    sinks.append(Sink(temp, target.explain))
            look = watch(fd, before, saver.crew)
            oid = stream(source, sinks, look, advance)
            if before.st_size >= _FLUSH_AT_ONCE:
                self._flush(opened)
        finally:
            for temp in opened:
                os.close(temp)
        return oid

    def _flush(self, opened: list[int]) -> None:
        targets = [target for target in self.saver.landing.targets if not target.shares]
        for fd, target in zip(opened, targets, strict=True):
            try:
                flush(fd)
            except OSError as error:
                raise store_error(error, target.store.root) from error

    def land(self, oid: str, size: int) -> tuple[bool, int]:
        """Add what was copied to the landing: whether the first lacked it, bytes written."""
        landing = self.saver.landing
        written = size * len(self.temps)
        if not self.temps or not landing.claim(oid):
            self.drop()
            return False, written
        missing = landing.lacking(oid, size)
        own = iter(self.temps)
        temps = [self.temps[0] if target.shares else next(own) for target in landing.targets]
        for temp in self.temps:
            users = [t for t, name in zip(landing.targets, temps, strict=True) if name == temp]
            if not any(target in missing for target in users):
                discard(temp)
        if missing:
            kept = [
                temp if target in missing else None
                for target, temp in zip(landing.targets, temps, strict=True)
            ]
            landing.add(Landed(oid, size, tuple(kept), flushed=size >= _FLUSH_AT_ONCE))
        return landing.targets[0] in missing, written
