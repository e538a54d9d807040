"""Moves blobs between the cache and a network store, and proves each of them on its way."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Sequence
from functools import cache as cached
from hashlib import file_digest, md5
from typing import Any

from mlrepro import durable
from mlrepro.amounts import many
from mlrepro.dvc.answers import WHOLE
from mlrepro.dvc.failures import is_foreign, missing_remote, translate
from mlrepro.dvc.remote import Remote
from mlrepro.errors import BlobCorrupt, BlobMissing, MlreproError, PointerError, StoreError
from mlrepro.parallel import Crew
from mlrepro.pointer import MAX_LISTING_BYTES, parse_listing
from mlrepro.result import Reporter
from mlrepro.store import Store, store_error
from mlrepro.streaming import text_md5

Blob = tuple[str, int | None]  # oid, and size in bytes where known
Failures = dict[str, MlreproError]
_WAVE = 256  # blobs flushed to disk together
_MOST_JOBS = 16  # DVC's own default of four a core asks some servers for too much
_WHOLE = WHOLE | {"store-full", "store-read-only"}


def is_right(path: str, oid: str, legacy: bool) -> bool:
    """Whether a file's bytes are those that its blob's name promises, or promised to DVC 2."""
    with open(path, "rb", buffering=0) as file:
        digest = file_digest(file, lambda: md5(usedforsecurity=False)).hexdigest()
        if digest != oid[:32] and legacy:
            file.seek(0)
            digest = text_md5(file.fileno())
    return digest == oid[:32]


class _Moves:
    """What one transfer has come to so far; its methods may be called by any thread."""

    def __init__(self, remote: Remote, jobs: int, reporter: Reporter) -> None:
        self.remote = remote
        self.crew = Crew(jobs or min(_MOST_JOBS, remote.fs.jobs))
        self.reporter = reporter
        self.done: dict[str, None] = {}
        self.failed: Failures = {}
        self._broken: MlreproError | None = None

    def each(self, work: Callable[[str], None], oids: Sequence[str]) -> None:
        """Call ``work`` with each oid; what it raises is that blob's failure.

        After an error that is the whole store's, the rest is not tried: each try can take minutes.
        """

        def guarded(oid: str) -> None:
            if self._broken is not None:
                self.failed[oid] = self._broken
                return
            try:
                work(oid)
            except Exception as error:
                if not isinstance(error, MlreproError) and not is_foreign(error):
                    raise
                meaning = translate(error, remote=self.remote.name)
                meaning.oid = meaning.oid or oid
                self.failed[oid] = meaning
                if meaning.code in _WHOLE:
                    self._broken = meaning

        self.crew.each(guarded, oids)

    def callback(self) -> Any:
        """What fsspec tells of a file's bytes as they go by."""
        return _callback_class()(self.reporter.advance)


@cached
def _callback_class() -> type:
    from fsspec.callbacks import Callback

    class Bytes(Callback):  # type: ignore[misc]
        def __init__(self, advance: Callable[[int], None]) -> None:
            super().__init__()
            self.advance = advance
            self.told = 0

        def tell(self, value: int) -> None:
            """Pass on that ``value`` bytes are done in all."""
            if value > self.told:
                self.advance(value - self.told)
                self.told = value

        def relative_update(self, inc: int = 1) -> None:
            self.value += inc
            self.tell(self.value)

        def absolute_update(self, value: int) -> None:
            self.value = value
            self.tell(value)

    return Bytes


def upload(
    remote: Remote, blobs: Iterable[Blob], cache: Store, jobs: int, reporter: Reporter
) -> tuple[list[str], Failures]:
    """Put blobs of the cache into the store; a folder's listing brings its members, and is last.

    Returns the oids that the store has now, each seen there with its size after it was sent, and
    why the others are not there. A blob is hashed before it is sent, and a damaged one is not; one
    that is in the store with a wrong size is set aside there and sent again. Raises StoreError
    where the store as a whole cannot be used.
    """
    remote.require()
    moves = _Moves(remote, jobs, reporter)
    members = _with_members(blobs, cache, moves.failed)
    places = {oid: cache.find(oid) for oid in members}
    old = {oid for oid, found in places.items() if found and found[0] == cache.legacy_path(oid)}
    present = _sizes(moves, [oid for oid in members if oid not in old], legacy=False)
    present |= _sizes(moves, sorted(old), legacy=True)
    known = {oid: size for oid, size in blobs if size is not None and len(oid) == 32}
    expected = {oid: found[1].st_size if found else known.get(oid, -1)
                for oid, found in places.items()}  # fmt: skip
    to_send = []
    for oid in members:
        if oid in present and _agree(present[oid], expected[oid]):
            moves.done[oid] = None
        elif places[oid] is None:
            moves.failed[oid] = nowhere(oid)
        else:
            to_send.append(oid)

    def send(oid: str) -> None:
        found = places[oid]
        assert found is not None
        if not is_right(found[0], oid, oid in old):
            raise BlobCorrupt(
                f"The blob {oid} is damaged in the cache, so it was not sent.",
                "mlrepro verify --repair looks for a good copy",
                oid=oid,
            )
        if oid in present:
            remote.set_aside(oid, oid in old)
        callback = moves.callback()
        try:
            remote.send(found[0], oid, oid in old, callback)
        except FileNotFoundError as error:  # the source is there: it was just read
            raise missing_remote(remote.name) from error
        callback.tell(found[1].st_size)

    reporter.begin("upload", sum(expected[oid] for oid in to_send))
    try:
        files = [oid for oid in to_send if len(oid) == 32]
        moves.each(send, files)
        _confirm(moves, [oid for oid in files if oid not in moves.failed], expected, old)
        folders = []
        for oid in [oid for oid in members if len(oid) != 32]:
            lacking = [one for one in members[oid] if one not in moves.done]
            if lacking:
                moves.done.pop(oid, None)
                moves.failed.setdefault(oid, _incomplete(oid, lacking, moves.failed))
            elif oid in to_send:
                folders.append(oid)
        moves.each(send, folders)
        _confirm(moves, [oid for oid in folders if oid not in moves.failed], expected, old)
    finally:
        reporter.end()
    return list(moves.done), moves.failed


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
            with open(place[0], "rb") as file:
                listed = parse_listing(file.read(MAX_LISTING_BYTES + 1), oid)
        except (BlobMissing, BlobCorrupt, PointerError) as error:
            failed[oid] = error
            continue
        found[oid] = tuple(dict.fromkeys(member.oid for member in listed))
        found.update(dict.fromkeys(found[oid], ()))
    return found


def _sizes(moves: _Moves, oids: Sequence[str], *, legacy: bool) -> dict[str, int]:
    return moves.remote.sizes(oids, moves.crew, legacy) if oids else {}


def present(remote: Remote, oids: Sequence[str], crew: Crew) -> dict[str, int]:
    """Of these blobs, those in the store, in either layout, with their sizes (-1: not told)."""
    wanted = list(dict.fromkeys(oids))
    found = remote.sizes(wanted, crew)
    return found | remote.sizes([oid for oid in wanted if oid not in found], crew, legacy=True)


def agree(found: int | None, oid: str, size: int | None) -> bool:
    """Whether a blob's size in the store (None: not there, -1: not told) can be the right one.

    The size of a folder in a pointer is that of its files, so for a listing it says nothing.
    """
    return found is not None and (found < 0 or size is None or len(oid) != 32 or found == size)


def _agree(size: int, expected: int) -> bool:
    return size == expected or size < 0 or expected < 0


def _confirm(moves: _Moves, oids: Sequence[str], expected: dict[str, int], old: set[str]) -> None:
    """Look for what was sent: only what is there with the right size is done."""
    sizes = _sizes(moves, [oid for oid in oids if oid not in old], legacy=False)
    sizes |= _sizes(moves, [oid for oid in oids if oid in old], legacy=True)
    for oid in oids:
        if oid in sizes and _agree(sizes[oid], expected[oid]):
            moves.done[oid] = None
        else:
            moves.failed[oid] = StoreError(
                f"The store {moves.remote.name} does not have the blob {oid} that was sent to it.",
                "mlrepro remote test",
                code="remote-unconfirmed",
                oid=oid,
            )


def download(
    remote: Remote, blobs: Iterable[Blob], cache: Store, jobs: int, reporter: Reporter
) -> tuple[list[str], Failures]:
    """Bring blobs from the store into the cache; returns the oids that are there now, and why not.

    Each is hashed before it gets its name; a damaged one in the cache is set aside for a good one.
    A folder's listing does not bring its members. Raises StoreError where the store as a whole, or
    the cache, cannot be used.
    """
    wanted = dict(blobs)
    moves = _Moves(remote, jobs, reporter)
    reporter.begin("download", sum(size or 0 for oid, size in wanted.items() if len(oid) == 32))
    try:
        cache.prepare()
        with cache.staging() as staging:
            oids = list(wanted)
            for at in range(0, len(oids), _WAVE):
                _receive(moves, oids[at : at + _WAVE], cache, staging.new)
    except OSError as error:
        raise store_error(error, cache.root) from error
    finally:
        reporter.end()
    return list(moves.done), moves.failed


def _receive(moves: _Moves, oids: Sequence[str], cache: Store, new: Callable[[], str]) -> None:
    got: dict[str, tuple[str, bool]] = {}

    def receive(oid: str) -> None:
        found = cache.find(oid)
        if found is not None and is_right(found[0], oid, found[0] == cache.legacy_path(oid)):
            moves.done[oid] = None
            return
        temp, callback = new(), moves.callback()
        try:
            old = moves.remote.receive(oid, temp, callback)
        except FileNotFoundError:
            raise nowhere(oid) from None
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                raise store_error(error, cache.root) from error
            raise
        if not is_right(temp, oid, old):
            durable.discard(temp)
            raise BlobCorrupt(
                f"The blob {oid} is damaged in the store {moves.remote.name}.",
                "in a clone that has it: mlrepro verify --repair",
                oid=oid,
            )
        callback.tell(os.stat(temp).st_size)
        got[oid] = temp, old

    moves.each(receive, oids)
    if not got:
        return
    durable.sync_files([temp for temp, _ in got.values()])
    for oid, (temp, old) in got.items():
        _adopt(cache, temp, oid, old)
        moves.done[oid] = None
    durable.sync_dirs({os.path.dirname((cache.find(oid) or ("", None))[0]) for oid in got})


def _adopt(cache: Store, temp: str, oid: str, old: bool) -> None:
    """Name a blob that was proven, in the place of a damaged one if need be."""
    take = cache.adopt_legacy if old else cache.adopt
    if take(temp, oid):
        return
    path = cache.legacy_path(oid) if old else cache.path(oid)
    seen = os.lstat(path)
    if not is_right(path, oid, old):
        cache.quarantine(oid, path, seen)
        take(temp, oid)


def nowhere(oid: str) -> BlobMissing:
    """The error for a blob that neither side of a transfer has."""
    return BlobMissing(
        f"The blob {oid} is in neither cache nor store.",
        "in a clone that has it: mlrepro push",
        oid=oid,
    )


def _incomplete(oid: str, lacking: Sequence[str], failed: Failures) -> MlreproError:
    first = failed.get(lacking[0])
    why = f": {first.message}" if first else ""
    return BlobMissing(
        f"The folder {oid} was not sent: the store lacks {many(len(lacking), 'file')} of it{why}",
        "in a clone that has them: mlrepro push",
        code=first.code if first else "",
        oid=oid,
    )
