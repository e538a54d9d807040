"""Proves that the cache has a content whole and right, whatever DVC says of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

from mlrepro import durable
from mlrepro.dvc.transfer import is_right, nowhere
from mlrepro.errors import MlreproError, PointerError
from mlrepro.parallel import Crew
from mlrepro.pointer import Member, parse_listing, read_listing
from mlrepro.store import Store


class Proof:
    """What one session has proven of a cache: a blob that stays the same is hashed once.

    A blob that is wrong is set aside; one that is right is flushed to disk.
    """

    def __init__(self, cache: Store) -> None:
        self.cache = cache
        self._right: set[tuple[str, int, int, int]] = set()

    def unproven(self, oid: str, legacy: bool = False) -> list[str]:
        """Of a blob, or a folder's listing and its members, those that are missing or wrong.

        ``legacy``: hashed and laid out as by DVC 2. Raises PointerError for a listing that is not
        safe, OSError where the cache cannot be used.
        """
        wrong = self._wrong([oid], legacy)
        if wrong or not oid.endswith(".dir"):
            return wrong
        return self._wrong([member.oid for member in self.members(oid, legacy)], legacy)

    def problem(self, oid: str) -> MlreproError | None:
        """Why the cache cannot give this content whole, in either layout; None where it can."""
        try:
            wrong = self.unproven(oid, self.is_legacy(oid))
        except PointerError as error:
            return error
        return nowhere(wrong[0]) if wrong else None

    def is_legacy(self, oid: str) -> bool:
        """Whether the cache has the blob only where DVC 2 put it."""
        return self.cache.stat(oid) is None and self.cache.find(oid) is not None

    def members(self, oid: str, legacy: bool = False) -> list[Member]:
        """The files that a listing in the cache names. Raises PointerError where it is not safe."""
        return list(parse_listing(read_listing(self._place(oid, legacy), oid), oid))

    def _place(self, oid: str, legacy: bool) -> str:
        return self.cache.legacy_path(oid) if legacy else self.cache.path(oid)

    def _wrong(self, oids: Iterable[str], legacy: bool) -> list[str]:
        wrong: list[str] = []
        fresh: list[str] = []

        def prove(oid: str) -> None:
            path = self._place(oid, legacy)
            try:
                about = os.lstat(path)
                key = (path, about.st_ino, about.st_size, about.st_ctime_ns)
                if key in self._right:
                    return
                if stat.S_ISREG(about.st_mode) and is_right(path, oid, legacy):
                    self._right.add(key)
                    fresh.append(path)
                    return
                self.cache.quarantine(oid, path, about)
            except FileNotFoundError:
                pass
            wrong.append(oid)

        Crew().each(prove, list(dict.fromkeys(oids)))
        if fresh:
            durable.sync_files(fresh)
            durable.sync_dirs({os.path.dirname(path) for path in fresh})
        return wrong
