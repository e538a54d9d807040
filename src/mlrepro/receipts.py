"""Which blobs a network store is known to have: noted once confirmed, read without asking it."""

from __future__ import annotations

import os
import struct
from zlib import crc32

from mlrepro import digest, writing
from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.lock import Lock

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

# One file for each place in the git folder that all worktrees of a clone share. After its head come
# blocks, each of records of a fixed width, in order, with their number and checksum before them.
# The first block is the large one, searched in place; those after it were appended. What is damaged
# is as if it had not been written: then the store is asked again.
#
#     mlrepro receipts 1\n  place\n  { number: u32  crc32: u32  (md5: 16 bytes  kind: 1)… }…

_MAGIC = b"mlrepro receipts 1\n"
_HEAD = struct.Struct("<II")
_WIDTH = 17
_FEW = 4096  # records outside the first block, before all are put in order again
_MAX_BYTES = 1 << 30


class Receipts:
    """The blobs that the store at ``place`` (a text without secrets) was seen to have."""

    def __init__(self, common_dir: str, place: str) -> None:
        self._place = place.encode("utf-8", "surrogateescape").replace(b"\n", b" ")
        name = digest.md5(self._place)
        self._folder = os.path.join(common_dir, "mlrepro", "receipts")
        self._file = os.path.join(self._folder, name)
        self._first = b""
        self._more: set[bytes] = set()
        self._good = 0  # bytes of the file that are not damaged
        self._load()

    def __contains__(self, oid: object) -> bool:
        if not isinstance(oid, str):
            return False
        record = _record(oid)
        if record in self._more:
            return True
        first, low, high = self._first, 0, len(self._first) // _WIDTH
        while low < high:
            middle = (low + high) // 2
            if first[middle * _WIDTH : middle * _WIDTH + _WIDTH] < record:
                low = middle + 1
            else:
                high = middle
        return first[low * _WIDTH : low * _WIDTH + _WIDTH] == record

    def __len__(self) -> int:
        return len(self._first) // _WIDTH + len(self._more)

    def known(self, oids: Iterable[str]) -> set[str]:
        """Those of these blobs that the store is known to have."""
        return {oid for oid in oids if oid in self}

    def add(self, oids: Collection[str]) -> None:
        """Note that the store was just seen to have these blobs."""
        if not oids or all(oid in self for oid in oids):
            return
        with self._locked():
            fresh = sorted({_record(oid) for oid in oids if oid not in self})
            torn = self._size() != self._good
            if torn or not self._good or len(self._more) + len(fresh) > self._most():
                self._more.update(fresh)
                self._rewrite()
            elif fresh:
                with open(self._file, "ab") as file:
                    file.write(_block(b"".join(fresh)))
                self._more.update(fresh)
                self._good = self._size()

    def retract(self, oids: Collection[str]) -> None:
        """Note that the store was just seen not to have these blobs."""
        if not any(oid in self for oid in oids):
            return
        with self._locked():
            gone = {_record(oid) for oid in oids}
            kept = [one for one in _records(self._first) if one not in gone]
            self._first, self._more = b"".join(kept), self._more - gone
            self._rewrite()

    def _most(self) -> int:
        return max(_FEW, len(self._first) // _WIDTH // 4)

    def _locked(self) -> Lock:
        os.makedirs(self._folder, exist_ok=True)
        lock = _Fresh(self._file + ".lock")
        lock.owner = self
        return lock

    def _size(self) -> int:
        try:
            return os.stat(self._file).st_size
        except OSError:
            return 0

    def _load(self) -> None:
        self._first, self._more, self._good = b"", set(), 0
        try:
            with open(self._file, "rb") as file:
                data = file.read(_MAX_BYTES)
        except OSError:
            return
        head = _MAGIC + self._place + b"\n"
        if not data.startswith(head):
            return
        at = self._good = len(head)
        while at + _HEAD.size <= len(data):
            number, checksum = _HEAD.unpack_from(data, at)
            at += _HEAD.size
            body = data[at : at + number * _WIDTH]
            if len(body) != number * _WIDTH or crc32(body) != checksum:
                return
            at += len(body)
            if self._good == len(head):
                self._first = body
            else:
                self._more.update(_records(body))
            self._good = at

    def _rewrite(self) -> None:
        self._first = b"".join(sorted({*_records(self._first), *self._more}))
        self._more = set()
        data = _MAGIC + self._place + b"\n" + _block(self._first)
        writing.write_atomic(self._file, data, durable=False)
        self._good = len(data)


class _Fresh(Lock):
    """Holds the lock, and reads first what others wrote meanwhile."""

    owner: Receipts

    def __enter__(self) -> _Fresh:
        super().__enter__()
        self.owner._load()
        return self


def _record(oid: str) -> bytes:
    return bytes.fromhex(oid[:32]) + (b"d" if len(oid) > 32 else b"f")


def _records(body: bytes) -> Iterable[bytes]:
    return (body[at : at + _WIDTH] for at in range(0, len(body), _WIDTH))


def _block(body: bytes) -> bytes:
    return _HEAD.pack(len(body) // _WIDTH, crc32(body)) + body
