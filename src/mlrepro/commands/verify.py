"""verify: prove that commits can be restored, and mend the store where a good copy is at hand."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from mlrepro import damage, git, lineage, locating, mending, naming, proof, remote
from mlrepro.amounts import many
from mlrepro.dataclass import TYPE_CHECKING, dataclass
from mlrepro.errors import BlobCorrupt, BlobMissing, MlreproError, PointerError, Refused
from mlrepro.result import Options, Result

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from mlrepro.lineage import Lineage
    from mlrepro.project import Project
    from mlrepro.proof import Problem, Proof
    from mlrepro.remote import Remote

MOST_TOLD = 100  # gaps that become errors of their own; all of them are in the data


@dataclass(frozen=True)
class VerifyResult(Result):
    """``commits`` looked at, how many are ``restorable``, and the ``blobs`` and ``bytes`` behind.

    ``repaired``: the blobs that the store lacked, or had damaged, and has now.
    """

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
    Refused in a shallow clone where all commits were asked for, StoreError for a store that cannot
    be used.
    """
    naming.require_dvc(project)
    target = _target(project, all_commits)
    named = list(revisions) or ([] if all_commits or not git.head(project) else ["HEAD"])
    commits = list(dict.fromkeys(git.resolve(project, revision) for revision in named))
    with ThreadPoolExecutor(1) as pool:  # the store is listed while git walks its history
        listed = pool.submit(target.store.list_oids) if target.store is not None else None
        every = proof.everything(project) if all_commits else proof.standing(project, commits)
        present = listed.result() if listed is not None else None
    check = _Check(project, target, every, options, present, deep=deep)
    check.read()
    if repair and not options.dry_run:
        target.sweep()
    if repair and check.found.gaps:
        check.repair()
    held = lineage.holding(project, every, check.found.bad)
    problems = proof.problems(project, every, check.found, named=not all_commits)
    return VerifyResult(
        errors=tuple(_errors(project, target, problems)),
        damaged=damage.tell(target, options),
        commits=len(every.commits),
        restorable=len(every.commits) - len(held),
        blobs=len(check.found.needed),
        bytes=check.found.bytes,
        problems=tuple(problems),
        repaired=tuple(check.repaired),
        deep=deep,
    )


def _target(project: Project, all_commits: bool) -> Remote:
    """The store to be looked at. Raises Refused, StoreError."""
    if all_commits and proof.is_shallow(project):
        raise Refused(
            "This clone is shallow: it does not know all commits, so nothing can be said of them.",
            "git fetch --unshallow",
            code="shallow-clone",
        )
    target = locating.located(project, os.environ, write=False)
    wrong = remote.problem(project, target)
    if wrong is not None:
        raise wrong
    return target


class _Check:
    """The proof, and what was done for a better one: each step is proven anew."""

    def __init__(
        self,
        project: Project,
        target: Remote,
        every: Lineage,
        options: Options,
        present: Mapping[str, int] | None = None,
        *,
        deep: bool = False,
    ) -> None:
        self.deep = deep
        self.project = project
        self.target = target
        self.every = every
        self.options = options
        self.corrupt: dict[str, str] = {}
        self.repaired: list[str] = []
        self._read: set[str] = set()
        self._gone: set[str] = set()
        self._present: Mapping[str, int] = {}
        self.found = self._prove(present)

    def _prove(self, present: Mapping[str, int] | None = None) -> Proof:
        target = self.target
        if present is None:
            present = mending.present(self.project, target, self.every, self.options)
        self._present = present
        return proof.prove(
            self.project, self.every, present, target.store, target.cache, self.corrupt
        )

    def read(self) -> None:
        """Hash what is needed and there and was not read yet, if not ``deep`` only the suspects."""
        while self.deep or self.target.store is not None:
            wanted = self.found.needed if self.deep else self.found.suspects
            todo = {
                oid: self._present[oid]
                for oid in wanted
                if oid in self._present and oid not in self._read
            }
            if not todo:
                return
            self._read.update(todo)
            wrong, gone = mending.read_all(self.project, self.target, todo, self.options)
            if not (wrong or gone):
                return
            self.corrupt.update(wrong)
            self.corrupt.update((oid, "it comes and goes") for oid in gone & self._gone)
            self._read -= gone - self._gone  # one that is back is read then
            self._gone |= gone
            self.found = self._prove()

    def repair(self) -> None:
        """Bring good copies; what a listing that came back names may be lacking as well."""
        tried: list[str] | None = None
        while True:
            oids = [oid for oid, reason in self.found.gaps if reason != proof.BAD]
            if self.options.dry_run:
                self.repaired = sorted(mending.copies(self.project, self.target, oids))
                return
            if not oids or oids == tried:
                return
            tried = oids
            whole, right = mending.mend(self.project, self.target, oids, self.options, self.corrupt)
            self.repaired += whole
            for oid in (*whole, *right):
                self.corrupt.pop(oid, None)
            self.found = self._prove()
            self.read()


def _errors(project: Project, target: Remote, problems: Sequence[Problem]) -> list[MlreproError]:
    """The problems as errors; where they are very many, the first, and how many more."""
    told = problems[:MOST_TOLD]
    copies = mending.copies(project, target, [p.oid for p in told if p.reason != proof.BAD])
    errors = [_error(problem, copies) for problem in told]
    more = len(problems) - len(told)
    if more:
        errors.append(
            MlreproError(
                f"{many(more, 'more gap')} like these.",
                "mlrepro --json verify lists all of them",
                code="more-problems",
            )
        )
    return errors


def _error(problem: Problem, copies: Mapping[str, str]) -> MlreproError:
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
            f"{problem.path} cannot be read as it is in {by}: {problem.why}",
            f"git show {commit.oid[:10]}",
            **about,
        )
    has = f"; there is a copy in {copies[problem.oid]}" if problem.oid in copies else ""
    hint = "mlrepro verify --repair" if has else "in a clone that has it: mlrepro push --all"
    if problem.reason == proof.MISSING:
        return BlobMissing(
            f"{problem.path} ({problem.oid}) is not in the store{has}; needed by {by}.",
            hint,
            **about,
        )
    why = f" ({problem.why})" if problem.why else ""
    return BlobCorrupt(
        f"{problem.path} ({problem.oid}) is damaged in the store{why}{has}; needed by {by}.",
        "mlrepro verify --deep --repair" if has and problem.reason == proof.CORRUPT else hint,
        **about,
    )
