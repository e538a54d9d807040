"""Going back to earlier data: what may not be overwritten, and single files of folders."""

from __future__ import annotations

from mlrepro import (
    engine,
    fetching,
    git,
    gitadd,
    index,
    leaving,
    materialize,
    outputs,
    plainfile,
    pointer,
    remote,
    threeway,
    transfer,
    writing,
)
from mlrepro.dataclass import TYPE_CHECKING, replace
from mlrepro.errors import PathError, Refused
from mlrepro.safepath import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mlrepro.materialize import Brought
    from mlrepro.outputs import Tracked
    from mlrepro.project import Project
    from mlrepro.remote import Remote
    from mlrepro.result import Options
    from mlrepro.store import Store


def check_place(project: Project, item: Tracked, now: outputs.Listing, revision: str) -> None:
    """Refuse to bring an output back to where its pointer would contradict what is there now.

    Raises Refused, PathError.
    """
    shown = quoted(project.show(item.path))
    if item.in_lock:
        raise Refused(
            f"{item.path} is an output of a pipeline: {item.pointer} names it with others.",
            f"mlrepro checkout {revision} --into DIR brings all of them back, beside",
            code="path-in-pipeline",
            path=item.path,
        )
    for other in now.outs:
        if other.path == item.path and other.pointer != item.pointer:
            raise Refused(
                f"{item.path} is named by {other.pointer} now, and was by {item.pointer}.",
                f"mlrepro untrack {shown}, then restore it again",
                code="pointer-moved",
                path=item.path,
            )
        if other.pointer == item.pointer and other.path != item.path:
            raise Refused(
                f"{item.pointer} names {project.show(other.path)} as well, which would be changed "
                "with it.",
                f"mlrepro checkout {revision} --into DIR brings all back, beside",
                code="pointer-not-plain",
                path=item.path,
            )
        if _overlap(item.path, other.path):
            raise Refused(
                f"{item.path} cannot be tracked beside what is tracked now: "
                f"{project.show(other.path)}",
                f"mlrepro untrack {quoted(project.show(other.path))}, or: "
                f"mlrepro checkout {revision} --into DIR",
                code="path-overlap",
                path=item.path,
            )
    if git.listed(project, [item.path]):
        raise PathError(
            f"{item.path} is in git now; content in git cannot be in the store too.",
            f"git rm -r --cached {shown}, then restore it again",
            code="path-in-git",
            path=item.path,
        )


def _overlap(one: str, other: str) -> bool:
    return one.startswith(other + "/") or other.startswith(one + "/")


def bring_members(
    project: Project,
    target: Remote,
    then: Tracked,
    names: Sequence[str],
    now: outputs.Listing,
    record: index.Record,
    options: Options,
    done: Brought,
    *,
    force: bool,
) -> None:
    """Bring files of a tracked folder back to what it held as ``then``; the others stay.

    ``names``: files or folders in it. Its pointer gets a listing with these versions in the place
    of the present ones, and is staged. What became of it is added to ``done``. Raises Refused,
    PathError, BlobMissing.
    """
    present = now.by_path().get(then.path)
    if present is None or not (present.plain and present.out.is_dir) or present.out.legacy:
        raise Refused(
            f"{then.path} is not tracked now as a folder that could take single files back.",
            f"restore all of it: {quoted(project.show(then.path))}",
            code="pointer-not-plain",
            path=then.path,
        )
    places = _places(target)
    before, earlier = (_listing(project, target, one, options) for one in (present, then))
    wanted = {name: oid for name, oid in earlier.items() if _is_below(name, names)}
    for name in names:
        if not any(_is_below(one, [name]) for one in wanted):
            raise PathError(
                f"{then.path}/{name} was not in the folder then.",
                f"mlrepro log {quoted(project.show(then.path))}",
                code="path-not-in-revision",
                path=f"{then.path}/{name}",
            )
    needs = [
        transfer.Need(f"{then.path}/{n}", oid, None, then.pointer) for n, oid in wanted.items()
    ]
    lost = fetching.gather(project, target, needs, options, done.unreachable)
    if lost:
        done.missing += [need for gone in lost.values() for need in gone]
        return
    merged = {n: oid for n, oid in before.items() if not _is_below(n, names)} | wanted
    if options.dry_run:
        (done.restored if merged != before else done.unchanged).append(then.path)
        return
    listing = pointer.render_listing([pointer.Member(n, merged[n]) for n in sorted(merged)])
    out = replace(
        present.out,
        oid=pointer.listing_oid(listing),
        size=_size(present.out, before, merged, places),
        nfiles=len(merged),
    )
    _save_listing(project, target, listing, options)
    item = replace(present, out=out)
    brought = materialize.bring(
        project, target, [item], record, options, force=force, whole=True, only=tuple(names)
    )
    merge(done, brought)
    if brought.kept or brought.errors or brought.missing:
        return
    _rewrite(project, item)
    entry = record.entry(item.path, item.pointer)
    entry.named = out.oid
    entry.await_commit(out.oid, threeway.present(project))
    index.save(project.state_dir, [entry])


def _is_below(name: str, tops: Iterable[str]) -> bool:
    return any(name == top or name.startswith(top + "/") for top in tops)


def _places(target: Remote) -> list[Store]:
    return [target.cache] + ([target.store] if target.store is not None else [])


def _listing(project: Project, target: Remote, item: Tracked, options: Options) -> dict[str, str]:
    """The members of a folder. Raises BlobMissing."""
    need = transfer.Need(item.path, item.oid, None, item.pointer)
    if target.store is None:
        transfer.fetch_listings(project, target, [need], options)
    members = transfer.listing_of(item.oid, _places(target))
    if members is None:
        raise transfer.lost(need)
    return {member.relpath: member.oid for member in members}


def _size(
    out: pointer.Out, before: Mapping[str, str], merged: Mapping[str, str], places: Sequence[Store]
) -> int | None:
    """The bytes of all members together; None where a blob's size is not at hand."""
    total = out.size
    for name in {*before, *merged}:
        if before.get(name) == merged.get(name) or total is None:
            continue
        for oid, sign in ((before.get(name), -1), (merged.get(name), 1)):
            found = next((f for place in places if oid and (f := place.find(oid))), None)
            if oid and found is None:
                return None
            total += sign * (found[1].st_size if found else 0)
    return total


def _save_listing(project: Project, target: Remote, listing: bytes, options: Options) -> None:
    store = remote.usable(project, target)
    target.cache.create()
    oid = engine.save_bytes(listing, ".dir", target.cache, store)
    if store is None:
        transfer.push(project, target, [transfer.Need("", oid)], options)


def _rewrite(project: Project, item: Tracked) -> None:
    """Write what the pointer says of this output now, and stage it."""
    path = project.absolute(item.pointer)
    before = plainfile.read(project.root, item.pointer, pointer.MAX_POINTER_BYTES)
    text = pointer.parse(before, item.pointer)
    outs = tuple(item.out if out.path == item.out.path else out for out in text.outs)
    writing.write_atomic(path, pointer.render(replace(text, outs=outs)))
    gitadd.stage(project, [item.pointer])


def merge(done: Brought, more: Brought) -> None:
    """Add what became of further paths."""
    done.restored += more.restored
    done.unchanged += more.unchanged
    done.kept += more.kept
    done.removed += more.removed
    done.saved += more.saved
    done.missing += more.missing
    done.errors += more.errors


def leave(
    project: Project,
    target: Remote,
    then: Sequence[Tracked],
    before: Sequence[Tracked],
    record: index.Record,
    options: Options,
    *,
    force: bool,
) -> Brought:
    """Take away the data of ``before`` that a snapshot, which has ``then``, does not have, or has
    as a folder where this is a file, or the other way round.

    What was edited is kept, or with ``force`` saved in the cache first.
    """
    done = materialize.Brought()
    kinds = {item.path: item.out.is_dir for item in then if item.oid}
    gone = []
    for item in before:
        if item.oid and kinds.get(item.path) != item.out.is_dir:
            entry = record.entry(item.path, item.pointer)
            entry.synced = entry.synced or item.oid
            gone.append(entry)
    leaving.take_away(project, target, gone, record, options, done, force=force)
    return done


def kept(project: Project, path: str, verb: str) -> Refused:
    """The error for data with changes that are not saved, which was kept when going back."""
    shown = quoted(project.show(path))
    return Refused(
        f"{path} has changes that no commit has; it was kept as it is.",
        f"mlrepro track {shown} && git commit keeps them; mlrepro {verb} --force replaces",
        code="unsaved-change",
        path=path,
    )


def tell_saved(
    project: Project, target: Remote, saved: Sequence[tuple[str, str]], options: Options
) -> None:
    """Say of each file that ``--force`` replaced where its content is now."""
    for path, oid in saved:
        shown, blob = (quoted(project.show(one)) for one in (path, target.cache.path(oid)))
        options.reporter.note(
            f"{project.show(path)} as it was edited is in the cache ({oid}); "
            f"to get it back: cp {blob} {shown}"
        )
