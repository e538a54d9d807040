"""resolve: end a merge conflict in pointers, and bring the data to what was chosen."""

from __future__ import annotations

import os

from mlrepro import (
    capture,
    gitadd,
    history,
    index,
    locating,
    materialize,
    merging,
    naming,
    outputs,
    plainfile,
    threeway,
    writing,
)
from mlrepro.dataclass import TYPE_CHECKING, dataclass
from mlrepro.errors import MlreproError, PathError, PointerError
from mlrepro.result import Options, Result
from mlrepro.safepath import quoted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from mlrepro.project import Project
    from mlrepro.remote import Remote


@dataclass(frozen=True)
class ResolveResult(Result):
    """``resolved``: the pointers that are whole again; ``conflicts``: what is left to decide."""

    resolved: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()

    def data(self) -> dict[str, Any]:
        return {"resolved": list(self.resolved), "conflicts": list(self.conflicts)}


def run(project: Project, side: str, paths: Sequence[str], options: Options) -> ResolveResult:
    """Take ``side`` ("ours", "theirs", "union") for the pointers of ``paths``, and stage it."""
    naming.require_dvc(project)
    target = locating.located(project, os.environ, write=not options.dry_run)
    resolved: list[str] = []
    conflicts: list[str] = []
    errors: list[MlreproError] = []
    for typed in paths:
        try:
            name = _pointer(project, typed)
            merged = _chosen(project, target, name, side, options)
            if merged.conflicts:
                folder = name.removesuffix(".dvc")
                conflicts += [f"{folder}/{member}" for member in merged.conflicts]
                errors += [_both_changed(typed, f"{folder}/{m}") for m in merged.conflicts]
                continue
            resolved.append(name)
            if not options.dry_run:
                writing.write_atomic(project.absolute(name), merged.text)
        except MlreproError as error:
            errors.append(error)
    if resolved and not options.dry_run:
        gitadd.stage(project, resolved)
        listing = outputs.in_worktree(project, resolved)
        record = index.load(project.state_dir)
        settled = threeway.settle(project, record)  # our side was committed, or none could merge
        if settled:
            index.save(project.state_dir, settled)
        done = materialize.bring(project, target, listing.outs, record, options)
        errors += [*listing.errors, *done.errors]
        brought_by = {"ours": "HEAD", "theirs": "MERGE_HEAD"}.get(side, "")
        gaps = history.gaps(project, done.missing, brought_by)
        errors += history.lost(gaps, done.unreachable)
        errors += [materialize.kept(project, path) for path in done.kept]
    return ResolveResult(tuple(errors), tuple(resolved), tuple(conflicts))


def _pointer(project: Project, typed: str) -> str:
    name = naming.relative(project, typed)
    return name if outputs.is_pointer(name) else capture.pointer_name(name)


def _both_changed(typed: str, path: str) -> PointerError:
    return PointerError(
        f"{path} was changed on both sides.",
        f"mlrepro resolve --ours {quoted(typed)} or --theirs {quoted(typed)}, then edit the file",
        code="both-changed",
        path=path,
    )


def _chosen(
    project: Project, target: Remote, name: str, side: str, options: Options
) -> merging.Union:
    """The text to write, or what is left to decide."""
    merge = merging.sides(project, [name]).get(name)
    if merge is None:
        try:
            text = plainfile.read(project.root, name, outputs.MAX_LOCK_BYTES)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise PathError(f"No such pointer: {name}", code="path-missing", path=name) from error
        merge = merging.split(name, text)
    if merge is None:
        raise PointerError(
            f"{name} has no merge conflict.", "mlrepro status", code="no-conflict", path=name
        )
    text = merge.theirs if side == "theirs" else merge.ours
    if side == "union" and text.strip() and merge.theirs.strip():
        return merging.union(project, target, merge, options)
    if side == "union" or not text.strip():
        raise PointerError(
            f"{name} does not exist on {'one' if side == 'union' else 'that'} side: it was deleted "
            "there.",
            f"git rm {quoted(project.show(name))}   to delete it, or take the other side",
            code="deleted-on-side",
            path=name,
        )
    return merging.Union(text)
