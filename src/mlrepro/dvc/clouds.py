"""A large blob to Google's or Azure's storage, in parts that another run goes on from.

DVC's plugins send a file in one call, which begins anew after a kill. A blob still appears whole or
not at all.
"""

from __future__ import annotations

import base64
import json
import os
from contextlib import closing
from hashlib import md5
from typing import Any

from mlrepro.dvc.begun import Begun
from mlrepro.dvc.parts import sent
from mlrepro.dvc.ranges import PART, Room

_MOST_BLOCKS = 40_000  # Azure takes fifty thousand
_CHUNK = 2 * PART  # of an upload to Google, whose chunks are sent one after the other
_GONE = (404, 410)


def send(
    fs: Any, source: str, final: str, oid: str, about: str, callback: Any, begun: Begun, room: Room
) -> bool:
    """Put a file that was checked under ``final``, but for the parts that are there of it.

    ``fs``: the file system of fsspec's; ``about``: tells this upload from all others. False where
    it is of neither kind, or of one that takes no parts: then nothing was done. Raises what the
    file system raises, FileNotFoundError where there is no such bucket.
    """
    protocol = fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0]
    if protocol in {"abfs", "az", "abfss", "azure"}:
        _Azure(fs, final).send(source, callback, room)
        return True
    if protocol in {"gs", "gcs"}:
        return _Google(fs, final, oid, os.stat(source).st_size).send(source, about, callback, begun)
    return False


class _Azure:
    """Blocks that are staged under the blob's name, and make the blob when they are committed.

    Each is called by its number and md5, so that one that is there is known to be right, whoever
    staged it; Azure forgets those that nobody commits after a week.
    """

    def __init__(self, fs: Any, final: str) -> None:
        self._fs = fs
        self._container, self._path, _ = fs.split_path(final, delimiter="/")
        self._there: dict[str, int] = {}
        self._names: dict[int, str] = {}

    def send(self, source: str, callback: Any, room: Room) -> None:
        from azure.core.exceptions import ResourceNotFoundError

        part = max(PART, -(-os.stat(source).st_size // _MOST_BLOCKS))
        try:
            self._there = self._call(self._staged)
        except ResourceNotFoundError:
            pass  # nothing is there, not even the container: then the next question fails
        try:
            with closing(sent(source, part, self._send, room)) as parts:
                for data in parts:
                    callback.relative_update(len(data))
            self._call(self._commit)
        except ResourceNotFoundError as error:
            raise FileNotFoundError(f"no such container: {self._container}") from error

    def _call(self, work: Any, *given: Any) -> Any:
        """Have it done with the blob by the thread in which the file system does all."""
        from fsspec.asyn import sync

        async def ask() -> Any:
            client = self._fs.service_client.get_blob_client(self._container, self._path)
            async with client as blob:
                return await work(blob, *given, **getattr(self._fs, "_timeout_kwargs", {}))

        return sync(self._fs.loop, ask)

    @staticmethod
    async def _staged(blob: Any, **limits: Any) -> dict[str, int]:
        _, waiting = await blob.get_block_list("uncommitted", **limits)
        return {str(one.id): int(one.size) for one in waiting}

    def _send(self, number: int, data: bytes) -> None:
        digest = md5(data, usedforsecurity=False).hexdigest()
        name = base64.b64encode(f"{number:05}-{digest}".encode()).decode()
        if self._there.get(name) != len(data):
            self._call(self._stage, name, data)
        self._names[number] = name

    @staticmethod
    async def _stage(blob: Any, name: str, data: bytes, **limits: Any) -> None:
        await blob.stage_block(name, data, length=len(data), validate_content=True, **limits)

    async def _commit(self, blob: Any, **limits: Any) -> None:
        from azure.storage.blob import BlobBlock

        names = [name for _, name in sorted(self._names.items())]
        # Each the latest of its name: a clone that sends the same may have committed it just now.
        blocks = [BlobBlock(name) for name in names]
        await blob.commit_block_list(blocks, metadata={"is_directory": "false"}, **limits)


class _Google:
    """A resumable upload: its address is noted, and the server says how much of it is there.

    https://cloud.google.com/storage/docs/performing-resumable-uploads; Google forgets it after a
    week. Who knows the address may write to it, so the note is for its owner only.
    """

    def __init__(self, fs: Any, final: str, oid: str, size: int) -> None:
        self._fs, self._oid, self._size = fs, oid, size
        self._final = final
        self._bucket, self._key, _ = fs.split_path(final)
        self._md5 = base64.b64encode(bytes.fromhex(oid[:32])).decode()

    def send(self, source: str, about: str, callback: Any, begun: Begun) -> bool:
        zonal = getattr(self._fs, "_is_zonal_bucket", None)
        if zonal is not None and self._sync(zonal, self._bucket):
            return False  # which takes no such upload
        first = begun.resume(about)
        place, done, answer = "", 0, None
        if first and first[0].startswith("http"):
            place = first[0]
            done, answer = self._standing(place)
        if done < 0 or not place:
            begun.forget()
            place, done = self._begin(), 0
            begun.begin(about, place, mode=0o600)
        callback.relative_update(done)
        with open(source, "rb") as file:
            while answer is None and done < self._size:
                file.seek(done)
                data = file.read(_CHUNK)
                now, answer = self._put(place, done, data)
                callback.relative_update(now - done)
                done = now
        begun.forget()
        self._confirm(answer)
        return True

    def _sync(self, work: Any, *given: Any, **named: Any) -> Any:
        from fsspec.asyn import sync

        return sync(self._fs.loop, work, *given, **named)

    def _begin(self) -> str:
        from urllib.parse import quote

        path = f"{self._fs._location}/upload/storage/v1/b/{quote(self._bucket)}/o"
        headers, _ = self._sync(
            self._fs._call,
            "POST",
            f"{path}?name={quote(self._key, safe='')}",
            uploadType="resumable",
            json={"name": self._key, "md5Hash": self._md5},
            headers={"X-Upload-Content-Type": "application/octet-stream"},
        )
        return str(headers["Location"])

    def _standing(self, place: str) -> tuple[int, dict[str, Any] | None]:
        """How many bytes of the upload are there (-1: it is no longer), and the answer if all."""
        try:
            return self._ask(place, f"bytes */{self._size}", b"")
        except Exception as error:
            code = getattr(error, "code", getattr(error, "status", 0))
            if code in _GONE or isinstance(error, FileNotFoundError):
                return -1, None
            raise

    def _put(self, place: str, start: int, data: bytes) -> tuple[int, dict[str, Any] | None]:
        """Send a chunk: how many bytes are there then, and the answer if that is all."""
        try:
            found = self._ask(place, f"bytes {start}-{start + len(data) - 1}/{self._size}", data)
        except Exception:
            found = self._standing(place)  # it may be there, and only the answer was lost
            if found[0] <= start:
                raise
        if found[0] <= start:
            raise ConnectionError("the store took nothing of a chunk")
        return found

    def _ask(self, place: str, about: str, data: bytes) -> tuple[int, dict[str, Any] | None]:
        headers = {"Content-Range": about, "Content-Length": str(len(data))}
        told, text = self._sync(self._fs._call, "POST", place, headers=headers, data=data)
        if text:
            return self._size, json.loads(text)
        reach = str(told.get("Range", ""))
        return (int(reach.rpartition("-")[2]) + 1 if reach else 0), None

    def _confirm(self, answer: dict[str, Any] | None) -> None:
        """Raise ConnectionError where what arrived is not what was sent, and remove it."""
        found = str((answer or {}).get("md5Hash", self._md5))
        if found != self._md5:
            self._fs.rm_file(self._final)
            raise ConnectionError(f"the blob {self._oid} arrived with other bytes")
