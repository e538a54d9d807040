"""How many bytes a restore comes to, and whether there is space for them."""

from __future__ import annotations

import os

from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.durable import discard, free_bytes
from mlrepro.errors import StoreError
from mlrepro.kernel import reflink
from mlrepro.placing import key_of
from mlrepro.reading import open_blobs
from mlrepro.settling import BATCH_BYTES
from mlrepro.streaming import SMALL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlrepro.settling import Restore
    from mlrepro.staging import Staging
    from mlrepro.store import Store

_MANY = 1000  # files of a new folder: so many are not looked at before they are opened


class Sizes:
    """Asks ``sources`` for the sizes of what is to be put together in ``room``, below ``root``."""

    def __init__(self, sources: Sequence[Store], room: Staging, root: str) -> None:
        self.sources = sources
        self.room = room
        self.root = root
        self._last = 0

    def of_all(
        self, items: Sequence[Restore], fresh: Mapping[str, tuple[int, int, int]]
    ) -> list[int]:
        """The bytes of each item, as pointers say; in a folder of many small files, on average.

        Small ones are looked at in any case, when they are opened. Raises StoreError where there
        is too little space for all.
        """
        sizes = [-1 if item.size is None else item.size for item in items]
        for first, end, total in fresh.values():
            if end - first >= _MANY and 0 < total <= (end - first) * SMALL >> 4:
                sizes[first:end] = [total // (end - first)] * (end - first)
        for at, item in enumerate(items):
            if sizes[at] < 0:
                sizes[at] = self.of(item)
        try:
            self._check_space(items, sizes)
        except StoreError:
            sizes = [self.of(item) for item in items]  # what was said may be wrong
            self._check_space(items, sizes)
        return sizes

    def of(self, item: Restore) -> int:
        """The bytes of one, 0 where no source has it."""
        size: int
        for at in dict.fromkeys((self._last, *range(len(self.sources)))):
            found = self.sources[at].find(item.oid)
            if found is not None:
                self._last, size = at, found[1].st_size  # the next one is likely there, too
                return size
        return 0

    def _check_space(self, items: Sequence[Restore], sizes: list[int]) -> None:
        free, total = free_bytes(self.room.folder), sum(sizes)
        old = sum(key_of(item.expect)[0] for item in items if item.expect is not None)
        needed = min(total, max(total - old, 0) + min(total, BATCH_BYTES))
        if needed <= free or self._shares_blocks(items[sizes.index(max(sizes))].oid):
            return
        raise StoreError(
            f"{needed} bytes are needed at {self.root}, {free} are free.",
            "Free some space, then run this again",
            code="disk-full",
            path=self.root,
        )

    def _shares_blocks(self, oid: str) -> bool:
        """Whether the copy of a blob takes no space here, by trying."""
        temp = self.room.new()
        fd = os.open(temp, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC)
        try:
            for store in self.sources[:1]:
                for blob in open_blobs(store, oid, []):
                    return reflink(blob.fd, fd)
            return False
        finally:
            os.close(fd)
            discard(temp)
