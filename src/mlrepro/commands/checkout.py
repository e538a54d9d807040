"""checkout: the whole snapshot of a commit, here or in a new worktree beside."""

from __future__ import annotations

import os
import re

from mlrepro import (
    beside,
    git,
    gitlock,
    halfway,
    history,
    index,
    locating,
    materialize,
    naming,
    outputs,
    remote,
    returning,
    threeway,
    transfer,
)
from mlrepro.dataclass import TYPE_CHECKING, dataclass, replace
from mlrepro.errors import MlreproError, ProcessError, Refused
from mlrepro.result import Options, Result

_NAMED = re.compile(r"'(.+)' (?:not uptodate|would be)|overwritten by checkout:\n\t(.+)")

if TYPE_CHECKING:
    from typing import Any

    from mlrepro.materialize import Brought
    from mlrepro.outputs import Tracked
    from mlrepro.project import Project


@dataclass(frozen=True)
class CheckoutResult(Result):
    """The snapshot that is there now. ``into``: the folder of the new worktree, if one was made;
    ``left``: the branch, or else the commit, that was left for no branch.
    """

    commit: str = ""
    into: str = ""
    left: str = ""
    restored: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    missing: tuple[history.Gap, ...] = ()
    saved: tuple[tuple[str, str], ...] = ()

    def data(self) -> dict[str, Any]:
        return {
            "commit": self.commit,
            "restored": list(self.restored),
            "missing": [gap.data() for gap in self.missing],
        }


def run(
    project: Project,
    revision: str,
    into: str | None,
    options: Options,
    force: bool = False,
    link: bool = False,
) -> CheckoutResult:
    """Bring code, config, data and models to ``revision``.

    ``into``: a folder that is made as a worktree of its own, beside the present one, which is not
    touched; with ``link`` its data are hard links to the blobs. Here: where code or data was
    edited and would be replaced, nothing is done at all and each such path is named; with ``force``
    edited data is saved in the cache first. Raises Refused for code, and a taken folder.
    """
    commit = git.resolve(project, revision)
    then = outputs.at_revision(project, commit)
    if not then.outs:
        _require_dvc(project, commit)
    if into is not None:
        return _beside(project, commit, into, then, options, link)
    broken = halfway.of(project)
    work = _Work(project, commit, then, options, force, broken)
    if work.errors:
        return CheckoutResult(tuple(work.errors), commit, kept=tuple(work.done.kept))
    if options.dry_run:
        return work.result()
    left = _where(project)
    named = _branch(project, revision, commit)
    if named != commit:
        _check_branch(project, named, commit)
    gitlock.free(halfway.locks(project))
    if broken is not None:
        halfway.undo(project, broken)
    work.carry_out(named, revision)
    return work.result("" if named != commit else left)


def _require_dvc(project: Project, commit: str) -> None:
    """Raise RepositoryError where neither the worktree nor the commit knows of any data."""
    if not git.names(project, [f"{commit}:.dvc/config"]):
        naming.require_dvc(project)


def _where(project: Project) -> str:
    """The branch that is checked out, or else the commit."""
    name = git.text(project, "symbolic-ref", "--quiet", "--short", "HEAD", ok=(0, 1))
    return name or git.head(project)[:10]


def _branch(project: Project, revision: str, commit: str) -> str:
    """What git is told to check out: a branch by its name, anything else by its commit."""
    name = git.text(
        project, "rev-parse", "--symbolic-full-name", "--end-of-options", revision, ok=(0, 128)
    ).splitlines()[-1:]
    heads = "refs/heads/"
    return name[0][len(heads) :] if name and name[0].startswith(heads) else commit


def _check_branch(project: Project, name: str, commit: str) -> None:
    """Raise Refused for a branch that another worktree has: git lets one alone have it."""
    show = ["--format=%(HEAD)%(worktreepath)", f"refs/heads/{name}"]
    place = git.text(project, "for-each-ref", *show).strip("\n")
    if place[:1] != "*" and place.strip():
        raise Refused(
            f"The worktree {place.strip()} has {name} checked out; a second one cannot have it.",
            f"work there, or check out its commit: mlrepro checkout {commit[:10]}",
            code="checkout-refused",
            path=place.strip(),
        )


class _Work:
    """A checkout here: all is looked at first, and nothing done where anything is in the way."""

    def __init__(
        self,
        project: Project,
        commit: str,
        then: outputs.Listing,
        options: Options,
        force: bool,
        broken: halfway.Halfway | None,
    ) -> None:
        self.project = project
        self.commit = commit
        self.then = then
        self.options = options
        self.force = force
        self.before: list[Tracked] = []
        self.target = remote.of(project, os.environ)
        if os.path.isdir(project.dvc_dir):
            self.before = outputs.in_worktree(project).outs
            if broken is not None:  # what its pointers were before it
                left = outputs.at_revision(project, broken.left).outs
                known = {item.path for item in left}
                self.before = left + [item for item in self.before if item.path not in known]
            self._stay_with_what_is_new()
            self.target = locating.located(project, os.environ, write=not options.dry_run)
        looking = replace(options, dry_run=True)
        self.done = self._leave(looking)
        gone = tuple(path + "/" for path in self.done.removed)
        seen = self._bring(looking)
        listed = git.listed(project, seen.kept)
        # What goes before is not in the way, and neither is what git itself has there now.
        seen.kept = [p for p in seen.kept if p not in listed and not (p + "/").startswith(gone)]
        seen.errors = [error for error in seen.errors if error.code != "kind-changed"]
        returning.merge(self.done, seen)
        self.errors = self._kept()

    def _stay_with_what_is_new(self) -> None:
        """Leave out what was tracked just now: git takes a pointer along that no commit has."""
        then, head = {item.path for item in self.then.outs}, git.head(self.project)
        gone = [f"{head}:{item.pointer}" for item in self.before if item.path not in then]
        known = git.names(self.project, gone) if head and gone else set()
        self.before = [
            item for item in self.before if item.path in then or f"{head}:{item.pointer}" in known
        ]

    def _record(self, options: Options) -> index.Record:
        record = index.load(self.project.state_dir)
        settled = threeway.settle(self.project, record)
        if settled and not options.dry_run:
            index.save(self.project.state_dir, settled)
        return record

    def _leave(self, options: Options) -> Brought:
        record = self._record(options)
        return returning.leave(
            self.project, self.target, self.then.outs, self.before, record, options,
            force=self.force,
        )  # fmt: skip

    def _bring(self, options: Options) -> Brought:
        record = self._record(options)
        done = materialize.bring(
            self.project, self.target, self.then.outs, record, options, force=self.force
        )
        # An edit of what both commits have alike goes along, as one of code does.
        was = {item.path: item.seen for item in self.before}
        alike = tuple(i.path + "/" for i in self.then.outs if was.get(i.path) == i.seen)
        done.kept = [path for path in done.kept if not (path + "/").startswith(alike)]
        return done

    def _kept(self) -> list[MlreproError]:
        verb = f"checkout {self.commit[:10]}"
        return [returning.kept(self.project, path, verb) for path in self.done.kept]

    def carry_out(self, named: str, revision: str) -> None:
        """Take away what is not in the commit, let git bring the code, then bring the data."""
        project = self.project
        _check_code(project, self.commit)
        try:
            with halfway.Noted(project, revision, self.commit):
                self.done = self._leave(self.options)
                if not self.done.kept:
                    line = ["checkout", "--quiet", "--no-overwrite-ignore", named, "--"]
                    _git(project, line, named)
        except MlreproError as error:
            self._put_back()
            returning.tell_saved(project, self.target, self.done.saved, self.options)
            if halfway.of(project) is None and not halfway.locks(project):
                halfway.end(project)
                raise
            raise halfway.broken_off(project, revision, error) from error
        halfway.end(project)
        if self.done.kept:  # edited since it was looked at
            self._put_back()
            self.done.removed = []
            self.errors = self._kept()
            return
        # Git takes along that a pointer was removed, as by a move that is not committed.
        outs = self.then.outs
        outs[:] = [item for item in outs if os.path.lexists(project.absolute(item.pointer))]
        if os.path.isdir(project.dvc_dir) and outs:
            self.target = locating.located(project, os.environ)
            returning.merge(self.done, self._bring(self.options))
        self.errors = self._kept()

    def _put_back(self) -> None:
        """Bring back what was taken away, and nothing that was not there before either.

        What git has taken the pointer of stays away: it would lie there for no commit to name.
        """
        gone, kept = self.done.removed, self.done.kept  # of a folder, perhaps only a part
        here = {(item.path, item.seen) for item in outputs.in_worktree(self.project).outs}
        items = [
            item
            for item in self.before
            if (item.path, item.seen) in here
            and (item.path in gone or any(path.startswith(item.path + "/") for path in kept))
        ]
        record = index.load(self.project.state_dir)
        materialize.bring(self.project, self.target, items, record, self.options)

    def result(self, left: str = "") -> CheckoutResult:
        """What came of it."""
        done = self.done
        gaps = history.gaps(self.project, done.missing, self.commit)
        errors = [*self.errors, *self.then.errors, *done.errors]
        returning.tell_saved(self.project, self.target, done.saved, self.options)
        return CheckoutResult(
            errors=(*errors, *history.lost(gaps, done.unreachable)),
            commit=self.commit,
            left=left,
            restored=tuple(done.restored),
            removed=tuple(done.removed),
            kept=tuple(done.kept),
            missing=tuple(gaps),
            saved=tuple(done.saved),
        )


def _check_code(project: Project, commit: str) -> None:
    """Raise Refused where git would not bring the code, since an edit would be lost."""
    if git.head(project):
        git.run(project, "update-index", "-q", "--refresh", ok=(0, 1))
        _git(project, ["read-tree", "-n", "-m", "-u", "HEAD", commit], commit)


def _git(project: Project, args: list[str], named: str) -> None:
    """Let git bring the code; our own hook is silent meanwhile, since we bring the data."""
    try:
        git.run(project, *args, quiet_hooks=True)
    except ProcessError as error:
        lines = [line.strip() for line in error.stderr.splitlines() if line.strip()]
        # Plumbing has the name in the line, quoted; checkout has all names below, indented.
        path = _NAMED.search(error.stderr)
        if path is not None:
            name = path[1] or path[2]
            raise Refused(
                f"{name} has changes that are not committed, and git would overwrite them.",
                "git stash, or commit them; then check out again",
                code="checkout-refused",
                path=name,
            ) from error
        why = (lines[0] if lines else "it gave no reason").removeprefix("error: ")
        raise Refused(
            f"git did not check out {named}: {why.removeprefix('fatal: ')}",
            "git status says what is under way",
            code="checkout-refused",
        ) from error


def _beside(
    project: Project,
    commit: str,
    into: str,
    then: outputs.Listing,
    options: Options,
    link: bool,
) -> CheckoutResult:
    """The snapshot in a worktree of its own."""
    target = locating.located(project, os.environ, write=not options.dry_run)
    folder = beside.choose(project, into)
    if options.dry_run:
        missing = transfer.absent(target, history.needs_of(then.outs, commit))
        restored = [item.path for item in then.outs]
        gaps = history.gaps(project, missing, commit)
        errors = history.lost(gaps, [])
        return CheckoutResult(
            tuple(errors), commit, folder, "", tuple(restored), missing=tuple(gaps)
        )
    _git(project, ["worktree", "add", "--quiet", "--detach", folder, commit], commit)
    place = beside.ready(project, folder)
    listing = outputs.in_worktree(place)
    target = locating.located(place, os.environ)
    done = materialize.Brought()
    beside.share_cache(project, target, listing.outs)
    if link:
        beside.link_data(place, target, listing.outs, options, done)
    record = index.load(place.state_dir)
    brought = materialize.bring(place, target, listing.outs, record, options)
    returning.merge(done, brought)
    gaps = history.gaps(place, done.missing, commit)
    errors = [*listing.errors, *done.errors, *history.lost(gaps, brought.unreachable)]
    errors += [returning.kept(place, path, "pull") for path in done.kept]
    return CheckoutResult(
        errors=tuple(errors),
        commit=commit,
        into=folder,
        restored=tuple(done.restored),
        kept=tuple(done.kept),
        missing=tuple(gaps),
    )
