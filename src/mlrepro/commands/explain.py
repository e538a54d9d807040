"""hook --explain: what is installed, in which order things run, and what each would do now."""

from __future__ import annotations

import os

from mlrepro import install, unchanged
from mlrepro.dataclass import TYPE_CHECKING, dataclass
from mlrepro.result import Options, Result

if TYPE_CHECKING:
    from typing import Any

    from mlrepro.project import Project

DOES = {
    "pre-commit": "refreshes pointers of data that was edited, stores it, stages them",
    "pre-push": "stores what pushed commits need; refuses the push where a blob is nowhere",
    "post-merge": "brings data to the merged pointers; keeps what was edited",
    "post-checkout": "brings data to the pointers of the commit; keeps what was edited",
    "post-rewrite": "the same, once, at the end of a rebase",
}


@dataclass(frozen=True)
class HookState:
    """One hook: ``order`` says what runs before and after it, ``now`` what it would do now."""

    name: str
    installed: bool
    path: str
    order: tuple[str, ...]
    now: str


@dataclass(frozen=True)
class ExplainResult(Result):
    """All of our hooks."""

    hooks: tuple[HookState, ...] = ()

    def data(self) -> dict[str, Any]:
        return {"hooks": [{**vars(item), "order": list(item.order)} for item in self.hooks]}


def run(project: Project, options: Options) -> ExplainResult:  # noqa: ARG001  as every verb
    """Look at git's hooks folder; nothing is changed and nothing is run."""
    quiet = unchanged.nothing_to_do(project) if os.path.isdir(project.dvc_dir) else True
    states = []
    for place in install.places(project):
        order = [place.under] if place.under else []
        if os.path.exists(install.before(place.path)):
            order.append(os.path.relpath(install.before(place.path), project.root))
        order.append(f"mlrepro: {DOES[place.name]}")
        if place.under:
            order.append(f"the hooks of {place.under}")
        states.append(
            HookState(
                place.name,
                place.installed,
                os.path.relpath(place.path, project.root),
                tuple(order),
                _now(place, quiet),
            )
        )
    return ExplainResult(hooks=tuple(states))


def _now(place: install.Place, quiet: bool) -> str:
    """What the hook would do if git called it now; ``quiet``: data and pointers agree."""
    if not place.installed:
        return "nothing: it is not installed"
    if place.name == "pre-push":
        return "look at the commits that git names"
    if quiet:
        return "nothing: data and pointers agree"
    return "compare data and pointers"
