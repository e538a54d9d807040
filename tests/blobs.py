"""Stores and worktrees that tests fill, damage and look at."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from building import blob_path
from mlrepro.restoring import Restore, RestoreReport, restore_files
from mlrepro.store import Store


def oid_of(data: bytes, suffix: str = "") -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest() + suffix


def make_store(root: Path) -> Store:
    store = Store(str(root))
    store.create()
    return store


def put(store: Store, data: bytes, oid: str = "", mode: int = 0o444) -> str:
    """Write ``data`` under the name that it, or something else, should have."""
    oid = oid or oid_of(data)
    path = blob_path(store.root, oid)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)
    return oid


def bytes_of(store: Store, oid: str) -> bytes:
    return blob_path(store.root, oid).read_bytes()


def contents(store: Store) -> dict[str, bytes]:
    """Every blob by its oid, having checked that each is one: bytes, kind and mode."""
    found = {}
    for path in Path(store.root, "files", "md5").glob("??/*"):
        oid = path.parent.name + path.name
        about = path.lstat()
        assert stat.S_ISREG(about.st_mode), path
        assert stat.S_IMODE(about.st_mode) == 0o444, path
        found[oid] = path.read_bytes()
        assert oid_of(found[oid], oid[32:]) == oid, path
    return found


def quarantined(store: Store) -> list[Path]:
    return sorted(Path(store.root, ".quarantine").glob("*"))


def leftovers(*roots: str | Path) -> list[str]:
    """Temporary files, and locks that nobody holds, anywhere below."""
    found = []
    for root in roots:
        for folder, _, names in os.walk(root):
            place = os.path.relpath(folder, root)
            inside = ".mlrepro/tmp" in place or "staging" in place
            found += [
                os.path.join(folder, name)
                for name in names
                if (inside and "kept" not in place) or name.startswith(".mlrepro-")
            ]
    return found


DAMAGES = ["truncated", "flipped", "empty", "longer", "folder", "symlink", "fifo"]


def damage(store: Store, oid: str, how: str, elsewhere: Path, mode: int = 0o444) -> None:
    """Make a blob wrong, write-protected as it was (DVC trusts that) or with another mode."""
    path = blob_path(store.root, oid)
    data = path.read_bytes()
    if how == "unreadable":
        path.chmod(0)
        return
    path.unlink()
    if how == "deleted":
        return
    if how == "folder":
        path.mkdir()
        return
    if how == "fifo":
        os.mkfifo(path)
        return
    if how == "symlink":
        target = elsewhere / f"outside-{oid}"
        target.write_bytes(data)
        path.symlink_to(target)
        return
    changed = {
        "truncated": data[:-1],
        "flipped": bytes([data[0] ^ 1]) + data[1:],
        "empty": b"",
        "longer": data + b"x",
    }
    path.write_bytes(changed[how])
    path.chmod(mode)


class Place:
    """A worktree with a cache and a store, and what is restored into it."""

    def __init__(self, root: Path) -> None:
        self.root = root / "work"
        self.root.mkdir()
        self.cache, self.store = make_store(root / "cache"), make_store(root / "store")
        self.staging = str(self.root / ".dvc" / "staging")

    def restore(self, *items: Restore, root: Path | None = None, jobs: int = 0) -> RestoreReport:
        sources = [self.cache, self.store]
        return restore_files(items, sources, self.staging, str(root or self.root), jobs=jobs)

    def item(self, data: bytes, name: str = "x", **about: object) -> Restore:
        """``data`` in the store, wanted at ``name``."""
        return Restore(put(self.store, data), str(self.root / name), len(data), **about)

    def file(self, data: bytes, name: str = "x") -> os.stat_result:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path.stat()

    def read(self, name: str = "x") -> bytes:
        return (self.root / name).read_bytes()

    def is_tidy(self) -> bool:
        return leftovers(self.root, self.cache.root, self.store.root) == []
