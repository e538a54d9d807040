"""Whether the store, and the cache, can keep and give back what commits need."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

from mlrepro import (
    config,
    debts,
    dvc,
    finding,
    history,
    locating,
    outputs,
    remote,
    staging,
    storeurl,
    transfer,
)
from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.errors import MlreproError, StoreError
from mlrepro.finding import Finding

if TYPE_CHECKING:
    from mlrepro.project import Project
    from mlrepro.remote import Remote
    from mlrepro.store import Store

LOW = 1 << 30  # bytes free, from which down it is told


def findings(project: Project) -> Iterator[Finding]:
    """All that is out of order, each with its mend; a network store is not asked."""
    try:
        target = locating.located(project, os.environ, write=False)
    except StoreError as error:
        yield finding.of(error)
        return
    except MlreproError:
        return  # told of by those who look at the settings
    yield from _place(project, target)
    yield from _agreement(project, target)
    yield from _stored(project, target)
    holders = [target.cache, *([target.store] if target.store is not None else [])]
    for holder in holders:
        yield from _temporary(holder)
        yield from _space(holder)


def notes(project: Project) -> Iterator[str]:
    """What is no fault, but good to know."""
    try:
        target = locating.located(project, os.environ, write=False)
    except MlreproError:
        return
    if target.is_network:
        yield f"{target.url} was not asked: mlrepro remote test tries it out"
    elif target.store is not None and _device(target.store.root) != _device(project.dvc_dir):
        yield "the store is on another disk than the cache: content is copied, not linked"


def _device(folder: str) -> int:
    """The file system of a folder; that of its place where it is not there."""
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return os.stat(folder).st_dev


def _place(project: Project, target: Remote) -> Iterator[Finding]:
    wrong = remote.problem(project, target)
    if wrong is not None:
        yield finding.of(wrong)
    elif target.store is not None:
        root = target.store.root
        room = os.path.join(root, ".mlrepro", "tmp")
        closed = next((one for one in (root, room) if os.path.isdir(one) and not _open(one)), "")
        if closed:
            yield Finding(
                "store-read-only",
                f"The store cannot be written to: {closed}",
                "mount it writable, or ask its owner for the right to write",
                closed,
            )
    else:
        try:
            dvc.require_extra(storeurl.scheme_of(target.url))
        except MlreproError as error:
            yield finding.of(error)
    local = remote.written_url(project, "config.local", target.name) if target.name else ""
    stale = local and "://" not in local and local != target.url and not os.path.isdir(local)
    if stale and os.path.isdir(target.url):
        yield Finding(
            "store-url-stale",
            f".dvc/config.local has an old place of the store: {local}",
            "mlrepro doctor --fix",
            ".dvc/config.local",
            lambda: locating.located(project, os.environ),
        )


def _open(folder: str) -> bool:
    return os.access(folder, os.W_OK) and not os.statvfs(folder).f_flag & os.ST_RDONLY


def _agreement(project: Project, target: Remote) -> Iterator[Finding]:
    """Whether config/config.py and DVC's settings name the same store."""
    try:
        wanted = config.load(project.root, os.environ).blob_store
    except MlreproError as error:
        if error.code != "config-missing":
            yield finding.of(error)
        return
    if not target.url:
        return
    tracked = remote.written_url(project, "config", target.name)
    places = (target.url, tracked, os.path.normpath(os.path.join(project.dvc_dir, tracked)))
    if wanted.rstrip("/") in [place.rstrip("/") for place in places]:
        return
    yield Finding(
        "blob-store-disagrees",
        f"BLOB_STORE in config/config.py is {wanted}, but DVC's remote {target.name} is "
        f"{target.url}.",
        f"mlrepro remote set {wanted} moves there; or correct config/config.py",
        config.CONFIG_FILE,
    )


def _stored(project: Project, target: Remote) -> Iterator[Finding]:
    owed = debts.owed(project)
    if owed:
        yield Finding(
            "blobs-owed",
            f"The store is owed content that only the cache has ({len(owed):,} blobs).",
            "mlrepro push",
        )
    store = target.store
    if store is None or remote.problem(project, target) is not None:
        return
    needs = history.needs_of(outputs.in_worktree(project).outs)
    blobs, lost = transfer.expand(needs, [target.cache, store])
    lacking = [need for need in blobs if not store.has(need.oid, need.size)]
    lost += [need for need in lacking if not target.cache.has(need.oid, need.size)]
    gone = {need.oid for need in lost}
    held = [need for need in lacking if need.oid not in gone]
    if held:
        yield Finding(
            "blobs-not-stored",
            f"{held[0].path}: its content is in the cache, but not in the store "
            f"({len(held):,} blobs in all).",
            "mlrepro push",
            held[0].path,
        )
    if lost:
        yield Finding(
            "blob-missing",
            f"{lost[0].path}: its content is in neither cache nor store "
            f"({len(lost):,} blobs in all).",
            "mlrepro verify --repair looks for copies; in a clone that has it: mlrepro push --all",
            lost[0].path,
        )


def _temporary(holder: Store) -> Iterator[Finding]:
    base = f"{holder.root}/.mlrepro/tmp"
    dead = staging.dead(base)
    if dead:
        yield Finding(
            "stray-files",
            f"Runs that were cut short left temporary files in {base} ({len(dead):,} of them).",
            "mlrepro doctor --fix",
            base,
            holder.sweep,
        )
    kept = os.path.join(base, staging.KEPT)
    if os.path.isdir(kept) and os.listdir(kept):
        yield Finding(
            "files-set-aside",
            f"Files that may be yours were set aside when a run was cut short: {kept}",
            f"look through {kept}, then remove it",
            kept,
        )


def _space(holder: Store) -> Iterator[Finding]:
    if not os.path.isdir(holder.root):
        return
    free = shutil.disk_usage(holder.root).free
    if free < LOW:
        yield Finding(
            "space-low",
            f"Only {free >> 20:,} MiB are free at {holder.root}.",
            "mlrepro gc",
            holder.root,
        )
