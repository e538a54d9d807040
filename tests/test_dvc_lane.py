"""DVC called in this process: what is left of it, and what it adds and brings back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from building import Repo, read_file_tree
from dvc_place import Place, blob, oid_of, spoil
from mlrepro import dvc
from mlrepro.errors import (
    FileChanging,
    RepositoryError,
    StoreError,
)
from mlrepro.lock import Lock


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.at(tmp_path / "repo")


LOOK = """
import json, logging, os, sys, threading
def look():
    return {
        "streams": [id(sys.stdout), id(sys.stderr)],
        "handlers": [len(logging.getLogger(name).handlers) for name in ("", "dvc", "dvc_data")],
        "levels": [logging.getLogger(name).level for name in ("", "dvc", "dvc_data", "asyncio")],
        "threads": [thread.name for thread in threading.enumerate()],
        "environ": sorted(os.environ.items()),
    }
from mlrepro import dvc
assert "dvc" not in sys.modules
before = look()
with dvc.session(sys.argv[1]) as session:
    assert look() == before, (look(), before)
    added, errors = session.add(["data.csv", "empty.csv"])
    assert len(added) == 2 and not errors, errors
    assert not session.push(["data.csv.dvc"])[1]
assert look() == before, (look(), before)
import tqdm
assert tqdm.tqdm.monitor is None
"""


@pytest.mark.parametrize("on_a_terminal", [False, True])
def test_nothing_is_left_of_a_session(place: Place, on_a_terminal: bool) -> None:
    place.write("data.csv", "a\n")
    place.write("empty.csv", "")
    dead = place.write(".dvc/tmp/mlrepro-site/1-dead/repo/x", "x")  # left by one that was killed
    place.write(".dvc/tmp/mlrepro-site/1-dead.lock", "")
    ours, theirs = os.openpty() if on_a_terminal else os.pipe()
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", LOOK, place.top],
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color"},
    ) as process:
        os.close(theirs)
        shown = read_all(ours)
        process.wait()
    assert (process.returncode, shown) == (0, "")
    assert not dead.exists()
    assert list((place.root / ".dvc/tmp/mlrepro-site").iterdir()) == []
    assert not Path(os.environ["DVC_SITE_CACHE_DIR"]).exists()


def read_all(fd: int) -> str:
    shown = b""
    with open(fd, "rb", buffering=0) as file:
        try:
            while more := file.read(4096):
                shown += more
        except OSError:  # how a terminal of Linux says that its other end is closed
            pass
    return shown.decode()


def test_init_makes_what_is_missing_and_stages_nothing(tmp_path: Path) -> None:
    repo = Repo.make(tmp_path / "repo")
    repo.write(".dvc/config", "[core]\n    remote = x\n")  # as a run leaves it that was cut short
    assert dvc.init(str(repo.root)) == [".dvc/.gitignore", ".dvcignore"]
    assert repo.read(".dvc/config") == b"[core]\n    remote = x\n"
    assert dvc.init(str(repo.root)) == []
    assert all(line.startswith("??") for line in repo.status.splitlines())


def test_init_refuses_where_git_ignores_dvc(tmp_path: Path) -> None:
    repo = Repo.make(tmp_path / "repo")
    repo.write(".gitignore", ".dvc\n")
    with pytest.raises(RepositoryError, match="ignores") as caught:
        dvc.init(str(repo.root))
    assert caught.value.code == "dvc-ignored"
    assert not repo.path(".dvc").exists()


def test_without_a_dvc_repository_none_around_is_taken(place: Place) -> None:
    inner = Repo.make(place.root / "inner")
    with pytest.raises(RepositoryError) as caught, dvc.session(str(inner.root)):
        pass
    assert (caught.value.code, caught.value.hint) == ("not-a-dvc-repository", "mlrepro init")


def test_another_dvc_holds_the_lock(place: Place) -> None:
    place.write("data.csv", "a\n")
    program = (
        "import sys, zc.lockfile; lock = zc.lockfile.LockFile(sys.argv[1]);"
        "print('held', flush=True); sys.stdin.read()"
    )
    lock = place.root / ".dvc/tmp/lock"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        with dvc.session(place.top) as session, pytest.raises(RepositoryError) as caught:
            session.add(["data.csv"])
        other.communicate()
    assert caught.value.code == "dvc-locked"
    assert "dvc.org" not in str(caught.value)


def test_two_sessions_take_turns(place: Place) -> None:
    place.write("data.csv", "a\n")
    turn = Lock(str(place.root / ".dvc/tmp/mlrepro.lock"))
    waiting = threading.Event()
    with dvc.session(place.top) as session:
        turn.__enter__()

        def release() -> None:
            waiting.wait()
            turn.__exit__()

        other = threading.Thread(target=release)
        other.start()
        waiting.set()
        added, errors = session.add(["data.csv"])
        other.join()
    assert len(added) == 1 and errors == []


def test_inside_a_hook_of_git(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """What git names is its own: folder and index. Commands run within a session still see that."""
    place.write("data.csv", "a\n")
    monkeypatch.setenv("GIT_DIR", ".git")
    monkeypatch.setenv("GIT_INDEX_FILE", str(place.root / ".git/next-index-1.lock"))
    with dvc.session(place.top) as session:
        assert session.add(["data.csv"])[1] == []
        assert os.environ["GIT_DIR"] == ".git"
    assert not place.path(".git/next-index-1.lock").exists()


def test_a_bug_of_ours_is_not_taken_for_dvcs() -> None:
    from mlrepro.dvc.inprocess import calling
    from mlrepro.dvc.stages import by_remote

    with pytest.raises(TypeError), calling():
        by_remote(None, "")  # type: ignore[arg-type]


def test_messages_are_one_plain_line() -> None:
    from mlrepro.dvc.failures import plain, translate

    text = "\x1b[31mThis\x1b[0m failed at s3://me:secret@host/x.\nSee <https://man.dvc.org/x> now."
    assert plain(Exception(text)) == "This failed at s3://***@host/x."
    chain = Exception("outer")
    chain.__cause__ = ConnectionRefusedError(111, "refused")
    meaning = translate(chain, remote="storage")
    assert (type(meaning), meaning.code) == (StoreError, "remote-unreachable")


def test_add_push_pull_round_trip(place: Place, tmp_path: Path) -> None:
    place.write("data.csv", "a,b\n1,2\n")
    place.write("run.sh", "#!/bin/sh\n").chmod(0o755)
    place.write("images/one.txt", "1\n")
    place.write("images/deep/two.txt", "2\n")
    before = place.path("data.csv").stat()
    with dvc.session(place.top) as session:
        assert session.repo is not None
        with dvc.session(place.top) as same:
            assert same is session
        added, errors = session.add(["data.csv", "images", "run.sh"])
        assert errors == []
        assert session.status() == ([], [])
        pointers = [item.pointer for item in added]
        sent, errors = session.push(pointers)
        assert errors == [] and len(sent) == 5
    by_path = {item.path: item for item in added}
    assert by_path["data.csv"] == dvc.Added(
        "data.csv", "data.csv.dvc", oid_of("a,b\n1,2\n"), 8, None, False
    )
    assert by_path["run.sh"].isexec and by_path["images"].nfiles == 2
    after = place.path("data.csv").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert place.git("diff", "--cached", "--name-only").stdout == ""
    assert dvc.missing_in_remote(place.top, "", [(item.oid, item.size) for item in added]) == set()

    place.commit("data")
    clone = Place(place.clone(tmp_path / "clone").root)
    with dvc.session(clone.top) as session:
        done, errors = session.pull(pointers)
    assert (sorted(done), errors) == (["data.csv", "images", "run.sh"], [])
    assert {
        name: data for name, data in read_file_tree(clone.root).items() if "images" in name
    } == {
        "images.dvc": place.read("images.dvc"),
        "images/one.txt": b"1\n",
        "images/deep/two.txt": b"2\n",
    }
    assert os.access(clone.path("run.sh"), os.X_OK)
    assert json.loads(clone.dvc("status", "--json").stdout) == {}


def test_what_cannot_be_added_does_not_stop_the_rest(place: Place, tmp_path: Path) -> None:
    place.write("good.csv", "good\n")
    place.write("also/good.csv", "good too\n")
    place.write("in-git.csv", "in git\n")
    place.git("add", "in-git.csv")
    place.write("also.dvc", "")  # names nothing; the pointer of a folder that is not asked for
    place.write("conflict.csv", "data\n")
    place.write("conflict.csv.dvc", "<<<<<<< ours\n")
    os.mkfifo(place.path("pipe"))
    place.path("link").symlink_to(tmp_path)
    place.write("other/broken.csv.dvc", "outs: {{{\n")
    names = ["good.csv", "missing.csv", "in-git.csv", "conflict.csv", "pipe", "link"]
    with dvc.session(place.top) as session:
        added, errors = session.add([*names, "../x", "also/good.csv"])
    assert [item.path for item in added] == ["good.csv", "also/good.csv"]
    assert {error.path: error.code for error in errors} == {
        "missing.csv": "path-missing",
        "in-git.csv": "path-in-git",
        "conflict.csv.dvc": "pointer-conflict",
        "pipe": "path-not-regular",
        "link": "path-symlink",
        "../x": "path-invalid",
    }
    assert place.read("conflict.csv.dvc") == b"<<<<<<< ours\n"
    assert not place.path("in-git.csv.dvc").exists()


def test_a_damaged_blob_in_the_cache_never_reaches_the_workspace(place: Place) -> None:
    """By itself, ``dvc add`` would overwrite the good file with it."""
    place.write("data.csv", "good\n")
    oid = oid_of("good\n")
    spoil(blob(place.cache, oid))
    with dvc.session(place.top) as session:
        added, errors = session.add(["data.csv"])
    assert ([item.oid for item in added], errors) == ([oid], [])
    assert place.read("data.csv") == b"good\n"
    assert blob(place.cache, oid).read_bytes() == b"good\n"
    (aside,) = (place.cache / ".quarantine").iterdir()
    assert aside.read_bytes() == b"spoilt"


def test_a_cache_that_takes_no_blob(place: Place) -> None:
    """DVC only logs it, and writes the pointer."""
    place.write("data.csv", "first\n")
    with dvc.session(place.top) as session:
        session.add(["data.csv"])
    pointer = place.read("data.csv.dvc")
    second = "second\n"
    place.write("data.csv", second)
    place.write("new.csv", second)
    place.write(f".dvc/cache/files/md5/{oid_of(second)[:2]}", "in the way")
    with dvc.session(place.top) as session:
        added, errors = session.add(["data.csv", "new.csv"])
    assert added == [] and {error.path for error in errors} == {"data.csv", "new.csv"}
    assert place.read("data.csv.dvc") == pointer
    assert not place.path("new.csv.dvc").exists()


def test_a_file_that_changes_between_hash_and_copy(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dvc_data.hashfile.build as building_blocks

    original = building_blocks.hash_file

    def hash_and_change(path: str, *args: object, **options: object) -> object:
        result = original(path, *args, **options)
        with open(path, "ab") as file:
            file.write(b"more\n")
        return result

    place.write("data.csv", "a\n")
    monkeypatch.setattr(building_blocks, "hash_file", hash_and_change)
    with dvc.session(place.top) as session:
        added, errors = session.add(["data.csv"])
    assert added == [] and [type(error) for error in errors] == [FileChanging]
    assert not place.path("data.csv.dvc").exists()
    assert place.read("data.csv") == b"a\nmore\nmore\n"
