"""Blobs to and from an S3 bucket, by obstore: a tenth of the work that DVC makes of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import cached_property
from hashlib import md5
from typing import Any

from mlrepro.durable import write_all
from mlrepro.dvc import multipart, ranges
from mlrepro.dvc.answers import missing_remote
from mlrepro.dvc.begun import Begun
from mlrepro.dvc.ranges import LARGE, PART, Received, Room
from mlrepro.dvc.s3 import Settings
from mlrepro.dvc.signed import Requests
from mlrepro.parallel import Crew, Halted

_FEW = 16  # blobs that are asked for one by one
_PAGES = 4  # of the whole listing, before folders are listed: a page has a thousand blobs
_NOTHING = md5(usedforsecurity=False).hexdigest()[2:]  # ends the name of the blob of no bytes
_PIECE = 1 << 16  # bytes that are handed over at once, at least
_TRIES = 5  # for what breaks in the middle of an answer


class Bucket:
    """A folder of an S3 bucket, asked as ``remote.Remote`` is; a blob appears whole or not at all.

    Each request is tried again, for three minutes at most, with growing pauses of random length,
    where the server is busy or does not answer; but where it never answered, soon given up.
    """

    is_fsspec = False
    hashes_from = LARGE  # bytes from which on ``send`` hashes a file on its way

    def __init__(self, settings: Settings) -> None:
        self.name = settings.remote
        self._settings = settings
        self._patient = self._store(10, 180.0)
        self._quick = self._store(4, 10.0, 15)
        self._reached = False
        self._answer_s = 0.0
        self._old: bool | None = None
        self._room = Room()
        self.place = (
            f"{settings.endpoint} {settings.region} s3://{settings.bucket}/{settings.prefix}"
        )

    def _store(self, retries: int, most_s: float, silence_s: int = 3600) -> Any:
        from obstore.store import S3Store

        about = self._settings
        given: dict[str, Any] = {
            "allow_http": about.endpoint.startswith("http:"),
            "connect_timeout": timedelta(seconds=about.connect_s),
            "read_timeout": timedelta(seconds=min(about.read_s, silence_s)),
            "timeout": timedelta(hours=1),
        }
        if about.authority:
            given["root_certificate"] = about.authority
        config: dict[str, Any] = {"endpoint": about.endpoint} if about.endpoint else {}
        return S3Store(
            about.bucket,
            prefix=about.prefix or None,
            region=about.region,
            client_options=given,
            credential_provider=about.credentials,
            retry_config={
                "max_retries": retries,
                "retry_timeout": timedelta(seconds=most_s),
                "backoff": {
                    "init_backoff": timedelta(milliseconds=100),
                    "max_backoff": timedelta(seconds=15),
                    "base": 2,
                },
            },
            **config,
        )

    @property
    def jobs(self) -> int:
        """How many transfers at once: more of them, the longer an answer takes."""
        return self._settings.jobs or min(64, 8 + int(self._answer_s * 1000))

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        """Ask the server; what was cut off in the middle is asked again."""
        began = time.monotonic()
        for left in reversed(range(_TRIES)):
            try:
                found = question(self._patient if self._reached else self._quick)
            except FileNotFoundError as error:
                self._note(began)
                if "NoSuchBucket" in str(error):
                    raise missing_remote(self.name) from error
                raise
            except Exception as error:
                # An answer, be it that the server is busy, shows that it is there; one that it gave
                # to every patient question is final.
                answered, patient = "status code: " in str(error), self._reached
                self._reached = patient or answered
                final = type(error).__name__ != "GenericError" or (answered and patient)
                if final or not self._reached or not left:
                    raise
                time.sleep((1 + os.urandom(1)[0] / 256) * 0.1 * (_TRIES - left))
            else:
                self._note(began)
                return found
        raise AssertionError

    def _note(self, began: float) -> None:
        if not self._reached:
            self._answer_s = time.monotonic() - began
            self._reached = True

    @staticmethod
    def path(oid: str, legacy: bool = False) -> str:
        """Where the blob belongs, below the folder of the store."""
        return f"{'' if legacy else 'files/md5/'}{oid[:2]}/{oid[2:]}"

    def require(self) -> None:
        """Whether there is such a bucket, its first answer tells."""

    def sizes(self, oids: Sequence[str], crew: Crew, legacy: bool = False) -> dict[str, int]:
        """Of these blobs, those that are there, with their sizes in bytes."""
        if not oids or (legacy and not self._has_old()):
            return {}
        found: dict[str, int] = {}
        if len(oids) <= _FEW:
            crew.each(lambda oid: self._look(oid, legacy, found), list(oids))
            return found
        wanted = {self.path(oid, legacy): oid for oid in oids}
        top = "" if legacy else "files/md5"
        for number, page in enumerate(self._pages(top), 1):
            found.update((wanted[name], size) for name, size in page if name in wanted)
            if number == _PAGES:
                break
        else:
            return found
        left = [oid for oid in oids if oid not in found]
        folders = sorted({os.path.dirname(self.path(oid, legacy)) for oid in left})
        if len(left) < 2 * len(folders):
            crew.each(lambda oid: self._look(oid, legacy, found), left)
            return found

        def list_one(folder: str) -> None:
            for page in self._pages(folder):
                found.update((wanted[name], size) for name, size in page if name in wanted)

        crew.each(list_one, folders)
        return found

    def _look(self, oid: str, legacy: bool, found: dict[str, int]) -> None:
        from obstore import head

        try:
            about = self._ask(lambda store: head(store, self.path(oid, legacy)))
        except FileNotFoundError:
            return
        except Exception as error:
            denied = type(error).__name__ in {"PermissionDeniedError", "UnauthenticatedError"}
            if denied and "<Code>" not in str(error):
                self._say_why()
            raise
        found[oid] = int(about["size"])

    def _say_why(self) -> None:
        """Raise what the server says to a question that may be answered with a reason."""
        try:
            next(self._pages("files/md5"), None)
        except Exception as error:
            raise error from None

    def _pages(self, folder: str) -> Iterator[list[tuple[str, int]]]:
        """The names and sizes below a folder, a request's worth at a time."""
        from obstore import list as listing

        last = ""
        while True:
            begun = last

            def page(store: Any, after: str = begun) -> Any:
                stream = listing(store, folder or None, offset=after or None, chunk_size=1000)
                return next(iter(stream), [])

            found = [(str(one["path"]), int(one["size"])) for one in self._ask(page)]
            if found:
                yield found
            if len(found) < 1000:
                return
            last = found[-1][0]

    def _has_old(self) -> bool:
        """Whether there is anything where DVC 2 put blobs."""
        from obstore import list_with_delimiter

        if self._old is None:
            told = self._ask(lambda store: list_with_delimiter(store, None))
            names = {str(name).strip("/") for name in told["common_prefixes"]}
            self._old = any(len(n) == 2 and not n.strip("0123456789abcdef") for n in names)
        return self._old

    def send(self, source: str, oid: str, legacy: bool, callback: Any, begun: Begun) -> bool:
        """Put a file that was checked under its blob's name; says whether the server confirmed it.

        So it does where it gives back the md5 of what it has. A large one goes on where ``begun``
        ended; one that is found to be damaged on its way is not put: raises BlobCorrupt.
        """
        from obstore import put

        path = self.path(oid, legacy)
        if os.stat(source).st_size < LARGE:
            with open(source, "rb") as file:
                data = file.read()
            done = self._ask(lambda store: put(store, path, data, use_multipart=False))
            return str(done.get("e_tag") or "").strip('"') == md5(data).hexdigest()
        try:
            multipart.send(
                self._requests, self.place, path, source, oid, legacy, begun, callback, self._room
            )
        except (Halted, KeyboardInterrupt):
            self._requests.halt.set()
            raise
        return False

    @cached_property
    def _requests(self) -> Requests:
        return Requests(self._settings)

    def receive(
        self, oid: str, size: int | None, temp: str, callback: Any, begun: Begun
    ) -> Received:
        """Copy a blob to the new file ``temp``, or where it was ``begun`` if it is large.

        ``size``: its bytes as far as known; a wrong one costs time, no more.
        """
        try:
            return self._receive(oid, False, size, temp, callback, begun)
        except FileNotFoundError:
            if not self._has_old():
                raise
        return self._receive(oid, True, size, temp, callback, Begun("", ""))

    def _receive(
        self, oid: str, legacy: bool, size: int | None, temp: str, callback: Any, begun: Begun
    ) -> Received:
        from obstore import head

        path = self.path(oid, legacy)
        if size is not None and size >= LARGE:
            about, first = self._ask(lambda store: head(store, path)), memoryview(b"")
        else:
            about, first = self._ask(lambda store: _beginning(store, path, size))
        whole = int(about["size"])
        if len(first) == whole:
            with open(temp, "wb", buffering=0) as file:
                write_all(file.fileno(), first)
            callback.relative_update(whole)
            return Received(temp, legacy, md5(first, usedforsecurity=False).hexdigest())

        beginning = [first] if len(first) == PART else []
        del first

        def read(start: int, end: int, memory: memoryview) -> Any:
            if start == 0 and beginning:
                return beginning.pop()  # so that it is not held until all has come
            return self._ask(lambda store: _part(store, path, start, end, memory))

        what = f"{self.place} {path} {whole} {about.get('e_tag')}"
        place, digest = ranges.fetch(oid, read, what, whole, begun, temp, callback, self._room)
        return Received(place, legacy, digest)

    def set_aside(self, oid: str, legacy: bool) -> None:
        """Copy a bad blob out of the way; the next put replaces it."""
        from obstore import copy

        aside = f".quarantine/{oid}.{os.urandom(4).hex()}"
        self._ask(lambda store: copy(store, self.path(oid, legacy), aside))


def _part(store: Any, path: str, start: int, end: int, memory: memoryview) -> memoryview:
    """Some bytes of an object, put into ``memory`` as they come: no second copy is ever there."""
    from obstore import get

    done = 0
    for piece in get(store, path, options={"range": (start, end)}).stream(min_chunk_size=_PIECE):
        view = memoryview(piece)
        if done + len(view) > end - start:
            raise ConnectionError(f"more bytes came than the {end - start} that were asked for")
        memory[done : done + len(view)] = view
        done += len(view)
    return memory[:done]


def _beginning(store: Any, path: str, size: int | None) -> tuple[Any, memoryview]:
    """What an object is, and its bytes: all of a small one; of another the first part, or none."""
    from obstore import get

    # Of nothing at all no range can be asked for; who has no bytes says so in a pointer, too.
    part = {"range": (0, PART)} if size is None and not path.endswith(_NOTHING) else None
    found = get(store, path, options=part)
    if part is None and int(found.meta["size"]) >= LARGE:
        return found.meta, memoryview(b"")
    return found.meta, memoryview(found.bytes())
