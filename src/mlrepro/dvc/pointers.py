"""Reads and refreshes pointers and ``dvc.lock`` files that say more than the fast lane knows."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from mlrepro import plainfile
from mlrepro.dataclass import dataclass
from mlrepro.dvc import bounds
from mlrepro.dvc.inprocess import calling
from mlrepro.errors import PointerError
from mlrepro.pointer import MAX_POINTER_BYTES, Out, Pointer, is_oid, out_path, path_problem

MAX_LOCK_BYTES = 1 << 22
Sizes = tuple[str, int | None, int | None, bool]  # oid, size, nfiles, isexec


@dataclass(frozen=True, slots=True)
class LockOut:
    """One output of a pipeline stage as ``dvc.lock`` has it.

    ``path`` is relative to the folder of the lock file; the other fields are those of an Out.
    """

    stage: str
    path: str
    oid: str
    size: int | None
    nfiles: int | None = None
    isexec: bool = False
    legacy: bool = False


def parse_pointer(text: bytes, name: str) -> Pointer:
    """Read a pointer that may be anything DVC's own schema allows (dvc.schema).

    Outputs that DVC does not keep in its cache (``cache: false``, as metrics often are) are left
    out, since there is no blob of them; imports are read as any other. The result is never
    ``exact``: only ``write_pointer`` may refresh such a file. ``name`` is the pointer's path
    relative to the root. Raises PointerError: bigger than 1 MiB, not YAML, anchors or aliases,
    not what DVC allows, a path that leaves the repository, or kept in a way that has no blobs.
    """
    data = _load(text, name, MAX_POINTER_BYTES)
    with calling(path=name):
        from dvc.schema import COMPILED_SINGLE_STAGE_SCHEMA

        data = _validated(COMPILED_SINGLE_STAGE_SCHEMA, data, name)
    wdir = data.get("wdir") or "."
    if data.get("cmd"):
        _refuse(name, "it holds a command, as DVC 0.x wrote; see: dvc repro")
    outs = []
    for entry in data.get("outs") or []:
        if entry.get("cache") is False:
            continue
        path = entry.get("path", "")
        wrong = path_problem(path)
        if wrong:
            _refuse(name, f"the path {path[:80]!r} {wrong}")
        _resolve(name, wdir, path)
        outs.append(Out(path, *_content(entry, name, path), legacy=_is_legacy(entry, name)))
    return Pointer(outs=tuple(outs), wdir=wdir, exact=False)


def parse_lock(lock: bytes, name: str = "dvc.lock", pipeline: bytes = b"") -> list[LockOut]:
    """The outputs that the stages of a ``dvc.lock`` file name, without those that have no blob.

    ``pipeline`` is the text of the ``dvc.yaml`` beside it. Only that says which outputs are not
    cached (``cache: false``) and in which folder a stage runs (``wdir``): without it every output
    counts as cached, and as lying beside the file. Raises PointerError as parse_pointer does.
    """
    data = _load(lock, name, MAX_LOCK_BYTES)
    with calling(path=name):
        from dvc.schema import COMPILED_LOCKFILE_SCHEMA

        data = _validated(COMPILED_LOCKFILE_SCHEMA, data, name)
    where = posixpath.join(posixpath.dirname(name), "dvc.yaml")
    known = _load(pipeline, where, MAX_LOCK_BYTES, aliases=True).get("stages") if pipeline else None
    found = []
    for stage, entry in (data.get("stages") or {}).items():
        folder, uncached = _definition(known, stage, where)
        for out in entry.get("outs") or []:
            path = out["path"]
            if any(pattern.fullmatch(path) for pattern in uncached):
                continue
            inside = _resolve(name, folder, path)
            path = posixpath.relpath(inside, posixpath.dirname(name) or ".")
            oid, size, nfiles, isexec = _content(out, name, path)
            found.append(LockOut(stage, path, oid, size, nfiles, isexec, _is_legacy(out, name)))
    return found


def refreshed(repo: Any, name: str, updates: Mapping[str, Sizes]) -> bytes:
    """The text of the pointer ``name`` with new content for some of its outputs.

    ``updates``: by path as the pointer writes it. Comments, order, ``meta`` and ``desc`` stay, by
    DVC's own way of dumping a stage. Raises PointerError, also for a path it does not name.
    """
    path = os.path.join(repo.root_dir, name)
    before = plainfile.read(repo.root_dir, name, MAX_POINTER_BYTES + 1)
    wdir = parse_pointer(before, name).wdir
    wanted = {_resolve(name, wdir, key): value for key, value in updates.items()}
    with calling(path=name):
        from dvc.dvcfile import load_file
        from dvc.stage.serialize import to_single_stage_file
        from dvc.utils.serialize import dumps_yaml
        from dvc_data.hashfile.hash_info import HashInfo
        from dvc_data.hashfile.meta import Meta

        stage = load_file(repo, path).stage
        for out in stage.outs:
            value = wanted.pop(os.path.relpath(out.fs_path, repo.root_dir), None)
            if value is None:
                continue
            oid, size, nfiles, isexec = value
            out.hash_name, out.files = "md5", None
            out.hash_info = HashInfo("md5", oid)
            out.meta = Meta(size=size, nfiles=nfiles, isexec=isexec, isdir=oid.endswith(".dir"))
        if stage.md5:
            stage.md5 = stage.compute_md5()
        text: str = dumps_yaml(to_single_stage_file(stage))
    for path in wanted:
        raise PointerError(f"{name} does not name {path}.", "mlrepro status", path=name)
    return text.encode()


def _load(text: bytes, name: str, most: int, *, aliases: bool = False) -> dict[str, Any]:
    """The mapping that a YAML text holds, read so that no text can make it take long."""
    with calling(path=name):
        data = bounds.load(text, most, lambda why: _refuse(name, why), aliases=aliases)
    if not isinstance(data, dict):
        _refuse(name, "it is not a mapping")
    return data


def _validated(schema: Any, data: dict[str, Any], name: str) -> dict[str, Any]:
    from voluptuous import Invalid

    try:
        checked: dict[str, Any] = schema(data)
    except Invalid as error:
        where = " in " + " -> ".join(str(step) for step in error.path) if error.path else ""
        _refuse(name, f"{error.msg}{where}")
    return checked


def _content(entry: Mapping[str, Any], name: str, path: str) -> Sizes:
    """oid, size, nfiles and isexec of one output; raises PointerError for one without a blob."""
    if entry.get("files") or entry.get("cloud"):
        _refuse(name, f"{path} is kept by a cloud's own versions, not as blobs")
    oid = entry.get("md5") or ""
    if not oid and (entry.get("etag") or entry.get("checksum")):
        _refuse(name, f"{path} lies outside the repository")
    if oid and not is_oid(oid):
        _refuse(name, f"{path} has a hash that is none: {oid[:40]!r}")
    size, nfiles = entry.get("size"), entry.get("nfiles")
    if any(number is not None and number < 0 for number in (size, nfiles)):
        _refuse(name, f"{path} has a size below zero")
    return oid, size, nfiles, bool(entry.get("isexec"))


def _is_legacy(entry: Mapping[str, Any], name: str) -> bool:
    """Whether the hash is one of DVC 2, which turned line ends before hashing a text."""
    kind = entry.get("hash")
    if kind not in (None, "md5"):
        _refuse(name, f"it uses a hash that is not known: {str(kind)[:20]!r}")
    return kind is None


def _resolve(name: str, wdir: str, path: str) -> str:
    """The path of an output relative to the root; raises PointerError where it is not inside."""
    for part in (wdir, path):
        if part.startswith("/") or "://" in part:
            _refuse(name, f"it names a path outside the repository: {part[:80]!r}")
    if not path:
        _refuse(name, "it has an output without a path")
    return out_path(name, Pointer((), wdir), Out(path, ""))


def _definition(stages: Any, stage: str, where: str) -> tuple[str, list[re.Pattern[str]]]:
    """The folder that a stage runs in, and patterns of the outputs that it does not cache.

    ``${...}`` in a path of ``dvc.yaml`` stands for anything here; what it means depends on other
    files. In ``wdir``, only ``${item}`` of a stage made by ``foreach`` can be told.
    """
    if not isinstance(stages, dict):
        return ".", []
    base, at, item = stage.partition("@")
    entry = stages.get(stage) or stages.get(base)
    if not isinstance(entry, dict):
        return ".", []
    entry = entry["do"] if at and isinstance(entry.get("do"), dict) else entry
    wdir = str(entry.get("wdir") or ".").replace("${item}", item)
    if "${" in wdir:
        _refuse(where, f"the folder of stage {stage} depends on other files: {wdir[:80]}")
    uncached = []
    for kind in ("outs", "metrics", "plots"):
        listed = entry.get(kind)
        for line in listed if isinstance(listed, list) else ():
            for path, flags in line.items() if isinstance(line, dict) else ():
                if isinstance(flags, dict) and flags.get("cache") is False:
                    uncached.append(_pattern(str(path)))
    return wdir, uncached


def _pattern(path: str) -> re.Pattern[str]:
    parts: Iterable[str] = re.split(r"\$\{[^}]*\}", path)
    return re.compile("[^/]*".join(re.escape(part) for part in parts))


def _refuse(name: str, why: str) -> NoReturn:
    raise PointerError(
        f"{name} cannot be read as a pointer: {why}.", f"git checkout -- {name}", path=name
    )
