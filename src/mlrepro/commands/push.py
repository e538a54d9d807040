"""push: put into the store what pointers need, of the worktree, of named commits, or of all."""

from __future__ import annotations

import os

from mlrepro import (
    capture,
    damage,
    debts,
    git,
    history,
    index,
    locating,
    naming,
    outputs,
    remote,
    transfer,
    worktree,
)
from mlrepro.dataclass import TYPE_CHECKING, dataclass
from mlrepro.result import Options, Result

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from mlrepro.errors import MlreproError
    from mlrepro.project import Project
    from mlrepro.transfer import Need


@dataclass(frozen=True)
class Stored:
    """What was newly put into the store: blobs, and their bytes."""

    count: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class PushResult(Result):
    """What ``push`` stored, and what is nowhere."""

    stored: Stored = Stored()
    missing: tuple[history.Gap, ...] = ()

    def data(self) -> dict[str, Any]:
        return {
            "stored": dict(vars(self.stored)),
            "missing": [{"path": m.path, "oid": m.oid, "commit": m.commit} for m in self.missing],
        }


def run(
    project: Project, revisions: Sequence[str], all_commits: bool, options: Options
) -> PushResult:
    """Store what the worktree's pointers need, or those of the commits named, or of every commit.

    Raises StoreError where the store cannot be used, MlreproError for an unknown revision.
    """
    naming.require_dvc(project)
    target = locating.located(project, os.environ, write=not options.dry_run)
    needs, errors = _needs(project, revisions, all_commits)
    early = _save_worktree(project, target, needs, options)
    done = transfer.push(project, target, [*needs, *_owed(project)], options, trust=False)
    if target.cache.aside or (target.store is not None and target.store.aside):
        late = _save_worktree(project, target, done.missing, options)
        if late.count:  # what was damaged here is in the worktree as it should be
            again = transfer.push(project, target, [*needs, *_owed(project)], options)
            again.count += done.count + late.count
            again.bytes += done.bytes + late.bytes
            done = again
    missing = history.gaps(project, done.missing)
    lost = history.lost(missing, ())
    return PushResult(
        errors=(*errors, *done.errors, *lost),
        damaged=damage.tell(target, options),
        stored=Stored(early.count + done.count, early.bytes + done.bytes),
        missing=tuple(missing),
    )


def _needs(
    project: Project, revisions: Sequence[str], all_commits: bool
) -> tuple[list[Need], list[MlreproError]]:
    if all_commits:
        needs, errors, _ = history.needs(project, history.introduced(project, "--all"))
        return needs, errors
    if not revisions:
        listing = outputs.in_worktree(project)
        return history.needs_of(listing.outs), listing.errors
    needs, errors = [], []
    for revision in revisions:
        more, wrong = history.snapshot(project, git.resolve(project, revision))
        needs += more
        errors += wrong
    return needs, errors


def _owed(project: Project) -> list[Need]:
    return [transfer.Need("(owed)", oid) for oid in debts.owed(project)]


def _save_worktree(
    project: Project, target: remote.Remote, needs: Sequence[Need], options: Options
) -> Stored:
    """Save from the worktree what the cache lacks, where the data there is just that content."""
    lacking = transfer.absent(target, needs) if not options.dry_run else []
    lacking = [need for need in lacking if os.path.lexists(project.absolute(need.path))]
    if not lacking:
        return Stored()
    record = index.load(project.state_dir)
    found = worktree.examine(project, list({need.path for need in lacking}), record, options)
    same = [need for need in lacking if found[need.path].oid == need.oid]
    if not same:
        return Stored()
    target.cache.create()
    wanted = [capture.Target(need.path, need.pointer) for need in same]
    saved = capture.save(project, target, wanted, index.Record(), options)
    return Stored(saved.count, saved.bytes)
