"""Saves a tracked folder: the members that are not proven stored, and the listing after them."""

from __future__ import annotations

from mlrepro import engine, git, listing as listings, planning, walking, worktree
from mlrepro.dataclass import TYPE_CHECKING, dataclass
from mlrepro.errors import PathError
from mlrepro.presence import Presence

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mlrepro import index
    from mlrepro.capture import Target
    from mlrepro.project import Project
    from mlrepro.remote import Remote
    from mlrepro.result import Options
    from mlrepro.store import Store
    from mlrepro.worktree import Data


@dataclass(slots=True)
class Members:
    """What was saved: the folder as it is, blobs and bytes that are new, and folders without files,
    which are not kept.
    """

    data: Data
    count: int = 0
    bytes: int = 0
    hollow: Sequence[str] = ()


def save(
    project: Project,
    target: Remote,
    store: Store | None,
    wanted: Target,
    record: index.Record,
    options: Options,
) -> Members:
    """Put the content of a folder into cache and store.

    Raises PathError for what cannot be tracked, FileChanging, and StoreError.
    """
    done = Members(worktree.Data(wanted.path))
    entry = record.entries.get(wanted.path)
    worktree.refuse_link(project, wanted.path)
    seen = wanted.now.plan if wanted.now is not None else None
    plan = seen or planning.of(project, wanted.path)
    done.hollow = plan.walk.hollow
    certain = entry is not None and entry.stored and _marked(record, target)
    if wanted.item is not None and wanted.item.out.legacy:
        # Its members were saved where DVC 3 does not look: all of them are saved anew.
        plan, certain = plan.anew(), False
    # What the record says was stored whole is looked for, as far as it has not changed since, by
    # the names in the store's folders.
    by_name = Presence(store, plan.known()) if seen and certain and store is not None else None
    if by_name is not None:
        absent = by_name.absent(plan.oids, plan.shelves, some_unknown=True)
    else:
        absent = _unstored(plan, target.cache, store)
    # What was hashed a moment ago has a hash, and is in no store yet either.
    to_read = sorted({*plan.fresh, *absent}) if absent else plan.fresh

    def close() -> tuple[bytes, str] | None:
        """The listing that is to be stored, with its hash."""
        listing = _listing(project, wanted, plan, options, done)
        if by_name is not None and done.data.tree is not None:
            done.data.tree.shelves = by_name.shelves
        oid, size = done.data.oid, len(listing)
        if certain and done.data.proven and not _is_lacking(oid, size, target.cache, store):
            return None
        if not (store or target.cache).has(oid):
            done.count += 1
            done.bytes += size
        # Of a record's word alone no blob gets its name.
        return listing, oid if plan.tree is None else listings.listing_oid(listing)

    if to_read:
        _read(project, target, store, plan, to_read, options, done, close)
        return done
    last = close()
    if last is not None:
        engine.save_bytes(last[0], ".dir", target.cache, store, oid=last[1])
    return done


def _listing(
    project: Project,
    wanted: Target,
    plan: planning.FolderPlan,
    options: Options,
    done: Members,
) -> bytes:
    """Complete what is known of the folder; returns its listing. Raises PathError."""
    count = plan.known()
    if not count and plan.walk.names:
        raise PathError(
            f"All files of {wanted.path} are left out by .dvcignore.",
            "change the rule in .dvcignore",
            code="path-ignored",
            path=wanted.path,
        )
    if not count and wanted.item is None:  # one that was emptied since is noted, as by DVC
        raise empty(wanted.path)
    listing = worktree.finish_folder(done.data, plan)
    if listings.is_large(len(listing), count) and not listings.may_be_large():
        git.run(project, "config", listings.LARGE, "true")
        options.reporter.note(
            f"{wanted.path} has so many files that other clones read its list only after: "
            f"git config {listings.LARGE} true"
        )
    return listing


def empty(path: str) -> PathError:
    """The error for a folder without a file: DVC has no name for that."""
    return PathError(
        f"The folder holds no file: {path}",
        "put a file into it first",
        code="folder-empty",
        path=path,
    )


def _read(
    project: Project,
    target: Remote,
    store: Store | None,
    plan: planning.FolderPlan,
    places: Sequence[int],
    options: Options,
    done: Members,
    close: Callable[[], tuple[bytes, str] | None],
) -> None:
    """Save the members at these places, and what ``close`` makes of them all."""
    paths = plan.paths(project.absolute(done.data.path), places)
    keep, sizes = plan.noting(places), list[int]()

    def note(at: int, oid: str, stat: tuple[int, ...], began_ns: int, new: bool) -> None:
        keep(at, oid, stat, began_ns, new)
        if new:
            sizes.append(stat[1])

    def closing(report: engine.SaveReport) -> tuple[bytes, str] | None:
        return close() if not report.failed else None  # what was read is stored all the same

    report = engine.save_files(
        paths, target.cache, store, jobs=options.jobs, reporter=options.reporter,
        bytes_known=plan.sizes(places), closing=closing, note=note,
    )  # fmt: skip
    done.count += len(sizes)
    done.bytes += sum(sizes)
    for path, error in report.failed:
        error.path = f"{done.data.path}/{path[len(paths.base) :]}"
        raise error


def _marked(record: index.Record, target: Remote) -> bool:
    """Whether the record speaks of the very store that is there now."""
    return bool(record.store_id) and record.store_id == target.read_id()


def _unstored(plan: planning.FolderPlan, cache: Store, store: Store | None) -> list[int]:
    """The members whose blobs are not, with their size, in cache and store: a look for each."""
    if len(plan.fresh) == len(plan.walk):
        return []
    places = [cache] + ([store] if store is not None else [])
    return [
        at
        for at, size in enumerate(plan.walk.numbers[:: walking.NUMBERS])
        if (oid := plan.oid(at)) and not all(place.has(oid, size) for place in places)
    ]


def _is_lacking(oid: str, size: int, cache: Store, store: Store | None) -> bool:
    """Whether cache or store has no such listing, or one of another size."""
    found = [place.find(oid, size) for place in (cache, store) if place is not None]
    return any(one is None or one[1].st_size != size for one in found)
