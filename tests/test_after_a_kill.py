"""What a run that was killed leaves, and what the next one makes of it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from mlrepro import gitadd, gitlock, placing
from mlrepro.errors import MlreproError
from working import Work, codes, made, oid_of


@pytest.fixture
def work(tmp_path: Path) -> Work:
    work = made(tmp_path / "repo")
    work.write("data/x.csv", "one\n")
    return work


def _dead_run(place: Path) -> list[Path]:
    """What a run that wrote to a store leaves when it is killed."""
    room = place / ".mlrepro" / "tmp"
    (room / "7-0123abcd").mkdir(parents=True)
    left = [room / "7-0123abcd.lock", room / "7-0123abcd" / "0"]
    for path in left:
        path.write_bytes(b"half")
    return left


@pytest.mark.parametrize("command", ["track", "push", "pull", "repair"])
def test_temporary_files_go_though_there_is_nothing_to_do(work: Work, command: str) -> None:
    work.track("data/x.csv")
    work.save()
    work.pull()
    left = _dead_run(work.root / ".dvc" / "cache")
    left += _dead_run(work.store) if command != "pull" else []
    if command == "repair":
        assert work.mlrepro("verify", "--repair").exit_code == 0
    elif command == "pull":
        work.path("data/x.csv").unlink()
        assert work.pull().restored == ("data/x.csv",)
    else:
        assert not getattr(work, command)().errors
    assert [path for path in left if path.exists()] == []


def test_an_ignore_file_is_staged_by_the_next_run(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    work.write("data/.gitignore", "*.tmp\n")
    work.git("add", "data/.gitignore")
    work.save()

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(gitadd, "stage", killed)
    with pytest.raises(KeyboardInterrupt):
        work.track("data/x.csv")
    monkeypatch.undo()
    assert work.path("data/.gitignore").read_text() == "*.tmp\n/x.csv\n" and not work.staged
    work.track("data/x.csv")
    assert work.staged == {"data/x.csv.dvc", "data/.gitignore"}
    work.save()
    work.write("data/.gitignore", "*.tmp\n/x.csv\n*.bak\n")  # the user's own edit stays theirs
    work.track("data/x.csv")
    assert not work.staged


@pytest.mark.parametrize("stored", [True, False])
def test_an_old_version_that_a_swap_left_goes_if_it_is_stored(work: Work, stored: bool) -> None:
    work.track("data/x.csv")
    work.save()
    dead = work.root / ".dvc/tmp/mlrepro/7-0123abcd"
    dead.mkdir(parents=True)
    (dead / "old-1-1").write_text("one\n" if stored else "precious\n")
    (dead.parent / "7-0123abcd.lock").write_bytes(b"")
    work.path("data/x.csv").unlink()
    done = work.pull()
    assert done.restored == ("data/x.csv",)
    kept = list(work.root.glob(".dvc/tmp/mlrepro/**/*-old-1-1"))
    if stored:
        assert not kept and not done.errors
    else:
        assert codes(done) == ["file-recovered"] and kept[0].read_text() == "precious\n"


def test_a_lock_that_git_left_is_named(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gitlock, "PATIENCE", 0.1)
    lock = work.root / ".git" / "index.lock"
    lock.write_bytes(b"")
    with pytest.raises(MlreproError) as caught:
        work.track("data/x.csv")
    assert caught.value.code == "locked" and str(lock) in caught.value.message
    assert f"rm -f {lock}" in caught.value.hint
    lock.unlink()
    assert not work.track("data/x.csv").errors
    assert work.staged == {"data/x.csv.dvc", "data/.gitignore"}
    assert (work.store / "files/md5" / oid_of("one\n")[:2] / oid_of("one\n")[2:]).is_file()


def test_what_could_not_be_removed_is_not_taken_for_removed(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    work.write("data/set/a", "one\n")
    work.track("data/set")
    work.save()
    work.write("data/set/b", "two\n")
    work.track()
    work.save()
    work.pull()
    work.git("checkout", "--quiet", "HEAD~1", "--", "data/set.dvc")

    def read_only(*_: object) -> bool:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(placing, "_take_away", read_only)
    assert codes(work.pull()) == ["path-denied"] and work.path("data/set/b").exists()
    monkeypatch.undo()
    assert work.states() == {"data/set": "modified"}
    assert work.pull().restored == ("data/set",) and not work.path("data/set/b").exists()
