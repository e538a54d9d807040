"""A worktree of its own beside the present one, made ready to run: settings, store and data."""

from __future__ import annotations

import os

from mlrepro import (
    durable,
    engine,
    fetching,
    git,
    ignore,
    outputs,
    project as places,
    remote,
    transfer,
    worktree,
    writing,
)
from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.errors import PathError, Refused
from mlrepro.safepath import quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlrepro.materialize import Brought
    from mlrepro.outputs import Tracked
    from mlrepro.project import Project
    from mlrepro.remote import Remote
    from mlrepro.result import Options


def choose(project: Project, typed: str) -> str:
    """The absolute path of the new worktree, which has to be free. Raises Refused, PathError."""
    folder = os.path.abspath(os.path.join(project.cwd, typed))
    if os.path.lexists(folder) and (not os.path.isdir(folder) or os.listdir(folder)):
        raise Refused(
            f"There is something at {folder} already.",
            "name a folder that does not exist yet",
            code="into-exists",
            path=folder,
        )
    if folder in git.worktrees(project):
        raise Refused(
            f"git has a worktree at {folder}, whose folder is gone.",
            "git worktree prune, then check out again",
            code="into-registered",
            path=folder,
        )
    if (folder + os.sep).startswith(project.root + os.sep):
        inside = os.path.relpath(folder, project.root)
        for item in outputs.in_worktree(project).outs:
            if inside.startswith(item.path + "/"):
                raise PathError(
                    f"{inside} lies in the tracked folder {item.path}.",
                    f"name a folder outside: mlrepro checkout REV --into ../{quoted(typed)}",
                    code="path-inside-tracked",
                    path=inside,
                )
    return folder


def ready(project: Project, folder: str) -> Project:
    """The new worktree with the settings that git does not bring: those of this clone alone."""
    place = places.find(folder, {})
    if folder.startswith(project.root + os.sep):
        _hide(project, os.path.relpath(folder, project.root))
    own, new = (os.path.join(one.dvc_dir, "config.local") for one in (project, place))
    if os.path.isdir(place.dvc_dir) and os.path.isfile(own) and not os.path.lexists(new):
        with open(own, "rb") as file:
            writing.write_atomic(new, file.read(), mode=0o600)
    return place


def _hide(project: Project, inside: str) -> None:
    """Let git status of the outer worktree stay silent on the inner one."""
    if git.ignored(project, [inside + "/"]):
        return
    path = os.path.join(project.common_dir, "info", "exclude")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    text = ""
    if os.path.isfile(path):
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
    gap = "" if not text or text.endswith("\n") else "\n"
    after = f"{text}{gap}{ignore.top_rule(inside)}/\n"
    writing.write_atomic(path, after.encode("utf-8", "surrogateescape"))


def share_cache(project: Project, target: Remote, items: Sequence[Tracked]) -> None:
    """Give the new worktree's cache the blobs that ours has, as hard links; they are checked when
    they are put in place.
    """
    ours = remote.of(project, os.environ).cache
    if not os.path.isdir(ours.root) or os.path.realpath(ours.root) == target.cache.root:
        return
    needs = [transfer.Need(item.path, item.oid) for item in items if item.oid]
    blobs, _ = transfer.expand(needs, [ours])
    target.cache.create()
    for need in blobs:
        found = ours.find(need.oid)
        if found is not None and not target.cache.has(need.oid, None):
            target.cache.link_from(found[0], need.oid)


def link_data(
    place: Project, target: Remote, items: Sequence[Tracked], options: Options, done: Brought
) -> None:
    """Put data in place as further names of the cache's read-only blobs, each hashed before.

    What cannot be linked, and what is executable, is left to be copied.
    """
    needs = [transfer.Need(item.path, item.oid, None, item.pointer) for item in items if item.oid]
    fetching.fetch(place, target, needs, options, [], to_cache=True)
    for item in items:
        blobs, _ = transfer.expand([transfer.Need(item.path, item.oid)], [target.cache])
        files = [need for need in blobs if len(need.oid) == 32]
        if item.out.isexec or not files:
            continue
        linked = [_link(place, target, need) for need in files]
        if all(linked):
            done.restored.append(item.path)


def _link(place: Project, target: Remote, need: transfer.Need) -> bool:
    found, path = target.cache.find(need.oid), place.absolute(need.path)
    if found is None or worktree.linked_parent(place, need.path) or os.path.lexists(path):
        return False
    if engine.verify_blob(target.cache, need.oid) != "ok":
        return False
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return durable.hard_link(found[0], path)
