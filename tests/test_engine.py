"""Files to blobs: what is saved is right, whatever the files and the stores are like."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from blobs import contents, leftovers, make_store, oid_of, put
from mlrepro import durable, hashing, landing, saving, streaming
from mlrepro.engine import hash_files, save_bytes, save_files
from mlrepro.errors import MlreproError, StoreError
from mlrepro.result import Reporter
from mlrepro.store import Store

LARGE = streaming.SMALL + 1


@pytest.fixture
def stores(tmp_path: Path) -> tuple[Store, Store]:
    return Store(str(tmp_path / "cache")), make_store(tmp_path / "store")


def _file(folder: Path, data: bytes, name: str = "x") -> str:
    path = folder / name
    path.write_bytes(data)
    return str(path)


def _unrelated(stores: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch) -> None:
    """As if cache and store lay on different disks."""
    monkeypatch.setattr(landing, "hard_link", lambda *_: False)
    monkeypatch.setattr(saving, "hard_link", lambda *_: False)


def test_a_file_is_saved_and_left_alone(tmp_path: Path, stores: tuple[Store, Store]) -> None:
    path = _file(tmp_path, b"a,b\n1,2\n")
    os.chmod(path, 0o751)
    before = os.stat(path)
    report = save_files([path], *stores)
    [saved] = report.saved
    assert (saved.path, saved.oid, saved.size) == (path, oid_of(b"a,b\n1,2\n"), 8)
    assert saved.isexec and saved.stored_new and saved.bytes_written == 8
    assert saved.began_ns > before.st_mtime_ns
    now = os.stat(path)
    assert hashing.stat_key(now) == hashing.stat_key(before) == hashing.stat_key(saved.stat)
    assert now.st_nlink == 1 and now.st_mode == before.st_mode
    assert contents(stores[0]) == contents(stores[1]) == {saved.oid: b"a,b\n1,2\n"}
    assert leftovers(tmp_path) == [] and report.failed == []


@pytest.mark.parametrize("size", [0, 1, streaming.SMALL - 1, streaming.SMALL, LARGE, 3 << 20])
@pytest.mark.parametrize("apart", [False, True])
def test_sizes(
    tmp_path: Path,
    stores: tuple[Store, Store],
    monkeypatch: pytest.MonkeyPatch,
    size: int,
    apart: bool,
) -> None:
    if apart:
        _unrelated(stores, monkeypatch)
    data = os.urandom(size)
    [saved] = save_files([_file(tmp_path, data)], *stores).saved
    assert saved.bytes_written == size * (2 if apart else 1) and saved.stored_new
    assert contents(stores[0]) == contents(stores[1]) == {oid_of(data): data}
    assert os.path.samefile(*(store.path(saved.oid) for store in stores)) != apart
    again = save_files([saved.path], *stores, digest_known={saved.path: saved.oid}).saved[0]
    assert (again.oid, again.stored_new, again.bytes_written) == (saved.oid, False, 0)
    assert leftovers(tmp_path) == []


@settings(max_examples=25)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=64),
            st.builds(
                lambda base, off, seed: bytes([seed]) * (base + off),
                st.sampled_from([1 << 14, 1 << 19, streaming.SMALL, 1 << 21]),
                st.integers(-2, 2),
                st.integers(0, 255),
            ),
        ),
        max_size=6,
    ),
    st.booleans(),
    st.integers(1, 3),
)
def test_any_contents(
    tmp_path_factory: pytest.TempPathFactory, files: list[bytes], with_store: bool, jobs: int
) -> None:
    folder = tmp_path_factory.mktemp("any")
    cache, store = Store(str(folder / "c")), make_store(folder / "s")
    paths = [_file(folder, data, f"f{at}") for at, data in enumerate(files)]
    report = save_files(paths, cache, store if with_store else None, jobs=jobs)
    assert [one.oid for one in report.saved] == [oid_of(data) for data in files]
    wanted = {oid_of(data): data for data in files}
    assert (contents(cache) if files else {}) == wanted
    assert contents(store) == (wanted if with_store else {})
    assert sum(one.stored_new for one in report.saved) == len(wanted)
    hashed = hash_files(paths, jobs=jobs).saved
    assert [one.oid for one in hashed] == [one.oid for one in report.saved]
    assert leftovers(folder) == []


def test_a_file_written_this_very_moment_is_not_racy(
    tmp_path: Path, stores: tuple[Store, Store]
) -> None:
    [saved] = save_files([_file(tmp_path, b"new")], *stores).saved
    assert saved.began_ns - max(saved.stat.st_mtime_ns, saved.stat.st_ctime_ns) > 20_000_000


def test_a_wrong_hint_does_no_harm(tmp_path: Path, stores: tuple[Store, Store]) -> None:
    old, new = os.urandom(LARGE), os.urandom(LARGE)
    path = _file(tmp_path, old)
    save_files([path], *stores)
    _file(tmp_path, new)
    [saved] = save_files([path], *stores, digest_known={path: oid_of(old)}).saved
    assert saved.oid == oid_of(new) and saved.stored_new
    assert set(contents(stores[1])) == {oid_of(old), oid_of(new)}


def test_the_same_content_many_times_is_one_blob(
    tmp_path: Path, stores: tuple[Store, Store]
) -> None:
    paths = [_file(tmp_path, b"same", f"s{n}") for n in range(20)]
    paths += [_file(tmp_path, b"L" * LARGE, f"l{n}") for n in range(4)]
    report = save_files(paths, *stores, jobs=4)
    assert len(report.saved) == 24 and sum(one.stored_new for one in report.saved) == 2
    assert len(contents(stores[1])) == 2 and leftovers(tmp_path) == []


@pytest.mark.parametrize("jobs", [1, 4])
def test_the_same_content_in_several_batches(
    tmp_path: Path, stores: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    """What a batch has stored is no longer kept in mind: the store says that it is there."""
    monkeypatch.setattr(landing, "_BATCH_FILES", 2)
    paths = [_file(tmp_path, b"%d" % (n % 5), f"s{n}") for n in range(40)]
    paths += [_file(tmp_path, b"%d" % (n % 2) * LARGE, f"l{n}") for n in range(6)]
    report = save_files(paths, *stores, jobs=jobs)
    assert len(report.saved) == 46 and report.repaired == []
    assert sum(one.stored_new for one in report.saved) == 7
    assert len(contents(stores[0])) == len(contents(stores[1])) == 7
    assert leftovers(tmp_path) == []


def test_batches(
    tmp_path: Path, stores: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landing, "_BATCH_FILES", 3)
    paths = [_file(tmp_path, b"%d" % n, f"f{n}") for n in range(32)]
    paths += [_file(tmp_path, b"%d" % n * LARGE, f"l{n}") for n in range(3)]
    assert len(save_files(paths, *stores, jobs=3).saved) == 35
    assert len(contents(stores[0])) == len(contents(stores[1])) == 35


def test_what_somebody_else_just_put_there_is_flushed_too(
    tmp_path: Path, stores: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    stores[0].prepare()
    oids = [put(store, b"data") for store in stores]
    flushed: list[str] = []
    monkeypatch.setattr(landing, "sync_files", flushed.extend)
    monkeypatch.setattr(landing, "sync_dirs", flushed.extend)
    assert save_files([_file(tmp_path, b"data")], *stores).saved[0].bytes_written == 0
    for store, oid in zip(stores, oids, strict=True):
        assert {store.path(oid), os.path.dirname(store.path(oid))} <= set(flushed)


def test_a_missing_store_is_not_made(tmp_path: Path) -> None:
    path = _file(tmp_path, b"x")
    for call in (
        lambda: save_files([path], Store(str(tmp_path / "c")), Store(str(tmp_path / "s"))),
        lambda: save_bytes(b"x", "", Store(str(tmp_path / "c")), Store(str(tmp_path / "s"))),
    ):
        with pytest.raises(StoreError) as caught:
            call()
        assert caught.value.code == "store-missing"
        assert os.listdir(tmp_path) == ["x"]
    assert save_files([], Store("/none"), Store("/none")).saved == []


def test_a_cache_that_is_the_store(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s")
    save_files([_file(tmp_path, b"x")], Store(store.root + "/../s"), store)
    assert len(contents(store)) == 1


def test_space_is_looked_at_before_the_work(
    tmp_path: Path, stores: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    large, small = os.urandom(LARGE), b"small"
    paths = [_file(tmp_path, large, "l"), _file(tmp_path, small, "s")]
    monkeypatch.setattr(saving, "free_bytes", lambda _: LARGE - 1)
    with pytest.raises(StoreError) as caught:
        save_files(paths, *stores)
    assert caught.value.code == "store-full" and contents(stores[1]) == {}
    monkeypatch.undo()
    save_files(paths, *stores)
    monkeypatch.setattr(saving, "free_bytes", lambda _: 0)
    report = save_files(paths, *stores)  # needs no space: all is there
    assert [one.bytes_written for one in report.saved] == [0, 0]


def test_without_syncfs_or_links(
    tmp_path: Path, stores: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    _unrelated(stores, monkeypatch)
    monkeypatch.setattr(durable, "syncfs", lambda _: False)
    paths = [_file(tmp_path, os.urandom(n), f"f{n}") for n in range(20)]
    save_files(paths, *stores)
    assert contents(stores[0]) == contents(stores[1]) and len(contents(stores[0])) == 20


def test_links_refused_halfway(
    tmp_path: Path, stores: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A blob that has too many names already, or belongs to somebody else."""
    monkeypatch.setattr(Store, "link_from", lambda *_: False)
    paths = [_file(tmp_path, b"x"), _file(tmp_path, b"L" * LARGE, "l")]
    save_files(paths, *stores)
    assert contents(stores[0]) == contents(stores[1]) and len(contents(stores[0])) == 2


def test_listing(tmp_path: Path, stores: tuple[Store, Store]) -> None:
    for _ in range(2):
        oid = save_bytes(b"[]", ".dir", *stores)
    assert oid == oid_of(b"[]", ".dir")
    assert contents(stores[0]) == contents(stores[1]) == {oid: b"[]"}


def test_progress_adds_up(tmp_path: Path, stores: tuple[Store, Store]) -> None:
    class Counting(Reporter):
        total = done = ended = 0

        def begin(self, label: str, total: int) -> None:
            self.total = total

        def advance(self, count: int) -> None:
            with guard:
                self.done += count

        def end(self) -> None:
            self.ended += 1

    guard, counting, hashed = threading.Lock(), Counting(), Counting()
    paths = [_file(tmp_path, b"x" * n, f"f{n}") for n in (0, 5, LARGE, 2 * LARGE)]
    save_files(paths, *stores, reporter=counting)
    hash_files(paths, reporter=hashed)
    for one in (counting, hashed):
        assert one.total == one.done == 3 * LARGE + 5 and one.ended == 1


def test_blobs_keep_their_mode_under_any_umask(tmp_path: Path, stores: tuple[Store, Store]) -> None:
    before = os.umask(0o077)
    try:
        save_files([_file(tmp_path, b"x"), _file(tmp_path, b"L" * LARGE, "l")], *stores)
    finally:
        os.umask(before)
    assert len(contents(stores[0])) == len(contents(stores[1])) == 2
    assert stat.S_IMODE(os.stat(stores[0].root).st_mode) == 0o700


def test_errors_are_for_people(tmp_path: Path) -> None:
    with pytest.raises(MlreproError) as caught:
        save_files([_file(tmp_path, b"x")], Store(str(tmp_path / "no" / "cache")))
    said = caught.value.as_dict()
    assert said["hint"] and str(tmp_path / "no" / "cache") in said["message"]
