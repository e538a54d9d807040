"""Kills a run of the engine at each of its system calls in turn, and looks what it left behind.

A program of its own, run by test_endurance.py: ``killing.py FOLDER WHAT STRIDE``, where WHAT is
save, restore, two-steps or whole. Prints how many moments were tried; exits with a traceback where
anything was lost or is not mended by the next run.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import signal
import stat
import sys
from collections.abc import Callable
from pathlib import Path

from mlrepro import placing
from mlrepro.engine import save_files
from mlrepro.restoring import Restore, restore_files
from mlrepro.store import Store

LARGE = os.urandom((1 << 20) + 7)
NEW = {"data/a": b"alpha", "data/b": b"beta", "data/large": LARGE, "fresh/c": b"gamma"}
OLD = {"data/a": b"old alpha", "data/b": b"old beta", "data/large": b"old large"}
LONG_AGO = 1_700_000_000_123_456_789


def oid_of(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def killed_at(call: int, work: Callable[[], None]) -> bool:
    """Work in a child that dies just before its ``call``-th system call; False if it ended."""
    child = os.fork()
    if child == 0:
        counter = itertools.count()

        def profile(_: object, event: str, function: object) -> None:
            module = getattr(function, "__module__", "")
            if event == "c_call" and module in ("posix", "fcntl") and next(counter) == call:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(profile)
        try:
            work()
        except BaseException:  # noqa: BLE001 (shown, and told by the exit code)
            sys.setprofile(None)
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status == 0 or os.WTERMSIG(status) == signal.SIGKILL, status
    return status != 0


class Scene:
    """A worktree, a cache and a store in a folder of their own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.work = root / "work"
        self.cache, self.store = Store(str(root / "cache")), Store(str(root / "store"))
        self.store.create()

    def write(self, files: dict[str, bytes]) -> None:
        for name, data in files.items():
            path = self.work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            os.utime(path, ns=(LONG_AGO, LONG_AGO))

    def read(self) -> dict[str, bytes]:
        found = {}
        for folder, _, names in os.walk(self.work):
            if ".dvc" not in folder:
                for name in names:
                    path = Path(folder, name)
                    found[str(path.relative_to(self.work))] = path.read_bytes()
        return found

    def check_blobs(self, bad: str = "") -> set[str]:
        """Every blob is right, or the one that was damaged beforehand."""
        found = set()
        for store in (self.cache, self.store):
            for path in Path(store.root).glob("files/md5/??/*"):
                oid = path.parent.name + path.name
                right = oid_of(path.read_bytes()) == oid
                assert right or (oid == bad and path.read_bytes() == b"damaged"), path
                assert stat.S_IMODE(path.stat().st_mode) == 0o444, path
                if right and store is self.store:
                    found.add(oid)
        return found

    def left(self) -> list[str]:
        places = [self.root / "cache/.mlrepro/tmp", self.root / "store/.mlrepro/tmp"]
        places.append(self.work / ".dvc/staging")
        return [str(path) for place in places for path in place.glob("*") if path.name != "kept"]


def save_scene(root: Path, call: int) -> bool:
    scene = Scene(root)
    scene.write(NEW)
    bad = oid_of(b"alpha")
    path = Path(scene.store.path(bad))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"damaged")
    path.chmod(0o444)
    paths = [str(scene.work / name) for name in NEW]

    def work() -> None:
        save_files(paths, scene.cache, scene.store, jobs=1)

    killed = killed_at(call, work)
    scene.check_blobs(bad)
    assert scene.read() == NEW
    work()
    assert scene.check_blobs() == {oid_of(data) for data in NEW.values()}
    assert scene.read() == NEW and scene.left() == [], scene.left()
    aside = list(Path(scene.store.root, ".quarantine").iterdir())
    assert [one.read_bytes() for one in aside] == [b"damaged"]
    return killed


def restore_scene(root: Path, call: int) -> bool:
    scene = Scene(root)
    scene.write(NEW)
    paths = [str(scene.work / name) for name in NEW]
    save_files(paths, scene.cache, scene.store, jobs=1)
    shutil.rmtree(scene.work)
    scene.write(OLD)

    def work() -> None:
        items = []
        for name, data in NEW.items():
            path = scene.work / name
            here = path.read_bytes() if path.exists() else None
            if here != data:
                expect = os.stat(path) if here is not None else None
                items.append(Restore(oid_of(data), str(path), len(data), expect=expect))
        staging = str(scene.work / ".dvc/staging")
        restore_files(items, [scene.cache, scene.store], staging, str(scene.work), jobs=1)

    killed = killed_at(call, work)
    swaps = placing.rename_exchange is not _no_swap
    for name, data in scene.read().items():
        assert data in (NEW[name], OLD.get(name)), name
    for name in OLD:
        assert not swaps or (scene.work / name).exists(), name
    work()
    assert scene.read() == NEW, scene.read().keys()
    work()
    assert scene.left() == [], scene.left()
    kept = [path.read_bytes() for path in scene.work.glob(".dvc/staging/kept/*")]
    assert len(kept) <= 1 and set(kept) <= set(OLD.values())
    scene.check_blobs()
    return killed


def whole_scene(root: Path, call: int) -> bool:
    """A folder that is new, and takes its place as one."""
    scene = Scene(root)
    new = {f"set/{'inner/' if at % 2 else ''}{at}": b"%d" % at for at in range(12)}
    scene.write(new)
    save_files([str(scene.work / name) for name in new], scene.cache, scene.store, jobs=1)
    shutil.rmtree(scene.work / "set")

    def work() -> None:
        here, work = scene.read(), str(scene.work)
        items = [
            Restore(oid_of(data), f"{work}/{name}", len(data))
            for name, data in new.items()
            if name not in here
        ]
        fresh = {} if here else {f"{work}/set": (0, len(items), 0)}
        restore_files(
            items, [scene.cache, scene.store], f"{work}/.dvc/staging", work, fresh=fresh, jobs=1
        )

    killed = killed_at(call, work)
    assert scene.read() in ({}, new), scene.read().keys()
    work()
    assert scene.read() == new, scene.read().keys()
    work()
    assert scene.left() == [], scene.left()
    scene.check_blobs()
    return killed


def _no_swap(*_: object, **__: object) -> bool:
    return False


def main() -> None:
    folder, what, stride = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    if what == "two-steps":
        placing.rename_exchange = _no_swap
    scene = {"save": save_scene, "whole": whole_scene}.get(what, restore_scene)
    first = os.getpid() % stride  # other moments every time
    for tried, call in enumerate(itertools.count(first, stride)):
        root = folder / f"{what}-{call}"
        root.mkdir(parents=True)
        killed = scene(root, call)
        shutil.rmtree(root)
        if not killed:
            print(tried)
            return


if __name__ == "__main__":
    main()
