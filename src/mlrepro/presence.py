"""Which blobs a store has: by listing the folders they lie in, where many are asked for."""

from __future__ import annotations

import os

from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.index import is_racy, now_ns, stat_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mlrepro.store import Store

_NONE = "0" * 32  # no blob's name
_MANY = 1000  # blobs: fewer are looked for one by one
_LARGE = 1 << 16  # bytes of a folder that has so many names that a list of them takes longer


class Presence:
    """Answers for a while: what came since a folder was listed may not be seen.

    ``count``: how many blobs will be asked for. ``lists``: whether folders are listed for
    that; ``shelves``: see ``absent``.
    """

    def __init__(self, store: Store, count: int) -> None:
        self._store = store
        self.lists = count >= _MANY
        self._folders: dict[str, frozenset[str] | None] = {}
        self._asked = False
        self.shelves = ""

    def has(self, oid: str, size: int | None = None) -> bool:
        """Whether the blob is there, a regular file, with the right size where that is known."""
        listed = self._listed(oid) if self.lists and size is None else None
        if listed is None:
            return self._store.has(oid, size)
        return oid[2:] in listed or (self._store.is_mixed() and self._store.has(oid))

    def absent(
        self, oids: bytes | bytearray, shelves: str = "", *, some_unknown: bool = False
    ) -> list[int]:
        """Which of these blobs of plain files are not there, by their places: as ``has`` for each.

        ``oids``: 16 bytes each; with ``some_unknown``, all zero means none, and is not looked for.
        ``shelves``: what the attribute was after these blobs were found, or put, there. No blob
        goes without a trace in the times of its folder, so one that is as it was is not listed.
        """
        digits, every = oids.hex(), {f"{lead:02x}" for lead in {*oids[::16]}}
        now = self._shelves_now(every) if self.lists else {}
        was = _rows(shelves)
        same = {lead for lead, row in now.items() if was.get(lead) == row}
        doubtful = self._unlisted(digits, every - same) if self.lists else range(0, len(digits), 32)
        if some_unknown:
            doubtful = [at for at in doubtful if digits[at : at + 32] != _NONE]
        for at in doubtful:  # gone, in a folder too large to be listed, or where DVC 2 put it
            now.pop(digits[at : at + 2], None)
        self.shelves = "\n".join([f"{lead} {row}" for lead, row in now.items()])
        return [at // 32 for at in doubtful if not self._store.has(digits[at : at + 32])]

    def _unlisted(self, digits: str, leads: set[str]) -> Sequence[int]:
        """Where those oids begin that have one of these leads, and that its folder does not list.

        One folder after the other, so that not all names of a store are in memory; they are from
        the second time on, rather than to be listed again and again.
        """
        if not leads:
            return ()
        again, self._asked = self._asked, True
        by_lead: dict[str, list[int]] = {lead: [] for lead in leads}
        for at in range(0, len(digits), 32):
            if (lead := digits[at : at + 2]) in leads:
                by_lead[lead].append(at)
        found: list[int] = []
        for lead, places in by_lead.items():
            names = self._listed(lead) if again else self._list(self._folder(lead))
            names = names or frozenset()
            found += [at for at in places if digits[at + 2 : at + 32] not in names]
        return sorted(found)

    def _shelves_now(self, leads: Iterable[str]) -> dict[str, str]:
        """By the beginning of an oid: its folder's numbers, unless a change could hide in them."""
        found = {}
        for lead in leads:
            began = now_ns()
            try:
                about = os.lstat(self._folder(lead))
            except OSError:
                continue
            if not is_racy(about.st_mtime_ns, about.st_ctime_ns, began):
                found[lead] = stat_key(about)
        return found

    def _folder(self, lead: str) -> str:
        return os.path.dirname(self._store.path(lead + _NONE[2:]))

    def is_in_place(self, oid: str) -> bool:
        """The same, under the name that DVC 3 gives it; False also where that is not known."""
        listed = self._listed(oid) if self.lists else None
        return listed is not None and oid[2:] in listed

    def _listed(self, oid: str) -> frozenset[str] | None:
        """The names of the regular files in the blob's folder; None where it is not listed."""
        lead = oid[:2]
        if lead not in self._folders:
            self._folders[lead] = self._list(self._folder(lead))
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
