"""Writes that are whole or not at all, locks that end with their holder, temps that do too."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mlrepro import durable, kernel, writing
from mlrepro.durable import free_bytes, sync_dirs, sync_files, take_name
from mlrepro.errors import PathError
from mlrepro.lock import Lock
from mlrepro.parallel import Crew
from mlrepro.staging import Staging, sweep
from mlrepro.writing import write_atomic

SOURCE = str(Path(durable.__file__).parent.parent)


def test_write_atomic_makes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "x.dvc"
    write_atomic(str(path), b"one")
    before = os.umask(0)
    os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~before
    path.chmod(0o640)
    write_atomic(str(path), b"two")
    assert path.read_bytes() == b"two" and stat.S_IMODE(path.stat().st_mode) == 0o640
    write_atomic(str(path), b"three", mode=0o600, durable=False)
    assert path.read_bytes() == b"three" and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["x.dvc"]


def test_write_atomic_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_atomic("x", b"one")
    assert (tmp_path / "x").read_bytes() == b"one"


@pytest.mark.parametrize("kind", ["symlink", "dangling", "folder", "fifo"])
def test_write_atomic_writes_only_plain_files(tmp_path: Path, kind: str) -> None:
    path, outside = tmp_path / "x", tmp_path / "outside"
    if kind == "symlink":
        outside.write_text("safe")
    if kind in ("symlink", "dangling"):
        path.symlink_to(outside)
    elif kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    with pytest.raises(PathError):
        write_atomic(str(path), b"bad")
    assert outside.exists() == (kind == "symlink")
    assert not outside.exists() or outside.read_text() == "safe"
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".mlrepro")]


def test_write_atomic_that_fails_leaves_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(writing, "write_all", full)
    with pytest.raises(OSError, match="full"):
        write_atomic(str(path), b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["x"]


def test_what_a_killed_write_left_is_cleared_away(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    zombie = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert zombie.stdout is not None
    zombie.stdout.read()
    while Path(f"/proc/{zombie.pid}/stat").exists():
        if b") Z " in Path(f"/proc/{zombie.pid}/stat").read_bytes():
            (tmp_path / f".mlrepro-w-{zombie.pid}-0123abcd").write_bytes(b"half")
            break
    dead = tmp_path / f".mlrepro-w-{gone.pid}-0123abcd"
    alive = tmp_path / f".mlrepro-w-{os.getppid()}-0123abcd"
    locked = tmp_path / f".mlrepro-w-{gone.pid}-4567abcd"  # its process is on another machine
    others = [tmp_path / ".mlrepro-w-mine", tmp_path / f".mlrepro-w-{gone.pid}-notes.txt"]
    for path in (dead, alive, locked, *others):
        path.write_bytes(b"half")
    with open(locked, "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        write_atomic(str(tmp_path / "x"), b"new")
    zombie.communicate()
    assert set(tmp_path.iterdir()) == {tmp_path / "x", alive, locked, *others}


def test_take_name_leaves_what_has_it(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("new")
    (tmp_path / "x").write_text("old")
    with pytest.raises(FileExistsError):
        take_name(str(tmp_path / "t"), str(tmp_path / "x"))
    assert (tmp_path / "x").read_text() == "old" and (tmp_path / "t").read_text() == "new"
    take_name(str(tmp_path / "t"), str(tmp_path / "y"))
    assert not (tmp_path / "t").exists() and (tmp_path / "y").read_text() == "new"


def test_renames_of_the_kernel(tmp_path: Path) -> None:
    old, new = tmp_path / "a", tmp_path / "b"
    old.write_text("a")
    new.write_text("b")
    try:
        can = kernel.rename_noreplace(str(old), str(new))
    except FileExistsError:
        can = True
    if not can:
        pytest.skip("this file system has no such rename")
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        assert kernel.rename_exchange(str(old), "b", new_dir=folder)
    finally:
        os.close(folder)
    assert (old.read_text(), new.read_text()) == ("b", "a")
    with pytest.raises(FileNotFoundError):
        kernel.rename_exchange(str(old), str(tmp_path / "none"))


@pytest.mark.parametrize("whole", [True, False])
def test_sync_of_few_and_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool) -> None:
    if not whole:
        monkeypatch.setattr(durable, "syncfs", lambda _: False)
    for count in (0, 1, 20):
        paths = [tmp_path / f"{count}-{number}" for number in range(count)]
        for path in paths:
            path.write_text("x")
        sync_files([str(path) for path in paths])
    sync_dirs([str(tmp_path)])
    sync_dirs([str(tmp_path)] * 20)


def test_free_bytes(tmp_path: Path) -> None:
    assert free_bytes(str(tmp_path)) > 0


def test_has_writer(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("x")
    with open(path, "rb") as reader:
        assert not kernel.has_writer(reader.fileno())
        with open(path, "ab"):
            seen = kernel.has_writer(reader.fileno())
        assert seen == hasattr(fcntl, "F_SETLEASE")
        assert not kernel.has_writer(reader.fileno())
    with open(path, "ab") as again:  # no lease is left that would make this wait
        again.write(b"y")


def test_lock_excludes_and_gives_way(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    with Lock(path) as lock:
        assert lock.real
        with pytest.raises(BlockingIOError), Lock(path, wait=0):
            pass
        begun = time.monotonic()
        with pytest.raises(BlockingIOError), Lock(path, wait=0.1):
            pass
        assert time.monotonic() - begun >= 0.1
    with Lock(path, wait=0):
        pass


def test_lock_waits_for_its_turn(tmp_path: Path) -> None:
    path, order = str(tmp_path / "lock"), list[str]()

    def second() -> None:
        with Lock(path, wait=30):
            order.append("second")

    with Lock(path):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.05)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_lock_dies_with_its_holder(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    with _holder(f"Lock({path!r}).__enter__()") as child:
        with pytest.raises(BlockingIOError), Lock(path, wait=0):
            pass
        child.send_signal(signal.SIGKILL)
        child.wait()
        with Lock(path, wait=0) as lock:
            assert lock.real


def test_a_lock_that_was_removed_locks_nothing(tmp_path: Path) -> None:
    """Who waited for it has to take the new one, which somebody else may hold."""
    path, waited = str(tmp_path / "lock"), list[bool]()

    def wait() -> None:
        with Lock(path, wait=30) as lock:
            waited.append(os.path.samestat(os.fstat(lock._fd), os.stat(path)))

    with Lock(path):
        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.05)
        os.unlink(path)
    thread.join()
    assert waited == [True]


def test_lock_where_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with Lock(str(tmp_path / "a"), wait=0) as lock:  # by the older kind of lock
        assert lock.real
    monkeypatch.setattr(fcntl, "lockf", none)
    with Lock(str(tmp_path / "b"), wait=0) as lock:
        assert not lock.real


@contextmanager
def _holder(line: str) -> Iterator[subprocess.Popen[str]]:
    """A process that runs a line, says so, and stays."""
    program = (
        f"import sys, time; sys.path.insert(0, {SOURCE!r})\n"
        "from mlrepro.lock import Lock\nfrom mlrepro.staging import Staging\n"
        f"held = {line}\nprint('held', flush=True)\ntime.sleep(600)"
    )
    argv = [sys.executable, "-c", program]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "held\n"
            yield child
        finally:
            child.kill()


def test_one_failure_stops_a_crew() -> None:
    crew, begun = Crew(3), list[int]()

    def work(number: int) -> None:
        begun.append(number)
        for _ in range(10_000 if number != 2 else 0):
            crew.check()
            time.sleep(0.001)
        raise ValueError(number)

    with pytest.raises(ValueError, match="2"):
        crew.each(work, range(100))
    assert sorted(begun) == [0, 1, 2]


def test_staging_is_swept_when_its_run_is_dead(tmp_path: Path) -> None:
    base, far = str(tmp_path / "tmp"), tmp_path / "far"
    far.mkdir()
    line = (
        f"Staging({base!r}, {str(tmp_path)!r}); open(held.new(), 'w').close();"
        f"open(held.new_beside({str(far)!r}), 'w').close()"
    )
    with _holder(line) as child:
        assert len(list(Path(base).glob("*/0"))) == 1
        sweep(base)
        assert len(list(Path(base).glob("*/0"))) == 1 and len(os.listdir(far)) == 1
        child.send_signal(signal.SIGKILL)
        child.wait()
    (far / ".mlrepro-of-somebody-else").write_text("")
    with Staging(base, str(tmp_path)) as staging:
        assert list(Path(base).glob("*/*")) == [] and staging.recovered == []
    assert os.listdir(base) == [] and os.listdir(far) == [".mlrepro-of-somebody-else"]


def test_a_users_file_is_never_swept(tmp_path: Path) -> None:
    """What was swapped out when the run was killed is set aside; our own half of it is not."""
    base = str(tmp_path / "tmp")
    staging = Staging(base, str(tmp_path))
    ours, theirs = staging.new(), staging.new()
    Path(ours).write_text("ours")
    Path(theirs).write_text("theirs")
    os.rename(ours, staging.old_name(ours, os.stat(ours).st_ino))
    os.rename(theirs, staging.old_name(theirs, 0))
    staging.close()
    assert [Path(path).read_text() for path in staging.recovered] == ["theirs"]
    assert len(list(Path(base).iterdir())) == 1  # "kept"
    sweep(base)
    assert Path(staging.recovered[0]).read_text() == "theirs"


def test_staging_folders_of_two_runs_at_once(tmp_path: Path) -> None:
    base = str(tmp_path / "tmp")
    with Staging(base, str(tmp_path)) as one, Staging(base, str(tmp_path)) as two:
        assert one.folder != two.folder
        Path(one.new()).write_text("x")
        assert os.listdir(one.folder) == ["0"]


def _many(folder: Path, count: int = 20) -> dict[str, bytes]:
    """New contents of files, half of which are there already, some executable."""
    for at in range(0, count, 2):
        (folder / f"f{at}").write_bytes(b"old")
        (folder / f"f{at}").chmod(0o755 if at % 4 else 0o600)
    return {str(folder / f"f{at}"): b"new %d" % at for at in range(count)}


def test_many_files_are_flushed_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, flushed = _many(tmp_path), list[int]()
    plain = writing.sync_files

    def sync(paths: list[str]) -> None:
        flushed.append(len(paths))
        assert all(not os.path.exists(path) or Path(path).read_bytes() == b"old" for path in files)
        plain(paths)

    monkeypatch.setattr(writing, "sync_files", sync)
    writing.write_many(files)
    assert flushed == [20]
    assert {path: Path(path).read_bytes() for path in files} == files
    assert stat.S_IMODE((tmp_path / "f2").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "f4").stat().st_mode) == 0o600
    assert len(os.listdir(tmp_path)) == 20


def test_many_files_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = _many(tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}

    def broken(_: object) -> None:
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(writing, "sync_files", broken)
    with pytest.raises(OSError, match="I/O"):
        writing.write_many(files)
    monkeypatch.undo()
    (tmp_path / "f19").symlink_to("f0")
    with pytest.raises(PathError, match="f19"):
        writing.write_many(files)
    (tmp_path / "f19").unlink()
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == before


def test_many_files_on_two_disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flush is one file system's: the files of each are flushed by themselves."""
    files = _many(tmp_path)
    plain, flushed = writing._written_beside, list[int]()

    def beside(path: str, *about: object) -> tuple[str, str, int]:
        temp, target, device = plain(path, *about)  # type: ignore[arg-type]
        return temp, target, device + path.endswith(("1", "3"))

    monkeypatch.setattr(writing, "_written_beside", beside)
    monkeypatch.setattr(writing, "sync_files", lambda paths: flushed.append(len(paths)))
    writing.write_many(files)
    assert sorted(flushed) == [4, 16]
