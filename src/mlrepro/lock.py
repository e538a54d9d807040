"""A lock on a file that ends with its holder, however that ends."""

from __future__ import annotations

import errno
import fcntl
import os
import time

from mlrepro.errors import RepositoryError
from mlrepro.kernel import NOT_SUPPORTED

_NO_LOCKS = (*NOT_SUPPORTED, errno.ENOLCK, errno.EBADF)  # EBADF: NFS, not open for writing
PATIENCE = 60.0  # seconds for what takes milliseconds: its holder was stopped in there


class Lock:
    """A lock that ends with its holder: flock on an open file, which the kernel lets go of.

    ``wait`` is how many seconds to wait for it, below 0 for ever; BlockingIOError when the time is
    up. None is for what is only ever held for moments: then RepositoryError says that its holder
    seems to be stopped. ``real`` is False where the file system has no locks at all: work then goes
    on without, and rests on names that are never replaced.
    """

    __slots__ = ("_brief", "_fd", "path", "real", "wait")

    def __init__(self, path: str, wait: float | None = None) -> None:
        self.path = path
        self.wait = PATIENCE if wait is None else wait
        self._brief = wait is None
        self.real = False
        self._fd = -1

    def __enter__(self) -> Lock:
        until = time.monotonic() + self.wait
        while True:
            fd = self._open()
            try:
                self.real = self._take(fd, until)
                named = _same_file(fd, self.path)
            except BaseException:
                os.close(fd)
                raise
            if named:
                self._fd = fd
                return self
            os.close(fd)  # its holder removed it while we waited: that lock locks nothing

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> int:
        flags = os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(self.path, flags | os.O_RDWR | os.O_CREAT, 0o666)
        except PermissionError:  # another user's, in a store that is shared: flock can do with less
            return os.open(self.path, flags | os.O_RDONLY)

    def _take(self, fd: int, until: float) -> bool:
        for call in (fcntl.flock, fcntl.lockf):
            pause = 0.005
            while True:
                try:
                    call(fd, fcntl.LOCK_EX | (0 if self.wait < 0 else fcntl.LOCK_NB))
                    return True
                except OSError as error:
                    if error.errno in _NO_LOCKS:
                        break
                    if error.errno not in (errno.EAGAIN, errno.EACCES):
                        raise
                    if time.monotonic() >= until:
                        raise self._timed_out(error) from None
                time.sleep(pause)
                pause = min(pause * 2, 0.1)
        return False

    def _timed_out(self, error: OSError) -> Exception:
        if not self._brief:
            return BlockingIOError(error.errno, error.strerror, self.path)
        return RepositoryError(
            f"Another mlrepro has held {self.path} for {self.wait:.0f} seconds: is it stopped?",
            "let that process go on (kill -CONT), or end it; then run this again",
            code="locked",
            path=self.path,
        )


def _same_file(fd: int, path: str) -> bool:
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return False
    here = os.fstat(fd)
    return (here.st_ino, here.st_dev) == (there.st_ino, there.st_dev)
