"""A large blob to an S3 bucket, in parts that another run goes on from: a multipart upload."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import closing, suppress
from hashlib import md5, sha256
from html import unescape
from typing import Any

from mlrepro.dvc.begun import Begun
from mlrepro.dvc.parts import sent
from mlrepro.dvc.ranges import PART, Room
from mlrepro.dvc.signed import Requests, elements, value_of
from mlrepro.errors import BlobCorrupt

_MOST_PARTS = 9_000  # a server takes ten thousand


def send(
    requests: Requests, place: str, key: str, source: str, oid: str, legacy: bool, begun: Begun,
    callback: Any, room: Room,
) -> None:  # fmt: skip
    """Put a file of the cache under ``key``; it appears whole or not at all.

    Parts that an earlier run had sent are not sent again where the server still has them, and they
    are what was noted of them then, by their sha256. The whole file is hashed on its way: raises
    BlobCorrupt, and nothing appears, where it is not what its name says. ``place`` tells the bucket
    from all others. Raises what Requests.ask does.
    """
    size = os.stat(source).st_size
    one = _Upload(requests, key, source, max(PART, -(-size // _MOST_PARTS)), begun, room)
    one.go_on(f"{place} {key} {size}")
    digest = md5(usedforsecurity=False)
    with closing(one.parts()) as parts:
        for data in parts:
            digest.update(data)
            callback.relative_update(len(data))
    if not legacy and digest.hexdigest() != oid[:32]:
        one.abort()
        raise BlobCorrupt(
            f"The blob {oid} is damaged in the cache, so it was not sent.",
            "mlrepro verify --repair looks for a good copy",
            oid=oid,
        )
    one.complete()


class _Upload:
    def __init__(
        self, requests: Requests, key: str, source: str, part: int, begun: Begun, room: Room
    ) -> None:
        self._ask, self._key, self._source = requests.ask, key, source
        self._part, self._begun, self._room = part, begun, room
        self._id = ""
        self._there: dict[int, str] = {}  # parts that the server had before, by its own mark
        self._marks: dict[int, str] = {}

    def go_on(self, about: str) -> None:
        """Take up what was begun, or begin."""
        about = f"{about} {self._part}"
        first = self._begun.resume(about)
        if first:
            self._id = first[0]
            try:
                self._there = self._listed()
            except Exception as error:
                if not _says(error, "NoSuchUpload", "AccessDenied", "NotImplemented"):
                    raise
                self._begun.forget()
                self._id = ""
        if not self._id:
            _, text = self._ask("POST", self._key, {"uploads": ""})
            self._id = value_of(text, "UploadId")
            if not self._id:
                raise ConnectionError("the answer names no upload")
        self._begun.begin(about, self._id)

    def _listed(self) -> dict[int, str]:
        """The parts that the server has, each with its mark."""
        found: dict[int, str] = {}
        after = ""
        while True:
            query = {"uploadId": self._id} | ({"part-number-marker": after} if after else {})
            _, text = self._ask("GET", self._key, query)
            for one in elements(text, "Part"):
                number = value_of(one, "PartNumber")
                if number.isdecimal():
                    found[int(number)] = unescape(value_of(one, "ETag")).strip('"')
            now = value_of(text, "NextPartNumberMarker")
            if value_of(text, "IsTruncated") != "true" or not now or now == after:
                return found
            after = now

    def parts(self) -> Generator[bytes]:
        """Each part of the file in its order, while those before it are sent."""
        return sent(self._source, self._part, self._send, self._room)

    def _send(self, number: int, data: bytes) -> None:
        digest = sha256(data).hexdigest()
        mark = self._there.get(number, "")
        if not mark or self._begun.parts.get(number) != f"{digest} {mark}":
            query = {"partNumber": str(number), "uploadId": self._id}
            headers, _ = self._ask("PUT", self._key, query, data, digest)
            mark = str(headers.get("ETag", "")).strip('"')
            self._begun.add(number, f"{digest} {mark}")
        self._marks[number] = mark

    def complete(self) -> None:
        """Have the server put the parts together."""
        parts = "".join(
            f'<Part><PartNumber>{number}</PartNumber><ETag>"{mark}"</ETag></Part>'
            for number, mark in sorted(self._marks.items())
        )
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        try:
            self._ask("POST", self._key, {"uploadId": self._id}, body)
        except Exception as error:
            if _says(error, "NoSuchUpload", "InvalidPart", "EntityTooSmall"):
                self._begun.forget()
            if not _says(error, "NoSuchUpload"):  # else it is done, and its answer was lost
                raise
        self._begun.forget()

    def abort(self) -> None:
        """Have the server forget the parts."""
        with suppress(Exception):  # else its own rules clear them away
            self._ask("DELETE", self._key, {"uploadId": self._id})
        self._begun.forget()


def _says(error: Exception, *codes: str) -> bool:
    """Whether the server answered with one of these codes."""
    answer = getattr(error, "response", None)
    return isinstance(answer, dict) and answer.get("Error", {}).get("Code") in codes
