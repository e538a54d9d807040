"""Builds what tests work on: file trees, real repositories, and runs of the real commands."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# What is built: a text, bytes, or None for an empty folder.
Tree = Mapping[str, str | bytes | None]

# Far above what anything takes, so that only what hangs is ended.
PATIENCE = 300.0


def build_file_tree(root: str | os.PathLike[str], tree: Tree) -> None:
    """Write files below ``root``: {"data/x.csv": "text", "model.bin": b"bytes", "empty": None}."""
    for name, content in tree.items():
        path = Path(root, name)
        if content is None:
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def read_file_tree(root: str | os.PathLike[str]) -> dict[str, bytes | None]:
    """The inverse: every file below ``root`` and every empty folder, without .git."""
    found: dict[str, bytes | None] = {}
    for folder, subfolders, files in os.walk(root):
        if ".git" in subfolders:
            subfolders.remove(".git")
        place = os.path.relpath(folder, root)
        if not subfolders and not files and place != ".":
            found[place] = None
        for file in files:
            path = Path(folder, file)
            found[os.path.normpath(os.path.join(place, file))] = path.read_bytes()
    return found


def md5(path: str | os.PathLike[str]) -> str:
    """The md5 of a file's bytes, in hex."""
    return hashlib.md5(Path(path).read_bytes(), usedforsecurity=False).hexdigest()


def blob_path(store: str | os.PathLike[str], oid: str) -> Path:
    """Where a store or a cache keeps the blob ``oid``."""
    return Path(store, "files", "md5", oid[:2], oid[2:])


def git(
    root: str | os.PathLike[str],
    *args: str,
    check: bool = True,
    env: Mapping[str, str] | None = None,
    input: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run git in ``root``; ``env`` is laid over the environment. A failure is shown whole."""
    done = _run(["git", *args], root, env, input)
    if check and done.returncode:
        raise AssertionError(f"git {' '.join(args)}: exit {done.returncode}\n{_said(done)}")
    return done


@dataclass(frozen=True)
class Run:
    """What a command said, and its exit code."""

    exit_code: int
    stdout: str
    stderr: str
    places: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def json(self) -> Any:
        """The one JSON object on stdout; raises ValueError where there is anything else."""
        return json.loads(self.stdout)

    @property
    def snapshot(self) -> tuple[int, str, str]:
        """Exit code, stdout and stderr, with this test's own folders as ``<root>`` and such."""
        return self.exit_code, self._told(self.stdout), self._told(self.stderr)

    def _told(self, text: str) -> str:
        for name, place in sorted(self.places.items(), key=lambda item: -len(item[1])):
            text = text.replace(place, f"<{name}>")
        return text


class Repo:
    """A real git repository in ``root``, and what is run in it."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)

    @classmethod
    def make(cls, root: str | os.PathLike[str]) -> Repo:
        """``git init`` in a new folder."""
        Path(root).mkdir(parents=True)
        git(root, "init", "--quiet")
        return cls(root)

    def clone(self, root: str | os.PathLike[str], *options: str) -> Repo:
        """``git clone`` of this repository; ``root`` is new."""
        git(self.root.parent, "clone", "--quiet", *options, str(self.root), str(root))
        return Repo(root)

    # commands

    def git(
        self,
        *args: str,
        check: bool = True,
        env: Mapping[str, str] | None = None,
        input: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run git at the top of the repository; see ``git`` above."""
        return git(self.root, *args, check=check, env=env, input=input)

    def mlrepro(
        self,
        *args: str,
        cwd: str = ".",
        env: Mapping[str, str] | None = None,
        input: str | None = None,
    ) -> Run:
        """Run the real command in a process of its own, in ``cwd`` (relative to the top)."""
        return self._module("mlrepro", args, cwd, env, input)

    def dvc(
        self,
        *args: str,
        cwd: str = ".",
        check: bool = True,
        env: Mapping[str, str] | None = None,
    ) -> Run:
        """Run DVC itself; raises AssertionError where it fails, unless ``check`` is False."""
        run = self._module("dvc", args, cwd, env, None)
        if check and run.exit_code:
            said = f"{run.stdout}{run.stderr}"
            raise AssertionError(f"dvc {' '.join(args)}: exit {run.exit_code}\n{said}")
        return run

    def commit(self, message: str = "change", *options: str) -> str:
        """Stage everything, commit it, and give back the commit's hash."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message, *options)
        return self.head

    def _module(
        self,
        name: str,
        args: tuple[str, ...],
        cwd: str,
        env: Mapping[str, str] | None,
        input: str | None,
    ) -> Run:
        done = _run([sys.executable, "-m", name, *args], self.root / cwd, env, input)
        return Run(done.returncode, done.stdout, done.stderr, self._places())

    def _places(self) -> dict[str, str]:
        top = os.path.realpath(self.root)
        return {"root": top, "parent": os.path.dirname(top), "home": os.environ.get("HOME", "~")}

    # files

    def path(self, name: str) -> Path:
        """A path relative to the top, as an absolute one."""
        return self.root / name

    def write(self, name: str, content: str | bytes | None) -> Path:
        """Write one file (its folders are made), and give back its path."""
        build_file_tree(self.root, {name: content})
        return self.root / name

    def read(self, name: str) -> bytes:
        """The bytes of a file."""
        return (self.root / name).read_bytes()

    def md5(self, name: str) -> str:
        """The md5 of a file's bytes, in hex."""
        return md5(self.root / name)

    def oid(self, name: str, revision: str = "") -> str:
        """The hash that a pointer with one out names: in the worktree, or at a revision.

        ``revision`` is what git shows: "HEAD", or ":0" for the index. "" where there is no pointer.
        """
        if revision:
            shown = self.git("show", f"{revision}:{name}", check=False)
            text = "" if shown.returncode else shown.stdout
        else:
            path = self.root / name
            text = path.read_text() if path.exists() else ""
        for line in text.splitlines():
            key, _, value = line.partition("md5: ")
            if key.strip(" -") == "" and value:
                return value.strip()
        return ""

    @property
    def head(self) -> str:
        """The hash of the commit that is checked out."""
        return self.git("rev-parse", "HEAD").stdout.strip()

    @property
    def status(self) -> str:
        """``git status --porcelain``: "" where nothing is to be committed."""
        return self.git("status", "--porcelain").stdout


def _run(
    argv: list[str],
    cwd: str | os.PathLike[str],
    env: Mapping[str, str] | None,
    input: str | None,
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        input=input if input is not None else "",
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="surrogateescape",
        timeout=PATIENCE,
        check=False,
    )


def _said(done: subprocess.CompletedProcess[str]) -> str:
    return f"{done.stdout}{done.stderr}"
