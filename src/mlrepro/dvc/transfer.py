"""Moves blobs between the cache and a network store, and proves each of them on its way."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache as cached
from hashlib import file_digest, md5
from typing import Any

from mlrepro import durable
from mlrepro.dvc import begun
from mlrepro.dvc.answers import MAYBE_ONE, WHOLE
from mlrepro.dvc.begun import Begun
from mlrepro.dvc.bucket import Bucket
from mlrepro.dvc.failures import is_foreign, translate
from mlrepro.dvc.ranges import LARGE, Received
from mlrepro.dvc.remote import Remote
from mlrepro.dvc.vouching import Row, Vouching, row_of
from mlrepro.errors import BlobCorrupt, BlobMissing, MlreproError
from mlrepro.parallel import Crew
from mlrepro.result import Reporter
from mlrepro.store import Store, store_error
from mlrepro.streaming import text_md5

Blob = tuple[str, int | None]  # oid, and size in bytes where known
Failures = dict[str, MlreproError]
_WAVE, _WAVE_BYTES = 256, 1 << 26  # blobs flushed to disk together, large ones apart
_WHOLE = WHOLE | {"store-full", "store-read-only", "remote-failed"}
PATIENCE_S = 2.0  # an interrupt waits so long for what is under way
_STRIKES = 4  # blobs in a row that it refuses, and it is taken to refuse all
# What a store that answered a moment ago may get over at once; a failure that came later than
# this was waited for long enough.
_PASSING = frozenset({"remote-unreachable", "remote-failed"})
_QUICK_S, _PAUSE_S = 5.0, 0.5


def is_right(path: str, oid: str, legacy: bool) -> bool:
    """Whether a file's bytes are those that its blob's name promises, or promised to DVC 2."""
    with open(path, "rb", buffering=0) as file:
        digest = file_digest(file, lambda: md5(usedforsecurity=False)).hexdigest()
        if digest != oid[:32] and legacy:
            file.seek(0)
            digest = text_md5(file.fileno())
    return digest == oid[:32]


class Moves:
    """What one transfer has come to so far; its methods may be called by any thread."""

    def __init__(self, remote: Remote | Bucket, jobs: int, reporter: Reporter) -> None:
        self.remote = remote
        self._jobs = jobs
        self.reporter = reporter
        self.done: dict[str, None] = {}
        self.failed: Failures = {}
        self._broken: MlreproError | None = None
        self._now = Crew(1)
        self._strikes = 0

    @property
    def crew(self) -> Crew:
        """As many threads as were asked for, or as the store is best asked by."""
        return Crew(self._jobs or self.remote.jobs, PATIENCE_S)

    def sizes(self, oids: Sequence[str], legacy: bool = False) -> dict[str, int]:
        """Of these blobs, those that the store has, with their sizes: see Remote.sizes."""
        return sizes(self.remote, oids, self.crew, legacy)

    def each(self, work: Callable[[str], None], oids: Sequence[str]) -> None:
        """Call ``work`` with each oid; what it raises is that blob's failure.

        After an error that is the whole store's, the rest is not tried: each try can take minutes.
        What may be so of one blob alone is believed of the store when it is so of some in a row.
        A connection that breaks is tried once more: the store has just said which blobs it has.
        """

        def guarded(oid: str) -> None:
            if self._broken is not None:
                self.failed[oid] = self._broken
                return
            began = time.monotonic()
            failure = self._try(work, oid)
            if (
                failure is not None
                and failure.code in _PASSING
                and time.monotonic() - began < _QUICK_S
            ):
                time.sleep(_PAUSE_S * (0.5 + os.urandom(1)[0] / 256))
                failure = self._try(work, oid)
            if failure is None:
                self._strikes = 0
                return
            self.failed[oid] = failure
            self._strikes += 1
            if failure.code in _WHOLE and (
                failure.code not in MAYBE_ONE or self._strikes >= _STRIKES
            ):
                self._broken = failure

        self._now = self.crew
        self._now.each(guarded, oids)

    def _try(self, work: Callable[[str], None], oid: str) -> MlreproError | None:
        """Why it could not be done for this blob; what is a bug of ours is raised."""
        try:
            work(oid)
        except Exception as error:
            if not isinstance(error, MlreproError) and not is_foreign(error):
                raise
            failure = translate(error, remote=self.remote.name)
            failure.oid = failure.oid or oid
            return failure
        return None

    def callback(self) -> Any:
        """What is told of a file's bytes as they go by."""
        check = self._now.check  # so that an interrupt ends what is in the middle of a file

        def advance(count: int) -> None:
            check()
            self.reporter.advance(count)

        kind = _callback_class() if self.remote.is_fsspec else _Bytes
        return kind(advance)


class _Bytes:
    """Passes on how many bytes of one file are done; none is told twice."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self.advance = advance
        self.told = 0
        self.value = 0

    def tell(self, value: int) -> None:
        """Pass on that ``value`` bytes are done in all."""
        if value > self.told:
            self.advance(value - self.told)
            self.told = value

    def relative_update(self, inc: int = 1) -> None:
        """Note that ``inc`` more bytes are done."""
        self.value += inc
        self.tell(self.value)

    def absolute_update(self, value: int) -> None:
        """Note that ``value`` bytes are done in all."""
        self.value = value
        self.tell(value)


@cached
def _callback_class() -> type:
    from fsspec.callbacks import Callback

    class Bytes(_Bytes, Callback):  # type: ignore[misc]
        def __init__(self, advance: Callable[[int], None]) -> None:
            Callback.__init__(self)
            _Bytes.__init__(self, advance)

    return Bytes


def sizes(
    remote: Remote | Bucket, oids: Sequence[str], crew: Crew, legacy: bool = False
) -> dict[str, int]:
    """What ``remote.sizes`` says, asked in another thread, so that an interrupt is heard."""
    found: list[dict[str, int]] = []

    def ask(_: None) -> None:
        found.append(remote.sizes(oids, crew, legacy))

    Crew(1, PATIENCE_S).each(ask, [None])
    return found[0]


def present(remote: Remote | Bucket, oids: Sequence[str], crew: Crew) -> dict[str, int]:
    """Of these blobs, those in the store, in either layout, with their sizes (-1: not told)."""
    wanted = list(dict.fromkeys(oids))
    found = sizes(remote, wanted, crew)
    return found | sizes(remote, [oid for oid in wanted if oid not in found], crew, legacy=True)


def agree(found: int | None, oid: str, size: int | None) -> bool:
    """Whether a blob's size in the store (None: not there, -1: not told) can be the right one.

    The size of a folder in a pointer is that of its files, so for a listing it says nothing.
    """
    return found is not None and (found < 0 or size is None or len(oid) != 32 or found == size)


def download(
    remote: Remote | Bucket, blobs: Iterable[Blob], cache: Store, jobs: int, reporter: Reporter
) -> tuple[list[str], Failures]:
    """Bring blobs from the store into the cache; returns the oids that are there now, and why not.

    Each is hashed before it gets its name; a damaged one in the cache is set aside for a good one.
    A folder's listing does not bring its members. Raises StoreError where the store as a whole, or
    the cache, cannot be used.
    """
    wanted = dict(blobs)
    moves = Moves(remote, jobs, reporter)
    reporter.begin("download", sum(size or 0 for oid, size in wanted.items() if len(oid) == 32))
    try:
        cache.prepare()
        with cache.staging() as staging:
            begun.sweep(cache.root)
            known = dict.fromkeys(begun.names(cache.root), LARGE)
            for wave in _waves(wanted, known):
                _receive(moves, wave, cache, staging.new)
    except OSError as error:
        raise store_error(error, cache.root) from error
    finally:
        reporter.end()
    return list(moves.done), moves.failed


def _waves(
    wanted: Mapping[str, int | None], known: Mapping[str, int]
) -> Iterator[list[tuple[str, int | None]]]:
    """Blobs that are flushed together: not too many, since a kill may lose what is not yet."""
    wave: list[tuple[str, int | None]] = []
    room = 0
    for oid, size in wanted.items():
        likely = known.get(oid) if size is None else size
        wave.append((oid, likely))
        room += likely if likely is not None and likely < LARGE else 0
        if len(wave) == _WAVE or room >= _WAVE_BYTES:
            yield wave
            wave, room = [], 0
    if wave:
        yield wave


def _receive(
    moves: Moves, wave: Sequence[tuple[str, int | None]], cache: Store, new: Callable[[], str]
) -> None:
    got: dict[str, tuple[Received, Row]] = {}
    sizes = dict(wave)

    def receive(oid: str) -> None:
        found = cache.find(oid)
        if found is not None and is_right(found[0], oid, found[0] == cache.legacy_path(oid)):
            moves.done[oid] = None
            return
        temp = new()
        with Begun(cache.root, oid) as earlier:
            came, row = _fetch(moves, oid, sizes[oid], temp, cache.root, earlier)
            got[oid] = came, row
            if came.path != temp:  # a large one gets its name while nobody else may go on with it
                place({oid: got.pop(oid)})
                earlier.finish()

    def place(some: Mapping[str, tuple[Received, Row]]) -> None:
        durable.sync_files([came.path for came, _ in some.values()])
        with Vouching(cache.proven) as vouching:
            for oid, (came, row) in some.items():
                if not came.legacy:
                    vouching.hold(oid, came.path, row)
                _adopt(cache, came.path, oid, came.legacy)
                moves.done[oid] = None
            vouching.vouch()
        durable.sync_dirs({os.path.dirname((cache.find(oid) or ("", None))[0]) for oid in some})

    moves.each(receive, [oid for oid, _ in wave])
    if got:
        place(got)


def _fetch(
    moves: Moves, oid: str, size: int | None, temp: str, room: str, earlier: Begun
) -> tuple[Received, Row]:
    """Copy a blob of the store to ``temp``, or where ``earlier`` left it, and hash it.

    Returns what its file is known by, too. Raises BlobMissing, BlobCorrupt, and StoreError where
    there is no place for it in ``room``.
    """
    callback = moves.callback()
    try:
        came = moves.remote.receive(oid, size, temp, callback, earlier)
    except FileNotFoundError:
        raise nowhere(oid) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise store_error(error, room) from error
        raise
    row = row_of(came.path)
    if came.digest != oid[:32] and not is_right(came.path, oid, came.legacy):
        durable.discard(temp)
        earlier.forget()
        raise BlobCorrupt(
            f"The blob {oid} is damaged in the store {moves.remote.name}.",
            "in a clone that has it: mlrepro verify --repair",
            oid=oid,
        )
    callback.tell(row[0])
    return came, row


def check(
    remote: Remote | Bucket,
    blobs: Iterable[Blob],
    cache: Store,
    jobs: int,
    reporter: Reporter,
    right: Callable[[str], None],
) -> Failures:
    """Read blobs of the store and hash them; returns those that are missing or damaged, and why.

    Each passes through a temporary file beside the cache, so that no more of them take space than
    are read at once. ``right`` is called, by any thread, with each that is as it should be. Raises
    StoreError where the store cannot be read.
    """
    wanted = dict(blobs)
    moves = Moves(remote, jobs, reporter)
    reporter.begin("verify", sum(size or 0 for size in wanted.values()))
    try:
        cache.prepare()
        with cache.staging() as staging:

            def read(oid: str) -> None:
                temp = staging.new()
                try:
                    _fetch(moves, oid, wanted[oid], temp, cache.root, Begun("", ""))
                finally:
                    durable.discard(temp)
                right(oid)

            moves.each(read, list(wanted))
    except OSError as error:
        raise store_error(error, cache.root) from error
    finally:
        reporter.end()
    for oid, failure in moves.failed.items():
        if not isinstance(failure, BlobMissing | BlobCorrupt):
            if failure.code in MAYBE_ONE:
                failure.message = f"The blob {oid} could not be read. {failure.message}"
            raise failure
    return moves.failed


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
