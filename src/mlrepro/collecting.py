"""What nothing needs any more: all that any clone of a store needs, held against what is there."""

from __future__ import annotations

import os
import time

from mlrepro import (
    clones,
    debts,
    git,
    gitlog,
    lineage,
    outputs,
    process,
    project as places,
    proof,
    transfer,
    trash,
)
from mlrepro.dataclass import TYPE_CHECKING, dataclass, field
from mlrepro.errors import MlreproError, PointerError, Refused
from mlrepro.remote import of as remote_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from mlrepro.lineage import Lineage
    from mlrepro.project import Project
    from mlrepro.remote import Remote
    from mlrepro.store import Store

# What was put there a moment ago may be meant for a pointer that is not written yet.
GRACE_SECONDS = 15 * 60


@dataclass(slots=True)
class Needs:
    """Every blob that is needed; and why that cannot be said, where it cannot.

    ``known``: of blobs that are only needed by history that is not to be kept: oid → path.
    """

    oids: set[str] = field(default_factory=set)
    known: dict[str, str] = field(default_factory=dict)
    errors: list[MlreproError] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob that nothing needs: its size in bytes, and ``where`` it is: store, cache or both."""

    oid: str
    size: int
    where: str
    path: str = ""


def needs(project: Project, target: Remote, keep_last: int | None) -> Needs:
    """What this clone and every other one that is registered in its store need.

    ``keep_last``: of each branch only so many commits count, the newest; of tags, stashes,
    worktrees and reflogs all the same what they name themselves.
    """
    found = Needs()
    _add(found, project, target, keep_last)
    store = target.store
    for clone in clones.registered(store) if store is not None else ():
        if clone.git_dir == project.common_dir and not clone.is_elsewhere:
            continue
        other = _opened(clone, found.errors)
        if other is None:
            continue
        try:
            theirs = remote_of(other, os.environ)
            theirs.store = store
            _add(found, other, theirs, None)
        except (MlreproError, OSError) as error:
            found.errors.append(_unreadable(clone, str(error)))
    return found


def _opened(clone: clones.Clone, errors: list[MlreproError]) -> Project | None:
    """Another clone, or None where it cannot be looked at; then why is added to ``errors``."""
    if clone.is_elsewhere:
        errors.append(_unreadable(clone, f"it is on the machine {clone.host}"))
    elif not clone.git_dir:
        errors.append(_unreadable(clone, "its entry cannot be read"))
    elif not os.path.isfile(os.path.join(clone.git_dir, "HEAD")):
        errors.append(_unreadable(clone, "it is not there, or not readable"))
    else:
        inside = os.path.basename(clone.git_dir) == ".git"
        top = os.path.dirname(clone.git_dir) if inside else clone.git_dir
        return places.Project(top, clone.git_dir, top)
    return None


def _unreadable(clone: clones.Clone, why: str) -> Refused:
    from shlex import quote

    return Refused(
        f"A clone that uses this store cannot be asked what it needs: {clone.git_dir or '?'} "
        f"({why.rstrip('.')}).",
        f"bring it back; or if it is gone for good: rm {quote(clone.file)}",
        code="clone-unreadable",
        path=clone.git_dir or clone.file,
    )


def _add(found: Needs, project: Project, target: Remote, keep_last: int | None) -> None:
    """Add what one clone needs: its history, its indexes and worktrees, and what it still owes."""
    every = proof.everything(project)
    if keep_last is None:
        _add_versions(found, project, target, every)
    else:
        _add_versions(found, project, target, _kept_versions(project, keep_last))
        rest = proof.prove(project, every, {}, target.store, target.cache)
        for oid, version in rest.needed.items():
            found.known.setdefault(oid, every.name(version).removesuffix(".dvc"))
    wanted = [transfer.Need("", oid) for oid in debts.owed(project)]
    for listing in _present(project):
        wanted += [transfer.Need(item.path, item.oid) for item in listing.outs if item.oid]
        found.errors += [e for e in listing.errors if e.code != "pointer-conflict"]
    holders = [target.cache] + ([target.store] if target.store is not None else [])
    blobs, lost = transfer.expand(wanted, holders)
    found.oids.update(need.oid for need in blobs)
    found.errors += [_unlisted(need.path, need.oid, "") for need in lost]


def _add_versions(found: Needs, project: Project, target: Remote, every: Lineage) -> None:
    present = target.store.list_oids() if target.store is not None else {}
    proven = proof.prove(project, every, present, target.store, target.cache)
    found.oids.update(proven.needed)
    commits = {
        version: every.commit(version)
        for version in (*proven.unreadable, *proven.unlisted.values())
    }
    for version, why in proven.unreadable.items():
        found.errors.append(
            PointerError(
                f"{every.name(version)} cannot be read in {commits[version][:10]}: {why}",
                "what it needs is not known, so nothing is moved; gc --keep-last leaves old "
                "commits out",
                path=every.name(version),
                commit=commits[version],
            )
        )
    for oid, version in proven.unlisted.items():
        found.errors.append(_unlisted(every.name(version), oid, commits[version]))


def _unlisted(path: str, oid: str, commit: str) -> Refused:
    since = f" (commit {commit[:10]})" if commit else ""
    return Refused(
        f"The listing {oid} of the folder {path.removesuffix('.dvc')}{since} cannot be read, so "
        "what it needs is not known.",
        "mlrepro verify --all --repair looks for it; gc --keep-last leaves old commits out",
        code="listing-unreadable",
        path=path,
        oid=oid,
        commit=commit,
    )


def _present(project: Project) -> Iterator[outputs.Listing]:
    """What pointers say that are staged, or lie in a worktree, of any worktree of a clone."""
    own = [project.common_dir]
    linked = os.path.join(project.common_dir, "worktrees")
    if os.path.isdir(linked):
        own += [os.path.join(linked, name) for name in sorted(os.listdir(linked))]
    for git_dir in own:
        index = os.path.join(git_dir, "index")
        if os.path.isfile(index):
            yield _staged(project, index)
    for root in git.worktrees(project):
        if os.path.isdir(root) and root != project.common_dir:
            yield outputs.in_worktree(places.find(root, {}))


def _staged(project: Project, index: str) -> outputs.Listing:
    """The pointers of an index, of all sides where a merge left it in conflict."""
    entries = git.entries(project, index)
    named = [
        (name, entries.oid(at))
        for at, raw in enumerate(entries.names)
        if raw.endswith((b".dvc", b"dvc.lock")) and outputs.is_pointer(name := os.fsdecode(raw))
    ]
    stages = {
        name: entries.oid(at)
        for name, _ in named
        if outputs.is_lock(name)
        and (at := entries.find(os.fsencode(outputs.pipeline_of(name)))) >= 0
    }
    wanted = [*(oid for _, oid in named), *stages.values()]
    contents = git.blobs(project, wanted, outputs.MAX_LOCK_BYTES)
    whole = outputs.Listing()
    for name, oid in named:
        if oid in contents:  # a submodule of such a name is not one of git's blobs here
            pipelines = {name: contents.get(stages.get(name, ""), b"")}
            listing = outputs.read_pointers(project, [(name, oid, contents[oid])], pipelines)
            whole.outs += listing.outs
            whole.errors += listing.errors
    return whole


def _kept_versions(project: Project, keep_last: int) -> Lineage:
    """The pointers in the newest commits of each branch, and in all that is named otherwise."""
    tips = gitlog.commits(project, "--no-walk=unsorted", "--all", "--reflog")
    branches = git.text(project, "for-each-ref", "--format=%(objectname)", "refs/heads",
                        "refs/remotes").split()  # fmt: skip
    kept = dict.fromkeys(tips)
    for tip in dict.fromkeys([*branches, *_heads(project)]):
        kept.update(dict.fromkeys(gitlog.commits(project, f"--max-count={keep_last}", tip)))
    kept.update(dict.fromkeys(_parts_of_stashes(project)))
    names = {commit: f"{commit}^{{tree}}" for commit in kept}
    trees = git.names(project, names.values())
    empty = git.run(project, "hash-object", "-t", "tree", "--stdin").decode().strip()
    asked = "".join(f"{empty} {trees[name]}\n" for name in names.values() if name in trees)
    data = process.run(
        ["git", "diff-tree", "--stdin", "-r", "-z", "--raw", "--no-renames", "--",
         ":(glob)**/*.dvc", ":(glob)**/dvc.lock"],
        cwd=project.root,
        input=asked.encode(),
        env={**git.LITERAL, "GIT_LITERAL_PATHSPECS": "0"},
        spooled=True,
    )  # fmt: skip
    return lineage.of_trees(data.split(b"\0"))


def _heads(project: Project) -> list[str]:
    """What is checked out in each worktree."""
    found = []
    for root in git.worktrees(project):
        if os.path.isdir(root):
            head = git.head(places.find(root, {})) if root != project.common_dir else ""
            found += [head] if head else []
    return found


def _parts_of_stashes(project: Project) -> list[str]:
    """The commits that hold the index and the untracked files of each stash."""
    text = git.text(project, "log", "-g", "--format=%P", "refs/stash", "--", ok=(0, 128))
    return [parent for line in text.splitlines() for parent in line.split()[1:]]


def unneeded(found: Needs, holders: Mapping[str, Store]) -> list[Blob]:
    """The blobs in these folders (by what they are called) that are not needed, and not new."""
    newest = time.time() - GRACE_SECONDS
    where: dict[str, list[str]] = {}
    sizes: dict[str, int] = {}
    for called, store in holders.items():
        for oid, size in store.list_oids().items():
            if oid not in found.oids and _is_older(store, oid, newest):
                where.setdefault(oid, []).append(called)
                sizes[oid] = size
    return [
        Blob(oid, sizes[oid], " and ".join(names), found.known.get(oid, ""))
        for oid, names in where.items()
    ]


def _is_older(store: Store, oid: str, newest: float) -> bool:
    place = store.find(oid)
    return place is not None and max(place[1].st_mtime, place[1].st_ctime) < newest


def bytes_of(blobs: Iterable[Blob], holders: Mapping[str, Store]) -> int:
    """The space that these blobs take, those that are one file in two folders counted once."""
    seen: dict[tuple[int, int], int] = {}
    for blob in blobs:
        for store in holders.values():
            place = store.find(blob.oid)
            if place is not None:
                seen[place[1].st_dev, place[1].st_ino] = place[1].st_size
    return sum(seen.values())


def move(
    project: Project,
    target: Remote,
    keep_last: int | None,
    blobs: Sequence[Blob],
    holders: Mapping[str, Store],
) -> tuple[list[Blob], list[MlreproError]]:
    """Move blobs to the trash of the folder they are in; returns those that are gone.

    What came to be needed meanwhile, in any clone, is put back.
    """
    aside: dict[str, Store] = {}
    for called, store in holders.items():
        mine = [blob.oid for blob in blobs if called in blob.where.split(" and ")]
        if mine:
            aside[called] = trash.new(store)
            newest = time.time() - GRACE_SECONDS
            # Looked at once more right before: who uses a blob again gives it a new date first.
            trash.move(store, aside[called], (o for o in mine if _is_older(store, o, newest)))
    now = needs(project, target, keep_last)
    wanted = {blob.oid for blob in blobs if now.errors or blob.oid in now.oids}
    for called, part in aside.items():
        trash.move(part, holders[called], [oid for oid in wanted if part.has(oid, None)])
    moved = {oid for part in aside.values() for oid in part.list_oids()}
    return [blob for blob in blobs if blob.oid in moved], now.errors
