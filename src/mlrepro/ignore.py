"""The .gitignore files: data is kept out of git, and pointers are never hidden."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mlrepro import git
from mlrepro.errors import PathError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlrepro.project import Project

# What gitignore(5) reads as more than a letter; DVC escapes the same ones (dvc/ignore.py).
SPECIAL = frozenset("*?[]!#\\")


@dataclass(frozen=True, slots=True)
class Change:
    """Lines to add to one ignore file (``file`` relative to the root), and what it said before.

    ``removed``: lines of our own that go, since the data that they named is no longer there.
    """

    file: str
    before: str
    added: tuple[str, ...]
    removed: tuple[str, ...] = ()

    @property
    def after(self) -> str:
        """The whole new text: the other lines that were there stay as they are."""
        lines = self.before.splitlines(keepends=True)
        text = "".join(line for line in lines if line.rstrip("\r\n") not in self.removed)
        if text and not text.endswith("\n"):
            text += "\n"
        return text + "".join(line + "\n" for line in self.added)


def rule(name: str) -> str:
    """The rule that names exactly the file or folder ``name`` beside the ignore file."""
    escaped = "".join("\\" + letter if letter in SPECIAL else letter for letter in name)
    if escaped.endswith(" "):  # git drops a bare space at the end of a line
        escaped = escaped.rstrip(" ") + "\\ " * (len(escaped) - len(escaped.rstrip(" ")))
    return "/" + escaped


def keep_out(
    project: Project, outs: Sequence[str], known: Sequence[Change] = (), *, top: bool = False
) -> list[Change]:
    """What to add so that git ignores the data at ``outs`` (relative to the root).

    As DVC does: one rule for each, in the ``.gitignore`` beside it, where no rule hides it yet.
    ``known`` are changes already planned, which this goes on from; with ``top`` the rules go into
    the ``.gitignore`` at the root.
    """
    planned = {change.file: change for change in known}
    hidden = git.ignored(project, outs)
    for out in outs:
        if out in hidden:
            continue
        folder, _, name = out.rpartition("/")
        file = folder + "/.gitignore" if folder and not top else ".gitignore"
        parts = out.split("/") if top else [name]
        _add(project, planned, file, ["".join(rule(part) for part in parts)])
    return list(planned.values())


def without(project: Project, out: str, known: Sequence[Change] = ()) -> list[Change]:
    """What to change so that the rule that ``keep_out`` made for ``out`` is gone."""
    planned = {change.file: change for change in known}
    folder, _, name = out.rpartition("/")
    file = folder + "/.gitignore" if folder else ".gitignore"
    change = planned.get(file) or Change(file, read(project, file), ())
    if rule(name) in change.before.splitlines():
        planned[file] = replace(change, removed=(*change.removed, rule(name)))
    return list(planned.values())


def bring_back(
    project: Project,
    pointers: Sequence[str],
    known: Sequence[Change] = (),
    *,
    siblings: bool = True,
) -> list[Change]:
    """What to add so that git no longer ignores these pointers and the ignore files beside them.

    Without ``siblings`` the files themselves only, each by its own name.
    Where a folder is hidden, it is opened just so far that the pointers in it can be seen: its
    other contents stay hidden. A rule of the user's is never changed.
    """
    beside = (
        {os.path.join(os.path.dirname(pointer), ".gitignore") for pointer in pointers}
        if siblings
        else set()
    )
    wanted = list(dict.fromkeys([*pointers, *sorted(beside)]))
    planned = {change.file: change for change in known}
    levels: dict[str, None] = {}
    for name in wanted:
        parts = name.split("/")
        for depth in range(1, len(parts)):
            levels["/".join(parts[:depth])] = None
    # A folder that is hidden hides all below it, whatever they say: open from the top down.
    hidden = git.ignored(project, [*(level + "/" for level in levels), *wanted])
    if not hidden:
        return list(planned.values())
    opened: set[str] = set()
    for level in levels:
        if level + "/" in hidden and _hidden_itself(hidden, level, opened):
            file = _file_for(hidden[level + "/"][0])
            where = _within(file, level)
            _add(project, planned, file, [f"!/{where}/", f"/{where}/*"])
            opened.add(level)
    for name in wanted:
        if name not in hidden:
            continue
        folder = os.path.dirname(name)
        file = _file_for(hidden[name][0])
        where = _within(file, name)
        if name.endswith(".dvc"):
            inner = _within(file, folder) if folder else ""
            where = f"{inner}/*.dvc" if inner else "*.dvc"
        _add(project, planned, file, [f"!/{where}"])
    return list(planned.values())


def _hidden_itself(hidden: dict[str, tuple[str, str]], level: str, opened: set[str]) -> bool:
    """Whether ``level`` has to be opened: by its own rule, or as part of a folder just opened."""
    parent = os.path.dirname(level)
    return not parent or parent not in opened or level + "/" in hidden


def _file_for(source: str) -> str:
    """The ignore file in which to answer a rule: the same where it is the repository's own."""
    inside = not os.path.isabs(source) and not source.startswith("..")
    if inside and os.path.basename(source) == ".gitignore":
        return source
    return ".gitignore"  # outranks .git/info/exclude and the user's own file


def _within(file: str, name: str) -> str:
    """``name`` as a rule in ``file`` writes it."""
    folder = os.path.dirname(file)
    inner = name[len(folder) + 1 :] if folder else name
    return "/".join(rule(part)[1:] for part in inner.split("/"))


def _add(project: Project, planned: dict[str, Change], file: str, lines: list[str]) -> None:
    change = planned.get(file) or Change(file, read(project, file), ())
    present = set(change.before.splitlines()) if not lines[0].startswith("!") else set()
    fresh = tuple(line for line in lines if line not in present and line not in change.added)
    if fresh:
        planned[file] = replace(change, added=change.added + fresh)


def read(project: Project, file: str) -> str:
    """The text of an ignore file, "" where it is absent. Raises PathError for a link."""
    path = project.absolute(file)
    if os.path.islink(path):
        raise PathError(
            f"{file} is a symbolic link: it is not written through.",
            "replace it by a file of its own",
            code="path-symlink",
            path=file,
        )
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as text:
            return text.read()
    except FileNotFoundError:
        return ""
