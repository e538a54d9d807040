"""Git's loose objects, read as they lie on disk: what was committed lately needs no git process."""

from __future__ import annotations

import os
import zlib

from mlrepro import digest
from mlrepro.dataclass import TYPE_CHECKING

# The format is git's own (Pro Git, "Git Objects"): zlib over "TYPE SIZE", a NUL and the content;
# that of a tree is "MODE NAME", a NUL and 20 bytes for each entry. What is packed, borrowed from
# another repository or named by SHA-256 is not found here, and git is then asked.

if TYPE_CHECKING:
    from collections.abc import Iterable

_LONGEST_HEADER = 32


def blobs(objects: str, names: Iterable[str], limit: int) -> dict[str, bytes]:
    """Of the blobs ``names`` (40 hex digits, or COMMIT:PATH), those found loose in ``objects``.

    One of more than ``limit`` bytes, or whose content is not what its name says, is left out.
    """
    found: dict[str, bytes] = {}
    trees: dict[str, bytes | None] = {}
    for name in names:
        commit, colon, path = name.partition(":")
        oid = _blob_at(objects, commit, path, trees) if colon else commit
        content = _read(objects, oid, b"blob", limit) if oid else None
        if content is not None:
            found[name] = content
    return found


def _read(objects: str, oid: str, kind: bytes, limit: int) -> bytes | None:
    """The content of an object; None where it is not here, or not in order."""
    if len(oid) != 40:
        return None
    try:
        with open(f"{objects}/{oid[:2]}/{oid[2:]}", "rb") as file:
            packed = file.read(limit + _LONGEST_HEADER + 1)
        data = zlib.decompressobj().decompress(packed, limit + _LONGEST_HEADER)
    except (OSError, ValueError, zlib.error):
        return None
    head, _, content = data.partition(b"\0")
    if head != b"%s %d" % (kind, len(content)) or len(content) > limit:
        return None
    return content if digest.sha1(data) == oid else None


def _blob_at(objects: str, commit: str, path: str, known: dict[str, bytes | None]) -> str:
    """The object that a commit has at a path, or "" where that is not told by loose objects."""
    if commit not in known:
        text = _read(objects, commit, b"commit", 1 << 20)
        known[commit] = text and text[5:45] if text is not None and text[:5] == b"tree " else None
    at = known[commit]
    oid = at.decode("ascii", "replace") if at else ""
    for part in os.fsencode(path).split(b"/"):
        tree = _read(objects, oid, b"tree", 16 << 20) if oid else None
        oid = _entry(tree, part) if tree is not None else ""
    return oid


def _entry(tree: bytes, name: bytes) -> str:
    at = 0
    while at < len(tree):
        end = tree.index(b"\0", at)
        if tree[at:end].partition(b" ")[2] == name:
            return tree[end + 1 : end + 21].hex()
        at = end + 21
    return ""
