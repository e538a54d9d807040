"""What `track` writes while content is on its way: it shows when all is stored, or not at all."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from mlrepro import ahead, durable, kernel, landing, writing
from mlrepro.capture import Saved
from mlrepro.errors import MlreproError
from mlrepro.parallel import beside
from working import Work, cloned, codes, made

NAMES = [f"data/f{at:02}" for at in range(3 * durable.FEW)]


@pytest.fixture
def work(tmp_path: Path) -> Work:
    work = made(tmp_path / "repo")
    for name in NAMES:
        work.write(name, name)
    return work


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are flushed by themselves, by what they are called."""
    found: list[str] = []
    plain = writing.sync_files

    def sync(paths: Sequence[str]) -> None:
        found.extend(paths)
        plain(paths)

    monkeypatch.setattr(writing, "sync_files", sync)
    return found


def _there(work: Work) -> set[str]:
    return set(os.listdir(work.root / "data")) - {os.path.basename(name) for name in NAMES}


def test_many_new_paths(work: Work, tmp_path: Path, flushed: list[str]) -> None:
    done = work.track(*NAMES)
    assert [item.state for item in done.tracked] == ["new"] * len(NAMES)
    assert _there(work) == {".gitignore", *(f"{os.path.basename(name)}.dvc" for name in NAMES)}
    assert work.raw == []
    assert work.git("diff", "--name-only").stdout == ""
    if kernel.syncfs(str(work.root)):
        assert flushed == [], "the flush of the blobs' names was enough"
    work.save()
    clone = cloned(work, tmp_path / "clone")
    clone.pull()
    assert all(clone.read(name) == name.encode() for name in NAMES)


def test_without_syncfs_each_is_flushed(
    work: Work, flushed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "syncfs", lambda _: False)
    work.track(*NAMES)
    beside_data = [path for path in flushed if os.path.dirname(path) == str(work.root / "data")]
    assert len(beside_data) == len(NAMES) + 1 and work.raw == []


def test_ignore_file_that_was_edited_meanwhile(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = ahead.Ahead.begin

    def begin(self: ahead.Ahead, saved: Sequence[Saved]) -> None:
        plain(self, saved)
        work.write("data/.gitignore", "mine\n")

    monkeypatch.setattr(ahead.Ahead, "begin", begin)
    work.track(*NAMES)
    lines = work.read("data/.gitignore").decode().splitlines()
    assert lines == ["mine", *(f"/{os.path.basename(name)}" for name in NAMES)]
    assert work.raw == [] and work.git("diff", "--name-only").stdout == ""


@pytest.mark.parametrize("when", ["sync_files", "sync_dirs"])
def test_nothing_shows_where_the_disk_fails(
    work: Work, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Be it before or after the blobs got their names."""

    def broken(_: object) -> None:
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(landing, when, broken)
    with pytest.raises(MlreproError) as caught:
        work.track(*NAMES)
    assert caught.value.code == "store-io"
    assert _there(work) == set() and work.git("diff", "--cached", "--name-only").stdout == ""
    monkeypatch.undo()
    work.track(*NAMES)
    assert work.raw == []


def test_what_is_wrong_with_an_ignore_file_is_said_once_all_is_stored(work: Work) -> None:
    work.path("data/.gitignore").symlink_to("elsewhere")
    with pytest.raises(MlreproError) as caught:
        work.track(*NAMES)
    assert caught.value.code == "path-symlink"
    assert _there(work) == {".gitignore"}
    blobs = [path for path in work.store.rglob("*") if path.is_file() and len(path.name) == 30]
    assert len(blobs) == len(NAMES)


def test_a_pointer_that_another_made_meanwhile(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two at once with the same paths: both end well, and the pointer is whole."""
    plain, ran = ahead.Ahead.begin, list[object]()

    def begin(self: ahead.Ahead, saved: Sequence[Saved]) -> None:
        plain(self, saved)
        if not ran:
            ran.append(work)
            work.track(*NAMES)

    monkeypatch.setattr(ahead.Ahead, "begin", begin)
    done = work.track(*NAMES)
    assert codes(done) == [] and work.raw == []
    assert work.read("data/.gitignore").decode().count("/f00\n") == 1
    assert {item.oid for item in work.track().tracked} == {item.oid for item in done.tracked}


def test_begun_and_given_up(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_bytes(b"old")
    with writing.Begun() as begun:
        begun.add(str(old), b"new")
        begun.add(str(tmp_path / "fresh"), b"new")
        assert len(os.listdir(tmp_path)) == 3 and old.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["old"] and old.read_bytes() == b"old"


def test_a_flush_counts_for_what_was_written_before_it(tmp_path: Path, flushed: list[str]) -> None:
    if not kernel.syncfs(str(tmp_path)):
        pytest.skip("no syncfs here")
    with writing.Begun() as begun:
        begun.add(str(tmp_path / "one"), b"1")
        kernel.syncfs(str(tmp_path))
        begun.finish()
    assert flushed == []
    with writing.Begun() as begun:
        begun.add(str(tmp_path / "two"), b"2")
        kernel.syncfs(str(tmp_path))
        begun.add(str(tmp_path / "three"), b"3")
        begun.finish()
    assert len(flushed) == 2
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == {
        "one": b"1", "two": b"2", "three": b"3"
    }  # fmt: skip


def test_two_things_at_once() -> None:
    here, other = threading.Event(), threading.Event()

    def work() -> None:
        assert here.wait(10)
        other.set()

    def meanwhile() -> None:
        here.set()
        assert other.wait(10)

    beside(work, meanwhile)
    assert here.is_set() and other.is_set()


@pytest.mark.parametrize("which", [(True, False), (False, True), (True, True)])
def test_of_two_things_at_once_what_fails_is_raised(which: tuple[bool, bool]) -> None:
    ran = []

    def call(fails: bool, name: str) -> None:
        ran.append(name)
        if fails:
            raise OSError(errno.EIO, name)

    with pytest.raises(OSError, match="here" if which[1] else "there"):
        beside(lambda: call(which[0], "there"), lambda: call(which[1], "here"))
    assert sorted(ran) == ["here", "there"]
