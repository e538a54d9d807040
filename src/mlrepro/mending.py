"""The store looked over and mended: what it has, what of that is damaged, where good copies are."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mlrepro import durable, engine, git, proof, transfer, worktree
from mlrepro import project as places
from mlrepro.errors import MlreproError
from mlrepro.remote import of as remote_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlrepro.history import Version
    from mlrepro.project import Project
    from mlrepro.proof import Problem, Proof
    from mlrepro.remote import Remote
    from mlrepro.result import Options
    from mlrepro.store import Store

SAVE_EVERY_BYTES = 1 << 30


def present(
    project: Project, target: Remote, every: Sequence[Version], options: Options
) -> dict[str, int]:
    """Every blob of the store and its size in bytes: a folder listed once, a network store asked."""
    if target.store is not None:
        return target.store.list_oids()
    from mlrepro import dvc, history

    wanted, _, _ = history.needs(project, every)
    blobs, _ = transfer.expand(wanted, [target.cache])
    oids = [need.oid for need in blobs]
    return dvc.exists(project.root, target.name, oids, jobs=options.jobs)


def read_all(project: Project, target: Remote, found: Proof, options: Options) -> list[Problem]:
    """Hash every needed blob that is in the store; returns those whose bytes are wrong.

    What was found right is written down as it goes, with the blob's stat, so that a run that was
    interrupted goes on; a run that came to its end starts anew the next time.
    """
    store = target.store
    if store is None:
        return []
    bad = {problem.oid for problem in found.problems}
    notes = os.path.join(project.state_dir, "verified")
    known = _known(notes)
    todo = [oid for oid in found.needed if oid not in bad]
    total = sum(info[1].st_size for oid in todo if (info := store.find(oid)) is not None)
    options.reporter.begin("verify", total)
    problems: list[Problem] = []
    since = 0
    try:
        for oid in todo:
            info = store.find(oid)
            if info is None:
                continue
            about = info[1]
            mark = f"{about.st_size} {about.st_mtime_ns} {about.st_ctime_ns} {about.st_ino}"
            if known.get(oid) != mark:
                state = engine.verify_blob(store, oid)
                if state != "ok":
                    version, path, _ = found.needed[oid]
                    problems.append(
                        proof.Problem(
                            version.commit, path, oid, proof.CORRUPT, version.pointer, version.blob
                        )
                    )
                    continue
                known[oid] = mark
                since += about.st_size
            options.reporter.advance(about.st_size)
            if since > SAVE_EVERY_BYTES:
                _note(notes, known)
                since = 0
    except BaseException:
        _note(notes, known)
        raise
    finally:
        options.reporter.end()
    if os.path.exists(notes):
        os.unlink(notes)
    return problems


def _known(notes: str) -> dict[str, str]:
    try:
        with open(notes, encoding="ascii") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    return dict(line.split(" ", 1) for line in lines if " " in line)


def _note(notes: str, known: dict[str, str]) -> None:
    os.makedirs(os.path.dirname(notes), exist_ok=True)
    text = "".join(f"{oid} {mark}\n" for oid, mark in known.items())
    durable.write_atomic(notes, text.encode(), durable=False)


def clones(project: Project, target: Remote) -> list[Store]:
    """The folders that may have a copy: our cache, those of other worktrees, and of the origin."""
    found = [target.cache]
    roots = []
    try:
        for line in git.run(project, "worktree", "list", "--porcelain").splitlines():
            if line.startswith(b"worktree "):
                roots.append(os.fsdecode(line[9:]))
    except MlreproError:
        roots = []
    origin = git.origin(project)
    for root in [*roots, *([origin] if origin else [])]:
        try:
            other = remote_of(places.find(root, {}), os.environ)
        except MlreproError:
            continue
        found += [other.cache] + ([other.store] if other.store is not None else [])
    kept: dict[str, Store] = {}
    own = os.path.realpath(target.store.root) if target.store is not None else ""
    for store in found:
        place = os.path.realpath(store.root)
        if place != own and os.path.isdir(place):
            kept.setdefault(place, store)
    return list(kept.values())


def copies(project: Project, target: Remote, problem: Problem) -> list[str]:
    """The folders at hand that have a blob of that name."""
    return [store.root for store in clones(project, target) if store.has(problem.oid, None)]


def mend(project: Project, target: Remote, found: Proof, options: Options) -> list[str]:
    """Put good copies of what is missing or bad into the store; returns what is whole again.

    A blob that is bad is set aside, never deleted, and only when it was hashed and found wrong.
    """
    wanted = {problem.oid for problem in found.problems if problem.oid}
    if not wanted:
        return []
    if target.store is None:
        needs = [transfer.Need(p.path, p.oid) for p in found.problems if p.oid]
        done = transfer.push(project, target, needs, options)
        lost = {need.oid for need in (*done.missing, *done.owed)}
        return [oid for oid in wanted if oid not in lost]
    store = target.store
    for oid in wanted:
        if engine.verify_blob(store, oid) not in ("ok", "missing"):
            store.quarantine(oid)
    for source in clones(project, target):
        left = [oid for oid in wanted if not store.has(oid, None)]
        # Hashed on the way: a copy that is bad as well is set aside where it is, and not spread.
        engine.copy_blobs(
            [(oid, None) for oid in left], source, store,
            jobs=options.jobs, reporter=options.reporter,
        )  # fmt: skip
    _from_worktree(project, target, {oid for oid in wanted if not store.has(oid, None)}, options)
    return [oid for oid in wanted if engine.verify_blob(store, oid) == "ok"]


def _from_worktree(project: Project, target: Remote, wanted: set[str], options: Options) -> None:
    """Save what is wanted from data in the worktree whose pointer names just that."""
    listing = worktree.in_worktree(project)
    paths = []
    for item in listing.outs:
        path = project.absolute(item.path)
        if item.oid in wanted and os.path.isfile(path) and not os.path.islink(path):
            paths.append(path)
        elif item.out.is_dir and os.path.isdir(path) and not os.path.islink(path):
            places_ = [target.cache] + ([target.store] if target.store is not None else [])
            members = transfer.listing_of(item.oid, places_) or []
            paths += [os.path.join(path, m.relpath) for m in members if m.oid in wanted]
    regular = [path for path in paths if os.path.isfile(path) and not os.path.islink(path)]
    if regular:
        hashed = engine.hash_files(regular, jobs=options.jobs, reporter=options.reporter)
        right = [one.path for one in hashed.saved if one.oid in wanted]
        target.cache.create()
        engine.save_files(right, target.cache, target.store, jobs=options.jobs)
