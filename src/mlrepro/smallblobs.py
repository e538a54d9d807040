"""Small blobs to temporary files, with no more calls than prove them right."""

from __future__ import annotations

import itertools
import os
import stat

from mlrepro.dataclass import TYPE_CHECKING, dataclass
from mlrepro.durable import discard, write_all
from mlrepro.errors import StoreError
from mlrepro.streaming import SMALL, Moved, md5_of, read_whole

if TYPE_CHECKING:
    from mlrepro.staging import Staging
    from mlrepro.store import Store

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class Stage:
    """Copies blobs, each from the first source that has it, to temporary files.

    Whatever is out of the ordinary (no such blob, wrong bytes, a large one, a disk that fails) is
    answered with None and left as it is, for a way with more calls that says and mends it.
    """

    sources: list[Store]
    room: Staging
    numbers: itertools.count[int]
    last: int = 0  # the source that had the last one, which likely has the next one too

    def __call__(
        self, share: int, oid: str, size: int | None, isexec: bool, temp: str = ""
    ) -> tuple[str, tuple[int, int, int, int, int], bool] | None:
        """Stage one blob for the process ``share`` (0: this one).

        Returns the temporary file (``temp``, where one is named), its size in bytes, mtime and
        ctime (ns), inode and device, and whether the cache, which is the first source, is still
        without the blob.
        """
        for at in (self.last, *(at for at in range(len(self.sources)) if at != self.last)):
            store = self.sources[at]
            path = store.path(oid)
            try:
                fd = os.open(path, _READ)
            except FileNotFoundError:
                continue
            except OSError:
                return None
            try:
                about = os.fstat(fd)
                if not stat.S_ISREG(about.st_mode) or about.st_size > SMALL:
                    return None
                data = read_whole(fd, about.st_size)
            except (OSError, Moved):
                return None
            finally:
                os.close(fd)
            if md5_of(data) != oid[:32] or size not in (None, about.st_size):
                return None
            temp = temp or self._new(share)
            staged = self._write(temp, data, 0o777 if isexec else 0o666)
            if staged is None:
                return None
            self.last = at
            return temp, staged, at > 0 and not keep(self.sources[0], path, oid, about)
        return None

    def _new(self, share: int) -> str:
        return f"{self.room.share(share)}/{next(self.numbers)}" if share else self.room.new()

    def _write(self, temp: str, data: bytes, mode: int) -> tuple[int, int, int, int, int] | None:
        try:
            fd = os.open(temp, _WRITE, mode)
        except OSError:
            return None
        try:
            write_all(fd, data)
            about = os.fstat(fd)
        except OSError:
            discard(temp)
            return None
        finally:
            os.close(fd)
        return about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino, about.st_dev


def keep(cache: Store, path: str, oid: str, seen: os.stat_result) -> bool:
    """Give the cache a blob whose bytes were just found right, where that costs no copy.

    ``seen``: the file as it was read. Returns whether the cache has something of that name now.
    """
    try:
        if not cache.link_from(path, oid):
            return cache.stat(oid) is not None
        now = os.lstat(cache.path(oid))
        if (now.st_ino, now.st_dev) != (seen.st_ino, seen.st_dev):
            discard(cache.path(oid))  # another file has its name since it was read
    except (OSError, StoreError):
        pass  # a cache can do without
    return True
