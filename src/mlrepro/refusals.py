"""What may not be committed: broken pointers, raw data, large files, secrets."""

from __future__ import annotations

import os

from mlrepro import dvcconfig, git, gitindex, outputs
from mlrepro.dataclass import TYPE_CHECKING, dataclass, field
from mlrepro.errors import MlreproError, Refused
from mlrepro.safepath import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlrepro.committing import Commit
    from mlrepro.gitindex import Entries
    from mlrepro.outputs import Tracked
    from mlrepro.project import Project
    from mlrepro.worktree import Data


@dataclass(slots=True)
class Found:
    """The pointers of the commit, which of them it changes, and what is wrong with it.

    ``staged``: the index differs from HEAD at all.
    ``cleared``: git objects that were looked at and need not be again.
    """

    listing: outputs.Listing
    staged: bool = False
    changed: set[str] = field(default_factory=set)
    cleared: list[str] = field(default_factory=list)
    errors: list[MlreproError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def look(project: Project, entries: Entries, commit: Commit, known: Mapping[str, str]) -> Found:
    """Look the index over for what the commit may not hold.

    ``known``: files that are in order, and their pointers, which are not read again.
    """
    head = git.head(project)
    changes = git.staged_against(project, head, commit.index)
    staged = {path: new for status, _, new, path in changes if status in "AMT"}
    found = Found(outputs.in_index(project, entries, known))
    found.staged = bool(changes)
    found.changed = {path for path in staged if outputs.is_pointer(path)}
    for error in found.listing.errors:
        if error.path in found.changed or error.code == "pointer-conflict":
            found.errors.append(error)
        else:
            found.notes.append(f"{error.message}")
    _raw_data(project, found, staged)
    _large(project, entries, staged, found)
    _secrets(project, entries, found)
    named = {item.pointer for item in found.listing.outs}.union(known.values())
    named.update(error.path for error in found.listing.errors)
    for at, name in enumerate(entries.names):
        text = os.fsdecode(name)
        if outputs.is_pointer(text) and text not in named and not entries.stages[at]:
            found.cleared.append(entries.oid(at))
    return found


def _raw_data(project: Project, found: Found, staged: dict[str, str]) -> None:
    """Tracked data that is staged itself: git would keep it for ever."""
    outs = {item.path: item for item in found.listing.outs}
    for path in staged:
        owner = path
        while owner and owner not in outs:
            owner = os.path.dirname(owner)
        if owner:
            found.errors.append(
                Refused(
                    f"{path} is staged in git, but {outs[owner].pointer} tracks it already.",
                    f"git rm -r --cached {quoted(project.show(owner))}",
                    code="data-in-git",
                    path=path,
                )
            )


def _large(project: Project, entries: Entries, staged: dict[str, str], found: Found) -> None:
    suspects = {
        os.fsdecode(name): entries.oid(at)
        for at, name in enumerate(entries.names)
        if gitindex.is_large(entries, at)
    }
    if not suspects:
        return
    fresh = {path: oid for path, oid in suspects.items() if path in staged}
    sizes = git.sizes(project, fresh.values())
    limit = _limit(project) if fresh else 0
    for path, oid in suspects.items():
        if sizes.get(oid, 0) > limit and path in fresh:
            shown = quoted(project.show(path))
            found.errors.append(
                Refused(
                    f"{path} is {sizes[oid]:,} bytes: too large for git (the limit is {limit:,}).",
                    f"git rm --cached {shown} && mlrepro track {shown}",
                    code="file-too-large",
                    path=path,
                )
            )
        else:
            found.cleared.append(oid)


def _limit(project: Project) -> int:
    """The size in bytes from which a file belongs in the store."""
    from mlrepro import config

    try:
        return max(config.load(project.root, os.environ).max_git_file_bytes, gitindex.LARGE_BYTES)
    except MlreproError:
        return gitindex.LARGE_BYTES


def _secrets(project: Project, entries: Entries, found: Found) -> None:
    if entries.find(b".dvc/config.local") >= 0:
        found.errors.append(
            Refused(
                ".dvc/config.local is staged: it is for this clone alone, and for its secrets.",
                "git rm --cached .dvc/config.local",
                code="local-config-in-git",
                path=".dvc/config.local",
            )
        )
    at = entries.find(b".dvc/config")
    if at < 0:
        return
    oid = entries.oid(at)
    secrets = dvcconfig.find_secrets(git.blobs(project, [oid]).get(oid, b""))
    if not secrets:
        found.cleared.append(oid)
        return
    line, key = secrets[0]
    found.errors.append(
        Refused(
            f".dvc/config holds a secret ({key}, line {line}); a commit would publish it.",
            f"mlrepro doctor --fix moves it to .dvc/config.local; {dvcconfig.ROTATE}",
            code="secret-in-config",
            path=".dvc/config",
        )
    )


def both_changed(project: Project, item: Tracked, now: Data) -> Refused:
    """The error for data and a pointer that each went its own way."""
    shown = quoted(project.show(item.path))
    return Refused(
        f"{item.path} changed here (now {now.oid}), and its pointer {item.pointer} changed too "
        f"(it names {item.oid}).",
        f"keep the data here: mlrepro track {shown}; or take the pointer's: "
        f"mlrepro pull --force {shown}",
        code="both-changed",
        path=item.path,
        oid=item.oid,
    )


def of_work(project: Project, edited: Sequence[Tracked], stashed: set[str]) -> list[MlreproError]:
    """Why the pointers of what was edited may not be touched now.

    A pointer whose unstaged changes a framework has set aside (``stashed``): touching it would lose
    them. And without DVC's folder, which a sparse checkout may lack, no one knows where to store.
    """
    errors: list[MlreproError] = [
        Refused(
            f"{item.pointer} has changes that are not staged, and {item.path} changed too.",
            f"git add {quoted(project.show(item.pointer))}, then commit again",
            code="pointer-unstaged",
            path=item.pointer,
        )
        for item in edited
        if item.pointer in stashed
    ]
    if edited and not os.path.isdir(project.dvc_dir):
        path = edited[0].path
        errors.append(
            Refused(
                f"{path} changed, but the folder .dvc, which says where to store it, is not here.",
                "git sparse-checkout add .dvc config   (or git checkout .dvc, if it was deleted)",
                code="dvc-folder-missing",
                path=path,
            )
        )
    return errors
