"""What ``.dvcignore`` files leave out of tracked data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlrepro import folder, git

if TYPE_CHECKING:
    from mlrepro.project import Project

_SPECIAL = frozenset("*?[]!#\\ ")


def left_out(project: Project, path: str, found: folder.Walk) -> set[str]:
    """The files of the folder ``path`` that ``.dvcignore`` leaves out, relative to it.

    Git answers, told to look at ``.dvcignore`` files only, where it reads the rules as DVC does;
    else DVC itself.
    """
    if not found.rules:
        return set()
    names = [f"{path}/{name}" for name in (*found.names, *found.odd)]
    return {name[len(path) + 1 :] for name in _left_out(project, path, names, found.rules)}


def is_left_out(project: Project, path: str) -> bool:
    """Whether ``.dvcignore`` leaves out the file ``path``, so that DVC refuses to track it."""
    rules = folder.rules_above(project.root, path)
    return bool(rules) and path in _left_out(project, path, [path], rules)


def _left_out(project: Project, path: str, names: list[str], rules: bytes) -> set[str]:
    levels = {int(rule.split(b" ", 1)[0]) for rule in rules.split(b"\n")}
    nested = "/".join(path.split("/")[: max(levels)])
    if _SPECIAL.isdisjoint(nested) and all(_is_plain(rule) for rule in rules.split(b"\n")):
        data = git.run(
            project, "-c", "core.ignoreCase=false", "ls-files", "-z", "--others", "--ignored",
            "--exclude-per-directory=.dvcignore", "--", path,
        )  # fmt: skip
        return set(git.paths(data)).intersection(names)
    from mlrepro import dvc

    return dvc.left_out(project.root, names)


def _is_plain(rule: bytes) -> bool:
    """Whether git and DVC cannot differ over a rule.

    DVC lets "!" bring back all that a folder holds, takes "a/**" for "a" too, and reads bytes as
    letters (dvc/ignore.py, pathspec).
    """
    text = rule.split(b" ", 1)[1].decode("latin-1")
    if not (text.isascii() and text.isprintable()) or set("!?[]\\") & set(text) or "**" in text:
        return False
    return all(part not in ("", ".", "..") for part in text.strip("/").split("/"))
