"""Clones: each finds the store of where it came from, or says plainly what is out of reach."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from building import blob_path, git
from working import Work, cloned, made, oid_of, only

TRACKED = {"data/x.csv": "one\n", "data/set/a.txt": "a"}


@pytest.fixture
def work(tmp_path: Path) -> Work:
    """A repository with its store inside, and committed data."""
    found = made(tmp_path / "parent")
    for name, text in TRACKED.items():
        found.write(name, text)
    assert found.track("data/x.csv", "data/set").exit_code == 0
    found.save("data")
    return found


def has_all(work: Work) -> bool:
    return all(work.read(name) == text.encode() for name, text in TRACKED.items())


@pytest.mark.parametrize(
    "how",
    [
        [],
        ["--depth=1", "--no-local"],
        pytest.param(["--no-hardlinks"], marks=pytest.mark.slow),
        pytest.param(["--shared"], marks=pytest.mark.slow),
    ],
)
def test_a_clone_pulls_with_no_set_up(work: Work, tmp_path: Path, how: list[str]) -> None:
    clone = cloned(work, tmp_path / "clone", *how)
    done = clone.mlrepro("pull")
    assert (done.exit_code, done.stderr) == (0, "")
    assert has_all(clone)
    assert clone.status == ""  # nothing that git sees was written
    assert clone.status_of().clean
    assert not clone.store.exists()
    assert clone.dvc("status", "--cloud", "--json").json == {}  # DVC finds the store, too


@pytest.mark.parametrize("url", ["file://{}", "{}/.git", "../parent", "../parent/"])
def test_however_the_origin_is_written(work: Work, tmp_path: Path, url: str) -> None:
    clone = cloned(work, tmp_path / "clone")
    clone.git("remote", "set-url", "origin", url.format(work.root))
    assert clone.pull().exit_code == 0
    assert has_all(clone)


def test_a_clone_of_a_clone(work: Work, tmp_path: Path) -> None:
    middle = cloned(work, tmp_path / "middle")
    last = cloned(middle, tmp_path / "last")
    assert last.pull().exit_code == 0
    assert has_all(last)
    last.write("data/x.csv", "two\n")
    assert last.track().exit_code == 0
    assert blob_path(work.store, oid_of("two\n")).exists()  # in the one store of them all


def test_what_a_clone_adds_is_there_for_its_parent(work: Work, tmp_path: Path) -> None:
    clone = cloned(work, tmp_path / "clone")
    clone.pull()
    clone.write("data/x.csv", "two\n")
    clone.track()
    clone.save("two")
    clone.git("push", "--quiet", "origin", "HEAD:refs/heads/theirs")
    work.git("merge", "--quiet", "theirs")
    work.pull()
    assert work.read("data/x.csv") == b"two\n"
    assert work.status_of().clean


@pytest.mark.parametrize("count", [1, 2])
def test_a_bare_repository_in_between(work: Work, tmp_path: Path, count: int) -> None:
    git(tmp_path, "clone", "--quiet", "--bare", str(work.root), "bare.git")
    git(tmp_path, "-C", "bare.git", "remote", "remove", "origin")  # as on a server
    git(tmp_path, "clone", "--quiet", "bare.git", "clone")
    clone = Work(tmp_path / "clone")
    typed = ["data/x.csv"] if count == 1 else []
    done = clone.pull(*typed)
    error = only(done)
    assert error.code == "store-missing"
    first = "data/x.csv" if count == 1 else "data/set"
    for part in (first, clone.head[:10], "Ada Tester", str(tmp_path / "bare.git")):
        assert part in error.message
    assert ("and 1 more" in error.message) == (count == 2)
    assert "mlrepro init --store" in error.hint
    assert len(done.missing) == count
    said = clone.mlrepro("pull")
    assert (said.exit_code, len(said.stderr.splitlines())) == (1, 2)
    assert not clone.store.exists()  # no empty store is made in passing
    clone.init(store=str(work.store))
    assert clone.pull().exit_code == 0
    assert has_all(clone)


def test_a_bare_clone_that_knows_where_it_came_from(work: Work, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", "--bare", str(work.root), "bare.git")
    git(tmp_path, "clone", "--quiet", "bare.git", "clone")
    clone = Work(tmp_path / "clone")
    assert clone.pull().exit_code == 0
    assert has_all(clone)


def test_the_parent_is_gone(work: Work, tmp_path: Path) -> None:
    clone = cloned(work, tmp_path / "clone")
    clone.pull("data/x.csv")
    work.root.rename(tmp_path / "away")
    clone.path("data/x.csv").unlink()
    done = clone.pull()
    assert done.restored == ("data/x.csv",)  # the cache has it
    assert only(done).code == "store-missing"
    assert "data/set" in only(done).message
    (tmp_path / "away").rename(work.root)
    assert clone.pull().restored == ("data/set",)


def test_a_remote_elsewhere_says_so(work: Work, tmp_path: Path) -> None:
    clone = cloned(work, tmp_path / "clone")
    clone.git("remote", "set-url", "origin", "git@example.org:team/project.git")
    error = only(clone.pull())
    assert "git@example.org:team/project.git" in error.message
    assert error.code == "store-missing"


def test_clones_that_move(work: Work, tmp_path: Path) -> None:
    clone = cloned(work, tmp_path / "clone")
    clone.pull()
    clone.root.rename(tmp_path / "deep")
    (tmp_path / "below").mkdir()
    (tmp_path / "deep").rename(tmp_path / "below" / "clone")
    moved = Work(tmp_path / "below" / "clone")
    shutil.rmtree(moved.path("data/set"))
    moved.forget()
    assert moved.pull().restored == ("data/set",)
    work.root.rename(tmp_path / "elsewhere")  # the one with the store
    home = Work(tmp_path / "elsewhere")
    home.path("data/x.csv").unlink()
    home.forget()
    assert home.pull().restored == ("data/x.csv",)
    assert home.status_of().clean
    home.write("data/x.csv", "two\n")
    assert home.track().exit_code == 0
    assert blob_path(home.store, oid_of("two\n")).exists()
    assert not work.root.exists()


def test_a_store_on_a_shared_disk(tmp_path: Path) -> None:
    work = made(tmp_path / "parent", store=str(tmp_path / "mnt" / "store"))
    for name, text in TRACKED.items():
        work.write(name, text)
    work.track(*TRACKED)
    work.save("data")
    git(tmp_path, "clone", "--quiet", "--bare", str(work.root), "bare.git")
    git(tmp_path, "clone", "--quiet", "bare.git", "clone")
    shutil.rmtree(work.root)
    clone = Work(tmp_path / "clone")
    assert clone.pull().exit_code == 0  # an absolute place needs no origin
    assert has_all(clone)
    (tmp_path / "mnt").rename(tmp_path / "unmounted")
    clone.path("data/x.csv").unlink()
    clone.forget()
    error = only(clone.pull())
    assert error.code == "store-missing"
    assert "mount" in error.hint
    clone.write("data/x.csv", "two\n")
    assert clone.mlrepro("track").exit_code == 1
    assert not (tmp_path / "mnt").exists()


def test_a_linked_worktree_shares_the_store(work: Work, tmp_path: Path) -> None:
    work.git("worktree", "add", "--quiet", "-b", "side", str(tmp_path / "linked"))
    linked = Work(tmp_path / "linked")
    linked.pull()
    assert has_all(linked)
    linked.write("data/x.csv", "two\n")
    assert linked.track().exit_code == 0
    linked.save("two")
    assert blob_path(work.store, oid_of("two\n")).exists()
    assert not linked.store.exists()
    clone = cloned(linked, tmp_path / "clone")
    assert clone.pull().exit_code == 0
    assert clone.read("data/x.csv") == b"two\n"
    assert work.status_of().clean  # its own files are its own affair


def test_a_clone_may_have_a_store_of_its_own(work: Work, tmp_path: Path) -> None:
    clone = cloned(work, tmp_path / "clone")
    clone.pull()
    assert clone.init(store=str(tmp_path / "own")).store == str(tmp_path / "own")
    clone.write("data/x.csv", "two\n")
    assert clone.track().exit_code == 0
    assert blob_path(tmp_path / "own", oid_of("two\n")).exists()
    assert clone.push(all_commits=True).exit_code == 0
    assert blob_path(tmp_path / "own", oid_of("one\n")).exists()
    assert not blob_path(work.store, oid_of("two\n")).exists()


def test_init_in_a_clone_finds_the_same_store(work: Work, tmp_path: Path) -> None:
    clone = cloned(work, tmp_path / "clone")
    done = clone.init()
    assert (done.created, done.changed, done.store) == ((), (), str(work.store))
    assert not clone.store.exists()
    assert clone.status == ""
    assert clone.pull().exit_code == 0


def test_a_store_that_came_with_the_clone(tmp_path: Path) -> None:
    work = made(tmp_path / "parent")
    work.write("data/x.csv", "one\n")
    work.track("data/x.csv")
    work.git("add", "--force", "stores")  # a small example may be shipped
    work.save("with its store")
    clone = cloned(work, tmp_path / "clone")
    shutil.rmtree(work.root)
    assert clone.pull().exit_code == 0
    assert clone.read("data/x.csv") == b"one\n"
    assert clone.init().store == str(clone.store)
    assert os.listdir(clone.store)
