"""Blobs between the cache and the store: what pointers need is put there, or brought from there."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlrepro import durable, engine, pointer, remote
from mlrepro.errors import BlobCorrupt, BlobMissing, MlreproError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mlrepro.project import Project
    from mlrepro.remote import Remote
    from mlrepro.result import Options
    from mlrepro.store import Store


@dataclass(frozen=True, slots=True)
class Need:
    """One blob that a pointer needs: for a folder one for its listing and one for each member."""

    path: str
    oid: str
    size: int | None = None
    pointer: str = ""
    commit: str = ""


@dataclass(slots=True)
class Stored:
    """What a transfer did: blobs and bytes newly stored, what is nowhere, what is owed."""

    count: int = 0
    bytes: int = 0
    missing: list[Need] = field(default_factory=list)
    owed: list[Need] = field(default_factory=list)
    errors: list[MlreproError] = field(default_factory=list)


def listing_of(
    oid: str, places: Iterable[Store], *, only_look: bool = False
) -> list[pointer.Member] | None:
    """The members of the folder ``oid``, from the first place that has its listing unharmed.

    One that is damaged is set aside, unless the caller is ``only_look``ing.
    """
    for place in places:
        for path in (place.path(oid), place.legacy_path(oid)):
            try:
                about = os.lstat(path)
                data = _read_listing(path) if stat.S_ISREG(about.st_mode) else b""
            except OSError:
                continue  # not there, or not for us to read: that does not prove it wrong
            if pointer.listing_oid(data) == oid:
                return pointer.parse_listing(data, oid)
            if not only_look:
                engine.set_aside(place, oid, path, about)
    return None


def _read_listing(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(pointer.MAX_LISTING_BYTES + 1)


def expand(
    needs: Iterable[Need], places: Sequence[Store], *, only_look: bool = False
) -> tuple[list[Need], list[Need]]:
    """Every blob that ``needs`` come to, members before their listing; and listings not found.

    Raises nothing for a listing that is bad: it counts as not found.
    """
    blobs: dict[str, Need] = {}
    lost: list[Need] = []
    for need in needs:
        if not need.oid or need.oid in blobs:
            continue
        if need.oid.endswith(".dir"):
            try:
                members = listing_of(need.oid, places, only_look=only_look)
            except MlreproError:
                members = None
            if members is None:
                lost.append(need)
                continue
            for member in members:
                if member.oid not in blobs:
                    path = f"{need.path}/{member.relpath}"
                    blobs[member.oid] = Need(path, member.oid, None, need.pointer, need.commit)
        blobs[need.oid] = need
    return list(blobs.values()), lost


def push(project: Project, target: Remote, needs: Sequence[Need], options: Options) -> Stored:
    """Put every blob that is needed into the store, from the cache.

    A blob that is already there is left; one that is in neither is ``missing``. For a network store
    that cannot be reached, the blobs are ``owed``. Raises StoreError for a folder that fails.
    """
    store = remote.usable(project, target, write=not options.dry_run)
    places = [target.cache] if store is None else [target.cache, store]
    if store is None or options.lane == "dvc":
        fetch_listings(project, target, needs, options)
    blobs, lost = expand(needs, places)
    result = Stored(missing=lost)
    if store is None or options.lane == "dvc":
        _upload(project, target, blobs, result, options)
        return result
    absent = [need for need in blobs if not _seems_stored(need, target.cache, store)]
    here = [need for need in absent if target.cache.has(need.oid, need.size)]
    if options.dry_run:
        result.missing += [need for need in absent if need not in here]
        result.count = len(here)
        result.bytes = sum(_size(target.cache, need.oid) for need in here)
        return result
    report = engine.copy_blobs(
        [(need.oid, need.size) for need in absent],
        target.cache,
        store,
        jobs=options.jobs,
        reporter=options.reporter,
        link_shared=False,  # DVC may have linked a cached blob to a user's file
    )
    by_oid = {need.oid: need for need in absent}
    result.count = len(report.copied)
    result.bytes = sum(_size(store, oid) for oid in report.copied)
    result.missing += [by_oid[oid] for oid in (*report.missing, *report.corrupt)]
    result.errors += [error for _, error in report.failed]
    left = {need.oid for need in result.missing}
    settle(project, [need.oid for need in blobs if need.oid not in left])
    return result


def _seems_stored(need: Need, cache: Store, store: Store) -> bool:
    """Whether the store has a blob, with the size that its pointer or else the cache says it has.

    Where cache and store differ, the one in the store is read: it may be the right one.
    """
    there = store.find(need.oid, need.size)
    if there is None:
        return False
    is_file = len(need.oid) == 32
    if need.size is not None and is_file:
        return there[1].st_size == need.size
    here = cache.find(need.oid)
    if here is None or here[1].st_size == there[1].st_size:
        return True
    try:
        return engine.verify_blob(store, need.oid) == "ok"
    except StoreError:
        return False  # what cannot be read cannot be restored from


def _size(place: Store, oid: str) -> int:
    found = place.find(oid)
    return found[1].st_size if found else 0


def corrupt(need: Need, place: Store) -> BlobCorrupt:
    """The error for a blob whose bytes are not what its name says; it was set aside."""
    return BlobCorrupt(
        f"The blob {need.oid} of {need.path} was damaged in {place.root}; it was set aside.",
        "mlrepro verify --repair looks for a good copy",
        path=need.path,
        oid=need.oid,
        commit=need.commit,
    )


def fetch_listings(
    project: Project, target: Remote, needs: Sequence[Need], options: Options
) -> None:
    """Bring the listings of folders into the cache, so that their members are known."""
    folders = [
        (need.oid, None)
        for need in needs
        if need.oid.endswith(".dir") and not target.cache.has(need.oid, None)
    ]
    if folders and not options.dry_run:
        from mlrepro import dvc

        try:
            dvc.download(
                project.root, target.name, folders, target.cache.root,
                jobs=options.jobs, reporter=options.reporter,
            )  # fmt: skip
        except StoreError:
            return  # the folders are then reported as not found


def _upload(
    project: Project, target: Remote, blobs: list[Need], result: Stored, options: Options
) -> None:
    from mlrepro import dvc

    by_oid = {need.oid: need for need in blobs}
    here = [need for need in blobs if target.cache.has(need.oid, need.size)]
    absent = [need for need in blobs if not target.cache.has(need.oid, need.size)]
    try:
        there = dvc.exists(project.root, target.name, list(by_oid), jobs=options.jobs)
        here = [need for need in here if there.get(need.oid) != _size(target.cache, need.oid)]
        wanted = [(need.oid, _size(target.cache, need.oid)) for need in here]
        if options.dry_run:
            result.count, result.bytes = len(wanted), sum(size for _, size in wanted)
            result.missing += [need for need in absent if need.oid not in there]
            return
        confirmed, failed = dvc.upload(
            project.root, target.name, wanted, target.cache.root,
            jobs=options.jobs, reporter=options.reporter,
        )  # fmt: skip
    except StoreError as error:
        if target.store is not None:
            raise  # a folder that fails refuses; only what is far away may be owed
        result.owed += here
        result.errors.append(error)
        owe(project, [need.oid for need in here])
        return
    result.count = len(confirmed)
    result.bytes = sum(size for oid, size in wanted if oid in set(confirmed))
    result.owed += [by_oid[oid] for oid in failed]
    result.errors += list(failed.values())
    result.missing += [need for need in absent if need.oid not in there]
    settle(project, [*confirmed, *there])
    owe(project, list(failed))


def absent(target: Remote, needs: Sequence[Need]) -> list[Need]:
    """The blobs that are needed and in neither cache nor store, as far as these are folders."""
    places = [target.cache] if target.store is None else [target.cache, target.store]
    blobs, lost = expand(needs, places)
    return lost + [
        need for need in blobs if not any(place.has(need.oid, need.size) for place in places)
    ]


def gather(
    project: Project,
    target: Remote,
    needs: Sequence[Need],
    options: Options,
    errors: list[MlreproError],
) -> dict[str, list[Need]]:
    """Fetch what these paths need, but in a dry run; what is nowhere, by the path that needs it.

    Why the store could not be asked is added to ``errors``.
    """
    wrong = remote.problem(project, target)
    errors += [wrong] if wrong is not None else []
    if not options.dry_run:
        nowhere = fetch(project, target, needs, options, errors)
    else:
        nowhere = absent(target, needs) if target.store is not None else []
    lost: dict[str, list[Need]] = {}
    paths = {need.path for need in needs}
    for need in nowhere:
        path = need.path
        while path not in paths:
            path = os.path.dirname(path)
        lost.setdefault(path, []).append(need)
    return lost


def fetch(
    project: Project,
    target: Remote,
    needs: Sequence[Need],
    options: Options,
    errors: list[MlreproError],
    *,
    to_cache: bool = False,
) -> list[Need]:
    """Bring every blob that is needed within reach; returns those that are nowhere.

    Why a network store could not be asked is added to ``errors``; what the cache has is served.
    From a store on another disk, or from a network store, they come into the cache, checked as they
    arrive. A store beside the cache is read by what puts them in place, and the cache gets a link
    once the bytes were found right; ``to_cache``: all are read, and linked, at once.
    """
    cache, store = target.cache, target.store
    if store is not None and remote.problem(project, target) is not None:
        store = None
    if store is None or options.lane == "dvc":
        if target.is_network or store is not None:
            try:
                _download(project, target, needs, options)
            except StoreError as error:
                errors.append(error)
        blobs, lost = expand(needs, [cache])
        return lost + [need for need in blobs if not cache.has(need.oid, need.size)]
    remote.register(project, store)
    cache.create()
    cache.sweep()
    blobs, lost = expand(needs, [cache, store])
    missing, to_copy = list(lost), []
    to_cache = to_cache or os.stat(store.root).st_dev != os.stat(cache.root).st_dev
    for need in blobs:
        if cache.has(need.oid, need.size):
            continue
        found = store.find(need.oid, need.size)
        if found is None and store.stat(need.oid) is None:
            missing.append(need)
        elif to_cache or found is None or need.oid.endswith(".dir"):
            to_copy.append(need)  # not a file at all: it is set aside, and told to be missing
        elif found[0] != store.path(need.oid):
            to_copy.append(need)
    if to_copy:
        report = engine.copy_blobs(
            [(need.oid, need.size) for need in to_copy], store, cache,
            jobs=options.jobs, reporter=options.reporter,
        )  # fmt: skip
        bad = {*report.missing, *report.corrupt}
        missing += [need for need in to_copy if need.oid in bad]
        errors += [error for _, error in report.failed]
    return missing


def _download(project: Project, target: Remote, needs: Sequence[Need], options: Options) -> None:
    from mlrepro import dvc

    fetch_listings(project, target, needs, options)
    blobs, _ = expand(needs, [target.cache])
    wanted = [(need.oid, need.size) for need in blobs if not target.cache.has(need.oid, need.size)]
    if wanted:
        dvc.download(
            project.root, target.name, wanted, target.cache.root,
            jobs=options.jobs, reporter=options.reporter,
        )  # fmt: skip


def owed(project: Project) -> list[str]:
    """The blobs that are in the cache only, because a network store could not be reached."""
    try:
        with open(_owed_file(project), encoding="ascii") as file:
            return [line for line in file.read().split() if pointer.is_oid(line)]
    except (OSError, UnicodeDecodeError):
        return []


def owe(project: Project, oids: Iterable[str]) -> None:
    """Note that these blobs still have to be stored."""
    _change_owed(project, set(oids), set())


def settle(project: Project, oids: Iterable[str]) -> None:
    """Note that these blobs are stored now."""
    _change_owed(project, set(), set(oids))


def _change_owed(project: Project, more: set[str], fewer: set[str]) -> None:
    if not more and not os.path.exists(_owed_file(project)):
        return
    os.makedirs(os.path.dirname(_owed_file(project)), exist_ok=True)
    with durable.Lock(_owed_file(project) + ".lock"):
        before = set(owed(project))
        after = (before | more) - fewer
        if after != before:
            data = "".join(oid + "\n" for oid in sorted(after)).encode()
            durable.write_atomic(_owed_file(project), data)


def _owed_file(project: Project) -> str:
    return os.path.join(project.common_dir, "mlrepro", "owed")


def lost(need: Need, *, author: str = "", date: str = "") -> BlobMissing:
    """The error for a blob that is in neither cache nor store."""
    who = f", committed by {author} on {date[:10]} in {need.commit[:10]}" if author else ""
    return BlobMissing(
        f"{need.path}: its content {need.oid} is in neither cache nor store{who}.",
        "in a clone that has it: mlrepro push; then here: mlrepro pull",
        path=need.path,
        oid=need.oid,
        commit=need.commit,
        author=author,
        date=date,
    )
