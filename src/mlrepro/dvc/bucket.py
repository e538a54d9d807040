"""Blobs to and from an S3 bucket, by obstore: a tenth of the work that DVC makes of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from hashlib import md5
from typing import Any

from mlrepro.durable import write_all
from mlrepro.dvc.answers import missing_remote
from mlrepro.dvc.s3 import Settings
from mlrepro.errors import BlobCorrupt
from mlrepro.parallel import Crew

_FEW = 16  # blobs that are asked for one by one
_PAGES = 4  # of the whole listing, before folders are listed: a page has a thousand blobs
_LARGE = 16 << 20  # bytes from which on a blob travels in parts
_PART = 8 << 20
_AT_ONCE = 4  # parts in memory
_TRIES = 5  # for what breaks in the middle of an answer


class Bucket:
    """A folder of an S3 bucket, asked as ``remote.Remote`` is; a blob appears whole or not at all.

    Each request is tried again, for three minutes at most, with growing pauses of random length,
    where the server is busy or does not answer; but where it never answered, soon given up.
    """

    is_fsspec = False
    hashes_from = _LARGE  # bytes from which on ``send`` hashes a file on its way

    def __init__(self, settings: Settings) -> None:
        self.name = settings.remote
        self._settings = settings
        self._patient = self._store(10, 180.0)
        self._quick = self._store(4, 10.0)
        self._reached = False
        self._answer_s = 0.0
        self._old: bool | None = None

    def _store(self, retries: int, most_s: float) -> Any:
        from obstore.store import S3Store

        about = self._settings
        given: dict[str, Any] = {
            "allow_http": about.endpoint.startswith("http:"),
            "connect_timeout": timedelta(seconds=about.connect_s),
            "read_timeout": timedelta(seconds=about.read_s),
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
                # An answer, be it that the server is busy, shows that it is there.
                self._reached = self._reached or "status code: " in str(error)
                if type(error).__name__ != "GenericError" or not self._reached or not left:
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

    def send(self, source: str, oid: str, legacy: bool, callback: Any) -> bool:
        """Put a file that was checked under its blob's name; says whether the server confirmed it.

        So it does where it gives back the md5 of what it has. A large one that is found to be
        damaged on its way is not put: raises BlobCorrupt.
        """
        from obstore import put

        size = os.stat(source).st_size
        if size < _LARGE:
            with open(source, "rb") as file:
                data = file.read()
            done = self._ask(
                lambda store: put(store, self.path(oid, legacy), data, use_multipart=False)
            )
            return str(done.get("e_tag") or "").strip('"') == md5(data).hexdigest()
        wrong: list[bool] = []

        def parts() -> Iterator[bytes]:
            digest = md5(usedforsecurity=False)
            with open(source, "rb", buffering=0) as file:
                while part := file.read(1 << 20):
                    digest.update(part)
                    yield part
                    callback.relative_update(len(part))
            if not legacy and digest.hexdigest() != oid[:32]:
                wrong.append(True)
                raise ValueError("its bytes are not what its name says")

        part = max(_PART, -(-size // 9_000))  # a server takes ten thousand parts
        try:
            self._ask(
                lambda store: put(
                    store, self.path(oid, legacy), parts(), use_multipart=True,
                    chunk_size=part, max_concurrency=_AT_ONCE,
                )
            )  # fmt: skip
        except Exception:
            if wrong:
                raise BlobCorrupt(
                    f"The blob {oid} is damaged in the cache, so it was not sent.",
                    "mlrepro verify --repair looks for a good copy",
                    oid=oid,
                ) from None
            raise
        return False

    def receive(self, oid: str, temp: str, callback: Any) -> tuple[bool, str]:
        """Copy a blob to the new file ``temp``: whether it was where DVC 2 put it, and its md5."""
        try:
            return False, self._receive(self.path(oid), temp, callback)
        except FileNotFoundError:
            if not self._has_old():
                raise
        return True, self._receive(self.path(oid, legacy=True), temp, callback)

    def _receive(self, path: str, temp: str, callback: Any) -> str:
        from obstore import get

        def whole(store: Any) -> tuple[int, bytes | None]:
            found = get(store, path)
            size = int(found.meta["size"])
            return size, bytes(found.bytes()) if size < _LARGE else None

        size, data = self._ask(whole)
        digest = md5(usedforsecurity=False)
        with open(temp, "wb", buffering=0) as file:
            for part in [data] if data is not None else self._parts(path, size):
                digest.update(part)
                write_all(file.fileno(), part)
                callback.relative_update(len(part))
        return digest.hexdigest()

    def _parts(self, path: str, size: int) -> Iterator[bytes]:
        """A large blob in parts, each asked for by itself, the next ones while one is used."""
        from obstore import get_range

        def fetch(start: int) -> bytes:
            end = min(size, start + _PART)
            return bytes(self._ask(lambda store: get_range(store, path, start=start, end=end)))

        starts = iter(range(0, size, _PART))
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            waiting = [pool.submit(fetch, start) for start in _some(starts, _AT_ONCE)]
            try:
                while waiting:
                    yield waiting.pop(0).result()
                    waiting += [pool.submit(fetch, start) for start in _some(starts, 1)]
            finally:
                for one in waiting:
                    one.cancel()

    def set_aside(self, oid: str, legacy: bool) -> None:
        """Copy a bad blob out of the way; the next put replaces it."""
        from obstore import copy

        aside = f".quarantine/{oid}.{os.urandom(4).hex()}"
        self._ask(lambda store: copy(store, self.path(oid, legacy), aside))


def _some(items: Iterator[int], count: int) -> list[int]:
    return [item for _, item in zip(range(count), items, strict=False)]
