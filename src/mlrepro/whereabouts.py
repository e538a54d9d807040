"""Which paths are tracked: told by git's index and the record, where these know it."""

from __future__ import annotations

import os

from mlrepro import git, outputs
from mlrepro.dataclass import TYPE_CHECKING

# To add one file, it has to be known what the pointers beside it name. Of a pointer that is as git
# staged it the record knows that already; so a thousand are looked at, and few are read.

if TYPE_CHECKING:
    from mlrepro.gitindex import Entries
    from mlrepro.index import Entry, Record
    from mlrepro.process import Started
    from mlrepro.project import Project

# A pointer of one output, as it is written: "- md5: … size: … hash: md5 path: …".
_FIXED = len("outs:\n- md5: \n  size: \n  hash: md5\n  path: \n") + 32
_EXEC, _FOLDER = len("  isexec: true\n"), len(".dir  nfiles: \n")


def pointers_by_path(
    project: Project, record: Record, asked: Started | None = None
) -> dict[str, str]:
    """The pointer that names each tracked path in the worktree; one that is bad names none.

    ``asked``: what ``outputs.ask_for_new`` began.
    """
    entries = git.entries(project)
    known = {entry.pointer: entry for entry in record.entries.values()}
    several = len(known) < len(record.entries)
    found: dict[str, str] = {}
    unknown: list[str] = []
    for at, raw in enumerate(entries.names):
        if not raw.endswith((b".dvc", b"dvc.lock")):
            continue
        name = os.fsdecode(raw)
        if not outputs.is_pointer(name):
            continue
        entry = None if several else known.get(name)
        if entry is not None and _is_as_recorded(project, entries, at, entry):
            found[entry.path] = name
        else:
            unknown.append(name)
    unknown += outputs.new_pointers(project, asked)
    if unknown:
        read = outputs.in_worktree(project, sorted(dict.fromkeys(unknown)))
        found |= {item.path: item.pointer for item in read.outs}
    return found


def _is_as_recorded(project: Project, entries: Entries, at: int, entry: Entry) -> bool:
    """Whether the pointer that lies there is the one that the record knows, and names no more."""
    if entries.stages[at] or entry.seen != entries.oid(at) or outputs.is_lock(entry.pointer):
        return False
    try:
        now = os.lstat(project.absolute(entry.pointer))
    except OSError:
        return False
    path = os.path.relpath(entry.path, os.path.dirname(entry.pointer) or ".")
    more = now.st_size - _FIXED - len(str(entry.size)) - len(os.fsencode(path))
    of_folder = _FOLDER < more < _FOLDER + 12  # as many digits as there may be files
    alone = of_folder if entry.named.endswith(".dir") else more in (0, _EXEC)
    return alone and entries.is_as_staged(at, now)
