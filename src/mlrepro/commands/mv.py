"""mv: move tracked data, with its pointer and its ignore line."""

from __future__ import annotations

import os
import time

from mlrepro import (
    capture,
    durable,
    fitness,
    folder,
    git,
    gitadd,
    ignore,
    index,
    naming,
    outputs,
    plainfile,
    pointer,
    worktree,
    writing,
)
from mlrepro.dataclass import TYPE_CHECKING, dataclass, replace
from mlrepro.errors import PathError, Refused
from mlrepro.result import Options, Result
from mlrepro.safepath import quoted

if TYPE_CHECKING:
    from typing import Any

    from mlrepro.outputs import Tracked
    from mlrepro.project import Project

_SETTLED = 0.03  # seconds, after which a write has a later date than the rename (see index)


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

    The data is renamed, never copied and never over something; data that is not here just gets its
    pointer moved. A run that was cut short is completed by the same command. Raises PathError or
    Refused before anything has changed.
    """
    naming.require_dvc(project)
    record = index.load(project.state_dir)
    item = _tracked(project, old, record)
    path = _destination(project, item, old, new)
    name = capture.pointer_name(path)
    before = plainfile.read(project.root, item.pointer, pointer.MAX_POINTER_BYTES)
    parsed = pointer.parse(before, item.pointer)
    inner = os.path.relpath(path, os.path.dirname(name) or ".")
    text = pointer.render(pointer.Pointer((replace(parsed.outs[0], path=inner),)))
    _check(project, item, path, name, text, record)
    if not options.dry_run:
        known = _is_as_recorded(project, record, item)
        _move(project, item, path, name, text)
        _remember(project, record, item, path, name, known)
    return MvResult(old=item.path, new=path, pointer=name)


def _move(project: Project, item: Tracked, path: str, name: str, text: bytes) -> None:
    """Write the new pointer, rename the data, and remove the old pointer at last: whatever happens
    between, the content stays named.
    """
    there, here = project.absolute(path), project.absolute(item.path)
    begun = os.path.lexists(project.absolute(name))
    os.makedirs(os.path.dirname(there), exist_ok=True)
    writing.write_atomic(project.absolute(name), text)
    with ignore.lock(project):
        changes = ignore.keep_out(project, [path], ignore.bring_back(project, [name]))
        changes = ignore.without(project, item.path, changes)
        changed = ignore.write(project, changes)
    if begun:  # then they may have been written before, and not staged
        changed += [os.path.join(os.path.dirname(p), ".gitignore") for p in (item.pointer, name)]
    if os.path.lexists(here):
        durable.move(here, there)
    gitadd.stage(project, [name, *changed])
    git.run(project, "update-index", "--force-remove", "-z", "--stdin",
            input=git.joined([item.pointer]))  # fmt: skip
    os.unlink(project.absolute(item.pointer))


def _tracked(project: Project, typed: str, record: index.Record) -> Tracked:
    name = naming.relative(project, typed)
    if outputs.is_pointer(name):
        listing = outputs.in_worktree(project, [name])
        if listing.errors:
            raise listing.errors[0]
        item = listing.outs[0] if listing.outs else None
    else:
        item = fitness.existing(project, name, record)
    if item is None:
        raise PathError(
            f"Not tracked: {typed}",
            "mlrepro status lists what is tracked",
            code="path-not-tracked",
            path=name,
        )
    outs = outputs.in_worktree(project, [item.pointer]).outs
    if len(outs) != 1 or not item.plain or item.in_lock:
        raise Refused(
            f"{item.pointer} says more than where {item.path} is: it is DVC's to move.",
            f"dvc move {quoted(project.show(item.path))} {quoted(typed)}",
            code="pointer-not-plain",
            path=item.path,
        )
    return item


def _destination(project: Project, item: Tracked, old: str, new: str) -> str:
    if new.endswith(".dvc") and old.endswith(".dvc"):
        new = new[:-4]  # both were named by their pointers
    path = naming.relative(project, new)
    if not path or os.path.isdir(project.absolute(path)) or new.endswith("/"):
        path = os.path.join(path, os.path.basename(item.path))
    fitness.check_name(path)
    if path.endswith(".dvc") or path.split("/", maxsplit=1)[0] in (".git", ".dvc"):
        raise PathError(
            f"Data cannot be called {path}: git or DVC would take it for their own.",
            "choose another name",
            code="path-reserved",
            path=path,
        )
    return path


def _check(
    project: Project, item: Tracked, path: str, name: str, text: bytes, record: index.Record
) -> None:
    begun = _read(project.absolute(name)) == text  # by a run of this command that was cut short
    moved = begun and not os.path.lexists(project.absolute(item.path))
    for taken, ours in ((path, moved), (name, begun)):
        if os.path.lexists(project.absolute(taken)) and not ours:
            raise Refused(
                f"There is something at {taken} already.",
                "name a path that is free",
                code="path-taken",
                path=taken,
            )
    if (path + "/").startswith(item.path + "/"):
        raise Refused(
            f"{item.path} cannot be moved into itself.",
            "name a path outside of it",
            code="path-taken",
            path=path,
        )
    worktree.refuse_link(project, path)
    _check_device(project, item, path)
    if not begun:
        fitness.check_free(project, path, fitness.Surroundings(project, record))


def _check_device(project: Project, item: Tracked, path: str) -> None:
    """Refuse what would have to be copied: it could be cut short, and takes space and time."""
    here, there = project.absolute(item.path), os.path.dirname(project.absolute(path))
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    if not os.path.isdir(there):
        raise PathError(
            f"{os.path.relpath(there, project.root)} is not a folder.",
            "name another place",
            code="path-taken",
            path=path,
        )
    if os.path.lexists(here) and os.lstat(here).st_dev != os.stat(there).st_dev:
        raise Refused(
            f"{path} is on another disk than {project.show(item.path)}, so it cannot be renamed.",
            f"copy it there, then: mlrepro track {quoted(project.show(path))}; mlrepro untrack "
            f"{quoted(project.show(item.path))}",
            code="other-device",
            path=path,
        )


def _read(path: str) -> bytes | None:
    try:
        return plainfile.read_at(path, path, pointer.MAX_POINTER_BYTES)
    except (OSError, PathError):
        return None


def _is_as_recorded(project: Project, record: index.Record, item: Tracked) -> bool:
    """Whether a file is, right before it is moved, in all of its numbers as it was recorded."""
    entry = record.entries.get(item.path)
    try:
        now = os.lstat(project.absolute(item.path))
    except OSError:
        return False
    return entry is not None and entry.stat == index.stat_key(now)


def _remember(
    project: Project,
    record: index.Record,
    item: Tracked,
    path: str,
    name: str,
    known: bool,
) -> None:
    """Carry on what is known of the data: a rename changes nothing in it, so it is not read again.

    Of a file it changes the ctime, behind which an edit could hide that put the mtime back: so only
    of one that was ``known``, right before. Any later one does not hide behind the new ctime.
    """
    entry = record.entries.get(item.path)
    if entry is None:
        return
    entry.path, entry.pointer = path, name
    tree = folder.load(project.state_dir, item.path)
    if tree is not None:
        tree.path = path
        folder.save(project.state_dir, tree)
        durable.discard(folder.tree_file(project.state_dir, item.path))
    elif entry.stat and not known:
        entry.hashed("", 0, None, 0)
    elif entry.stat:
        time.sleep(_SETTLED)
        began = index.now_ns()
        try:
            now = os.lstat(project.absolute(path))
        except OSError:
            now = None
        if now is not None and _is_same(entry, now):
            entry.hashed(entry.oid, entry.size, now, began)
    index.save(project.state_dir, [entry], [item.path])


def _is_same(entry: index.Entry, now: os.stat_result) -> bool:
    """Whether a file is as it was recorded but for its ctime, and was proven to be so."""
    size, mtime, ctime, inode, device = entry.stat.split(" ")
    same = f"{now.st_size} {now.st_mtime_ns} {now.st_ino} {now.st_dev}"
    racy = index.is_racy(int(mtime), int(ctime), entry.began_ns)
    return same == f"{size} {mtime} {inode} {device}" and not racy
