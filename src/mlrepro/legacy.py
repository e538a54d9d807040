"""Content that a pointer of DVC 2 names: by the md5 of its text with CRLF turned into LF."""

from __future__ import annotations

import os

from mlrepro import digest, folder, pointer, reading, remote, streaming, walking
from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.errors import MlreproError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from io import BufferedReader

    from mlrepro.project import Project
    from mlrepro.store import Store

# DVC 3 leaves such a pointer as it is until its data changes, and cannot see a change of line ends
# alone. Here that counts as a change: what tells is the size, and the blob where one is at hand.


def places(project: Project) -> list[Store]:
    """Where blobs may be at hand: the cache, and a store that is a folder."""
    target = remote.of(project, os.environ)
    return [target.cache] + ([target.store] if target.store is not None else [])


def is_same(
    where: Sequence[Store], path: str, oid: str, size: int, named: str, expected: int | None
) -> bool:
    """Whether a file is to the byte what a pointer of DVC 2 names.

    ``oid``, ``size``: md5 and bytes of the file at ``path`` as it is; ``named``: the hash in the
    pointer, ``expected``: the size there, None where it does not say.
    """
    if expected is None:
        expected = _blob_size(where, named)
    if expected is not None and expected != size:
        return False
    if oid == named:
        return True
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if streaming.text_md5(fd) != named:
            return False
    finally:
        os.close(fd)
    return _blob_md5(where, named, size) in ("", oid)


def _blob_size(where: Sequence[Store], oid: str) -> int | None:
    """The bytes of the blob that DVC 2 wrote; else of one that DVC 3 wrote of the same text."""
    for place in where:
        try:
            return os.lstat(place.legacy_path(oid)).st_size
        except (FileNotFoundError, NotADirectoryError):
            continue
    for place in where:
        found = place.find(oid)
        if found is not None:
            return found[1].st_size
    return None


def _blob_md5(where: Sequence[Store], oid: str, size: int) -> str:
    """The md5 of the bytes of the blob as they are; "" where there is no right one of this size."""
    for place in where:
        try:
            for blob in reading.open_blobs(place, oid, []):
                if blob.stat.st_size == size and streaming.text_md5(blob.fd) == oid:
                    os.lseek(blob.fd, 0, os.SEEK_SET)
                    with open(blob.fd, "rb", closefd=False) as file:
                        return _md5_of_file(file)
        except MlreproError:
            continue
    return ""


def _md5_of_file(file: BufferedReader) -> str:
    import hashlib

    return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def listing(where: Sequence[Store], oid: str) -> dict[str, str]:
    """What a folder's listing names, relative path → hash; empty where no right one is at hand."""
    for place in where:
        try:
            for blob in reading.open_blobs(place, oid, []):
                data = pointer.read_listing(blob.fd, oid)
                if pointer.listing_oid(data) == oid:
                    return {one.relpath: one.oid for one in pointer.parse_listing(data, oid)}
        except MlreproError:
            continue
    return {}


def members(
    where: Sequence[Store], top: str, tree: folder.Tree, named: Mapping[str, str]
) -> dict[str, str]:
    """The members of the folder at ``top`` by the hashes that a listing of DVC 2 gives them.

    ``named`` is that listing: relative path → hash. A member that is not what it names keeps its
    own hash, or gets one that is no content's where only its line ends were changed.
    """
    now = tree.members()
    sizes = dict(zip(tree.names, tree.numbers[:: walking.NUMBERS], strict=True))
    for name, oid in now.items():
        old = named.get(name)
        if old is None:
            continue
        if is_same(where, f"{top}/{name}", oid, sizes[name], old, None):
            now[name] = old
        elif oid == old:
            now[name] = other(oid)
    return now


def other(oid: str) -> str:
    """A hash that is no content's, for what has the hash in a pointer but other line ends."""
    text = b"line ends of " + oid.encode()
    return digest.md5(text) + oid[32:]
