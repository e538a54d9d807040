"""hook --explain: what is installed, in which order things run, and what each would do now."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlrepro import install, unchanged
from mlrepro.result import Options, Result

if TYPE_CHECKING:
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
        if os.path.exists(place.path + install.BEFORE):
            order.append(os.path.relpath(place.path + install.BEFORE, project.root))
        order.append(f"mlrepro: {DOES[place.name]}")
        if place.under:
            order.append(f"the hooks of {place.under}")
        now = "nothing: it is not installed"
        if place.installed and place.name == "pre-commit":
            now = "nothing: no data changed" if quiet else "compare data and pointers"
        elif place.installed:
            now = "look at the commits that git names"
        states.append(
            HookState(
                place.name,
                place.installed,
                os.path.relpath(place.path, project.root),
                tuple(order),
                now,
            )
        )
    return ExplainResult(hooks=tuple(states))
