"""What each command's result says to a person: what happened, and then what to type next."""

from __future__ import annotations

import sys

from mlrepro.amounts import many, size
from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.layout import Paths, hint, short, table
from mlrepro.render_status import STATE_HINTS, notes, status
from mlrepro.terminal import visible

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from mlrepro.outcome import Show
    from mlrepro.result import Options

    _Renderer = Callable[[Any, Paths, bool], list[str]]

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
    details += notes(result, result.tracked, path)
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
    return [*lines, hint(STATE_HINTS["conflict"] if left else "git commit")]


def _diff(result: Any, path: Paths, would: bool) -> list[str]:
    if result.markdown:
        from mlrepro import render_markdown

        return render_markdown.diff(result, path)
    from mlrepro import render_diff

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


def _later(module: str, verb: str) -> _Renderer:
    """The renderer of a verb that is used less often, and loads more."""

    def draw(result: Any, path: Paths, would: bool) -> list[str]:
        name = f"mlrepro.{module}"
        __import__(name)
        lines: list[str] = getattr(sys.modules[name], verb)(result, path, would)
        return lines

    return draw


_RENDERERS: dict[str, _Renderer] = {
    "init": _init,
    "track": _track,
    "status": status,
    "push": _push,
    "pull": _pull,
    "resolve": _resolve,
    "diff": _diff,
    "hook": _explain,
    **{verb: _later("render_history", verb) for verb in ("log", "config")},
    **{
        verb: _later("render_store", verb)
        for verb in (
            "restore", "checkout", "verify", "remote", "gc", "mv", "untrack", "doctor",
        )
    },
}  # fmt: skip
