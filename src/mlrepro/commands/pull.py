"""pull: bring the worktree's data to what its pointers say."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mlrepro import damage, git, index, materialize, naming, outputs, remote, threeway, transfer
from mlrepro.errors import MlreproError, StoreError
from mlrepro.result import Options, Result
from mlrepro.safepath import quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlrepro.materialize import Brought
    from mlrepro.project import Project


@dataclass(frozen=True)
class Missing:
    """Content that is in neither cache nor store, who committed it, and when."""

    path: str
    oid: str
    commit: str
    author: str
    date: str = ""


@dataclass(frozen=True)
class PullResult(Result):
    """What became of each path. ``saved``: (path, hash) of what ``--force`` put into the cache."""

    restored: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    missing: tuple[Missing, ...] = ()
    saved: tuple[tuple[str, str], ...] = ()

    def data(self) -> dict[str, Any]:
        return {
            "restored": list(self.restored),
            "unchanged": list(self.unchanged),
            "kept": list(self.kept),
            "missing": [
                {"path": m.path, "oid": m.oid, "commit": m.commit, "author": m.author}
                for m in self.missing
            ],
        }


def run(project: Project, paths: Sequence[str], force: bool, options: Options) -> PullResult:
    """Bring the data of ``paths`` (as typed; none: all) to their pointers, every byte checked.

    An unsaved change is kept and named, or with ``force`` saved in the cache first.
    """
    naming.require_dvc(project)
    record = index.load(project.state_dir)
    settled = threeway.settle(project, record)  # commits that were made without our hooks
    if settled and not options.dry_run:
        index.save(project.state_dir, settled)
    target = remote.located(project, os.environ, write=not options.dry_run)
    listing = outputs.in_worktree(project)
    items, errors = naming.tracked(project, listing, paths)
    done = materialize.bring(project, target, items, record, options, force=force)
    for path, oid in done.saved:
        shown, blob = (quoted(project.show(one)) for one in (path, target.cache.path(oid)))
        options.reporter.note(
            f"{path} as it was edited is in the cache; to get it back: cp {blob} {shown}"
        )
    return replace(_result(project, done, errors), damaged=damage.tell(target, options))


def _result(
    project: Project,
    done: Brought,
    errors: Sequence[MlreproError],
) -> PullResult:
    """The result with every gap and every kept file as an error that says what to type."""
    every = [*errors, *done.errors]
    missing = [_gap(project, need) for need in done.missing]
    if missing and done.unreachable:
        every.append(_out_of_reach(missing, done.unreachable[0]))
    else:
        for need, gap in zip(done.missing, missing, strict=True):
            named = transfer.Need(need.path, need.oid, need.size, need.pointer, gap.commit)
            every.append(transfer.lost(named, author=gap.author, date=gap.date))
    every += [materialize.kept(project, path) for path in done.kept]
    return PullResult(
        errors=tuple(every),
        restored=tuple(done.restored),
        unchanged=tuple(done.unchanged),
        kept=tuple(done.kept),
        missing=tuple(missing),
        saved=tuple(done.saved),
    )


def _gap(project: Project, need: transfer.Need) -> Missing:
    commit = git.last_change(project, need.pointer) if need.pointer else None
    if commit is None:
        return Missing(need.path, need.oid, "", "")
    return Missing(need.path, need.oid, commit.oid, commit.author, commit.date)


def _out_of_reach(missing: Sequence[Missing], why: MlreproError) -> StoreError:
    """One error for all that a store would have which cannot be asked."""
    gap = missing[0]
    by = f" (commit {gap.commit[:10]} by {gap.author}, {gap.date[:10]})" if gap.commit else ""
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    return StoreError(
        f"Out of reach: the content of {gap.path}{by}{more}. {why.message}",
        why.hint,
        code=why.code,
        path=gap.path,
        oid=gap.oid,
        commit=gap.commit,
        author=gap.author,
        date=gap.date,
    )
