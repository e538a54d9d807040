"""What uploads that were killed have left in a network store, and when it may be removed."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from mlrepro.dvc import begun

# Names of files on their way, our own and those that SSH's file system makes of them.
_ON_ITS_WAY = re.compile(r"([0-9a-f]{8})[0-9a-f]{16}|[0-9a-f]{16}|\.[\w-]{8,40}\.tmp")
_DATES = ("mtime", "modified", "LastModified", "last_modified", "updated")  # as each kind has it


def new_name() -> str:
    """A name for a file on its way, which tells when that began, by the clock here.

    SeaweedFS, asked by WebDAV, has no date for a file whose upload was broken off.
    """
    return f"{int(time.time()):08x}{os.urandom(8).hex()}"


def old(entries: Iterable[dict[str, Any]], fresh: dict[str, Any]) -> list[str]:
    """The names of those that nobody can be at any more, by the store's own clock.

    ``fresh``: of a file that was written just now, which tells the time there.
    """
    now = _changed(fresh)
    return [
        name_of(entry)
        for entry in entries
        if entry.get("type") != "directory"
        and _ON_ITS_WAY.fullmatch(name_of(entry))
        and 0 < (_changed(entry) or _began(entry)) < now - begun.KEPT_S
    ]


def name_of(entry: dict[str, Any]) -> str:
    """A file's name in its folder, of what the store says of it."""
    return str(entry["name"]).rstrip("/").rpartition("/")[2]


def _began(entry: dict[str, Any]) -> float:
    """When its upload began, in seconds, as its name has it; 0 where it does not tell."""
    found = _ON_ITS_WAY.fullmatch(name_of(entry))
    return float(int(found[1], 16)) if found and found[1] else 0.0


def _changed(entry: dict[str, Any]) -> float:
    """When it was written, in seconds by the store's clock; 0 where it does not tell."""
    value = next((entry[key] for key in _DATES if entry.get(key)), 0.0)
    if isinstance(value, datetime):
        return value.timestamp()
    return float(value) if isinstance(value, int | float) else 0.0
