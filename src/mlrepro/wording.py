"""What each pointer has to say once the content of its outputs is saved."""

from __future__ import annotations

import os

from mlrepro import plainfile, pointer
from mlrepro.dataclass import TYPE_CHECKING, replace
from mlrepro.errors import PointerUnknown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlrepro.capture import Saved, Target
    from mlrepro.project import Project
    from mlrepro.worktree import Data


def set_texts(project: Project, saved: Sequence[Saved]) -> None:
    """Set what each pointer has to say now: one text for all of the outputs that it names."""
    groups: dict[str, list[Saved]] = {}
    for item in saved:
        if item.text is None and (item.is_new or differs(item)):
            groups.setdefault(item.target.pointer, []).append(item)
    for group in groups.values():
        text = _text(project, group)
        for item in group:
            item.text = text


def differs(saved: Saved) -> bool:
    """Whether a pointer that is there says something else of the content."""
    item = saved.target.item
    if item is None or item.in_lock:  # DVC itself refreshes a pipeline's lock file
        return False
    if item.out.legacy and not saved.as_was:
        return True  # saved anew, where DVC 3 looks for it only by a pointer of its own kind
    return item.oid != saved.data.oid or item.out.isexec != saved.data.isexec


def _text(project: Project, group: Sequence[Saved]) -> bytes:
    fresh = {posix_name(one.target): one.data for one in group}
    item = group[0].target.item
    if item is None:
        return pointer.render(
            pointer.Pointer(tuple(_out(name, data) for name, data in fresh.items()))
        )
    try:
        if item.plain:
            return _rewritten(project, item.pointer, fresh)
    except PointerUnknown:
        pass  # what is staged is plain, the file beside it is not
    except FileNotFoundError:  # it is staged, but was removed from the worktree
        outs = [one.target.item.out for one in group if one.target.item is not None]
        return pointer.render(pointer.Pointer(tuple(restated(o, fresh[o.path]) for o in outs)))
    from mlrepro import dvc

    updates = {name: (now.oid, now.size, now.nfiles, now.isexec) for name, now in fresh.items()}
    return dvc.write_pointer(project.root, item.pointer, updates)


def _rewritten(project: Project, name: str, fresh: dict[str, Data]) -> bytes:
    now = pointer.parse(plainfile.read(project.root, name, pointer.MAX_POINTER_BYTES), name)
    outs = tuple(restated(out, fresh[out.path]) if out.path in fresh else out for out in now.outs)
    return pointer.render(replace(now, outs=outs))


def _out(name: str, data: Data) -> pointer.Out:
    return pointer.Out(name, data.oid, data.size, data.nfiles, data.isexec)


def restated(out: pointer.Out, data: Data) -> pointer.Out:
    """An output that names this content now, as DVC rewrites one."""
    return replace(
        out, oid=data.oid, size=data.size, nfiles=data.nfiles, isexec=data.isexec, legacy=False
    )


def posix_name(target: Target) -> str:
    """The path of an output as its pointer writes it."""
    if target.item is not None:
        return target.item.out.path
    folder = target.pointer.rpartition("/")[0]
    if target.path.startswith(f"{folder}/"):
        return target.path[len(folder) + 1 :]
    return os.path.relpath(target.path, folder or ".")


def texts(saved: Sequence[Saved]) -> dict[str, bytes]:
    """The new text of each pointer that has something new to say."""
    return {item.target.pointer: item.text for item in saved if item.text is not None}
