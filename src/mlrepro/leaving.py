"""Data whose pointer a commit does not have: taken away where nothing of it can be lost."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mlrepro import index, materialize, restoring, worktree
from mlrepro.errors import MlreproError

if TYPE_CHECKING:
    from collections.abc import Sequence

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
) -> None:
    """Remove data whose pointer the commit does not have, where it is unedited and stored."""
    found = worktree.examine(project, [entry.path for entry in gone], record, options)
    removed = []
    for entry in gone:
        data = found[entry.path]
        if not data.oid:
            continue
        if data.oid != entry.synced or not materialize.is_saved(target, data.oid):
            result.kept.append(entry.path)
            continue
        try:
            if data.tree is not None:
                _take_folder(project, target, entry, data, result)
            elif _remove(project, project.absolute(entry.path), data.stat):
                result.removed.append(entry.path)
            else:
                result.kept.append(entry.path)
                continue
        except MlreproError as error:
            result.errors.append(error)
            continue
        removed.append(entry.path)
    for path in result.removed:
        _remove_empty(project, os.path.dirname(path))
    if removed:
        index.save(project.state_dir, (), removed)


def _remove(project: Project, path: str, expect: os.stat_result | tuple[int, ...] | None) -> bool:
    return restoring.remove_file(path, expect, materialize.staging(project), project.root)


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
    stats = materialize.stats_of(data)
    members = data.tree.members() if data.tree is not None else {}
    places = {**target.cache.list_oids(), **(target.store.list_oids() if target.store else {})}
    for name, oid in members.items():
        path = os.path.join(base, name)
        if oid not in places or not _remove(project, path, stats.get(name)):
            result.kept.append(f"{entry.path}/{name}")
    for folder, _, _ in os.walk(base, topdown=False):
        try:
            os.rmdir(folder)
        except OSError:
            continue  # it holds what was kept
    if not os.path.isdir(base):
        result.removed.append(entry.path)
