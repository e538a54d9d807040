"""What the result of ``status`` says to a person, and the notes of any result."""

from __future__ import annotations

from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.layout import Paths, hint, table
from mlrepro.terminal import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

# By itself, since a ``status`` that finds all in order loads this and next to nothing else.

STATE_HINTS = {
    "modified": "mlrepro track",
    "missing": "mlrepro pull",
    "conflict": "mlrepro resolve --ours PATH (or --theirs, or --union)",
}


def status(result: Any, path: Paths, _would: bool) -> list[str]:
    """The lines for ``status``."""
    if not result.files:
        return [] if result.errors else ["nothing is tracked yet", hint("mlrepro track PATH")]
    rows = []
    for item in result.files:
        absent = "not in the store" if item.asked else "the store was not asked"
        absent = "" if item.stored or item.state == "modified" else absent
        rows.append(
            (item.state, path(item.path), visible("; ".join(filter(None, (item.note, absent)))))
        )
    states = [item.state for item in result.files]
    odd = [state for state in dict.fromkeys(states) if state != "unchanged"]
    if result.clean:
        order = f"{len(states):,} tracked, all in order"
    elif odd:
        counts = ", ".join(f"{states.count(state):,} {state}" for state in odd)
        order = f"{len(states):,} tracked: {counts}"
    else:
        order = f"{len(states):,} tracked, all unchanged"
    head = "HEAD can be restored" if result.restorable else "HEAD cannot be restored"
    if not result.restorable and {error.code for error in result.errors} == {"store-not-asked"}:
        head = "whether HEAD can be restored is not known here"
    lines = [*table(rows), *notes(result, result.files, path), f"{order}; {head}"]
    if result.clean:
        return lines
    older = {item.path for item in result.files if item.note.endswith(": mlrepro pull")}
    edited = any(item.state == "modified" and item.path not in older for item in result.files)
    hints = {**STATE_HINTS, "modified": "mlrepro track" if edited else "mlrepro pull"}
    todo = ["mlrepro pull"] if older else []  # first: to track what is older here would undo it
    todo = list(dict.fromkeys([*todo, *(hints[state] for state in odd if state in hints)]))
    if any(not item.stored and item.asked for item in result.files if item.state != "modified"):
        todo.append("mlrepro push")
    if not todo:
        todo += _to_commit(result.notes)
    said = {error.hint for error in result.errors}
    return lines + [hint(text) for text in todo if text not in said]


def _to_commit(notes: Sequence[str]) -> list[str]:
    """How to commit what is not committed, by what ``status`` says of it."""
    if any(note.endswith("neither staged nor committed") for note in notes):
        return ["mlrepro track && git commit"]
    if any(note.endswith("removed, not committed") for note in notes):
        return ["git commit -a"]
    return ["git commit"] if any(note.endswith("staged, not committed") for note in notes) else []


def notes(result: Any, items: Iterable[Any], path: Paths) -> list[str]:
    """What else is to be known; a note may begin with the path or pointer of one of ``items``."""
    names = {name for item in items for name in (item.path, item.pointer)}
    lines = []
    for note in result.notes:
        about, colon, rest = note.partition(": ")
        lines.append(
            f"note: {path(about) if about in names else visible(about)}{colon}{visible(rest)}"
        )
    return lines
