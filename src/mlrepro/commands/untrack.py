"""untrack: stop tracking data; the files stay where they are, the store keeps what it has."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlrepro import durable, git, ignore, index, naming, worktree
from mlrepro.errors import MlreproError, Refused
from mlrepro.result import Options, Result

if TYPE_CHECKING:
    from mlrepro.project import Project


@dataclass(frozen=True)
class UntrackResult(Result):
    """The paths that are no longer tracked."""

    untracked: tuple[str, ...] = ()

    def data(self) -> dict[str, Any]:
        return {"untracked": list(self.untracked)}


def run(project: Project, paths: Sequence[str], options: Options) -> UntrackResult:
    """Remove the pointers of ``paths`` and the ignore lines of their data, and stage that.

    Data that is in the worktree stays; data that is only in the store is named, since then nothing
    of it would be left here. Raises nothing for a single path: it is an error of the result.
    """
    naming.require_dvc(project)
    listing = worktree.in_worktree(project)
    items, errors = naming.tracked(project, listing, paths)
    shared: dict[str, int] = {}
    for item in listing.outs:
        shared[item.pointer] = shared.get(item.pointer, 0) + 1
    every: list[MlreproError] = list(errors)
    done = []
    for item in items:
        if shared[item.pointer] != 1 or item.in_lock:
            every.append(
                Refused(
                    f"{item.pointer} names more than {item.path}.",
                    f"edit {item.pointer}, or: dvc remove {item.pointer}",
                    code="pointer-not-plain",
                    path=item.path,
                )
            )
        else:
            done.append(item)
    if not options.dry_run:
        changes: list[ignore.Change] = []
        for item in done:
            changes = ignore.without(project, item.path, changes)
            os.unlink(project.absolute(item.pointer))
        for change in changes:
            text = change.after.encode("utf-8", "surrogateescape")
            durable.write_atomic(project.absolute(change.file), text)
        git.stage(project, [*(i.pointer for i in done), *(change.file for change in changes)])
        index.save(project.state_dir, (), [item.path for item in done])
    return UntrackResult(errors=tuple(every), untracked=tuple(item.path for item in done))
