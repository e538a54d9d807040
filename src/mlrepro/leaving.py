"""Data whose pointer a commit does not have: taken away where nothing of it can be lost."""

from __future__ import annotations

import os

from mlrepro import engine, index, materialize, placement, recovery, restoring, threeway, worktree
from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.errors import MlreproError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlrepro.hashing import Stat
    from mlrepro.materialize import Brought
    from mlrepro.project import Project
    from mlrepro.remote import Remote
    from mlrepro.result import Options
    from mlrepro.worktree import Data


def take_away(
    project: Project,
    target: Remote,
    gone: Sequence[index.Entry],
    record: index.Record,
    options: Options,
    result: Brought,
    *,
    force: bool = False,
) -> None:
    """Remove data whose pointer the commit does not have, where it is unedited and stored.

    With ``force`` what was edited is saved in the cache first. In a dry run nothing is removed.
    """
    found = worktree.examine(project, [entry.path for entry in gone], record, options)
    bits = threeway.bits_before(project, [entry for entry in gone if found[entry.path].stat])
    edited = {path for path, before in bits.items() if before != found[path].isexec}
    removed = []
    for entry in gone:
        data = found[entry.path]
        if data.error is not None:
            result.errors.append(data.error)
        if not data.oid:
            continue
        size = data.size if data.tree is None else None
        unsaved = data.oid != entry.synced or not placement.is_saved(target, data.oid, size)
        if (unsaved or entry.path in edited) and not (
            force and _save(project, target, entry.path, data, options, result)
        ):
            result.kept.append(entry.path)
            continue
        if options.dry_run:
            result.removed.append(entry.path)
            continue
        try:
            if data.tree is not None:
                _take_folder(project, target, entry, data, result)
            elif _remove(project, target, {project.absolute(entry.path): data.stat}, result):
                result.removed.append(entry.path)
            else:
                continue
        except MlreproError as error:
            result.errors.append(error)
            continue
        removed.append(entry.path)
    for path in result.removed:
        _remove_empty(project, os.path.dirname(path))
    if removed:
        index.save(project.state_dir, (), removed)


def _save(
    project: Project, target: Remote, path: str, data: Data, options: Options, result: Brought
) -> bool:
    """Put the content of data that is to go into the cache; says whether all of it is there."""
    if options.dry_run:
        return True
    absolute = project.absolute(path)
    members = data.tree.members() if data.tree is not None else {}
    paths = [f"{absolute}/{name}" for name in members] or [absolute]
    report = engine.save_files(
        paths, target.cache, None, jobs=options.jobs, reporter=options.reporter
    )
    result.saved += [(os.path.relpath(d.path, project.root), d.oid) for d in report.saved]
    result.errors += [error for _, error in report.failed]
    return not report.failed


def _remove(
    project: Project,
    target: Remote,
    wanted: Mapping[str, Stat | tuple[int, ...] | None],
    result: Brought,
) -> bool:
    """Remove these files (absolute path → as it has to be); says whether all of them are gone."""
    done = restoring.remove_files(wanted.items(), materialize.staging(project), project.root)
    result.kept += [os.path.relpath(path, project.root) for path in done.kept]
    result.errors += recovery.told(target, done.recovered)
    for path, error in done.failed:
        error.path = os.path.relpath(path, project.root)
        result.errors.append(error)
    return not (done.kept or done.failed)


def _remove_empty(project: Project, folder: str) -> None:
    """Remove the folders that are left empty, as git does; not the one that we stand in."""
    while folder and project.absolute(folder) != project.cwd:
        try:
            os.rmdir(project.absolute(folder))
        except OSError:
            return
        folder = os.path.dirname(folder)


def _take_folder(
    project: Project, target: Remote, entry: index.Entry, data: Data, result: Brought
) -> None:
    base = project.absolute(entry.path)
    stats = placement.Stats(data)
    members = data.tree.members() if data.tree is not None else {}
    places = [place.list_oids() for place in (target.cache, target.store) if place is not None]
    saved = {
        name
        for name, oid in members.items()
        if any(place.get(oid) == stats.size(name) for place in places)
    }
    result.kept += [f"{entry.path}/{name}" for name in members if name not in saved]
    _remove(project, target, {os.path.join(base, name): stats.get(name) for name in saved}, result)
    for folder, _, _ in os.walk(base, topdown=False):
        try:
            os.rmdir(folder)
        except OSError:
            continue  # it holds what was kept
    if not os.path.isdir(base):
        result.removed.append(entry.path)
