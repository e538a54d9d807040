"""restore: bring data paths, pointer and content, back to a commit; the rest stays."""

from __future__ import annotations

import os

from mlrepro import (
    damage,
    git,
    gitadd,
    history,
    ignore,
    index,
    locating,
    materialize,
    naming,
    outputs,
    returning,
    threeway,
    writing,
)
from mlrepro.dataclass import TYPE_CHECKING, dataclass
from mlrepro.errors import MlreproError, PathError
from mlrepro.result import Options, Result
from mlrepro.safepath import quoted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from mlrepro.materialize import Brought
    from mlrepro.outputs import Tracked
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

    An unsaved change is kept and named, or with ``force`` saved in the cache first. A path of which
    anything is kept, or is nowhere, stays wholly as it is. Of a folder a single file can be named;
    then the folder's pointer gets that file's version, and keeps the others.
    """
    naming.require_dvc(project)
    commit = git.resolve(project, revision)
    record = index.load(project.state_dir)
    settled = threeway.settle(project, record)
    if settled and not options.dry_run:
        index.save(project.state_dir, settled)
    target = locating.located(project, os.environ, write=not options.dry_run)
    now = outputs.in_worktree(project)
    wanted, errors = _wanted(project, paths, revision, commit, now)
    every: list[MlreproError] = list(errors)
    items = []
    for item in wanted.whole:
        try:
            returning.check_place(project, item, now, revision)
            items.append(item)
        except MlreproError as error:
            every.append(error)
    done = materialize.bring(project, target, items, record, options, force=force, whole=True)
    if not options.dry_run:
        _pointers(project, commit, items, done)
    for item, members in wanted.parts:
        try:
            returning.bring_members(
                project, target, item, members, now, record, options, done, force=force
            )
        except MlreproError as error:
            error.path = error.path or item.path
            every.append(error)
    gaps = history.gaps(project, done.missing, commit)
    returning.tell_saved(project, target, done.saved, options)
    every += [*done.errors, *history.lost(gaps, done.unreachable)]
    every += [returning.kept(project, path, f"restore --rev {revision}") for path in done.kept]
    return RestoreResult(
        errors=tuple(every),
        damaged=damage.tell(target, options),
        commit=commit,
        restored=tuple(done.restored),
        unchanged=tuple(done.unchanged),
        kept=tuple(done.kept),
        missing=tuple(gaps),
        saved=tuple(done.saved),
    )


@dataclass(slots=True)
class _Wanted:
    """Outputs to be brought back as a whole, and those of which single members were named."""

    whole: list[Tracked]
    parts: list[tuple[Tracked, list[str]]]


def _wanted(
    project: Project,
    paths: Sequence[str],
    revision: str,
    commit: str,
    now: outputs.Listing,
) -> tuple[_Wanted, list[MlreproError]]:
    """What the paths meant at that commit; what they did not mean is an error each."""
    then = outputs.at_revision(project, commit)
    whole: dict[str, Tracked] = {}
    parts: dict[str, tuple[Tracked, list[str]]] = {}
    errors: list[MlreproError] = []
    for typed in paths:
        found, wrong = naming.tracked(project, then, [typed])
        name = naming.relative(project, typed) if not wrong else ""
        for item in found:
            if name.startswith(item.path + "/"):
                parts.setdefault(item.path, (item, []))[1].append(name[len(item.path) + 1 :])
            else:
                whole[item.path] = item
        errors += [
            _not_then(project, error, typed, revision, commit, then, now)
            if error.code == "path-not-tracked"
            else error
            for error in wrong
        ]
    left = [part for path, part in parts.items() if path not in whole]
    return _Wanted(list(whole.values()), left), errors


def _not_then(
    project: Project,
    error: MlreproError,
    typed: str,
    revision: str,
    commit: str,
    then: outputs.Listing,
    now: outputs.Listing,
) -> PathError:
    """The error for a path that the commit did not track, as far as that can be explained."""
    name, shown = error.path, quoted(typed)
    if not then.outs and not then.errors:
        return PathError(
            f"No data was tracked in {revision} ({commit[:10]}).",
            "mlrepro log shows the versions of the data",
            code="revision-without-data",
            path=name,
            commit=commit,
        )
    if git.names(project, [f"{commit}:{name}"]) and "\n" not in name:
        return PathError(
            f"{typed} was in git in {revision}, not among the tracked data.",
            f"git restore --source {revision} -- {shown}",
            code="path-in-git",
            path=name,
            commit=commit,
        )
    is_now = any(naming.means(item.path, item.pointer, name) for item in now.outs)
    return PathError(
        f"{typed} was not tracked in {revision} ({commit[:10]}).",
        f"mlrepro log {shown} shows its versions" if is_now else "mlrepro log shows all versions",
        code="path-not-in-revision",
        path=name,
        commit=commit,
    )


def _pointers(project: Project, commit: str, items: Sequence[Tracked], done: Brought) -> None:
    """Give the pointers of what was brought the text they had, with the ignore rules they need."""
    brought = {*done.restored, *done.unchanged}
    whole = [item for item in items if item.path in brought]
    names = list(dict.fromkeys(item.pointer for item in whole))
    texts = git.blobs(project, [f"{commit}:{name}" for name in names])
    for name in names:
        os.makedirs(os.path.dirname(project.absolute(name)), exist_ok=True)
        writing.write_atomic(project.absolute(name), texts[f"{commit}:{name}"])
    with ignore.lock(project):
        changes = ignore.bring_back(project, names)
        changes = ignore.keep_out(project, [item.path for item in whole], changes)
        ignore.note(project, changes)
        for change in changes:
            text = change.after.encode("utf-8", "surrogateescape")
            writing.write_atomic(project.absolute(change.file), text)
    gitadd.stage(project, [*names, *ignore.noted(project)])
    ignore.forget(project)
