"""Any web server that hands out a store's folder is a store to read from."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from far import use
from mlrepro import debts
from working import Work, cloned, made, oid_of

pytestmark = pytest.mark.slow


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def work(tmp_path: Path) -> Work:
    """A file and a folder, in a store that is a folder."""
    pytest.importorskip("dvc_http")
    work = made(tmp_path / "repo")
    work.write("big.bin", os.urandom(17 << 20))
    work.write("data/one.csv", "1\n")
    work.write("data/two.csv", "2\n")
    assert work.track("big.bin", "data").errors == ()
    work.save()
    return work


@pytest.fixture
def reader(work: Work, tmp_path: Path) -> Iterator[Work]:
    """A clone that has it by HTTP."""
    root = str(work.store)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=root)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        clone = cloned(work, tmp_path / "clone")
        use(clone, {"url": f"http://127.0.0.1:{server.server_address[1]}"})
        yield clone
        server.shutdown()
        thread.join()


def test_a_store_to_read_from(work: Work, reader: Work) -> None:
    assert reader.pull().errors == ()
    assert reader.read("big.bin") == work.read("big.bin")
    assert reader.read("data/two.csv") == b"2\n"
    run = reader.mlrepro("verify", "--deep")
    assert run.exit_code == 0, run
    reader.write("data/one.csv", "changed\n")
    reader.track("data")
    assert oid_of("changed\n") in debts.owed(reader.project())
    (error,) = reader.push().errors[:1]
    assert error.code.startswith("remote-") and error.hint


def test_what_is_damaged_there_is_not_installed(work: Work, reader: Work) -> None:
    oid = oid_of("2\n")
    blob = work.store / "files" / "md5" / oid[:2] / oid[2:]
    blob.chmod(0o644)
    blob.write_bytes(b"3\n")
    assert reader.pull().errors != ()
    assert not (reader.root / "data" / "two.csv").exists()
    assert reader.read("big.bin") == work.read("big.bin")


class Taking(Quiet):
    """It takes files as well, but has no way to move or to remove one."""

    def do_PUT(self) -> None:
        path = Path(self.translate_path(self.path))
        path.parent.mkdir(parents=True, exist_ok=True)
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            data = self.rfile.read(int(self.headers["Content-Length"]))
        path.write_bytes(data)
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[tuple[Work, Path]]:
    """A repository whose store is such a server, and the folder that it keeps files in."""
    pytest.importorskip("dvc_http")
    root = tmp_path / "served"
    root.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Taking, directory=str(root))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        work = made(tmp_path / "repo")
        use(work, {"url": f"http://127.0.0.1:{server.server_address[1]}", "method": "PUT"})
        yield work, root
        server.shutdown()
        thread.join()


def test_a_store_that_cannot_remove_is_tried_out_without(writer: tuple[Work, Path]) -> None:
    """What was put there to try it stays, and that is not said to be done."""
    work, root = writer
    run = work.mlrepro("remote", "test", "--json")
    assert run.exit_code == 0, run
    assert "write" in run.stdout and "read" in run.stdout and "remove" not in run.stdout
    assert [path for path in root.rglob("*") if path.is_file()]


def test_a_bad_blob_that_cannot_be_moved_is_replaced(writer: tuple[Work, Path]) -> None:
    work, root = writer
    work.write("x.csv", "12\n")
    oid = oid_of("12\n")
    blob = root / "files" / "md5" / oid[:2] / oid[2:]
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"damaged")
    done = work.track("x.csv")
    assert (done.errors, done.notes) == ((), ())
    assert blob.read_bytes() == b"12\n" and debts.owed(work.project()) == []
    assert [path for path in root.rglob("*") if path.is_file()] == [blob]
