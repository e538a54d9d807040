"""Repositories with tracked data and our hooks, for each of the ways in which git calls these."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from building import Repo, Run, blob_path, md5

# Our own hooks alone, or as the `.legacy` ones that a hook framework calls before its own.
WAYS = ("plain", "pre-commit", "prek")
# The same for cases in which the way matters least, so that the quick run of all tests stays quick.
MOSTLY_PLAIN = ("plain", *(pytest.param(way, marks=pytest.mark.slow) for way in WAYS[1:]))
# A framework alone, which calls us as one of its hooks, in either form.
ALONE = ("pre-commit: make dvc", "prek: hook")
EVERY_ALONE = (*ALONE, "pre-commit: hook", "prek: make dvc")

DATA = "data/x.csv"
POINTER = "data/x.csv.dvc"
FIRST = "id,value\n1,one\n"

# As a git without our hooks leaves a worktree.
UNHOOKED = ("-c", "core.hooksPath=/dev/null")

HOOK_ENTRY = """\
repos:
  - repo: local
    hooks:
      - id: mlrepro-pre-commit
        name: mlrepro
        entry: mlrepro hook pre-commit
        language: system
        pass_filenames: false
        always_run: true
"""
MAKE_ENTRY = HOOK_ENTRY.replace("mlrepro-pre-commit", "dvc").replace(
    "mlrepro hook pre-commit", "make dvc"
)


class Hooked(Repo):
    """A repository that tracks ``data/x.csv``, with README.md and a.py committed beside it."""

    way = ""

    def edit_unseen(self, name: str) -> None:
        """Give a file other bytes, as many as before, and its old date."""
        path = self.path(name)
        before = path.stat()
        path.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    def put_data_behind_a_link(self) -> None:
        """Move the folder ``data``, and leave a symlink that leads to it."""
        self.path("data").rename(self.path("elsewhere"))
        self.path("data").symlink_to("elsewhere")

    def __init__(self, root: str | os.PathLike[str]) -> None:
        super().__init__(root)
        self.store = self.root / "stores" / "blob"

    @property
    def state(self) -> Path:
        """What is known of this worktree."""
        return self.root / ".git" / "mlrepro"

    def commit_with(
        self,
        *args: str,
        cwd: str = ".",
        env: Mapping[str, str] | None = None,
        input: str | None = None,
    ) -> Run:
        """``git commit`` with these arguments; a failure is for the test to judge."""
        done = subprocess.run(
            ["git", "commit", *args],
            cwd=self.root / cwd,
            env={**os.environ, **(env or {})},
            input=input if input is not None else "",
            capture_output=True,
            text=True,
            check=False,
        )
        return Run(done.returncode, done.stdout, done.stderr)

    def bare_git(self, *args: str, env: Mapping[str, str]) -> tuple[int, str]:
        """Git in a session without a terminal, with this environment and nothing else in it."""
        done = subprocess.run(
            ["git", *args],
            cwd=self.root,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
        )
        return done.returncode, done.stdout + done.stderr

    def commits(self, *args: str, **how: Any) -> Run:
        """``git commit`` that has to succeed, and never by way of a bug."""
        done = self.commit_with(*args, **how)
        assert done.exit_code == 0, done.stdout + done.stderr
        return done

    def refused(self, *args: str, **how: Any) -> str:
        """``git commit`` that has to be refused, in words; returns what was said."""
        done = self.commit_with(*args, **how)
        said = done.stdout + done.stderr
        assert done.exit_code == 1, said
        assert "Traceback" not in said and "this is a bug" not in said, said
        return said

    def edit(self, content: str = "edited", name: str = DATA) -> str:
        """Give data a new content; returns its hash."""
        self.write(name, f"{FIRST}2,{content}\n")
        return self.md5(name)

    def stage(self, name: str = "README.md", content: str = "changed\n") -> None:
        """A change that has nothing to do with data, staged."""
        self.write(name, content)
        self.git("add", name)

    def leave_pointer_unstaged(self) -> None:
        """The pointer names the data as it is, but is not staged; nor is a.py; README.md is."""
        self.edit("first edit")
        done = self.mlrepro("track")
        assert done.exit_code == 0, done.stderr
        self.git("reset", "--quiet")
        self.write("a.py", "one = 2\n")
        self.stage()

    def unhooked(self, *args: str) -> str:
        """A git command during which no hook runs."""
        return self.git(*UNHOOKED, *args).stdout

    def has_blob(self, oid: str) -> bool:
        return blob_path(self.store, oid).is_file()

    def is_good(self, name: str = DATA) -> bool:
        """HEAD, index and worktree pointer all name the data as it is, and it is stored."""
        pointer = name + ".dvc"
        named = {self.oid(pointer, "HEAD"), self.oid(pointer, ":0"), self.oid(pointer)}
        return named == {self.md5(name)} and self.has_blob(self.md5(name))

    def untouched(self, name: str) -> tuple[int, int, int]:
        """What is the same for as long as nobody writes to a file: its inode, time and size."""
        now = self.path(name).stat()
        return now.st_ino, now.st_mtime_ns, now.st_size

    def explain(self, name: str = DATA) -> str:
        """What an assertion on ``is_good`` has to show."""
        pointer = name + ".dvc"
        return (
            f"HEAD {self.oid(pointer, 'HEAD')} index {self.oid(pointer, ':0')} worktree "
            f"{self.oid(pointer)} data {self.md5(name)} stored {self.has_blob(self.md5(name))}"
        )

    def changed_in(self, revision: str = "HEAD") -> list[str]:
        """The files that a commit changed."""
        shown = self.git("show", "--format=", "--name-only", "--no-renames", revision).stdout
        return sorted(shown.split())

    def teammate(self, root: Path) -> Hooked:
        """Another clone as it was on the first day, which uses the same store."""
        other = type(self)(shutil.copytree(template(self.way), root, symlinks=True))
        other.way, other.store = self.way, self.store
        shutil.rmtree(other.root / "stores")
        other.write(".dvc/config.local", f"['remote \"storage\"']\n    url = {self.store}\n")
        return other


def copy(way: str, root: Path) -> Hooked:
    """A repository of its own for one test, set up in the way named."""
    repo = Hooked(shutil.copytree(template(way), root, symlinks=True))
    repo.way = way
    repo.git("update-index", "-q", "--refresh", check=False)
    return repo


_BASE: list[Path] = []


def build_in(base: Path) -> None:
    """Say where templates are built: a folder of this test run's, which its workers share."""
    if not _BASE:
        _BASE.append(base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base)


def template(way: str) -> Path:
    """The repository that the tests of one way copy; built once, and moved since then."""
    name = way.replace(": ", "-").replace(" ", "-")
    built = _BASE[0] / name
    with open(_BASE[0] / f"{name}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.exists():
            repo = Hooked(_BASE[0] / f"{name}-first")
            repo.root.mkdir()
            repo.git("init", "--quiet", "--template=")
            _set_up(repo, way)
            # Where a clone lies is nobody's business: every test works in one that was moved.
            repo.root.rename(built)
    return built


def _set_up(repo: Hooked, way: str) -> None:
    repo.write("README.md", "first\n")
    repo.write("a.py", "one = 1\n")
    repo.write(DATA, FIRST)
    framework, _, form = way.partition(": ")
    kind = "none" if form else "pre-commit" if way == "pre-commit" else "git"
    done = repo.mlrepro("init", "--hooks", kind)
    assert done.exit_code == 0, done.stderr
    if form:
        entry = MAKE_ENTRY if form == "make dvc" else HOOK_ENTRY
        repo.write(".pre-commit-config.yaml", entry)
    elif way == "prek":
        repo.write(".pre-commit-config.yaml", MAKE_ENTRY)
    done = repo.mlrepro("track", DATA)
    assert done.exit_code == 0, done.stderr
    repo.git("add", "--all")
    repo.commits("--quiet", "--message", "first")
    if form or way == "prek":
        program = Path(sys.executable).parent / framework
        subprocess.run([program, "install"], cwd=repo.root, check=True, capture_output=True)
    assert repo.status == ""
    assert repo.is_good(), repo.explain()


def pointer_text(oid: str, size: int, name: str) -> str:
    """A pointer as DVC writes it."""
    return f"outs:\n- md5: {oid}\n  size: {size}\n  hash: md5\n  path: {name}\n"


__all__ = [
    "ALONE",
    "DATA",
    "EVERY_ALONE",
    "FIRST",
    "POINTER",
    "UNHOOKED",
    "WAYS",
    "Hooked",
    "copy",
    "md5",
]
