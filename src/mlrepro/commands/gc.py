"""gc: move what nothing needs any more to a trash, and clear that; nothing is deleted at once."""

from __future__ import annotations

import contextlib
import os

from mlrepro import clones, collecting, locating, naming, proof, remote, trash
from mlrepro.amounts import many
from mlrepro.dataclass import TYPE_CHECKING, dataclass
from mlrepro.errors import Refused
from mlrepro.lock import Lock
from mlrepro.result import Options, Result

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from mlrepro.collecting import Blob
    from mlrepro.project import Project
    from mlrepro.remote import Remote
    from mlrepro.store import Store

MOST_LISTED = 40


@dataclass(frozen=True)
class Amount:
    """So many blobs, of so many bytes together."""

    count: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class GcResult(Result):
    """``blobs``: what was moved (or would be), ``kept``: what stays since it is needed;
    ``emptied``: what was deleted from the trash, ``left``: what is no blob and was left in it.
    """

    blobs: tuple[Blob, ...] = ()
    moved: Amount = Amount()
    kept: Amount = Amount()
    emptied: Amount | None = None
    left: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def data(self) -> dict[str, Any]:
        if self.emptied is not None:
            return {"emptied": dict(vars(self.emptied))}
        return {
            "moved": dict(vars(self.moved)),
            "kept": dict(vars(self.kept)),
            "blobs": [
                {"oid": blob.oid, "size": blob.size, "where": blob.where, "path": blob.path}
                for blob in self.blobs
            ],
        }


def run(project: Project, keep_last: int | None, empty_trash: bool, options: Options) -> GcResult:
    """Move to the trash what no commit, index, worktree or reflog of any clone needs.

    ``keep_last``: of each branch only so many commits count; ``empty_trash``: delete what earlier
    runs moved there, and do nothing else. Raises Refused where a yes is needed (``needs-yes``),
    where it cannot be said what is needed (a shallow clone, a clone or pointer that cannot be
    read), and for a network store; StoreError for a store that cannot be used.
    """
    naming.require_dvc(project)
    target = locating.located(project, os.environ, write=not options.dry_run)
    store = _usable(project, target)
    holders, notes = _holders(project, target, store)
    if empty_trash:
        return _empty(holders, options, notes)
    if proof.is_shallow(project):
        raise Refused(
            "This clone is shallow: it does not know what all commits need.",
            "git fetch --unshallow",
            code="shallow-clone",
        )
    if not options.dry_run:
        clones.register(project, store)
    room = os.path.join(store.root, ".mlrepro")
    lock = Lock(os.path.join(room, "gc.lock"), wait=0)
    try:
        with contextlib.nullcontext() if options.dry_run else lock:
            return _collect(project, target, holders, keep_last, options, notes)
    except BlockingIOError as error:
        raise Refused(
            f"Another gc is at work on {store.root}.", "wait for its end", code="gc-running"
        ) from error


def _usable(project: Project, target: Remote) -> Store:
    """The store, if gc may look after it. Raises Refused, StoreError."""
    wrong = remote.problem(project, target)
    if wrong is not None:
        raise wrong
    store = target.store
    if store is None:
        raise Refused(
            f"gc looks after a store that is a folder; this one is {target.url}.",
            "use the rules for old objects that the storage itself has",
            code="gc-network",
        )
    if not store.read_id():
        raise Refused(
            f"The folder {store.root} has no marker of a store: what is in it may not be ours.",
            "mlrepro push marks the store that it uses",
            code="store-unmarked",
            path=store.root,
        )
    return store


def _holders(project: Project, target: Remote, store: Store) -> tuple[dict[str, Store], list[str]]:
    """The folders to look after: the store, and the cache where it is this worktree's own."""
    cache = target.cache
    holders = {"store": store}
    place = os.path.realpath(cache.root)
    if place == os.path.realpath(store.root) or not os.path.isdir(place):
        return holders, []
    if not (place + os.sep).startswith(project.dvc_dir + os.sep):
        return holders, [f"the cache {cache.root} is not this clone's alone: it was left as it is"]
    return {**holders, "cache": cache}, []


def _collect(
    project: Project,
    target: Remote,
    holders: dict[str, Store],
    keep_last: int | None,
    options: Options,
    notes: list[str],
) -> GcResult:
    found = collecting.needs(project, target, keep_last)
    if found.errors:
        first, *rest = found.errors
        if rest:
            first.message += f" There are {len(rest):,} more reasons not to begin."
        return GcResult(errors=tuple(found.errors[:MOST_LISTED]), notes=tuple(notes))
    blobs = collecting.unneeded(found, holders)
    amount = Amount(len(blobs), collecting.bytes_of(blobs, holders))
    stay = {oid: size for one in holders.values() for oid, size in one.list_oids().items()}
    for blob in blobs:
        stay.pop(blob.oid, None)
    kept = Amount(len(stay), sum(stay.values()))
    if not blobs or options.dry_run:
        return GcResult(blobs=tuple(blobs), moved=amount, kept=kept, notes=tuple(notes))
    if not options.yes:
        _ask(blobs, amount, options)
    moved, errors = collecting.move(project, target, keep_last, blobs, holders)
    back = len(blobs) - len(moved)
    if back:
        notes.append(f"put back, since needed by now: {many(back, 'blob')}")
    done = Amount(len(moved), sum(blob.size for blob in moved) if back else amount.bytes)
    return GcResult(tuple(errors), tuple(moved), done, kept, notes=tuple(notes))


def _ask(blobs: Sequence[Blob], amount: Amount, options: Options) -> None:
    ordered = sorted(blobs, key=lambda blob: -blob.size)
    for blob in ordered[:MOST_LISTED]:
        about = f" {blob.path}" if blob.path else ""
        options.reporter.note(f"{blob.oid}  {many(blob.size, 'byte')}  {blob.where}{about}")
    if len(ordered) > MOST_LISTED:
        options.reporter.note(f"… and {len(ordered) - MOST_LISTED:,} more")
    raise Refused(
        f"Nothing needs {many(amount.count, 'blob')} ({many(amount.bytes, 'byte')}): "
        "move to the trash?",
        "mlrepro gc -y moves them; mlrepro gc --dry-run lists them",
        code="needs-yes",
    )


def _empty(holders: dict[str, Store], options: Options, notes: list[str]) -> GcResult:
    count = size = 0
    for store in holders.values():
        blobs = trash.contents(store)
        count, size = count + len(blobs), size + sum(blobs.values())
    if options.dry_run or not count:
        return GcResult(emptied=Amount(count, size), notes=tuple(notes))
    if not options.yes:
        raise Refused(
            f"{many(count, 'blob')} ({many(size, 'byte')}) in the trash: delete for good?",
            "mlrepro gc --empty-trash -y deletes them",
            code="needs-yes",
        )
    count = size = 0
    left: list[str] = []
    for store in holders.values():
        gone, freed, others = trash.clear(store)
        count, size, left = count + gone, size + freed, left + others
    return GcResult(emptied=Amount(count, size), left=tuple(left), notes=tuple(notes))
