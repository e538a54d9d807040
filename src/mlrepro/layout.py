"""How lines for a person are laid out: aligned columns, hints, paths as they would be typed."""

from __future__ import annotations

from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.terminal import visible, width

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Sequence


class Paths:
    """Writes a path as the user would type it, safe to print."""

    def __init__(self, show: Callable[[str], str]) -> None:
        self._show = show

    def __call__(self, path: str) -> str:
        return visible(self._show(path))


def hint(text: str) -> str:
    """A line that says what to type next."""
    return f"  hint: {text}"


def short(oid: str) -> str:
    """The first digits of an oid or commit, enough to tell it from the others here."""
    return oid[:10]


def table(rows: Iterable[Sequence[str]], right: int | Container[int] = ()) -> list[str]:
    """Rows with their columns aligned; those numbered in ``right`` to the right."""
    cells = [list(row) for row in rows]
    if not cells:
        return []
    columns: Container[int] = (right,) if isinstance(right, int) else right
    widths = [max(map(width, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(_padded(row, widths, columns)).rstrip() for row in cells]


def _padded(row: Sequence[str], widths: Sequence[int], right: Container[int]) -> list[str]:
    gaps = [" " * (wide - width(text)) for text, wide in zip(row, widths, strict=True)]
    return [
        gap + text if column in right else text + gap
        for column, (text, gap) in enumerate(zip(row, gaps, strict=True))
    ]
