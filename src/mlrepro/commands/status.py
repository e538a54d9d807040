"""status: how each tracked path stands to its pointer, and whether HEAD can be restored."""

from __future__ import annotations

import os

from mlrepro import (
    debts,
    git,
    halfway,
    index,
    locating,
    outputs,
    pointer,
    remote,
    sealing,
    threeway,
    transfer,
    worktree,
)
from mlrepro.dataclass import TYPE_CHECKING, dataclass
from mlrepro.errors import BlobMissing, MlreproError, Refused, StoreError
from mlrepro.project import require_dvc
from mlrepro.receipts import Receipts
from mlrepro.result import Options, Result

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from mlrepro.gitindex import Entries
    from mlrepro.outputs import Tracked
    from mlrepro.presence import Presence
    from mlrepro.project import Project
    from mlrepro.remote import Remote
    from mlrepro.store import Store
    from mlrepro.worktree import Data


@dataclass(frozen=True)
class FileState:
    """One tracked path; ``state``: unchanged, modified, missing, conflict or unreadable.

    ``asked``: whether ``stored`` is known, as it is not of a store on the network that never told.
    """

    path: str
    pointer: str
    state: str
    stored: bool
    note: str = ""
    asked: bool = True


@dataclass(frozen=True)
class StatusResult(Result):
    """``clean``: nothing to do; ``restorable``: every blob that HEAD needs is stored."""

    clean: bool = True
    restorable: bool = True
    files: tuple[FileState, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        return 0 if self.clean and not self.errors else 1

    def data(self) -> dict[str, Any]:
        return {
            "clean": self.clean,
            "restorable": self.restorable,
            "files": [
                {"path": f.path, "pointer": f.pointer, "state": f.state, "stored": f.stored}
                for f in self.files
            ],
        }


def run(project: Project, options: Options) -> StatusResult:
    """Compare all tracked data with its pointers; reads only what is not proven unchanged."""
    require_dvc(project)
    watch = sealing.Watch(project)
    record = index.load(project.state_dir)
    threeway.settle(project, record)  # commits that were made without our hooks
    target = locating.located(project, os.environ, write=False)
    wrong = remote.problem(project, target)
    listing = outputs.in_worktree(project)
    entries = git.entries(project)
    paths = [item.path for item in listing.outs]
    found = worktree.examine(project, paths, record, options, listing.outs)
    stored = _Stored(project, target, usable=wrong is None)
    _, older = threeway.differing_bits(project, listing.outs, found, record)
    files = [_file_state(item, found[item.path], record, stored, older) for item in listing.outs]
    errors: list[MlreproError] = [wrong] if wrong is not None else []
    for error in listing.errors:
        errors.append(error)
        state = "conflict" if error.code == "pointer-conflict" else "unreadable"
        files.append(FileState(error.path.removesuffix(".dvc"), error.path, state, False))
    head = git.head(project)
    tree = git.tree(project, head) if head else []
    broken = halfway.of(project)
    notes = [broken.note] if broken is not None else []
    notes += _notes(project, listing.outs, entries, tree)
    _keep(project, listing.outs, found, record)
    restorable, missing = _restorable(project, stored, head, tree)
    errors += missing
    del found, stored  # much where folders are large, and to vouch for them takes its own
    in_order = all(file.state == "unchanged" and file.stored for file in files)
    clean = in_order and not errors and not notes and restorable
    if clean and files:
        _vouch(project, target, listing.outs, record)
        watch.keep({item.path: item.pointer for item in listing.outs})
    return StatusResult(
        errors=tuple(errors),
        clean=clean,
        restorable=restorable,
        files=tuple(sorted(files, key=lambda file: file.path)),
        notes=tuple(notes),
    )


class _Stored:
    """Answers whether a blob, and for a folder every blob of it, is in the store."""

    def __init__(self, project: Project, target: Remote, *, usable: bool) -> None:
        self.target = target
        self.usable = usable
        self.owed = set(debts.owed(project))
        self.receipts = Receipts(project.common_dir, target.place) if target.is_network else None
        self._there: Presence | None = None  # for folders of many files
        self._folders: dict[str, bool] = {}
        self.wrong: dict[str, MlreproError] = {}  # listings that cannot be used, and why

    def has(self, oid: str, size: int | None = None) -> bool:
        store = self.target.store
        if not oid or not self.usable:
            return False
        if store is None:
            return oid not in self.owed and self._is_noted(oid)
        if not oid.endswith(".dir"):
            return store.has(oid, size)
        if oid not in self._folders:  # asked for the worktree, and again for HEAD
            self._folders[oid] = self._has_all(store, oid)
        return self._folders[oid]

    def unasked(self, oid: str) -> bool:
        """Whether nothing here tells of it: neither a receipt, nor a debt, nor the cache."""
        far = self.target.store is None and self.usable
        return far and oid not in self.owed and not self.target.cache.has(oid, None)

    def _is_noted(self, oid: str) -> bool:
        """Whether a network store was seen to have it; it is not asked, so this works offline."""
        if self.receipts is None or oid not in self.receipts:
            return False
        if not oid.endswith(".dir"):
            return True
        if oid not in self._folders:
            noted = self.receipts
            members = self._members(oid, [self.target.cache], only_look=False)
            self._folders[oid] = members is not None and all(one.oid in noted for one in members)
        return self._folders[oid]

    def _has_all(self, store: Store, oid: str) -> bool:
        if not store.has(oid, None):
            return False
        members = self._members(oid, [self.target.cache, store], only_look=True)
        if members is None:
            return False
        from mlrepro.presence import Presence  # only for folders

        there = Presence(store, len(members))
        if there.lists:
            there = self._there = self._there or there
        return not there.absent(members.oids)

    def _members(
        self, oid: str, places: Sequence[Store], *, only_look: bool
    ) -> pointer.Members | None:
        try:
            return transfer.listing_of(oid, places, only_look=only_look)
        except MlreproError as error:
            self.wrong[oid] = error
            return None


def _file_state(
    item: Tracked, data: Data, record: index.Record, stored: _Stored, older: set[str]
) -> FileState:
    size = None if item.out.is_dir else item.out.size
    in_store = stored.has(item.oid, size)
    if data.error is not None:
        return FileState(item.path, item.pointer, "unreadable", in_store, data.error.message)
    entry = record.entries.get(item.path) or index.Entry(item.path, item.pointer)
    judged = threeway.judge(entry, data.oid, item.oid, lambda: False)
    if judged == threeway.SAME and data.stat is not None and data.isexec != item.out.isexec:
        note = f"it is {'' if data.isexec else 'not '}executable here, its pointer says otherwise"
        note += ": mlrepro pull" if item.path in older else ""
        return FileState(item.path, item.pointer, "modified", in_store, note)
    if judged == threeway.SAME:
        return FileState(item.path, item.pointer, "unchanged", in_store)
    if judged == threeway.MISSING:
        asked = in_store or not stored.unasked(item.oid)
        return FileState(item.path, item.pointer, "missing", in_store, asked=asked)
    note = "the pointer is newer: mlrepro pull" if judged == threeway.BEHIND else ""
    if judged == threeway.BOTH:
        note = "data and pointer both changed"
    return FileState(item.path, item.pointer, "modified", in_store, note)


def _notes(
    project: Project, outs: list[Tracked], entries: Entries, tree: list[tuple[str, str, int]]
) -> list[str]:
    """What is not committed yet, and what is owed to the store."""
    names = sorted({item.pointer for item in outs})
    committed = {path: oid for path, oid, _ in tree if outputs.is_pointer(path)}
    by_pointer = {item.pointer: item.seen for item in outs}
    notes = []
    for name in names:
        if committed.get(name) != by_pointer[name]:
            at = entries.find(os.fsencode(name))
            staged = at >= 0 and entries.oid(at) == by_pointer[name]
            what = "staged, not committed" if staged else "neither staged nor committed"
            notes.append(f"{name}: {what}")
    gone = (name for name in committed if not os.path.lexists(project.absolute(name)))
    notes += [f"{name}: removed, not committed" for name in gone]
    owed = debts.owed(project)
    if owed:
        notes.append(f"content is owed to the store ({len(owed)}): mlrepro push")
    return notes


def _keep(
    project: Project, outs: list[Tracked], found: dict[str, Data], record: index.Record
) -> None:
    """Note what was hashed, so that it need not be hashed again."""
    from mlrepro import folder

    changed = []
    for item in outs:
        data = found[item.path]
        if data.error is not None or data.proven or not data.oid:
            continue
        entry = record.entry(item.path, item.pointer)
        worktree.note(entry, data, item)
        if data.tree is not None:
            folder.save(project.state_dir, data.tree)
        changed.append(entry)
    if changed:
        index.save(project.state_dir, changed)


def _vouch(project: Project, target: Remote, outs: list[Tracked], record: index.Record) -> None:
    """Note of what was found in order that it is so, where the record did not know, as in a clone.

    A commit then need not find it out.
    """
    changed = []
    store_id = target.read_id()
    for item in outs:
        entry = record.entries.get(item.path)
        if entry is None or entry.oid != item.oid:
            continue
        known = entry.stored and entry.seen == item.seen and entry.named == item.oid
        if not known or record.store_id != store_id:
            entry.stored, entry.seen, entry.named = True, item.seen, item.oid
            changed.append(entry)
    if changed:
        index.save(project.state_dir, changed, store_id=store_id)


def _restorable(
    project: Project, stored: _Stored, head: str, tree: list[tuple[str, str, int]]
) -> tuple[bool, list[MlreproError]]:
    """Whether all that HEAD's pointers name is stored, and what is not."""
    if not head:
        return True, []
    listing = outputs.at_revision(project, head, tree)
    missing: list[MlreproError] = [
        Refused(f"HEAD: {error.message}", error.hint, error.code, path=error.path, commit=head)
        for error in listing.errors
    ]
    missing += [
        _not_restorable(item, head, stored)
        for item in listing.outs
        if item.oid and not stored.has(item.oid, None if item.out.is_dir else item.out.size)
    ]
    return not missing, missing if stored.usable else []


def _not_restorable(item: Tracked, head: str, stored: _Stored) -> MlreproError:
    """The error for what HEAD names and cannot be had from the store, or perhaps not."""
    about = {"path": item.path, "oid": item.oid, "commit": head}
    why = stored.wrong.get(item.oid)
    if why is not None:
        said = f"HEAD cannot be restored: {item.path}: {why.message}"
        return type(why)(said, why.hint, why.code, **about)
    if stored.unasked(item.oid):
        return StoreError(
            f"The store was not asked yet whether it has {item.path} ({item.oid}), as HEAD needs.",
            "mlrepro pull, or mlrepro verify, which only asks",
            code="store-not-asked",
            **about,
        )
    return BlobMissing(
        f"HEAD cannot be restored: {item.path} ({item.oid}) is not in the store.",
        "mlrepro push",
        **about,
    )
