"""Data classes mean what those of the standard library mean, compiled or not."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from mlrepro import dataclass as ours

SOURCE = Path(ours.__file__).parent.parent
KINDS = {
    "frozen": {"frozen": True},
    "slots": {"slots": True},
    "both": {"frozen": True, "slots": True},
}


def made(module: Any, **options: bool) -> Callable[..., Any]:
    """The same class by one of the two modules, and one derived from it."""

    @module.dataclass(**options)
    class Base:
        """A text."""

        SHARED: ClassVar[int] = 7
        name: str
        size: int = 3

        @property
        def double(self) -> int:
            return self.size * 2

    @module.dataclass(**options)
    class Derived(Base):
        size: int = 4
        parts: list[int] = module.field(default_factory=list)
        hidden: tuple[int, ...] = module.field(default=(), compare=False, repr=False)
        named: int = module.field(default=0, kw_only=True)
        last: int = 0

    return Derived


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_as_the_standard_library_has_it(options: dict[str, bool]) -> None:
    theirs, mine = made(dataclasses, **options), made(ours, **options)
    for _ in range(3 * ours.WORTH_COMPILING):  # type: ignore[attr-defined]
        for arguments, named in [
            (("a",), {}),
            (("a", 5), {}),
            (("a", 5, [1]), {}),
            ((), {"name": "b", "parts": [2], "hidden": (1,)}),
            (("a",), {"size": 9, "named": 2}),
            (("a", 1, [], (), 8), {"named": 2}),
        ]:
            one, other = theirs(*arguments, **named), mine(*arguments, **named)
            assert repr(other).rpartition(".")[2] == repr(one).rpartition(".")[2]
            assert other == mine(*arguments, **named) and other != one
            assert other.double == one.double and mine.SHARED == 7
            assert other == ours.replace(other, hidden=(5,)) != ours.replace(other, size=99)
            assert mine("x").parts is not mine("x").parts
            assert hasattr(other, "__dict__") is hasattr(one, "__dict__")
            if options.get("frozen"):
                hashable = ours.replace(other, parts=())
                assert hash(hashable) == hash(ours.replace(hashable, hidden=(3,)))
            else:
                with pytest.raises(TypeError, match="unhashable"):
                    hash(other)
        for wrong in [lambda of: of(), lambda of: of("a", name="b"), lambda of: of("a", other=1),
                      lambda of: of(1, 2, 3, 4, 5, 6)]:  # fmt: skip
            for of in (theirs, mine):
                with pytest.raises(TypeError):
                    wrong(of)
    assert [one.name for one in ours.fields(mine)] == [
        one.name for one in dataclasses.fields(theirs)
    ]
    assert mine.__match_args__ == theirs.__match_args__


def test_threads_that_are_first_at_once() -> None:
    for _ in range(50):
        mine = made(ours, slots=True)
        start, found = threading.Barrier(4), []

        def work(mine: Any = mine, start: Any = start, found: Any = found) -> None:
            start.wait()
            found += [mine("a", size=size) for size in range(40)]

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(one.size for one in found) == sorted([*range(40)] * 4)


def test_what_is_frozen_stays() -> None:
    mine = made(ours, frozen=True, slots=True)("a")
    with pytest.raises(AttributeError, match="frozen"):
        mine.size = 1
    with pytest.raises(AttributeError, match="frozen"):
        del mine.size
    assert mine.size == 4


def test_a_method_of_its_own_is_kept() -> None:
    @ours.dataclass(slots=True)
    class Own:
        at: int

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 5

        def __repr__(self) -> str:
            return "own"

    assert Own(1) == Own(2) and repr(Own(1)) == "own" and hash(Own(1)) == 5


@pytest.mark.parametrize(
    "modules",
    [
        ["mlrepro.hooking", "mlrepro.precommit", "mlrepro.commands.pre_commit"],
        ["mlrepro.start", "mlrepro.cli", "mlrepro.render", "mlrepro.commands.track"],
        ["mlrepro.start", "mlrepro.cli", "mlrepro.render", "mlrepro.commands.pull"],
        ["mlrepro.start", "mlrepro.cli", "mlrepro.render", "mlrepro.commands.status"],
        ["mlrepro.start", "mlrepro.layout", "mlrepro.render_status", "mlrepro.redaction"],
    ],
)
def test_the_commands_do_without_the_standard_ones(modules: list[str]) -> None:
    """Nor the modules that take the longest to load, as long as nothing asks for them."""
    slow = {
        "_hashlib", "collections", "contextlib", "dataclasses", "dvc", "enum", "functools",
        "hashlib", "inspect", "json", "pathlib", "pydantic", "queue", "re", "shlex", "subprocess",
        "tempfile", "threading", "traceback", "typer", "typing",
    }  # fmt: skip
    program = """
import sys
sys.path.append(sys.argv[1])
for name in sys.argv[2:]:
    __import__(name)
print(*sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, str(SOURCE), *modules],
        capture_output=True,
        text=True,
        check=True,
    )
    assert not slow & set(done.stdout.split())
