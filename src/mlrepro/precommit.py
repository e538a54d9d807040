"""Before a commit: it names exactly the data in the worktree, and that data is stored."""

from __future__ import annotations

import os

from mlrepro import (
    capture,
    committing,
    damage,
    git,
    gitadd,
    history,
    index,
    locating,
    pipeline,
    refusals,
    threeway,
    transfer,
    unchanged,
    worktree,
)
from mlrepro.dataclass import TYPE_CHECKING, dataclass, field
from mlrepro.errors import MlreproError, StoreError
from mlrepro.result import HookResult, Options

if TYPE_CHECKING:
    from mlrepro.outputs import Tracked
    from mlrepro.project import Project
    from mlrepro.remote import Remote
    from mlrepro.worktree import Data


@dataclass(slots=True)
class _Work:
    """What the comparison of data and pointers came to."""

    found: dict[str, Data] = field(default_factory=dict)
    refresh: list[Tracked] = field(default_factory=list)
    older_bits: set[str] = field(default_factory=set)  # their pointers say a newer one
    in_step: list[tuple[Tracked, Data]] = field(default_factory=list)
    errors: list[MlreproError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def run(project: Project, options: Options) -> HookResult:
    """Make the index that is about to be committed name the data of the worktree.

    Blob first, pointer second, index last: where one fails, nothing after it has changed, and the
    commit is refused. Does nothing where a hook framework was started by hand, not by a commit.
    """
    if committing.is_by_hand(os.environ):
        return HookResult()
    commit = committing.current(project, os.environ)
    if commit.is_foreign:
        return HookResult(
            notes=("GIT_INDEX_FILE names an index of your own; data was not looked at.",)
        )
    entries = git.entries(project, commit.index)
    record = index.load(project.state_dir)
    known = unchanged.in_order(project, record, entries)
    found = refusals.look(project, entries, commit, known)
    if found.errors:
        return HookResult(errors=tuple(found.errors), notes=tuple(found.notes))
    named = [(item.path, item.pointer, item.oid) for item in found.listing.outs]
    named += [(path, name, record.entries[path].named) for path, name in known.items()]
    standing = {path: oid for path, name, oid in named if name not in found.changed}
    settled = threeway.settle(project, record, standing)
    target = locating.located(project, os.environ)
    work = _compare(project, found.listing.outs, record, options)
    if not work.errors:
        stashed = committing.stashed_names(os.environ)
        work.errors += refusals.of_work(project, work.refresh, stashed)
    if work.errors:
        return HookResult(errors=tuple(work.errors), notes=tuple(found.notes + work.notes))
    empty = bool(work.refresh) and committing.would_be_empty(
        project, commit.index, staged=found.staged
    )
    done = _refresh(project, target, commit, work, record, options)
    if done.errors:
        return HookResult(errors=tuple(done.errors), notes=tuple(found.notes + work.notes))
    errors, notes = _all_stored(project, target, found, work, done, record, options)
    _remember(project, target, work, done, record, settled, found, errors)
    notes += damage.notes(damage.found(target))
    return HookResult(
        errors=tuple(errors),
        notes=tuple(found.notes + work.notes + done.notes + notes),
        again=_again(done.staged) if empty and done.staged else "",
    )


def _again(staged: list[str]) -> str:
    more = f" and {len(staged) - 1} more" if len(staged) > 1 else ""
    return (
        f"only data had changed; {staged[0]}{more} is staged now: run the same command again to "
        "commit."
    )


def _compare(
    project: Project,
    outs: list[Tracked],
    record: index.Record,
    options: Options,
) -> _Work:
    """Judge every tracked path by the three-way rule."""
    work = _Work()
    data = worktree.examine(project, [item.path for item in outs], record, options, outs)
    work.found = data
    edited_bits, work.older_bits = threeway.differing_bits(project, outs, data, record)
    for item in outs:
        now = data[item.path]
        if now.error is not None:
            work.errors.append(now.error)
            continue
        entry = record.entry(item.path, item.pointer)

        def in_history(item: Tracked = item, now: Data = now) -> bool:
            return threeway.was_named(project, item.pointer, now.oid)

        judged = threeway.judge(entry, now.oid, item.oid, in_history)
        if judged == threeway.SAME and now.stat is not None and now.isexec != item.out.isexec:
            judged = threeway.REFRESH if item.path in edited_bits else threeway.BEHIND
        if judged == threeway.REFRESH:
            work.refresh.append(item)
        elif judged == threeway.BOTH:
            work.errors.append(refusals.both_changed(project, item, now))
        elif judged == threeway.BEHIND:
            work.notes.append(
                f"{item.path} is behind its pointer, which is kept; to bring it up: mlrepro pull"
            )
            work.in_step.append((item, now))
        else:
            work.in_step.append((item, now))
    return work


@dataclass(slots=True)
class _Done:
    saved: list[capture.Saved] = field(default_factory=list)
    staged: list[str] = field(default_factory=list)
    errors: list[MlreproError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def _refresh(
    project: Project,
    target: Remote,
    commit: committing.Commit,
    work: _Work,
    record: index.Record,
    options: Options,
) -> _Done:
    """Save what was edited, write its pointers, and stage them in every index that matters."""
    done = _Done()
    plain = [item for item in work.refresh if not item.in_lock]
    older = work.older_bits
    wanted = [
        capture.Target(i.path, i.pointer, i, work.found.get(i.path), keeps_bit=i.path in older)
        for i in plain
    ]
    try:
        saved = pipeline.save(project, target, wanted, record, options) if wanted else None
    except StoreError as error:
        done.errors.append(error)
        return done
    if saved is not None:
        done.saved, done.notes = saved.saved, saved.notes
        if saved.errors:
            done.errors += saved.errors
            return done
        done.staged = committing.write_and_stage(project, commit, saved.saved)
    pipes = [item for item in work.refresh if item.in_lock]
    if pipes:
        refreshed = pipeline.refresh(project, target, pipes, record, options)
        done.errors += refreshed.errors
        gitadd.stage(project, refreshed.written, commit.indexes)
        done.staged += refreshed.written
        done.saved += refreshed.saved
    return done


def _all_stored(
    project: Project,
    target: Remote,
    found: refusals.Found,
    work: _Work,
    done: _Done,
    record: index.Record,
    options: Options,
) -> tuple[list[MlreproError], list[str]]:
    """See to it that what the other pointers name is stored too.

    A pointer that this commit brings in may not name content that is nowhere; one that was in the
    last commit already is only told of.
    """
    certain = target.read_id() == record.store_id
    fresh = {item.target.path for item in done.saved}
    doubtful = []
    for item, _ in work.in_step:
        entry = record.entries.get(item.path)
        proven = (
            certain
            and entry is not None
            and entry.stored
            and entry.oid == item.oid
            and (target.store is None or target.store.has(item.oid, None))
        )
        if not proven and item.oid and item.path not in fresh:
            doubtful.append(item)
    if not doubtful:
        return [], []
    try:
        outcome = transfer.push(project, target, history.needs_of(doubtful), options)
    except StoreError as error:
        changed = [item for item in doubtful if item.pointer in found.changed]
        return ([error], []) if changed else ([], [error.message])
    errors: list[MlreproError] = []
    notes = [error.message for error in outcome.errors]
    gaps = _gaps(target, doubtful, {need.oid for need in outcome.missing})
    owed = _gaps(target, doubtful, {need.oid for need in outcome.owed})
    rescued = _rescue(project, target, [i for i in doubtful if i.path in gaps], work, options)
    for item in doubtful:
        if item.path not in gaps or item.path in rescued:
            entry = record.entry(item.path, item.pointer)
            entry.stored = entry.oid == item.oid and item.path not in owed
        elif item.pointer in found.changed:
            errors.append(transfer.lost(gaps[item.path]))
        else:
            notes.append(transfer.lost(gaps[item.path]).message)
    return errors, notes


def _gaps(target: Remote, items: list[Tracked], absent: set[str]) -> dict[str, transfer.Need]:
    """The first of these blobs that each output needs, by its path; outputs may share a blob."""
    places = [target.cache] + ([target.store] if target.store is not None else [])
    found: dict[str, transfer.Need] = {}
    for item in items if absent else ():
        blobs, unlisted = transfer.expand(history.needs_of([item]), places)
        gap = next((need for need in (*unlisted, *blobs) if need.oid in absent), None)
        if gap is not None:
            found[item.path] = gap
    return found


def _rescue(
    project: Project, target: Remote, items: list[Tracked], work: _Work, options: Options
) -> set[str]:
    """Save from the worktree what cache and store lack, where the data there is that content.

    Returns the paths of which that could be done.
    """
    here = {item.path for item, now in work.in_step if now.oid == item.oid}
    oids = {item.path: item.oid for item in items if item.path in here}
    wanted = [capture.Target(item.path, item.pointer) for item in items if item.path in oids]
    if not wanted:
        return set()
    saved = capture.save(project, target, wanted, index.Record(), options)
    return {one.target.path for one in saved.saved if one.data.oid == oids[one.target.path]}


def _remember(
    project: Project,
    target: Remote,
    work: _Work,
    done: _Done,
    record: index.Record,
    settled: list[index.Entry],
    found: refusals.Found,
    errors: list[MlreproError],
) -> None:
    """Keep what was learnt, so that the next commit has nothing to look at."""
    from mlrepro import folder

    base = threeway.present(project)
    changed = {entry.path: entry for entry in settled}
    for item, data in work.in_step:
        entry = record.entry(item.path, item.pointer)
        is_alike = data.stat is None or data.isexec == item.out.isexec
        entry.saw(item.seen, item.oid, is_alike=is_alike)
        if data.oid:
            if data.tree is not None and not data.proven:
                folder.save(project.state_dir, data.tree)
            entry.hashed(data.oid, data.size, data.stat, data.began_ns)
            if data.oid == item.oid and entry.synced != item.oid:
                if item.pointer in found.changed:
                    entry.await_commit(item.oid, base)
                else:
                    entry.in_step(item.oid)
        changed[item.path] = entry
    store_id = target.read_id()
    cleared = found.cleared if not errors else []
    index.save(project.state_dir, changed.values(), store_id=store_id, cleared=cleared)
    capture.remember(project, target, done.saved, record, base)
