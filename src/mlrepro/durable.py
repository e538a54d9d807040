"""What has to outlast a power cut: flushes, and names taken, given or swapped."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys

from mlrepro.kernel import NOT_SUPPORTED, is_at_hand, rename_noreplace, syncfs

# On the hook's no-change path: nothing but builtin modules at the top.

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TEMP_PREFIX = ".mlrepro-"  # begins the name of every temporary file made outside a staging folder
FEW = 8  # up to so many files or folders are flushed one by one; more, by one syncfs
_NO_LINKS = (*NOT_SUPPORTED, errno.EPERM, errno.EMLINK, errno.EXDEV)


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
