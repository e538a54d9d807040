"""One pass over git's log: which version of which pointer each commit brought, and who has it."""

from __future__ import annotations

import os
from array import array

from mlrepro import git, process
from mlrepro.dataclass import TYPE_CHECKING, dataclass, field
from mlrepro.outputs import is_pointer

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from mlrepro.project import Project

_ENDS = (b".dvc", b"dvc.lock")
_SUBMODULE = b"160000"
_GONE = -1


@dataclass(slots=True)
class Lineage:
    """Commits, newest first, and what each did to pointers; everything is named by its number.

    ``commits``: git object and ``parents`` (as git writes them, a blank between two) of each;
    ``names``: each pointer; a version is one text of one pointer: ``name_of``, ``blob_of`` (git
    object) and ``commit_of`` (the first commit that had it) by its number; ``changes``: three
    numbers for each (commit, pointer, version since then, or -1 where it was removed).
    """

    commits: list[bytes] = field(default_factory=list)
    parents: list[bytes] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    name_of: array[int] = field(default_factory=lambda: array("l"))
    blob_of: list[bytes] = field(default_factory=list)
    commit_of: array[int] = field(default_factory=lambda: array("l"))
    changes: array[int] = field(default_factory=lambda: array("l"))

    def __len__(self) -> int:
        """How many versions there are."""
        return len(self.blob_of)

    def commit(self, version: int) -> str:
        """The commit that brought a version first."""
        return self.commits[self.commit_of[version]].decode()

    def name(self, version: int) -> str:
        """The pointer that a version is of."""
        return self.names[self.name_of[version]]


def read(project: Project, *revisions: str) -> Lineage:
    """Every version of every pointer in the commits that ``git log`` gives for ``revisions``.

    Git is given no paths: with them it leaves out what a merge did not keep, and it takes longer.
    A merge counts for what differs from all its parents, since theirs is counted there.
    """
    data = process.run(
        [
            "git", "log", "-z", "--raw", "-c", "--root", "--no-abbrev", "--no-renames",
            "--no-color", "--no-show-signature", "--no-ext-diff", "--format=%x02%H %P",
            *revisions, "--",
        ],
        cwd=project.root,
        env=git.LITERAL,
        spooled=True,
    )  # fmt: skip
    return _parse(data.split(b"\0"))


def _parse(fields: Sequence[bytes]) -> Lineage:
    """Read git's raw format (git-diff-tree(1)): modes, objects, what was done, and then the name.

    A loop of few steps, since there may be a million lines.
    """
    found = Lineage()
    noted: dict[bytes, tuple[int, dict[bytes, int]] | None] = {}  # of a name; None: no pointer
    blob_of, name_of, commit_of, changes = (
        found.blob_of, found.name_of, found.commit_of, found.changes,
    )  # fmt: skip
    at, commit, end = 0, -1, len(fields)
    while at < end:
        about = fields[at]
        if not about.startswith((b":", b"\n:")):
            if about.startswith(b"\x02"):
                commit += 1
                oid, _, parents = about[1:].partition(b" ")
                found.commits.append(oid)
                found.parents.append(parents)
            at += 1  # else it is empty: between a commit and what it changed
            continue
        raw = fields[at + 1]
        at += 2
        if not raw.endswith(_ENDS):
            continue
        known = noted.get(raw)
        if known is None:
            if raw in noted:
                continue
            known = noted[raw] = _number(found, raw)
            if known is None:
                continue
        number, versions = known
        words = about.split(b" ")
        sides = len(words) >> 1  # the parents, and the commit itself
        blob = words[2 * sides - 1]
        version = versions.get(blob)
        if version is not None:
            commit_of[version] = commit  # the log runs backwards: the last seen is the first
        elif not blob.strip(b"0") or words[sides - 1] == _SUBMODULE:
            version = _GONE
        else:
            version = versions[blob] = len(blob_of)
            blob_of.append(blob)
            name_of.append(number)
            commit_of.append(commit)
        changes.extend((commit, number, version))
    return found


def _number(found: Lineage, raw: bytes) -> tuple[int, dict[bytes, int]] | None:
    name = os.fsdecode(raw)
    if not is_pointer(name):
        return None
    found.names.append(name)
    return len(found.names) - 1, {}


def of_trees(fields: Sequence[bytes]) -> Lineage:
    """The versions in git's raw listing of whole trees (``diff-tree`` against the empty one)."""
    found = Lineage(commits=[b""], parents=[b""])
    known: dict[tuple[bytes, bytes], int] = {}
    numbers: dict[bytes, tuple[int, dict[bytes, int]] | None] = {}
    at = 0
    while at < len(fields) - 1:
        about, raw = fields[at].rpartition(b"\n")[2], fields[at + 1]
        words = about.split(b" ")
        at += 2
        blob = words[3]
        if (raw, blob) in known or words[1] == _SUBMODULE:
            continue
        if raw not in numbers:
            numbers[raw] = _number(found, raw)
        number = numbers[raw]
        if number is not None:
            known[raw, blob] = len(found)
            found.blob_of.append(blob)
            found.name_of.append(number[0])
            found.commit_of.append(0)
    return found


def holding(project: Project, lineage: Lineage, versions: Collection[int]) -> set[int]:
    """The commits (by number) in whose tree there is any of these versions.

    What a commit changed is carried on from its parents. For a merge whose parents disagree git is
    asked; what it cannot be asked (a name with a line break) counts as held.
    """
    if not versions:
        return set()
    meant = frozenset(versions)
    changes: dict[int, list[tuple[int, bool]]] = {}
    rows = zip(*[iter(lineage.changes)] * 3, strict=True)
    concerned = {lineage.name_of[version] for version in meant}
    for commit, name, version in rows:
        if name in concerned:
            changes.setdefault(commit, []).append((name, version in meant))
    order = _oldest_first(lineage)
    told: dict[tuple[int, int], bool] = {}
    while True:
        states, open_ = _carry(order, changes, told)
        if not open_:
            return {commit for commit, held in states.items() if held}
        told |= _ask(project, lineage, open_, meant)


def _oldest_first(lineage: Lineage) -> list[tuple[int, list[int]]]:
    """Each commit after all its parents, with those; the log's own order goes by the clock."""
    from graphlib import TopologicalSorter

    number = {oid: at for at, oid in enumerate(lineage.commits)}
    parents = {
        at: [number[oid] for oid in text.split() if oid in number]
        for at, text in enumerate(lineage.parents)
    }
    return [(at, parents[at]) for at in TopologicalSorter(parents).static_order()]


def _carry(
    order: Sequence[tuple[int, list[int]]],
    changes: dict[int, list[tuple[int, bool]]],
    told: dict[tuple[int, int], bool],
) -> tuple[dict[int, frozenset[int]], list[tuple[int, int]]]:
    """The pointers that each commit has in a version that is meant; and what is to be asked."""
    states: dict[int, frozenset[int]] = {}
    nothing: frozenset[int] = frozenset()
    open_: list[tuple[int, int]] = []
    for commit, parents in order:
        before = [states[parent] for parent in parents]
        state = before[0] if before else nothing
        changed = changes.get(commit, ())
        if any(other != state for other in before[1:]):
            unlike = frozenset.union(*before) - frozenset.intersection(*before)
            for name in unlike - {name for name, _ in changed}:
                answer = told.get((commit, name))
                if answer is None:
                    open_.append((commit, name))
                state = state | {name} if answer else state - {name}
        for name, held in changed:
            if (name in state) != held:
                state = state | {name} if held else state - {name}
        states[commit] = state
    return states, open_


def _ask(
    project: Project, lineage: Lineage, open_: Sequence[tuple[int, int]], meant: frozenset[int]
) -> dict[tuple[int, int], bool]:
    """Whether each commit has its pointer in a version that is meant."""
    blobs = {(lineage.name_of[one], lineage.blob_of[one].decode()) for one in meant}
    asked = {
        (commit, name): f"{lineage.commits[commit].decode()}:{lineage.names[name]}"
        for commit, name in open_
        if "\n" not in lineage.names[name]
    }
    answers = git.names(project, asked.values())
    told = dict.fromkeys(open_, True)
    for (commit, name), text in asked.items():
        told[commit, name] = (name, answers.get(text, "")) in blobs
    return told
