"""Random work in several clones of one store: whatever happens, every commit comes back.

``STATES_SEED=100 make test-slow ARGS='-k many_steps'`` tries others. What fails is listed as
``FOUND`` below takes it.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, reject, seed, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from mlrepro import collecting
from steps_store import StoreSteps
from worlds import World

WHO, ANY, MANY = st.integers(0, 2), st.integers(0, 9), st.integers(0, 99)
YES = st.booleans()
SIDE = st.sampled_from(["ours", "theirs", "union", "abort"])
EDIT = st.sampled_from(["new", "new", "old", "sly", "gone"])
COMMIT = st.sampled_from(
    ["am", "am", "am", "empty", "empty", "staged", "amend", "code", "unhooked", "store down"]
)
DAMAGE = st.sampled_from(["flipped", "truncated", "empty", "longer", "gone", "folder"])
KILLED = st.sampled_from(
    ["track", "pull", "push", "restore", "checkout", "gc", "repair", "commit", "commit", "commit"]
)
FIRST = int(os.environ.get("STATES_SEED", "1"))
Step = tuple[str, dict[str, Any]]

# Each step: how often it is taken beside the others, and what is chosen for it.
STEPS: dict[str, tuple[int, dict[str, st.SearchStrategy[Any]]]] = {
    "edit": (14, {"who": WHO, "which": ANY, "how": EDIT, "n": ANY}),
    "track": (4, {"who": WHO, "which": ANY}),
    "pull": (4, {"who": WHO, "force": YES}),
    "restore": (4, {"who": WHO, "which": ANY, "n": MANY, "force": YES}),
    "checkout": (4, {"who": WHO, "n": MANY, "force": YES}),
    "commit": (14, {"who": WHO, "how": COMMIT}),
    "branch": (5, {"who": WHO, "n": ANY}),
    "merge": (8, {"who": WHO, "n": MANY, "side": SIDE}),
    "rebase": (6, {"who": WHO, "n": MANY, "side": SIDE}),
    "cherry_pick": (2, {"who": WHO, "n": MANY}),
    "stash": (5, {"who": WHO, "n": ANY}),
    "reset": (2, {"who": WHO, "n": ANY}),
    "git_push": (4, {"who": WHO}),
    "git_pull": (8, {"who": WHO, "rebase": YES, "side": SIDE}),
    "mv": (4, {"who": WHO, "which": ANY, "n": ANY}),
    "flip": (4, {"who": WHO, "which": ANY, "later": YES}),
    "untrack": (2, {"who": WHO, "which": ANY}),
    "criss_cross": (3, {"who": WHO, "n": MANY, "side": SIDE}),
    "worktree": (1, {"who": WHO}),
    "push": (1, {"who": WHO}),
    "clone": (1, {}),
    "gc": (3, {"who": WHO, "empty": YES}),
    "forget": (2, {"who": WHO}),
    "corrupt": (4, {"n": MANY, "where": st.integers(0, 3), "how": DAMAGE}),
    "repair": (2, {"who": WHO}),
    "kill": (5, {"who": WHO, "n": MANY, "call": st.integers(0, 400), "what": KILLED}),
}
STEP = st.sampled_from([name for name, (times, _) in STEPS.items() for _ in range(times)]).flatmap(
    lambda name: st.tuples(st.just(name), st.fixed_dictionaries(STEPS[name][1]))
)


class Clones(StoreSteps, RuleBasedStateMachine):
    """What two or three people do in their clones, and what happens to their machines."""

    base: ClassVar[Path]
    worlds: ClassVar[int]
    tried: ClassVar[Counter[str]]
    proven: ClassVar[int]

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []
        type(self).worlds += 1
        self.is_first = self.worlds == 1  # the simplest of all: nothing but the same edit
        self.failed = self.is_first
        self.root = self.base / f"world-{self.worlds}"
        if not self.is_first:
            self.world = World(self.root)

    @rule(chosen=STEP)
    def step(self, chosen: Step) -> None:
        """One step: kept in the list that is shown when something is lost."""
        if self.is_first:
            reject()
        self.steps.append(chosen)
        name, given = chosen
        try:
            if getattr(self, name)(**given) is not False:
                self.tried[name] += 1
        except Exception as error:
            self.failed = True
            self.explain(error)
            raise

    def teardown(self) -> None:
        if not self.failed:
            try:
                type(self).proven += self.world.prove()
            except Exception as error:
                self.explain(error)
                raise
            shutil.rmtree(self.root)

    def explain(self, error: Exception) -> None:
        """Add the steps so far to what is shown of a failure."""
        listed = "".join(f"    {one},\n" for one in self.steps)
        error.add_note(f"in {self.root}, after these steps:\n{listed}")


def machine(base: Path, worlds: int = 0) -> type[Clones]:
    """A machine that builds its worlds below ``base``, and counts for itself."""
    own = {"base": base, "tried": Counter(), "proven": 0, "worlds": worlds}
    return type("Clones", (Clones,), own)


Run = Callable[[int, int, int], Counter[str]]


@pytest.fixture
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing counts as too new to be moved by gc."""
    monkeypatch.setattr(collecting, "GRACE_SECONDS", -60)


@pytest.fixture
def run(tmp_path: Path, no_grace: None, record_property: Callable[[str, object], None]) -> Run:
    """So many worlds from a seed, with so many steps in each: how often each step was taken."""

    def run_(number: int, worlds: int, steps: int) -> Counter[str]:
        clones = machine(tmp_path)
        limits = settings(
            max_examples=worlds,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            print_blob=False,
            phases=[Phase.generate],  # what fails is listed; to find it again is enough
            suppress_health_check=list(HealthCheck),
        )
        run_state_machine_as_test(seed(number)(clones), settings=limits, _min_steps=steps)
        topic = "Random work in several clones"
        for what, count in {
            "steps taken": clones.tried.total(),
            "of them kills, each followed by the same command again": clones.tried["kill"],
            "of them blobs damaged": clones.tried["corrupt"],
            "commits checked out afresh, and compared byte for byte": clones.proven,
        }.items():
            record_property("tried", [topic, what, count])
        return clones.tried

    return run_


def test_a_few_steps(run: Run) -> None:
    assert run(0, 2, 12).total() > 12


@pytest.mark.slow
@pytest.mark.parametrize("number", range(FIRST, FIRST + 14))
def test_many_steps(run: Run, number: int) -> None:
    assert run(number, 4, 52).total() > 100


# What such runs have found, in as few steps; the steps of a failure go in here as they are listed.
FOUND: dict[str, list[Step]] = {
    "a file taken out of a folder came back when a branch was made": [
        ("edit", {"who": 0, "which": 2, "how": "gone", "n": 0}),
        ("restore", {"who": 0, "which": 0, "n": 0, "force": False}),
        ("branch", {"who": 0, "n": 0}),
    ],
    "a stash was merged into a folder that had been changed since": [
        ("edit", {"who": 0, "which": 2, "how": "gone", "n": 0}),
        ("stash", {"who": 0, "n": 0}),
        ("pull", {"who": 0, "force": True}),
        ("edit", {"who": 0, "which": 2, "how": "new", "n": 1}),
        ("commit", {"who": 0, "how": "am"}),
        ("stash", {"who": 0, "n": 9}),
        ("pull", {"who": 0, "force": False}),
    ],
    "a stash took a pointer away, and git commit -a did the same": [
        ("untrack", {"who": 0, "which": 0}),
        ("stash", {"who": 0, "n": 3}),
        ("stash", {"who": 0, "n": 9}),
        ("commit", {"who": 0, "how": "am"}),
    ],
    "data that had been moved came with the pointer that git brought back": [
        ("mv", {"who": 0, "which": 1, "n": 3}),
        ("reset", {"who": 0, "n": 0}),
        ("branch", {"who": 0, "n": 0}),
    ],
    "data that was tracked just now was taken away by a checkout": [
        ("edit", {"who": 0, "which": 3, "how": "new", "n": 0}),
        ("track", {"who": 0, "which": 3}),
        ("checkout", {"who": 0, "n": 0, "force": False}),
    ],
    "data came back under the name from which it had been moved": [
        ("mv", {"who": 0, "which": 0, "n": 1}),
        ("checkout", {"who": 0, "n": 0, "force": False}),
    ],
    "a bit that was not committed was dropped with the content": [
        ("edit", {"who": 0, "which": 0, "how": "new", "n": 0}),
        ("commit", {"who": 0, "how": "am"}),
        ("flip", {"who": 0, "which": 0, "later": True}),
        ("restore", {"who": 0, "which": 0, "n": 0, "force": False}),
    ],
    "a file that may be executed came back from a commit": [
        ("flip", {"who": 0, "which": 0}),
        ("git_push", {"who": 0}),
        ("git_pull", {"who": 1, "rebase": False, "side": "ours"}),
        ("edit", {"who": 0, "which": 0, "how": "new", "n": 0}),
        ("commit", {"who": 0, "how": "am"}),
        ("flip", {"who": 0, "which": 0}),
        ("checkout", {"who": 0, "n": 53, "force": False}),
        ("restore", {"who": 0, "which": 0, "n": 3, "force": False}),
    ],
}


LONG = [pytest.param(what, marks=pytest.mark.slow) for what in FOUND if len(FOUND[what]) > 4]


@pytest.mark.parametrize("what", [*(what for what in FOUND if len(FOUND[what]) <= 4), *LONG])
def test_what_was_found(tmp_path: Path, no_grace: None, what: str) -> None:
    clones = machine(tmp_path, worlds=1)()
    for one in FOUND[what]:
        clones.step(one)
    clones.teardown()
