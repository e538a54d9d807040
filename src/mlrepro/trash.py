"""Where gc moves blobs to: folders with a date, inside the very store that they were in."""

from __future__ import annotations

import os
import time

from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.durable import make_folders, sync_dirs, take_name
from mlrepro.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_HEX = frozenset("0123456789abcdef")


def folder(store: Store) -> str:
    """Where a store has its trash."""
    return os.path.join(store.root, ".mlrepro", "trash")


def stores(store: Store) -> list[Store]:
    """Each dated part of the trash as a store of its own, the newest first."""
    try:
        names = sorted(os.listdir(folder(store)), reverse=True)
    except OSError:
        return []
    return [Store(os.path.join(folder(store), name)) for name in names]


def new(store: Store) -> Store:
    """A new part of the trash, named after the present time (UTC). Raises OSError."""
    name = f"{time.strftime('%Y-%m-%dT%H-%M-%SZ', time.gmtime())}-{os.urandom(2).hex()}"
    path = os.path.join(folder(store), name)
    make_folders(path, store.root)
    return Store(path)


def move(source: Store, target: Store, oids: Iterable[str]) -> list[str]:
    """Move blobs, in whichever layout they are, to the same place in another store on this disk.

    What the target has already stays where it is. Returns the oids moved. Raises OSError.
    """
    moved: dict[str, None] = {}
    folders: set[str] = set()
    for oid in oids:
        places = ((source.path(oid), target.path(oid)),
                  (source.legacy_path(oid), target.legacy_path(oid)))  # fmt: skip
        for old, final in places:
            if not os.path.lexists(old):
                continue
            make_folders(os.path.dirname(final), target.root)
            try:
                take_name(old, final)
            except FileExistsError:
                continue
            moved[oid] = None
            folders |= {os.path.dirname(old), os.path.dirname(final)}
    sync_dirs(folders)
    return list(moved)


def clear(store: Store) -> tuple[int, int, list[str]]:
    """Delete what lies in the trash: how many blobs, their bytes, and what was left as it is.

    Only what is named as a blob is deleted, and the folders that are empty then. Raises OSError.
    """
    count = size = 0
    left: list[str] = []
    for path, is_blob in _files(folder(store)):
        if not is_blob:
            left.append(path)
            continue
        about = os.lstat(path)
        os.unlink(path)
        count, size = count + 1, size + (about.st_size if about.st_nlink == 1 else 0)
    for place, _, _ in os.walk(folder(store), topdown=False):
        try:
            os.rmdir(place)
        except OSError:
            continue  # it holds what was left
    return count, size, left


def contents(store: Store) -> dict[str, int]:
    """Every blob in the trash and its size in bytes."""
    found: dict[str, int] = {}
    for part in stores(store):
        found |= part.list_oids()
    return found


def _files(top: str) -> Iterator[tuple[str, bool]]:
    """Every file in the trash, and whether it is named, and is, as a blob."""
    for place, folders, files in os.walk(top):
        for name in (*files, *(one for one in folders if os.path.islink(os.path.join(place, one)))):
            lead, tail = os.path.basename(place), name.removesuffix(".dir")
            named = len(lead) == 2 and len(tail) == 30 and set(lead + tail) <= _HEX
            path = os.path.join(place, name)
            yield path, named and not os.path.islink(path) and os.path.isfile(path)
