"""Questions to git about commits: which there are, who made them, and when."""

from __future__ import annotations

from mlrepro import process
from mlrepro.dataclass import TYPE_CHECKING, dataclass
from mlrepro.errors import ProcessError, UsageError
from mlrepro.git import LITERAL, run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mlrepro.project import Project


@dataclass(frozen=True, slots=True)
class Commit:
    """Who made a commit, and when (ISO 8601 with offset)."""

    oid: str
    author: str
    date: str
    subject: str


def commits(project: Project, *args: str) -> list[str]:
    """The commits that ``git rev-list`` answers with. Raises UsageError for a wrong range."""
    try:
        return run(project, "rev-list", *args).decode().split()
    except ProcessError as error:
        raise UsageError(f"git does not know such commits: {' '.join(args)}") from error


def last_change(project: Project, path: str, revision: str = "HEAD") -> Commit | None:
    """The newest commit that touched ``path``, or None where there is none."""
    found = list(log(project, "-1", revision, "--", path))
    return found[0] if found else None


def log(project: Project, *args: str) -> Iterator[Commit]:
    """The commits that ``git log`` answers with."""
    code, data = process.run_code(
        ["git", "log", "-z", "--format=%H%x01%an%x01%aI%x01%s", *args],
        cwd=project.root,
        env=LITERAL,
        ok=(0, 128),
    )
    for line in data.split(b"\0") if code == 0 else ():
        if line:
            oid, author, date, subject = line.decode("utf-8", "replace").split("\x01", 3)
            yield Commit(oid, author, date, subject)


def about(project: Project, oids: Iterable[str]) -> dict[str, Commit]:
    """Who made each of these commits, and when."""
    wanted = list(dict.fromkeys(oids))
    if not wanted:
        return {}
    data = run(
        project, "log", "-z", "--no-walk=unsorted", "--no-color", "--no-show-signature",
        "--format=%H%x00%an%x00%aI%x00%s", "--stdin", input="\n".join(wanted).encode() + b"\n",
    )  # fmt: skip
    fields = data.decode("utf-8", "replace").split("\0")
    return {item[0]: Commit(*item) for item in zip(*[iter(fields)] * 4, strict=False)}
