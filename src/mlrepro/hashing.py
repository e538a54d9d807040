"""Reads a file that others may be writing to: hashed once, whole, and proven not to have moved."""

from __future__ import annotations

import errno
import os
import stat
import time

from mlrepro.dataclass import TYPE_CHECKING, dataclass, field
from mlrepro.errors import FileChanging, MlreproError, PathError
from mlrepro.kernel import has_writer
from mlrepro.parallel import Crew
from mlrepro.result import Reporter
from mlrepro.shares import share_out
from mlrepro.store import store_error
from mlrepro.streaming import SMALL, Moved, md5_of, read_whole, stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Protocol, TypeAlias, TypeVar

    Outcome = TypeVar("Outcome")
    # Told of a file: its place among those asked for, its oid, its stat as ``packed`` has it, when
    # (epoch ns) reading began or 0, whether the store did not have it.
    Note: TypeAlias = "Callable[[int, str, tuple[int, ...], int, bool], None]"

    class Paths(Protocol):
        """Paths of files, of which each may be made when it is asked for."""

        def __len__(self) -> int: ...
        def __getitem__(self, at: int, /) -> str: ...
        def __iter__(self) -> Iterator[str]: ...

    Stat: TypeAlias = "os.stat_result | Look"

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
AT_ONCE = 1 << 14  # files that are shared out together: more only take memory
_TINY = 1 << 14  # bytes
_TRIES = 5
_PAUSE = 0.05  # seconds before the second try, doubled each time
# A file system stamps a write with the time of its last clock tick, up to 10 ms ago; one that keeps
# whole seconds only, up to two seconds ago (FAT).
_TICK_NS = 25_000_000
_COARSE_NS = 2_100_000_000
# One write dates a file when it begins, and takes minutes at most; the pages of a shared memory map
# are written out, and so dated anew, every half minute.
_WRITTEN_NS = 120_000_000_000


class Look:
    """What of a file's stat is needed, under the same names and in a third of its memory."""

    __slots__ = ("st_ctime_ns", "st_dev", "st_ino", "st_mode", "st_mtime_ns", "st_size")

    def __init__(
        self, mode: int, size: int, mtime_ns: int, ctime_ns: int, inode: int, device: int
    ) -> None:
        self.st_mode = mode
        self.st_size = size
        self.st_mtime_ns = mtime_ns
        self.st_ctime_ns = ctime_ns
        self.st_ino = inode
        self.st_dev = device


_shared: dict[int, int] = {}  # modes and devices


@dataclass(slots=True)
class Hashed:
    """A file as it was read: ``stat`` from just before, ``began_ns`` (epoch) when hashing began,
    0 where a writer was at it.
    """

    path: str
    oid: str
    size: int
    stat: Stat
    began_ns: int

    @property
    def isexec(self) -> bool:
        """Executable by anyone, which is what DVC's ``isexec`` means."""
        return self.stat.st_mode & 0o111 != 0


@dataclass
class HashReport:
    """``saved``: the files that were read, in the order asked for; ``failed``: the others."""

    saved: list[Hashed] = field(default_factory=list)
    failed: list[tuple[str, MlreproError]] = field(default_factory=list)


def hash_files(
    paths: Paths, *, jobs: int = 0, reporter: Reporter | None = None,
    note: Note | None = None,
) -> HashReport:  # fmt: skip
    """Hash files and write nothing. One that cannot be read is in ``failed``; the rest go on.

    ``note``: told of each file, which then is not in the report: of many that is much memory.
    """
    reporter = reporter or Reporter()
    crew, report = Crew(jobs), HashReport()
    found, done = dict[int, Hashed](), bytearray(len(paths))

    def keep(at: int, oid: str, about: tuple[int, ...], began_ns: int) -> None:
        done[at] = 1
        if note is not None:
            note(at, oid, about, began_ns, False)
        else:
            found[at] = Hashed(paths[at], oid, about[1], unpacked(about), began_ns)

    def hash_one(at: int) -> None:
        path = paths[at]

        def body(fd: int, before: os.stat_result) -> str:
            if before.st_size <= SMALL:
                return md5_of(read_whole(fd, before.st_size))
            return stream(fd, (), watch(fd, before, crew), reporter.advance)

        try:
            oid, about, began_ns = read_stable(path, body)
        except MlreproError as error:
            report.failed.append((path, error))
            return
        if about.st_size <= SMALL:
            reporter.advance(about.st_size)
        keep(at, oid, packed(about), began_ns)

    def hash_small(_: int, at: int) -> tuple[str, tuple[int, ...], int] | None:
        read = read_small(paths[at])
        return (md5_of(read[0]), *read[1:]) if read else None

    def take(at: int, read: tuple[str, tuple[int, ...], int]) -> None:
        keep(at, *read)
        reporter.advance(read[1][1])

    every = sizes(paths)
    reporter.begin("hash", total(every))
    try:
        for start in range(0, len(paths), AT_ONCE):
            places = range(start, min(start + AT_ONCE, len(paths)))
            share_out(small(every, places), crew.jobs, hash_small, take)
            rest = [at for at in places if not done[at]]
            crew.each(crew.one_by_one(hash_one), in_turn(every, rest))
    finally:
        reporter.end()
    report.saved = [found[at] for at in sorted(found)]
    return report


def in_turn(sizes: Sequence[int], places: Sequence[int]) -> list[list[int]]:
    """These places in ``sizes`` in the order of work, in groups for one thread each.

    The largest files come first, so that none is left over at the end. Tiny ones are one group:
    their reading is so much Python that several threads only get into each other's way. So little
    that it is read before threads are loaded is one, too.
    """
    if len(places) > 0 and sum(max(0, sizes[at]) for at in places) <= SMALL:
        return [[*places]]
    tiny = [at for at in places if sizes[at] < _TINY]
    other = [at for at in places if sizes[at] >= _TINY]
    other.sort(key=lambda at: -sizes[at])
    return [[at] for at in other] + ([tiny] if tiny else [])


def sizes(paths: Paths) -> list[int]:
    """The bytes of each file, in order; -1 for what is no plain file or cannot be looked at."""
    found = []
    for path in paths:
        try:
            about = os.lstat(path)
        except OSError:
            found.append(-1)
            continue
        found.append(about.st_size if stat.S_ISREG(about.st_mode) else -1)
    return found


def total(sizes: Sequence[int]) -> int:
    """The bytes of all of them together."""
    return sum(size for size in sizes if size > 0)


def small(sizes: Sequence[int], places: range) -> list[int]:
    """Those of these positions at which a plain file is that is read whole into memory."""
    return [at for at in places if 0 <= sizes[at] <= SMALL]


def read_small(path: str) -> tuple[bytes, tuple[int, ...], int] | None:
    """The bytes of a small plain file, its stat as ``packed`` has it, and when reading began, as
    ``read_stable`` has it.

    With no more calls than prove that. Whatever is out of the ordinary is answered with None.
    """
    try:
        fd = os.open(path, _READ)
    except OSError:
        return None
    try:
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode) or before.st_size > SMALL:
            return None
        newest = max(before.st_mtime_ns, before.st_ctime_ns)
        began_ns = time.time_ns()
        if began_ns - newest <= _COARSE_NS:
            before, began_ns = _rested(fd, before)
        late = began_ns - newest < _WRITTEN_NS
        written = late and has_writer(fd)
        data = read_whole(fd, before.st_size)
        about, after = packed(before), os.lstat(path)
        if about[1:] != stat_key(after):
            return None
        if late and not written:
            written = has_writer(fd, again=True)
        return data, about, 0 if written else began_ns
    except (OSError, Moved):
        return None
    finally:
        os.close(fd)


def packed(about: os.stat_result) -> tuple[int, ...]:
    """A stat as another process reports it: see ``unpacked``."""
    return (
        about.st_mode, about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino,
        about.st_dev,
    )  # fmt: skip


def unpacked(numbers: tuple[int, ...]) -> Look:
    """What was packed; numbers that many files share are kept once."""
    mode, size, mtime_ns, ctime_ns, inode, device = numbers
    mode, device = _shared.setdefault(mode, mode), _shared.setdefault(device, device)
    return Look(mode, size, mtime_ns, mtime_ns if ctime_ns == mtime_ns else ctime_ns, inode, device)


def stat_key(about: Stat) -> tuple[int, int, int, int, int]:
    """What has to be the same for a file to count as unchanged."""
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino, about.st_dev


def read_stable(
    path: str, body: Callable[[int, os.stat_result], Outcome]
) -> tuple[Outcome, os.stat_result, int]:
    """Call ``body`` with the open file until it did not change meanwhile; at most five times.

    Returns what body returned, the file's stat before, and when (epoch ns) reading began. Size,
    times, inode and device have to be equal before and after, and the path has to name the same
    file still; a file written to within the last clock tick is first left to rest, so that any
    later write shows. One that a process has open for writing, and that was changed of late, may
    be in the midst of one long write, or of a shared memory map whose page was dirty already: when
    reading began is then 0, so that no record of it is believed. Not detectable: the same in a file
    of another user's, or on another machine. The blob is what was read in any case. Raises
    PathError, FileChanging.
    """
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(_PAUSE * 2 ** (attempt - 1))
        fd, before = open_regular(path)
        try:
            before, began_ns = _rested(fd, before)
            written = _is_being_written(fd, before)
            outcome = body(fd, before)
            if stat_key(before) == stat_key(os.lstat(path)):
                written = written or _is_being_written(fd, before)
                return outcome, before, 0 if written else began_ns
        except (Moved, FileNotFoundError):
            continue  # where it is gone for good, the next try says so
        except OSError as error:
            raise path_error(error, path) from error
        finally:
            os.close(fd)
    raise FileChanging(
        f"{path} kept changing while it was read.",
        "Wait until the program that writes it is done, then run this again",
        path=path,
    )


def open_regular(path: str) -> tuple[int, os.stat_result]:
    """Open a plain file for reading, without following a symlink and without ever waiting.

    Raises PathError: ``path-missing``, ``path-symlink``, ``path-not-regular`` (a FIFO, a socket, a
    device, which is not even opened), ``path-denied``, ``path-unreadable``.
    """
    try:
        mode = os.lstat(path).st_mode
        if stat.S_ISREG(mode):
            fd = os.open(path, _READ)
            about = os.fstat(fd)
            if stat.S_ISREG(about.st_mode):
                return fd, about
            os.close(fd)
    except OSError as error:
        raise path_error(error, path) from error
    kind = "a symbolic link" if stat.S_ISLNK(mode) else "not a plain file"
    raise PathError(
        f"{path} is {kind}, so it cannot be read as data.",
        "Put a plain file in its place, or leave it out",
        code="path-symlink" if stat.S_ISLNK(mode) else "path-not-regular",
        path=path,
    )


_CODES = {
    errno.ENOENT: ("path-missing", "is not there"),
    errno.ENOTDIR: ("path-missing", "is not there"),
    errno.EACCES: ("path-denied", "may not be read by you"),
    errno.EPERM: ("path-denied", "may not be read by you"),
    errno.ELOOP: ("path-symlink", "is a symbolic link"),
}


def path_error(error: OSError, path: str) -> MlreproError:
    """What an OSError says of a user's file; a StoreError where it is not the file's fault."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return store_error(error, os.path.dirname(path))
    code, says = _CODES.get(
        error.errno or 0, ("path-unreadable", f"cannot be read: {error.strerror or error}")
    )
    return PathError(f"{path} {says}.", "Mend that, then run this again", code=code, path=path)


def _rested(fd: int, about: os.stat_result) -> tuple[os.stat_result, int]:
    """The file's stat and the time (epoch ns), when its last write is more than a tick ago."""
    now = time.time_ns()
    times = about.st_mtime_ns, about.st_ctime_ns
    if now - max(times) > _COARSE_NS:
        return about, now
    whole = not times[0] % 1_000_000_000 and not times[1] % 1_000_000_000
    tick = _COARSE_NS if whole else _TICK_NS
    wait = max((tick - (now - when) for when in times if 0 <= now - when <= tick), default=0)
    if wait:
        time.sleep(wait / 1e9)
        about = os.fstat(fd)
    return about, time.time_ns()


def _is_being_written(fd: int, about: os.stat_result) -> bool:
    newest = max(about.st_mtime_ns, about.st_ctime_ns)
    return time.time_ns() - newest < _WRITTEN_NS and has_writer(fd)


def watch(fd: int, before: os.stat_result, crew: Crew) -> Callable[[], None]:
    """What a long read calls now and then: raises Moved, or Halted, when it is in vain."""
    key = stat_key(before)

    def look() -> None:
        crew.check()
        if stat_key(os.fstat(fd)) != key:
            raise Moved

    return look
