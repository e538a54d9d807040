"""A checkout that git breaks off halfway is named by what comes next, and finished by the same."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

import past
from mlrepro import gitlock
from mlrepro.errors import MlreproError
from past import FIRST, FOURTH, Past


@pytest.fixture
def work(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Past:
    return past.copy(tmp_path / "repo", tmp_path_factory.getbasetemp())


# What stands for git: where it is to be killed it brings a part of the work, as git does, file by
# file, and leaves its lock.
KILLED = """\
#!{python}
import os, pathlib, signal, subprocess, sys
GIT = {git!r}
if "checkout" in sys.argv and not os.path.exists({once!r}):
    pathlib.Path({once!r}).touch()
    def show(name):
        return subprocess.run([GIT, "show", "one:" + name], stdout=-1, check=True).stdout
    os.chdir({root!r})
    for name in {brought!r}:
        os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
        pathlib.Path(name).write_bytes(show(name))
    for name in {part!r}:
        pathlib.Path(name).write_bytes(show(name)[:9])
    for name in {gone!r}:
        os.unlink(name)
    pathlib.Path(".git/index.lock").touch()
    os.kill(os.getpid(), signal.SIGKILL)
os.execv(GIT, ["git", *sys.argv[1:]])
"""


def kill_git(
    work: Past,
    monkeypatch: pytest.MonkeyPatch,
    brought: list[str],
    part: list[str],
    gone: list[str],
) -> None:
    """Have the next checkout of git's killed once these files were brought, or taken away."""
    folder = work.root.parent / "bin"
    folder.mkdir()
    real = shutil.which("git")
    text = KILLED.format(
        python=sys.executable, git=real, once=str(folder / "once"), root=str(work.root),
        brought=brought, part=part, gone=gone,
    )  # fmt: skip
    (folder / "git").write_text(text)
    (folder / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def is_tidy(work: Past) -> bool:
    """Whether no data lies about that no pointer names, and no pointer without its data."""
    return work.status == "" and work.mlrepro("status").exit_code == 0


PARTS = {
    "nothing yet": ([], [], []),
    "a pointer": (["data/x.csv.dvc"], [], []),
    "a pointer in part": ([], ["data/x.csv.dvc"], []),
    "code and a pointer": (["train.py", "models.dvc"], [], []),
    "a pointer that goes": ([], [], ["data/y.csv.dvc"]),
    "an ignore file": (["data/.gitignore"], [], ["data/y.csv.dvc"]),
    "nearly all": (
        ["data/.gitignore", "data/x.csv.dvc", "models.dvc"], ["train.py"], ["data/y.csv.dvc"],
    ),
}  # fmt: skip


QUICK = ("a pointer in part", "nearly all")
EACH = [what if what in QUICK else pytest.param(what, marks=pytest.mark.slow) for what in PARTS]


@pytest.mark.parametrize("what", EACH)
def test_git_is_killed_in_the_middle(
    work: Past, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(gitlock, "PATIENCE", 0.1)
    kill_git(work, monkeypatch, *PARTS[what])
    done = work.mlrepro("checkout", "one")
    assert done.exit_code == 1 and ".git/index.lock" in done.stderr, done.stderr
    assert "mlrepro checkout one" in done.stderr
    if what != "nothing yet":
        for command in ("status", "pull"):
            told = work.mlrepro(command, *(["--dry-run"] if command == "pull" else []))
            assert "mlrepro checkout one" in told.stdout + told.stderr
    work.path(".git/index.lock").unlink()
    done = work.mlrepro("checkout", "one")
    assert done.exit_code == 0, done.stderr
    assert work.has(FIRST) and is_tidy(work)
    assert work.read("train.py").decode() == "lr = 1\n"
    assert work.mlrepro("checkout", "main").exit_code == 0
    assert work.has(FOURTH) and is_tidy(work)


def test_it_can_be_given_up(work: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    """As git itself is brought back to where it was: then nothing is said of it any more."""
    kill_git(work, monkeypatch, *PARTS["nearly all"])
    assert work.mlrepro("checkout", "one").exit_code == 1
    work.path(".git/index.lock").unlink()
    work.git("reset", "--quiet", "--hard")
    assert "broken off" not in work.mlrepro("status").stdout
    assert work.mlrepro("pull").exit_code == 0
    assert work.has(FOURTH) and is_tidy(work)


def test_what_was_edited_since_is_kept(work: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    kill_git(work, monkeypatch, *PARTS["nearly all"])
    assert work.mlrepro("checkout", "one").exit_code == 1
    work.path(".git/index.lock").unlink()
    work.write("train.py", "lr = 99\n")
    done = work.mlrepro("checkout", "one")
    assert done.exit_code == 1 and "train.py has changes" in done.stderr
    assert work.read("train.py").decode() == "lr = 99\n"
    work.git("checkout", "--quiet", "main", "--", "train.py")
    assert work.mlrepro("checkout", "one").exit_code == 0
    assert work.has(FIRST) and is_tidy(work)


@pytest.mark.parametrize("lock", ["HEAD.lock", "index.lock"])
def test_a_lock_that_git_left_is_named_before_anything_is_done(
    work: Past, monkeypatch: pytest.MonkeyPatch, lock: str
) -> None:
    monkeypatch.setattr(gitlock, "PATIENCE", 0.1)
    work.path(f".git/{lock}").touch()
    with pytest.raises(MlreproError) as caught:
        work.checkout("one")
    assert caught.value.code == "locked" and f"rm -f {work.root}/.git/{lock}" in caught.value.hint
    assert work.has(FOURTH) and work.status == ""
    work.path(f".git/{lock}").unlink()
    assert work.checkout("one").exit_code == 0
    assert work.has(FIRST) and is_tidy(work)


def test_a_lock_that_comes_meanwhile(work: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git brings all, but cannot say where HEAD is: the next run goes on from there."""
    monkeypatch.setattr(gitlock, "free", lambda _: None)
    work.path(".git/HEAD.lock").touch()
    with pytest.raises(MlreproError) as caught:
        work.checkout("one")
    assert "HEAD.lock" in caught.value.message
    assert "mlrepro checkout one" in work.mlrepro("status").stdout
    work.path(".git/HEAD.lock").unlink()
    assert work.checkout("one").exit_code == 0
    assert work.has(FIRST) and is_tidy(work)


def test_git_alone_is_stopped_by_a_lock(work: Past) -> None:
    work.path(".git/HEAD.lock").touch()
    assert work.git("checkout", "--quiet", "one", check=False).returncode
    said = work.mlrepro("status").stdout
    assert "data/y.csv.dvc: removed, not committed" in said and "the pointer is newer" in said
    work.path(".git/HEAD.lock").unlink()
    work.git("checkout", "--quiet", "one")
    assert work.has(FIRST) and is_tidy(work)


def test_we_are_killed_while_git_is_at_work(work: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what git runs in: the data was taken away, and comes back by the same command again."""
    kill_git(work, monkeypatch, *PARTS["nearly all"])
    script = work.root.parent / "bin" / "git"
    script.write_text(
        script.read_text().replace(
            "os.kill(os.getpid()", "os.kill(os.getppid(), 9); os.kill(os.getpid()"
        )
    )
    assert work.mlrepro("checkout", "one").exit_code in (-signal.SIGKILL, 128 + signal.SIGKILL)
    work.path(".git/index.lock").unlink()
    assert "mlrepro checkout one" in work.mlrepro("status").stdout
    assert work.mlrepro("checkout", "one").exit_code == 0
    assert work.has(FIRST) and is_tidy(work)
