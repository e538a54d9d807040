"""Whether commits can be restored: what they need, held against what the store has."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlrepro import git, history, pointer, transfer
from mlrepro.errors import MlreproError

if TYPE_CHECKING:
    from mlrepro.history import Version
    from mlrepro.project import Project
    from mlrepro.remote import Remote
    from mlrepro.store import Store

MISSING, SIZE, CORRUPT, BAD = "missing", "size", "corrupt", "bad-pointer"


@dataclass(frozen=True, slots=True)
class Problem:
    """One gap: the first commit that needs it, and why it cannot be had (``reason``)."""

    commit: git.Commit
    path: str
    oid: str
    reason: str
    pointer: str
    blob: str  # git's object of the pointer that needs it


@dataclass(slots=True)
class Proof:
    """``needed``: every blob by its oid, with the version of a pointer that needs it first."""

    commits: list[str] = field(default_factory=list)
    needed: dict[str, tuple[Version, str, int | None]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    bytes: int = 0


def versions(project: Project, revisions: Sequence[str], everything: bool) -> list[Version]:
    """The versions of pointers in question: those in the commits named, or in every commit.

    Every commit means branches, tags, stashes, worktrees and what the reflogs still know.
    """
    if everything:
        return history.introduced(project, "--all", "--reflog")
    found: dict[tuple[str, str], Version] = {}
    for revision in revisions:
        commit = next(iter(git.log(project, "-1", revision)))
        for version in history.standing(project, commit):
            found.setdefault((version.pointer, version.blob), version)
    return list(found.values())


def prove(
    project: Project, target: Remote, every: Sequence[Version], present: dict[str, int]
) -> Proof:
    """Hold what the versions need against ``present`` (oid → bytes of every blob of the store)."""
    proof = Proof()
    contents = git.blobs(project, (version.blob for version in every))
    listings: dict[str, list[pointer.Member] | None] = {}
    places = [target.store, target.cache] if target.store is not None else [target.cache]
    parsed: dict[str, history.Parsed] = {}
    for version in every:
        known = parsed.get(version.blob)
        if known is None or known.pointer != version.pointer:
            known = history.parse(project, version, contents.get(version.blob, b""))
            parsed[version.blob] = known
        if known.error is not None:
            proof.problems.append(
                Problem(version.commit, version.pointer, "", BAD, version.pointer, version.blob)
            )
        for path, oid, size in known.outs:
            _need(proof, version, path, oid, size, listings, places)
    _compare(proof, present)
    return proof


def _need(
    proof: Proof,
    version: Version,
    path: str,
    oid: str,
    size: int | None,
    listings: dict[str, list[pointer.Member] | None],
    places: Sequence[Store],
) -> None:
    if oid in proof.needed:
        return
    is_dir = oid.endswith(".dir")
    proof.needed[oid] = (version, path, None if is_dir else size)
    if not is_dir:
        return
    if oid not in listings:
        try:
            listings[oid] = transfer.listing_of(oid, places)
        except MlreproError:
            listings[oid] = None
    for member in listings[oid] or ():
        if member.oid not in proof.needed:
            proof.needed[member.oid] = (version, f"{path}/{member.relpath}", None)


def _compare(proof: Proof, present: dict[str, int]) -> None:
    for oid, (version, path, size) in proof.needed.items():
        there = present.get(oid)
        if there is None:
            reason = MISSING
        elif size is not None and there != size:
            reason = SIZE
        else:
            proof.bytes += there
            continue
        proof.problems.append(
            Problem(version.commit, path, oid, reason, version.pointer, version.blob)
        )


def unrestorable(project: Project, commits: Sequence[str], problems: Iterable[Problem]) -> set[str]:
    """Which of the commits hold a version of a pointer that has a problem."""
    bad = {(problem.pointer, problem.blob) for problem in problems}
    names = [f"{commit}:{name}" for commit in commits for name, _ in bad if "\n" not in name]
    found = git.names(project, names)
    broken = {f":{name}": set[str]() for name, _ in bad}
    for name, blob in bad:
        broken[f":{name}"].add(blob)
    return {
        asked.partition(":")[0]
        for asked, blob in found.items()
        if blob in broken.get(":" + asked.partition(":")[2], ())
    }


def commits_of(project: Project, revisions: Sequence[str], everything: bool) -> list[str]:
    """The commits in question."""
    if everything:
        return git.commits(project, "--all", "--reflog")
    return [git.resolve(project, revision) for revision in revisions]


def is_shallow(project: Project) -> bool:
    """Whether this clone has only a part of its history."""
    return os.path.exists(os.path.join(project.common_dir, "shallow"))
