"""Saves a tracked folder: the members that are not proven stored, and the listing after them."""

from __future__ import annotations

from mlrepro import engine, folder, git, listing as listings, worktree
from mlrepro.dataclass import TYPE_CHECKING, dataclass
from mlrepro.errors import PathError
from mlrepro.presence import Presence

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    plan = seen or worktree.plan_folder(project, wanted.path)
    done.hollow = plan.walk.hollow
    oids = dict(plan.known)
    certain = entry is not None and entry.stored and _marked(record, target)
    if wanted.item is not None and wanted.item.out.legacy:
        # Its members were saved where DVC 3 does not look: all of them are saved anew.
        plan = worktree.FolderPlan(plan.walk, {}, [*plan.known, *plan.fresh], plan.began_ns)
        oids, certain = {}, False
    by_name = seen is not None and certain and store is not None
    absent = _unnamed(oids, store) if by_name and store is not None else None
    if absent is None:
        absent = _unstored(plan, oids, target.cache, store)
    to_read = plan.fresh + absent
    oids |= worktree.note_read(plan, _read(project, target, store, to_read, options, done))
    if not oids and plan.walk.names:
        raise PathError(
            f"All files of {wanted.path} are left out by .dvcignore.",
            "change the rule in .dvcignore",
            code="path-ignored",
            path=wanted.path,
        )
    if not oids and wanted.item is None:  # one that was emptied since is noted, as by DVC
        raise empty(wanted.path)
    listing = worktree.finish_folder(done.data, plan, oids)
    if listings.is_large(len(listing), len(oids)) and not listings.may_be_large():
        git.run(project, "config", listings.LARGE, "true")
        options.reporter.note(
            f"{wanted.path} has so many files that other clones read its list only after: "
            f"git config {listings.LARGE} true"
        )
    oid = done.data.oid
    if not (certain and done.data.proven) or _is_lacking(oid, len(listing), target.cache, store):
        fresh = not (store or target.cache).has(oid)
        engine.save_bytes(listing, ".dir", target.cache, store)
        done.count += fresh
        done.bytes += len(listing) if fresh else 0
    return done


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
    names: Sequence[str],
    options: Options,
    done: Members,
) -> dict[str, engine.Saved]:
    """Save these members; returns each by its name."""
    base = project.absolute(done.data.path)
    paths = [f"{base}/{name}" for name in names]
    report = engine.save_files(
        paths, target.cache, store, jobs=options.jobs, reporter=options.reporter
    )
    fresh = [one.size for one in report.saved if one.stored_new]
    done.count += len(fresh)
    done.bytes += sum(fresh)
    for name, error in report.failed:
        error.path = f"{done.data.path}/{name[len(base) + 1 :]}"
        raise error
    return dict(zip(names, report.saved, strict=True))  # in the order asked for


def _marked(record: index.Record, target: Remote) -> bool:
    """Whether the record speaks of the very store that is there now."""
    return bool(record.store_id) and record.store_id == target.read_id()


def _unstored(
    plan: worktree.FolderPlan, known: dict[str, str], cache: Store, store: Store | None
) -> list[str]:
    """The members whose blobs are not, with their size, in cache and store: a look for each."""
    if not known:
        return []
    places = [cache] + ([store] if store is not None else [])
    sizes = dict(zip(plan.walk.names, plan.walk.numbers[:: folder.NUMBERS], strict=True))
    return [
        name
        for name, oid in known.items()
        if not all(place.has(oid, sizes.get(name)) for place in places)
    ]


def _unnamed(known: dict[str, str], store: Store) -> list[str]:
    """The members whose blobs the store does not have, by the names in its folders.

    For a commit of what the record says was stored whole, as far as it has not changed since.
    """
    there = Presence(store, len(known))
    return [name for name, oid in known.items() if not there.has(oid)]


def _is_lacking(oid: str, size: int, cache: Store, store: Store | None) -> bool:
    """Whether cache or store has no such listing, or one of another size."""
    found = [place.find(oid, size) for place in (cache, store) if place is not None]
    return any(one is None or one[1].st_size != size for one in found)
