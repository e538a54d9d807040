"""The content-addressed folder: where a blob lies, what counts as one, how it gets its name."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from blobs import bytes_of, contents, make_store, oid_of, put, quarantined
from building import blob_path
from mlrepro import durable, store as store_module
from mlrepro.errors import StoreError
from mlrepro.store import Store, store_error

OID = "0123456789abcdef0123456789abcdef"


def test_paths(tmp_path: Path) -> None:
    store = Store("/s")
    assert store.path(OID) == "/s/files/md5/01/23456789abcdef0123456789abcdef"
    assert store.path(OID + ".dir") == "/s/files/md5/01/23456789abcdef0123456789abcdef.dir"
    assert store.legacy_path(OID) == "/s/01/23456789abcdef0123456789abcdef"
    assert Store("/s", "").path(OID) == store.legacy_path(OID)


@pytest.mark.parametrize(
    "oid",
    [
        "", "ab", OID[:-1], OID + "0", OID.upper(), OID + ".DIR", OID + ".dir/x", OID + "/dir",
        "../../../../../../../etc/passwd", "..23456789abcdef0123456789abcdef", "0" * 31 + "/",
        "0" * 31 + "\n", "\x00" * 32, "\u0966" * 32,
    ],
)  # fmt: skip
def test_what_is_not_an_oid_is_never_a_path(oid: str) -> None:
    store = Store("/s")
    for ask in (store.path, store.legacy_path, store.find, store.has, store.stat):
        with pytest.raises(StoreError) as caught:
            ask(oid)
        assert caught.value.code == "oid-invalid"


def test_find_and_has(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s")
    oid = put(store, b"abc")
    found = store.find(oid)
    assert found is not None
    assert (found[0], found[1].st_size) == (store.path(oid), 3)
    assert store.has(oid) and store.has(oid, 3)
    assert not store.has(oid, 4)
    assert not store.has(OID) and store.find(OID) is None
    assert store.has_any()


def test_a_folders_size_is_not_its_listings(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s")
    oid = put(store, b"[]", oid_of(b"[]", ".dir"))
    assert store.has(oid, 123_456)


def test_legacy_layout_is_found(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    oid = oid_of(b"old")
    path = Path(store.legacy_path(oid))
    path.parent.mkdir()
    path.write_bytes(b"old")
    assert store.has(oid, 3) and store.list_oids() == {oid: 3} and store.has_any()
    assert store.stat(oid) is None


@pytest.mark.parametrize("kind", ["folder", "symlink", "fifo"])
def test_only_a_regular_file_is_a_blob(tmp_path: Path, kind: str) -> None:
    store = make_store(tmp_path / "s")
    oid = oid_of(b"x")
    path = blob_path(store.root, oid)
    path.parent.mkdir()
    (tmp_path / "x").write_bytes(b"x")
    {"folder": path.mkdir, "fifo": lambda: os.mkfifo(path)}.get(
        kind, lambda: path.symlink_to(tmp_path / "x")
    )()
    assert not store.has(oid) and store.find(oid) is None and store.list_oids() == {}


def test_missing_store_says_no_and_makes_nothing(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "gone"))
    assert not store.has(OID) and store.read_id() == "" and store.list_oids() == {}
    assert not store.has_any()
    store.sweep()
    with pytest.raises(StoreError) as caught:
        store.require()
    assert caught.value.code == "store-missing"
    assert not (tmp_path / "gone").exists()


def test_require_wants_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError) as caught:
        Store(str(tmp_path / "file")).require()
    assert caught.value.code == "store-not-a-folder"


def test_prepare_makes_only_the_root_itself(tmp_path: Path) -> None:
    Store(str(tmp_path / "cache")).prepare()
    Store(str(tmp_path / "cache")).prepare()
    assert (tmp_path / "cache").is_dir()
    with pytest.raises(StoreError) as caught:
        Store(str(tmp_path / "unmounted" / "cache")).prepare()
    assert caught.value.code == "store-missing"


def test_create_keeps_the_marker(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "deep" / "s"))
    name = store.create()
    assert len(name) == 32 and store.read_id() == name
    assert Path(store.root, ".mlrepro", "store").read_text() == f"mlrepro store 1\nid {name}\n"
    assert store.create() == name


def test_create_by_many_at_once_gives_one_id(tmp_path: Path) -> None:
    store, names = Store(str(tmp_path / "s")), list[str]()
    threads = [threading.Thread(target=lambda: names.append(store.create())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(names) == 8 and len(set(names)) == 1


@pytest.mark.parametrize("text", [b"", b"mlrepro store 1\nid zz\n", b"\xff" * 99, b"other"])
def test_a_marker_that_says_nothing_is_not_replaced(tmp_path: Path, text: bytes) -> None:
    store = make_store(tmp_path / "s")
    marker = Path(store.root, ".mlrepro", "store")
    marker.write_bytes(text)
    assert store.read_id() == ""
    with pytest.raises(StoreError) as caught:
        store.create()
    assert caught.value.code == "store-marker"
    assert marker.read_bytes() == text


def test_a_marker_is_not_followed(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s")
    marker = Path(store.root, ".mlrepro", "store")
    marker.rename(tmp_path / "elsewhere")
    marker.symlink_to(tmp_path / "elsewhere")
    assert store.read_id() == ""


def test_list_oids_lists_blobs_only(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s")
    oids = {put(store, b"x" * n): n for n in range(300)}
    oids[put(store, b"[]", oid_of(b"[]", ".dir"))] = 2
    put(store, b"junk", OID[:20])
    blob_path(store.root, OID).parent.joinpath("x" * 30).write_text("")
    Path(store.base, "zz").mkdir()
    Path(store.root, ".quarantine").mkdir()
    Path(store.root, ".quarantine", OID).write_text("")
    assert store.list_oids() == oids


def _temp(store: Store, data: bytes) -> str:
    path = Path(store.root, ".mlrepro", "tmp", f"t{os.urandom(4).hex()}")
    path.write_bytes(data)
    return str(path)


def test_adopt_names_and_protects(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s")
    temp = _temp(store, b"abc")
    assert store.adopt(temp, oid_of(b"abc"))
    assert not os.path.exists(temp)
    assert contents(store) == {oid_of(b"abc"): b"abc"}


def test_adopt_never_replaces(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s")
    oid = put(store, b"first", OID)
    temp = _temp(store, b"second")
    assert not store.adopt(temp, oid)
    assert bytes_of(store, oid) == b"first" and Path(temp).read_bytes() == b"second"


@pytest.mark.parametrize("lacks", ["links", "links and renameat2"])
def test_adopt_without_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacks: str
) -> None:
    def no_link(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", no_link)
    if lacks != "links":
        monkeypatch.setattr(durable, "rename_noreplace", lambda *_, **__: False)
    store = make_store(tmp_path / "s")
    assert store.adopt(_temp(store, b"abc"), oid_of(b"abc"))
    assert contents(store) == {oid_of(b"abc"): b"abc"}
    oid = put(store, b"first", OID)
    assert not store.adopt(_temp(store, b"second"), oid)
    assert bytes_of(store, oid) == b"first"
    assert not store.link_from(store.path(oid), "f" * 32)


def test_link_from(tmp_path: Path) -> None:
    store, other = make_store(tmp_path / "s"), make_store(tmp_path / "o")
    oid = put(store, b"abc")
    assert other.link_from(store.path(oid), oid)
    assert os.path.samefile(store.path(oid), other.path(oid))
    assert not other.link_from(store.path(oid), oid)  # taken


def test_folders_of_a_shared_store_belong_to_the_group(tmp_path: Path) -> None:
    root = tmp_path / "s"
    root.mkdir()
    root.chmod(0o2775)
    store = make_store(root)
    before = os.umask(0o077)
    try:
        store.adopt(_temp(store, b"abc"), oid_of(b"abc"))
    finally:
        os.umask(before)
    for folder in (blob_path(root, oid_of(b"abc")).parent, Path(store.base)):
        assert stat.S_IMODE(folder.stat().st_mode) & 0o2070 == 0o2070
    assert contents(store)


def test_folders_follow_the_umask_elsewhere(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        store = make_store(tmp_path / "s")
        store.adopt(_temp(store, b"abc"), oid_of(b"abc"))
    finally:
        os.umask(before)
    assert stat.S_IMODE(blob_path(store.root, oid_of(b"abc")).parent.stat().st_mode) == 0o750
    assert contents(store)


def test_quarantine_keeps_every_version(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s")
    for data in (b"bad one", b"bad two"):
        put(store, data, OID)
        moved = store.quarantine(OID)
        assert moved is not None and Path(moved).read_bytes() == data
        assert not store.has(OID)
    assert len(quarantined(store)) == 2
    assert store.quarantine(OID) is None


def test_quarantine_leaves_what_was_put_there_since(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s")
    put(store, b"bad", OID)
    seen = store.stat(OID)
    other = _temp(store, b"good")  # made before the bad one goes, so that it has another inode
    store.quarantine(OID, seen=seen)
    store.adopt(other, OID)
    assert store.quarantine(OID, seen=seen) is None
    assert bytes_of(store, OID) == b"good"


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "store-full"), (errno.EDQUOT, "store-full"),
        (errno.EROFS, "store-read-only"), (errno.EACCES, "store-denied"),
        (errno.EIO, "store-io"), (errno.EMFILE, "store-io"),
        (errno.ENOENT, "store-missing"), (errno.ENOTDIR, "store-not-a-folder"),
    ],
)  # fmt: skip
def test_errors_name_the_folder(number: int, code: str) -> None:
    said = store_error(OSError(number, os.strerror(number), "/s/files/md5/ab"), "/s")
    assert (said.code, said.path) == (code, "/s")
    assert "/s" in said.message and "/s/files/md5/ab" in said.message and said.hint
    assert "\n" not in said.message


def test_making_one_touches_nothing(tmp_path: Path) -> None:
    store_module.Store(str(tmp_path / "s"))
    assert list(tmp_path.iterdir()) == []
