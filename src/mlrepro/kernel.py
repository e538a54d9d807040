"""What the kernel can do and ``os`` cannot ask for: each call is tried, never assumed."""

from __future__ import annotations

import errno
import fcntl
import os
import sys
import time

# On the hook's no-change path by way of durable.py: ctypes (4 ms) is imported only by a call.

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NOT_SUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP)
_FICLONE = 0x40049409  # linux/fs.h
_NOREPLACE, _EXCHANGE = 1, 2  # linux/fs.h: renameat2
_EXCL, _SWAP = 4, 2  # macOS sys/stdio.h: renameatx_np
_NAMES = (sys.getfilesystemencoding(), sys.getfilesystemencodeerrors())  # as os.fsencode does
_SIGURG = 23  # 16 on macOS, which has no leases
_SETLEASE, _SETSIG = getattr(fcntl, "F_SETLEASE", None), getattr(fcntl, "F_SETSIG", 10)


def is_at_hand() -> bool:
    """Whether these calls can be made without loading anything first."""
    return bool(_loaded)


def rename_noreplace(old: str, new: str, *, new_dir: int | None = None) -> bool:
    """Rename without replacing: False where it cannot be done; FileExistsError where it is taken.

    Uses renameat2(RENAME_NOREPLACE), on macOS renameatx_np(RENAME_EXCL).
    """
    return _rename(old, new, new_dir, _NOREPLACE, _EXCL)


def rename_exchange(old: str, new: str, *, new_dir: int | None = None) -> bool:
    """Swap two files that both exist, at once; False where the file system cannot.

    Uses renameat2(RENAME_EXCHANGE), on macOS renameatx_np(RENAME_SWAP).
    """
    return _rename(old, new, new_dir, _EXCHANGE, _SWAP)


def _rename(old: str, new: str, new_dir: int | None, linux: int, mac: int) -> bool:
    name, flag, here = "renameat2", linux, -100  # AT_FDCWD
    if sys.platform == "darwin":
        name, flag, here = "renameatx_np", mac, -2
    call = getattr(_libc(), name, None)
    if call is None:
        return False
    target = here if new_dir is None else new_dir
    if call(here, old.encode(*_NAMES), target, new.encode(*_NAMES), flag) == 0:
        return True
    number = _errno()
    if number in NOT_SUPPORTED:
        return False
    raise OSError(number, os.strerror(number), old, None, new)


def reflink(source: int, target: int) -> bool:
    """Make the empty open file ``target`` share the blocks of ``source``; False where it cannot."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    return True


def syncfs(path: str) -> bool:
    """Flush the whole file system that ``path`` lies on; False where that would not be enough.

    It says nothing of failed writes before Linux 5.8, and FUSE does not pass it on to the file
    system behind it: there every file has to be flushed by itself. Raises OSError where the disk
    could not take the bytes.
    """
    if not sys.platform.startswith("linux"):
        return False
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        device = os.fstat(fd).st_dev
        if device not in _whole:
            _whole[device] = _syncfs_counts(device)
        if not _whole[device]:
            return False
        began_ns = time.monotonic_ns()
        if _libc().syncfs(fd) == 0:
            _synced[device] = began_ns
            return True
        number = _errno()
    finally:
        os.close(fd)
    if number in NOT_SUPPORTED:
        return False
    raise OSError(number, os.strerror(number), path)


_whole: dict[int, bool] = {}  # device: whether syncfs serves it
_synced: dict[int, int] = {}  # device: when (monotonic ns) the last one that went well began


def is_synced(device: int, since_ns: int) -> bool:
    """Whether all that this process wrote to a device until then (monotonic ns) was flushed by a
    ``syncfs`` that was asked for something else.
    """
    return _synced.get(device, -1) >= since_ns


def _syncfs_counts(device: int) -> bool:
    release = os.uname().release.split(".")
    try:
        if (int(release[0]), int(release[1])) < (5, 8) or not hasattr(_libc(), "syncfs"):
            return False
    except (ValueError, IndexError):
        return False
    kind = _kind_of(device)
    # A btrfs subvolume or an overlay has a device number of its own: that has no kind, and counts.
    return kind is not None and not kind.startswith(("fuse", "9p", "virtiofs"))


def dates_by_our_clock(device: int) -> bool:
    """Whether this kernel dates writes on the device, to the nanosecond; False where not known.

    Not so a server, or a program behind FUSE, that does it for us.
    """
    return (_kind_of(device) or "") in _DATED_HERE


_DATED_HERE = frozenset({"btrfs", "ext4", "f2fs", "tmpfs", "xfs"})
_kinds: dict[int, str | None] = {}


def _kind_of(device: int) -> str | None:
    """The kind of file system on a device; "" where no mount has it, None where none is told."""
    if device not in _kinds:
        _kinds[device] = _read_kind(f"{os.major(device)}:{os.minor(device)}".encode())
    return _kinds[device]


def _read_kind(number: bytes) -> str | None:
    try:
        with open("/proc/self/mountinfo", "rb") as file:  # proc(5)
            lines = file.read().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.split(b" ", 3)[2] == number:
            return line.partition(b" - ")[2].split(b" ", 1)[0].decode("ascii", "replace")
    return ""


def begin_writeback(fd: int, offset: int, count: int) -> None:
    """Have the disk begin with bytes that were written, so that a flush later waits for less.

    Uses sync_file_range(SYNC_FILE_RANGE_WRITE), a hint; nothing where there is no such call.
    """
    call = getattr(_libc(), "sync_file_range", None)
    if call is not None:
        import ctypes

        call(fd, ctypes.c_int64(offset), ctypes.c_int64(count), 2)


def has_writer(fd: int, *, again: bool = False) -> bool:
    """Whether any process has the file open for writing; False also where that cannot be told.

    ``again``: this was asked of the same open file before. A read lease is granted only while
    nobody has (fcntl(2), "Leases"). It is given back at once; were somebody to open the file in
    between, the signal is one that is ignored by default.
    """
    if _SETLEASE is None:
        return False
    try:
        _take_lease(fd, again=again)
    except OSError as error:
        return error.errno in (errno.EAGAIN, errno.EBUSY)
    try:
        fcntl.fcntl(fd, _SETLEASE, fcntl.F_UNLCK)
    except OSError:
        pass  # it ends when the file is closed
    return False


def hold_writers_off(fd: int) -> bool:
    """Have whoever opens the file for writing wait until ``fd`` is closed; for a moment only.

    False where a process has it open for writing already, or where that cannot be had.
    """
    if _SETLEASE is None:
        return False
    try:
        _take_lease(fd)
    except OSError:
        return False
    return True


def writers_were_held_off(fd: int) -> bool:
    """Whether none has tried to open it for writing since: one that does not wait need not."""
    try:
        return bool(fcntl.fcntl(fd, fcntl.F_GETLEASE) == fcntl.F_RDLCK)
    except (AttributeError, OSError):
        return False


def _take_lease(fd: int, *, again: bool = False) -> None:
    """A read lease; who breaks it causes a signal that is ignored by default. Raises OSError.

    ``again``: there was one on the same open file before.
    """
    assert _SETLEASE is not None
    if not again:
        fcntl.fcntl(fd, _SETSIG, _SIGURG)
    fcntl.fcntl(fd, _SETLEASE, fcntl.F_RDLCK)


_loaded: list[Any] = []


def _libc() -> Any:
    """The C library; what went wrong in its calls is in _errno()."""
    if not _loaded:
        import ctypes

        _loaded.append(ctypes.CDLL(None, use_errno=True))
    return _loaded[0]


def _errno() -> int:
    import ctypes

    return ctypes.get_errno()
