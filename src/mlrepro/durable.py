"""What has to outlast a power cut: writes, flushes, and names taken or swapped."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
import time
from itertools import count

from mlrepro.errors import PathError
from mlrepro.kernel import NOT_SUPPORTED, is_at_hand, is_synced, rename_noreplace, syncfs

# On the hook's no-change path: nothing but builtin modules at the top.

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

TEMP_PREFIX = ".mlrepro-"  # begins the name of every temporary file made outside a staging folder
FEW = 8  # up to so many files or folders are flushed one by one; more, by one syncfs
_NO_LINKS = (*NOT_SUPPORTED, errno.EPERM, errno.EMLINK, errno.EXDEV)
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


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write every byte; a single write may take only some of them."""
    done = os.write(fd, data)
    if done < len(data):
        view = memoryview(data)
        while done < len(view):
            done += os.write(fd, view[done:])


def discard(path: str) -> None:
    """Remove a temporary file of ours that may already be gone."""
    try:
        os.unlink(path)
    except OSError:
        pass  # gone, or left to the next sweep: never a reason to fail


def flush(fd: int) -> None:
    """Bring an open file's bytes to the disk itself, not only to the disk's own memory."""
    full = getattr(fcntl, "F_FULLFSYNC", None)  # macOS: fsync alone stops at the drive's cache
    if full is not None:
        try:
            fcntl.fcntl(fd, full)
            return
        except OSError:
            pass  # network and foreign file systems lack it
    os.fsync(fd)


def sync_files(paths: Sequence[str]) -> None:
    """Flush closed files, all on one file system, to disk: a few each, many by one ``syncfs``.

    Raises OSError where the disk could not take them.
    """
    if len(paths) > FEW and syncfs(paths[0]):
        return
    for path in paths:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            flush(fd)
        finally:
            os.close(fd)


def sync_dirs(folders: Iterable[str]) -> None:
    """Flush the names in folders, all on one file system, to disk."""
    wanted = list(folders)
    if len(wanted) > FEW and syncfs(wanted[0]):
        return
    for folder in wanted:
        fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        except OSError as error:
            if error.errno not in NOT_SUPPORTED:  # some network file systems cannot, or need not
                raise
        finally:
            os.close(fd)


def take_name(temp: str, name: str, *, dir_fd: int | None = None) -> None:
    """Give ``temp`` the final name ``name`` (in ``dir_fd``) unless that name is taken.

    Raises FileExistsError where it is, and leaves ``temp`` as it was. With a link, a kill between
    the two steps leaves two names of one right file. Where there are neither hard links nor a
    rename that does not replace, the last resort looks first; callers for whom that matters hold a
    Lock.
    """
    if is_at_hand() and rename_noreplace(temp, name, new_dir=dir_fd):
        return  # one step in place of two, where many are taken
    try:
        os.link(temp, name, dst_dir_fd=dir_fd, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS or error.errno == errno.EXDEV:
            raise
        if rename_noreplace(temp, name, new_dir=dir_fd):
            return
        try:
            os.lstat(name, dir_fd=dir_fd)
        except FileNotFoundError:
            os.rename(temp, name, dst_dir_fd=dir_fd)
            return
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name) from None
    os.unlink(temp)


def move(old: str, new: str) -> None:
    """Rename a file or folder to a name that is free. Raises FileExistsError where it is not."""
    if not rename_noreplace(old, new):
        if os.path.lexists(new):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new)
        os.rename(old, new)
    sync_dirs({os.path.dirname(old), os.path.dirname(new)})


def hard_link(path: str, other: str) -> bool:
    """A second name for a file; False where the file system, or its rules, does not allow one.

    Raises FileExistsError where ``other`` is taken, FileNotFoundError where its folder is missing.
    """
    try:
        os.link(path, other, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NO_LINKS or error.errno == errno.EACCES:
            return False
        raise
    return True


def free_bytes(folder: str) -> int:
    """How many bytes may still be written where ``folder`` lies, quotas apart."""
    about = os.statvfs(folder)
    if about.f_blocks == 0:  # some network file systems do not say
        return sys.maxsize
    return about.f_bavail * about.f_frsize


def make_folders(path: str, top: str) -> None:
    """Make ``path`` and the folders missing between it and ``top``, which has to exist.

    Modes follow the umask. In a shared store, told by a parent with setgid that its group may
    write to, the new folder is the group's too, as git does with core.sharedRepository.
    """
    try:
        _make_folder(path)
    except FileExistsError:
        return
    except FileNotFoundError:
        parent = os.path.dirname(path)
        if path in (top, parent):
            raise
        make_folders(parent, top)
        make_folders(path, top)


def _make_folder(path: str) -> None:
    """One folder; in a shared store under its name only once the group may write to it."""
    above = os.stat(os.path.dirname(path)).st_mode
    if not (above & stat.S_ISGID and above & stat.S_IWGRP):
        os.mkdir(path)
        return
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
    name = f"{TEMP_PREFIX}d-{os.getpid()}-{os.urandom(4).hex()}"
    temp = os.path.join(os.path.dirname(path), name)
    os.mkdir(temp)
    try:
        os.chmod(temp, stat.S_IMODE(os.stat(temp).st_mode) | 0o2070)
        os.rename(temp, path)  # over another's that is empty still, never over one in use
    except OSError as error:
        os.rmdir(temp)
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path) from None
        raise
