"""What DVC does in a worktree: add, commit, fetch, checkout, push, status, each outcome proven."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from mlrepro.dvc import pointers, sending, stages, transfer
from mlrepro.dvc.failures import translate
from mlrepro.dvc.inprocess import calling
from mlrepro.dvc.proof import Proof
from mlrepro.dvc.remote import Remote
from mlrepro.dvc.stages import Added, State
from mlrepro.dvc.transfer import Blob, Failures
from mlrepro.errors import FileChanging, MlreproError, PointerError
from mlrepro.lock import Lock
from mlrepro.result import Reporter
from mlrepro.store import Store

Errors = list[MlreproError]
_Call = Callable[[Sequence[str]], list[Any]]


class Session:
    """DVC's own ``Repo``, asked so that no user's file is touched and nothing is believed unseen.

    Paths are relative to the root. A target is a pointer (``data.csv.dvc``), a pipeline
    (``dvc.yaml``) or one stage of it (``dvc.yaml:train``). Each method serves what it can and
    returns the failures of the rest; it raises what concerns all, as where another DVC command
    holds the repository's lock.
    """

    def __init__(self, root: str, repo: Any) -> None:
        self.root = root
        self.repo = repo
        self.cache = Store(repo.cache.local_cache_dir)
        self._proof = Proof(self.cache)
        # One bad pointer does not stop the others; who asks for it by name is told.
        repo.stage_collection_error_handler = _ignore
        for odb in (repo.cache.local, repo.cache.legacy):
            stages.allow_only_oids(odb)

    def add(self, paths: Sequence[str]) -> tuple[list[Added], Errors]:
        """Do what ``dvc add`` does, but without replacing the user's file by a copy of the blob.

        What was saved is hashed again; if it is not what its name says (a file changed while it was
        read, or the cache was damaged), it is saved anew, and at last refused with its pointer as
        it was.
        """
        added: list[Added] = []
        errors: Errors = []
        usable = []
        for path in dict.fromkeys(paths):
            try:
                stages.check_path(self.root, path)
                usable.append(path)
            except MlreproError as error:
                error.path = error.path or path
                errors.append(error)

        def call(batch: Sequence[str]) -> list[Any]:
            return list(self.repo.add([self._absolute(path) for path in batch], relink=False))

        self._save(usable, call, added, errors)
        return added, errors

    def commit(self, targets: Sequence[str]) -> tuple[list[Added], Errors]:
        """Do what ``dvc commit --force`` does: refresh pointers, or stages in their ``dvc.lock``.

        A stage is then noted with its outputs and dependencies as they stand; what is missing in
        the workspace keeps its hash.
        """
        added: list[Added] = []
        errors: Errors = []

        def call(batch: Sequence[str]) -> list[Any]:
            # As dvc.repo.commit does it; but that takes a target apart at the signs "@" and ":",
            # which the path of the repository may have, and notes the run in a cache of runs, which
            # works only where the current folder is in the repository.
            from dvc.repo import lock_repo

            with lock_repo(self.repo):
                found = stages.load(self.repo, batch[0])
                for stage in found:
                    stage.save(allow_missing=True, run_cache=False)
                    stage.commit(allow_missing=True, relink=False)
                    stage.dump(update_pipeline=False)
            return found

        for target in dict.fromkeys(targets):
            self._save([target], call, added, errors)
        return added, errors

    def fetch(
        self,
        targets: Sequence[str],
        remote: str = "",
        *,
        jobs: int = 0,
        reporter: Reporter | None = None,
    ) -> tuple[list[str], Errors]:
        """Bring what targets need into the cache: from the store, or an import from its source.

        Returns the oids that are in the cache now, every one proven.
        """
        done: dict[str, None] = {}
        errors: Errors = []
        for target, stage, outs in self._each(targets, errors):
            for name, blobs in stages.by_remote(outs, remote).items():
                lacking = [blob for blob in blobs if self._problem(blob[0])]
                try:
                    failed = self._download(name, lacking, jobs, reporter or Reporter())
                except MlreproError as error:
                    failed = {oid: error for oid, _ in lacking}
                if failed and stage.is_import:
                    failed = self._import(target, failed)
                done.update((oid, None) for oid, _ in blobs if oid not in failed)
                errors += dict.fromkeys(failed.values())
        return list(done), errors

    def checkout(self, targets: Sequence[str]) -> tuple[list[str], Errors]:
        """Let DVC put the content of targets into the workspace, once all of it is proven.

        Refused where that would replace a change that is not in the cache. Returns the paths that
        are in place now.
        """
        done: list[str] = []
        errors: Errors = []
        for target, _, outs in self._each(targets, errors):
            problems = [self._problem(out.oid) for out in outs]
            missing = [error for error in problems if error is not None]
            errors += missing
            if missing or not outs:  # DVC would first remove what is there
                continue
            paths = [out.path for out in outs]
            try:
                with calling(path=target), self._turn():
                    self.repo.checkout(targets=[self._absolute(path) for path in paths])
            except MlreproError as error:
                errors.append(error)
                continue
            done += paths
        return done, errors

    def pull(
        self,
        targets: Sequence[str],
        remote: str = "",
        *,
        jobs: int = 0,
        reporter: Reporter | None = None,
    ) -> tuple[list[str], Errors]:
        """Fetch and check out; returns the paths that are in place now."""
        _, failed = self.fetch(targets, remote, jobs=jobs, reporter=reporter)
        done, errors = self.checkout(targets)
        return done, failed or errors

    def push(
        self,
        targets: Sequence[str],
        remote: str = "",
        *,
        jobs: int = 0,
        reporter: Reporter | None = None,
    ) -> tuple[list[str], Errors]:
        """Put what targets need into the store; returns the oids that were seen there."""
        wanted: dict[str, list[Blob]] = {}
        done: list[str] = []
        errors: Errors = []
        for _, _, outs in self._each(targets, errors):
            for name, blobs in stages.by_remote(outs, remote).items():
                wanted.setdefault(name, []).extend(blobs)
        for name, blobs in wanted.items():
            with calling(remote=name or "in use"):
                store = Remote(self.repo, name)
                sent, failed = sending.upload(
                    store, blobs, self.cache, jobs, reporter or Reporter()
                )
            done += sent
            errors += dict.fromkeys(failed.values())
        return done, errors

    def status(self) -> tuple[list[State], Errors]:
        """The outputs whose data is not as their pointers say; bad pointers are named as errors.

        Every file is hashed. Blobs are not looked at: DVC would delete one that it finds damaged.
        """
        errors: Errors = []

        def note(path: str, error: Exception) -> None:
            errors.append(translate(error, path=os.path.relpath(path, self.root)))

        with calling(), self._turn():
            from dvc.repo import lock_repo

            self.repo.stage_collection_error_handler = note
            try:
                with lock_repo(self.repo):
                    every = list(self.repo.index.stages)
                    found = [one for stage in every for one in stages.states_of(self.repo, stage)]
            finally:
                self.repo.stage_collection_error_handler = _ignore
        return found, errors

    def refreshed(self, name: str, updates: Mapping[str, pointers.Sizes]) -> bytes:
        """The text of a pointer with new content for some of its outputs: see write_pointer."""
        return pointers.refreshed(self.repo, name, updates)

    def _save(
        self,
        batch: Sequence[str],
        call: _Call,
        added: list[Added],
        errors: Errors,
        first: Mapping[str, stages.Texts] | None = None,
    ) -> None:
        """Let DVC save a batch, and prove it; where it fails as a whole, halves of it are tried.

        ``first``: this is the second try, and these are the pointers as before the first one.
        """
        if not batch:
            return
        before = first or {target: stages.texts_of(self.root, target) for target in batch}
        try:
            with calling() as records:
                with self._turn():
                    found = call(batch)
                outs = [stages.outs_of(self.repo, stage) for stage in found]
                wrong = [self._unproven(each) for each in outs]
        except MlreproError as error:
            if error.code == "dvc-locked":
                raise
            if len(batch) == 1:
                error.path = error.path or batch[0]
                errors.append(error)
                return
            middle = len(batch) // 2
            for half in (batch[:middle], batch[middle:]):
                self._save(half, call, added, errors, first)
            return
        owners = batch if len(found) == len(batch) else [batch[0]] * len(found)
        bad: dict[str, str] = {}
        for owner, each, oid in zip(owners, outs, wrong, strict=True):
            if oid:
                bad.setdefault(owner, oid)
            else:
                added += each
        for owner, oid in bad.items():
            if first is None:
                self._save([owner], call, added, errors, before)
                continue
            stages.restore(self.root, before[owner])
            errors.append(_logged(records, owner) or _changing(owner, oid))

    def _unproven(self, outs: Iterable[Added]) -> str:
        """The first blob of outputs that is missing or wrong, "" where there is none."""
        wrong = [oid for out in outs for oid in self._proof.unproven(out.oid, out.legacy)]
        return wrong[0] if wrong else ""

    def _problem(self, oid: str) -> MlreproError | None:
        with calling():
            return self._proof.problem(oid)

    def _download(
        self, name: str, blobs: Sequence[Blob], jobs: int, reporter: Reporter
    ) -> Failures:
        """Download blobs and what their listings name; the failures are by the blob asked for."""
        if not blobs:
            return {}
        with calling(remote=name or "in use"):
            store = Remote(self.repo, name)
            _, failed = transfer.download(store, blobs, self.cache, jobs, reporter)
            owner: dict[str, str] = {}
            for oid, _ in blobs:
                if len(oid) == 32 or oid in failed:
                    continue
                try:
                    listed = self._proof.members(oid, self._proof.is_legacy(oid))
                    owner.update((member.oid, oid) for member in listed)
                except PointerError as error:
                    failed[oid] = error
            more = [(oid, None) for oid in owner]
            _, lost = transfer.download(store, more, self.cache, jobs, reporter)
        return failed | {owner[oid]: error for oid, error in lost.items()}

    def _import(self, target: str, failed: Failures) -> Failures:
        """Let DVC bring an import from its source; what it brought is proven."""
        try:
            with calling(remote="that it was imported from", path=target) as records, self._turn():
                self.repo.fetch(targets=[self._absolute(target)])
        except MlreproError as error:
            return dict.fromkeys(failed, error)
        problems = {oid: self._problem(oid) for oid in failed}
        return {
            oid: _logged(records, target) or problem
            for oid, problem in problems.items()
            if problem is not None
        }

    def _each(
        self, targets: Iterable[str], errors: Errors
    ) -> Iterator[tuple[str, Any, list[Added]]]:
        """Each stage of each target, with those of its outputs that have a blob."""
        for target in dict.fromkeys(targets):
            try:
                with calling(path=target):
                    loaded = stages.load(self.repo, target)
                    found = [(stage, stages.outs_of(self.repo, stage)) for stage in loaded]
            except MlreproError as error:
                errors.append(error)
                continue
            for stage, outs in found:
                yield target, stage, outs

    def _turn(self) -> Lock:
        """Our own sessions wait for each other; DVC's lock, asked for three seconds, then fails."""
        return Lock(os.path.join(self.repo.tmp_dir, "mlrepro.lock"), wait=-1)

    def _absolute(self, path: str) -> str:
        return os.path.join(self.root, path)


def _ignore(_path: str, _error: Exception) -> None:
    """DVC's handler for a pointer that it cannot read."""


def _changing(path: str, oid: str) -> FileChanging:
    return FileChanging(
        f"{path} changed while it was saved, so nothing was noted of it.",
        "Wait until the program that writes it is done, then run this again",
        path=path,
        oid=oid,
    )


def _logged(records: Sequence[logging.LogRecord], path: str) -> MlreproError | None:
    """What DVC logged as an error instead of raising it."""
    for record in reversed(records):
        if record.levelno >= logging.ERROR and record.exc_info and record.exc_info[1]:
            return translate(record.exc_info[1], path=path)
    return None
