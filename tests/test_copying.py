"""Blobs between stores: none spreads that is not right, each ends up where DVC looks for it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from blobs import DAMAGES, contents, damage, leftovers, make_store, oid_of, put, quarantined
from mlrepro import copying, landing, streaming
from mlrepro.engine import copy_blobs, verify_blob
from mlrepro.errors import StoreError
from mlrepro.store import Store

LARGE = streaming.SMALL + 1
CRLF = b"a,b\r\n1,2\r\n"


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Store, Store]:
    return make_store(tmp_path / "source"), make_store(tmp_path / "target")


@pytest.fixture(params=["linked", "copied"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "copied":
        monkeypatch.setattr(copying, "hard_link", lambda *_: False)
    return str(request.param)


def test_copy(tmp_path: Path, pair: tuple[Store, Store], way: str) -> None:
    source, target = pair
    data = [b"", b"one", os.urandom(streaming.SMALL), os.urandom(LARGE), os.urandom(3 << 20)]
    oids = [put(source, one) for one in data]
    oids.append(put(source, b"[]", oid_of(b"[]", ".dir")))
    put(target, b"one")
    report = copy_blobs([(oid, None) for oid in [*oids, "0" * 32]], source, target, jobs=2)
    assert sorted(report.copied) == sorted(set(oids) - {oid_of(b"one")})
    assert (report.present, report.missing, report.corrupt) == ([oid_of(b"one")], ["0" * 32], [])
    assert contents(source) == contents(target) and len(contents(target)) == 6
    assert os.path.samefile(source.path(oids[0]), target.path(oids[0])) == (way == "linked")
    assert leftovers(tmp_path) == []
    again = copy_blobs([(oid, None) for oid in oids], source, target, check_existing=True)
    assert sorted(again.present) == sorted(oids) and again.copied == []


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("size", [10, LARGE])
def test_a_damaged_blob_does_not_spread(
    tmp_path: Path, pair: tuple[Store, Store], way: str, how: str, size: int
) -> None:
    source, target = pair
    bad, good = put(source, os.urandom(size)), put(source, b"good")
    damage(source, bad, how, tmp_path)
    report = copy_blobs([(bad, size), (good, 4)], source, target)
    assert (report.copied, report.corrupt, report.missing) == ([good], [bad], [])
    assert contents(source) == contents(target) == {good: b"good"}
    assert len(quarantined(source)) == 1 and leftovers(tmp_path) == []


@pytest.mark.parametrize("how", ["truncated", "longer", "folder", "symlink", "empty"])
def test_a_damaged_blob_in_the_target_is_replaced(
    tmp_path: Path, pair: tuple[Store, Store], way: str, how: str
) -> None:
    source, target = pair
    oid = put(source, b"data")
    put(target, b"data")
    damage(target, oid, how, tmp_path)
    report = copy_blobs([(oid, 4)], source, target)
    assert (report.copied, report.repaired) == ([oid], [oid])
    assert contents(target) == {oid: b"data"} and len(quarantined(target)) == 1


def test_a_flipped_bit_in_the_target_is_found_on_demand(
    tmp_path: Path, pair: tuple[Store, Store], way: str
) -> None:
    source, target = pair
    oid = put(source, os.urandom(LARGE))
    put(target, contents(source)[oid])
    damage(target, oid, "flipped", tmp_path)
    assert copy_blobs([(oid, None)], source, target).present == [oid]
    assert copy_blobs([(oid, None)], source, target, check_existing=True).repaired == [oid]
    assert contents(source) == contents(target)


def test_blobs_of_dvc_2_keep_their_place_and_their_hash(
    tmp_path: Path, pair: tuple[Store, Store], way: str
) -> None:
    """Hashed with CRLF as LF: under that name in the new layout the bytes would be wrong."""
    source, target = pair
    text, binary = oid_of(CRLF.replace(b"\r\n", b"\n")), oid_of(b"\x00\r\n")
    for oid, data in ((text, CRLF), (binary, b"\x00\r\n")):
        path = Path(source.legacy_path(oid))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    assert verify_blob(source, text) == verify_blob(source, binary) == "ok"
    report = copy_blobs([(text, len(CRLF)), (binary, 3)], source, target)
    assert sorted(report.copied) == sorted([text, binary])
    assert Path(target.legacy_path(text)).read_bytes() == CRLF
    assert contents(target) == {} and target.has(text, len(CRLF))
    assert len(copy_blobs([(text, None), (binary, None)], source, target).present) == 2
    wrong = put(source, CRLF, text)  # the same bytes, but under a name of the new layout
    assert verify_blob(source, wrong) == "ok"  # by the old one
    Path(source.legacy_path(text)).unlink()
    assert verify_blob(source, wrong) == "corrupt"


def test_a_good_copy_in_the_other_layout_is_found(
    tmp_path: Path, pair: tuple[Store, Store], way: str
) -> None:
    source, target = pair
    oid = put(source, b"bad", oid_of(b"good"))
    legacy = Path(source.legacy_path(oid))
    legacy.parent.mkdir()
    legacy.write_bytes(b"good")
    report = copy_blobs([(oid, 4)], source, target)
    assert (report.copied, report.corrupt) == ([oid], []) and target.has(oid, 4)
    assert len(quarantined(source)) == 1


def test_blobs_with_other_names_are_copied_if_asked(
    tmp_path: Path, pair: tuple[Store, Store]
) -> None:
    source, target = pair
    oid = put(source, b"data")
    os.link(source.path(oid), tmp_path / "workspace-file")
    copy_blobs([(oid, 4)], source, target, link_shared=False)
    assert os.stat(target.path(oid)).st_nlink == 1 and contents(target) == {oid: b"data"}


@pytest.mark.parametrize("gone", ["source", "target"])
def test_stores_that_are_not_there(tmp_path: Path, gone: str) -> None:
    stores = {name: Store(str(tmp_path / name)) for name in ("source", "target")}
    stores["target" if gone == "source" else "source"].create()
    with pytest.raises(StoreError) as caught:
        copy_blobs([("0" * 32, 1)], **stores)
    assert (caught.value.code, caught.value.path) == ("store-missing", stores[gone].root)
    assert not os.path.exists(stores[gone].root)
    assert copy_blobs([], **stores).copied == []


def test_a_target_that_is_full(
    tmp_path: Path, pair: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    source, target = pair
    oid = put(source, b"data")
    monkeypatch.setattr(copying, "hard_link", lambda *_: False)
    monkeypatch.setattr(streaming, "write_all", full)
    with pytest.raises(StoreError) as caught:
        copy_blobs([(oid, 4)], source, target)
    assert (caught.value.code, caught.value.path) == ("store-full", target.root)
    assert contents(target) == {} and leftovers(tmp_path) == [] and source.has(oid)


def test_a_source_that_cannot_be_read_is_told_and_left(
    tmp_path: Path, pair: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> bytes:
        raise OSError(errno.EIO, "I/O error")

    source, target = pair
    oid = put(source, b"data")
    monkeypatch.setattr(streaming, "read_whole", broken)
    report = copy_blobs([(oid, 4)], source, target)
    assert report.missing == [oid] and report.failed[0][1].code == "store-io"
    assert source.has(oid, 4) and not target.has(oid) and quarantined(source) == []


def test_a_source_that_may_only_be_read(
    tmp_path: Path, pair: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: object) -> None:
        raise OSError(errno.EROFS, "read-only")

    source, target = pair
    bad = put(source, b"bad", oid_of(b"good"))
    monkeypatch.setattr(Store, "quarantine", read_only)
    assert copy_blobs([(bad, 4)], source, target).corrupt == [bad]
    assert contents(target) == {}


@pytest.mark.parametrize("how", DAMAGES)
def test_verify_blob(tmp_path: Path, pair: tuple[Store, Store], how: str) -> None:
    store, _ = pair
    oid = put(store, b"data")
    folder = put(store, b"[]", oid_of(b"[]", ".dir"))
    assert verify_blob(store, oid) == verify_blob(store, oid, 4) == "ok"
    assert verify_blob(store, folder, 99) == "ok"
    assert verify_blob(store, "0" * 32) == "missing"
    damage(store, oid, how, tmp_path)
    sized = {"truncated", "longer", "empty"}
    assert verify_blob(store, oid, 4) == ("size" if how in sized else "corrupt")
    assert verify_blob(store, oid) == "corrupt"
    assert quarantined(store) == [] and os.path.lexists(store.path(oid))


def test_two_copies_of_one_batch_at_once(
    tmp_path: Path, pair: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    source, target = pair
    monkeypatch.setattr(landing, "_BATCH_FILES", 2)
    oids = [put(source, b"%d" % n) for n in range(30)]
    assert len(copy_blobs([(oid, None) for oid in oids * 2], source, target, jobs=4).copied) == 30
    assert contents(source) == contents(target)
