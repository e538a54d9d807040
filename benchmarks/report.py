"""What was measured as tables: for the terminal, and as Markdown between two markers of a page."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import targets
from curves import Curves
from launching import Cost
from measuring import ITSELF, OURS, Costs

BEGIN = "<!-- measured: written by `make bench` -->"
END = "<!-- measured: end -->"
SHORT_BEGIN = "<!-- measured, in short: written by `make bench` -->"
SHORT_END = "<!-- measured, in short: end -->"
# What a reader who has a minute is shown.
SHORT = (
    "commit/three", "edit/three", "track/pointers", "track/folder", "track/large", "pull/folder",
    "pull/large", "status/folder",
)  # fmt: skip
OTHERS = ("DVC", "git-lfs", "floor", ITSELF)
Results = dict[str, Any]


def rows(costs: Costs, titles: dict[str, str]) -> list[Results]:
    """For each row what everyone took, and how ours stands to the others and to the targets."""
    found = []
    for row, by_who in costs.items():
        if OURS not in by_who:
            continue
        ours = _median(by_who[OURS])
        highest = max(cost.peak for cost in by_who[OURS])
        ratios = {}
        for who, runs in by_who.items():
            if who != OURS:
                ratios[who] = _judged(ours / _median(runs), targets.ratio(row, who))
        found.append({
            "row": row,
            "title": titles[row],
            "runs": len(by_who[OURS]),
            "seconds": {who: [cost.seconds for cost in runs] for who, runs in by_who.items()},
            "median_seconds": {who: _median(runs) for who, runs in by_who.items()},
            "cpu_seconds": {who: [cost.cpu for cost in runs] for who, runs in by_who.items()},
            "peak_bytes": {who: max(cost.peak for cost in runs) for who, runs in by_who.items()},
            "ratios": ratios,
            "peak": _judged(highest, targets.peak(row)),
        })  # fmt: skip
    return found


def points(curves: Curves) -> Results:
    """Curve → work → [{"at", "runs", "median_seconds", "peak_bytes", "peak"}]."""
    found: Results = {}
    for curve, by_at in curves.items():
        for at, by_work in by_at.items():
            for work, runs in by_work.items():
                highest = max(cost.peak for cost in runs)
                limit = targets.peak("commit") if "nothing" in work else targets.PEAK
                judged = work != "bare git commit" and not (curve == "files" and at > targets.FILES)
                found.setdefault(curve, {}).setdefault(work, []).append({
                    "at": at,
                    "runs": len(runs),
                    "median_seconds": _median(runs),
                    "peak_bytes": highest,
                    "peak": _judged(highest, limit if judged else None),
                })  # fmt: skip
    return found


def verdict(results: Results) -> str:
    """How many of the targets are met."""
    judged = [
        one
        for row in results["rows"]
        for one in (*row["ratios"].values(), row["peak"])
        if one["met"] is not None
    ]
    for works in results["curves"].values():
        judged += [at["peak"] for found in works.values() for at in found]
    judged = [one for one in judged if one["met"] is not None]
    met = sum(one["met"] for one in judged)
    words = f"{met} of {len(judged)} targets met"
    if results["about"]["quick"]:
        words += " (with less data than they are meant for)"
    return words


def table(results: Results) -> list[str]:
    """Lines for a terminal."""
    lines = []
    if results["rows"]:
        heads = ["work", "runs", OURS, *(f"to {who}" for who in OTHERS), "largest process"]
        lines += _aligned([heads, *(_cells(row) for row in results["rows"])])
    for _, heads, cells in _curve_tables(results["curves"]):
        lines += ["", *_aligned([heads, *cells])]
    return [*lines, "", f"✓ met, ✗ not met: {verdict(results)}"]


def markdown(results: Results) -> str:
    """The same for a page."""
    about = results["about"]
    load = " and ".join(f"{one:.1f}" for one in about["load"])
    machine = f"{about['cpu']}, {about['cores']} cores, {about['disk']}, {about['system']}"
    programs = f"Python {about['python']}, git {about['git']}, DVC {about['dvc']}"
    programs += f", git-lfs {about['lfs']}; load {load} before and after"
    parts = [
        f"{verdict(results)} (✓: met, ✗: not met).",
        f"Medians of interleaved runs in one process tree on {machine};\n{programs}.",
        f"{'; '.join(about['compiled'])}.",
    ]
    if results["rows"]:
        heads = ["work", "runs", OURS, *(f"to {who}" for who in OTHERS), "largest process"]
        parts.append(_piped([heads, *(_cells(row) for row in results["rows"])]))
    for title, heads, cells in _curve_tables(results["curves"]):
        parts += [f"**{title}**", _piped([heads, *cells])]
    return "\n\n".join(parts)


def markdown_in_short(results: Results) -> str:
    """A few of the rows, without their targets."""
    others = [who for who in OTHERS if who != ITSELF]
    cells = [["work", "runs", OURS, *(f"to {who}" for who in others)]]
    for row in results["rows"]:
        if row["row"] in SHORT:
            ratios = [row["ratios"].get(who) for who in others]
            told = ["–" if one is None else f"{one['value']:.2f} ×" for one in ratios]
            seconds = row["median_seconds"][OURS]
            cells.append([row["title"], str(row["runs"]), f"{seconds:.3f} s", *told])
    return _piped(cells)


def write(page: Path, results: Results) -> None:
    """Put the tables between the markers of a page; raises ValueError where it has none."""
    text = page.read_text("utf-8")
    wholes = ((BEGIN, END, markdown), (SHORT_BEGIN, SHORT_END, markdown_in_short))
    found = False
    for begin, end, told in wholes:
        before, first, rest = text.partition(begin)
        _, last, after = rest.partition(end)
        if first and last:
            text = f"{before}{begin}\n\n{told(results)}\n\n{end}{after}"
            found = True
    if not found:
        raise ValueError(f"no markers in {page}: {BEGIN} … {END}")
    page.write_text(text, "utf-8")


def _median(runs: Sequence[Cost]) -> float:
    return statistics.median(cost.seconds for cost in runs)


def _judged(value: float, limit: float | None) -> Results:
    met = None if limit is None else value <= limit
    return {"value": value, "at_most": limit, "met": met}


def _cells(row: Results) -> list[str]:
    ours = row["median_seconds"][OURS]
    cells = [row["title"], str(row["runs"]), f"{ours:.3f} s"]
    cells += [_ratio(row["ratios"].get(who)) for who in OTHERS]
    return [*cells, _peak(row["peak"])]


def _ratio(judged: Results | None) -> str:
    if judged is None:
        return "–"
    told = f"{judged['value']:.2f} ×"
    if judged["met"] is None:
        return told
    return f"{told} (≤ {judged['at_most']:.2g} {_mark(judged)})"


def _peak(judged: Results) -> str:
    told = f"{judged['value'] / targets.MIB:.0f} MiB"
    if judged["met"] is None:
        return told
    return f"{told} (≤ {judged['at_most'] // targets.MIB} {_mark(judged)})"


def _mark(judged: Results) -> str:
    return "✓" if judged["met"] else "✗"


def _curve_tables(curves: Results) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Title, heads and cells of each curve's table: a line for each place on its x axis."""
    kinds = {
        "files": ("One folder of more and more files of 4 KiB", "files"),
        "pointers": ("More and more files with a pointer each", "pointers"),
        "history": ("A longer and longer history", "commits of history"),
        "memory": ("One file, and one many times as large", "size"),
    }
    for curve, (title, unit) in kinds.items():
        works = curves.get(curve, {})
        if not works:
            continue
        cells = []
        for at in sorted({point["at"] for points in works.values() for point in points}):
            line = [f"{at >> 20:,} MiB" if curve == "memory" else f"{at:,}"]
            for found in works.values():
                line += [_point(curve, point) for point in found if point["at"] == at]
            cells.append(line)
        yield title, [unit, *works], cells


def _point(curve: str, point: Results) -> str:
    seconds = point["median_seconds"]
    told = f"{seconds:.3f} s"
    if curve == "files":
        told += f", {seconds / point['at'] * 1e6:.0f} µs a file"
    if curve in ("files", "memory"):
        told += f", {_peak(point['peak'])}"
    return told


def _aligned(lines: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = []
    for line in lines:
        first = line[0].ljust(widths[0])
        rest = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        aligned.append("  ".join([first, *rest]))
    return aligned


def _piped(lines: list[list[str]]) -> str:
    heads, *cells = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([heads, "|" + "---|" * len(lines[0]), *cells])
