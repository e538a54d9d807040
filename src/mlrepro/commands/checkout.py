"""checkout: the whole snapshot of a commit, here or in a new worktree beside."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlrepro import git, history, index, leaving, materialize, naming, remote, transfer, worktree
from mlrepro import project as places
from mlrepro.errors import MlreproError, ProcessError, Refused
from mlrepro.result import Options, Result

if TYPE_CHECKING:
    from mlrepro.project import Project


@dataclass(frozen=True)
class CheckoutResult(Result):
    """The snapshot that is there now. ``into``: the folder of the new worktree, if one was made."""

    commit: str = ""
    into: str = ""
    restored: tuple[str, ...] = ()
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
) -> CheckoutResult:
    """Bring code, config, data and models to ``revision``.

    ``into``: a folder that is made as a worktree of its own; the present one is not touched. Code
    is git's to bring, which refuses where an edit would be lost; data that was edited is kept and
    named, or with ``force`` saved in the cache first.
    """
    naming.require_dvc(project)
    commit = git.resolve(project, revision)
    if options.dry_run:
        return _planned(project, commit, options)
    if into is not None:
        place = _beside(project, commit, into)
        return _bring(place, commit, [], options, force, into=place.root)
    record = index.load(project.state_dir)
    before = {item.pointer for item in worktree.in_worktree(project).outs}
    named = _branch(project, revision, commit)
    _git(project, ["checkout", "--quiet", named], named)
    now = {item.pointer for item in worktree.in_worktree(project).outs}
    gone = [entry for entry in record.entries.values() if entry.pointer in before - now]
    return _bring(project, commit, gone, options, force)


def _branch(project: Project, revision: str, commit: str) -> str:
    """What git is told to check out: a branch by its name, anything else by its commit."""
    known = git.text(
        project, "rev-parse", "--verify", "--quiet", f"refs/heads/{revision}", ok=(0, 1, 128)
    )
    return revision if known else commit


def _git(project: Project, args: list[str], named: str) -> None:
    """Let git bring the code; our own hook is silent meanwhile, since we bring the data."""
    try:
        git.run(project, *args, quiet_hooks=True)
    except ProcessError as error:
        lines = [line for line in error.stderr.splitlines() if line.strip()]
        raise Refused(
            f"git did not check out {named[:10]}: {lines[0] if lines else 'no reason given'}",
            "commit or stash your edits of code first: git stash",
            code="checkout-refused",
        ) from error


def _beside(project: Project, commit: str, into: str) -> Project:
    folder = os.path.abspath(os.path.join(project.cwd, into))
    if os.path.lexists(folder) and (not os.path.isdir(folder) or os.listdir(folder)):
        raise Refused(
            f"There is something at {folder} already.",
            "name a folder that does not exist yet",
            code="into-exists",
            path=into,
        )
    _git(project, ["worktree", "add", "--quiet", "--detach", folder, commit], commit)
    return places.find(folder, {})


def _bring(
    project: Project,
    commit: str,
    gone: list[index.Entry],
    options: Options,
    force: bool,
    into: str = "",
) -> CheckoutResult:
    target = remote.located(project, os.environ)
    record = index.load(project.state_dir)
    listing = worktree.in_worktree(project)
    done = materialize.bring(project, target, listing.outs, record, options, force=force)
    leaving.take_away(project, target, gone, record, options, done)
    gaps = history.gaps(project, done.missing, commit)
    errors: list[MlreproError] = [*listing.errors, *done.errors]
    errors += [transfer.lost(gap.need, author=gap.author, date=gap.date) for gap in gaps]
    errors += [materialize.kept(project, path) for path in done.kept]
    return CheckoutResult(
        errors=tuple(errors),
        commit=commit,
        into=into,
        restored=tuple(done.restored),
        kept=tuple(done.kept),
        missing=tuple(gaps),
        saved=tuple(done.saved),
    )


def _planned(project: Project, commit: str, options: Options) -> CheckoutResult:
    target = remote.located(project, os.environ, write=False)
    listing = worktree.at_revision(project, commit)
    record = index.load(project.state_dir)
    done = materialize.bring(project, target, listing.outs, record, options)
    return CheckoutResult(
        errors=tuple(listing.errors),
        commit=commit,
        restored=tuple(done.restored),
        kept=tuple(done.kept),
    )
