"""Files that change while they are saved: what is stored was read as it is, no edit is missed."""

from __future__ import annotations

import json
import mmap
import os
import random
import shutil
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import pytest

import unprivileged
import working
from blobs import contents, make_store, oid_of
from mlrepro import durable, hashing
from mlrepro.commands import pre_commit
from mlrepro.engine import save_files
from mlrepro.errors import FileChanging
from mlrepro.store import Store
from working import Work

SMALL, LARGE = 700, (1 << 20) + 4001
SLOW = pytest.mark.slow


# what a writer does


def _append(path: Path) -> None:
    with open(path, "ab") as file:
        file.write(b"one more row\n")


def _rewrite(path: Path) -> None:
    """The same size, other bytes, in place."""
    size = path.stat().st_size
    with open(path, "r+b") as file:
        file.write(os.urandom(size))


def _put_back(path: Path) -> None:
    """The same, and the date as it was: only ctime tells."""
    about = path.stat()
    _rewrite(path)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def _replace(path: Path) -> None:
    beside = path.with_name(f".beside-{os.getpid()}")
    beside.write_bytes(os.urandom(path.stat().st_size))
    beside.replace(path)


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _map(path: Path) -> None:
    """Through a shared memory map, at the end of the file, where reading comes last."""
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as view:
        view[-20:] = os.urandom(20)
        view.flush()


def _vanish(path: Path) -> None:
    """Away and there again under the same name, as editors save."""
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data + b"saved\n")


WAYS: dict[str, Callable[[Path], None]] = {
    "appends": _append, "rewrites": _rewrite, "puts the date back": _put_back,
    "replaces": _replace, "truncates": _truncate, "maps": _map, "vanishes": _vanish,
}  # fmt: skip


@dataclass
class Meddler:
    """Changes a file just before the ``at``-th system call that a thread of this process makes.

    ``seen``: every content that the file has had.
    """

    path: Path
    how: str
    at: int
    seen: list[bytes] = field(default_factory=list)
    calls: int = 0
    _busy: bool = False

    def __enter__(self) -> Meddler:
        self.seen.append(self.path.read_bytes())
        threading.setprofile(self._profile)
        sys.setprofile(self._profile)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)

    def _profile(self, frame: FrameType, event: str, function: object) -> None:
        if event != "c_call" or self._busy:
            return
        if frame.f_code.co_name == "has_writer":
            return  # a writer would wait there for the reader, which here is the same process
        if getattr(function, "__module__", "") not in ("posix", "fcntl"):
            return
        self.calls += 1
        if self.calls == self.at + 1:
            self._busy = True
            WAYS[self.how](self.path)
            self.seen.append(self.path.read_bytes())
            self._busy = False


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that changed is read again soon, and no disk is waited for."""
    monkeypatch.setattr(hashing, "_PAUSE", 0.001)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(durable, "syncfs", lambda _: True)


def _old(path: Path) -> None:
    """As a file that was written long ago: then nothing but the change itself can tell."""
    os.utime(path, ns=(1_700_000_000_123_456_789,) * 2)


@pytest.mark.parametrize(
    ("size", "stride"),
    [(SMALL, 17), *(pytest.param(*one, marks=SLOW) for one in ((SMALL, 2), (LARGE, 2)))],
    ids=["small", "small, each", "large, each"],
)
@pytest.mark.parametrize("how", WAYS)
def test_a_change_at_every_call_of_the_engine(
    tmp_path: Path, record_property, how: str, size: int, stride: int
) -> None:
    """One change before each system call in turn: what is stored is a state the file was in, and
    its stat, as it is reported, is not that of the file where the file is in another one now.
    """
    tried = 0
    for at in range(random.randrange(stride), 10_000, stride):
        root = tmp_path / str(at)
        root.mkdir()
        path, store = root / "x", make_store(root / "store")
        path.write_bytes(os.urandom(size))
        _old(path)
        with Meddler(path, how, at) as meddler:
            report = save_files([str(path)], Store(str(root / "cache")), store, jobs=1)
        [saved] = report.saved
        now = path.read_bytes()
        assert now == meddler.seen[-1], "what the writer wrote is there"
        assert contents(store) == contents(Store(str(root / "cache")))
        assert contents(store)[saved.oid] in meddler.seen
        if saved.oid != oid_of(now):
            assert hashing.stat_key(saved.stat) != hashing.stat_key(path.stat()), at
        tried += 1
        shutil.rmtree(root)
        if len(meddler.seen) == 1:
            break
    assert tried > 20 // stride
    record_property("tried", ["Changing files", f"a writer {how} at every call", tried])


def _tracked(place: Path) -> Work:
    work = working.made(place / "repo", store=str(place / "store"))
    work.write("data/x.bin", os.urandom(LARGE))
    work.write("data/set/a", os.urandom(SMALL))
    work.write("data/set/b", "b")
    work.track("data/x.bin", "data/set")
    work.save("data")
    return work


@pytest.mark.parametrize("command", ["track", "commit"])
@pytest.mark.parametrize(
    "how",
    [
        "puts the date back",
        *(pytest.param(h, marks=SLOW) for h in WAYS if h != "puts the date back"),
    ],
)
def test_a_change_during_track_and_commit(
    tmp_path: Path, record_property, command: str, how: str
) -> None:
    """Whatever the moment, the pointer names what is stored, and the next run sees the change."""
    work = _tracked(tmp_path)
    store = Store(str(tmp_path / "store"))
    run = (
        work.track if command == "track" else lambda: pre_commit.run(work.project(), work.options())
    )
    tried = 0
    chance = random.Random(how)
    moments = range(20, 900, 97)
    for moment in moments:
        name = chance.choice(("data/x.bin", "data/set/a"))
        path = work.path(name)
        path.write_bytes(os.urandom(LARGE if name == "data/x.bin" else SMALL))
        _old(path)
        with Meddler(path, how, moment + chance.randrange(90)) as meddler:
            done = run()
        assert path.read_bytes() == meddler.seen[-1]
        assert all(isinstance(error, FileChanging) for error in done.errors), done.errors
        blobs = contents(store)
        if name == "data/x.bin":
            named = blobs[work.oid("data/x.bin.dvc")]
            assert named in meddler.seen or done.errors
        assert work.oid("data/set.dvc") in blobs
        again = run()
        assert not again.errors, [error.message for error in again.errors]
        assert work.oid("data/x.bin.dvc") == work.md5("data/x.bin")
        listing = contents(store)[work.oid("data/set.dvc", ":0")]
        assert work.md5("data/set/a").encode() in listing
        work.save()
        tried += 1
    record_property("tried", ["Changing files", f"a writer {how} during {command}", tried])


def _writes(path: Path, how: str, until: Path) -> None:
    """Change a file again and again, until there is a file ``until``; whole versions are of one
    letter each, so that a mixture shows.
    """
    turn = 0
    while not until.exists():
        turn += 1
        if how == "appends":
            with open(path, "ab") as file:
                file.write(b"%015d\n" % turn)
        else:
            beside = path.with_name(".beside")
            beside.write_bytes(bytes([turn % 256]) * LARGE)
            beside.replace(path)
        time.sleep(0.002 * (turn % 7))


@pytest.mark.parametrize("times", [2, pytest.param(20, marks=SLOW)])
@pytest.mark.parametrize("how", ["appends", "replaces"])
def test_a_busy_writer_beside(tmp_path: Path, record_property, how: str, times: int) -> None:
    """Another process changes a file over and over: it is saved whole or refused, never mixed."""
    work = working.made(tmp_path / "repo", store=str(tmp_path / "store"))
    path, stop = work.write("data/x.bin", b"0" * 16 * 70_000), tmp_path / "stop"
    writer = unprivileged.start(lambda: _writes(path, how, stop), tmp_path, os.geteuid())
    try:
        for _ in range(times):
            done = work.track("data/x.bin")
            assert all(isinstance(error, FileChanging) for error in done.errors)
    finally:
        stop.touch()
        unprivileged.wait(writer)
    assert work.track("data/x.bin").exit_code == 0
    assert work.oid("data/x.bin.dvc", ":0") == work.md5("data/x.bin")
    whole = path.read_bytes()
    for data in contents(Store(str(tmp_path / "store"))).values():
        assert whole.startswith(data) if how == "appends" else len(set(data)) == 1
    record_property("tried", ["Changing files", f"a busy writer {how}", times])


@pytest.mark.parametrize("name", ["data/x.bin", "data/set/a"])
def test_what_a_writer_holds_open_is_not_believed(tmp_path: Path, name: str) -> None:
    """A store through a memory map whose page is dirty already changes no date: it is found by
    reading the file again for as long as somebody has it open for writing.
    """
    work = _tracked(tmp_path)
    with open(work.path(name), "r+b") as file, mmap.mmap(file.fileno(), 0) as view:
        view[-1:] = b"1"
        assert work.track().exit_code == 0
        dated = work.path(name).stat().st_mtime_ns
        view[-1:] = b"2"
        if work.path(name).stat().st_mtime_ns == dated:
            assert dict(work.states())[name.removesuffix("/a")] == "modified"
        assert work.track().exit_code == 0
    assert work.states() == {"data/set": "unchanged", "data/x.bin": "unchanged"}
    stored = contents(Store(str(tmp_path / "store")))
    assert work.read(name) in stored.values()
    assert work.track().stored.count == 0


def test_the_size_in_a_folders_pointer_is_that_of_what_was_read(tmp_path: Path) -> None:
    """A member that grew after the folder was listed counts as it was read."""
    work = _tracked(tmp_path)
    for at in range(0, 400, 9):
        path = work.path("data/set/a")
        path.write_bytes(os.urandom(SMALL + at))
        with Meddler(path, "appends", at):
            done = work.track("data/set")
        if not done.errors:
            listing = json.loads(contents(Store(str(tmp_path / "store")))[work.oid("data/set.dvc")])
            blobs = contents(Store(str(tmp_path / "store")))
            total = sum(len(blobs[member["md5"]]) for member in listing)
            assert f"size: {total}\n" in work.read("data/set.dvc").decode()
