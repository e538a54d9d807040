"""The engine under kills at any moment, other processes, full disks, few and huge files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from blobs import contents, leftovers, make_store, oid_of
from mlrepro import durable
from mlrepro.store import Store

HERE = Path(__file__).parent
SOURCE = Path(durable.__file__).parent.parent

PRELUDE = """
import os, resource, sys
from pathlib import Path
from mlrepro.engine import copy_blobs, save_files
from mlrepro.errors import MlreproError
from mlrepro.restoring import Restore, restore_files
from mlrepro.store import Store
root = Path(sys.argv[1])
cache, store = Store(str(root / "cache")), Store(str(root / "store"))
paths = sorted(str(path) for path in (root / "files").iterdir())
def told(call):
    try:
        print(call())
    except MlreproError as error:
        print(error.code)
"""


def _start(root: Path, program: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PRELUDE + program, str(root)],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _run(root: Path, program: str) -> str:
    with _start(root, program) as child:
        said, wrong = child.communicate(timeout=300)
    assert child.returncode == 0, wrong
    return said.strip()


def _files(root: Path, *contents: bytes) -> list[bytes]:
    (root / "files").mkdir(parents=True)
    for number, data in enumerate(contents):
        (root / "files" / f"{number:04}").write_bytes(data)
    return list(contents)


@pytest.mark.parametrize("what", ["save", "restore", "two-steps", "whole"])
def test_a_kill_at_any_moment(tmp_path: Path, what: str) -> None:
    done = subprocess.run(
        [sys.executable, str(HERE / "killing.py"), str(tmp_path), what, "32"],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 5


def test_processes_share_a_store_and_a_cache(tmp_path: Path) -> None:
    make_store(tmp_path / "store")
    data = [b"%d" % (number % 40) for number in range(80)]
    data += [bytes([number]) * ((1 << 20) + 1) for number in range(3)]
    _files(tmp_path, *data)
    program = "print(len(save_files(paths[::STEP], cache, store, jobs=2).saved))"
    steps = ["1", "-1", "1"]
    children = [_start(tmp_path, program.replace("STEP", step)) for step in steps]
    for child in children:
        said, wrong = child.communicate(timeout=300)
        assert said.strip() == "83", wrong
    wanted = {oid_of(one): one for one in data}
    cache, store = Store(str(tmp_path / "cache")), Store(str(tmp_path / "store"))
    assert contents(cache) == contents(store) == wanted
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("size", [100 << 20, pytest.param(300 << 20, marks=pytest.mark.slow)])
def test_memory_stays_flat(tmp_path: Path, size: int) -> None:
    """However large the file: saved, copied and restored in less than 64 MiB."""
    make_store(tmp_path / "store")
    make_store(tmp_path / "third")
    (tmp_path / "files").mkdir()
    with open(tmp_path / "files/large", "wb") as file:
        file.truncate(size)
    said = _run(
        tmp_path,
        f"""
[saved] = save_files(paths, cache, store).saved
third = Store(str(root / "third"))
assert copy_blobs([(saved.oid, None)], store, third).copied
os.unlink(paths[0])
item = Restore(saved.oid, paths[0], {size})
[restored] = restore_files([item], [third], str(root / "staging"), str(root)).restored
assert restored.stat.st_size == {size}
try:
    lines = open("/proc/self/status").read().splitlines()
    print(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")))
except OSError:  # macOS counts in bytes
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
""",
    )
    assert int(said) < 64 << 10


def test_a_limit_on_file_sizes(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    data = _files(tmp_path, b"small", os.urandom(3 << 20), os.urandom(1000))
    program = """
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
told(lambda: save_files(paths, cache, store))
"""
    assert _run(tmp_path, program) == "store-full"
    assert set(contents(store)) <= {oid_of(data[0]), oid_of(data[2])}
    assert leftovers(tmp_path) == []
    assert [path.read_bytes() for path in sorted((tmp_path / "files").iterdir())] == data


@pytest.mark.parametrize("limit", [8, 12, 16, 24])
def test_few_open_files(tmp_path: Path, limit: int) -> None:
    """Enough, or an error that says so: no hang, no half of it reported as done."""
    store = make_store(tmp_path / "store")
    data = _files(tmp_path, *(b"%d" % number * (1 << 18) for number in range(12)))
    program = f"""
resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))
told(lambda: len(save_files(paths, cache, store, jobs=4).saved))
"""
    said = _run(tmp_path, program)
    assert said in ("12", "store-io")
    assert set(contents(store)) <= {oid_of(one) for one in data}
    if said == "12":
        assert len(contents(store)) == 12


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if done.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up(tmp_path: Path, small_disk: Path) -> None:
    (tmp_path / "store").symlink_to(small_disk)
    store = make_store(tmp_path / "store")
    data = _files(tmp_path, *(bytes([number]) * (1 << 20) for number in range(8)))
    assert _run(tmp_path, "told(lambda: save_files(paths, cache, store))") == "store-full"
    assert leftovers(tmp_path, small_disk) == []
    assert set(contents(store)) <= {oid_of(one) for one in data}
    for path in list(small_disk.glob("files/md5/??/*")):
        path.unlink()
    said = _run(tmp_path, "told(lambda: len(save_files(paths[:2], cache, store).saved))")
    assert said == "2" and len(contents(store)) == 2


def test_a_worktree_that_fills_up(tmp_path: Path, small_disk: Path) -> None:
    make_store(tmp_path / "store")
    _files(tmp_path, *(bytes([number]) * (1 << 20) for number in range(8)))
    (small_disk / "0000").write_bytes(b"old")
    program = """
saved = save_files(paths, cache, store).saved
disk = root / "disk"
items = [Restore(one.oid, str(disk / os.path.basename(one.path)), 1) for one in saved]
items[0].expect = os.stat(disk / "0000")
told(lambda: restore_files(items, [cache], str(disk / "staging"), str(disk)))
told(lambda: len(restore_files(items[:2], [cache], str(disk / "staging"), str(disk)).restored))
"""
    assert _run(tmp_path, program) == "disk-full\n2"
    assert sorted(os.listdir(small_disk)) == ["0000", "0001", "staging"]
    assert leftovers(small_disk) == []


def test_a_store_that_may_only_be_read(tmp_path: Path, small_disk: Path) -> None:
    (tmp_path / "store").symlink_to(small_disk)
    store = make_store(tmp_path / "store")
    _files(tmp_path, b"data")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert _run(tmp_path, "told(lambda: save_files(paths, cache, store))") == "store-read-only"
    assert leftovers(tmp_path, small_disk) == [] and contents(store) == {}


def test_cache_and_store_on_two_disks(tmp_path: Path, small_disk: Path) -> None:
    (tmp_path / "store").symlink_to(small_disk)
    store = make_store(tmp_path / "store")
    data = _files(tmp_path, b"data", os.urandom(2 << 20))
    assert _run(tmp_path, "told(lambda: len(save_files(paths, cache, store).saved))") == "2"
    wanted = {oid_of(one): one for one in data}
    assert contents(store) == contents(Store(str(tmp_path / "cache"))) == wanted
