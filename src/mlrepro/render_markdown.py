"""What a pull-request comment wants of a diff: Markdown, bounded, with nothing in it that acts."""

from __future__ import annotations

import re

from mlrepro import render_diff as plain
from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.layout import Paths
from mlrepro.render_history import value_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

MOST = 50  # rows of one table: a comment on GitHub holds 65,536 characters
MOST_INSIDE = 20  # paths whose inside is told
# What Markdown or GitHub would read as more than text: HTML, tables, emphasis, links, mentions.
_ACTIVE = re.compile(r"([\\`*_\[\]<#|~$@&])")


def diff(result: Any, path: Paths) -> list[str]:
    """The lines of the comment."""
    a, b = (
        text(plain.called(*side)) for side in zip((result.a, result.b), result.about, strict=True)
    )
    lines = [f"### Changes from {a} to {b}", "", text(plain.summary(result)) + "."]
    heads = (plain.column(result.a), plain.column(result.b))
    for title, changes in (("Config", result.config), ("Metrics", result.metrics)):
        rows = [
            (
                path(one.file),
                one.name,
                plain.NOTHING if one.change == "added" else value_text(one.old, plain.VALUE),
                plain.NOTHING if one.change == "removed" else value_text(one.new, plain.VALUE),
                plain.by(one.old, one.new),
            )
            for one in changes
        ]
        lines += section(title, ("file", "name", *heads, "by"), rows)
    rows = [(one.change, plain.moved(one, path), *plain.sizes(one)) for one in result.files]
    lines += section("Data", ("", "path", *heads, "by"), rows, right=(2, 3, 4))
    for one in result.files[:MOST_INSIDE]:
        inside = list(plain.inner(one))
        if inside:
            lines += [
                "", f"<details><summary>{html(path(one.path))}</summary>", "",
                *(f"* {_item(line.strip())}" for line in inside[:MOST]), "", "</details>",
            ]  # fmt: skip
    code = [(one.change, plain.moved(one, path)) for one in result.code]
    lines += section("Code", ("", "path"), code)
    lines += [f"\n> {text(plain.note_text(note, result, path))}" for note in result.notes]
    return lines


def section(
    title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], right: Iterable[int] = ()
) -> list[str]:
    """A heading and a table; nothing where there are no rows."""
    if not rows:
        return []
    rule = ["---:" if at in right else "---" for at in range(len(heads))]
    lines = ["", f"#### {title}", "", _row(map(text, heads)), _row(rule)]
    lines += [_row(map(text, row)) for row in rows[:MOST]]
    if len(rows) > MOST:
        lines += ["", f"and {len(rows) - MOST:,} more"]
    return lines


def _item(line: str) -> str:
    words = text(line)
    return "\\" + words if words.startswith("-") else words


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def text(words: str) -> str:
    """Words that stay words: a cell, a path or a subject is what somebody else wrote."""
    quiet = _ACTIVE.sub(r"\\\1", words)
    for acts in ("@", "#"):  # GitHub makes links of names and numbers behind these
        quiet = quiet.replace("\\" + acts, acts + "\u200b")
    return quiet.replace("://", ":\u200b//")


def html(words: str) -> str:
    """The same inside of an HTML element."""
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
