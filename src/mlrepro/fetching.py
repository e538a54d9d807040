"""Blobs from the store to where data is put together: the cache, or a store beside it."""

from __future__ import annotations

import os

from mlrepro import engine, remote, transfer
from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.errors import StoreError
from mlrepro.presence import Presence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlrepro.errors import MlreproError
    from mlrepro.pointer import Members
    from mlrepro.project import Project
    from mlrepro.remote import Remote
    from mlrepro.result import Options
    from mlrepro.store import Store
    from mlrepro.transfer import Need


_IN_PLACE, _ELSEWHERE, _NOWHERE = "in place", "elsewhere", "nowhere"


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
        nowhere = transfer.absent(target, needs) if target.store is not None else []
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

    Raises StoreError ``disk-full`` where a download would certainly not find room.

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
            for error in _download(project, target, needs, options):
                transfer.add_once(errors, error)
        blobs, lost = transfer.expand(needs, [cache])
        return lost + [need for need in blobs if not cache.has(need.oid, need.size)]
    remote.register(project, store)
    cache.create()
    cache.sweep()
    found, lost = transfer.listings(needs, [cache, store])
    missing, to_copy = list(lost), []
    to_cache = to_cache or os.stat(store.root).st_dev != os.stat(cache.root).st_dev
    count = sum(1 if members is None else 1 + len(members) for _, members in found)
    here, there = Presence(cache, count), Presence(store, count)
    for need in _to_look_at(found, here, None if to_cache else there):
        place = _placed(there, store, need)
        if place == _NOWHERE:
            missing.append(need)
        elif to_cache or place == _ELSEWHERE or need.oid.endswith(".dir"):
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


def _to_look_at(
    found: Sequence[tuple[Need, Members | None]], here: Presence, there: Presence | None
) -> list[Need]:
    """What is not ``here``, nor among the members of folders that are in place ``there``."""
    late: dict[str, Need] = {}
    for need, members in found:
        for relpath, oid in members.pairs() if members is not None else ():
            if not (here.has(oid) or (there is not None and there.is_in_place(oid))):
                late.setdefault(oid, transfer.member_need(need, relpath, oid))
        if not here.has(need.oid, need.size):
            late.setdefault(need.oid, need)
    return list(late.values())


def _placed(there: Presence, store: Store, need: Need) -> str:
    """Where the store has a blob: where DVC 3 puts it, elsewhere or not as a file, or nowhere."""
    if need.size is None and there.is_in_place(need.oid):
        return _IN_PLACE
    found = store.find(need.oid, need.size)
    if found is not None:
        return _IN_PLACE if found[0] == store.path(need.oid) else _ELSEWHERE
    # Not a file at all: it is set aside when it is to be copied, and told to be missing.
    return _NOWHERE if store.stat(need.oid) is None else _ELSEWHERE


def _download(
    project: Project, target: Remote, needs: Sequence[Need], options: Options
) -> list[MlreproError]:
    errors = transfer.fetch_listings(project, target, needs, options)
    blobs, _ = transfer.expand(needs, [target.cache])
    lacking = [need for need in blobs if not target.cache.has(need.oid, need.size)]
    if not lacking:
        return errors
    from mlrepro import room  # only where something comes from far away

    room.require(project, target, needs, lacking, options)
    wanted = [(need.oid, need.size) for need in lacking]
    try:
        return errors + transfer.get(project, target, wanted, options)
    except StoreError as error:
        return [*errors, error]
