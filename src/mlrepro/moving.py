"""All that history needs, from one store to another: copied, and proven to be there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence

from mlrepro import engine, git, history, mending, outputs, proof, remote, transfer
from mlrepro.dataclass import TYPE_CHECKING, dataclass, field
from mlrepro.errors import MlreproError, Refused
from mlrepro.store import Store

if TYPE_CHECKING:
    from mlrepro.project import Project
    from mlrepro.remote import Remote
    from mlrepro.result import Options
    from mlrepro.transfer import Need

_WAVE_BLOBS, _WAVE_BYTES = 1_000, 1 << 30  # on their way from one network store to another


@dataclass(slots=True)
class Plan:
    """What is to be copied.

    ``sizes``: every blob that any commit, the index or the worktree needs, with its bytes where
    known; ``stored``: those that the old store has; ``cached``: of the others, those in the cache;
    ``lost``: those that are in neither.
    """

    sizes: dict[str, int | None] = field(default_factory=dict)
    stored: list[str] = field(default_factory=list)
    cached: list[str] = field(default_factory=list)
    lost: list[Need] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """Of all that is to be copied, as far as known."""
        return sum(self.sizes[oid] or 0 for oid in (*self.stored, *self.cached))


def plan(project: Project, old: Remote | None, options: Options) -> Plan:
    """What history needs, and where it is now; ``old``: a store that can be used, or None.

    Raises Refused in a shallow clone, StoreError where the old store does not answer.
    """
    if proof.is_shallow(project):
        raise Refused(
            "This clone is shallow: it does not know what earlier commits need.",
            "git fetch --unshallow",
            code="shallow-clone",
        )
    cache = remote.of(project, os.environ).cache
    every = proof.everything(project)
    present = mending.present(project, old, every, options) if old is not None else {}
    folder = old.store if old is not None else None
    found = proof.prove(project, every, present, folder, cache)
    wanted: dict[str, Need] = {
        oid: transfer.Need(every.name(version), oid, None, "", every.commit(version))
        for oid, version in found.needed.items()
    }
    now = outputs.in_worktree(project).outs
    staged = outputs.in_index(project, git.entries(project)).outs
    places = [place for place in (cache, folder) if place is not None]
    standing = history.needs_of([*now, *staged])
    if old is not None and old.is_network:
        transfer.fetch_listings(project, old, standing, options)
    blobs, unlisted = transfer.expand(standing, places)
    for need in (*blobs, *unlisted):
        wanted.setdefault(need.oid, need)
    bad = {oid for oid, reason in found.gaps if reason in (proof.SIZE, proof.CORRUPT)}
    return _sorted(wanted, present, bad, cache)


def _sorted(
    wanted: Mapping[str, Need], present: Mapping[str, int], bad: set[str], cache: Store
) -> Plan:
    made = Plan()
    # A folder's listing goes last: who has it, has all that it names.
    for oid in sorted(wanted, key=lambda one: (len(one), one)):
        held = cache.find(oid)
        size = present.get(oid, -1)
        made.sizes[oid] = size if size >= 0 else held[1].st_size if held else None
        if oid in present and not (oid in bad and held):
            made.stored.append(oid)
        elif held is not None:
            made.sizes[oid] = held[1].st_size
            made.cached.append(oid)
        else:
            made.lost.append(wanted[oid])
    return made


@dataclass(slots=True)
class Carried:
    """What became of it: blobs and bytes that the new store did not have, and what failed."""

    count: int = 0
    bytes: int = 0
    failed: dict[str, MlreproError] = field(default_factory=dict)


def carry(
    project: Project, made: Plan, old: Remote | None, cache: Store, new: Store | str,
    options: Options,
) -> Carried:  # fmt: skip
    """Copy what is planned into ``new``: a folder, or a remote of the DVC session that is open.

    Every blob is hashed on its way. What is there already stays, in a folder once it was hashed
    too, on the network if it has the right size. What the old store turns out to have damaged is
    taken from the cache. Raises StoreError where a store as a whole cannot be used.
    """
    done = Carried()
    there = _present(project, new, list(made.sizes), options)
    left = dict.fromkeys((*made.stored, *made.cached))
    if old is not None and made.stored:
        _from_store(project, made, old, new, made.stored, done, options)
    short = [oid for oid in left if oid in done.failed or oid in made.cached]
    held = [oid for oid in short if cache.find(oid) is not None]
    if held:
        again = _from_folder(project, made, cache, new, held, options)
        for oid in held:
            done.failed.pop(oid, None)
        done.failed.update(again)
    now = _present(project, new, list(left), options)
    for oid in left:
        size = made.sizes[oid]
        if oid not in done.failed and not _agrees(now.get(oid), size):
            done.failed[oid] = transfer.lost(transfer.Need(oid, oid))
        if oid not in there and oid not in done.failed:
            done.count += 1
            done.bytes += size or 0
    return done


def _agrees(found: int | None, size: int | None) -> bool:
    return found is not None and (found < 0 or size is None or found == size)


def _present(
    project: Project, new: Store | str, oids: Sequence[str], options: Options
) -> dict[str, int]:
    if isinstance(new, Store):
        return new.list_oids()
    from mlrepro import dvc

    return dvc.exists(project.root, new, oids, jobs=options.jobs)


def _from_folder(
    project: Project, made: Plan, source: Store, new: Store | str, oids: Sequence[str],
    options: Options,
) -> dict[str, MlreproError]:  # fmt: skip
    """Copy blobs out of a folder; why which of them could not be."""
    blobs = [(oid, made.sizes[oid]) for oid in oids]
    if not isinstance(new, Store):
        from mlrepro import dvc

        _, failed = dvc.upload(
            project.root, new, blobs, source.root, jobs=options.jobs, reporter=options.reporter
        )
        return failed
    report = engine.copy_blobs(
        blobs, source, new, jobs=options.jobs, reporter=options.reporter,
        link_shared=False, check_existing=True,
    )  # fmt: skip
    bad: dict[str, MlreproError] = dict(report.failed)
    for oid in (*report.missing, *report.corrupt):
        bad.setdefault(oid, transfer.corrupt(transfer.Need(oid, oid), source))
    return bad


def _from_store(
    project: Project, made: Plan, old: Remote, new: Store | str, oids: Sequence[str],
    done: Carried, options: Options,
) -> None:  # fmt: skip
    if old.store is not None:
        done.failed.update(_from_folder(project, made, old.store, new, oids, options))
        return
    from mlrepro import dvc

    blobs = [(oid, made.sizes[oid]) for oid in oids]
    if isinstance(new, Store):
        _, failed = dvc.download(
            project.root, old.name, blobs, new.root, jobs=options.jobs, reporter=options.reporter
        )
        done.failed.update(failed)
        return
    there = dvc.exists(project.root, new, oids, jobs=options.jobs)
    with dvc.session(project.root) as session:  # its folder goes with it, even if it is killed
        room = os.path.join(session.repo.site_cache_dir, "move")
    for wave in _waves([blob for blob in blobs if not _agrees(there.get(blob[0]), blob[1])]):
        try:
            os.makedirs(room, exist_ok=True)
            _, failed = dvc.download(
                project.root, old.name, wave, room, jobs=options.jobs, reporter=options.reporter
            )
            done.failed.update(failed)
            here = [oid for oid, _ in wave if oid not in failed]
            # A listing's members are in the new store by now: they went before it.
            again = _from_folder(project, made, Store(room), new, here, options)
            done.failed.update(again)
        finally:
            shutil.rmtree(room, ignore_errors=True)


def _waves(blobs: Sequence[tuple[str, int | None]]) -> list[list[tuple[str, int | None]]]:
    waves: list[list[tuple[str, int | None]]] = []
    room = 0
    for oid, size in blobs:
        if not waves or len(waves[-1]) >= _WAVE_BLOBS or room + (size or 0) > _WAVE_BYTES:
            waves.append([])
            room = 0
        waves[-1].append((oid, size))
        room += size or 0
    return waves
