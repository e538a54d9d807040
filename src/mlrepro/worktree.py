"""What lies at each tracked path: proven to be as it was when it was hashed, or hashed now."""

from __future__ import annotations

import os
import stat as stat_module

from mlrepro import (
    engine,
    folder,
    index,
    legacy,
    plainfile,
    planning,
    pointer,
    safepath,
    walking,
)
from mlrepro.dataclass import TYPE_CHECKING, dataclass
from mlrepro.errors import MlreproError, PathError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mlrepro.hashing import Stat
    from mlrepro.outputs import Tracked
    from mlrepro.project import Project
    from mlrepro.result import Options


@dataclass(slots=True)
class Data:
    """What lies at a tracked path now.

    ``oid``: "" where it is missing; ``size``: bytes; ``nfiles``: for a folder; ``tree``, ``plan``:
    for a folder, its members as hashed now; ``proven``: nothing had to be hashed.
    """

    path: str
    oid: str = ""
    size: int = 0
    nfiles: int | None = None
    isexec: bool = False
    stat: Stat | None = None
    began_ns: int = 0
    tree: folder.Tree | None = None
    proven: bool = False
    error: MlreproError | None = None
    plan: planning.FolderPlan | None = None

    @property
    def is_missing(self) -> bool:
        return not self.oid and self.error is None


def examine(
    project: Project,
    paths: Sequence[str],
    record: index.Record,
    options: Options,
    items: Iterable[Tracked] = (),
) -> dict[str, Data]:
    """Say what lies at each path now: proven by the record where that is possible, else hashed.

    Of ``items``, what DVC 2 hashed, in its own way, gets that hash if it still is that content.
    """
    found: dict[str, Data] = {}
    to_hash: list[str] = []
    straight: set[str] = set()  # folders on the way to which there is no link
    for path in paths:
        data = found[path] = Data(path)
        absolute = project.absolute(path)
        try:
            if os.path.dirname(path) not in straight:
                refuse_link(project, path)
                straight.add(os.path.dirname(path))
            now = os.lstat(absolute)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            data.error = PathError(
                f"Cannot read {path}: {error.strerror}",
                f"ls -ld {safepath.quoted(path)}",
                path=path,
            )
            continue
        except MlreproError as error:
            data.error = error
            continue
        entry = record.entries.get(path)
        if stat_module.S_ISDIR(now.st_mode):
            _examine_folder(project, data, options)
        elif entry is not None and entry.oid and entry.is_unchanged(now):
            data.oid, data.size, data.stat = entry.oid, entry.size, now
            data.isexec = bool(now.st_mode & 0o111)
            data.began_ns, data.proven = entry.began_ns, True
        else:
            to_hash.append(path)
    _hash(project, to_hash, found, options)
    for item in items:
        if item.out.legacy and item.path in found and found[item.path].oid:
            _compare_as_dvc_2(project, item.out, found[item.path])
    return found


def _compare_as_dvc_2(project: Project, out: pointer.Out, data: Data) -> None:
    """Give data the hash that a pointer of DVC 2 names, if it is what that names; else another."""
    known = data.oid if data.tree is None else data.tree.alias
    size_fits = out.size is None or out.size == data.size
    if data.proven and known == out.oid and size_fits:
        data.oid = out.oid
        return
    where, path = legacy.places(project), project.absolute(data.path)
    same = size_fits and out.is_dir == (data.tree is not None)
    if same and data.tree is not None:
        named = legacy.listing(where, out.oid)
        same = bool(named) and legacy.members(where, path, data.tree, named) == named
    elif same:
        same = legacy.is_same(where, path, data.oid, data.size, out.oid, out.size)
    if same:
        data.oid = out.oid
    elif data.oid == out.oid:
        data.oid = legacy.other(data.oid)
    if same and data.tree is not None:
        data.tree.alias, data.proven = out.oid, False  # so that it is kept


def linked_parent(project: Project, path: str) -> str:
    """The first folder on the way to ``path`` that is a symbolic link, or ""."""
    return plainfile.linked_parent(project.root, path)


def refuse_link(project: Project, path: str) -> None:
    """Raise PathError where the way to ``path`` leads through a symbolic link."""
    link = linked_parent(project, path)
    if link:
        raise PathError(
            f"{path} lies behind a symbolic link: {link}",
            "name the real path",
            code="path-symlink",
            path=path,
        )


def _hash(project: Project, paths: list[str], found: dict[str, Data], options: Options) -> None:
    absolute = {project.absolute(path): path for path in paths}
    report = engine.hash_files(list(absolute), jobs=options.jobs, reporter=options.reporter)
    for done in report.saved:
        data = found[absolute[done.path]]
        data.oid, data.size, data.stat = done.oid, done.size, done.stat
        data.isexec, data.began_ns = done.isexec, done.began_ns
    for path, error in report.failed:
        error.path = absolute[path]
        found[absolute[path]].error = error


def _examine_folder(project: Project, data: Data, options: Options) -> None:
    try:
        plan = planning.of(project, data.path)
        if plan.tree is not None:  # its listing is not asked for: all is as it was
            _complete(data, plan, plan.tree)
            data.oid, data.proven, data.plan = plan.tree.oid, True, plan
            return
        paths = plan.paths(project.absolute(data.path), plan.fresh)
        report = engine.hash_files(
            paths, jobs=options.jobs, reporter=options.reporter, note=plan.noting(plan.fresh)
        )
        for path, error in report.failed:
            error.path = f"{data.path}/{path[len(paths.base) :]}"
            raise error
    except MlreproError as error:
        data.error = error
        return
    finish_folder(data, plan)
    data.plan = plan


def finish_folder(data: Data, plan: planning.FolderPlan) -> bytes:
    """Complete ``data``, now that all hashes are in ``plan``; returns the listing's bytes."""
    if plan.finished is not None and plan.finished[0] == plan.oids:
        _, listing, was = plan.finished
        data.oid, data.size, data.nfiles = was.oid, was.size, was.nfiles
        data.tree, data.proven, data.began_ns = was.tree, was.proven, was.began_ns
        return listing
    listing = pointer.render_members(plan.walk.names, plan.oids, checked=plan.checked)
    tree = plan.tree
    if tree is not None:
        data.oid, data.proven = tree.oid, True
    else:
        data.oid = pointer.listing_oid(listing)
        tree = folder.Tree(data.path, data.oid, plan.walk, bytes(plan.oids), plan.began_ns)
    _complete(data, plan, tree)
    plan.finished = tree.oids, listing, data
    return listing


def _complete(data: Data, plan: planning.FolderPlan, tree: folder.Tree) -> None:
    """Note what a folder comes to, now that all its members are known."""
    data.tree = tree
    rows, left_out = plan.walk.numbers[:: walking.NUMBERS], planning.unknown(plan.oids)
    data.size = sum(rows) - sum([rows[at] for at in left_out])
    data.nfiles = len(rows) - len(left_out)
    data.began_ns = plan.began_ns


def note(entry: index.Entry, data: Data, item: Tracked | None) -> None:
    """Carry what was found into the record's entry.

    Where its executable bit is not what the pointer says, a commit has to look at the file again.
    """
    same = item is None or data.stat is None or data.isexec == item.out.isexec
    entry.hashed(data.oid, data.size, data.stat if same else None, data.began_ns)
    if item is not None:
        entry.saw(item.seen, item.oid, is_alike=same)
