"""post-merge, post-checkout, post-rewrite: the data follows the commit; what was edited is kept."""

from __future__ import annotations

import os

from mlrepro import damage, git, index, leaving, locating, materialize, outputs, remote, threeway
from mlrepro.amounts import many
from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.errors import MlreproError
from mlrepro.result import HookResult, Options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlrepro.outputs import Tracked
    from mlrepro.project import Project

# What the plan of a rebase has for commits to be made anew (git rebase, "INTERACTIVE MODE").
REMAKING = frozenset(
    ("pick", "p", "reword", "r", "edit", "e", "squash", "s", "fixup", "f", "merge", "m")
)


def run(project: Project, name: str, args: Sequence[str], options: Options) -> HookResult:
    """Bring the data that was not edited to the pointers of the commit that is checked out now."""
    if not _is_called_for(project, name, args):
        return HookResult(never_fails=True)
    record = index.load(project.state_dir)
    settled = threeway.settle(project, record)
    if settled:
        index.save(project.state_dir, settled)
    entries = git.entries(project)
    before = _before(project, name, args)
    seen = {entry.pointer: entry.seen for entry in record.entries.values()}
    now = {
        os.fsdecode(raw): entries.oid(at)
        for at, raw in enumerate(entries.names)
        if raw.endswith((b".dvc", b"dvc.lock")) and outputs.is_pointer(os.fsdecode(raw))
    }
    gone = [e for e in record.entries.values() if e.pointer in before and e.pointer not in now]
    in_step = all(entry.named == entry.synced for entry in record.entries.values())
    if in_step and not gone and all(seen.get(pointer) == oid for pointer, oid in now.items()):
        return HookResult(never_fails=True)
    target = locating.located(project, os.environ)
    listing = outputs.in_worktree(project, list(now))
    items = [item for item in listing.outs if _is_to_follow(project, item, record, before)]
    done = materialize.bring(project, target, items, record, options)
    leaving.take_away(project, target, gone, record, options, done)
    notes = [f"{path} has changes that are not saved; it was kept" for path in done.kept]
    if done.missing:
        first = done.missing[0]
        notes.append(
            f"in neither cache nor store: {many(len(done.missing), 'blob')} ({first.path}, "
            f"{first.oid}): mlrepro pull says more"
        )
        wrong = remote.problem(project, target)
        if wrong is not None:
            notes.append(wrong.message)
    notes += damage.notes(damage.found(target))
    notes += [error.message for error in (*done.errors, *listing.errors)]
    brought = [*done.restored, *done.removed]
    if brought:
        more = f" and {len(brought) - 1} more" if len(brought) > 1 else ""
        notes.insert(0, f"the data follows this commit: {brought[0]}{more}")
    return HookResult(notes=tuple(notes), never_fails=True)


def _is_called_for(project: Project, name: str, args: Sequence[str]) -> bool:
    """Not for a checkout of single files, and in a rebase only at its end."""
    if name == "post-rewrite":
        return not args or args[0] != "amend"
    if name == "post-checkout" and len(args) > 2 and args[2] != "1":
        return False
    return not _is_rebasing(project)


def _is_rebasing(project: Project) -> bool:
    """Whether a rebase is under way that will call post-rewrite at its end.

    It does not where no commit is left to be made anew: the branch was only behind.
    """
    if os.path.isdir(os.path.join(project.git_dir, "rebase-apply")):
        return True
    plan = os.path.join(project.git_dir, "rebase-merge", "git-rebase-todo")
    try:
        with open(plan, encoding="utf-8", errors="replace") as file:
            verbs = {line.split(maxsplit=1)[0] for line in file if line.strip()}
    except OSError:
        return os.path.isdir(os.path.join(project.git_dir, "rebase-merge"))
    return not REMAKING.isdisjoint(verbs)


def _before(project: Project, name: str, args: Sequence[str]) -> dict[str, str]:
    """The pointers of the commit that was left: name → git object."""
    revision = args[0] if name == "post-checkout" and args else _original(project)
    if not revision.strip("0"):
        return {}
    try:
        return {
            path: oid
            for path, oid, _ in git.tree(project, git.resolve(project, revision))
            if outputs.is_pointer(path)
        }
    except MlreproError:
        return {}


def _original(project: Project) -> str:
    """What HEAD was before the merge or rebase; a reset in the midst of one changes ORIG_HEAD."""
    for folder in ("rebase-merge", "rebase-apply"):
        try:
            with open(os.path.join(project.git_dir, folder, "orig-head"), encoding="ascii") as file:
                return file.read(100).strip()
        except (OSError, UnicodeDecodeError):
            continue
    return "ORIG_HEAD"


def _is_to_follow(
    project: Project, item: Tracked, record: index.Record, before: dict[str, str]
) -> bool:
    """Whether data is to follow: not where its pointer did not change since both were in step.

    Then what differs was edited here, files that were taken away out of a folder included.
    """
    entry = record.entries.get(item.path)
    if entry is None or before.get(item.pointer) != item.seen:
        return True
    return os.path.lexists(project.absolute(item.path)) and entry.synced != item.oid
