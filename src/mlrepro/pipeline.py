"""What DVC itself saves: outputs of pipelines, and with the DVC lane forced, everything."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlrepro import capture, transfer, worktree
from mlrepro.errors import MlreproError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlrepro import index
    from mlrepro.project import Project
    from mlrepro.remote import Remote
    from mlrepro.result import Options
    from mlrepro.worktree import Tracked


@dataclass(slots=True)
class Refreshed:
    """The lock files that DVC wrote anew, and what it could not save."""

    written: list[str] = field(default_factory=list)
    errors: list[MlreproError] = field(default_factory=list)


def refresh(
    project: Project,
    target: Remote,
    items: Sequence[Tracked],
    record: index.Record,
    options: Options,
) -> Refreshed:
    """Let DVC commit the stages whose outputs were edited, and store those outputs."""
    result = Refreshed()
    if not items:
        return result
    found = worktree.examine(project, [item.path for item in items], record, options)
    changed = [item for item in items if found[item.path].oid not in ("", item.oid)]
    if not changed:
        return result
    from mlrepro import dvc

    stages = dict.fromkeys(stage for item in changed for stage in _stages(project, item))
    with dvc.session(project.root) as session:
        added, errors = session.commit(list(stages))
        result.errors += errors
    needs = [transfer.Need(one.path, one.oid, None, one.pointer) for one in added]
    result.written = sorted({one.pointer for one in added})
    stored = transfer.push(project, target, needs, options)
    result.errors += stored.errors
    result.errors += [transfer.lost(need) for need in stored.missing]
    return result


def _stages(project: Project, item: Tracked) -> list[str]:
    """The stages of ``dvc.yaml`` that make an output, as DVC addresses them."""
    from mlrepro import dvc

    base = os.path.dirname(item.pointer)
    where = os.path.join(base, "dvc.yaml")
    texts = []
    for name in (item.pointer, where):
        with open(project.absolute(name), "rb") as file:
            texts.append(file.read())
    outs = dvc.lock_outs(texts[0], item.pointer, texts[1])
    return [f"{where}:{out.stage}" for out in outs if os.path.join(base, out.path) == item.path]


def add(
    project: Project, target: Remote, wanted: Sequence[capture.Target], options: Options
) -> capture.Capture:
    """What ``capture.save`` does, by ``dvc add`` and a push of DVC's in this one process.

    DVC writes the pointers and the ignore files itself.
    """
    from mlrepro import dvc

    result = capture.Capture()
    by_path = {item.path: item for item in wanted}
    with dvc.session(project.root) as session:
        added, errors = session.add(list(by_path))
        result.errors += errors
        needs = [transfer.Need(one.path, one.oid, one.size, one.pointer) for one in added]
        stored = transfer.push(project, target, needs, options)
    result.count, result.bytes = stored.count, stored.bytes
    result.errors += stored.errors
    result.owed = [need.oid for need in stored.owed]
    for one in added:
        if one.path not in by_path:
            continue
        data = worktree.Data(one.path, one.oid, one.size or 0, one.nfiles, one.isexec)
        item = by_path[one.path]
        done = capture.Saved(capture.Target(item.path, one.pointer, item.item), data, True)
        with open(project.absolute(one.pointer), "rb") as file:
            done.text = file.read()
        result.saved.append(done)
    return result
