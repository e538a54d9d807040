"""What each command's result says to a person: what happened, and then what to type next."""

from __future__ import annotations

from mlrepro import render_diff, render_history, render_store
from mlrepro.amounts import many, size
from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.layout import Paths, hint, short, table
from mlrepro.terminal import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from mlrepro.outcome import Show
    from mlrepro.result import Options

# Results are known here by their fields alone: importing the commands would import all they need.


def render(verb: str, result: Any, show: Show, options: Options) -> list[str]:
    """The lines for stdout; ``show`` writes paths relative to where the user stands.

    With ``--dry-run`` the first line starts with "would", and the details come after it.
    """
    path = Paths(show)
    return _RENDERERS[verb](result, path, options.dry_run)


def _told(details: list[str], summary: str, would: bool) -> list[str]:
    """Details, then what they come to; under ``--dry-run`` what would be done comes first."""
    return [f"would {summary}", *details] if would else [*details, summary]


def _notes(result: Any, items: Iterable[Any], path: Paths) -> list[str]:
    """What else is to be known; a note may begin with the path or pointer of one of ``items``."""
    names = {name for item in items for name in (item.path, item.pointer)}
    lines = []
    for note in result.notes:
        about, colon, rest = note.partition(": ")
        lines.append(
            f"note: {path(about) if about in names else visible(about)}{colon}{visible(rest)}"
        )
    return lines


def _missing(result: Any, path: Paths) -> list[list[str]]:
    """A row for each blob that is nowhere, unless the errors already tell of its path, or how many
    more there are.
    """
    if any(error.code == "more-problems" for error in result.errors):
        return []
    told = {error.path for error in result.errors}
    rows = []
    for lost in result.missing:
        if lost.path not in told:
            since = f"commit {short(lost.commit)}" if lost.commit else ""
            by = " ".join(word for word in (since, lost.author, lost.date) if word)
            rows.append(["missing", path(lost.path), short(lost.oid), visible(by)])
    return rows


def _init(result: Any, path: Paths, would: bool) -> list[str]:
    details = table(
        [("created", path(name)) for name in result.created]
        + [("changed", path(name)) for name in result.changed]
    )
    where = visible(f"{result.root}, store {result.store}")
    if not details:
        unchanged = f"all is set up in {where}"
        lines = [f"would change nothing: {unchanged}" if would else unchanged]
    else:
        hooks = f", hooks {', '.join(result.hooks)}" if result.hooks else ""
        lines = _told(details, f"set up {where}{hooks}", would)
    advice = [hint(visible(text)) for text in result.advice]
    return lines + (advice or [hint("mlrepro track PATH")] if details and not would else advice)


def _track(result: Any, path: Paths, would: bool) -> list[str]:
    if not result.tracked:
        if result.errors:
            return []
        nothing = "track nothing: no PATH was given and" if would else "no PATH was given, and"
        summary = f"{nothing} nothing is tracked yet"
        return [*_told([], summary, would), hint("mlrepro track PATH")]
    altered = [item for item in result.tracked if item.state != "unchanged"]
    details = table([(item.state, path(item.path), size(item.size)) for item in altered], right=2)
    for change in result.ignore_changes:
        file, _, line = change.partition(": ")
        details.append(f"ignored  {path(file)}: {visible(line)}")
    details += _notes(result, result.tracked, path)
    stored = result.stored
    count = f"{len(result.tracked):,}"
    if not altered and not stored.count:
        unchanged = f"{count} tracked, all unchanged"
        return [*details, f"would change nothing: {unchanged}" if would else unchanged]
    amount = f"({size(stored.bytes)})"
    if would:
        return _told(details, f"track {count}, store {stored.count:,} {amount}", would)
    lines = [*details, f"{count} tracked, {stored.count:,} stored {amount}"]
    return [*lines, hint("git commit")] if altered and not result.errors else lines


_STATE_HINTS = {
    "modified": "mlrepro track",
    "missing": "mlrepro pull",
    "conflict": "mlrepro resolve --ours PATH (or --theirs, or --union)",
}


def _status(result: Any, path: Paths, _would: bool) -> list[str]:
    if not result.files:
        return [] if result.errors else ["nothing is tracked yet", hint("mlrepro track PATH")]
    rows = []
    for item in result.files:
        absent = "" if item.stored or item.state == "modified" else "not in the store"
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
    lines = [*table(rows), *_notes(result, result.files, path), f"{order}; {head}"]
    if result.clean:
        return lines
    todo = [_STATE_HINTS[state] for state in odd if state in _STATE_HINTS]
    if any(not item.stored for item in result.files if item.state != "modified"):
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


def _push(result: Any, path: Paths, would: bool) -> list[str]:
    lost = table(_missing(result, path))
    stored = result.stored
    if stored.count:
        blobs = f"{many(stored.count, 'blob')} ({size(stored.bytes)})"
        return _told(lost, f"store {blobs}" if would else f"{blobs} stored", would)
    if result.missing or result.errors:
        return _told(lost, "store nothing" if would else "nothing stored", would)
    return ["would store nothing: all is in the store" if would else "all is in the store"]


def _pull(result: Any, path: Paths, would: bool) -> list[str]:
    restored = "to restore" if would else "restored"
    rows = [[restored, path(name), "", ""] for name in result.restored]
    rows += [["kept", path(name), "edited here", ""] for name in result.kept]
    rows += _missing(result, path)
    same = result.unchanged if isinstance(result.unchanged, int) else len(result.unchanged)
    rest = [f"{same:,} unchanged"]
    rest += [f"{len(result.kept):,} kept"] if result.kept else []
    rest += [f"{len(result.missing):,} missing"] if result.missing else []
    done = f"{len(result.restored):,}"
    summary = ", ".join([f"restore {done}" if would else f"{done} restored", *rest])
    lines = _told(table(rows), summary, would)
    if result.errors:
        return lines
    if result.kept:
        lines.append(
            hint("mlrepro track PATH keeps an edit, mlrepro pull --force PATH replaces it")
        )
    if result.missing:
        authors = sorted({lost.author for lost in result.missing if lost.author})
        whom = visible(", ".join(authors)) or "who made the commit"
        lines.append(hint(f"ask {whom} to run: mlrepro push"))
    return lines


def _resolve(result: Any, path: Paths, would: bool) -> list[str]:
    rows = [("resolved", path(name)) for name in result.resolved]
    rows += [("conflict", path(name)) for name in result.conflicts]
    done, left = len(result.resolved), len(result.conflicts)
    still = f", {left:,} still in conflict" if left else ""
    lines = _told(
        table(rows), (f"resolve {done:,}" if would else f"{done:,} resolved") + still, would
    )
    if would or result.errors:
        return lines
    return [*lines, hint(_STATE_HINTS["conflict"] if left else "git commit")]


def _diff(result: Any, path: Paths, would: bool) -> list[str]:
    if result.markdown:
        from mlrepro import render_markdown

        return render_markdown.diff(result, path)
    return render_diff.diff(result, path, would)


def _explain(result: Any, path: Paths, _would: bool) -> list[str]:
    states = table(
        (one.name, "installed" if one.installed else "absent", path(one.path))
        for one in result.hooks
    )
    lines = []
    for state, one in zip(states, result.hooks, strict=True):
        lines.append(state)
        lines += [f"  {turn}. {visible(who)}" for turn, who in enumerate(one.order, 1)]
        lines.append(f"  now: {visible(one.now)}")
    return lines


_RENDERERS: dict[str, Callable[[Any, Paths, bool], list[str]]] = {
    "init": _init,
    "track": _track,
    "status": _status,
    "push": _push,
    "pull": _pull,
    "resolve": _resolve,
    "log": render_history.log,
    "config": render_history.config,
    "diff": _diff,
    "restore": render_store.restore,
    "checkout": render_store.checkout,
    "verify": render_store.verify,
    "remote": render_store.remote,
    "gc": render_store.gc,
    "mv": render_store.mv,
    "untrack": render_store.untrack,
    "doctor": render_store.doctor,
    "hook": _explain,
}
