"""restore: bring data paths, pointer and content, back to a commit; the rest stays."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlrepro import (
    durable,
    git,
    history,
    ignore,
    index,
    materialize,
    naming,
    remote,
    transfer,
    worktree,
)
from mlrepro.errors import MlreproError
from mlrepro.result import Options, Result

if TYPE_CHECKING:
    from mlrepro.materialize import Brought
    from mlrepro.project import Project


@dataclass(frozen=True)
class RestoreResult(Result):
    """What became of each path; ``saved``: (path, hash) of what ``--force`` put into the cache."""

    commit: str = ""
    restored: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    missing: tuple[history.Gap, ...] = ()
    saved: tuple[tuple[str, str], ...] = ()

    def data(self) -> dict[str, Any]:
        return {
            "restored": list(self.restored),
            "kept": list(self.kept),
            "missing": [gap.data() for gap in self.missing],
        }


def run(
    project: Project, paths: Sequence[str], revision: str, options: Options, force: bool = False
) -> RestoreResult:
    """Bring ``paths`` (as typed) back to ``revision``, and stage their pointers.

    An unsaved change is kept and named, or with ``force`` saved in the cache first. Content that is
    nowhere leaves its path, and its pointer, as they are.
    """
    naming.require_dvc(project)
    commit = git.resolve(project, revision)
    target = remote.located(project, os.environ, write=not options.dry_run)
    listing = worktree.at_revision(project, commit)
    items, errors = naming.tracked(project, listing, paths)
    record = index.load(project.state_dir)
    done = materialize.bring(project, target, items, record, options, force=force)
    if not options.dry_run:
        _pointers(project, commit, items, done)
    gaps = history.gaps(project, done.missing, commit)
    every: list[MlreproError] = [*errors, *done.errors]
    every += [transfer.lost(gap.need, author=gap.author, date=gap.date) for gap in gaps]
    every += [materialize.kept(project, path) for path in done.kept]
    return RestoreResult(
        errors=tuple(every),
        commit=commit,
        restored=tuple(done.restored),
        unchanged=tuple(done.unchanged),
        kept=tuple(done.kept),
        missing=tuple(gaps),
        saved=tuple(done.saved),
    )


def _pointers(
    project: Project, commit: str, items: Sequence[worktree.Tracked], done: Brought
) -> None:
    """Give the pointers of what was brought the text they had, with the ignore rules they need."""
    lacking = [*done.kept, *(need.path for need in done.missing)]
    whole = [
        item
        for item in items
        if item.path in (*done.restored, *done.unchanged)
        and not any(path == item.path or path.startswith(item.path + "/") for path in lacking)
    ]
    names = list(dict.fromkeys(item.pointer for item in whole))
    texts = git.blobs(project, [f"{commit}:{name}" for name in names])
    for name in names:
        durable.write_atomic(project.absolute(name), texts[f"{commit}:{name}"])
    changes = ignore.bring_back(project, names)
    changes = ignore.keep_out(project, [item.path for item in whole], changes)
    for change in changes:
        text = change.after.encode("utf-8", "surrogateescape")
        durable.write_atomic(project.absolute(change.file), text)
    git.stage(project, [*names, *(change.file for change in changes)])
