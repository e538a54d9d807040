"""Blobs between the cache and the store: what pointers come to, and putting that into the store."""

from __future__ import annotations

import os
import stat

from mlrepro import debts, engine, pointer, remote
from mlrepro.dataclass import TYPE_CHECKING, dataclass, field, replace
from mlrepro.errors import BlobCorrupt, BlobMissing, MlreproError, StoreError
from mlrepro.receipts import Receipts

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from mlrepro.project import Project
    from mlrepro.remote import Remote
    from mlrepro.result import Options
    from mlrepro.store import Store


@dataclass(frozen=True, slots=True)
class Need:
    """One blob that a pointer needs: for a folder one for its listing and one for each member.

    ``wrong``: why a listing that is there cannot be used; ``files``: the bytes of all files of a
    folder, as its pointer has them.
    """

    path: str
    oid: str
    size: int | None = None
    pointer: str = ""
    commit: str = ""
    wrong: MlreproError | None = field(default=None, compare=False)
    files: int | None = field(default=None, compare=False)


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
) -> pointer.Members | None:
    """The members of the folder ``oid``, from the first place that has its listing unharmed.

    One that is damaged is set aside, unless the caller is ``only_look``ing. Raises PointerError.
    """
    for place in places:
        for path in (place.path(oid), place.legacy_path(oid)):
            try:
                about = os.lstat(path)
                data = pointer.read_listing(path, oid) if stat.S_ISREG(about.st_mode) else b""
            except OSError:
                continue  # not there, or not for us to read: that does not prove it wrong
            if pointer.listing_oid(data) == oid:
                return pointer.parse_listing(data, oid)
            if not only_look:
                engine.set_aside(place, oid, path, about)
    return None


def listings(
    needs: Iterable[Need], places: Sequence[Store], *, only_look: bool = False
) -> tuple[list[tuple[Need, pointer.Members | None]], list[Need]]:
    """Each blob that is needed once, of a folder with its members; and listings not found.

    Raises nothing for a listing that is bad: it counts as not found.
    """
    found: dict[str, tuple[Need, pointer.Members | None]] = {}
    lost: list[Need] = []
    for need in needs:
        if not need.oid or need.oid in found:
            continue
        members = None
        if need.oid.endswith(".dir"):
            try:
                members = listing_of(need.oid, places, only_look=only_look)
            except MlreproError as error:
                lost.append(replace(need, wrong=error))
                continue
            if members is None:
                lost.append(need)
                continue
        found[need.oid] = (need, members)
    return list(found.values()), lost


def expand(
    needs: Iterable[Need], places: Sequence[Store], *, only_look: bool = False
) -> tuple[list[Need], list[Need]]:
    """Every blob that ``needs`` come to, members before their listing; and listings not found."""
    blobs: dict[str, Need] = {}
    found, lost = listings(needs, places, only_look=only_look)
    for need, members in found:
        for relpath, oid in members.pairs() if members is not None else ():
            if oid not in blobs:
                blobs[oid] = member_need(need, relpath, oid)
        blobs.setdefault(need.oid, need)
    return list(blobs.values()), lost


def member_need(folder: Need, relpath: str, oid: str) -> Need:
    """The need for one member of a folder."""
    return Need(f"{folder.path}/{relpath}", oid, None, folder.pointer, folder.commit)


def push(
    project: Project,
    target: Remote,
    needs: Sequence[Need],
    options: Options,
    *,
    trust: bool = True,
) -> Stored:
    """Put every blob that is needed into the store, from the cache.

    A blob that is already there is left; one that is in neither is ``missing``. For a network store
    that cannot be reached, the blobs are ``owed``; it is not asked for what it is known to have,
    unless without ``trust``. Raises StoreError for a folder that fails.
    """
    store = remote.usable(project, target, write=not options.dry_run)
    places = [target.cache] if store is None else [target.cache, store]
    if store is None or options.lane == "dvc":
        fetch_listings(project, target, needs, options)
    blobs, lost = expand(needs, places)
    result = Stored(missing=lost)
    if store is None or options.lane == "dvc":
        _upload(project, target, blobs, result, options, trust)
        return result
    absent = [need for need in blobs if not _seems_stored(need, target.cache, store)]
    if options.dry_run:
        here = [need for need in absent if target.cache.has(need.oid, need.size)]
        result.missing += [need for need in absent if need not in here]
        result.count = len(here)
        result.bytes = sum(_size(target.cache, need.oid) for need in here)
        return result
    target.cache.prepare()  # which anyone may remove: what it had is then missing, and named
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
    debts.settle(project, [need.oid for need in blobs if need.oid not in left])
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
) -> list[MlreproError]:
    """Bring the listings of folders into the cache, so that their members are known.

    Returns why that could not be done; one that the store does not have is no error here.
    """
    folders = [
        (need.oid, None)
        for need in needs
        if need.oid.endswith(".dir") and not target.cache.has(need.oid, None)
    ]
    if not folders or options.dry_run:
        return []
    try:
        return get(project, target, folders, options)
    except StoreError as error:
        return [error]


def get(
    project: Project, target: Remote, wanted: Sequence[tuple[str, int | None]], options: Options
) -> list[MlreproError]:
    """Bring blobs into the cache; returns why others could not be had than for being nowhere.

    The cache knows then which of them have just been hashed.
    """
    from mlrepro import dvc

    got, failed = dvc.download(
        project.root, target.name, wanted, target.cache.root,
        jobs=options.jobs, reporter=options.reporter, proven=target.cache.proven,
    )  # fmt: skip
    if target.is_network:
        Receipts(project.common_dir, target.place).add(got)
    errors: list[MlreproError] = []
    for error in failed.values():
        if not isinstance(error, BlobMissing):
            add_once(errors, error)
    return errors


def _upload(
    project: Project,
    target: Remote,
    blobs: list[Need],
    result: Stored,
    options: Options,
    trust: bool,
) -> None:
    from mlrepro import dvc

    known = Receipts(project.common_dir, target.place) if target.is_network else None
    by_oid = {need.oid: need for need in blobs}
    noted = known.known(by_oid) if known is not None else set()
    if trust:
        debts.settle(project, noted)
    asked = {oid: need for oid, need in by_oid.items() if not (trust and oid in noted)}
    if not asked:
        return
    here = [need for need in asked.values() if target.cache.has(need.oid, need.size)]
    sizes = {need.oid: _size(target.cache, need.oid) for need in here}
    wanted = [(oid, sizes.get(oid, need.size)) for oid, need in asked.items()]
    fresh: list[str] = []
    try:
        if options.dry_run:
            there = dvc.exists(project.root, target.name, asked, jobs=options.jobs)
            to_send = [oid for oid, size in sizes.items() if there.get(oid) != size]
            result.count, result.bytes = len(to_send), sum(sizes[oid] for oid in to_send)
            result.missing += [
                need for oid, need in asked.items() if oid not in there and oid not in sizes
            ]
            return
        confirmed, failed = dvc.upload(
            project.root, target.name, wanted, target.cache.root, jobs=options.jobs,
            reporter=options.reporter, known=known if trust and known else (), fresh=fresh,
        )  # fmt: skip
    except StoreError as error:
        if not target.is_network:
            raise  # a folder that fails refuses; only what is far away may be owed
        result.owed += [need for need in here if not _still_known(need.oid, error, noted)]
        result.errors.append(error)
        debts.owe(project, [need.oid for need in result.owed])
        return
    result.count = len(fresh)
    result.bytes = sum(sizes.get(oid, 0) for oid in fresh)
    unsure = {oid for oid, why in failed.items() if not _still_known(oid, why, noted)}
    for oid, why in failed.items():
        need = by_oid.get(oid) or Need("", oid)
        if isinstance(why, BlobMissing) and oid not in sizes:
            result.missing.append(need)
            continue
        if oid in unsure:
            result.owed.append(need)
        add_once(result.errors, why)
    if known is not None:
        known.add(confirmed)
        known.retract(unsure)
    debts.settle(project, confirmed)
    debts.owe(project, [need.oid for need in result.owed])


def _still_known(oid: str, why: MlreproError, noted: Collection[str]) -> bool:
    """Whether what the store was seen to have counts still: it did not answer, or nobody may ask.

    That there is no such store is an answer.
    """
    silent = ("remote-unreachable", "remote-forbidden", "remote-clock", "remote-region")
    return oid in noted and why.code in silent


def add_once(errors: list[MlreproError], error: MlreproError) -> None:
    """Add an error, unless it is the same news of the whole store again."""
    if error.code.startswith("remote-") and any(one.code == error.code for one in errors):
        return
    errors.append(error)


def absent(target: Remote, needs: Sequence[Need]) -> list[Need]:
    """The blobs that are needed and in neither cache nor store, as far as these are folders."""
    places = [target.cache] if target.store is None else [target.cache, target.store]
    blobs, lost = expand(needs, places)
    return lost + [
        need for need in blobs if not any(place.has(need.oid, need.size) for place in places)
    ]


def lost(need: Need, *, author: str = "", date: str = "") -> MlreproError:
    """The error for a blob that is in neither cache nor store, or for a listing that is no good."""
    if need.wrong is not None:
        return type(need.wrong)(
            f"{need.path}: {need.wrong.message}",
            need.wrong.hint or "mlrepro log shows who committed it",
            need.wrong.code,
            path=need.path,
            oid=need.oid,
            commit=need.commit,
            author=author,
            date=date,
        )
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
