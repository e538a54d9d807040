"""Which blobs any commit needs, and who committed them when."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlrepro import git, process, worktree
from mlrepro.transfer import Need

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mlrepro.errors import MlreproError
    from mlrepro.project import Project

POINTERS = (":(glob)**/*.dvc", ":(glob)**/dvc.lock", ":(exclude,glob).dvc/**")


@dataclass(frozen=True, slots=True)
class Version:
    """A pointer as one commit brought it: git's object of its text."""

    pointer: str
    blob: str
    commit: git.Commit


def introduced(project: Project, *revisions: str) -> list[Version]:
    """Every version of every pointer that these commits brought in, newest first.

    ``revisions`` are as ``git log`` takes them (``--all``, ``A..B``, ``--not``). A merge counts
    against each of its parents, so that what was made while merging is found too.
    """
    data = process.run(
        [
            "git", "log", "-z", "--raw", "-m", "--root", "--no-abbrev", "--no-renames",
            "--diff-filter=d", "--format=%x02%H%x01%an%x01%aI%x01%s", *revisions, "--", *POINTERS,
        ],
        cwd=project.root,
        env={**git.LITERAL, "GIT_LITERAL_PATHSPECS": "0"},
    )  # fmt: skip
    found: dict[tuple[str, str], Version] = {}
    for part in data.split(b"\x02")[1:]:
        header, *fields = part.strip(b"\0\n").split(b"\0")
        oid, author, date, subject = header.decode("utf-8", "replace").split("\x01", 3)
        commit = git.Commit(oid, author, date, subject)
        fields = [item for item in fields if item.strip(b"\n")]
        for about, name in zip(fields[::2], fields[1::2], strict=False):
            blob = about.split(b" ")[3].decode()
            # The log runs backwards: the last one seen is the commit that brought it first.
            found[os.fsdecode(name), blob] = Version(os.fsdecode(name), blob, commit)
    return list(found.values())


def needs(
    project: Project, versions: Iterable[Version]
) -> tuple[list[Need], list[MlreproError], dict[str, git.Commit]]:
    """What these versions need: the blobs (folders by their listing), pointers that cannot be read,
    and the commits by their names.
    """
    every = list(versions)
    contents = git.blobs(project, (version.blob for version in every))
    wanted: dict[str, Need] = {}
    errors: list[MlreproError] = []
    commits: dict[str, git.Commit] = {}
    for version in every:
        commits[version.commit.oid] = version.commit
        listing = worktree.read_pointers(
            project, [(version.pointer, version.blob, contents.get(version.blob, b""))]
        )
        for error in listing.errors:
            error.commit, error.author = version.commit.oid, version.commit.author
            error.date = version.commit.date
            errors.append(error)
        for item in listing.outs:
            if item.oid and item.oid not in wanted:
                wanted[item.oid] = Need(
                    item.path, item.oid, item.out.size if not item.out.is_dir else None,
                    item.pointer, version.commit.oid,
                )  # fmt: skip
    return list(wanted.values()), errors, commits


@dataclass(frozen=True, slots=True)
class Parsed:
    """What one text of a pointer needs: (path, oid, bytes or None) of each output, or the error."""

    pointer: str
    outs: tuple[tuple[str, str, int | None], ...] = ()
    error: MlreproError | None = None


def parse(project: Project, version: Version, text: bytes) -> Parsed:
    """Read one version of a pointer; what is wrong with it is part of the answer."""
    listing = worktree.read_pointers(project, [(version.pointer, version.blob, text)])
    outs = tuple((item.path, item.oid, item.out.size) for item in listing.outs if item.oid)
    return Parsed(version.pointer, outs, listing.errors[0] if listing.errors else None)


def standing(project: Project, commit: git.Commit) -> list[Version]:
    """The version of every pointer in one commit."""
    return [
        Version(name, blob, commit)
        for name, blob, _ in git.tree(project, commit.oid)
        if worktree.is_pointer(name)
    ]


def snapshot(project: Project, revision: str) -> tuple[list[Need], list[MlreproError]]:
    """What one commit needs to be restored."""
    listing = worktree.at_revision(project, revision)
    return needs_of(listing.outs, revision), listing.errors


def needs_of(outs: Sequence[worktree.Tracked], commit: str = "") -> list[Need]:
    """The blobs that these outputs need (folders by their listing)."""
    return [
        Need(item.path, item.oid, None if item.out.is_dir else item.out.size, item.pointer, commit)
        for item in outs
        if item.oid
    ]


@dataclass(frozen=True, slots=True)
class Gap:
    """A blob that is in neither cache nor store, and who committed the pointer that names it."""

    need: Need
    commit: str
    author: str
    date: str

    @property
    def path(self) -> str:
        return self.need.path

    @property
    def oid(self) -> str:
        return self.need.oid

    def data(self) -> dict[str, str]:
        """The gap as the JSON envelope carries it."""
        return {
            "path": self.path,
            "oid": self.oid,
            "commit": self.commit,
            "author": self.author,
        }


def gaps(project: Project, missing: Sequence[Need], revision: str = "HEAD") -> list[Gap]:
    """Name for each blob that is nowhere the commit that brought its pointer."""
    found = []
    for need in missing:
        commit = None
        if need.commit:
            commit = next(iter(git.log(project, "-1", "--no-walk", need.commit)), None)
        elif need.pointer:
            commit = git.last_change(project, need.pointer, revision)
        oid = commit.oid if commit else need.commit
        named = Need(need.path, need.oid, need.size, need.pointer, oid)
        author, date = (commit.author, commit.date) if commit else ("", "")
        found.append(Gap(named, oid, author, date))
    return found
