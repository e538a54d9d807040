"""Repositories as DVC 2 left them: text is hashed with LF for CRLF, blobs lie at ``ab/cdef…``.

Made by hand, since DVC 2 does not install beside DVC 3; ``dvc2.json`` has what DVC 2.10.2 itself
wrote of the files in ``dvc2_contents``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from oracle import Side

CRLF = b"id,value\r\n1,one\r\n2,two\r\n"
LF = b"id;value\n1;one\n"
BINARY = bytes(range(256))
FOLDER = {"b.txt": b"x\r\ny\r\n", "sub/a": b"plain\n", "sub/z.bin": b"\0\r\n\0"}


def old_md5(data: bytes) -> str:
    """The md5 that DVC 2 gave; what is text is told by a zero byte here."""
    if b"\0" not in data:
        data = data.replace(b"\r\n", b"\n")
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def put_blob(place: Path, oid: str, data: bytes) -> None:
    path = place / oid[:2] / oid[2:]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o444)


def add(side: Side, name: str, content: bytes | Mapping[str, bytes], *, blobs: bool = True) -> None:
    """What ``dvc add`` and ``dvc push`` of DVC 2 wrote."""
    places = [side.root / ".dvc" / "cache", side.base / "store"] if blobs else []
    members = (
        {"": content} if isinstance(content, bytes) else {f"/{k}": v for k, v in content.items()}
    )
    listing = []
    for tail, data in members.items():
        path = Path(f"{side.root}/{name}{tail}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        listing.append({"md5": old_md5(data), "relpath": tail[1:]})
        for place in places:
            put_blob(place, old_md5(data), data)
    lines = [f"- md5: {listing[0]['md5']}", f"  size: {sum(map(len, members.values()))}"]
    if not isinstance(content, bytes):
        listing.sort(key=lambda item: item["relpath"])
        text = json.dumps(listing, sort_keys=True).encode()
        oid = hashlib.md5(text, usedforsecurity=False).hexdigest() + ".dir"
        lines[0] = f"- md5: {oid}"
        lines.append(f"  nfiles: {len(listing)}")
        for place in places:
            put_blob(place, oid, text)
    pointer = "\n".join(["outs:", *lines, f"  path: {name}"]) + "\n"
    (side.root / f"{name}.dvc").write_text(pointer)
    with (side.root / ".gitignore").open("a") as rules:
        rules.write(f"/{name}\n")


def fill(side: Side) -> None:
    """One of each kind, committed."""
    add(side, "crlf.csv", CRLF)
    add(side, "lf.csv", LF)
    add(side, "model.bin", BINARY)
    add(side, "data", FOLDER)
    side.work.commit("by DVC 2")


def old_blobs(place: Path) -> dict[str, bytes]:
    """Every blob in the layout of DVC 2."""
    return {
        f"{folder.name}{path.name}": path.read_bytes()
        for folder in place.iterdir()
        if len(folder.name) == 2
        for path in folder.iterdir()
    }
