"""From data in the worktree to blobs, to pointers: in this order, never another."""

from __future__ import annotations

import os

from mlrepro import (
    digest,
    engine,
    folder,
    index,
    members,
    outputs,
    remote,
    transfer,
    wording,
    worktree,
)
from mlrepro.amounts import many
from mlrepro.dataclass import TYPE_CHECKING, dataclass, field
from mlrepro.errors import MlreproError, PathError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mlrepro.outputs import Tracked
    from mlrepro.project import Project
    from mlrepro.remote import Remote
    from mlrepro.result import Options
    from mlrepro.store import Store
    from mlrepro.worktree import Data


@dataclass(frozen=True, slots=True)
class Target:
    """A path whose content is to be saved, and the pointer that is to name it.

    ``item``: what its pointer says today, None for a new one; ``now``: what this very run has found
    there, which then need not be looked at again. ``keeps_bit``: whether the file may be executed
    is as the pointer says, though not yet here.
    """

    path: str
    pointer: str
    item: Tracked | None = None
    now: Data | None = None
    keeps_bit: bool = False


@dataclass(slots=True)
class Saved:
    """A target whose content is safe: ``text`` is what its pointer has to say (None: as it is)."""

    target: Target
    data: Data
    stored: bool
    text: bytes | None = None
    as_was: bool = False  # saved by DVC 2, and still that content: its pointer stays as it is

    @property
    def is_new(self) -> bool:
        return self.target.item is None

    @property
    def is_changed(self) -> bool:
        return wording.differs(self)


@dataclass(slots=True)
class Capture:
    """What was saved, what that stored, and the targets that could not be saved."""

    saved: list[Saved] = field(default_factory=list)
    count: int = 0
    bytes: int = 0
    notes: list[str] = field(default_factory=list)
    owed: list[str] = field(default_factory=list)
    errors: list[MlreproError] = field(default_factory=list)


def pointer_name(path: str) -> str:
    """Where the pointer of ``path`` goes: beside it, as DVC has it.

    A name too long for ``.dvc`` to fit behind it is cut, with a hash of the whole in its place.
    """
    parent, _, name = path.rpartition("/")
    raw = os.fsencode(name)
    if len(raw) > 251:
        mark = digest.md5(raw)[:8]
        name = raw[:200].decode("utf-8", "ignore") + "-" + mark
    return (parent + "/" if parent else "") + name + ".dvc"


def save(
    project: Project,
    target: Remote,
    wanted: Sequence[Target],
    record: index.Record,
    options: Options,
    ahead: Callable[[Sequence[Saved]], None] | None = None,
) -> Capture:
    """Put the content of every target into cache and store; pointers are not touched yet.

    What the record proves unchanged and stored is not read. ``ahead``: told of what was read once
    all was, while that is on its way to the store. Raises StoreError where the store folder cannot
    be used at all; what concerns one target only is in ``errors``.
    """
    result = Capture()
    store = remote.usable(project, target)
    target.cache.create()
    if record.store_id and record.store_id != target.read_id():
        for entry in record.entries.values():
            entry.stored = False
    to_save: list[Target] = []
    for item in _changed_since_dvc_2(project, target, wanted, record, options, result):
        path = project.absolute(item.path)
        if os.path.isdir(path) and not os.path.islink(path):
            _save_folder(project, target, store, item, record, options, result)
        else:
            to_save.append(item)
    _save_files(project, target, store, to_save, record, options, result, ahead)
    asked = {item.path: at for at, item in enumerate(wanted)}
    result.saved.sort(key=lambda item: asked[item.target.path])
    if store is None and target.is_network:
        _send(project, target, result, options)
    for done in result.saved:
        if done.target.keeps_bit and done.target.item is not None:
            done.data.isexec = done.target.item.out.isexec
    wording.set_texts(project, result.saved)
    return result


def _changed_since_dvc_2(
    project: Project,
    target: Remote,
    wanted: Sequence[Target],
    record: index.Record,
    options: Options,
    result: Capture,
) -> list[Target]:
    """The targets but for those that DVC 2 saved and that still are that content, and stored.

    As DVC 3 leaves such a pointer alone until its data changes.
    """
    items = {one.item.path: one.item for one in wanted if one.item and one.item.out.legacy}
    if not items:
        return list(wanted)
    found = worktree.examine(project, list(items), record, options, items.values())
    same = [item for item in items.values() if item.oid and found[item.path].oid == item.oid]
    needs = [
        transfer.Need(item.path, item.oid, None if item.out.is_dir else item.out.size, item.pointer)
        for item in same
    ]
    lost = {need.pointer for need in transfer.push(project, target, needs, options).missing}
    # The blob may have been saved for another file with the same text and other line ends.
    store = target.store
    lost |= {n.pointer for n in needs if store is not None and not store.has(n.oid, n.size)}
    left = []
    for one in wanted:
        if one.item in same and one.pointer not in lost:
            result.saved.append(Saved(one, found[one.path], True, as_was=True))
        else:
            left.append(one)
    return left


def _save_files(
    project: Project,
    target: Remote,
    store: Store | None,
    wanted: Sequence[Target],
    record: index.Record,
    options: Options,
    result: Capture,
    ahead: Callable[[Sequence[Saved]], None] | None,
) -> None:
    by_path = {item.path: item for item in wanted}
    proven = _proven(project, set(by_path), record, target.cache, store)
    found = worktree.examine(project, sorted(proven), record, options)
    absolute: dict[str, str] = {}
    known: dict[str, str] = {}
    for path, item in by_path.items():
        data = found.get(path)
        if data is not None and data.proven:
            result.saved.append(Saved(item, data, True))
            continue
        try:
            worktree.refuse_link(project, path)
        except MlreproError as refused:
            result.errors.append(refused)
            continue
        absolute[project.absolute(path)] = path
        entry = record.entries.get(path)
        if item.now is not None and item.now.oid:
            known[project.absolute(path)] = item.now.oid  # so it is copied in one reading
        elif entry is not None and entry.oid and _is_of_size(project.absolute(path), entry.size):
            known[project.absolute(path)] = entry.oid  # it probably only has a new date

    def take(report: engine.SaveReport) -> None:
        for done in report.saved:
            path = absolute[done.path]
            data = worktree.Data(
                path, done.oid, done.size, None, done.isexec, done.stat, done.began_ns
            )
            result.saved.append(Saved(by_path[path], data, store is not None))
            if done.stored_new:
                result.count += 1
                result.bytes += done.size
        if ahead is not None:
            ahead(result.saved)

    report = engine.save_files(
        list(absolute), target.cache, store,
        jobs=options.jobs, reporter=options.reporter, digest_known=known, meanwhile=take,
    )  # fmt: skip
    for name, error in report.failed:
        error.path = absolute[name]
        result.errors.append(error)


def _proven(
    project: Project, paths: set[str], record: index.Record, cache: Store, store: Store | None
) -> set[str]:
    """The paths that need not be read: unchanged since they were hashed, and stored."""
    proven = set()
    for path in paths:
        entry = record.entries.get(path)
        if entry is None or not entry.oid:
            continue
        try:
            same = entry.is_unchanged(os.lstat(project.absolute(path)))
        except OSError:
            continue
        places = [cache] if store is None else [cache, store]
        if same and all(place.has(entry.oid, entry.size) for place in places):
            proven.add(path)
    return proven


def _is_of_size(path: str, size: int) -> bool:
    try:
        return os.lstat(path).st_size == size
    except OSError:
        return False


def missing(path: str) -> PathError:
    """The error for a path at which there is nothing."""
    return PathError(
        f"No such file or folder: {path}", "mlrepro pull", code="path-missing", path=path
    )


def _save_folder(
    project: Project,
    target: Remote,
    store: Store | None,
    wanted: Target,
    record: index.Record,
    options: Options,
    result: Capture,
) -> None:
    try:
        done = members.save(project, target, store, wanted, record, options)
    except MlreproError as error:
        error.path = error.path or wanted.path
        result.errors.append(error)
        return
    result.count += done.count
    result.bytes += done.bytes
    if done.hollow:
        result.notes.append(
            f"{wanted.path}: without {many(len(done.hollow), 'empty folder')} "
            f"({done.hollow[0]}): a snapshot holds files."
        )
    result.saved.append(Saved(wanted, done.data, store is not None))


def _send(project: Project, target: Remote, result: Capture, options: Options) -> None:
    """Send to a network store what it may not have yet; what cannot be sent now is owed."""
    needs = [
        transfer.Need(item.target.path, item.data.oid, pointer=item.target.pointer)
        for item in result.saved
        if item.is_new or item.is_changed
    ]
    if not needs:
        return
    sent = transfer.push(project, target, needs, options)
    result.count, result.bytes = sent.count, sent.bytes
    result.owed = [need.oid for need in sent.owed]
    owed = set(result.owed)
    for item in result.saved:
        # Which members of a folder are owed is not worth finding out: it is only looked at again.
        item.stored = item.data.oid not in owed and not (owed and item.data.tree is not None)
    result.notes += [
        f"{error.message.rstrip('.')}. The content is in the cache, and owed to the store."
        for error in sent.errors
    ]


def remember(
    project: Project,
    target: Remote,
    saved: Sequence[Saved],
    record: index.Record,
    base: str,
) -> None:
    """Note what was hashed and stored, and what was written for a commit that is yet to come."""
    changed = []
    for item in saved:
        entry = record.entry(item.target.path, item.target.pointer)
        data = item.data
        if data.tree is not None and not data.proven:
            folder.save(project.state_dir, data.tree)
        is_alike = not item.target.keeps_bit  # else the next commit has to look at the bit again
        entry.hashed(data.oid, data.size, data.stat if is_alike else None, data.began_ns)
        entry.stored = item.stored
        if item.text is not None:
            entry.saw(outputs.git_oid(item.text), data.oid, is_alike=is_alike)
            entry.await_commit(data.oid, base)
        elif item.target.item is not None:
            entry.seen, entry.named = item.target.item.seen, item.target.item.oid
            if data.oid != entry.synced:
                entry.await_commit(data.oid, base)
        changed.append(entry)
    store_id = target.read_id()
    if changed:
        index.save(project.state_dir, changed, store_id=store_id)
