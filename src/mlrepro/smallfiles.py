"""Small files to temporary blobs, with no more calls than prove that nothing moved."""

from __future__ import annotations

import itertools
import os

from mlrepro.dataclass import TYPE_CHECKING, dataclass
from mlrepro.durable import discard, write_all
from mlrepro.hashing import read_small
from mlrepro.store import BLOB_MODE
from mlrepro.streaming import md5_of

if TYPE_CHECKING:
    from mlrepro.hashing import Paths
    from mlrepro.landing import Landing, Target

_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class Take:
    """Reads files, and writes those that no store has yet to temporary files of the landing.

    Whatever is out of the ordinary (a file that moved, a blob that is there already, a disk that
    fails) is answered with None and left as it is, for a way with more calls that says and mends
    it.
    """

    paths: Paths
    landing: Landing
    numbers: itertools.count[int]

    def __call__(
        self, share: int, at: int
    ) -> tuple[str, tuple[int, ...], int, tuple[str | None, ...]] | None:
        """Read the file at this position for the process ``share`` (0: this one).

        Returns its oid, its stat as ``packed``, when (epoch ns) reading began, and a temporary file
        per target (None: it shares the first one's), which has the mode of a blob.
        """
        read = read_small(self.paths[at])
        if read is None:
            return None
        data, about, began_ns = read
        oid = md5_of(data)
        temps: list[str | None] = []
        for target in self.landing.targets:
            temp = None if target.shares else self._write(share, target, oid, data)
            if temp is None and not target.shares:
                for other in temps:
                    discard(other or "")
                return None
            temps.append(temp)
        return oid, about, began_ns, (*temps,)

    def _write(self, share: int, target: Target, oid: str, data: bytes) -> str | None:
        """A temporary file with the bytes, where the store has nothing under the blob's name."""
        room = target.staging
        temp = f"{room.share(share)}/{next(self.numbers)}" if share else room.new()
        try:
            if os.access(f"{target.store.base}/{oid[:2]}/{oid[2:]}", os.F_OK):
                return None
            fd = os.open(temp, _WRITE, BLOB_MODE)
        except OSError:
            return None
        try:
            # What the umask and the folder's own rules make of it is the same for all of them.
            if target.mode < 0:
                target.mode = os.fstat(fd).st_mode & 0o7777
            if target.mode != BLOB_MODE:
                os.fchmod(fd, BLOB_MODE)
            write_all(fd, data)
        except OSError:
            discard(temp)
            return None
        finally:
            os.close(fd)
        return temp
