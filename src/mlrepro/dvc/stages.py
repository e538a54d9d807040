"""What DVC's stages say of their outputs, and which files of the worktree a target stands for."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from typing import Any

from mlrepro import plainfile, pointer, writing
from mlrepro.dataclass import dataclass
from mlrepro.dvc import pointers
from mlrepro.dvc.ignoring import left_out
from mlrepro.dvc.transfer import Blob
from mlrepro.errors import PathError, PointerError, PointerUnknown

Texts = dict[str, bytes | None]  # by name relative to the root; None: there is no such file
_DVC_YAML, _DVC_LOCK = "dvc.yaml", "dvc.lock"


@dataclass(frozen=True, slots=True)
class Added:
    """One output that DVC saved, or knows as saved.

    ``path`` and ``pointer`` are relative to the root; for a stage, ``pointer`` is its ``dvc.lock``.
    ``size`` is in bytes, ``nfiles`` None for a single file. ``legacy``: hashed and laid out as by
    DVC 2; ``remote``: a store of its own, where it has one.
    """

    path: str
    pointer: str
    oid: str
    size: int | None
    nfiles: int | None = None
    isexec: bool = False
    legacy: bool = False
    remote: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """How data stands to its pointer: ``new`` (nothing saved yet), ``modified``, ``deleted``."""

    path: str
    pointer: str
    state: str


def load(repo: Any, target: str) -> list[Any]:
    """DVC's stages of a target; raises PointerError for one that is not there, and DVC's errors."""
    from dvc.dvcfile import load_file

    name, _, stage = target.partition(":") if f"{_DVC_YAML}:" in target else (target, "", "")
    path = os.path.join(repo.root_dir, name)
    if not os.path.isfile(path) or os.path.islink(path):
        raise PointerError(f"There is no such pointer: {name}", code="pointer-missing", path=name)
    stages = load_file(repo, path).stages
    return [stages[stage]] if stage else list(stages.values())


def outs_of(repo: Any, stage: Any) -> list[Added]:
    """The outputs of a stage that have a blob. Raises PointerError for a hash that is none."""
    found = []
    name = pointer_of(repo, stage)
    for out in stage.outs:
        oid = out.hash_info.value if out.hash_info else None
        if not out.use_cache or not oid or not out.is_in_repo:
            continue
        if not pointer.is_oid(oid):
            raise PointerError(f"{name} has a hash that is none: {oid[:40]!r}", path=name)
        path = os.path.relpath(out.fs_path, repo.root_dir)
        found.append(Added(
            path, name, oid, out.meta.size, out.meta.nfiles, bool(out.meta.isexec),
            out.hash_name != "md5", out.remote or "",
        ))  # fmt: skip
    return found


def states_of(repo: Any, stage: Any) -> list[State]:
    """The outputs of a stage whose data in the workspace is not as noted."""
    name = pointer_of(repo, stage)
    return [
        State(os.path.relpath(out.fs_path, repo.root_dir), name, state)
        for out in stage.outs
        if out.use_cache and out.is_in_repo
        for state in out.workspace_status().values()
    ]


def pointer_of(repo: Any, stage: Any) -> str:
    """The file that names the outputs of a stage, relative to the root."""
    folder, base = os.path.split(os.path.relpath(stage.path, repo.root_dir))
    return os.path.join(folder, _DVC_LOCK if base == _DVC_YAML else base)


def by_remote(outs: Iterable[Added], remote: str) -> dict[str, list[Blob]]:
    """The blobs of outputs, by the store that each has to be in: its own, else ``remote``."""
    found: dict[str, list[Blob]] = {}
    for out in outs:
        size = None if out.oid.endswith(".dir") else out.size
        found.setdefault(out.remote or remote, []).append((out.oid, size))
    return found


def allow_only_oids(odb: Any) -> None:
    """Let nothing but an oid name a blob of DVC's: a pointer may hold a path in its place."""
    original = odb.oid_to_path

    def checked(oid: str) -> str:
        if not pointer.is_oid(oid):
            raise PointerError(f"A pointer has a hash that is none: {oid[:40]!r}")
        path: str = original(oid)
        return path

    odb.oid_to_path = checked


def check_path(root: str, path: str) -> None:
    """Raise PathError for data that DVC would follow out of the repository, or hang on.

    And PointerError where its pointer is damaged: DVC would write over it.
    """
    wrong = pointer.path_problem(path)
    if wrong:
        raise PathError(f"The path {path!r} {wrong}.", "Rename it", path=path)
    _check_pointer(root, path + ".dvc")
    top = os.path.join(root, path)
    if not os.path.lexists(top):
        raise PathError(f"{path} is not there.", "mlrepro pull", code="path-missing", path=path)
    if os.path.realpath(top) != os.path.join(os.path.realpath(root), path):
        raise PathError(
            f"{path} leads through a symbolic link.",
            "Name the place that it leads to",
            code="path-symlink",
            path=path,
        )
    odd = [
        os.path.relpath(os.path.join(folder, name), root)
        for folder, names, files in (os.walk(top) if os.path.isdir(top) else [(root, [], [path])])
        for name in (*names, *files)
        if not _is_plain(os.path.join(folder, name))
    ]
    for name in set(odd) - left_out(root, odd) if odd else ():
        raise PathError(
            f"{name} is neither a file nor a folder.",
            "Put a plain file in its place, or name it in .dvcignore",
            code="path-not-regular",
            path=name,
        )


def _is_plain(path: str) -> bool:
    mode = os.lstat(path).st_mode
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


def _check_pointer(root: str, name: str) -> None:
    try:
        text = plainfile.read(root, name, pointer.MAX_POINTER_BYTES + 1)
    except FileNotFoundError:
        return
    try:
        pointer.parse(text, name)
    except PointerUnknown:
        pointers.parse_pointer(text, name)


def texts_of(root: str, target: str) -> Texts:
    """The files that saving a target may write, as they are now; None for what is not there.

    ``target`` is also a path of data: its own pointer, or that of a folder around it, may change.
    """
    folder, base = os.path.split(target)
    if base.startswith(_DVC_YAML):
        names = [os.path.join(folder, _DVC_LOCK)]
    else:
        names = [target if base.endswith(".dvc") else target + ".dvc"]
    while folder:
        names.append(folder + ".dvc")
        folder = os.path.dirname(folder)
    found: Texts = {}
    for name in names:
        try:
            found[name] = plainfile.read(root, name, pointers.MAX_LOCK_BYTES)
        except (OSError, PathError):
            found[name] = None
    return found


def restore(root: str, texts: Texts) -> None:
    """Give files that DVC wrote the content they had before, or none."""
    for name, text in texts.items():
        path = os.path.join(root, name)
        if text is not None:
            writing.write_atomic(path, text)
        elif os.path.isfile(path):
            os.unlink(path)
