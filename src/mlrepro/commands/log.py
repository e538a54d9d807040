"""log: the versions of the data, newest first: who changed what, when, and by how much."""

from __future__ import annotations

import os

from mlrepro import git, naming, outputs, timeline
from mlrepro.dataclass import TYPE_CHECKING, dataclass
from mlrepro.errors import PathError
from mlrepro.result import Options, Result
from mlrepro.safepath import quoted

if TYPE_CHECKING:
    from typing import Any

    from mlrepro.project import Project
    from mlrepro.timeline import Version


@dataclass(frozen=True)
class LogResult(Result):
    """``shallow``: git has only the newest part of the history, so the oldest seems to add all."""

    versions: tuple[Version, ...] = ()
    shallow: bool = False

    def data(self) -> dict[str, Any]:
        return {
            "versions": [
                {
                    "commit": version.commit.oid,
                    "date": version.commit.date,
                    "author": version.commit.author,
                    "subject": version.commit.subject,
                    "changes": [
                        {
                            "path": change.path,
                            "change": change.change,
                            "oid": change.oid,
                            "size": change.size,
                        }
                        for change in version.changes
                    ],
                }
                for version in self.versions
            ]
        }


def run(project: Project, path: str | None, options: Options) -> LogResult:
    """List what each commit up to HEAD did to the data, or to the data that ``path`` means.

    Raises PathError where no commit ever had data there.
    """
    del options
    head = git.head(project)
    every, errors = timeline.versions(project, head) if head else ([], [])
    if path is not None:
        name = naming.relative(project, path)
        every = timeline.of_path(every, name, naming.means)
        if not every:
            raise _never(project, name)
        errors = [error for error in errors if naming.means(error.path, error.path, name)]
    shallow = os.path.exists(os.path.join(project.common_dir, "shallow"))
    return LogResult(errors=tuple(errors), versions=tuple(every), shallow=shallow)


def _never(project: Project, name: str) -> PathError:
    """The error for a path that no commit has data at, as exact as can be told."""
    shown = project.show(name)
    listing = outputs.in_worktree(project)
    if any(naming.means(item.path, item.pointer, name) for item in listing.outs):
        why, hint = f"No commit has {shown} yet.", "git commit"
    elif git.listed(project, [name]):
        why = f"{shown} is kept by git itself, not as data."
        hint = f"git log -- {quoted(shown)}"
    else:
        why, hint = f"No commit ever had data at {shown}.", "mlrepro log lists all that had any"
    return PathError(why, hint, code="path-not-tracked", path=name)
