"""What changed between two states: the data, down to the files of folders, and the code."""

from __future__ import annotations

import os

from mlrepro import git, outputs, sides
from mlrepro.dataclass import TYPE_CHECKING, dataclass, field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from mlrepro.project import Project
    from mlrepro.sides import Content, Side

ADDED, REMOVED, MODIFIED, RENAMED = "added", "removed", "modified", "renamed"

# What git keeps beside the data, and every command here writes: no change that a person made.
_NOISE = frozenset({".gitignore"})
_LETTERS = {"A": ADDED, "D": REMOVED, "M": MODIFIED, "R": RENAMED, "T": MODIFIED, "U": "conflict"}


@dataclass(slots=True)
class Members:
    """How the files of a folder changed; paths are relative to it, ``renamed``: (old, new)."""

    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    modified: list[str] = field(default_factory=list)
    renamed: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class DataChange:
    """What became of one tracked path.

    ``before``: its old path where it was renamed, else ""; ``members``: for a folder, None where
    one of the listings is not on this machine; ``looks``: what was found inside the files that
    changed, member ("" for the path itself) → kind (rows, model) → what was found.
    """

    path: str
    change: str
    old: Content | None
    new: Content | None
    before: str = ""
    members: Members | None = None
    looks: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def is_dir(self) -> bool:
        """Whether it is a folder on every side that has it."""
        return all(one.is_dir for one in (self.old, self.new) if one is not None)


@dataclass(frozen=True, slots=True)
class CodeChange:
    """What became of a file of git; ``before``: its old path where it was renamed, else ""."""

    path: str
    change: str
    before: str = ""


def data(a: Side, b: Side, is_meant: Callable[[str, str], bool]) -> list[DataChange]:
    """The tracked paths that differ, by path; ``is_meant`` chooses by path and pointer.

    Content that went from one path to another counts as renamed, wherever that path is.
    """
    before = a.contents(lambda _: True)
    known = {item.path for item in a.outs}
    after = b.contents(lambda item: is_meant(item.path, item.pointer) or item.path not in known)
    here = {item.path for item in b.outs}
    bad = {error.path for error in (*a.errors, *b.errors)}  # what they name seems to come and go
    gone: dict[str, list[str]] = {}
    for path in sorted(before.keys() - here):
        gone.setdefault(before[path].oid, []).append(path)
    found = []
    for path, new in sorted(after.items()):
        old = before.get(path)
        if old is None and gone.get(new.oid):
            earlier = gone[new.oid].pop(0)
            found.append(DataChange(path, RENAMED, before[earlier], new, before=earlier))
        elif old is None and path not in known:
            found.append(DataChange(path, ADDED, None, new))
        elif old is not None and old.oid != new.oid:
            found.append(DataChange(path, MODIFIED, old, new))
    lost = [path for paths in gone.values() for path in paths]
    found += [DataChange(path, REMOVED, before[path], None) for path in lost]
    found = [change for change in found if _is_asked_for(change, is_meant, bad)]
    for change in found:
        if change.change == MODIFIED and change.old is not None and change.new is not None:
            change.members = members(a, change.old, b, change.new)
    return sorted(found, key=lambda change: change.path)


def _is_asked_for(change: DataChange, is_meant: Callable[[str, str], bool], bad: set[str]) -> bool:
    one_sided = change.new if change.old is None else change.old if change.new is None else None
    if one_sided is not None and one_sided.pointer in bad:
        return False
    both = [one for one in (change.old, change.new) if one is not None]
    return any(is_meant(one.path, one.pointer) for one in both)


def members(a: Side, old: Content, b: Side, new: Content) -> Members | None:
    """How the files of a folder changed; None for what is no folder, or has no listing here."""
    if not (old.is_dir and new.is_dir):
        return None
    was, now = a.members(old), b.members(new)
    if was is None or now is None:
        return None
    return _members(was, now)


def _members(was: Mapping[str, str], now: Mapping[str, str]) -> Members:
    both = sorted(was.keys() & now.keys())
    found = Members(modified=[name for name in both if was[name] != now[name]])
    gone: dict[str, list[str]] = {}
    for name in sorted(was.keys() - now.keys(), reverse=True):
        gone.setdefault(was[name], []).append(name)
    for name in sorted(now.keys() - was.keys()):
        if gone.get(now[name]):
            found.renamed.append((gone[now[name]].pop(), name))
        else:
            found.added.append(name)
    found.removed = sorted(name for names in gone.values() for name in names)
    return found


def code(a: Side, b: Side) -> list[CodeChange]:
    """The files of git that differ, without pointers and ignore files; new ones of the workspace
    count as added unless git ignores them.
    """
    project = a.project
    base = a.name or _empty_tree(project)
    options = ("--name-status", "-z", "-M")
    if b.name == sides.WORKSPACE:
        # Not diff-index: that takes a file for changed when only its time is.
        asked = ("diff", "--no-ext-diff", "--no-textconv", "--no-relative", *options, base, "--")
        found = list(_statuses(git.run(project, *asked)))
        known = {change.path for change in found}
        fresh = git.paths(git.run(project, "ls-files", "-z", "--others", "--exclude-standard"))
        found += [CodeChange(path, ADDED) for path in fresh if path not in known]
    else:
        other = b.name or _empty_tree(project)
        found = list(_statuses(git.run(project, "diff-tree", "-r", *options, base, other)))
    return sorted((one for one in found if not _is_noise(one.path)), key=lambda one: one.path)


def _statuses(data: bytes) -> Iterator[CodeChange]:
    fields = iter(git.paths(data))
    for letter in fields:
        path = next(fields)
        if letter[0] in "RC":
            yield CodeChange(next(fields), _LETTERS.get(letter[0], ADDED), path)
        else:
            yield CodeChange(path, _LETTERS.get(letter[0], MODIFIED))


def _is_noise(path: str) -> bool:
    return outputs.is_pointer(path) or os.path.basename(path) in _NOISE


def _empty_tree(project: Project) -> str:
    """Git's object for no files at all: it depends on the kind of hash."""
    return git.text(project, "hash-object", "-t", "tree", "/dev/null")
