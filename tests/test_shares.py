"""Work on many small files that is shared out to forked processes: nothing rests on any of them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from blobs import Place, bytes_of, contents, damage, leftovers, make_store, oid_of, quarantined
from building import Repo, read_file_tree
from mlrepro import landing, shares, smallblobs, smallfiles
from mlrepro.engine import hash_files, save_files
from mlrepro.errors import StoreError
from mlrepro.hashing import stat_key
from mlrepro.restoring import Restore
from mlrepro.shares import WORTH_A_FORK, share_out
from mlrepro.store import Store

MANY = 2 * WORTH_A_FORK + 20


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The processes that a test starts; none of them is left, and no pipe.

    The threads of other tests, whose servers live on in this process, do not count.
    """
    children: list[int] = []
    fork = os.fork

    def counted() -> int:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of those threads
            child = fork()
        if child:
            children.append(child)
        return child

    monkeypatch.setattr(os, "fork", counted)
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    before = _pipes()
    yield children
    for child in children:
        with pytest.raises(ChildProcessError):
            os.waitpid(child, os.WNOHANG)
    assert _pipes() <= before


def _pipes() -> int:
    """How many pipes this process has open."""
    count = 0
    for fd in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        with contextlib.suppress(OSError):
            count += os.readlink(f"/proc/self/fd/{fd}").startswith("pipe:")
    return count


def _shared(
    work: Callable[[int, int], object], count: int = MANY, jobs: int = 2
) -> tuple[dict[int, object], list[int]]:
    taken: dict[int, object] = {}
    left = share_out(range(count), jobs, work, taken.__setitem__)
    return taken, left


def test_each_item_is_done_once_elsewhere() -> None:
    taken, left = _shared(lambda share, item: (share, item * 2, os.getpid()))
    assert left == [] and sorted(taken) == list(range(MANY))
    assert all(taken[item][1] == item * 2 for item in taken)
    assert {one[0] for one in taken.values()} == {1, 2}
    assert os.getpid() not in {one[2] for one in taken.values()}


@pytest.mark.parametrize(("count", "jobs"), [(2 * WORTH_A_FORK - 1, 2), (MANY, 1)])
def test_what_does_not_pay_is_left(count: int, jobs: int) -> None:
    assert _shared(lambda *_: pytest.fail("not to be called"), count, jobs) == ({}, [*range(count)])


def test_a_program_with_threads_does_not_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        assert _shared(lambda *_: 1) == ({}, [*range(MANY)])
    finally:
        end.set()
        thread.join()


def test_what_is_out_of_the_ordinary_is_left() -> None:
    taken, left = _shared(lambda _, item: None if item % 7 == 0 else item)
    assert left == [item for item in range(MANY) if item % 7 == 0]
    assert sorted([*taken, *left]) == list(range(MANY))


@pytest.mark.parametrize("how", ["raises", "killed", "ends"])
def test_what_a_process_did_not_report_is_left(how: str) -> None:
    def work(_: int, item: int) -> int:
        if item == 100:
            if how == "raises":
                raise OSError(errno.EIO, "I/O error")
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            os._exit(0)
        return item

    taken, left = _shared(work)
    assert 100 in left and all(taken[item] == item for item in taken)
    assert sorted([*taken, *left]) == list(range(MANY))
    assert set(range(MANY // 2, MANY)) <= set(taken), "the other process was not disturbed"


def test_no_process_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_fork() -> int:
        raise OSError(errno.EAGAIN, "no more processes")

    monkeypatch.setattr(os, "fork", no_fork)
    assert _shared(lambda *_: 1) == ({}, [*range(MANY)])


def test_an_interrupt_ends_all() -> None:
    def take(item: int, _: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        share_out(range(MANY), 2, lambda _, item: b"x" * 4096, take)


def test_large_results_do_not_stall() -> None:
    taken, left = _shared(lambda _, item: bytes([item % 251]) * 50_000)
    assert left == [] and all(set(taken[item]) == {item % 251} for item in taken)


def _files(folder: Path, count: int = MANY) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for at in range(count):
        path = folder / f"f{at:04}"
        path.write_bytes(b"row %d\n" % (at // 2))  # each content twice
        path.chmod(0o755 if at % 3 == 0 else 0o644)
        paths.append(str(path))
    return paths


def test_saved_by_several_as_by_one(tmp_path: Path, started: list[int]) -> None:
    paths = _files(tmp_path / "data")
    found = {}
    for jobs in (1, 2):
        cache, store = make_store(tmp_path / f"cache{jobs}"), make_store(tmp_path / f"store{jobs}")
        report = save_files(paths, cache, store, jobs=jobs)
        assert contents(cache) == contents(store) and len(contents(store)) == MANY // 2
        found[jobs] = [
            (one.path, one.oid, one.size, one.isexec, one.stat.st_mtime_ns, one.stat.st_ino)
            for one in report.saved
        ]
        assert sum(one.stored_new for one in report.saved) == MANY // 2
        assert all(stat_key(one.stat) == stat_key(os.stat(one.path)) for one in report.saved)
        assert all(one.began_ns for one in report.saved)
        assert leftovers(tmp_path) == []
    assert found[1] == found[2] and len(started) == 2
    assert [one.oid for one in hash_files(paths, jobs=2).saved] == [one[1] for one in found[1]]
    assert len(started) == 4


def test_saved_though_processes_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths, home = _files(tmp_path / "data"), os.getpid()
    plain = smallfiles.write_all
    writes = iter(range(10_000))

    def dies(fd: int, data: bytes) -> None:
        if os.getpid() != home and next(writes) == 70:
            os.kill(os.getpid(), signal.SIGKILL)
        plain(fd, data)

    monkeypatch.setattr(smallfiles, "write_all", dies)
    cache, store = make_store(tmp_path / "cache"), make_store(tmp_path / "store")
    report = save_files(paths, cache, store, jobs=2)
    assert [one.path for one in report.saved] == paths and report.failed == []
    assert len(contents(store)) == MANY // 2 and leftovers(tmp_path) == []


@pytest.mark.parametrize("how", ["well", "killed", "refused"])
def test_named_by_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[int], how: str
) -> None:
    """Many blobs get their names from several processes; what one left undone is done here."""
    paths, home = _files(tmp_path / "data"), os.getpid()
    plain, names = landing.take_name, iter(range(10_000))

    def take(temp: str, name: str) -> None:
        if os.getpid() != home and next(names) == 30:
            if how == "killed":
                plain(temp, name)  # and nobody is told
                os.kill(os.getpid(), signal.SIGKILL)
            if how == "refused":
                raise OSError(errno.EIO, "I/O error")
        plain(temp, name)

    monkeypatch.setattr(landing, "_WORTH_A_FORK", 40)
    monkeypatch.setattr(landing, "take_name", take)
    cache, store = make_store(tmp_path / "cache"), make_store(tmp_path / "store")
    report = save_files(paths, cache, store, jobs=2)
    assert len(started) == 4, "two that read, and two that name"
    assert [one.path for one in report.saved] == paths and report.failed == []
    assert contents(cache) == contents(store) and len(contents(store)) == MANY // 2
    assert quarantined(store) == [] and leftovers(tmp_path) == []


def test_who_works_on_does_not_wait_for_who_listens() -> None:
    """What is told meanwhile fits into the pipe, where that can be made as large."""
    if not hasattr(fcntl, "F_SETPIPE_SZ"):
        pytest.skip("pipes are as large as they are")
    slow = iter([1.0])

    def take(item: int, result: object) -> None:
        time.sleep(next(slow, 0))

    reading, writing = os.pipe()
    try:
        shares._widen(writing)
        assert fcntl.fcntl(reading, fcntl.F_GETPIPE_SZ) == shares._PIPE_BYTES
    finally:
        os.close(reading)
        os.close(writing)
    assert share_out(range(MANY), 2, lambda _, item: b"x" * 1000, take) == []


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_every_blob_is_write_protected_and_readable(tmp_path: Path, jobs: int, mask: int) -> None:
    """Whatever a new file would be allowed by default."""
    paths = _files(tmp_path / "data")
    cache, store = make_store(tmp_path / "cache"), make_store(tmp_path / "store")
    before = os.umask(mask)
    try:
        assert len(save_files(paths, cache, store, jobs=jobs).saved) == MANY
    finally:
        os.umask(before)
    for place in (cache, store):
        modes = {path.stat().st_mode for path in Path(place.base).glob("??/*")}
        assert modes == {0o100444}


def test_a_full_store_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlrepro import landing

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    for module in (smallfiles, landing):
        monkeypatch.setattr(module, "write_all", full)
    monkeypatch.setattr(landing.Landing, "_can_link", lambda *_: True)
    cache, store = make_store(tmp_path / "cache"), make_store(tmp_path / "store")
    with pytest.raises(StoreError) as caught:
        save_files(_files(tmp_path / "data"), cache, store, jobs=2)
    assert caught.value.code == "store-full"
    assert contents(store) == contents(cache) == {} and leftovers(tmp_path) == []


def test_odd_ones_among_many(tmp_path: Path) -> None:
    """A link, a pipe, one that is gone, and blobs that are there already, right or damaged."""
    paths = _files(tmp_path / "data")
    cache, store = make_store(tmp_path / "cache"), make_store(tmp_path / "store")
    save_files(paths[:40], cache, store, jobs=1)
    bad = oid_of(b"row 3\n")
    for place in (cache, store):
        damage(place, bad, "flipped", tmp_path)
    for at in (200, 201, 202):
        os.unlink(paths[at])
    os.mkfifo(paths[200])
    os.symlink(paths[0], paths[201])
    report = save_files(paths, cache, store, jobs=2)
    assert {(path, error.code) for path, error in report.failed} == {
        (paths[200], "path-not-regular"), (paths[201], "path-symlink"),
        (paths[202], "path-missing"),
    }  # fmt: skip
    assert len(report.saved) == MANY - 3 and bytes_of(store, bad) == b"row 3\n"
    assert bad in report.repaired and quarantined(store)
    assert contents(cache) == contents(store)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def _items(place: Place) -> list[Restore]:
    return [
        place.item(b"row %d\n" % (at // 2), f"d{at % 5}/f{at}", isexec=at % 3 == 0)
        for at in range(MANY)
    ]


def _check(place: Place, items: list[Restore]) -> None:
    for at, item in enumerate(items):
        assert Path(item.dest).read_bytes() == b"row %d\n" % (at // 2)
        assert bool(os.stat(item.dest).st_mode & 0o111) == (at % 3 == 0)
    assert leftovers(place.root) == []


@pytest.mark.parametrize("jobs", [1, 2])
def test_restored_by_several_as_by_one(place: Place, started: list[int], jobs: int) -> None:
    items = _items(place)
    report = place.restore(*items, jobs=jobs)
    assert len(report.restored) == MANY and report.missing == report.failed == []
    assert all(stat_key(one.stat) == stat_key(os.stat(one.dest)) for one in report.restored)
    assert all(one.began_ns for one in report.restored)
    _check(place, items)
    assert contents(place.cache) == contents(place.store), "the cache got links"
    assert len(started) == (2 if jobs == 2 else 0)


def test_restored_though_processes_fail(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    home, items = os.getpid(), _items(place)
    plain = smallblobs.write_all
    writes = iter(range(10_000))

    def dies(fd: int, data: bytes) -> None:
        if os.getpid() != home and next(writes) == 70:
            os.kill(os.getpid(), signal.SIGKILL)
        plain(fd, data)

    monkeypatch.setattr(smallblobs, "write_all", dies)
    report = place.restore(*items, jobs=2)
    assert len(report.restored) == MANY and report.failed == []
    _check(place, items)


def test_bad_blobs_among_many(place: Place) -> None:
    items = _items(place)
    bad, gone = items[10].oid, items[300].oid
    damage(place.store, bad, "flipped", place.root.parent)
    damage(place.store, gone, "deleted", place.root.parent)
    taken = place.file(b"the user's own", "d1/f61")
    report = place.restore(*items, jobs=2)
    assert {one.oid for one in report.missing} == {bad, gone}
    assert set(report.corrupt) == {bad} and len(quarantined(place.store)) == 1
    assert report.kept == [items[61].dest] and os.stat(items[61].dest) == taken
    assert len(report.restored) == MANY - 5
    assert not Path(items[10].dest).exists() and leftovers(place.root) == []


def test_shares_end_with_their_parent(tmp_path: Path) -> None:
    """A process whose parent was killed does not go on."""
    log = tmp_path / "log"

    def work(_: int, item: int) -> int:
        with log.open("a") as file:
            file.write(f"{item}\n")
        if item == 5:
            os.kill(parent, signal.SIGKILL)
            until = time.monotonic() + 30
            while os.getppid() == parent and time.monotonic() < until:
                os.sched_yield()
        return item

    child = os.fork()
    if child == 0:
        parent = os.getpid()
        try:
            share_out(range(MANY), 2, work, lambda *_: None)
        finally:
            os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    lock = tmp_path / "ended"
    for _ in range(100):
        if not _anyone_has(log):
            break
        lock.touch()
        threading.Event().wait(0.05)
    assert not _anyone_has(log)
    assert len(log.read_text().splitlines()) < MANY


def _anyone_has(path: Path) -> bool:
    """Whether the file still grows."""
    size = path.stat().st_size
    threading.Event().wait(0.05)
    return path.stat().st_size != size


def test_messages_in_pieces() -> None:
    whole = b"".join(len(part).to_bytes(4, "big") + part for part in (b"one", b"", b"three" * 99))
    data, found = bytearray(), []
    for at in range(len(whole)):
        data += whole[at : at + 1]
        found += shares._messages(data)
    assert found == [b"one", b"", b"three" * 99] and not data


@pytest.mark.slow
@pytest.mark.parametrize("command", ["track", "pull"])
@pytest.mark.parametrize("who", ["all", "one"])
def test_commands_on_many_files_are_killed(
    tmp_path: Path, record_property: Callable[[str, object], None], command: str, who: str
) -> None:
    """The command and its processes, or one of these alone, killed at random moments."""
    count, rounds = 3 * WORTH_A_FORK, 8
    repo = Repo.make(tmp_path / "repo")
    assert repo.mlrepro("init").exit_code == 0
    _files(repo.path("data"), count)
    repo.mlrepro("track", "data")
    repo.commit()
    want = read_file_tree(repo.path("data"))
    for at in range(rounds):
        place = tmp_path / f"{at}"
        if command == "pull":
            tried, argv = repo.clone(place), ["pull"]
        else:
            tried, argv = Repo.make(place), ["track", "data"]
            tried.mlrepro("init")
            _files(tried.path("data"), count)
        _run_and_kill(tried.root, argv, who)
        here = read_file_tree(tried.path("data")) if tried.path("data").exists() else {}
        assert all(want[name] == content for name, content in here.items())
        store = (repo if command == "pull" else tried).path("stores/blob")
        for blobs in (store, tried.path(".dvc/cache")):
            contents(Store(str(blobs)))
        again = tried.mlrepro(*argv)
        assert again.exit_code == 0, again.stderr
        assert read_file_tree(tried.path("data")) == want
        assert tried.mlrepro("verify", "--deep").exit_code == 0 if command == "pull" else True
        assert leftovers(tried.root, store) == []
    what = "all processes" if who == "all" else "one of its processes"
    told = f"{command} of many small files: {what} killed at a random moment"
    record_property("tried", ["Kill anywhere", told, rounds])


def _run_and_kill(folder: Path, argv: list[str], who: str) -> None:
    """Run a command and kill it, or one of the processes that it started, some time later."""
    running = subprocess.Popen(
        [sys.executable, "-m", "mlrepro", "-q", "-j", "2", *argv],
        cwd=folder, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    pause, until = random.uniform(0.1, 0.5), time.monotonic() + 30
    time.sleep(0 if who == "one" else pause)
    while running.poll() is None and time.monotonic() < until:
        if who == "all":
            os.killpg(running.pid, signal.SIGKILL)
            break
        shares_ = [pid for pid in _children(running.pid) if _is_share(pid)]
        time.sleep(random.uniform(0, 0.02) if shares_ else 0.002)
        if shares_ and _killed(running.pid, random.choice(shares_)):
            break
    said = running.communicate()[1].decode()
    assert running.returncode in ((0, -signal.SIGKILL) if who == "all" else (0,)), said


def _killed(parent: int, pid: int) -> bool:
    """Kill the process, unless it is a git that is being started.

    Until it is, that looks like a copy of its parent, which waits for it meanwhile (state D).
    """
    try:
        os.kill(pid, signal.SIGSTOP)
        waits = Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[0] == "D"
        is_share = _is_share(pid) and not waits
        os.kill(pid, signal.SIGKILL if is_share else signal.SIGCONT)
    except OSError:
        return False
    return is_share


def _children(pid: int) -> list[int]:
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _is_share(pid: int) -> bool:
    """Whether the process is a copy of its parent, not a git that it started."""
    try:
        return b"mlrepro" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
