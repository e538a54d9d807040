"""Which names on a command line are commits, and which are paths."""

from __future__ import annotations

import os

from mlrepro import git, patterns
from mlrepro.dataclass import TYPE_CHECKING, dataclass, field
from mlrepro.errors import MlreproError, PathError, UsageError
from mlrepro.safepath import quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlrepro.project import Project

SEPARATOR = "--"


@dataclass(slots=True)
class Asked:
    """What is to be compared: full hashes of commits, None where none was named; paths as typed.

    ``doubtful``: names that are neither a commit nor a file here, and may be paths of a commit.
    """

    a: str | None = None
    b: str | None = None
    paths: list[str] = field(default_factory=list)
    doubtful: set[str] = field(default_factory=set)


def understand(project: Project, names: Sequence[str]) -> Asked:
    """Tell commits from paths as git does: commits, at most two, come first; ``--`` ends them.

    ``A..B`` stands for A and B, ``A...B`` for the commit where B went off from A, and B. Raises
    UsageError for a name that is both or for too many commits, MlreproError for one before ``--``
    that is no commit.
    """
    asked = Asked()
    commits: list[str] = []
    ended = SEPARATOR in names
    first = list(names[: names.index(SEPARATOR)]) if ended else list(names)
    while first:
        name = first[0]
        found = _commits(project, name, required=ended)
        if not found:
            break
        if not ended and _is_path(project, name):
            raise UsageError(
                f"{name} is both a commit and a path.",
                f"for the commit: mlrepro diff {quoted(name)} -- ; "
                f"for the path: mlrepro diff -- {quoted(name)}",
                code="ambiguous-name",
            )
        commits += found
        first.pop(0)
    if len(commits) > 2:
        raise UsageError("diff compares two commits, and no more.", "mlrepro diff A B -- PATH")
    asked.a, asked.b = (*commits, None, None)[:2]
    if ended:
        asked.paths = list(names[names.index(SEPARATOR) + 1 :])
        return asked
    asked.paths = first
    absent = [name for name in first if not _is_path(project, name)]
    if absent and absent[0] != first[0] and _commits(project, absent[0], required=False):
        raise UsageError(
            f"{absent[0]} is a commit, and stands behind a path.",
            "commits come first: mlrepro diff A B -- PATH",
        )
    may_be_commits = first[: 2 - len(commits)]
    asked.doubtful = set(absent) & set(may_be_commits)
    return asked


def _commits(project: Project, name: str, *, required: bool) -> list[str]:
    """The commits that a name stands for; none where it is no commit and need not be one."""
    try:
        if ".." in name and not _is_path(project, name):
            return _range(project, name)
        return [git.resolve(project, name)]
    except MlreproError as error:
        if required or error.code != "unknown-revision":
            raise
        return []


def _range(project: Project, name: str) -> list[str]:
    old, dots, new = name.partition("..." if "..." in name else "..")
    a, b = (git.resolve(project, one or "HEAD") for one in (old, new))
    if dots == "..":
        return [a, b]
    base = git.text(project, "merge-base", a, b, ok=(0, 1))
    if not base:
        raise MlreproError(
            f"{old or 'HEAD'} and {new or 'HEAD'} have no commit in common.",
            f"mlrepro diff {old or 'HEAD'} {new or 'HEAD'}",
            code="no-common-commit",
        )
    return [base, b]


def _is_path(project: Project, name: str) -> bool:
    path = os.path.join(project.cwd, name)
    return os.path.lexists(path) or os.path.lexists(path + ".dvc")


def unknown(project: Project, typed: str, path: str, asked: Asked) -> MlreproError:
    """The error for a name that is no path on either side, and perhaps was meant as a commit."""
    like_a_path = patterns.is_pattern(typed) or os.path.splitext(typed)[1]
    if typed in asked.doubtful and not like_a_path:
        return MlreproError(
            f"{typed} is no commit, and no path on either side.",
            "git log --oneline --all shows the commits; a branch, a tag or HEAD~1 will do too",
            code="unknown-revision",
            commit=typed,
        )
    return PathError(
        f"{project.show(path)} is on neither side.",
        "mlrepro log lists the data, git log -- PATH the commits of other files",
        code="path-unknown",
        path=path,
    )
