"""Sends blobs from the cache to a network store, and has each of them confirmed."""

from __future__ import annotations

import time
from collections.abc import Collection, Container, Iterable, Sequence
from hashlib import md5

from mlrepro.amounts import many
from mlrepro.dvc import begun
from mlrepro.dvc.answers import missing_remote
from mlrepro.dvc.begun import Begun
from mlrepro.dvc.bucket import Bucket
from mlrepro.dvc.remote import Remote
from mlrepro.dvc.transfer import PATIENCE_S, Blob, Failures, Moves, is_right, nowhere
from mlrepro.errors import BlobCorrupt, BlobMissing, MlreproError, PointerError, StoreError
from mlrepro.parallel import Crew
from mlrepro.pointer import parse_listing, read_listing
from mlrepro.result import Reporter
from mlrepro.store import Store

_MOMENT_S = 0.5  # until a blob that was sent and is not there is looked for once more


def upload(
    remote: Remote | Bucket, blobs: Sequence[Blob], cache: Store, jobs: int, reporter: Reporter,
    known: Container[str] = (), fresh: list[str] | None = None, replace: Container[str] = (),
) -> tuple[list[str], Failures]:  # fmt: skip
    """Put blobs of the cache into the store; a folder's listing brings its members, and is last.

    The blobs that are ``known`` to be there are not asked for; those that were not there are added
    to ``fresh``; those to ``replace`` are damaged there, though their size may be right. Returns
    the oids that the store has now, each confirmed after it was sent, and why the others are not
    there. A blob is hashed before it is sent, and a damaged one is not; one that is in the store
    with a wrong size is set aside there and sent again. Raises StoreError where the store as a
    whole cannot be used.
    """
    remote.require()
    begun.sweep(cache.root)
    sending = _Sending(remote, cache, jobs, reporter)
    to_send = sending.plan(blobs, known, replace)
    reporter.begin("upload", sum(sending.expected[oid] for oid in to_send))
    try:
        sending.send_all([oid for oid in to_send if len(oid) == 32])
        sending.send_all(sending.whole_folders(to_send))
        sending.sweep([oid for oid in to_send if oid in sending.done])
    finally:
        reporter.end()
        if fresh is not None:
            fresh += [oid for oid in to_send if oid in sending.done]
    return list(sending.done), sending.failed


class _Sending(Moves):
    """One call of ``upload``.

    ``members``: every blob, and which others have to be there before it; ``places``: where each
    lies in the cache; ``old``: those that lie where DVC 2 put them; ``expected``: sizes in bytes,
    -1 where not known; ``present``: sizes of those that the store had at first.
    """

    def __init__(
        self, remote: Remote | Bucket, cache: Store, jobs: int, reporter: Reporter
    ) -> None:
        super().__init__(remote, jobs, reporter)
        self.cache = cache
        self.members: dict[str, tuple[str, ...]] = {}
        self.expected: dict[str, int] = {}
        self._present: dict[str, int] = {}

    def plan(
        self, blobs: Sequence[Blob], known: Container[str], replace: Container[str]
    ) -> list[str]:
        """What has to be sent; the rest is done, or has failed."""
        self.members = _with_members(blobs, self.cache, self.failed)
        given = {oid: size for oid, size in blobs if size is not None and len(oid) == 32}
        self._places = {oid: self.cache.find(oid) for oid in self.members if oid not in known}
        self._old = {
            oid for oid, place in self._places.items()
            if place and place[0] == self.cache.legacy_path(oid)
        }  # fmt: skip
        self.expected = {
            oid: place[1].st_size if place else given.get(oid, -1)
            for oid, place in self._places.items()
        }
        self._present = self._sizes(self._places)
        to_send = []
        for oid in self.members:
            if oid not in self._places or (
                oid not in replace and self._is_there(oid, self._present)
            ):
                self.done[oid] = None
            elif self._places[oid] is None:
                self.failed[oid] = nowhere(oid)
            else:
                to_send.append(oid)
        return to_send

    def _sizes(self, oids: Collection[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        for legacy in (False, True):
            asked = [oid for oid in oids if (oid in self._old) == legacy]
            if asked:
                found |= self.sizes(asked, legacy)
        return found

    def _is_there(self, oid: str, sizes: dict[str, int]) -> bool:
        size, expected = sizes.get(oid), self.expected[oid]
        return size is not None and (size == expected or size < 0 or expected < 0)

    def whole_folders(self, to_send: Sequence[str]) -> list[str]:
        """The folders to be sent, all of whose files are there; the others have failed."""
        whole = []
        asked = set(to_send)
        for oid in [oid for oid in self.members if len(oid) != 32]:
            lacking = [one for one in self.members[oid] if one not in self.done]
            if lacking:
                self.done.pop(oid, None)
                self.failed.setdefault(oid, _incomplete(oid, lacking, self.failed))
            elif oid in asked:
                whole.append(oid)
        return whole

    def send_all(self, oids: Sequence[str]) -> None:
        """Send these, then look for those that the store has not confirmed by itself."""
        self.each(self._send, oids)
        sent = [oid for oid in oids if oid not in self.failed and oid not in self.done]
        sizes = self._sizes(sent)
        unseen = [oid for oid in sent if not self._is_there(oid, sizes)]
        if unseen:  # a store, or what stands before it, may show a moment later what it took
            time.sleep(_MOMENT_S)
            sizes |= self._sizes(unseen)
        for oid in sent:
            if self._is_there(oid, sizes):
                self.done[oid] = None
            else:
                self.failed[oid] = StoreError(
                    f"The store {self.remote.name} does not have the blob {oid} that was sent to "
                    "it.",
                    "mlrepro remote test",
                    code="remote-unconfirmed",
                    oid=oid,
                )

    def sweep(self, sent: Sequence[str]) -> None:
        """Clear away what was left on its way; in another thread, so that an interrupt is heard."""
        remote = self.remote
        if isinstance(remote, Remote):
            Crew(1, PATIENCE_S).each(
                remote.sweep, [oid for oid in sent if oid not in self._old][:1]
            )

    def _send(self, oid: str) -> None:
        place, old = self._places[oid], oid in self._old
        assert place is not None
        by_itself = place[1].st_size >= self.remote.hashes_from and not old
        if not by_itself and not is_right(place[0], oid, old):
            raise BlobCorrupt(
                f"The blob {oid} is damaged in the cache, so it was not sent.",
                "mlrepro verify --repair looks for a good copy",
                oid=oid,
            )
        if oid in self._present:
            self.remote.set_aside(oid, old)
        callback = self.callback()
        try:
            with self._begun(oid) as earlier:
                if self.remote.send(place[0], oid, old, callback, earlier):
                    self.done[oid] = None
        except FileNotFoundError as error:  # the source is there: it was just read
            raise missing_remote(self.remote.name) from error
        callback.tell(place[1].st_size)

    def _begun(self, oid: str) -> Begun:
        where = md5(self.remote.place.encode(), usedforsecurity=False).hexdigest()
        return Begun(self.cache.root, f"{oid}-{where[:8]}")


def _with_members(
    blobs: Iterable[Blob], cache: Store, failed: Failures
) -> dict[str, tuple[str, ...]]:
    """All blobs to be stored, each with the blobs that have to be there before it."""
    found: dict[str, tuple[str, ...]] = {}
    for oid, _ in blobs:
        if len(oid) == 32:
            found[oid] = ()
            continue
        place = cache.find(oid)
        try:
            if place is None:
                raise nowhere(oid)
            if not is_right(place[0], oid, legacy=False):
                raise BlobCorrupt(
                    f"The folder listing {oid} is damaged in the cache, so it was not sent.",
                    "mlrepro verify --repair looks for a good copy",
                    oid=oid,
                )
            listed = parse_listing(read_listing(place[0], oid), oid)
        except (BlobMissing, BlobCorrupt, PointerError) as error:
            failed[oid] = error
            continue
        found[oid] = tuple(dict.fromkeys(member.oid for member in listed))
        found.update(dict.fromkeys(found[oid], ()))
    return found


def _incomplete(oid: str, lacking: Sequence[str], failed: Failures) -> MlreproError:
    first = failed.get(lacking[0])
    why = f": {first.message}" if first else ""
    return BlobMissing(
        f"The folder {oid} was not sent: the store lacks {many(len(lacking), 'file')} of it{why}",
        "in a clone that has them: mlrepro push",
        code=first.code if first else "",
        oid=oid,
    )
