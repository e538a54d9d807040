"""Globs: which paths a pattern means, and which patterns the project has for new data."""

from __future__ import annotations

import fnmatch
import os
from typing import TYPE_CHECKING

from mlrepro import literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlrepro.project import Project

MAGIC = frozenset("*?[")


def is_pattern(text: str) -> bool:
    """Whether a text has anything that a shell would expand."""
    return bool(MAGIC & set(text))


def matches(path: str, pattern: str) -> bool:
    """Whether a path matches a glob as a shell reads it: ``*`` within a folder, ``**`` across."""
    return _fit(path.split("/"), pattern.split("/"))


def _fit(parts: list[str], pattern: list[str]) -> bool:
    if not pattern or not parts:
        return not parts and all(part == "**" for part in pattern)
    if pattern[0] == "**":
        return _fit(parts, pattern[1:]) or _fit(parts[1:], pattern)
    return fnmatch.fnmatchcase(parts[0], pattern[0]) and _fit(parts[1:], pattern[1:])


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
        with open(place, "rb") as file:
            data = file.read(literal.MAX_SOURCE + 1)
    except OSError:
        return ()
    if b"TRACK" not in data:
        return ()
    value = literal.read_names(literal.decode(data), place, os.environ).values.get("TRACK")
    if isinstance(value, (list, tuple)) and all(_is_plain_glob(item) for item in value):
        return value
    from mlrepro import config

    return config.load(project.root, os.environ).track


def _is_plain_glob(item: object) -> bool:
    if not isinstance(item, str) or not item or item[0] in "/~":
        return False
    return not {"", ".", ".."} & set(item.split("/"))
