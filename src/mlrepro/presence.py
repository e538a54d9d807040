"""Which blobs a store has: by listing the folders they lie in, where many are asked for."""

from __future__ import annotations

import os

from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.index import is_racy, now_ns, stat_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlrepro.store import Store

_MANY = 1000  # blobs: fewer are looked for one by one
_LARGE = 1 << 16  # bytes of a folder that has so many names that a list of them takes longer


class Presence:
    """Answers for a while: what came since a folder was listed may not be seen.

    ``count``: how many blobs will be asked for. ``shelves``: see ``absent``.
    """

    def __init__(self, store: Store, count: int) -> None:
        self._store = store
        self._lists = count >= _MANY
        self._folders: dict[str, frozenset[str] | None] = {}
        self.shelves = ""

    def has(self, oid: str, size: int | None = None) -> bool:
        """Whether the blob is there, a regular file, with the right size where that is known."""
        listed = self._listed(oid) if self._lists and size is None else None
        if listed is None:
            return self._store.has(oid, size)
        return oid[2:] in listed or (self._store.is_mixed() and self._store.has(oid))

    def absent(self, known: Mapping[str, str], shelves: str = "") -> list[str]:
        """The names whose blobs, oids of plain files, are not there: as ``has`` for each.

        ``shelves``: what the attribute was after these blobs were found, or put, there. No blob
        goes without a trace in the times of its folder, so one that is as it was is not listed.
        """
        if not self._lists:
            return [name for name, oid in known.items() if not self.has(oid)]
        some = {oid[:2]: oid for oid in known.values()}
        now = self._shelves_now(some)
        same = {lead for lead, row in _rows(shelves).items() if now.get(lead) == row}
        listed = {
            lead: self._listed(oid) or frozenset() for lead, oid in some.items() if lead not in same
        }
        doubtful = [
            name
            for name, oid in known.items()
            if oid[:2] in listed and oid[2:] not in listed[oid[:2]]
        ]
        for name in doubtful:  # gone, in a folder too large to be listed, or where DVC 2 put it
            now.pop(known[name][:2], None)
        self.shelves = "\n".join([f"{lead} {row}" for lead, row in now.items()])
        return [name for name in doubtful if not self.has(known[name])]

    def _shelves_now(self, some: Mapping[str, str]) -> dict[str, str]:
        """By the beginning of an oid: its folder's numbers, unless a change could hide in them."""
        found = {}
        for lead, oid in some.items():
            began = now_ns()
            try:
                about = os.lstat(os.path.dirname(self._store.path(oid)))
            except OSError:
                continue
            if not is_racy(about.st_mtime_ns, about.st_ctime_ns, began):
                found[lead] = stat_key(about)
        return found

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
                    [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
                )
        except FileNotFoundError:
            return frozenset()
        except OSError:
            return None


def _rows(shelves: str) -> dict[str, str]:
    return {line[:2]: line[3:] for line in shelves.split("\n")}
