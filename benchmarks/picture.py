"""The ratios, and the growth, as pictures (SVG)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from measuring import ITSELF, OURS

COLOURS = {"DVC": "#945dd6", "git-lfs": "#e76f51", "floor": "#6c757d"}
INK, GRID, HERE = "#222222", "#dddddd", "#2a9d8f"
LINES = ("#2a9d8f", "#e76f51", "#945dd6", "#264653", "#e9c46a")


def ratios(rows: Sequence[dict[str, Any]]) -> str:
    """A line for each row: how many times as long as mlrepro each of the others takes (log)."""
    values = [time / row["median_seconds"][OURS] for row in rows for time in _others(row).values()]
    low, high = _decades([1.0, *values])
    left, right, top, step = 330, 640, 46, 21
    height = top + step * len(rows) + 30

    def x(value: float) -> float:
        return left + (right - left) * (math.log10(value) - low) / (high - low)

    parts = [_text(8, 18, "Time of the same work, as a multiple of mlrepro's", bold=True)]
    at = right + 20
    for who in dict.fromkeys(who for row in rows for who in _others(row)):
        parts.append(_text(at, 36, who, COLOURS.get(who, INK), bold=True))
        at += 62
    for power in range(low, high + 1):
        parts += _mark(x(10.0**power), top - 6, height - 22, f"{10.0**power:g} ×", power == 0)
    for number, row in enumerate(rows):
        y = top + step * number + 12
        ours = row["median_seconds"][OURS]
        times = {who: time / ours for who, time in _others(row).items()}
        parts.append(_text(8, y + 4, row["title"]))
        ends = [x(value) for value in [1.0, *times.values()]]
        parts.append(_line(min(ends), y, max(ends), y, "#bbbbbb"))
        parts.append(_dot(x(1.0), y, HERE))
        at = right + 20
        for who in dict.fromkeys(who for row in rows for who in _others(row)):
            if who in times:
                parts.append(_dot(x(times[who]), y, COLOURS.get(who, INK)))
                parts.append(_text(at, y + 4, f"{times[who]:.2g} ×", COLOURS.get(who, INK)))
            at += 62
    return _drawn(850, height, "How long DVC, git-lfs and the floor take, beside mlrepro", parts)


def growth(curves: dict[str, Any]) -> str:
    """Time by the number of files, and by the length of history."""
    parts: list[str] = []
    files = {work: points for work, points in curves.get("files", {}).items() if len(points) > 1}
    history = {
        work: points for work, points in curves.get("history", {}).items() if len(points) > 1
    }
    parts += _panel(files, 60, "A folder of so many files: seconds", True)
    parts += _panel(history, 510, "After so many commits: milliseconds", False)
    return _drawn(900, 330, "Time by the number of files, and by the length of history", parts)


def _panel(works: dict[str, Any], left: int, title: str, log: bool) -> list[str]:
    """One panel of lines; ``log``: both axes, else x alone, and milliseconds from 0 on."""
    if not works:
        return []
    top, bottom, right = 40, 230, left + 350
    xs = [point["at"] for points in works.values() for point in points]
    ys = [point["median_seconds"] for points in works.values() for point in points]
    first, last = math.log10(min(xs)), math.log10(max(xs))
    low, high = _decades(ys) if log else (0, max(ys) * 1.15)

    def place(point: dict[str, Any]) -> tuple[float, float]:
        x = left + (right - left) * (math.log10(point["at"]) - first) / (last - first)
        value = math.log10(point["median_seconds"]) if log else point["median_seconds"]
        return x, bottom - (bottom - top) * (value - low) / (high - low)

    parts = [_text(left - 40, 20, title, bold=True)]
    for mark in range(int(low), int(high) + 1) if log else _ticks(high):
        y = bottom - (bottom - top) * (mark - low) / (high - low)
        parts.append(_line(left, y, right, y, GRID))
        name = f"{10.0**mark:g}" if log else f"{mark * 1000:g}"
        parts.append(_text(left - 6, y + 4, name, anchor="end"))
    for number, (work, points) in enumerate(works.items()):
        colour = LINES[number % len(LINES)]
        found = [place(point) for point in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in found)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [_dot(x, y, colour, 3) for x, y in found]
        parts.append(_dot(left + 4, bottom + 32 + 14 * number, colour))
        parts.append(_text(left + 14, bottom + 36 + 14 * number, work))
    for at in dict.fromkeys(xs):
        x = left + (right - left) * (math.log10(at) - first) / (last - first)
        parts.append(_text(x, bottom + 16, f"{at:,}", anchor="middle"))
    return parts


def _others(row: dict[str, Any]) -> dict[str, float]:
    times = row["median_seconds"]
    return {who: time for who, time in times.items() if who not in (OURS, ITSELF)}


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """The powers of ten that all of them lie between."""
    return math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)) + 1e-9)


def _ticks(high: float) -> list[float]:
    """Round places on an axis that begins at 0, four or so."""
    step = 10.0 ** math.floor(math.log10(high / 2))
    step = next(step * many for many in (1, 2, 5, 10) if high / (step * many) <= 6)
    return [step * number for number in range(int(high / step) + 1)]


def _mark(x: float, top: float, bottom: float, name: str, strong: bool) -> list[str]:
    colour = HERE if strong else GRID
    return [
        _line(x, top, x, bottom, colour),
        _text(x, bottom + 14, "mlrepro" if strong else name, HERE if strong else INK, "middle"),
    ]


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _dot(x: float, y: float, colour: str, radius: int = 5) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}"/>'


def _text(
    x: float, y: float, text: str, colour: str = INK, anchor: str = "start", bold: bool = False
) -> str:
    weight = ' font-weight="bold"' if bold else ""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} fill="{colour}"{weight}>{escape(text)}</text>'


def _drawn(width: int, height: int, title: str, parts: Sequence[str]) -> str:
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    style = 'role="img" font-size="12" font-family="sans-serif"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    return "\n".join([*lines, *parts, "</svg>\n"])
