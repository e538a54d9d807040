"""Each tracked path of a worktree: its pointer, its data, and how the two stand to each other."""

from __future__ import annotations

import os
import shlex
import stat as stat_module
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlrepro import dvcignore, engine, folder, git, index, legacy, pointer
from mlrepro.errors import MlreproError, PathError, PointerError, PointerUnknown
from mlrepro.pointer import Out

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mlrepro.gitindex import Entries
    from mlrepro.project import Project
    from mlrepro.result import Options

LOCK_FILE = "dvc.lock"
MAX_LOCK_BYTES = 1 << 22


@dataclass(frozen=True, slots=True)
class Tracked:
    """One output that a pointer names.

    ``path``, ``pointer``: relative to the root; ``out``: what the pointer says of it; ``seen``: the
    git object of the pointer's text; ``plain``: the fast lane may rewrite the pointer.
    """

    path: str
    pointer: str
    out: Out
    seen: str
    plain: bool

    @property
    def oid(self) -> str:
        return self.out.oid

    @property
    def in_lock(self) -> bool:
        """Whether a pipeline's ``dvc.lock`` names it rather than a pointer of its own."""
        return is_lock(self.pointer)


@dataclass(slots=True)
class Listing:
    """The tracked outputs that were found, and the pointers that could not be read."""

    outs: list[Tracked] = field(default_factory=list)
    errors: list[MlreproError] = field(default_factory=list)

    def by_path(self) -> dict[str, Tracked]:
        return {item.path: item for item in self.outs}


def is_pointer(name: str) -> bool:
    """Whether a file of this name is one that names outputs."""
    base = os.path.basename(name)
    if base == LOCK_FILE:
        return True
    return base.endswith(".dvc") and base != ".dvc" and not name.startswith(".dvc/")


def is_lock(name: str) -> bool:
    """Whether it is the file in which a pipeline names its outputs."""
    return os.path.basename(name) == LOCK_FILE


def git_oid(content: bytes) -> str:
    """The name git gives a file with this content (SHA-1 repositories)."""
    import hashlib

    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def read_pointers(
    project: Project,
    texts: Iterable[tuple[str, str, bytes]],
    pipelines: Mapping[str, bytes] | None = None,
) -> Listing:
    """Parse pointers: (name, git object or "", text) each. One that is bad is named, not raised.

    ``pipelines``: the ``dvc.yaml`` that goes with each ``dvc.lock``, if not the worktree's.
    """
    listing = Listing()
    taken: dict[str, str] = {}
    for name, seen, content in texts:
        try:
            found = list(_outs_of(project, name, seen or git_oid(content), content, pipelines))
        except MlreproError as error:
            error.path = error.path or name
            error.hint = error.hint or f"git checkout -- {shlex.quote(name)}"
            listing.errors.append(error)
            continue
        for item in found:
            if item.path in taken:
                listing.errors.append(
                    PointerError(
                        f"{item.path} is named by two pointers: {taken[item.path]} and {name}",
                        f"git rm {name}",
                        path=name,
                    )
                )
                continue
            taken[item.path] = name
            listing.outs.append(item)
    return listing


def _outs_of(
    project: Project,
    name: str,
    seen: str,
    content: bytes,
    pipelines: Mapping[str, bytes] | None,
) -> Iterable[Tracked]:
    if is_lock(name):
        from mlrepro import dvc

        base = os.path.dirname(name)
        text = _pipeline(project, base) if pipelines is None else pipelines.get(name, b"")
        for one in dvc.lock_outs(content, name, text):
            found = Out(one.path, one.oid, one.size, one.nfiles, one.isexec, one.legacy)
            yield Tracked(os.path.normpath(os.path.join(base, one.path)), name, found, seen, False)
        return
    try:
        parsed = pointer.parse(content, name)
    except PointerUnknown:
        from mlrepro import dvc

        parsed = dvc.parse_pointer(content, name)
    for out in parsed.outs:
        yield Tracked(pointer.out_path(name, parsed, out), name, out, seen, parsed.exact)


def pipeline_of(lock: str) -> str:
    """The file that says which outputs of a lock file have blobs at all."""
    return os.path.join(os.path.dirname(lock), "dvc.yaml")


def _pipeline(project: Project, folder_: str) -> bytes:
    """The text of the ``dvc.yaml`` that says which outputs of a lock file have blobs at all."""
    try:
        with open(project.absolute(os.path.join(folder_, "dvc.yaml")), "rb") as file:
            return file.read(MAX_LOCK_BYTES)
    except OSError:
        return b""


def in_worktree(project: Project, names: Sequence[str] | None = None) -> Listing:
    """What the pointer files of the worktree say: all of them, or those named."""
    if names is None:
        listed = git.paths(git.run(project, "ls-files", "-z", "--cached", "--deduplicate"))
        every = [name for name in listed if is_pointer(name)]
        fresh = git.untracked(project, "*.dvc", f":(glob)**/{LOCK_FILE}")
        every += [name for name in fresh if is_pointer(name)]
        names = sorted(dict.fromkeys(every))
    texts = []
    errors: list[MlreproError] = []
    for name in names:
        path = project.absolute(name)
        try:
            if os.path.islink(path):
                raise PointerError(
                    f"The pointer is a symbolic link: {name}", f"git rm {name}", path=name
                )
            with open(path, "rb") as file:
                texts.append((name, "", file.read(pointer.MAX_POINTER_BYTES + 1)))
        except (FileNotFoundError, NotADirectoryError):
            continue  # removed in the worktree: no longer tracked here
        except OSError as error:
            errors.append(
                PointerError(
                    f"Cannot read {name}: {error.strerror}",
                    f"ls -ld {shlex.quote(name)}",
                    code="pointer-unreadable",
                    path=name,
                )
            )
        except PointerError as error:
            errors.append(error)
    listing = read_pointers(project, texts)
    listing.errors += errors
    return listing


def in_index(project: Project, entries: Entries) -> Listing:
    """What the pointers say as they are staged."""
    named: dict[str, str] = {}
    errors: list[MlreproError] = []
    for at, raw in enumerate(entries.names):
        if not raw.endswith((b".dvc", b".lock")):
            continue
        name = os.fsdecode(raw)
        if not is_pointer(name):
            continue
        if entries.stages[at]:
            if name not in {error.path for error in errors}:
                errors.append(conflict(name))
            continue
        named[name] = entries.oid(at)
    contents = _contents(project, named)
    listing = read_pointers(
        project, ((name, oid, contents.get(oid, b"")) for name, oid in named.items())
    )
    listing.errors += errors
    return listing


def _contents(project: Project, named: dict[str, str]) -> dict[str, bytes]:
    """The texts of pointers by git object: from the worktree where they are just those.

    That is nearly always so, and saves a git process.
    """
    contents: dict[str, bytes] = {}
    for name, oid in named.items():
        try:
            with open(project.absolute(name), "rb") as file:
                text = file.read(pointer.MAX_POINTER_BYTES)
        except OSError:
            continue
        if git_oid(text) == oid:
            contents[oid] = text
    missing = [oid for oid in named.values() if oid not in contents]
    return contents | git.blobs(project, missing, pointer.MAX_POINTER_BYTES)


def at_revision(project: Project, revision: str) -> Listing:
    """What the pointers say in a commit."""
    every = {name: oid for name, oid, _ in git.tree(project, revision)}
    named = {name: oid for name, oid in every.items() if is_pointer(name)}
    stages = {name: every.get(pipeline_of(name), "") for name in named if is_lock(name)}
    wanted = [*named.values(), *(oid for oid in stages.values() if oid)]
    contents = git.blobs(project, wanted, MAX_LOCK_BYTES)
    return read_pointers(
        project,
        ((name, oid, contents.get(oid, b"")) for name, oid in named.items()),
        {name: contents.get(oid, b"") for name, oid in stages.items()},
    )


def conflict(name: str) -> PointerError:
    """The error for a pointer that a merge left unresolved."""
    return PointerError(
        f"The pointer has a merge conflict: {name}",
        f"mlrepro resolve --ours {name}   (or --theirs, or --union for a folder)",
        code="pointer-conflict",
        path=name,
    )


@dataclass(slots=True)
class Data:
    """What lies at a tracked path now.

    ``oid``: "" where it is missing; ``size``: bytes; ``nfiles``: for a folder; ``tree``, ``walk``:
    for a folder, its members as hashed now; ``proven``: nothing had to be hashed.
    """

    path: str
    oid: str = ""
    size: int = 0
    nfiles: int | None = None
    isexec: bool = False
    stat: os.stat_result | None = None
    began_ns: int = 0
    tree: folder.Tree | None = None
    proven: bool = False
    error: MlreproError | None = None

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
    for path in paths:
        data = found[path] = Data(path)
        absolute = project.absolute(path)
        try:
            links = linked_parent(project, path)
            if links:
                raise PathError(
                    f"{path} lies behind a symbolic link: {links}",
                    "a tracked path is a real file or folder",
                    code="path-symlink",
                    path=path,
                )
            now = os.lstat(absolute)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            data.error = PathError(f"Cannot read {path}: {error.strerror}", path=path)
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
    parts = path.split("/")[:-1]
    for depth in range(1, len(parts) + 1):
        name = "/".join(parts[:depth])
        if os.path.islink(project.absolute(name)):
            return name
    return ""


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


def check_folder(path: str, found: folder.Walk, left_out: set[str]) -> None:
    """Refuse what DVC would refuse, drop or follow: links, devices, repositories inside."""
    for name in found.odd:
        if name not in left_out:
            raise PathError(
                f"{path}/{name} is neither a file nor a folder (a link, a pipe, a device).",
                "take it out of the folder, or name it in .dvcignore",
                code="path-not-regular",
                path=f"{path}/{name}",
            )
    for name in found.nested:
        raise PathError(
            f"{path}/{name} is a repository of its own inside a tracked folder.",
            "move it out of the folder",
            code="path-nested-repository",
            path=f"{path}/{name}",
        )
    for name in found.names:
        if f"/{name}".endswith("/.dvcignore") and name not in left_out:
            raise PathError(
                f"A .dvcignore file cannot lie in a tracked folder: {path}/{name}",
                "move its rules to a folder above",
                code="path-ignore-file",
                path=f"{path}/{name}",
            )


def _examine_folder(project: Project, data: Data, options: Options) -> None:
    try:
        plan = plan_folder(project, data.path)
        members = dict(plan.known)
        absolute = {project.absolute(f"{data.path}/{name}"): name for name in plan.fresh}
        report = engine.hash_files(list(absolute), jobs=options.jobs, reporter=options.reporter)
        for path, error in report.failed:
            error.path = f"{data.path}/{absolute[path]}"
            raise error
        for done in report.saved:
            members[absolute[done.path]] = done.oid
    except MlreproError as error:
        data.error = error
        return
    finish_folder(data, plan, members)


@dataclass(slots=True)
class FolderPlan:
    """What of a folder is proven (``known``: name → hash), what must be read (``fresh``)."""

    walk: folder.Walk
    known: dict[str, str]
    fresh: list[str]
    began_ns: int
    tree: folder.Tree | None = None  # set when nothing changed at all


def plan_folder(project: Project, path: str) -> FolderPlan:
    """List a folder and find which members have to be read. Raises PathError."""
    began = index.now_ns()
    try:
        found = folder.walk(project.root, path)
    except OSError as error:
        raise PathError(
            f"Cannot read {os.path.relpath(error.filename or path, project.root)}: "
            f"{error.strerror}",
            code="unreadable",
            path=path,
        ) from error
    tree = folder.load(project.state_dir, path)
    if tree is not None and tree.oid and tree.is_same(found):
        return FolderPlan(found, tree.members(), [], tree.began_ns, tree)
    out = dvcignore.left_out(project, path, found)
    check_folder(path, found, out)
    known = tree.unchanged(found) if tree is not None else {}
    known = {name: oid for name, oid in known.items() if name not in out and oid != "0" * 32}
    fresh = [name for name in found.names if name not in known and name not in out]
    # What was proven keeps the earlier date: the whole tree is only as old as its oldest hashing.
    # Racy files were read again, so the new date holds for everything that is not proven.
    return FolderPlan(found, known, fresh, began)


def finish_folder(data: Data, plan: FolderPlan, members: dict[str, str]) -> bytes:
    """Complete ``data`` from the hashes of all members; returns the listing's bytes."""
    listing = pointer.render_listing([pointer.Member(n, members[n]) for n in sorted(members)])
    if plan.tree is not None:
        data.oid, data.tree, data.proven = plan.tree.oid, plan.tree, True
    else:
        data.oid = pointer.listing_oid(listing)
        oids = bytes.fromhex("".join([members.get(name, "0" * 32) for name in plan.walk.names]))
        data.tree = folder.Tree(data.path, data.oid, plan.walk, oids, plan.began_ns)
    rows = plan.walk.numbers[:: folder.NUMBERS]
    data.size = sum(
        size for name, size in zip(plan.walk.names, rows, strict=True) if name in members
    )
    data.nfiles = len(members)
    data.began_ns = plan.began_ns
    return listing


def note(entry: index.Entry, data: Data, item: Tracked | None) -> None:
    """Carry what was found into the record's entry."""
    entry.hashed(data.oid, data.size, data.stat, data.began_ns)
    if item is not None:
        entry.seen, entry.named = item.seen, item.oid
