"""Files of the user's that get new content whole: written beside, flushed, and then renamed."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from itertools import count

from mlrepro.durable import FEW, TEMP_PREFIX, discard, flush, sync_dirs, sync_files, write_all
from mlrepro.errors import PathError
from mlrepro.kernel import is_synced

# On the hook's path where it keeps a seal: nothing but builtin modules at the top.

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_marks: list[count[int]] = []
_swept: set[str] = set()  # folders in which this process has cleared away what dead ones left


def write_atomic(
    path: str, *parts: bytes | memoryview, mode: int | None = None, durable: bool = True
) -> None:
    """Give the file ``path`` new content at once: a reader sees the old bytes or the new, whole.

    It consists of ``parts``, one after the other. The permission bits of a file that is there are
    kept unless ``mode`` says otherwise; a new file gets the usual ones. With ``durable`` content
    and name are flushed to disk before this returns. Raises PathError where ``path`` is a symlink
    or anything else that is not a plain file, and OSError as the file system gives it; the old
    file is then as it was.
    """
    temp, target, _ = _written_beside(path, parts, mode, durable)
    _take_over(temp, target, path)
    if durable:
        sync_dirs([os.path.dirname(target)])


def write_many(files: Mapping[str, bytes]) -> None:
    """The same for many files, whose bytes are flushed together, and so are their names.

    None is renamed before all are on the disk; a kill between two renames leaves each file the old
    one or the new one. Raises as ``write_atomic``.
    """
    if len(files) <= FEW:
        for path, data in files.items():
            write_atomic(path, data)
        return
    with Begun() as begun:
        for path, data in files.items():
            begun.add(path, data)
        begun.finish()


class Begun:
    """Many files whose new content is written beside them, until all of them get it together.

    Without ``finish`` they stay as they are.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[str, str, int]] = {}
        self._last_ns: dict[int, int] = {}  # device: when something was last written (monotonic)

    def add(self, path: str, data: bytes) -> None:
        """Write what a file is to hold. Raises as ``write_atomic``."""
        self._waiting[path] = written = _written_beside(path, (data,), None, False)
        self._last_ns[written[2]] = time.monotonic_ns()

    def finish(self) -> None:
        """Flush all, unless somebody else's flush has, then give them their names, and flush those.

        Raises OSError.
        """
        temps: dict[int, list[str]] = {}  # by device: a flush is one file system's
        folders: dict[int, set[str]] = {}
        for temp, target, device in self._waiting.values():
            temps.setdefault(device, []).append(temp)
            folders.setdefault(device, set()).add(target[: target.rindex("/")])
        for device, names in temps.items():
            if not is_synced(device, self._last_ns[device]):
                sync_files(names)
        for path in [*self._waiting]:
            temp, target, _ = self._waiting.pop(path)
            _take_over(temp, target, path)
        for there in folders.values():
            sync_dirs(there)

    def give_up(self) -> None:
        """Remove what was written and has not got its name."""
        for temp, _, _ in self._waiting.values():
            discard(temp)
        self._waiting.clear()

    def __enter__(self) -> Begun:
        return self

    def __exit__(self, *_: object) -> None:
        self.give_up()


def _written_beside(
    path: str, parts: Sequence[bytes | memoryview], mode: int | None, durable: bool
) -> tuple[str, str, int]:
    """A temporary file with the new content beside ``path``: it, where it goes, its device."""
    folder, name = os.path.split(os.path.abspath(path))
    bits = mode
    try:
        old = os.lstat(path)
    except FileNotFoundError:
        pass
    else:
        if not stat.S_ISREG(old.st_mode):
            raise PathError(
                f"{path} is not a plain file, so it is not written to.",
                "Move it away, then run this again",
                code="path-symlink" if stat.S_ISLNK(old.st_mode) else "path-not-regular",
                path=path,
            )
        if bits is None:
            bits = stat.S_IMODE(old.st_mode)
    _sweep(folder)
    temp = f"{folder}/{TEMP_PREFIX}w-{os.getpid()}-{_mark()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temp, flags, 0o666 if bits is None else bits & 0o777)
    try:
        try:
            _try_lock(fd)  # a sweep on another machine sees that we are alive
            if bits is not None:
                os.fchmod(fd, bits)
            for data in parts:
                write_all(fd, data)
            if durable:
                flush(fd)
            device = os.fstat(fd).st_dev
        finally:
            os.close(fd)
    except BaseException as error:
        _give_up(temp, path, error)
        raise
    return temp, f"{folder}/{name}", device


def _mark() -> str:
    """Eight digits that are others at every call: they begin by chance, and are counted on."""
    if not _marks:
        _marks.append(count(int.from_bytes(os.urandom(4), "big")))
    return f"{next(_marks[0]) & 0xFFFFFFFF:08x}"


def _take_over(temp: str, target: str, path: str) -> None:
    """Give a temporary file the name that it was written for."""
    try:
        os.rename(temp, target)
    except BaseException as error:
        _give_up(temp, path, error)
        raise


def _give_up(temp: str, path: str, error: BaseException) -> None:
    """Remove a temporary file, and have the error name the file that it was for."""
    discard(temp)
    if isinstance(error, OSError) and (not error.filename or error.filename == temp):
        error.filename = path


def _sweep(folder: str) -> None:
    """Remove what write_atomic left in a folder when it was killed; raises nothing.

    A file is taken for such a one by its name, if it is a plain file of this user's, no process has
    the number in its name, and nobody holds its lock.
    """
    if folder in _swept:
        return
    _swept.add(folder)
    try:
        names = [name for name in os.listdir(folder) if name.startswith(f"{TEMP_PREFIX}w-")]
    except OSError:
        return
    for name in names:
        pid, _, rest = name[len(TEMP_PREFIX) + 2 :].partition("-")
        if not pid.isdecimal() or len(rest) != 8 or _is_alive(int(pid)):
            continue
        path = os.path.join(folder, name)
        try:
            about = os.lstat(path)
            if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid():
                continue
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                if _try_lock(fd):
                    os.unlink(path)
            finally:
                os.close(fd)
        except OSError:
            continue


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_alive(pid: int) -> bool:
    """Whether there is such a process; one that has ended and was not waited for is none."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True  # it is another user's
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # proc(5)
            return file.read().rpartition(b") ")[2][:1] not in (b"Z", b"X")
    except OSError:
        return True
