"""Globs: which paths a pattern means, and which patterns the project has for new data."""

from __future__ import annotations

import os

from mlrepro import plainfile
from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.errors import PathError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlrepro.project import Project

MAGIC = frozenset("*?[")
MAX_SOURCE = 256 << 10  # bytes, as in ``literal``


def is_pattern(text: str) -> bool:
    """Whether a text has anything that a shell would expand."""
    return bool(MAGIC & set(text))


def matches(path: str, pattern: str) -> bool:
    """Whether a path matches a glob as a shell reads it: ``*`` within a folder, ``**`` across."""
    parts = path.split("/")
    fits = {0}  # how many of the parts what was looked at of the pattern may stand for
    for piece in pattern.split("/"):
        if piece == "**":
            fits = set(range(min(fits), len(parts) + 1)) if fits else fits
        else:
            fits = {at + 1 for at in fits if _fits_one(parts, at, piece)}
    return len(parts) in fits


def _fits_one(parts: list[str], at: int, piece: str) -> bool:
    return at < len(parts) and _is_like(parts[at], piece)


def _is_like(name: str, piece: str) -> bool:
    from fnmatch import fnmatchcase  # only where there are patterns

    return fnmatchcase(name, piece)


def expand(root: str, pattern: str) -> list[str]:
    """Every path below ``root`` that a glob matches, relative to it; no link is followed.

    As ``glob.glob`` has it: ``**`` stands for any number of folders, a leading dot is only matched
    by one. Each folder is looked at once for each part of the pattern, whatever there is of both.
    """
    pieces = [piece for piece in pattern.split("/") if piece not in ("", ".")]
    if not pieces or ".." in pieces:
        return []
    found: dict[str, None] = {}
    todo = [("", 0)]
    seen = set(todo)
    while todo:
        folder, at = todo.pop()
        is_last = at + 1 == len(pieces)
        if pieces[at] == "**" and is_last:
            found.update({folder: None} if folder else {})
        elif pieces[at] == "**":
            _push(todo, seen, (folder, at + 1))
        for path, is_folder in _candidates(root, folder, pieces[at]):
            if is_last:
                found[path] = None
            if is_folder and pieces[at] == "**":
                _push(todo, seen, (path, at))
            elif is_folder and not is_last:
                _push(todo, seen, (path, at + 1))
    return list(found)


def _push(todo: list[tuple[str, int]], seen: set[tuple[str, int]], state: tuple[str, int]) -> None:
    if state not in seen:
        seen.add(state)
        todo.append(state)


def _candidates(root: str, folder: str, piece: str) -> Iterator[tuple[str, bool]]:
    """What in a folder one part of a pattern matches, and whether that is a real folder."""
    lead = f"{folder}/" if folder else ""
    if not is_pattern(piece):
        path = f"{root}/{lead}{piece}"
        if os.path.lexists(path):
            yield lead + piece, os.path.isdir(path) and not os.path.islink(path)
        return
    try:
        with os.scandir(f"{root}/{folder}") as entries:
            for entry in entries:
                if entry.name.startswith(".") and not piece.startswith("."):
                    continue
                if piece == "**" or _is_like(entry.name, piece):
                    yield lead + entry.name, entry.is_dir(follow_symlinks=False)
    except OSError:
        return


def folders_above(name: str) -> list[str]:
    """Every folder on the way to ``name``, from the top down."""
    parts = name.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]


def of_new_data(project: Project) -> Sequence[str]:
    """The globs that ``TRACK`` in ``config/config.py`` names.

    Where the list is plainly right it is taken as read; only for the rest, and for saying what is
    wrong, are the models of ``config`` worth the time that it takes to import them.
    """
    place = os.path.join(project.root, "config", "config.py")
    try:
        data = plainfile.read(project.root, "config/config.py", MAX_SOURCE + 1)
    except OSError:
        return ()
    except PathError:
        from mlrepro import config  # which says what is wrong, or follows a link that stays inside

        return config.load(project.root, os.environ).track
    if b"TRACK" not in data:
        return ()
    from mlrepro import literal  # only where there is something to understand

    value = literal.read_names(literal.decode(data), place, os.environ).values.get("TRACK")
    if isinstance(value, (list, tuple)) and all(_is_plain_glob(item) for item in value):
        return value
    from mlrepro import config

    return config.load(project.root, os.environ).track


def _is_plain_glob(item: object) -> bool:
    if not isinstance(item, str) or not item or item[0] in "/~":
        return False
    return not {"", ".", ".."} & set(item.split("/"))
