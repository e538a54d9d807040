"""mv: move tracked data, with its pointer and its ignore line."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mlrepro import capture, durable, git, ignore, index, naming, pointer, worktree
from mlrepro.errors import PathError, Refused
from mlrepro.result import Options, Result

if TYPE_CHECKING:
    from mlrepro.project import Project
    from mlrepro.worktree import Tracked


@dataclass(frozen=True)
class MvResult(Result):
    """Where the data was, and where it is now."""

    old: str = ""
    new: str = ""
    pointer: str = ""

    def data(self) -> dict[str, Any]:
        return {"old": self.old, "new": self.new, "pointer": self.pointer}


def run(project: Project, old: str, new: str, options: Options) -> MvResult:
    """Move the tracked path ``old`` to ``new`` (as typed; a folder: into it) and stage that.

    The data is renamed, never copied over something; data that is not here just gets its pointer
    moved. Raises PathError or Refused before anything has changed.
    """
    naming.require_dvc(project)
    record = index.load(project.state_dir)
    item = _tracked(project, old, record)
    path = _destination(project, item, new)
    name = capture.pointer_name(path)
    _check(project, item, path, name, record)
    if options.dry_run:
        return MvResult(old=item.path, new=path, pointer=name)
    with open(project.absolute(item.pointer), "rb") as file:
        parsed = pointer.parse(file.read(pointer.MAX_POINTER_BYTES), item.pointer)
    inner = os.path.relpath(path, os.path.dirname(name) or ".")
    out = replace(parsed.outs[0], path=inner)
    # The new pointer first, then the data, the old pointer last: whatever happens between, the
    # content stays named and in the store, and the same command again finishes the work.
    os.makedirs(os.path.dirname(project.absolute(path)), exist_ok=True)
    durable.write_atomic(project.absolute(name), pointer.render(replace(parsed, outs=(out,))))
    changes = ignore.keep_out(project, [path], ignore.bring_back(project, [name]))
    changes = ignore.without(project, item.path, changes)
    for change in changes:
        text = change.after.encode("utf-8", "surrogateescape")
        durable.write_atomic(project.absolute(change.file), text)
    if os.path.lexists(project.absolute(item.path)):
        durable.move(project.absolute(item.path), project.absolute(path))
    os.unlink(project.absolute(item.pointer))
    git.stage(project, [item.pointer, name, *(change.file for change in changes)])
    _remember(project, record, item, path, name)
    return MvResult(old=item.path, new=path, pointer=name)


def _tracked(project: Project, typed: str, record: index.Record) -> Tracked:
    name = naming.relative(project, typed)
    if worktree.is_pointer(name):
        listing = worktree.in_worktree(project, [name])
        if listing.errors:
            raise listing.errors[0]
        item = listing.outs[0] if listing.outs else None
    else:
        item = naming.existing(project, name, record)
    if item is None:
        raise PathError(
            f"Not tracked: {typed}",
            "mlrepro status lists what is tracked",
            code="path-not-tracked",
            path=name,
        )
    outs = worktree.in_worktree(project, [item.pointer]).outs
    if len(outs) != 1 or not item.plain or item.in_lock:
        raise Refused(
            f"{item.pointer} says more than where {item.path} is: it is DVC's to move.",
            f"dvc move {item.path} {typed}",
            code="pointer-not-plain",
            path=item.path,
        )
    return item


def _destination(project: Project, item: Tracked, typed: str) -> str:
    path = naming.relative(project, typed)
    if not path or os.path.isdir(project.absolute(path)) or typed.endswith("/"):
        path = os.path.join(path, os.path.basename(item.path))
    naming.check_name(path)
    return path


def _check(project: Project, item: Tracked, path: str, name: str, record: index.Record) -> None:
    for taken in (path, name):
        if os.path.lexists(project.absolute(taken)):
            raise Refused(
                f"There is something at {taken} already.",
                "name a path that is free",
                code="path-taken",
                path=taken,
            )
    if (path + "/").startswith(item.path + "/"):
        raise Refused(f"{item.path} cannot be moved into itself.", code="path-taken", path=path)
    link = worktree.linked_parent(project, path)
    if link:
        raise PathError(
            f"{path} lies behind a symbolic link: {link}", code="path-symlink", path=path
        )
    naming.check_free(project, path, record)


def _remember(project: Project, record: index.Record, item: Tracked, path: str, name: str) -> None:
    """The record of the data goes with it; a rename changes its ctime, so it is read once more."""
    entry = record.entries.get(item.path)
    if entry is None:
        return
    entry.path, entry.pointer, entry.seen = path, name, ""
    index.save(project.state_dir, [entry], [item.path])
