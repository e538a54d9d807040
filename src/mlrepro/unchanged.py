"""The proof that a commit has nothing to do with data, by small reads alone."""

from __future__ import annotations

import os

from mlrepro import gitindex, index, remote
from mlrepro.errors import MlreproError

# This module and what it imports here are all that a commit without changed data loads: no typing,
# no dataclasses, no subprocess, no git process. What they import is pinned by a test.

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mlrepro.gitindex import Entries
    from mlrepro.index import Entry, Record
    from mlrepro.project import Project
    from mlrepro.remote import Remote


def nothing_to_do(project: Project) -> bool:
    """Whether it is proven, by small reads alone, that this commit has nothing to do with data.

    So it is where every pointer in the index is one that was seen before, every tracked file is as
    it was when it had the hash that its pointer names, that content is in the store, and nothing
    is staged that the hook refuses. Any doubt is answered with False.
    """
    return proof(project) is not None


class Proof:
    """By what it was proven: the record, the entries of git's index, and the store, where any.

    ``blobs``: oid → path and size in bytes of each that was looked for in the store; ``missing``:
    the tracked paths at which there is nothing.
    """

    __slots__ = ("blobs", "entries", "missing", "record", "target")

    def __init__(self, record: Record, entries: Entries, target: Remote | None) -> None:
        self.record = record
        self.entries = entries
        self.target = target
        self.blobs: dict[str, tuple[str, int]] = {}
        self.missing: set[str] = set()


def proof(project: Project, *, keep: bool = False) -> Proof | None:
    """The proof of ``nothing_to_do``, or None where there is none.

    ``keep``: see ``glance``.
    """
    if os.environ.get("MLREPRO_LANE"):
        return None
    record = index.load(project.state_dir)
    named = os.environ.get("GIT_INDEX_FILE")
    entries = gitindex.read(gitindex.path_of(project.git_dir, project.cwd, named))
    if entries is None:
        return None
    if not record.entries:
        return None if _concerns_us(entries, record) else Proof(record, entries, None)
    try:
        target = remote.of(project, os.environ)
    except MlreproError:
        return None
    if record.store_id != target.read_id() or _concerns_us(entries, record):
        return None
    found = Proof(record, entries, target)
    every = record.entries.values()
    return found if all(_is_in_order(project, found, entry, keep=keep) for entry in every) else None


def in_order(project: Project, record: Record, entries: Entries) -> dict[str, str]:
    """The files of which the same is proven each by itself, though not of all: path → pointer.

    Their pointers are as they were last read, and say nothing new.
    """
    try:
        target = remote.of(project, os.environ)
    except MlreproError:
        return {}
    if os.environ.get("MLREPRO_LANE") or record.store_id != target.read_id():
        return {}
    looked = Proof(record, entries, target)
    groups: dict[str, list[Entry]] = {}
    for entry in record.entries.values():
        groups.setdefault(entry.pointer, []).append(entry)
    found: dict[str, str] = {}
    for pointer, group in groups.items():
        at = entries.find(os.fsencode(pointer))
        if at < 0 or entries.stages[at] or not pointer.endswith(".dvc"):
            continue
        oid = entries.oid(at)
        if all(
            entry.seen == oid
            and entry.stat  # a folder is looked at once, by whoever reads its pointer
            and entry.named in (entry.synced, *entry.pending.split())
            and _is_in_order(project, looked, entry, keep=False)
            for entry in group
        ):
            found.update((entry.path, pointer) for entry in group)
    return found


def _concerns_us(entries: Entries, record: Record) -> bool:
    """Whether the index holds a pointer not seen before, a conflict in one, or what is refused."""
    seen = {entry.pointer: entry.seen for entry in record.entries.values()}
    cleared = set(record.cleared)
    for at, name in enumerate(entries.names):
        if name.endswith((b".dvc", b"dvc.lock")):
            oid = entries.oid(at)
            if entries.stages[at] or (seen.get(os.fsdecode(name)) != oid and oid not in cleared):
                return True
        elif (name[:11] == b".dvc/config" or gitindex.is_large(entries, at)) and entries.oid(
            at
        ) not in cleared:
            return True
    return False


def _is_in_order(project: Project, found: Proof, entry: Entry, *, keep: bool) -> bool:
    entries, name = found.entries, os.fsencode(entry.pointer)
    if entries.find(name) < 0:
        return True  # its pointer is not part of this commit
    raw = os.fsencode(entry.path)
    if entries.find(raw) >= 0:
        return False  # the data itself is staged
    path = f"{project.root}/{entry.path}"
    try:
        stat = os.lstat(path)
    except OSError:  # missing data is no change
        found.missing.add(entry.path)
        return not entries.within(raw) and _is_stored(found, entry.named)
    if entry.oid != entry.named or not entry.stored or not _is_stored(found, entry.oid):
        return False
    if stat.st_mode & 0o170000 == 0o040000:
        if entries.within(raw):
            return False
        # A quarter of the start-up time: only where a folder is tracked.
        from mlrepro import glance

        places = project.root, project.state_dir
        return glance.is_folder_same(*places, entry.path, entry.oid, keep=keep)
    return entry.is_unchanged(stat)


def _is_stored(found: Proof, oid: str) -> bool:
    """Whether a folder store has the blob; for a network store the record's word is taken."""
    if found.target is None or found.target.store is None:
        return True
    blob = found.target.store.find(oid)
    if blob is None:
        return False
    found.blobs[oid] = blob[0], blob[1].st_size
    return True
