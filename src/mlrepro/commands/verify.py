"""verify: prove that commits can be restored, and mend the store where a good copy is at hand."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlrepro import git, mending, naming, proof, remote
from mlrepro.errors import BlobCorrupt, BlobMissing, MlreproError, PointerError, Refused
from mlrepro.proof import Problem
from mlrepro.result import Options, Result

if TYPE_CHECKING:
    from mlrepro.project import Project


@dataclass(frozen=True)
class VerifyResult(Result):
    """``commits`` looked at, how many are ``restorable``, and the ``blobs`` and ``bytes`` behind."""

    commits: int = 0
    restorable: int = 0
    blobs: int = 0
    bytes: int = 0
    problems: tuple[Problem, ...] = ()
    repaired: tuple[str, ...] = ()
    deep: bool = False

    def data(self) -> dict[str, Any]:
        return {
            "commits": self.commits,
            "restorable": self.restorable,
            "blobs": self.blobs,
            "bytes": self.bytes,
            "problems": [
                {"commit": p.commit.oid, "path": p.path, "oid": p.oid, "reason": p.reason}
                for p in self.problems
            ],
        }


def run(
    project: Project,
    revisions: Sequence[str],
    all_commits: bool,
    options: Options,
    deep: bool = False,
    repair: bool = False,
) -> VerifyResult:
    """Hold all that these commits (none named: HEAD) need against the store.

    ``deep`` hashes every blob; what was hashed is remembered, so that an interrupted run goes on.
    ``repair`` brings good copies of what is missing or bad, and sets bad blobs aside. Raises
    Refused in a shallow clone where all commits were asked for, StoreError for an unusable store.
    """
    naming.require_dvc(project)
    if all_commits and proof.is_shallow(project):
        raise Refused(
            "This clone is shallow: it does not know all commits, so nothing can be said of them.",
            "git fetch --unshallow",
            code="shallow-clone",
        )
    target = remote.located(project, os.environ, write=False)
    wrong = remote.problem(project, target)
    if wrong is not None:
        raise wrong
    named = list(revisions) or ([] if all_commits else ["HEAD"] if git.head(project) else [])
    commits = proof.commits_of(project, named, all_commits)
    every = proof.versions(project, commits, all_commits)
    present = mending.present(project, target, every, options)
    found = proof.prove(project, target, every, present)
    if deep:
        found.problems += mending.read_all(project, target, found, options)
    repaired: list[str] = []
    if repair and not options.dry_run:
        repaired = mending.mend(project, target, found, options)
        gone = set(repaired)
        found.problems = [problem for problem in found.problems if problem.oid not in gone]
    bad = proof.unrestorable(project, commits, found.problems)
    return VerifyResult(
        errors=tuple(_error(project, target, problem) for problem in found.problems),
        commits=len(commits),
        restorable=len(commits) - len(bad),
        blobs=len(found.needed),
        bytes=found.bytes,
        problems=tuple(found.problems),
        repaired=tuple(repaired),
        deep=deep,
    )


def _error(project: Project, target: remote.Remote, problem: Problem) -> MlreproError:
    """The problem as a line that names commit, path, author and date, and who could fill it."""
    commit = problem.commit
    by = f"{commit.oid[:10]} by {commit.author}, {commit.date[:10]}"
    about = {
        "path": problem.path,
        "oid": problem.oid,
        "commit": commit.oid,
        "author": commit.author,
        "date": commit.date,
    }
    if problem.reason == proof.BAD:
        return PointerError(
            f"{problem.path} cannot be read in {by}.", f"git show {problem.blob}", **about
        )
    if problem.reason == proof.MISSING:
        copies = mending.copies(project, target, problem)
        hint = "mlrepro verify --repair" if copies else "in a clone that has it: mlrepro push --all"
        has = f"; there is a copy in {copies[0]}" if copies else ""
        return BlobMissing(
            f"{problem.path} ({problem.oid}) is not in the store{has}; needed by {by}.",
            hint,
            **about,
        )
    return BlobCorrupt(
        f"{problem.path} ({problem.oid}) is damaged in the store ({problem.reason}); needed by "
        f"{by}.",
        "mlrepro verify --repair",
        **about,
    )
