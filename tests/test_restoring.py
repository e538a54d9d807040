"""Blobs to files: only bytes that are right are put in place, whatever the source is like."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from blobs import DAMAGES, Place, contents, damage, oid_of, put, quarantined
from mlrepro import reading, settling, smallblobs, streaming, weighing
from mlrepro.engine import save_files
from mlrepro.errors import StoreError
from mlrepro.restoring import Restore, RestoreReport, restore_files
from mlrepro.store import Store

LARGE = streaming.SMALL + 1


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@settings(max_examples=20)
@given(
    st.dictionaries(
        st.sampled_from(["a", "b", "d/c", "d/e/f", "é", "g h", "\udcff"]),
        st.tuples(st.binary(max_size=40), st.integers(0, 2), st.binary(max_size=40)),
    ),
    st.integers(1, 3),
)
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory,
    files: dict[str, tuple[bytes, int, bytes]],
    jobs: int,
) -> None:
    """Saved, changed, and brought back to what was saved; what is not as expected stays."""
    place = Place(tmp_path_factory.mktemp("trip"))
    for name, (data, _, _) in files.items():
        place.file(data, name)
    paths = [str(place.root / name) for name in files]
    saved = save_files(paths, place.cache, place.store, jobs=jobs).saved
    items = []
    for one, (data, what, other) in zip(saved, files.values(), strict=True):
        if what == 0:
            os.unlink(one.path)
        elif what == 1:
            Path(one.path).write_bytes(other)
        expect = os.stat(one.path) if what else None
        items.append(Restore(one.oid, one.path, len(data), expect=expect))
    report = place.restore(*items, jobs=jobs)
    assert sorted(one.dest for one in report.restored) == sorted(paths)
    for name, (data, _, _) in files.items():
        assert place.read(name) == data
    assert contents(place.cache) == {oid_of(data): data for data, _, _ in files.values()}
    assert place.is_tidy()


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("size", [10, LARGE])
def test_a_damaged_blob_is_never_put_in_place(
    tmp_path: Path, place: Place, how: str, size: int
) -> None:
    data = os.urandom(size)
    was = place.file(b"old")
    oid = put(place.cache, data)
    damage(place.cache, oid, how, tmp_path)
    item = Restore(oid, str(place.root / "x"), size, expect=was)
    report = place.restore(item)
    assert report.missing == [item] and report.corrupt == [oid] and place.read() == b"old"
    assert len(quarantined(place.cache)) == 1
    put(place.cache, data)
    damage(place.cache, oid, how, tmp_path / "cache")
    put(place.store, data)
    report = place.restore(item)  # the next source is right
    assert len(report.restored) == 1 and report.corrupt == [oid] and place.read() == data
    assert place.is_tidy()


def test_a_blob_of_dvc_2(place: Place) -> None:
    data = b"a\r\nb\r\n"
    oid = oid_of(b"a\nb\n")
    path = Path(place.store.legacy_path(oid))
    path.parent.mkdir()
    path.write_bytes(data)
    assert len(place.restore(Restore(oid, str(place.root / "x"), 6)).restored) == 1
    assert place.read() == data


def test_missing_everywhere(place: Place) -> None:
    was = place.file(b"old")
    item = Restore("0" * 32, str(place.root / "x"), 3, expect=was)
    new = Restore("0" * 32, str(place.root / "a/y"), 3)
    report = place.restore(item, new, place.item(b"good", "good"))
    assert report.missing == [item, new] and place.read() == b"old"
    assert len(report.restored) == 1 and not (place.root / "a").exists() and place.is_tidy()


def test_space_is_looked_at_before_the_work(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weighing, "free_bytes", lambda _: LARGE - 1)
    monkeypatch.setattr(weighing, "reflink", lambda *_: False)
    item = place.item(os.urandom(LARGE))
    with pytest.raises(StoreError) as caught:
        place.restore(item)
    assert caught.value.code == "disk-full" and not (place.root / "x").exists()
    assert place.is_tidy()


@pytest.mark.parametrize("size", [10, LARGE])
def test_a_disk_that_is_full(place: Place, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    was = place.file(b"old")
    for module in (streaming, smallblobs):
        monkeypatch.setattr(module, "write_all", full)
    monkeypatch.setattr(reading, "reflink", lambda *_: False)
    items = [place.item(os.urandom(size), f"f{n}") for n in range(3)]
    with pytest.raises(StoreError) as caught:
        place.restore(place.item(os.urandom(size), expect=was), *items)
    assert caught.value.code == "disk-full"
    assert place.read() == b"old" and not (place.root / "f0").exists() and place.is_tidy()


def test_a_source_that_cannot_be_read(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> bytes:
        raise OSError(errno.EIO, "I/O error")

    for module in (streaming, smallblobs):
        monkeypatch.setattr(module, "read_whole", broken)
    report = place.restore(place.item(b"data"))
    [(_, error)] = report.failed
    assert error.code == "store-io" and not report.missing and place.is_tidy()
    assert contents(place.store)  # not set aside: that it cannot be read now proves nothing


def test_a_store_that_is_gone_is_as_one_without_the_blob(place: Place) -> None:
    item = place.item(b"data")
    report = restore_files([item], [Store("/none"), place.store], place.staging, str(place.root))
    assert len(report.restored) == 1


def test_a_file_changed_right_after_is_not_vouched_for(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = settling.Batch.settle

    def settle(self: settling.Batch) -> None:
        (place.root / "x").write_bytes(b"edit")
        plain(self)

    monkeypatch.setattr(settling.Batch, "settle", settle)
    [restored] = place.restore(place.item(b"data")).restored
    assert restored.began_ns == 0
    assert restored.stat is None


def test_many_in_batches(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "_BATCH_FILES", 5)
    items = [place.item(b"%d" % n, f"d{n % 90}/f{n}") for n in range(200)]
    report = place.restore(*items, jobs=3)
    assert len(report.restored) == 200 and place.is_tidy()
    assert all(place.read(f"d{n % 90}/f{n}") == b"%d" % n for n in range(200))


def test_two_restores_at_once(place: Place) -> None:
    items = [place.item(b"%d" % n, f"d/f{n}") for n in range(60)]
    reports: list[RestoreReport] = []
    threads = [
        threading.Thread(target=lambda: reports.append(place.restore(*items))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(len(report.restored) for report in reports) == 60
    assert sum(len(report.kept) for report in reports) == 120
    assert all(place.read(f"d/f{n}") == b"%d" % n for n in range(60)) and place.is_tidy()
