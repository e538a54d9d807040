"""config: the values of config and params files as they stand, or stood at a commit."""

from __future__ import annotations

from mlrepro import git, sides, valuefiles, values
from mlrepro.dataclass import TYPE_CHECKING, dataclass
from mlrepro.result import Options, Result

if TYPE_CHECKING:
    from typing import Any

    from mlrepro.project import Project
    from mlrepro.values import Unread, Value


@dataclass(frozen=True)
class ConfigResult(Result):
    """``commit``: a full hash, or ``workspace``; ``unread``: names whose value cannot be told."""

    commit: str = ""
    values: tuple[Value, ...] = ()
    unread: tuple[Unread, ...] = ()

    def data(self) -> dict[str, Any]:
        return {
            "commit": self.commit,
            "values": [
                {"file": one.file, "name": one.name, "value": one.value} for one in self.values
            ],
            "unread": [
                {
                    "file": one.file,
                    "name": one.name,
                    "line": one.line,
                    "source": one.source,
                    "reason": one.reason,
                }
                for one in self.unread
            ],
        }


def run(project: Project, revision: str | None, options: Options) -> ConfigResult:
    """Read the values of the workspace, or of ``revision``. One file that is bad is named."""
    side: sides.Side
    if revision is None:
        side = sides.Workspace(project, (), options)
    else:
        side = sides.Commit(project, git.resolve(project, revision), ())
    found = values.read(side.texts(valuefiles.of_side(side).config), project.root)
    return ConfigResult(
        errors=(*side.errors, *found.errors),
        commit=side.name,
        values=tuple(found.values),
        unread=tuple(found.unread),
    )
