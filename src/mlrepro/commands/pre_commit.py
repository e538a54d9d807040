"""pre-commit: what git calls before a commit; the work is shared with what a framework calls."""

from __future__ import annotations

from mlrepro import precommit
from mlrepro.dataclass import TYPE_CHECKING

if TYPE_CHECKING:
    from mlrepro.project import Project
    from mlrepro.result import HookResult, Options


def run(project: Project, options: Options) -> HookResult:
    """Refresh, store and stage what was edited; refuse what would be lost or stale."""
    return precommit.run(project, options)
