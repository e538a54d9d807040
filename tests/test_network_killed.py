"""What a kill leaves on servers with folders, SSH and WebDAV: nothing under a blob's name, and
nothing for ever.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import proxying
import servers
from building import PATIENCE
from far import is_proven, killed, killed_at, use
from mlrepro.dvc import begun
from proxying import Proxy, Relay
from working import Work, made, oid_of

pytestmark = pytest.mark.slow
MIB = 1 << 20


class Held:
    """Holds the requests of a method to a path with this in it; at last they are dropped."""

    def __init__(self, proxy: Proxy, method: str, part: str) -> None:
        self.reached, self.over = threading.Event(), threading.Event()
        self._method, self._part = method, part
        proxy.fault = self

    def __call__(self, method: str, path: str) -> str:
        if method != self._method or self._part not in path or self.over.is_set():
            return ""
        self.reached.set()
        self.over.wait(PATIENCE)
        return proxying.DROP


class Dav:
    """A folder on a WebDAV server, asked through a proxy, and looked at past it."""

    def __init__(self, s3: servers.S3, url: str, proxy: Proxy) -> None:
        self.s3, self.name, self.proxy = s3, url.rpartition("/")[2], proxy
        self.url = f"webdav{proxy.url.removeprefix('http')}/{self.name}"

    def files(self, folder: str) -> list[str]:
        """The names of all files below a folder."""
        answer = self.s3.ask("GET", f"/{self.name}/{folder}?limit=1000")
        found = []
        for entry in json.loads(answer)["Entries"] or []:
            name = entry["FullPath"].rpartition("/")[2]
            is_folder = entry["Mode"] & (1 << 31)  # as Go marks one
            found += self.files(f"{folder}{name}/") if is_folder else [name]
        return found


@pytest.fixture
def dav(s3: servers.S3, webdav: str) -> Iterator[Dav]:
    with Proxy(s3.webdav) as proxy:
        yield Dav(s3, webdav, proxy)


@pytest.fixture
def relay(ssh: servers.Ssh) -> Iterator[Relay]:
    with Relay(ssh.port) as one:
        yield one


def names(place: Path) -> list[str]:
    return sorted(path.name for path in place.rglob("*") if path.is_file())


def test_webdav_between_the_upload_and_its_name(dav: Dav, tmp_path: Path) -> None:
    work = made(tmp_path / "repo")
    use(work, {"url": dav.url})
    work.write("data.bin", "some bytes\n")
    held = Held(dav.proxy, "MOVE", "")
    killed_at(work, dav.proxy, held, "track", "data.bin")
    left = dav.files(".mlrepro/tmp/")
    assert dav.files("files/") == [] and len(left) == 1
    assert work.track("data.bin").errors == ()
    assert dav.files("files/") == [oid_of("some bytes\n")[2:]]
    assert dav.files(".mlrepro/tmp/") == left  # it may be another's, that is under way
    assert is_proven(work)


def test_webdav_in_the_middle_of_many(
    dav: Dav, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = made(tmp_path / "repo")
    use(work, {"url": dav.url})
    for number in range(24):
        work.write(f"folder/{number}", f"{number}\n")
    asked: list[str] = []
    held = Held(dav.proxy, "MOVE", "")

    def after_some(method: str, path: str) -> str:
        asked.append(method)
        return held(method, path) if asked.count("MOVE") > 10 else ""

    dav.proxy.fault = after_some
    killed_at(work, dav.proxy, held, "track", "folder")
    left = len(dav.files(".mlrepro/tmp/"))
    assert left and len(dav.files("files/")) + left <= 24
    monkeypatch.setattr(begun, "KEPT_S", -3600.0)  # as if a week had gone by
    assert work.track("folder").errors == ()
    assert len(dav.files("files/")) == 25 and dav.files(".mlrepro/tmp/") == []


def test_webdav_while_it_is_tried_out(
    dav: Dav, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = made(tmp_path / "repo")
    use(work, {"url": dav.url})
    held = Held(dav.proxy, "GET", ".mlrepro")
    killed_at(work, dav.proxy, held, "remote", "test")
    left = dav.files(".mlrepro/")
    assert len(left) == 1
    assert work.mlrepro("remote", "test").exit_code == 0
    assert dav.files(".mlrepro/") == left
    monkeypatch.setattr(begun, "KEPT_S", -3600.0)
    work.write("data.bin", "some bytes\n")
    assert work.track("data.bin").errors == ()
    assert dav.files(".mlrepro/") == []


def over(relay: Relay, ssh: servers.Ssh, root: Path) -> tuple[Work, Path]:
    """A repository whose store is a folder that is reached by SSH, and a kill in an upload to it:
    a part of a file is there.
    """
    far = root / "far"
    far.mkdir()
    work = made(root / "repo")
    use(work, servers.Ssh(relay.port, ssh.keyfile, ssh.user).settings(far))
    work.write("data.bin", bytes(range(256)) * (6 * MIB // 256))
    relay.most = 3 * MIB
    killed(work, relay.full, "track", "data.bin")
    relay.cut()
    relay.most = 1 << 62
    return work, far


def test_ssh_in_the_middle_of_a_file(ssh: servers.Ssh, relay: Relay, tmp_path: Path) -> None:
    work, far = over(relay, ssh, tmp_path)
    left = names(far / ".mlrepro" / "tmp")
    assert names(far / "files") == [] and len(left) == 1
    assert work.track("data.bin").errors == ()
    assert names(far / "files") == [oid_of(work.read("data.bin"))[2:]]
    assert names(far / ".mlrepro") == left


@pytest.mark.parametrize("command", ["track", "remote test"])
def test_ssh_what_nobody_comes_back_for(
    ssh: servers.Ssh, relay: Relay, tmp_path: Path, command: str
) -> None:
    """It goes once it is a week old by the server's clock; what is younger may be under way."""
    work, far = over(relay, ssh, tmp_path)
    [left] = (far / ".mlrepro" / "tmp").iterdir()
    young, foreign = (left.with_name(name) for name in ("0123456789abcdef", "notes.txt"))
    for path in (young, foreign):
        path.write_bytes(b"half")
    for days, is_there in ((6, True), (8, False)):
        for path in (left, foreign):
            then = path.stat().st_ctime - days * 24 * 3600
            os.utime(path, (then, then))
        if command == "track":
            work.write("data.bin", f"{days}\n")
            assert work.track("data.bin").errors == ()
        else:
            assert work.mlrepro("remote", "test").exit_code == 0
        assert left.exists() == is_there
    assert young.exists() and foreign.exists()
