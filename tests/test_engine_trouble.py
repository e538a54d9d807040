"""Files to blobs when files change, stores fail, or blobs are not what they should be."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from blobs import DAMAGES, contents, damage, leftovers, make_store, oid_of, put, quarantined
from mlrepro import hashing, landing, saving, smallfiles, streaming
from mlrepro.engine import hash_files, save_files
from mlrepro.errors import FileChanging, StoreError
from mlrepro.store import Store

LARGE = streaming.SMALL + 1


@pytest.fixture
def stores(tmp_path: Path) -> tuple[Store, Store]:
    return Store(str(tmp_path / "cache")), make_store(tmp_path / "store")


def _file(folder: Path, data: bytes, name: str = "x") -> str:
    path = folder / name
    path.write_bytes(data)
    return str(path)


def test_one_bad_path_does_not_stop_the_others(tmp_path: Path, stores: tuple[Store, Store]) -> None:
    good = _file(tmp_path, b"good", "good")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(good)
    server = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    try:
        os.chdir(tmp_path)  # the path of a socket is short
        server.bind("socket")
    finally:
        os.chdir(here)
        server.close()
    bad = {
        "fifo": "path-not-regular", "folder": "path-not-regular", "link": "path-symlink",
        "socket": "path-not-regular", "none": "path-missing", "good/x": "path-missing",
        "\udcff": "path-missing",
    }  # fmt: skip
    paths = [str(tmp_path / name) for name in bad] + [good, "/dev/zero"]
    for report in (save_files(paths, *stores), hash_files(paths)):
        assert [one.path for one in report.saved] == [good]
        codes = {os.path.relpath(path, tmp_path): error.code for path, error in report.failed}
        assert codes.pop(os.path.relpath("/dev/zero", tmp_path)) == "path-not-regular"
        assert codes == bad
        assert all(error.path and error.hint for _, error in report.failed)
    assert list(contents(stores[1])) == [oid_of(b"good")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path, stores: tuple[Store, Store]) -> None:
    path = _file(tmp_path, b"secret")
    os.chmod(path, 0)
    [(_, error)] = save_files([path], *stores).failed
    assert error.code == "path-denied"


@pytest.mark.parametrize("size", [7, LARGE])
def test_a_file_that_changes_once_is_read_again(
    tmp_path: Path, stores: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    path = _file(tmp_path, os.urandom(size))
    tries = _touch_while_reading(monkeypatch, lambda count: count == 1 and _append(path))
    [saved] = save_files([path], *stores).saved
    data = Path(path).read_bytes()
    assert len(tries) == 2 and saved.oid == oid_of(data)
    assert contents(stores[1]) == {saved.oid: data}
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("size", [7, LARGE])
@pytest.mark.parametrize("how", ["appends", "same size", "old times", "replaces", "goes"])
def test_a_file_that_keeps_changing_is_refused(
    tmp_path: Path,
    stores: tuple[Store, Store],
    monkeypatch: pytest.MonkeyPatch,
    size: int,
    how: str,
) -> None:
    path, still = _file(tmp_path, os.urandom(size)), _file(tmp_path, b"still", "still")
    about = os.stat(path)

    def change(count: int) -> None:
        if how == "appends":
            _append(path)
        elif how == "replaces":
            os.replace(_file(tmp_path, os.urandom(size), "next"), path)
        elif how == "goes" and count == 1:
            os.unlink(path)
        elif how != "goes":
            with open(path, "r+b") as file:
                file.write(os.urandom(5))
            if how == "old times":
                os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))

    tries = _touch_while_reading(monkeypatch, change, path)
    monkeypatch.setattr(hashing, "_PAUSE", 0)
    report = save_files([path, still], *stores)
    [(name, error)] = report.failed
    assert name == path
    if how == "goes":
        assert error.code == "path-missing"
    else:
        quick = size <= streaming.SMALL  # then it was first read in passing
        assert isinstance(error, FileChanging) and len(tries) == 5 + quick
    assert contents(stores[1]) == {oid_of(b"still"): b"still"}
    assert leftovers(tmp_path) == []


def _append(path: str) -> None:
    with open(path, "ab") as file:
        file.write(b"row\n")


def _touch_while_reading(monkeypatch: pytest.MonkeyPatch, change, only: str = "") -> list[str]:
    """Have ``change`` called in the middle of each reading: after the bytes, before the proof."""
    tries: list[str] = []
    plain, small = saving._Attempt.read, hashing.read_whole

    def touch() -> None:
        tries.append("")
        change(len(tries))

    def read(self: saving._Attempt, fd: int, before: os.stat_result) -> str:
        oid = plain(self, fd, before)
        if not only or self.path == only:
            touch()
        return oid

    def read_whole(fd: int, size: int) -> bytes:
        data = small(fd, size)
        if not only or os.path.samestat(os.fstat(fd), os.stat(only)):
            touch()
        return data

    monkeypatch.setattr(saving._Attempt, "read", read)
    monkeypatch.setattr(hashing, "read_whole", read_whole)
    return tries


def test_a_writer_that_never_stops(tmp_path: Path, stores: tuple[Store, Store]) -> None:
    """Whatever was saved of a growing file is a state that the file was in."""
    path, stop = _file(tmp_path, b""), threading.Event()

    def write() -> None:
        row = 0
        with open(path, "ab", buffering=0) as file:
            while not stop.is_set():
                file.write(b"%09d\n" % row)
                row += 1
                time.sleep(0.0005)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        reports = [save_files([path], *stores) for _ in range(2)]
    finally:
        stop.set()
        thread.join()
    reports.append(save_files([path], *stores))
    assert len(reports[-1].saved) == 1
    whole = Path(path).read_bytes()
    for data in contents(stores[1]).values():
        assert whole.startswith(data) and len(data) % 10 == 0


@pytest.mark.parametrize("where", [0, 1])
@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("size", [100, LARGE])
def test_a_damaged_blob_is_set_aside_and_replaced(
    tmp_path: Path, stores: tuple[Store, Store], how: str, where: int, size: int
) -> None:
    data = os.urandom(size)
    path = _file(tmp_path, data)
    for store in stores:
        store.prepare()
        put(store, data)
    damage(stores[where], oid_of(data), how, tmp_path)
    report = save_files([path], *stores, check_existing=size == LARGE)
    assert len(report.saved) == 1 and report.repaired == [oid_of(data)]
    assert contents(stores[0]) == contents(stores[1]) == {oid_of(data): data}
    assert len(quarantined(stores[where])) == 1 and not quarantined(stores[1 - where])
    assert report.saved[0].stored_new == (where == 1)
    assert save_files([path], *stores, check_existing=True).repaired == []


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_blob_that_only_the_cache_has(
    tmp_path: Path, stores: tuple[Store, Store], how: str
) -> None:
    stores[0].prepare()
    put(stores[0], b"data")
    damage(stores[0], oid_of(b"data"), how, tmp_path)
    assert save_files([_file(tmp_path, b"data")], *stores).repaired == [oid_of(b"data")]
    assert contents(stores[0]) == contents(stores[1]) == {oid_of(b"data"): b"data"}


def test_a_large_blob_that_lost_its_protection_is_read(
    tmp_path: Path, stores: tuple[Store, Store]
) -> None:
    data = os.urandom(LARGE)
    wrong = bytes([data[0] ^ 1]) + data[1:]
    put(stores[1], wrong, oid_of(data), mode=0o644)
    assert save_files([_file(tmp_path, data)], *stores).repaired == [oid_of(data)]
    assert contents(stores[1]) == {oid_of(data): data}


@pytest.mark.parametrize("size", [10, LARGE])
@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.ENOSPC, "store-full"), (errno.EROFS, "store-read-only"), (errno.EIO, "store-io")],
)
def test_a_store_that_fails(
    tmp_path: Path,
    stores: tuple[Store, Store],
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    code: str,
    size: int,
) -> None:
    paths = [_file(tmp_path, os.urandom(size), f"f{n}") for n in range(4)]

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    for module in (landing, smallfiles):
        monkeypatch.setattr(module, "write_all", fail)
    monkeypatch.setattr(landing.Landing, "_can_link", lambda *_: True)
    monkeypatch.setattr(streaming, "write_all", fail)
    monkeypatch.setattr(saving, "reflink", lambda *_: False)
    with pytest.raises(StoreError) as caught:
        save_files(paths, *stores)
    assert caught.value.code == code and caught.value.path == stores[1].root
    assert contents(stores[1]) == {} and leftovers(tmp_path) == []
    assert all(os.path.getsize(path) == size for path in paths)


@pytest.mark.parametrize("step", ["sync_files", "sync_dirs", "adopt"])
def test_a_disk_that_fails_to_flush(
    tmp_path: Path, stores: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(*((Store, "adopt", fail) if step == "adopt" else (landing, step, fail)))
    with pytest.raises(StoreError) as caught:
        save_files([_file(tmp_path, b"x")], *stores)
    assert caught.value.code == "store-io" and leftovers(tmp_path) == []
    if step == "sync_files":  # nothing gets a name before its bytes are on the disk
        assert contents(stores[1]) == {}
    monkeypatch.undo()
    save_files([str(tmp_path / "x")], *stores)
    assert len(contents(stores[1])) == 1


def test_an_interrupt_stops_all_threads(
    tmp_path: Path, stores: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: threading.Thread, timeout: float | None = None) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    paths = [_file(tmp_path, os.urandom(LARGE), f"f{n}") for n in range(6)]
    monkeypatch.setattr(threading.Thread, "join", interrupted)
    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        save_files(paths, *stores, jobs=2)
    ours = [one for one in threading.enumerate() if one not in before and "_serve" in one.name]
    assert ours == [] and leftovers(tmp_path) == []
    assert set(contents(stores[1])) <= {oid_of(Path(path).read_bytes()) for path in paths}
