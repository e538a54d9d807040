"""Two at once, round after round: in one clone, in two worktrees, in clones that share a store."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import rounds
import unprivileged
import working
from blobs import contents, leftovers, make_store, oid_of, put, quarantined
from building import md5
from mlrepro import durable, engine, gitlock, lock, store as stores
from mlrepro.commands import pre_commit, verify
from mlrepro.engine import copy_blobs
from mlrepro.errors import MlreproError
from mlrepro.lock import Lock
from mlrepro.restoring import Restore, restore_files
from mlrepro.result import Result
from mlrepro.store import Store
from working import Work

LARGE = (1 << 20) + 7


def counts(quick: int, slow: int) -> list[object]:
    return [quick, pytest.param(slow, marks=pytest.mark.slow)]


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that every user can get to; a shared store is in it. No disk is waited for."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(durable, "syncfs", lambda _: True)
    with unprivileged.open_folder() as folder:
        make_store(folder / "store")
        rounds.share(folder / "store")
        yield folder


EVERY = pytest.mark.parametrize("who", rounds.USERS)


def _caches(place: Path, users: tuple[int, ...]) -> list[Store]:
    """A cache for each of two clones, which belongs to its user."""
    caches = [make_store(place / name) for name in ("mine", "theirs")]
    for cache, user in zip(caches, users, strict=True):
        unprivileged.give(Path(cache.root), user)
    return caches


def _content(turn: int, who: int | str) -> list[bytes]:
    """A few small files, now and then with a large one."""
    small = [b"%d %a %d" % (turn, who, number) * 40 for number in range(3)]
    return small + ([b"%d %a" % (turn, who) + b"." * LARGE] if turn % 8 == 0 else [])


def _has(store: Store, data: bytes) -> bool:
    """Whether the store has these bytes under their name, write-protected."""
    path = Path(store.path(oid_of(data)))
    return path.read_bytes() == data and path.stat().st_mode & 0o777 == 0o444


# one store


@EVERY
@pytest.mark.parametrize("count", counts(4, 100))
def test_two_clones_push_to_one_store(place: Path, record_property, who: str, count: int) -> None:
    users = rounds.USERS[who]
    caches, store = _caches(place, users), Store(str(place / "store"))

    def push(number: int, turn: int) -> None:
        wanted = _content(turn, "both") + _content(turn, number)
        oids = [(put(caches[number], data), len(data)) for data in wanted]
        shared = bool(turn % 2)
        report = copy_blobs(oids, caches[number], Store(store.root), jobs=2, link_shared=shared)
        assert sorted(report.copied + report.present) == sorted(oid for oid, _ in oids)
        assert not (report.corrupt or report.missing or report.failed)

    def check(turn: int) -> None:
        assert all(_has(store, data) for who in ("both", 0, 1) for data in _content(turn, who))

    works = [lambda turn, number=number: push(number, turn) for number in range(2)]
    rounds.together(count, works, check, place / "home", users)
    assert len(contents(store)) == sum(3 * len(_content(turn, 0)) for turn in range(count))
    assert leftovers(store.root) == [] and quarantined(store) == []
    record_property("tried", ["Concurrency", f"two clones push to one store, {who}", count])


@EVERY
@pytest.mark.parametrize("count", counts(4, 100))
def test_a_pull_during_a_push(place: Path, record_property, who: str, count: int) -> None:
    users = rounds.USERS[who]
    caches, store = _caches(place, users), Store(str(place / "store"))
    work = place / "work"
    work.mkdir()
    unprivileged.give(work, users[1])

    def push(turn: int) -> None:
        oids = [(put(caches[0], data), len(data)) for data in _content(turn, 0)]
        assert len(copy_blobs(oids, caches[0], Store(store.root)).copied) == len(oids)

    def pull(turn: int) -> None:
        wanted = {str(work / f"{turn}-{n}"): data for n, data in enumerate(_content(turn, 0))}
        until = time.monotonic() + 60
        while wanted:
            items = [Restore(oid_of(data), path, len(data)) for path, data in wanted.items()]
            report = restore_files(
                items, [caches[1], Store(store.root)], str(place / "work/.staging"), str(work)
            )
            assert not (report.corrupt or report.kept or report.failed), report
            for one in report.restored:
                assert Path(one.dest).read_bytes() == wanted.pop(one.dest)
            assert time.monotonic() < until

    def check(turn: int) -> None:
        assert all(_has(store, data) for data in _content(turn, 0))

    rounds.together(count, [push, pull], check, place / "home", users)
    for turn in range(count if who != "two users" else 0):  # another's blobs are not linked
        assert all(_has(caches[1], data) for data in _content(turn, 0))
    assert quarantined(store) == quarantined(caches[1]) == []
    record_property("tried", ["Concurrency", f"a pull during a push, {who}", count])


@EVERY
@pytest.mark.parametrize("count", counts(4, 100))
def test_readers_during_a_repair(place: Path, record_property, who: str, count: int) -> None:
    """What is set aside is what was damaged, never the good copy that another just put there."""
    users = rounds.USERS[who]
    caches, store = _caches(place, users), Store(str(place / "store"))
    work = place / "work"
    work.mkdir()
    unprivileged.give(work, users[1])

    def prepare(turn: int) -> None:
        for number, data in enumerate(_content(turn, 0)):
            for cache in caches:
                put(cache, data)
            bad = b"damaged" if number else data[:-1] + b"!"
            put(store, bad, oid_of(data), 0o444 if turn % 2 else 0o644)
            folder = Path(store.path(oid_of(data))).parent
            if folder.stat().st_uid == os.geteuid():  # else it came with the store, and is shared
                rounds.share(folder)

    def mend(cache: Store, turn: int) -> None:
        place_ = Store(store.root)
        oids = [oid_of(data) for data in _content(turn, 0)]
        wrong = [oid for oid in oids if not engine.is_right(place_, oid)]
        report = copy_blobs([(oid, None) for oid in wrong], cache, place_)
        assert sorted(report.copied + report.present) == sorted(wrong)

    def read(turn: int) -> None:
        place_ = Store(store.root)
        wanted = {str(work / f"{turn}-{n}"): data for n, data in enumerate(_content(turn, 0))}
        items = [Restore(oid_of(data), path, len(data)) for path, data in wanted.items()]
        if turn % 3 == 0:
            mend(caches[1], turn)  # two that mend
        report = restore_files(items, [place_], str(work / ".staging"), str(work))
        assert not report.failed, report.failed
        for one in report.restored:
            assert Path(one.dest).read_bytes() == wanted[one.dest]
        mend(caches[1], turn)

    def check(turn: int) -> None:
        assert all(_has(store, data) for data in _content(turn, 0))

    rounds.together(
        count, [lambda turn: mend(caches[0], turn), read], check, place / "home", users, prepare
    )
    contents(store)
    aside = [path.read_bytes() for path in quarantined(store)]
    assert len(aside) == sum(len(_content(turn, 0)) for turn in range(count))
    assert all(data == b"damaged" or data.endswith(b"!") for data in aside)
    assert leftovers(store.root) == []
    record_property("tried", ["Concurrency", f"readers during a repair, {who}", count])


# one clone


def _mended(work: Work) -> Result:
    return verify.run(work.project(), [], False, work.options(), deep=True, repair=True)


def _made(place: Path, name: str = "repo") -> Work:
    return working.made(place / name, store=str(place / "store"))


@pytest.mark.parametrize("count", counts(3, 60))
@pytest.mark.parametrize("who", ["one user", "without rights"])
def test_two_trackers_in_one_clone(place: Path, record_property, who: str, count: int) -> None:
    work = _made(place)
    users = rounds.USERS[who]
    unprivileged.give(work.root, users[0])

    def track(number: int, turn: int) -> None:
        for name in (f"data/{turn}-{number}.csv", f"data/own-{number}.csv"):
            work.write(name, f"{turn} {number}\n")
        done = work.track(f"data/{turn}-{number}.csv", f"data/own-{number}.csv")
        assert not done.errors, [error.message for error in done.errors]

    def check(turn: int) -> None:
        names = [f"data/{one}-{number}.csv" for one in (turn, "own") for number in range(2)]
        for name in names:
            assert work.oid(name + ".dvc") == md5(work.path(name)), name
            assert work.oid(name + ".dvc", ":0") == md5(work.path(name)), name
            assert Store(str(place / "store")).has(md5(work.path(name)))
        assert work.raw == [], work.raw

    works = [lambda turn, number=number: track(number, turn) for number in range(2)]
    rounds.together(count, works, check, place / "home", users)
    record_property("tried", ["Concurrency", f"two trackers in one clone, {who}", count])


@pytest.mark.parametrize("count", counts(2, 60))
@pytest.mark.parametrize("who", ["one user", "without rights"])
def test_two_committers_in_two_worktrees(
    place: Path, record_property, who: str, count: int
) -> None:
    work = _made(place)
    work.write("data/x.csv", "first\n")
    work.track("data/x.csv")
    work.save("data")
    work.git("worktree", "add", "--quiet", "-b", "side", str(place / "side"))
    both = [work, Work(place / "side")]
    assert both[1].pull().exit_code == 0
    users = rounds.USERS[who]
    unprivileged.give(place / "repo", users[0])
    unprivileged.give(place / "side", users[0])

    def commit(number: int, turn: int) -> None:
        own = both[number]
        same = turn % 3 == 0  # now and then the same content
        own.write("data/x.csv", f"{turn}\n" if same else f"{turn} {number}\n")
        own.write("code.py", f"turn = {turn}\n")
        own.git("add", "code.py")
        done = pre_commit.run(own.project(), own.options())
        assert not done.errors, [error.message for error in done.errors]
        own.git("commit", "--quiet", "--no-verify", "--message", f"{turn} {number}")

    def check(turn: int) -> None:
        for own in both:
            assert own.oid("data/x.csv.dvc", "HEAD") == md5(own.path("data/x.csv"))
            assert Store(str(place / "store")).has(md5(own.path("data/x.csv")))
            assert own.git("status", "--porcelain").stdout == ""

    works = [lambda turn, number=number: commit(number, turn) for number in range(2)]
    rounds.together(count, works, check, place / "home", users)
    unprivileged.give(place, os.geteuid())
    assert work.git("rev-list", "--count", "--all").stdout.strip() == str(2 + 2 * count)
    contents(Store(str(place / "store")))
    record_property("tried", ["Concurrency", f"two committers in two worktrees, {who}", count])


def test_two_commits_with_hooks_in_two_worktrees(place: Path, record_property) -> None:
    """The same with the real git, which starts the real hooks."""
    work = _made(place)
    work.write("data/x.csv", "first\n")
    work.track("data/x.csv")
    work.save("data")
    work.git("worktree", "add", "--quiet", "-b", "side", str(place / "side"))
    both = [work, Work(place / "side")]

    def commit(number: int, turn: int) -> None:
        both[number].write("data/x.csv", f"{turn} {number}\n")
        both[number].git("commit", "--quiet", "--allow-empty", "--message", f"{turn} {number}")

    def check(turn: int) -> None:
        for own in both:
            assert own.oid("data/x.csv.dvc", "HEAD") == md5(own.path("data/x.csv"))
            assert Store(str(place / "store")).has(md5(own.path("data/x.csv")))

    works = [lambda turn, number=number: commit(number, turn) for number in range(2)]
    rounds.together(2, works, check, place / "home")
    record_property("tried", ["Concurrency", "two commits with hooks in two worktrees", 2])


@EVERY
@pytest.mark.parametrize("count", counts(1, 30))
def test_push_pull_and_repair_of_two_clones(
    place: Path, record_property, who: str, count: int
) -> None:
    """The commands themselves: one tracks and pushes, its teammate pulls, both verify and mend."""
    users = rounds.USERS[who]
    work = _made(place, "first")
    work.write("data/x.csv", "first\n")
    work.write("models/a.bin", "a")
    work.track("data/x.csv", "models")
    work.git("add", "--all")
    work.save("data")
    mate = working.cloned(work, place / "second")
    mate.git("remote", "remove", "origin")
    mate.write(".dvc/config.local", f"['remote \"storage\"']\n    url = {place / 'store'}\n")
    store = Store(str(place / "store"))
    for own, user in zip((work, mate), users, strict=True):
        unprivileged.give(own.root, user)

    def prepare(turn: int) -> None:
        for oid in store.list_oids():
            path = Path(store.path(oid))
            if turn % 2 and path.stat().st_uid == os.geteuid():
                path.unlink()  # both push all of it again
            elif path.stat().st_uid == os.geteuid():
                data = path.read_bytes()
                path.unlink()
                put(store, data[:-1] + b"?", oid)

    def first(turn: int) -> None:
        work.write("data/x.csv", f"{turn}\n")
        work.write("models/a.bin", f"{turn}")
        assert work.track().exit_code == 0
        done = _mended(work)
        assert done.exit_code == 0, [error.message for error in done.errors]
        assert work.push().exit_code == 0

    def second(turn: int) -> None:
        if turn % 2 == 0:
            shutil.rmtree(mate.root / "models", ignore_errors=True)
        mate.pull()
        mate.push()
        done = _mended(mate)
        assert done.exit_code == 0, [error.message for error in done.errors]
        assert mate.pull().exit_code == 0

    def check(turn: int) -> None:
        assert work.read("data/x.csv") == b"%d\n" % turn
        assert mate.read("data/x.csv") == b"first\n" and mate.read("models/a.bin") == b"a"
        for data in (b"first\n", b"a", b"%d\n" % turn, b"%d" % turn):
            assert _has(store, data)

    rounds.together(count, [first, second], check, place / "home", users, prepare)
    contents(store)
    assert all(Store(str(mate.root / ".dvc/cache")).has(oid_of(one)) for one in (b"first\n", b"a"))
    record_property("tried", ["Concurrency", f"push, pull and repair of two clones, {who}", count])


# a peer that was stopped


@pytest.mark.parametrize("count", counts(2, 40))
def test_a_push_that_was_stopped_in_the_middle(place: Path, record_property, count: int) -> None:
    """The others do the same work past it; when it goes on, it ends well."""
    cache, store = make_store(place / "mine"), Store(str(place / "store"))
    for turn in range(count):
        data = [b"%d %d" % (turn, number) for number in range(4)] + [b"%d" % turn + b"." * LARGE]
        oids = [(put(cache, one), len(one)) for one in data]

        def push(oids: list[tuple[str, int]] = oids, turn: int = turn) -> None:
            _stop_at(turn % 40)
            copy_blobs(oids, cache, Store(store.root), jobs=1, link_shared=bool(turn % 2))

        child = rounds.stopped(push, place / "home")
        report = copy_blobs(oids, cache, store)
        assert len(report.copied) + len(report.present) == 5
        assert all(_has(store, one) for one in data)
        rounds.go_on(child)
        assert all(_has(store, one) for one in data)
    contents(store)
    assert leftovers(store.root) == [] and quarantined(store) == []
    record_property("tried", ["Concurrency", "a push that was stopped in the middle", count])


def _stop_at(call: int) -> None:
    """Have this process stop itself before its ``call``-th system call from here."""
    left = [call]

    def profile(_: object, event: str, function: object) -> None:
        if event == "c_call" and getattr(function, "__module__", "") in ("posix", "fcntl"):
            left[0] -= 1
            if left[0] == -1:
                os.kill(os.getpid(), signal.SIGSTOP)

    sys.setprofile(profile)


def test_a_repair_that_was_stopped_before_it_moved_the_bad_blob(
    place: Path, monkeypatch: pytest.MonkeyPatch, record_property
) -> None:
    """Others do not wait for ever, and the good copy that they put there is not taken for bad."""
    store, data = Store(str(place / "store")), b"the data"
    put(store, b"damaged", oid_of(data))
    rename = os.rename

    def stop_first(old: str, new: str) -> None:
        if ".quarantine" in new:
            os.kill(os.getpid(), signal.SIGSTOP)
        rename(old, new)

    def mend() -> None:
        os.rename = stop_first
        assert engine.is_right(store, oid_of(data)) is False

    child = rounds.stopped(mend, place / "home")
    monkeypatch.setattr(stores, "LOCK_SECONDS", 0.2)
    assert not engine.is_right(store, oid_of(data))
    cache = make_store(place / "mine")
    put(cache, data)
    assert copy_blobs([(oid_of(data), None)], cache, store).copied
    rounds.go_on(child)
    assert contents(store) == {oid_of(data): data}
    assert [path.read_bytes() for path in quarantined(store)] == [b"damaged"]
    record_property("tried", ["Concurrency", "a repair that was stopped", 1])


def test_a_lock_whose_holder_was_stopped(
    place: Path, monkeypatch: pytest.MonkeyPatch, record_property
) -> None:
    """It is said which, and nothing is lost: the same command works when the holder goes on."""
    work = _made(place)
    work.write("data/x.csv", "x\n")

    def hold() -> None:
        with Lock(str(work.root / ".git/mlrepro/lock")):
            os.kill(os.getpid(), signal.SIGSTOP)

    child = rounds.stopped(hold, place / "home")
    monkeypatch.setattr(lock, "PATIENCE", 0.2)
    with pytest.raises(MlreproError) as caught:
        work.track("data/x.csv")
    assert caught.value.code == "locked" and "kill -CONT" in caught.value.hint
    assert Store(str(place / "store")).has(oid_of(b"x\n"))
    rounds.go_on(child)
    assert work.track("data/x.csv").exit_code == 0
    assert work.oid("data/x.csv.dvc", ":0") == oid_of(b"x\n")
    record_property("tried", ["Concurrency", "a lock whose holder was stopped", 1])


def test_an_index_of_git_that_stays_locked(
    place: Path, monkeypatch: pytest.MonkeyPatch, record_property
) -> None:
    work = _made(place)
    work.write("data/x.csv", "x\n")
    lock = work.write(".git/index.lock", "")
    monkeypatch.setattr(gitlock, "PATIENCE", 0.2)
    with pytest.raises(MlreproError) as caught:
        work.track("data/x.csv")
    assert caught.value.code == "locked" and caught.value.path == str(lock)
    assert work.oid("data/x.csv.dvc") == oid_of(b"x\n") and work.oid("data/x.csv.dvc", ":0") == ""
    lock.unlink()
    assert work.track("data/x.csv").exit_code == 0
    assert work.oid("data/x.csv.dvc", ":0") == oid_of(b"x\n")
    record_property("tried", ["Concurrency", "an index of git that stays locked", 1])


def test_a_git_that_holds_the_index_for_a_moment_is_waited_for(place: Path) -> None:
    work = _made(place)
    work.write("data/x.csv", "x\n")
    lock = work.write(".git/index.lock", "")
    child = unprivileged.start(lambda: (time.sleep(0.3), lock.unlink()), place / "home", 0)
    assert work.track("data/x.csv").exit_code == 0
    unprivileged.wait(child)
    assert work.oid("data/x.csv.dvc", ":0") == oid_of(b"x\n")
