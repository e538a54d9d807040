"""Commands on disks that are full, read-only, slow, gone, or fail: said, nothing harmed, resumed.

What is tried by having single system calls fail is in failing_commands.py, a program of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import disks
import servers
from far import Far
from mlrepro.errors import StoreError
from working import Work, cloned, made, snapshot

HERE = Path(__file__).parent
COMMANDS = ("track", "commit", "push", "pull", "restore", "repair")
TOPIC = "Disk trouble"
Record = Callable[[str, object], None]

WAYS = {
    "once": "{}: {} at one call",
    "since": "{}: {} from one call on",
    "slow": "{}: a slow disk",
}


def _fail(folder: Path, record: Record, way: str, stride: int, *commands: str) -> int:
    program = [sys.executable, str(HERE / "failing_commands.py"), str(folder), way, str(stride)]
    done = subprocess.run([*program, *commands], capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    total = 0
    for line in done.stdout.splitlines():
        command, error, count = line.split()
        record("tried", [TOPIC, WAYS[way].format(command, error), int(count)])
        total += int(count)
    return total


def test_calls_that_fail_now_and_then(tmp_path: Path, record_property: Record) -> None:
    assert _fail(tmp_path, record_property, "once", 70, "track") >= 1


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_each_call_fails(in_memory: Path, record_property: Record, command: str) -> None:
    assert _fail(in_memory, record_property, "once", 1, command) >= 20


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_all_calls_fail_from_one_on(tmp_path: Path, record_property: Record, command: str) -> None:
    assert _fail(tmp_path, record_property, "since", 7, command) >= 3


@pytest.mark.slow
def test_a_slow_disk(tmp_path: Path, record_property: Record) -> None:
    assert _fail(tmp_path, record_property, "slow", 1, *COMMANDS) == len(COMMANDS)


def _big(work: Work, mebibytes: int = 3) -> bytes:
    data = os.urandom(mebibytes << 20)
    work.write("data/big.bin", data)
    return data


def _refused_for_space(call: Callable[[], object], work: Work, place: Path) -> None:
    """Too little space is told before any work: how much there is, how much is needed."""
    before = snapshot(work.root)
    with pytest.raises(StoreError) as caught:
        call()
    error = caught.value
    assert error.code in ("store-full", "disk-full") and str(place) in error.message
    numbers = [
        int(word.strip(";.")) for word in error.message.split() if word.strip(";.").isdigit()
    ]
    assert len(numbers) == 2 and max(numbers) >= 3 << 20 and min(numbers) < 3 << 20
    after = snapshot(work.root)
    changed = [name for name in {*before, *after} if before.get(name) != after.get(name)]
    assert not [name for name in changed if not name.startswith((".dvc/", ".git/mlrepro"))], changed


def test_a_full_store(tmp_path: Path, record_property: Record) -> None:
    with disks.small(tmp_path / "disk", 2) as disk:
        work = made(tmp_path / "repo", store=str(disk / "store"))
        data = _big(work)
        _refused_for_space(lambda: work.track("data/big.bin"), work, disk)
        assert work.staged == set() and work.read("data/big.bin") == data
        disks.resize(disk, 16)
        assert not work.track("data/big.bin").errors
        assert work.states() == {"data/big.bin": "unchanged"}
        record_property("tried", [TOPIC, "track: a full store, then space", 1])


def test_a_full_store_at_push(tmp_path: Path, record_property: Record) -> None:
    with disks.small(tmp_path / "disk", 16) as disk:
        work = made(tmp_path / "repo", store=str(disk / "store"))
        _big(work)
        work.track("data/big.bin")
        for path in (disk / "store").glob("files/md5/??/*"):
            path.unlink()
        (disk / "filler").write_bytes(b"x" * (14 << 20))
        _refused_for_space(work.push, work, disk)
        (disk / "filler").unlink()
        assert work.push().stored.count == 1
        record_property("tried", [TOPIC, "push: a full store, then space", 1])


def test_a_full_cache(tmp_path: Path, record_property: Record) -> None:
    """The worktree and its cache are on one disk, the store on another."""
    with disks.small(tmp_path / "disk", 5) as disk:
        work = made(disk / "repo", store=str(tmp_path / "store"))
        _big(work)
        _refused_for_space(lambda: work.track("data/big.bin"), work, disk)
        assert work.staged == set()
        disks.resize(disk, 16)
        assert not work.track("data/big.bin").errors
        record_property("tried", [TOPIC, "track: a full cache, then space", 1])


def test_a_full_worktree(tmp_path: Path, record_property: Record) -> None:
    work = made(tmp_path / "repo", store=str(tmp_path / "store"))
    work.write("data/small.csv", "id\n1\n")
    data = _big(work)
    work.track("data/big.bin", "data/small.csv")
    work.save()
    with disks.small(tmp_path / "disk", 2) as disk:
        clone = cloned(work, disk / "clone")
        _refused_for_space(clone.pull, clone, disk)
        assert not clone.path("data/big.bin").exists()
        assert clone.pull("data/small.csv").restored == ("data/small.csv",)
        disks.resize(disk, 16)
        assert clone.pull().restored == ("data/big.bin",)
        assert clone.read("data/big.bin") == data
        record_property("tried", [TOPIC, "pull: a full worktree, then space", 1])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_full_disk_for_what_is_far(
    tmp_path: Path, s3: servers.S3, bucket: str, kind: str, record_property: Record
) -> None:
    """Nothing is downloaded that there is no room for: in the cache, or then in the worktree."""
    work = Far.at(tmp_path / "repo", s3, bucket)
    data = _big(work)
    name = "data/big.bin" if kind == "file" else "data"
    assert work.track(name).exit_code == 0
    work.save()
    listing = 0 if kind == "file" else 1
    with disks.small(tmp_path / "disk", 2) as disk:
        clone = work.cloned(disk / "clone")
        for mebibytes in (2, 5):  # room for neither, for one of them
            disks.resize(disk, mebibytes)
            with pytest.raises(StoreError, match="bytes are needed") as caught:
                clone.pull()
            assert caught.value.code == "disk-full"
            assert len(list(clone.path(".dvc/cache").glob("files/md5/??/*"))) == listing
        disks.resize(disk, 16)
        assert clone.pull().restored == (name,)
        assert clone.read("data/big.bin") == data
    record_property("tried", [TOPIC, "pull from afar: a full disk, then space", 2])


def test_a_store_that_is_read_only_for_a_while(tmp_path: Path, record_property: Record) -> None:
    with disks.small(tmp_path / "disk", 16) as disk:
        work = made(tmp_path / "repo", store=str(disk / "store"))
        work.write("data/x.csv", "one\n")
        work.track("data/x.csv")
        work.save()
        disks.allow_writing(disk, False)
        work.write("data/x.csv", "two\n")
        with pytest.raises(StoreError) as caught:
            work.track()
        assert caught.value.code == "store-read-only" and work.staged == set()
        work.git("checkout", "--quiet", "--", ".")
        work.path("data/x.csv").unlink()
        work.forget()
        assert work.pull().restored == ("data/x.csv",) and work.read("data/x.csv") == b"one\n"
        work.write("data/x.csv", "two\n")
        disks.allow_writing(disk, True)
        assert not work.track().errors and work.staged == {"data/x.csv.dvc"}
        record_property("tried", [TOPIC, "track, pull: a read-only store, then writable", 1])


def test_a_store_whose_disk_is_not_mounted(tmp_path: Path, record_property: Record) -> None:
    (tmp_path / "real").mkdir()
    mount = tmp_path / "mount"
    mount.mkdir()
    disks.bring_back(mount, tmp_path / "real")
    try:
        work = made(tmp_path / "repo", store=str(mount))
        work.write("data/x.csv", "one\n")
        work.track("data/x.csv")
        work.save()
    finally:
        disks.take_away(mount)
    work.write("data/x.csv", "two\n")
    for call in (work.track, work.push):
        with pytest.raises(StoreError) as caught:
            call()
        assert caught.value.code == "store-emptied" and "mount" in caught.value.hint
    done = work.mlrepro("--json", "verify")
    assert done.exit_code == 1 and done.json["errors"][0]["code"] == "store-emptied"
    assert os.listdir(mount) == [] and work.staged == set()
    disks.bring_back(mount, tmp_path / "real")
    try:
        assert not work.track().errors and work.staged == {"data/x.csv.dvc"}
    finally:
        disks.take_away(mount)
    record_property("tried", [TOPIC, "track, push, verify: a store that is not mounted", 3])


def test_a_limit_on_the_size_of_files(tmp_path: Path, record_property: Record) -> None:
    """As a quota has it, where nothing may be mounted."""
    work = made(tmp_path / "repo")
    data = _big(work)
    work.write("data/small.csv", "id\n1\n")
    limit = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)); "
    call = "from mlrepro.cli import main; sys.exit(main(sys.argv[1:]))"
    program = [sys.executable, "-c", limit + call, "--json", "track", "data/big.bin"]
    done = subprocess.run(program, cwd=work.root, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and '"store-full"' in done.stdout, done.stdout + done.stderr
    assert work.staged == set() and work.read("data/big.bin") == data
    assert not list(work.store.glob("files/md5/??/*"))
    assert not work.track("data/big.bin").errors
    assert "data/big.bin.dvc" in work.staged
    record_property("tried", [TOPIC, "track: a limit on the size of files, then none", 1])
