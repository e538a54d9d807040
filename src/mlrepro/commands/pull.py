"""pull: bring the worktree's data to what its pointers say."""

from __future__ import annotations

import os

from mlrepro import (
    damage,
    halfway,
    history,
    index,
    locating,
    materialize,
    naming,
    outputs,
    threeway,
)
from mlrepro.dataclass import TYPE_CHECKING, dataclass, replace
from mlrepro.result import Options, Result

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from mlrepro.errors import MlreproError
    from mlrepro.materialize import Brought
    from mlrepro.process import Started
    from mlrepro.project import Project


@dataclass(frozen=True)
class PullResult(Result):
    """What became of each path. ``saved``: (path, hash) of what ``--force`` put into the cache."""

    restored: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    missing: tuple[history.Gap, ...] = ()
    saved: tuple[tuple[str, str], ...] = ()

    def data(self) -> dict[str, Any]:
        return {
            "restored": list(self.restored),
            "unchanged": list(self.unchanged),
            "kept": list(self.kept),
            "missing": [gap.data() for gap in self.missing],
        }


def run(project: Project, paths: Sequence[str], force: bool, options: Options) -> PullResult:
    """Bring the data of ``paths`` (as typed; none: all) to their pointers, every byte checked.

    An unsaved change is kept and named, or with ``force`` saved in the cache first.
    """
    naming.require_dvc(project)
    asked = outputs.ask_for_new(project)  # answered while the store is looked for
    try:
        return _run(project, paths, force, options, asked)
    finally:
        if asked is not None:
            asked.kill()


def _run(
    project: Project, paths: Sequence[str], force: bool, options: Options, asked: Started | None
) -> PullResult:
    record = index.load(project.state_dir)
    settled = threeway.settle(project, record)  # commits that were made without our hooks
    if settled and not options.dry_run:
        index.save(project.state_dir, settled)
    target = locating.located(project, os.environ, write=not options.dry_run)
    listing = outputs.in_worktree(project, asked=asked)
    broken = halfway.of(project)
    if broken is not None:
        options.reporter.note(broken.note)
    items, errors = naming.tracked(project, listing, paths)
    done = materialize.bring(project, target, items, record, options, force=force)
    if done.saved:
        from mlrepro import returning  # and what else it brings back

        returning.tell_saved(project, target, done.saved, options)
    return replace(_result(project, done, errors), damaged=damage.tell(target, options))


def _result(
    project: Project,
    done: Brought,
    errors: Sequence[MlreproError],
) -> PullResult:
    """The result with every gap and every kept file as an error that says what to type."""
    missing = history.gaps(project, done.missing)
    every = [*errors, *done.errors, *history.lost(missing, done.unreachable)]
    every += [materialize.kept(project, path) for path in done.kept]
    return PullResult(
        errors=tuple(every),
        restored=tuple(done.restored),
        unchanged=tuple(done.unchanged),
        kept=tuple(done.kept),
        missing=tuple(missing),
        saved=tuple(done.saved),
    )
