"""The measurements as a table of ratios, and as one picture."""

from __future__ import annotations

from html import escape

Medians = dict[str, dict[str, float]]


def table(medians: Medians) -> list[str]:
    """One line for each work: our median, and how it stands to each of the others."""
    lines = []
    for work, by_who in medians.items():
        ours = by_who.get("mlrepro")
        if ours is None:
            continue
        ratios = [
            f"{ours / seconds:.2f} x {who} ({seconds:.3f} s)"
            for who, seconds in by_who.items()
            if who != "mlrepro" and seconds > 0
        ]
        lines.append(f"{work:<58} {ours:8.3f} s  {',  '.join(ratios)}")
    return lines


def picture(medians: Medians) -> str:
    """An SVG with a bar for each work and contender: time as a multiple of ours, compressed."""
    rows = [(work, by_who) for work, by_who in medians.items() if "mlrepro" in by_who]
    height = 30 + sum(14 * len(by_who) + 22 for _, by_who in rows)
    most = max(
        (seconds / by_who["mlrepro"] for _, by_who in rows for seconds in by_who.values()),
        default=1.0,
    )
    colours = {"mlrepro": "#2a9d8f", "DVC": "#945dd6", "git-lfs": "#e76f51", "floor": "#8d99ae"}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="860" height="{height}">',
        "<style>text { font: 11px sans-serif }</style>",
        f'<rect width="860" height="{height}" fill="white"/>',
    ]
    y = 20
    for work, by_who in rows:
        parts.append(f'<text x="8" y="{y}" font-weight="bold">{escape(work)}</text>')
        y += 6
        for who, seconds in by_who.items():
            ratio = seconds / by_who["mlrepro"]
            width = 3 + 560 * (ratio / most) ** 0.4
            colour = colours.get(who, "#bbbbbb")
            parts.append(f'<text x="8" y="{y + 10}">{escape(who)}</text>')
            parts.append(
                f'<rect x="150" y="{y + 1}" width="{width:.0f}" height="11" fill="{colour}"/>'
            )
            parts.append(
                f'<text x="{156 + width:.0f}" y="{y + 10}">{ratio:.2g} x ({seconds:.3g} s)</text>'
            )
            y += 14
        y += 16
    parts.append("</svg>")
    return "\n".join(parts) + "\n"
