"""What ``.dvcignore`` files leave out of tracked data."""

from __future__ import annotations

from mlrepro import git, walking
from mlrepro.dataclass import TYPE_CHECKING

if TYPE_CHECKING:
    from mlrepro.project import Project

_SPECIAL = frozenset("*?[]!#\\ ")


def left_out(project: Project, path: str, found: walking.Walk) -> set[str]:
    """The files of the folder ``path`` that ``.dvcignore`` leaves out, relative to it.

    Git answers, told to look at ``.dvcignore`` files only, where it reads the rules as DVC does;
    else DVC itself.
    """
    if not found.rules:
        return set()
    names = [f"{path}/{name}" for name in (*found.names, *found.odd)]
    return {name[len(path) + 1 :] for name in _left_out(project, path, names, found.rules)}


def has_rules(project: Project, path: str) -> bool:
    """Whether any ``.dvcignore`` has a say in the folder that ``path`` lies in."""
    return bool(walking.rules_above(project.root, path))


def is_left_out(project: Project, path: str) -> bool:
    """Whether ``.dvcignore`` leaves out the file ``path``, so that DVC refuses to track it."""
    rules = walking.rules_above(project.root, path)
    return bool(rules) and path in _left_out(project, path, [path], rules)


def _left_out(project: Project, path: str, names: list[str], rules: bytes) -> set[str]:
    lines = [rule.partition(b" ")[::2] for rule in rules.split(b"\n")]
    depths = {int(depth) for depth, _ in lines}
    place = "/".join(path.split("/")[: max(depths)])
    # Of files in several folders, one may leave out another; and DVC takes a folder's name for a
    # pattern itself where it carries rules over to the root.
    plain = len(depths) == 1 and _SPECIAL.isdisjoint(place)
    if plain and all(_is_plain(line.decode("latin-1")) for _, line in lines):
        data = git.run(
            project, "-c", "core.ignoreCase=false", "ls-files", "-z", "--others", "--ignored",
            "--exclude-per-directory=.dvcignore", "--", path,
        )  # fmt: skip
        return set(git.paths(data)).intersection(names)
    from mlrepro import dvc

    return dvc.left_out(project.root, names)


def _is_plain(line: str) -> bool:
    """Whether git and DVC cannot differ over a rule.

    DVC takes spaces away on both sides, lets "!" bring back all that a folder holds, takes "a/**"
    for "a" too, and reads letters where git reads bytes (dvc/ignore.py, pathspec).
    """
    rule = line.rstrip("\r").rstrip(" ")
    if rule != line.strip() or not (rule.isascii() and rule.isprintable()):
        return False
    if set("!?[]\\") & set(rule) or "**" in rule:
        return False
    return all(part not in ("", ".", "..") for part in rule.strip("/").split("/"))
