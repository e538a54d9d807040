"""doctor: find everything that would make a commit unrestorable or a user wait, and mend it."""

from __future__ import annotations

from mlrepro import checkup, leaks, naming, storecheck
from mlrepro.dataclass import TYPE_CHECKING, dataclass
from mlrepro.errors import MlreproError
from mlrepro.result import Options, Result

if TYPE_CHECKING:
    from typing import Any

    from mlrepro.finding import Finding
    from mlrepro.project import Project

MOST_PASSES = 3  # what was mended may bring to light what it hid


@dataclass(frozen=True)
class DoctorResult(Result):
    """``findings``: what is out of order (still, with ``--fix``); ``fixed``: what was mended."""

    findings: tuple[Finding, ...] = ()
    fixed: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()

    def data(self) -> dict[str, Any]:
        return {
            "findings": [one.data() for one in self.findings],
            "fixed": [one.data() for one in self.fixed],
            "notes": list(self.notes),
        }


def run(project: Project, fix: bool, options: Options) -> DoctorResult:
    """Look everything over; with ``fix`` mend what is safe to, and look again.

    In a dry run ``fixed`` is what would be. Raises RepositoryError where nothing was set up.
    """
    naming.require_dvc(project)
    found = _findings(project)
    fixed: list[Finding] = []
    for _ in range(MOST_PASSES if fix and not options.dry_run else 0):
        todo = [one for one in found if one.mend is not None]
        if not todo:
            break
        fixed += _mended(todo, options)
        found = _findings(project)
    if fix and options.dry_run:
        fixed = [one for one in found if one.fixable]
        found = [one for one in found if not one.fixable]
    left = {(one.code, one.path) for one in found}
    return DoctorResult(
        errors=tuple(one.error() for one in found),
        findings=tuple(found),
        fixed=tuple(one for one in fixed if (one.code, one.path) not in left),
        notes=(*checkup.notes(project), *storecheck.notes(project)),
    )


def _findings(project: Project) -> list[Finding]:
    return [
        *checkup.findings(project),
        *storecheck.findings(project),
        *leaks.findings(project),
    ]


def _mended(todo: list[Finding], options: Options) -> list[Finding]:
    """Mend each; one that cannot be is left to be found again."""
    done = []
    for one in todo:
        assert one.mend is not None
        try:
            one.mend()
        except (MlreproError, OSError) as error:
            options.reporter.note(f"{one.code}: {error}")
            continue
        options.reporter.step(f"mended: {one.message}")
        done.append(one)
    return done
