"""Which data each commit added, changed and removed, newest first."""

from __future__ import annotations

import os

from mlrepro import git, gitlog, history, outputs, pointer, process
from mlrepro.dataclass import TYPE_CHECKING, dataclass
from mlrepro.errors import MlreproError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mlrepro.project import Project

_FORMAT = "%H%x00%an%x00%aI%x00%s"
_NO_BLOB = frozenset({"0" * 40, "0" * 64})

_Out = tuple[str, str, int | None]  # pointer, oid, bytes


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

    commit: gitlog.Commit
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class _Raw:
    """A commit, and each pointer that it touched: (name, git object before, and after)."""

    commit: gitlog.Commit
    pointers: tuple[tuple[str, str, str], ...]


def versions(project: Project, revision: str) -> tuple[list[Version], list[MlreproError]]:
    """Every commit up to ``revision`` that did something to the data, newest first.

    A merge counts where it brought what neither side had; branches that came to nothing count too.
    Pointers that cannot be read are in the second list, each text once.
    """
    raw = list(_touched(project, revision))
    reader = _Reader(project, raw)
    found = []
    for one in reversed(raw):  # the oldest first: it is the one that brought a bad pointer
        before: dict[str, _Out] = {}
        after: dict[str, _Out] = {}
        for name, old, new in one.pointers:
            before |= reader.outs(name, old, one.commit)
            after |= reader.outs(name, new, one.commit)
        changes = tuple(_changes(before, after))
        if changes:
            found.append(Version(one.commit, changes))
    return found[::-1], reader.errors[::-1]


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
            "--", *history.POINTERS,
        ],
        cwd=project.root,
        env={**git.LITERAL, "GIT_LITERAL_PATHSPECS": "0"},
    )  # fmt: skip
    fields = iter(data.split(b"\0"))
    commit: gitlog.Commit | None = None
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
            commit, pointers = gitlog.Commit(about.decode("ascii"), *texts), []
    if commit is not None:
        yield _Raw(commit, tuple(pointers))


class _Reader:
    """Reads each text of a pointer once; a ``dvc.lock`` with the ``dvc.yaml`` of its commit."""

    def __init__(self, project: Project, raw: Sequence[_Raw]) -> None:
        self.errors: list[MlreproError] = []
        self._texts = history.Reader(project)
        self._read: dict[tuple[str, str], dict[str, _Out]] = {}
        touched = [(one.commit, name, blobs) for one in raw for name, *blobs in one.pointers]
        wanted = {blob for _, _, blobs in touched for blob in blobs} - _NO_BLOB
        self._contents = git.blobs(project, wanted, pointer.MAX_POINTER_BYTES)
        pipelines = {
            f"{commit.oid}:{outputs.pipeline_of(name)}"
            for commit, name, _ in touched
            if outputs.is_lock(name) and "\n" not in name
        }
        self._pipelines = git.blobs(project, pipelines, outputs.MAX_LOCK_BYTES)

    def outs(self, name: str, blob: str, commit: gitlog.Commit) -> dict[str, _Out]:
        """What a pointer's text names, by path; ``commit`` is the one that brought it."""
        if blob in _NO_BLOB:
            return {}
        if (name, blob) not in self._read:
            pipeline = self._pipelines.get(f"{commit.oid}:{outputs.pipeline_of(name)}", b"")
            found: dict[str, _Out] = {}
            try:
                text = self._contents.get(blob, b"")
                base = os.path.dirname(name)
                for path, oid, size in self._texts.outs(name, blob, text, pipeline):
                    found[os.path.normpath(os.path.join(base, path))] = (name, oid, size)
            except MlreproError as error:
                error.path = error.path or name
                error.commit, error.author, error.date = commit.oid, commit.author, commit.date
                error.message = f"{commit.oid[:10]}: {error.message}"
                error.hint = f"git show {commit.oid[:10]} -- {name}"
                self.errors.append(error)
            self._read[name, blob] = found
        return self._read[name, blob]


def _changes(before: dict[str, _Out], after: dict[str, _Out]) -> Iterator[Change]:
    for path in sorted(before.keys() | after.keys()):
        name, oid, size = after.get(path) or before[path]
        _, was, had = before.get(path) or (name, "", 0)
        if path not in after:
            yield Change(path, name, "removed", oid, size, _minus(0, size))
        elif path not in before:
            yield Change(path, name, "added", oid, size, size)
        elif oid != was:
            yield Change(path, name, "modified", oid, size, _minus(size, had))


def _minus(size: int | None, other: int | None) -> int | None:
    return None if size is None or other is None else size - other
