"""The door that git calls: nothing to do is found out at once; the rest is handed on."""

from __future__ import annotations

import os
import sys

from mlrepro import gitindex, index, remote
from mlrepro import project as places
from mlrepro.errors import MlreproError

# This module and what it imports here are all that a commit without changed data loads: no typing,
# no dataclasses, no subprocess, no git process. What they import is pinned by a test.

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlrepro.gitindex import Entries
    from mlrepro.index import Entry, Record
    from mlrepro.project import Project
    from mlrepro.remote import Remote

DRIVER = "merge-pointer"  # not a hook: git's merge driver for pointers
NAMES = ("pre-commit", "pre-push", "post-merge", "post-checkout", "post-rewrite")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve one git hook; returns its exit code, and never lets an exception out."""
    args = list(sys.argv[1:] if arguments is None else arguments)
    name = args[0] if args else ""
    if name not in (*NAMES, DRIVER):
        print(f"error: no such hook: {name or '(none)'}", file=sys.stderr)
        print(f"  hint: mlrepro hook {'|'.join(NAMES)}", file=sys.stderr)
        return 2
    never_fails = name.startswith("post-")
    try:
        return _serve(name, args[1:])
    except MlreproError as error:
        tell(error)
        return 0 if never_fails else error.exit_code
    except KeyboardInterrupt:
        print("interrupted; nothing was lost", file=sys.stderr)
        return 0 if never_fails else 130
    except OSError as error:
        told = f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"
        print(f"error: {told}", file=sys.stderr)
        return 0 if never_fails else 1
    except Exception as error:
        from mlrepro import crashlog

        place = crashlog.keep(error, ["hook", *args])
        print(f"error: this is a bug in mlrepro; its trace is in {place}", file=sys.stderr)
        print(f"  hint: git {name[4:]} --no-verify goes on without the hook", file=sys.stderr)
        return 0 if never_fails else 3


def tell(error: MlreproError) -> None:
    """Print an error as every door does: what happened, then what to type."""
    print(f"error: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"  hint: {error.hint}", file=sys.stderr)


def _serve(name: str, args: list[str]) -> int:
    try:
        project = places.find(os.getcwd(), os.environ)
    except MlreproError:
        if name == "pre-commit":
            return 0  # not a worktree: there is no data here to look after
        raise
    if not os.path.isdir(project.dvc_dir):
        return 0  # a branch without data, or a repository that was never set up
    if name == "pre-commit" and nothing_to_do(project):
        return 0
    from mlrepro import hooking

    return hooking.serve(project, name, args)


def nothing_to_do(project: Project) -> bool:
    """Whether it is proven, by small reads alone, that this commit has nothing to do with data.

    So it is where every pointer in the index is one that was seen before, every tracked file is as
    it was when it had the hash that its pointer names, that content is in the store, and nothing
    is staged that the hook refuses. Any doubt is answered with False.
    """
    if os.environ.get("MLREPRO_LANE"):
        return False
    record = index.load(project.state_dir)
    named = os.environ.get("GIT_INDEX_FILE")
    entries = gitindex.read(gitindex.path_of(project.git_dir, project.cwd, named))
    if entries is None:
        return False
    if not record.entries:
        return not _concerns_us(entries, record)
    try:
        target = remote.of(project, os.environ)
    except MlreproError:
        return False
    if target.store is not None and record.store_id != target.store.read_id():
        return False
    if _concerns_us(entries, record):
        return False
    return all(_is_in_order(project, target, entry, entries) for entry in record.entries.values())


def _concerns_us(entries: Entries, record: Record) -> bool:
    """Whether the index holds a pointer not seen before, a conflict in one, or what is refused."""
    seen = {entry.pointer: entry.seen for entry in record.entries.values()}
    cleared = set(record.cleared)
    for at, name in enumerate(entries.names):
        if name.endswith((b".dvc", b"dvc.lock")):
            oid = entries.oid(at)
            if entries.stages[at] or (seen.get(os.fsdecode(name)) != oid and oid not in cleared):
                return True
        elif name == b".dvc/config" or gitindex.is_large(entries, at):
            if entries.oid(at) not in cleared:
                return True
    return False


def _is_in_order(project: Project, target: Remote, entry: Entry, entries: Entries) -> bool:
    name = os.fsencode(entry.pointer)
    if entries.find(name) < 0:
        return True  # its pointer is not part of this commit
    raw = os.fsencode(entry.path)
    if entries.find(raw) >= 0 or len(entries.within(raw)) > 0:
        return False  # the data itself is staged
    if entry.pending:
        return False  # whether that commit was made is to be found out
    path = project.absolute(entry.path)
    try:
        stat = os.lstat(path)
    except OSError:
        return _is_stored(target, entry.named)  # missing data is no change
    if entry.oid != entry.named or not entry.stored or not _is_stored(target, entry.oid):
        return False
    if stat.st_mode & 0o170000 == 0o040000:
        from mlrepro import folder  # a quarter of the start-up time: only where a folder is tracked

        tree = folder.load(project.state_dir, entry.path)
        if tree is None or tree.oid != entry.oid:
            return False
        try:
            return tree.is_same(folder.walk(path))
        except OSError:
            return False
    return entry.is_unchanged(stat)


def _is_stored(target: Remote, oid: str) -> bool:
    """Whether a folder store has the blob; for a network store the record's word is taken."""
    return target.store is None or target.store.find(oid) is not None


if __name__ == "__main__":
    sys.exit(main())
