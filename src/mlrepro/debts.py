"""What is owed: blobs of commits that are in the cache only, for want of a store to be reached."""

from __future__ import annotations

import os

from mlrepro import writing
from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.lock import Lock
from mlrepro.pointer import is_oid

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlrepro.project import Project


def owed(project: Project) -> list[str]:
    """The blobs that are in the cache only, because a network store could not be reached."""
    try:
        with open(_file(project), encoding="ascii") as file:
            return [line for line in file.read().split() if is_oid(line)]
    except (OSError, UnicodeDecodeError):
        return []


def owe(project: Project, oids: Iterable[str]) -> None:
    """Note that these blobs still have to be stored."""
    _change(project, set(oids), set())


def settle(project: Project, oids: Iterable[str]) -> None:
    """Note that these blobs are stored now."""
    _change(project, set(), set(oids))


def _change(project: Project, more: set[str], fewer: set[str]) -> None:
    if not more and (not fewer or not os.path.exists(_file(project))):
        return
    os.makedirs(os.path.dirname(_file(project)), exist_ok=True)
    with Lock(_file(project) + ".lock"):
        before = set(owed(project))
        after = (before | more) - fewer
        if after != before:
            data = "".join(oid + "\n" for oid in sorted(after)).encode()
            writing.write_atomic(_file(project), data)


def _file(project: Project) -> str:
    return os.path.join(project.common_dir, "mlrepro", "owed")
