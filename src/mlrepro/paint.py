"""Colours lines for a person, as git does: what came green, what went red, what changed yellow."""

from __future__ import annotations

import re

from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.terminal import BOLD, DIM, GREEN, RED, YELLOW

if TYPE_CHECKING:
    from collections.abc import Iterable

_WORDS = {
    "added": GREEN, "removed": RED, "modified": YELLOW, "renamed": YELLOW, "conflict": RED,
    "+": GREEN, "-": RED, "~": YELLOW,
}  # fmt: skip
_FIRST_WORD = re.compile(r"( +)(added|removed|modified|renamed|conflict|[-+~])(?= )")
_COMMIT = re.compile(r"[0-9a-f]{10}(?=  )")
_TITLES = frozenset({"config", "metrics", "data", "code"})


def painted(lines: Iterable[str], *, history: bool) -> list[str]:
    """The lines with colours (SGR parameters); those of a ``history`` in all that they have."""
    return [_history(line) if history else _hint(line) for line in lines]


def _hint(line: str) -> str:
    return _sgr(line, DIM) if line.startswith("  hint: ") else line


def _history(line: str) -> str:
    if found := _COMMIT.match(line):
        return _sgr(found[0], YELLOW) + line[found.end() :]
    if line in _TITLES or (" -> " in line and not line.startswith(" ")):
        return _sgr(line, BOLD)
    if found := _FIRST_WORD.match(line):
        return found[1] + _sgr(found[2], _WORDS[found[2]]) + line[found.end() :]
    return _hint(line)


def _sgr(text: str, colour: str) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m"
