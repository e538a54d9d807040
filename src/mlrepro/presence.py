"""Which blobs a store has: by listing the folders they lie in, where many are asked for."""

from __future__ import annotations

import os

from mlrepro.dataclass import TYPE_CHECKING

if TYPE_CHECKING:
    from mlrepro.store import Store

_MANY = 1000  # blobs: fewer are looked for one by one
_LARGE = 1 << 16  # bytes of a folder that has so many names that a list of them takes longer


class Presence:
    """Answers for a while: what came since a folder was listed may not be seen.

    ``count``: how many blobs will be asked for.
    """

    def __init__(self, store: Store, count: int) -> None:
        self._store = store
        self._lists = count >= _MANY
        self._folders: dict[str, frozenset[str] | None] = {}

    def has(self, oid: str, size: int | None = None) -> bool:
        """Whether the blob is there, a regular file, with the right size where that is known."""
        listed = self._listed(oid) if self._lists and size is None else None
        if listed is None:
            return self._store.has(oid, size)
        return oid[2:] in listed or (self._store.is_mixed() and self._store.has(oid))

    def is_in_place(self, oid: str) -> bool:
        """The same, under the name that DVC 3 gives it; False also where that is not known."""
        listed = self._listed(oid) if self._lists else None
        return listed is not None and oid[2:] in listed

    def _listed(self, oid: str) -> frozenset[str] | None:
        """The names of the regular files in the blob's folder; None where it is not listed."""
        lead = oid[:2]
        if lead not in self._folders:
            self._folders[lead] = self._list(os.path.dirname(self._store.path(oid)))
        return self._folders[lead]

    def _list(self, folder: str) -> frozenset[str] | None:
        try:
            if os.stat(folder).st_size > _LARGE:
                return None
            with os.scandir(folder) as entries:
                return frozenset(
                    entry.name for entry in entries if entry.is_file(follow_symlinks=False)
                )
        except FileNotFoundError:
            return frozenset()
        except OSError:
            return None
