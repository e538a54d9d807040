"""What log and config say to a person."""

from __future__ import annotations

import json

from mlrepro.amounts import many, size
from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.layout import Paths, hint, short, table
from mlrepro.terminal import visible

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

MAX_WIDTH = 200  # characters of one value


def log(result: Any, path: Paths, _would: bool) -> list[str]:
    """A paragraph for each version: who and when, then what became of each path."""
    if not result.versions:
        return [] if result.errors else ["no version of any data yet", hint("git commit")]
    lines = []
    for version in result.versions:
        commit = version.commit
        when = f"{commit.date[:10]} {commit.date[11:16]}"
        who = f"{visible(commit.author)}  {visible(commit.subject)}"
        lines.append(f"{short(commit.oid)}  {when}  {who}")
        lines += [f"  {line}" for line in table(_changes(version.changes, path), (2, 3))]
        lines.append("")
    paths = {change.path for version in result.versions for change in version.changes}
    lines.append(f"{many(len(result.versions), 'version')}, {many(len(paths), 'path')}")
    if result.shallow:
        lines.append("note: this clone has only the newest commits: earlier versions are not shown")
        lines.append(hint("git fetch --unshallow"))
    return lines


def _changes(changes: Sequence[Any], path: Paths) -> list[tuple[str, str, str, str]]:
    """A row for each change; what went and came back under another name is one row."""
    gone = {change.oid: change for change in changes if change.change == "removed"}
    renamed = {
        change.oid: gone[change.oid]
        for change in changes
        if change.change == "added" and change.oid in gone
    }
    rows = []
    for change in changes:
        now = "" if change.change == "removed" or change.size is None else size(change.size)
        if change.oid not in renamed:
            rows.append((change.change, path(change.path), now, grown(change.grown)))
        elif change.change == "added":
            both = f"{path(renamed[change.oid].path)} -> {path(change.path)}"
            rows.append(("renamed", both, now, ""))
    return rows


def grown(count: int | None) -> str:
    """By how many bytes something grew or shrank, with its sign; "" where that is not known."""
    if count is None:
        return ""
    return f"{'-' if count < 0 else '+'}{size(abs(count))}"


def config(result: Any, path: Paths, _would: bool) -> list[str]:
    """A paragraph for each file, a row for each value."""
    if not result.values and not result.unread:
        return [] if result.errors else ["no values: there is no config/ and no params file"]
    lines: list[str] = []
    for file in dict.fromkeys(one.file for one in (*result.values, *result.unread)):
        lines += ["", path(file)] if lines else [path(file)]
        rows = [(one.name, one.value) for one in result.values if one.file == file]
        lines += [
            f"  {line}"
            for line in table((visible(name), value_text(value)) for name, value in rows)
        ]
        for one in (one for one in result.unread if one.file == file):
            lines.append(f"  {visible(one.name)}: not read: {visible(one.source)}")
            lines.append(f"    line {one.line}: {visible(one.reason)}")
    return lines


def value_text(value: Any, most: int = MAX_WIDTH) -> str:
    """A value on one line: as JSON, but texts without quotes where nobody could mistake them."""
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
    if isinstance(value, str) and (not value or value != value.strip() or _other(value)):
        text = json.dumps(value, ensure_ascii=False)
    return visible(text if len(text) <= most else text[: most - 3] + "...")


def _other(text: str) -> bool:
    """Whether a text, written without quotes, reads like a value of another kind."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
