"""What DVC itself saves: outputs of pipelines, and with the DVC lane forced, everything."""

from __future__ import annotations

import os

from mlrepro import (
    capture,
    members,
    outputs,
    plainfile,
    pointer,
    remote,
    transfer,
    wording,
    worktree,
    writing,
)
from mlrepro.dataclass import TYPE_CHECKING, dataclass, field
from mlrepro.errors import MlreproError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mlrepro import index
    from mlrepro.dvc import Added, Session
    from mlrepro.outputs import Tracked
    from mlrepro.project import Project
    from mlrepro.remote import Remote
    from mlrepro.result import Options


@dataclass(slots=True)
class Refreshed:
    """The lock files that DVC wrote anew, the outputs that it saved, and what it could not save."""

    written: list[str] = field(default_factory=list)
    saved: list[capture.Saved] = field(default_factory=list)
    errors: list[MlreproError] = field(default_factory=list)


def refresh(
    project: Project,
    target: Remote,
    items: Sequence[Tracked],
    record: index.Record,
    options: Options,
) -> Refreshed:
    """Let DVC commit the stages whose outputs were edited, and store those outputs.

    Raises StoreError, before anything was changed, where the store cannot be used.
    """
    result = Refreshed()
    if not items:
        return result
    found = worktree.examine(project, [item.path for item in items], record, options, items)
    changed = [item for item in items if found[item.path].oid not in ("", item.oid)]
    if not changed:
        return result
    from mlrepro import dvc

    remote.usable(project, target)
    stages = dict.fromkeys(stage for item in changed for stage in _stages(project, item))
    with dvc.session(project.root) as session:
        added, errors = session.commit(list(stages))
        result.errors += errors
    needs = [transfer.Need(one.path, one.oid, None, one.pointer) for one in added]
    result.written = sorted({one.pointer for one in added})
    stored = transfer.push(project, target, needs, options)
    result.errors += stored.errors
    result.errors += [transfer.lost(need) for need in stored.missing]
    absent = {need.oid for need in (*stored.missing, *stored.owed)}
    by_path = {item.path: item for item in changed}
    for one in added:
        item = by_path.get(one.path)
        if item is not None and found[one.path].oid == one.oid:
            done = capture.Saved(
                capture.Target(one.path, one.pointer, item), found[one.path], one.oid not in absent
            )
            done.text = plainfile.read(project.root, one.pointer, outputs.MAX_LOCK_BYTES)
            result.saved.append(done)
    return result


def _stages(project: Project, item: Tracked) -> list[str]:
    """The stages of ``dvc.yaml`` that make an output, as DVC addresses them."""
    from mlrepro import dvc

    base = os.path.dirname(item.pointer)
    where = os.path.join(base, "dvc.yaml")
    lock, stages = (
        plainfile.read(project.root, name, outputs.MAX_LOCK_BYTES) for name in (item.pointer, where)
    )
    outs = dvc.lock_outs(lock, item.pointer, stages)
    return [f"{where}:{out.stage}" for out in outs if os.path.join(base, out.path) == item.path]


def save(
    project: Project,
    target: Remote,
    wanted: Sequence[capture.Target],
    record: index.Record,
    options: Options,
    ahead: Callable[[Sequence[capture.Saved]], None] | None = None,
) -> capture.Capture:
    """Put the content of every target into cache and store, in the lane that is asked for."""
    if options.lane == "dvc":
        return add(project, target, wanted, options)
    return capture.save(project, target, wanted, record, options, ahead)


def add(
    project: Project, target: Remote, wanted: Sequence[capture.Target], options: Options
) -> capture.Capture:
    """What ``capture.save`` does, by ``dvc add`` and a push of DVC's in this one process.

    DVC writes the pointers and the ignore files itself.
    """
    from mlrepro import dvc

    remote.usable(project, target)
    result = capture.Capture()
    by_path = {item.path: item for item in wanted if not _is_empty(project, item, result)}
    stubs = [item for item in by_path.values() if _has_odd_pointer(item)]
    with dvc.session(project.root) as session:
        added, errors = session.add([path for path, item in by_path.items() if item not in stubs])
        for item in stubs:
            more, wrong = _add_by_stub(project, session, item)
            added += more
            errors += wrong
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
        done.text = _proven_text(project, done)
        result.saved.append(done)
    return result


def _proven_text(project: Project, done: capture.Saved) -> bytes:
    """The pointer that DVC wrote; where it does not read back as the path that it is for, ours.

    A few names with line breaks of Unicode do not survive the YAML that DVC writes.
    """
    name = done.target.pointer
    text = plainfile.read(project.root, name, pointer.MAX_POINTER_BYTES)
    listing = outputs.read_pointers(project, [(name, "", text)])
    if done.target.path in listing.by_path() or listing.errors:
        return text
    data = done.data
    out = pointer.Out(
        wording.posix_name(done.target), data.oid, data.size, data.nfiles, data.isexec
    )
    return pointer.render(pointer.Pointer((out,)))


def _is_empty(project: Project, item: capture.Target, result: capture.Capture) -> bool:
    """Whether a target is a folder without files, which DVC would take; said in ``result``."""
    path = project.absolute(item.path)
    if os.path.islink(path) or not os.path.isdir(path) or any(names for *_, names in os.walk(path)):
        return False
    result.errors.append(members.empty(item.path))
    return True


def _has_odd_pointer(item: capture.Target) -> bool:
    """Whether a new pointer has another name than ``dvc add`` would give it."""
    return item.item is None and item.pointer != item.path + ".dvc"


def _add_by_stub(
    project: Project, session: Session, item: capture.Target
) -> tuple[list[Added], list[MlreproError]]:
    """Have DVC fill in a pointer that is there already, under the name that we give it."""
    path = project.absolute(item.pointer)
    out = pointer.Out(wording.posix_name(item), "", None)
    writing.write_atomic(path, pointer.render(pointer.Pointer((out,))))
    added, errors = session.commit([item.pointer])
    if errors:
        os.unlink(path)
    return added, errors
