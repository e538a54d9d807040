"""Repositories with a past: tracked data, a folder and code in several versions, to go back to."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import working
from building import blob_path
from mlrepro.commands import checkout, gc, mv, restore, untrack, verify
from mlrepro.errors import MlreproError
from mlrepro.result import Options
from mlrepro.store import Store

ONE, TWO, THREE = "id,value\n1,one\n", "id,value\n1,one\n2,two\n", "id,value\n3,three\n"
FIRST = {"data/x.csv": ONE, "models/a.bin": "a1", "models/b.bin": "b1", "models/deep/c.bin": "c1"}
SECOND = {"data/x.csv": TWO, "models/a.bin": "a1", "models/b.bin": "b2", "models/d.bin": "d2"}
FOURTH = {**SECOND, "data/x.csv": THREE, "data/y.csv": "new\n"}


class Past(working.Work):
    """A repository whose commits are tagged ``one`` to ``four``; ``three`` changed code alone."""

    def restore(
        self, *paths: str, rev: str, force: bool = False, cwd: str = ".", **given: Any
    ) -> restore.RestoreResult:
        options = Options(**given)
        return restore.run(self.project(cwd), list(paths), rev, options, force)

    def checkout(
        self, rev: str, into: str | None = None, force: bool = False, cwd: str = ".", **given: Any
    ) -> checkout.CheckoutResult:
        link = given.pop("link", False)
        return checkout.run(self.project(cwd), rev, into, Options(**given), force, link)

    def verify(
        self, *revs: str, all_commits: bool = False, deep: bool = False, repair: bool = False,
        **given: Any,
    ) -> verify.VerifyResult:  # fmt: skip
        options = Options(**given)
        return verify.run(self.project(), list(revs), all_commits, options, deep, repair)

    def mv(self, old: str, new: str, cwd: str = ".", **given: Any) -> mv.MvResult:
        return mv.run(self.project(cwd), old, new, Options(**given))

    def untrack(self, *paths: str, cwd: str = ".", **given: Any) -> untrack.UntrackResult:
        return untrack.run(self.project(cwd), list(paths), Options(**given))

    def gc(
        self, keep_last: int | None = None, empty_trash: bool = False, **given: Any
    ) -> gc.GcResult:
        options = Options(**{"yes": True, **given})
        return gc.run(self.project(), keep_last, empty_trash, options)

    def blobs(self, place: Path | None = None) -> set[str]:
        """The oids of all blobs of the store, or of ``place``."""
        return set(Store(str(place or self.store)).list_oids())

    def has(self, tree: dict[str, str]) -> bool:
        """Whether the data below ``data`` and ``models`` is exactly this, and nothing else."""
        return self.found() == {name: text.encode() for name, text in tree.items()}

    def found(self) -> dict[str, bytes]:
        """The data that is there: names and bytes."""
        names = [
            os.path.relpath(os.path.join(place, file), self.root)
            for top in ("data", "models")
            for place, _, files in os.walk(self.root / top)
            for file in files
            if not file.endswith(".dvc") and file != ".gitignore"
        ]
        return {name: self.read(name) for name in names}

    def blob(self, content: str, place: Path | None = None) -> Path:
        """Where the store (or ``place``) keeps the blob with this content."""
        return blob_path(place or self.store, working.oid_of(content))

    def lose(self, content: str, *, cache: bool = False) -> str:
        """Remove a blob from the store, and from the cache; returns its oid."""
        for place in [self.store, *([self.cache] if cache else [])]:
            self.blob(content, place).unlink(missing_ok=True)
        return working.oid_of(content)

    def spoil(self, content: str, now: str, *, cache: bool = False) -> str:
        """Give a blob of the store (a file of its own) other bytes, as a failing disk would."""
        for place in [self.store, *([self.cache] if cache else [])]:
            path = self.blob(content, place)
            path.unlink()
            path.write_text(now)
            path.chmod(0o444)
        return working.oid_of(content)

    @property
    def cache(self) -> Path:
        return self.root / ".dvc" / "cache"

    @property
    def state(self) -> Path:
        return self.root / ".git" / "mlrepro"

    def put(self, tree: dict[str, str]) -> None:
        """Make the data just this, and track what is new."""
        for name in self.found():
            if name not in tree:
                self.path(name).unlink()
        shutil.rmtree(self.root / "models" / "deep", ignore_errors=True)
        for name, text in tree.items():
            self.write(name, text)
        tops = dict.fromkeys("models" if name.startswith("models/") else name for name in tree)
        done = self.track(*tops)
        assert not done.errors, [error.message for error in done.errors]


_TEMPLATE: list[Path] = []


def copy(root: Path, base: Path) -> Past:
    """A repository of its own for one test; the first one is built below ``base``."""
    if not _TEMPLATE:
        first = build(base / "past-first")
        _TEMPLATE.append(first.root.rename(base / "past"))
    past = Past(shutil.copytree(_TEMPLATE[0], root, symlinks=True))
    past.git("update-index", "-q", "--refresh", check=False)
    return past


def build(root: Path) -> Past:
    """The four commits."""
    past = Past.make(root)
    past.init(hooks="git")
    past.write("README.md", "first\n")
    past.write("train.py", "lr = 1\n")
    past.put(FIRST)
    past.git("add", "--all")
    past.save("one")
    past.git("tag", "one")
    past.write("train.py", "lr = 2\n")
    past.put(SECOND)
    past.git("add", "--all")
    past.save("two")
    past.git("tag", "two")
    past.write("train.py", "lr = 3\n")
    past.git("add", "--all")
    past.save("three")
    past.git("tag", "three")
    past.put(FOURTH)
    past.git("add", "--all")
    past.save("four")
    past.git("tag", "four")
    assert past.status == ""
    return past


def told(result: Any) -> list[tuple[str, str]]:
    """The code and path of each error, which has to be one line and to say what to type."""
    errors: tuple[MlreproError, ...] = result.errors
    for error in errors:
        assert "\n" not in error.message and error.hint, error.message
    return sorted((error.code, error.path) for error in errors)
