"""untrack: stop tracking data; the files stay where they are, the store keeps what it has."""

from __future__ import annotations

import os
from collections.abc import Sequence

from mlrepro import durable, folder, git, gitadd, ignore, index, naming, outputs
from mlrepro.dataclass import TYPE_CHECKING, dataclass
from mlrepro.errors import MlreproError, PathError, Refused
from mlrepro.result import Options, Result
from mlrepro.safepath import quoted

if TYPE_CHECKING:
    from typing import Any

    from mlrepro.outputs import Tracked
    from mlrepro.project import Project


@dataclass(frozen=True)
class UntrackResult(Result):
    """The paths that are no longer tracked."""

    untracked: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def data(self) -> dict[str, Any]:
        return {"untracked": list(self.untracked)}


def run(project: Project, paths: Sequence[str], options: Options) -> UntrackResult:
    """Remove the pointers of ``paths`` and the ignore lines of their data, and stage that.

    Data that is in the worktree stays, and git sees it from then on; what is not in the worktree is
    named, since then nothing of it is left here.
    """
    naming.require_dvc(project)
    listing = outputs.in_worktree(project)
    every: list[MlreproError] = []
    named: dict[str, Tracked] = {}
    for typed in paths:
        found, errors = naming.tracked(project, listing, [typed])
        every += errors
        for item in found:
            if naming.relative(project, typed).startswith(item.path + "/"):
                every.append(_part(project, item, typed))
            else:
                named[item.path] = item
    items = []
    for item in named.values():
        wrong = _entangled(project, item, listing, named)
        if wrong is None:
            items.append(item)
        else:
            every.append(wrong)
    if items and not options.dry_run:
        _untrack(project, items)
    return UntrackResult(
        errors=tuple(every),
        untracked=tuple(item.path for item in items),
        notes=tuple(_notes(project, items)),
    )


def _part(project: Project, item: Tracked, typed: str) -> PathError:
    return PathError(
        f"{typed} is a part of {item.path}, which is tracked as a whole.",
        f"mlrepro untrack {quoted(project.show(item.path))}, or move {typed} out of it",
        code="path-inside-tracked",
        path=naming.relative(project, typed),
    )


def _entangled(
    project: Project, item: Tracked, listing: outputs.Listing, named: dict[str, Tracked]
) -> Refused | None:
    """Why the pointer cannot go: it names what was not named with it, or belongs to a pipeline."""
    if item.in_lock:
        return Refused(
            f"{item.path} is an output of a pipeline, which makes it anew.",
            f"take it out of {project.show(outputs.pipeline_of(item.pointer))}",
            code="path-in-pipeline",
            path=item.path,
        )
    others = [o.path for o in listing.outs if o.pointer == item.pointer and o.path not in named]
    if not others:
        return None
    return Refused(
        f"{item.pointer} names {project.show(others[0])} as well.",
        "mlrepro untrack " + " ".join(quoted(project.show(path)) for path in (item.path, *others)),
        code="pointer-not-plain",
        path=item.path,
    )


def _untrack(project: Project, items: Sequence[Tracked]) -> None:
    """The pointers go last: until then the same command again finishes the work."""
    changes: list[ignore.Change] = []
    with ignore.lock(project):
        for item in items:
            changes = ignore.without(project, item.path, changes)
        changed = ignore.write(project, changes)
    pointers = list(dict.fromkeys(item.pointer for item in items))
    for name in pointers:
        os.unlink(project.absolute(name))
    gitadd.stage(project, [*pointers, *changed])
    index.save(project.state_dir, (), [item.path for item in items])
    for item in items:
        durable.discard(folder.tree_file(project.state_dir, item.path))


def _notes(project: Project, items: Sequence[Tracked]) -> list[str]:
    here = [item.path for item in items if os.path.lexists(project.absolute(item.path))]
    notes = [
        f"{item.path} is not here: only commits that track it can bring it back"
        for item in items
        if item.path not in here
    ]
    hidden = git.ignored(project, here)
    seen = [path for path in here if path not in hidden]
    if seen:
        more = f" and {len(seen) - 1:,} more" if len(seen) > 1 else ""
        notes.append(f"{seen[0]}{more} is no longer ignored: git add takes it into git now")
    return notes
