"""What the hook lets pass as it is, what it refuses, and that a refusal changes nothing."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from building import blob_path, read_file_tree
from hooked import DATA, FIRST, MOSTLY_PLAIN, POINTER, Hooked, pointer_text
from mlrepro import index

LARGE = 5_000_001  # bytes; one more than the default limit
NOWHERE = "0123456789abcdef" * 2


def test_missing_data_is_no_change(hooked: Hooked) -> None:
    before = hooked.read(POINTER)
    hooked.path(DATA).unlink()
    hooked.stage()
    hooked.commits("-m", "readme")
    assert hooked.read(POINTER) == before
    assert hooked.changed_in() == ["README.md"]
    assert hooked.status == ""


@pytest.mark.parametrize("hooked", MOSTLY_PLAIN, indirect=True)
def test_conflict_markers_in_a_pointer(hooked: Hooked) -> None:
    ours, theirs = (pointer_text(oid * 32, 9, "x.csv") for oid in "ab")
    hooked.stage(POINTER, f"<<<<<<< HEAD\n{ours}=======\n{theirs}>>>>>>> theirs\n")
    said = hooked.refused("-m", "markers")
    assert POINTER in said and f"mlrepro resolve --ours {DATA}" in said
    assert hooked.read(DATA) == FIRST.encode()
    hooked.write(POINTER, hooked.git("show", f"HEAD:{POINTER}").stdout)
    hooked.git("add", POINTER)
    hooked.stage()
    hooked.commits("-m", "resolved")
    assert hooked.is_good(), hooked.explain()


@pytest.mark.parametrize("hooked", MOSTLY_PLAIN, indirect=True)
def test_a_large_file_does_not_go_into_git(hooked: Hooked) -> None:
    hooked.write("data/big.bin", b"\0" * LARGE)
    hooked.git("add", "data/big.bin")
    said = hooked.refused("-m", "big")
    assert "data/big.bin" in said and f"{LARGE:,}" in said
    assert "git rm --cached data/big.bin && mlrepro track data/big.bin" in said
    hooked.git("rm", "--quiet", "--cached", "data/big.bin")
    assert hooked.mlrepro("track", "data/big.bin").exit_code == 0
    hooked.commits("-m", "tracked")
    assert hooked.is_good("data/big.bin")


@pytest.mark.parametrize("hooked", MOSTLY_PLAIN, indirect=True)
def test_tracked_data_does_not_go_into_git(hooked: Hooked) -> None:
    hooked.git("add", "--force", DATA)
    said = hooked.refused("-m", "raw")
    assert DATA in said and POINTER in said and f"git rm -r --cached {DATA}" in said
    hooked.git("rm", "--quiet", "-r", "--cached", DATA)
    hooked.stage()
    hooked.commits("-m", "readme")
    assert hooked.is_good(), hooked.explain()


@pytest.mark.parametrize("hooked", MOSTLY_PLAIN, indirect=True)
def test_a_pointer_whose_blob_is_nowhere(hooked: Hooked) -> None:
    """Where the data is not here either, nothing can make that commit right."""
    hooked.write("data/lost.csv.dvc", pointer_text(NOWHERE, 9, "lost.csv"))
    hooked.git("add", "data/lost.csv.dvc")
    said = hooked.refused("-m", "lost")
    assert "data/lost.csv" in said and NOWHERE in said
    hooked.git("rm", "--quiet", "--cached", "data/lost.csv.dvc")
    hooked.path("data/lost.csv.dvc").unlink()
    hooked.stage()
    hooked.commits("-m", "readme")


@pytest.mark.parametrize("hooked", MOSTLY_PLAIN, indirect=True)
def test_a_secret_in_the_tracked_config(hooked: Hooked) -> None:
    before = hooked.read(".dvc/config")
    hooked.stage(".dvc/config", before.decode() + "['remote \"s\"']\n    password = hunter2\n")
    said = hooked.refused("-m", "secret")
    assert "password" in said and ".dvc/config.local" in said and "hunter2" not in said
    assert "revoke" in said and "docs/secrets.md" in said
    hooked.stage(".dvc/config", before.decode())
    hooked.stage()
    hooked.commits("-m", "readme")


def test_a_moved_pointer_is_not_made_again(hooked: Hooked) -> None:
    hooked.git("mv", POINTER, "moved.csv.dvc")
    hooked.commits("-m", "moved")
    assert not hooked.path(POINTER).exists()
    assert hooked.changed_in() == [POINTER, "moved.csv.dvc"]


def test_a_removed_pointer_is_not_made_again(hooked: Hooked) -> None:
    hooked.git("rm", "--quiet", POINTER)
    hooked.commits("-m", "removed")
    assert not hooked.path(POINTER).exists()
    assert hooked.changed_in() == [POINTER]
    assert hooked.read(DATA) == FIRST.encode()


def test_a_store_that_is_away(hooked: Hooked) -> None:
    """Nothing has changed after the refusal; where the store is back, the commit is good."""
    hooked.stage("README.md", "settled\n")
    hooked.commits("-m", "settled")
    hooked.edit()
    hooked.stage()
    away = hooked.store.rename(hooked.root.parent / "unmounted")
    before = read_file_tree(hooked.root)
    said = hooked.refused("-m", "readme")
    assert str(hooked.store) in said and "mount" in said
    assert read_file_tree(hooked.root) == before
    assert hooked.oid(POINTER, ":0") == hooked.oid(POINTER, "HEAD")
    away.rename(hooked.store)
    hooked.commits("-m", "readme")
    assert hooked.is_good(), hooked.explain()


def test_a_store_that_cannot_be_written_to(plain: Hooked) -> None:
    """A file where a folder belongs: what a full or a read-only disk does, for root as well."""
    oid = plain.edit()
    plain.stage()
    with contextlib.suppress(FileNotFoundError):
        plain.path(f"stores/blob/files/md5/{oid[:2]}").rmdir()
    plain.write(f"stores/blob/files/md5/{oid[:2]}", "in the way")
    before = plain.read(POINTER)
    plain.refused("-m", "readme")
    assert plain.read(POINTER) == before
    assert plain.oid(POINTER, ":0") == plain.oid(POINTER, "HEAD")
    plain.path(f"stores/blob/files/md5/{oid[:2]}").unlink()
    plain.commits("-m", "readme")
    assert plain.is_good(), plain.explain()


RECORDS = {
    "empty": b"",
    "not a record": b"\0" * 400,
    "of a future version": b"mlrepro index 2\n00000000\nnobody knows what",
}


@pytest.mark.parametrize("kind", [*RECORDS, "one bit wrong", "cut short"])
def test_a_record_that_cannot_be_read(plain: Hooked, kind: str) -> None:
    _break_record(plain, kind)
    plain.edit()
    plain.stage()
    plain.commits("-m", "readme")
    assert plain.is_good(), plain.explain()


def test_a_record_that_is_damaged(hooked: Hooked) -> None:
    _break_record(hooked, "one bit wrong")
    hooked.edit()
    hooked.stage()
    hooked.commits("-m", "readme")
    assert hooked.is_good(), hooked.explain()


def _break_record(repo: Hooked, kind: str) -> None:
    record = repo.state / "index"
    data = record.read_bytes()
    if kind == "one bit wrong":
        middle = len(data) // 2
        record.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    else:
        record.write_bytes(RECORDS.get(kind, data[:-9]))


def test_one_bad_pointer_does_not_stop_the_others(plain: Hooked) -> None:
    """One that was committed before is told of; one that this commit brings is refused."""
    plain.write("data/bad.csv.dvc", "outs:\n- md5: ../../etc\n  path: bad.csv\n")
    plain.git("add", "data/bad.csv.dvc")
    said = plain.refused("-m", "bad")
    assert "data/bad.csv.dvc" in said
    plain.unhooked("commit", "--quiet", "-m", "without the hook")
    plain.edit()
    plain.stage()
    said = plain.commits("-m", "readme").stderr
    assert "data/bad.csv.dvc" in said
    assert plain.is_good(), plain.explain()


def test_a_blob_that_only_the_worktree_has_is_stored(plain: Hooked) -> None:
    """As after a plain ``dvc add`` whose cache was lost: the data is here, so nothing is lost."""
    oid = plain.md5(DATA)
    for folder in (plain.store, plain.path(".dvc/cache")):
        blob_path(folder, oid).unlink()
    plain.stage()
    plain.commits("-m", "readme")
    assert plain.is_good(), plain.explain()


def test_a_raised_limit_is_respected(plain: Hooked) -> None:
    config = plain.path("config/config.py")
    config.write_text(config.read_text() + "MAX_GIT_FILE_BYTES = 6_000_000\n")
    plain.write("big.bin", b"\0" * LARGE)
    plain.git("add", "big.bin", "config/config.py")
    plain.commits("-m", "big")
    plain.stage()
    assert "mlrepro" not in plain.commits("-m", "readme").stderr


class _Shelf(http.server.BaseHTTPRequestHandler):
    """A store on the network: keeps what is PUT."""

    protocol_version = "HTTP/1.1"
    blobs: dict[str, bytes]

    def do_PUT(self) -> None:
        body = b""
        while size := int(self.rfile.readline(), 16):  # sent in chunks
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        self.blobs[self.path] = body
        self._answer(201, 0)

    def do_HEAD(self) -> None:
        self._answer(200 if self.path in self.blobs else 404, len(self._body()))

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(self._body())

    def _body(self) -> bytes:
        return self.blobs.get(self.path, b"")

    def _answer(self, code: int, length: int) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def shelf() -> Iterator[http.server.ThreadingHTTPServer]:
    handler = type("Shelf", (_Shelf,), {"blobs": {}})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        yield server


def test_a_network_store_out_of_reach(
    plain: Hooked, shelf: http.server.ThreadingHTTPServer, tmp_path: Path
) -> None:
    """The commit passes, with a warning; the push is refused until the content is stored."""
    url = f"http://127.0.0.1:{shelf.server_address[1]}/store"
    local = f"['remote \"storage\"']\n    url = {url}\n    method = PUT\n"
    plain.git("init", "--quiet", "--bare", str(tmp_path / "origin.git"))
    plain.git("remote", "add", "origin", str(tmp_path / "origin.git"))
    plain.write(".dvc/config.local", local)
    shelf.socket.close()
    plain.edit()
    plain.stage()
    said = plain.commits("-m", "readme").stderr
    oid = plain.md5(DATA)
    assert "owed" in said, said
    assert blob_path(plain.path(".dvc/cache"), oid).is_file()
    plain.stage(content="again\n")
    assert "cannot be reached" in plain.commits("-m", "again").stderr  # it was tried once more
    assert not index.load(str(plain.state)).entries[DATA].stored
    pushed = plain.git("push", "origin", "main", check=False)
    assert pushed.returncode == 1 and oid in pushed.stderr, pushed.stderr
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), shelf.RequestHandlerClass) as there:
        thread = threading.Thread(target=there.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        port = str(there.server_address[1])
        plain.write(".dvc/config.local", local.replace(str(shelf.server_address[1]), port))
        plain.git("push", "--quiet", "origin", "main")
        there.shutdown()
        thread.join()
    kept = shelf.RequestHandlerClass.blobs
    assert kept[f"/store/files/md5/{oid[:2]}/{oid[2:]}"] == plain.read(DATA)


def test_a_new_pointer_to_what_another_pointer_has_lost(plain: Hooked) -> None:
    """That the last commit names the content already makes it no less lost."""
    plain.path(DATA).unlink()
    for place in (plain.store, plain.path(".dvc/cache")):
        blob_path(place, plain.oid(POINTER, "HEAD")).unlink()
    text = plain.read(POINTER).decode().replace("path: x.csv", "path: z.csv")
    plain.write("data/z.csv.dvc", text)
    plain.git("add", "-f", "data/z.csv.dvc")
    done = plain.commit_with("-m", "a copy")
    assert done.exit_code == 1 and "data/z.csv" in done.stderr, done.stderr
