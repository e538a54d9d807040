"""Blobs to and from stores by way of DVC, in folders and on the network."""

from __future__ import annotations

import getpass
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from dvc_place import Place, blob, codes, oid_of, spoil
from mlrepro import dvc
from mlrepro.errors import (
    BlobCorrupt,
    BlobMissing,
    StoreError,
)
from mlrepro.result import Reporter


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.at(tmp_path / "repo")


def test_what_is_missing_or_damaged_in_the_cache_is_not_sent(place: Place) -> None:
    place.write("gone.csv", "gone\n")
    place.write("bad.csv", "bad\n")
    place.write("folder/one.txt", "1\n")
    place.write("folder/two.txt", "2\n")
    with dvc.session(place.top) as session:
        added, _ = session.add(["gone.csv", "bad.csv", "folder"])
        blob(place.cache, oid_of("gone\n")).unlink()
        spoil(blob(place.cache, oid_of("bad\n")))
        blob(place.cache, oid_of("2\n")).unlink()
        wanted = [(item.oid, None) for item in added]
        confirmed, failed = dvc.upload(place.top, "storage", wanted, str(place.cache))
    assert confirmed == [oid_of("1\n")]
    folder = added[2].oid
    assert {oid: type(error) for oid, error in failed.items()} == {
        oid_of("gone\n"): BlobMissing,
        oid_of("bad\n"): BlobCorrupt,
        oid_of("2\n"): BlobMissing,
        folder: BlobMissing,
    }
    present = dvc.exists(place.top, "storage", [oid for oid, _ in wanted])
    assert present == {}


def test_the_store_is_asked_anew_each_time(place: Place) -> None:
    """DVC believes its own notes: of a store that was wiped it says that all is up to date."""
    place.write("folder/one.txt", "1\n")
    with dvc.session(place.top) as session:
        (item,), _ = session.add(["folder"])
        session.push([item.pointer])
        blob(place.store, oid_of("1\n")).unlink()
        sent, errors = session.push([item.pointer])
        assert sorted(sent) == sorted([oid_of("1\n"), item.oid]) and errors == []
    assert blob(place.store, oid_of("1\n")).read_bytes() == b"1\n"


def test_a_truncated_blob_in_the_store_is_replaced(place: Place) -> None:
    place.write("data.csv", "a long line\n")
    oid = oid_of("a long line\n")
    with dvc.session(place.top) as session:
        session.add(["data.csv"])
        spoil(blob(place.store, oid), b"a lo")
        assert dvc.missing_in_remote(place.top, "", [(oid, 12)]) == {oid}
        assert session.push(["data.csv.dvc"]) == ([oid], [])
    assert blob(place.store, oid).read_bytes() == b"a long line\n"
    assert [path.read_bytes() for path in (place.store / ".quarantine").iterdir()] == [b"a lo"]


def test_downloads_are_proven(place: Place) -> None:
    good, bad, none = oid_of("good\n"), oid_of("bad\n"), oid_of("none\n")
    spoil(blob(place.store, good), b"good\n")
    spoil(blob(place.store, bad))
    spoil(blob(place.cache, good), b"goo")
    wanted = [(good, 5), (bad, 4), (none, None)]
    confirmed, failed = dvc.download(place.top, "", wanted, str(place.cache))
    assert confirmed == [good]
    assert {oid: type(error) for oid, error in failed.items()} == {
        bad: BlobCorrupt,
        none: BlobMissing,
    }
    assert blob(place.cache, good).read_bytes() == b"good\n"
    assert blob(place.cache, good).stat().st_mode & 0o777 == 0o444
    assert not blob(place.cache, bad).exists()
    assert [path.read_bytes() for path in (place.cache / ".quarantine").iterdir()] == [b"goo"]


def test_blobs_of_dvc_2(place: Place) -> None:
    """Their md5 is of the text with CRLF turned into LF, and they lie at ab/cdef."""
    oid = oid_of("a\nb\n")
    spoil(place.store / oid[:2] / oid[2:], b"a\r\nb\r\n")
    assert dvc.exists(place.top, "", [oid]) == {oid: 6}
    assert dvc.download(place.top, "", [(oid, None)], str(place.cache)) == ([oid], {})
    assert (place.cache / oid[:2] / oid[2:]).read_bytes() == b"a\r\nb\r\n"
    (place.store / oid[:2] / oid[2:]).unlink()
    assert dvc.upload(place.top, "", [(oid, None)], str(place.cache)) == ([oid], {})
    assert (place.store / oid[:2] / oid[2:]).read_bytes() == b"a\r\nb\r\n"


def test_a_store_that_is_not_there_is_not_made(place: Place) -> None:
    place.write("data.csv", "a\n")
    place.store.rmdir()
    with dvc.session(place.top) as session:
        session.add(["data.csv"])
        with pytest.raises(StoreError) as caught:
            session.push(["data.csv.dvc"])
        assert caught.value.code == "remote-missing"
        assert not place.store.exists()
        dvc.probe(place.top, "", create=True)
        assert session.push(["data.csv.dvc"])[1] == []


@pytest.mark.parametrize(
    ("url", "code", "hint"),
    [
        ("s3://bucket/x", "remote-extra-missing", 'pip install "mlrepro[s3]"'),
        ("ssh://me:secret@host/x", "remote-extra-missing", 'pip install "mlrepro[ssh]"'),
        ("http://127.0.0.1:9/x", "remote-unreachable", "Check the network, then run this again"),
    ],
)
def test_stores_that_cannot_be_used(
    place: Place, monkeypatch: pytest.MonkeyPatch, url: str, code: str, hint: str
) -> None:
    pytest.importorskip("dvc_http")
    if code == "remote-extra-missing":
        monkeypatch.setitem(sys.modules, f"dvc_{url.partition(':')[0]}", None)
    place.remote(url)
    with pytest.raises(StoreError) as caught:
        dvc.exists(place.top, "", [oid_of("x")])
    assert (caught.value.code, caught.value.hint) == (code, hint)
    assert "secret" not in str(caught.value)


def test_no_remote_and_an_unknown_one(place: Place) -> None:
    with pytest.raises(StoreError) as caught:
        dvc.exists(place.top, "other", [])
    assert caught.value.code == "no-remote"
    place.write(".dvc/config", "")
    with pytest.raises(StoreError) as caught:
        dvc.exists(place.top, "", [])
    assert (caught.value.code, caught.value.hint) == ("no-remote", "mlrepro remote set URL")


def test_nobody_is_asked_for_a_password(place: Place) -> None:
    pytest.importorskip("dvc_http")
    asking = "\n    auth = basic\n    user = me\n    ask_password = true"
    place.remote("http://127.0.0.1:9/x" + asking)
    with pytest.raises(StoreError) as caught:
        dvc.exists(place.top, "", [])
    assert caught.value.code == "remote-asks"
    from mlrepro.dvc.inprocess import calling

    with pytest.raises(StoreError) as caught, calling():
        getpass.getpass()
    assert caught.value.code == "remote-asks"


class Web(BaseHTTPRequestHandler):
    """A store on plain HTTP; ``failing`` is a status that it answers everything with."""

    blobs: ClassVar[dict[str, bytes]]
    failing: ClassVar[int] = 0

    def do_GET(self) -> None:
        data = self.blobs.get(self.path)
        if self.failing or data is None:
            self.send_error(self.failing or 404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        if not self.failing:
            self.blobs[self.path] = data
        self.send_response(self.failing or 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web(place: Place) -> Iterator[type[Web]]:
    pytest.importorskip("dvc_http")
    handler = type("OwnWeb", (Web,), {"blobs": {}, "failing": 0})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        place.remote(f"http://127.0.0.1:{server.server_address[1]}/store")
        yield handler
        server.shutdown()
        thread.join()


class Meter(Reporter):
    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []
        self.bytes = 0

    def begin(self, label: str, total: int) -> None:
        self.told.append((label, total))

    def advance(self, count: int) -> None:
        self.bytes += count


def test_a_network_store(place: Place, web: type[Web]) -> None:
    place.write("folder/one.txt", "1" * 100_000)
    two = "2\n"
    place.write("folder/two.txt", two)
    meter = Meter()
    with dvc.session(place.top) as session:
        (item,), _ = session.add(["folder"])
        sent, errors = session.push([item.pointer], reporter=meter)
        assert errors == [] and len(sent) == 3
        assert meter.told == [("upload", meter.bytes)]
        assert web.blobs[f"/{blob(Path('store'), oid_of(two))}"] == two.encode()
        dvc.probe(place.top, "")
        assert dvc.exists(place.top, "", [oid_of("2\n"), oid_of("3\n")]) == {oid_of(two): 2}
        for path in sorted(place.cache.glob("files/md5/*/*")):
            path.unlink()
        assert session.fetch([item.pointer]) == ([item.oid], [])
        assert session.checkout([item.pointer]) == (["folder"], [])


@pytest.mark.parametrize(
    ("status", "code"), [(403, "remote-forbidden"), (503, "remote-unreachable")]
)
def test_a_network_store_that_refuses(place: Place, web: type[Web], status: int, code: str) -> None:
    place.write("data.csv", "a\n")
    with dvc.session(place.top) as session:
        session.add(["data.csv"])
        web.failing = status
        wanted = [(oid_of("a\n"), 2)]
        with pytest.raises(StoreError) as caught:
            dvc.upload(place.top, "", wanted, str(place.cache))
        assert caught.value.code == code
        _, failed = dvc.download(place.top, "", [(oid_of("b\n"), 2)], str(place.cache))
        assert codes(list(failed.values())) == [code]
    assert web.blobs == {}
