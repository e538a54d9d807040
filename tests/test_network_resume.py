"""One large file to a store and back, cut short in its middle: the next run goes on from there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import proxying
import servers
from building import PATIENCE
from far import Far, killed, killed_at, use
from mlrepro.dvc import begun
from proxying import Proxy, Relay
from test_network import far as far, proxy as proxy
from working import Work, cloned, made, oid_of

pytestmark = pytest.mark.slow
MIB = 1 << 20
SIZE, DONE = 60 * MIB, 32 * MIB  # four parts of eight are there when it ends
LITTLE = MIB  # what is asked and answered besides


def kept(work: Work) -> list[str]:
    room = work.root / ".dvc" / "cache" / begun.ROOM
    return sorted(os.listdir(room)) if room.exists() else []


class Middle:
    """Lets four large requests of a method pass, and holds all after them until it is told."""

    def __init__(self, proxy: Proxy, method: str) -> None:
        self.reached, self.over = threading.Event(), threading.Event()
        self._method, self._count, self._guard = method, 0, threading.Lock()
        self._waiting = 0
        proxy.fault = self

    def __call__(self, method: str, path: str) -> str:
        if method != self._method or self.over.is_set():
            return ""
        with self._guard:
            self._count += 1
            if self._count <= 4:
                return ""
            self._waiting += 1
            if self._waiting == 4:
                self.reached.set()
        self.over.wait(PATIENCE)
        return proxying.DROP


def cut_in_a_push(far: Far, proxy: Proxy, content: bytes) -> None:
    far.write("big.bin", content)
    middle = Middle(proxy, "PUT")
    killed_at(far, proxy, middle, "track", "big.bin")
    proxy.passed.clear()


def cut_in_a_pull(far: Far, proxy: Proxy, content: bytes) -> None:
    far.write("big.bin", content)
    assert far.track("big.bin").errors == ()
    far.forget()
    (far.root / "big.bin").unlink()
    middle = Middle(proxy, "GET")
    killed_at(far, proxy, middle, "pull")
    proxy.passed.clear()
    assert not (far.root / "big.bin").exists()


def test_an_upload_goes_on(far: Far, proxy: Proxy) -> None:
    content = os.urandom(SIZE)
    cut_in_a_push(far, proxy, content)
    assert far.stored() == {} and kept(far) != []
    assert far.track("big.bin").errors == ()
    assert SIZE - DONE <= proxy.passed["PUT"] <= SIZE - DONE + LITTLE
    assert far.stored() == {oid_of(content): SIZE} and kept(far) == []
    assert oid_of(far.s3.read(far.bucket, far.key(oid_of(content)))) == oid_of(content)


def test_an_upload_whose_parts_are_gone_begins_anew(far: Far, proxy: Proxy) -> None:
    content = os.urandom(SIZE)
    cut_in_a_push(far, proxy, content)
    far.s3.ask("DELETE", f"/buckets/{far.bucket}/.uploads?recursive=true")
    assert far.track("big.bin").errors == ()
    assert SIZE <= proxy.passed["PUT"] <= SIZE + LITTLE
    assert oid_of(far.s3.read(far.bucket, far.key(oid_of(content)))) == oid_of(content)


def test_a_download_goes_on(far: Far, proxy: Proxy) -> None:
    content = os.urandom(SIZE)
    cut_in_a_pull(far, proxy, content)
    assert kept(far) != []
    assert far.pull().errors == () and far.read("big.bin") == content
    assert SIZE - DONE <= proxy.passed["GET"] <= SIZE - DONE + LITTLE
    assert kept(far) == []


def spoil(far: Far) -> None:
    (name,) = [name for name in kept(far) if name.endswith(".data")]
    with (far.root / ".dvc" / "cache" / begun.ROOM / name).open("r+b") as file:
        file.write(b"spoilt")


def shorten(far: Far) -> None:
    (name,) = [name for name in kept(far) if name.endswith(".data")]
    os.truncate(far.root / ".dvc" / "cache" / begun.ROOM / name, 9 * MIB)


def tear_the_note(far: Far) -> None:
    (name,) = [name for name in kept(far) if name.endswith(".note")]
    path = far.root / ".dvc" / "cache" / begun.ROOM / name
    path.write_bytes(path.read_bytes()[:-2])


@pytest.mark.parametrize(
    ("harm", "fetched"),
    [(spoil, 2 * SIZE - DONE), (shorten, SIZE - 8 * MIB), (tear_the_note, SIZE - 24 * MIB)],
)
def test_what_is_kept_of_a_download_is_not_believed(
    far: Far, proxy: Proxy, harm: Callable[[Far], None], fetched: int
) -> None:
    content = os.urandom(SIZE)
    cut_in_a_pull(far, proxy, content)
    harm(far)
    assert far.pull().errors == () and far.read("big.bin") == content
    assert proxy.passed["GET"] <= fetched + LITTLE
    assert kept(far) == []


def test_another_version_of_the_object_begins_anew(far: Far, proxy: Proxy) -> None:
    content = os.urandom(SIZE)
    cut_in_a_pull(far, proxy, content)
    far.s3.write(far.bucket, far.key(oid_of(content)), content)  # in one part, with another mark
    assert far.pull().errors == () and far.read("big.bin") == content
    assert SIZE <= proxy.passed["GET"] <= SIZE + LITTLE


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("PUT", proxying.SLOW_DOWN), ("PUT", proxying.LOSE), ("POST", proxying.LOSE),
        ("POST", proxying.DROP), ("GET", proxying.TRUNCATE), ("GET", proxying.CUT),
    ],
)  # fmt: skip
def test_faults_of_single_parts(far: Far, proxy: Proxy, method: str, kind: str) -> None:
    """The part is sent or asked for again, and the end is as if nothing had been."""
    content = os.urandom(20 * MIB)
    far.write("big.bin", content)
    proxy.fault = proxying.first(3, kind, method)
    assert far.track("big.bin").errors == ()
    assert far.stored() == {oid_of(content): len(content)}
    far.forget()
    (far.root / "big.bin").unlink()
    if method == "GET":
        proxy.fault = proxying.first(2, kind, method)
    done = far.pull()
    if done.errors:  # a part that is too short is not tried again, but in the next run
        assert kind == proxying.TRUNCATE and not (far.root / "big.bin").exists()
        assert far.pull().errors == ()
    assert far.read("big.bin") == content and kept(far) == []


def test_a_part_that_was_altered_is_not_installed(far: Far, proxy: Proxy) -> None:
    content = os.urandom(20 * MIB)
    far.write("big.bin", content)
    assert far.track("big.bin").errors == ()
    far.forget()
    (far.root / "big.bin").unlink()
    proxy.fault = proxying.first(1, proxying.ALTER, "GET", "files/md5")
    assert far.pull().errors != () and not (far.root / "big.bin").exists()
    assert far.pull().errors == () and far.read("big.bin") == content
    assert kept(far) == []


@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_an_interrupt_while_nothing_is_answered(far: Far, proxy: Proxy, method: str) -> None:
    """It is heard at once, though the server may stay silent for an hour; the next run goes on."""
    far.ask_at(proxy.url, read_timeout="3600")
    content = os.urandom(SIZE)
    names = ["big.bin", "other.bin"]
    far.write(names[0], content)
    far.write(names[1], content[::-1])
    argv = ["track", *names]
    if method == "GET":
        assert far.track(*names).errors == ()
        far.forget()
        for name in names:
            (far.root / name).unlink()
        argv = ["pull"]
    middle = Middle(proxy, method)
    command = [sys.executable, "-m", "mlrepro", "-q", *argv]
    running = subprocess.Popen(command, cwd=far.root, start_new_session=True)
    assert middle.reached.wait(PATIENCE)
    running.send_signal(signal.SIGINT)
    assert running.wait(PATIENCE) == 130
    middle.over.set()
    assert (far.track(*names) if method == "PUT" else far.pull()).errors == ()
    assert len(far.stored()) == 2 and kept(far) == []
    assert far.read("big.bin") == content


@pytest.fixture
def relay(ssh: servers.Ssh) -> Iterator[Relay]:
    with Relay(ssh.port) as one:
        yield one


def test_over_ssh(ssh: servers.Ssh, relay: Relay, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    near = servers.Ssh(relay.port, ssh.keyfile, ssh.user).settings(tmp_path / "far")
    work = made(tmp_path / "repo")
    use(work, near)
    content = os.urandom(SIZE)
    work.write("big.bin", content)
    relay.most = 45 * MIB
    killed(work, relay.full, "track", "big.bin")
    relay.cut()
    relay.passed, relay.most = 0, 1 << 62
    relay.full.clear()
    assert work.track("big.bin").errors == ()
    assert relay.passed <= SIZE - 24 * MIB
    blob = tmp_path / "far" / "files" / "md5" / oid_of(content)[:2] / oid_of(content)[2:]
    assert blob.read_bytes() == content
    work.save()
    clone = cloned(work, tmp_path / "clone")
    use(clone, near)
    relay.passed, relay.most = 0, 45 * MIB
    killed(clone, relay.full, "pull")
    relay.cut()
    relay.passed, relay.most = 0, 1 << 62
    assert clone.pull().errors == () and clone.read("big.bin") == content
    assert relay.passed <= SIZE - 16 * MIB
    assert kept(work) == kept(clone) == []
