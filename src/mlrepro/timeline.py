"""Which data each commit added, changed and removed, newest first."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlrepro import git, pointer, process, worktree
from mlrepro.history import POINTERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mlrepro.errors import MlreproError
    from mlrepro.pointer import Out
    from mlrepro.project import Project

_FORMAT = "%H%x00%an%x00%aI%x00%s"
_NO_BLOB = frozenset({"0" * 40, "0" * 64})


@dataclass(frozen=True, slots=True)
class Change:
    """What a commit did to one tracked path.

    ``change``: added, modified or removed; ``oid`` and ``size`` (bytes, None where the pointer does
    not say): the content it has since, or for one that was removed, had; ``grown``: bytes more than
    before, None where either size is not known.
    """

    path: str
    pointer: str
    change: str
    oid: str
    size: int | None
    grown: int | None


@dataclass(frozen=True, slots=True)
class Version:
    """A commit, and all that it did to the data."""

    commit: git.Commit
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class _Raw:
    """A commit, and each pointer that it touched: (name, git object before, and after)."""

    commit: git.Commit
    pointers: tuple[tuple[str, str, str], ...]


def versions(project: Project, revision: str) -> tuple[list[Version], list[MlreproError]]:
    """Every commit up to ``revision`` that did something to the data, newest first.

    A merge counts where it brought what neither side had; branches that came to nothing count too.
    Pointers that cannot be read are in the second list, each text once.
    """
    raw = list(_touched(project, revision))
    blobs = (blob for one in raw for _, *both in one.pointers for blob in both)
    wanted = [blob for blob in blobs if blob not in _NO_BLOB]
    reader = _Reader(project, git.blobs(project, wanted, pointer.MAX_POINTER_BYTES))
    found = []
    for one in raw:
        before: dict[str, tuple[str, Out]] = {}
        after: dict[str, tuple[str, Out]] = {}
        for name, old, new in one.pointers:
            before |= reader.outs(name, old)
            after |= reader.outs(name, new)
            reader.brought[name, new] = one.commit
        changes = tuple(_changes(before, after))
        if changes:
            found.append(Version(one.commit, changes))
    return found, reader.told()


def of_path(
    every: Sequence[Version], name: str, is_meant: Callable[[str, str, str], bool]
) -> list[Version]:
    """The versions of what ``name`` means, also under the names it had before it was renamed.

    ``is_meant`` tells from a path, its pointer and a name whether the name means that path.
    """
    names = [name]
    found = []
    for version in every:
        mine = [
            change
            for change in version.changes
            if any(is_meant(change.path, change.pointer, one) for one in names)
        ]
        if not mine:
            continue
        gone = {c.oid: c for c in version.changes if c.change == "removed"}
        for change in mine:
            earlier = gone.get(change.oid) if change.change == "added" else None
            if earlier is not None and earlier not in mine:
                names.append(earlier.path)
        found.append(Version(version.commit, tuple(mine)))
    return found


def _touched(project: Project, revision: str) -> Iterator[_Raw]:
    """The commits that touched pointers. Without git's pruning of branches, which drops versions
    that a merge did not keep; a merge shows what differs from all its parents (``-c``).
    """
    data = process.run(
        [
            "git", "log", "-z", "--raw", "-c", "--root", "--no-abbrev", "--no-renames",
            "--date-order", "--full-history", "--no-color", "--no-show-signature",
            "--encoding=UTF-8", f"--format={_FORMAT}", "--end-of-options", revision,
            "--", *POINTERS,
        ],
        cwd=project.root,
        env={**git.LITERAL, "GIT_LITERAL_PATHSPECS": "0"},
    )  # fmt: skip
    fields = iter(data.split(b"\0"))
    commit: git.Commit | None = None
    pointers: list[tuple[str, str, str]] = []
    for field in fields:
        about = field.lstrip(b"\n")
        if about.startswith(b":"):
            parents = len(about) - len(about.lstrip(b":"))
            words = about.decode("ascii").split(" ")
            name = os.fsdecode(next(fields))
            # Modes of all parents and of the commit, then as many objects: a merge is held
            # against the branch that it was made on.
            pointers.append((name, words[parents + 1], words[2 * parents + 1]))
        elif about:
            if commit is not None:
                yield _Raw(commit, tuple(pointers))
            texts = [next(fields).decode("utf-8", "replace") for _ in range(3)]
            commit, pointers = git.Commit(about.decode("ascii"), *texts), []
    if commit is not None:
        yield _Raw(commit, tuple(pointers))


class _Reader:
    """Reads each text of a pointer once; ``brought``: by which commit, the oldest that had it."""

    def __init__(self, project: Project, contents: dict[str, bytes]) -> None:
        self.brought: dict[tuple[str, str], git.Commit] = {}
        self._project = project
        self._contents = contents
        self._read: dict[tuple[str, str], dict[str, tuple[str, Out]]] = {}
        self._errors: dict[tuple[str, str], list[MlreproError]] = {}

    def outs(self, name: str, blob: str) -> dict[str, tuple[str, Out]]:
        """What a pointer's text names: path → (pointer, output)."""
        if blob in _NO_BLOB:
            return {}
        if (name, blob) not in self._read:
            text = self._contents.get(blob, b"")
            listing = worktree.read_pointers(self._project, [(name, blob, text)])
            self._errors[name, blob] = listing.errors
            self._read[name, blob] = {
                item.path: (name, item.out) for item in listing.outs if item.oid
            }
        return self._read[name, blob]

    def told(self) -> list[MlreproError]:
        """What could not be read, each with the commit that brought it."""
        found = []
        for (name, blob), errors in self._errors.items():
            commit = self.brought.get((name, blob))
            for error in errors:
                if commit is not None:
                    error.commit, error.author = commit.oid, commit.author
                    error.date = commit.date
                    error.message = f"{commit.oid[:10]}: {error.message}"
                    error.hint = f"git show {commit.oid[:10]} -- {name}"
                found.append(error)
        return found


def _changes(
    before: dict[str, tuple[str, Out]], after: dict[str, tuple[str, Out]]
) -> Iterator[Change]:
    for path in sorted(before.keys() | after.keys()):
        old, new = before.get(path), after.get(path)
        if new is None and old is not None:
            name, out = old
            yield Change(path, name, "removed", out.oid, out.size, _minus(0, out.size))
        elif new is not None and old is None:
            name, out = new
            yield Change(path, name, "added", out.oid, out.size, out.size)
        elif new is not None and old is not None and new[1].oid != old[1].oid:
            name, out = new
            yield Change(path, name, "modified", out.oid, out.size, _minus(out.size, old[1].size))


def _minus(size: int | None, other: int | None) -> int | None:
    return None if size is None or other is None else size - other
