"""A repository on which the commands are run in this process, where a process adds nothing."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import building
from mlrepro import project as places
from mlrepro.commands import init, pull, push, status, track
from mlrepro.errors import MlreproError
from mlrepro.project import Project
from mlrepro.result import Options, Reporter, Result

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "made-with-ml"
# The published md5 of each real table.
PUBLISHED = {
    "2022-08": {
        "projects.csv": "e735a68dedbc7242187d4574b40ff6dc",
        "tags.csv": "dff460f6909d270f17bc06733c3a1f80",
    },
    "2023-07": {
        "projects.csv": "d1461024ac69b1b9dfefc97b8e2c5725",
        "tags.csv": "303999247df2022c82ad35c047e5b6ba",
        "labeled_projects.csv": "341e84bce76ec30174384b367f6d45a8",
        "holdout.csv": "9e10f0c770ec9e9319bb7d1655d8f073",
    },
}

# What init makes in an empty repository.
NEW = {
    ".dvc/.gitignore", ".dvc/config", ".dvcignore", ".gitattributes", ".gitignore",
    ".pre-commit-config.yaml", "Makefile", "config/config.py",
}  # fmt: skip


class Heard(Reporter):
    """Keeps what a command tells on its way."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


class Work(building.Repo):
    """A repository with the commands of the core; paths are as typed in ``cwd``."""

    lane = ""

    def options(self, **given: Any) -> Options:
        """The options of one command, in the lane of this repository."""
        return Options(**{"lane": self.lane, **given})

    def project(self, cwd: str = ".") -> Project:
        """Where one stands in ``cwd``."""
        return places.find(str(self.root / cwd), os.environ)

    def init(
        self, store: str | None = None, hooks: str | None = "git", cwd: str = ".", **given: Any
    ) -> init.InitResult:
        start = str(self.root / cwd)
        return init.run(start, store=store, hooks=hooks, options=self.options(**given))

    def track(self, *paths: str, cwd: str = ".", **given: Any) -> track.TrackResult:
        return track.run(self.project(cwd), list(paths), self.options(**given))

    def status_of(self, cwd: str = ".", **given: Any) -> status.StatusResult:
        return status.run(self.project(cwd), self.options(**given))

    def push(self, *revisions: str, all_commits: bool = False, **given: Any) -> push.PushResult:
        return push.run(self.project(), list(revisions), all_commits, self.options(**given))

    def pull(
        self, *paths: str, force: bool = False, cwd: str = ".", **given: Any
    ) -> pull.PullResult:
        return pull.run(self.project(cwd), list(paths), force, self.options(**given))

    def states(self) -> dict[str, str]:
        """The state of each tracked path, as ``status`` has it."""
        return {file.path: file.state for file in self.status_of().files}

    def make_dvc(self) -> str:
        """What ``make dvc`` says."""
        env = {**os.environ, "MAKEFLAGS": "--no-print-directory"}
        done = subprocess.run(
            ["make", "dvc"], cwd=self.root, env=env, capture_output=True, text=True, check=False
        )
        return done.stdout + done.stderr

    def save(self, message: str = "change") -> str:
        """Commit what is staged, past the hooks; returns the commit."""
        self.git("commit", "--quiet", "--no-verify", "--allow-empty", "--message", message)
        return self.head

    def forget(self) -> None:
        """Remove the cache, so that only the store has the content."""
        shutil.rmtree(self.root / ".dvc" / "cache", ignore_errors=True)

    @property
    def store(self) -> Path:
        return self.root / "stores" / "blob"

    @property
    def raw(self) -> list[str]:
        """What ``git add -A`` would bring into git that is not there: data, if all goes wrong."""
        listed = self.git("ls-files", "-z", "--others", "--exclude-standard").stdout
        return [name for name in listed.split("\0") if name]

    @property
    def staged(self) -> set[str]:
        """What git's index has and HEAD has not, or not so."""
        listed = self.git("-c", "core.quotePath=off", "diff", "--cached", "--name-only", "-z")
        return {name for name in listed.stdout.split("\0") if name}


def made(root: Path, lane: str = "", **given: Any) -> Work:
    """A new repository that ``init`` set up."""
    work = Work.make(root)
    work.lane = lane
    work.init(**given)
    work.save("set up")
    return work


def cloned(work: Work, root: Path, *options: str) -> Work:
    """A clone, in the same lane."""
    building.git(root.parent, "clone", "--quiet", *options, str(work.root), str(root))
    clone = Work(root)
    clone.lane = work.lane
    return clone


def codes(result: Result) -> list[str]:
    """The codes of a result's errors."""
    return [error.code for error in result.errors]


def only(result: Result) -> MlreproError:
    """The one error of a result; it has to say what to type."""
    assert len(result.errors) == 1, [error.message for error in result.errors]
    assert "\n" not in result.errors[0].message
    return result.errors[0]


def oid_of(content: str | bytes) -> str:
    """The md5 of some bytes."""
    data = content.encode() if isinstance(content, str) else content
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def snapshot(root: Path) -> dict[str, tuple[int, bytes]]:
    """Mode and bytes of everything below ``root``, .git too; of git's index what it lists.

    Without the list of clones that a store keeps: a copied repository enters itself there.
    """
    found: dict[str, tuple[int, bytes]] = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder, name)
            about = path.lstat()
            if path.is_symlink():
                content = os.fsencode(os.readlink(path))
            elif stat.S_ISREG(about.st_mode) and not (name == "index" and folder.endswith(".git")):
                content = path.read_bytes()
            else:
                content = b""
            if not folder.endswith(".mlrepro/clones"):
                found[os.path.relpath(path, root)] = (about.st_mode, content)
    listed = building.git(root, "ls-files", "--stage", "-z", check=False)
    found["<index>"] = (0, os.fsencode(listed.stdout))
    return found


def copied(name: str, build: Callable[[Path], Work], to: Path, base: Path) -> Work:
    """A copy of the repository that ``build`` makes, which is made once for each worker."""
    there = base / f"built-{name}"
    if not (there / "whole").exists():
        build(there / "repo")
        (there / "whole").touch()
    shutil.copytree(there / "repo", to, symlinks=True)
    for file in (to / ".dvc/config.local", to / ".git/mlrepro/store"):  # where it is now
        file.write_text(file.read_text().replace(str(there / "repo"), str(to)))
    return Work(to)
