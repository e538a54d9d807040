"""What the commands that go back, and those that look after the store, say to a person."""

from __future__ import annotations

from mlrepro.amounts import many, size
from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.layout import Paths, hint, short, table
from mlrepro.terminal import visible

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

MOST_ROWS = 40


def verify(result: Any, _path: Paths, would: bool) -> list[str]:
    """One line that CI and people can read; each gap is told as an error."""
    lines = []
    if result.repaired:
        lines.append(
            f"would repair {many(len(result.repaired), 'blob')}: there are copies"
            if would
            else f"repaired {many(len(result.repaired), 'blob')} from good copies"
        )
    every = many(result.commits, "commit")
    read = " read" if result.deep else ""
    behind = f"{many(result.blobs, 'blob')}, {size(result.bytes)}{read}"
    if not result.commits:
        return [*lines, "no commit yet, so nothing to restore"]
    if result.problems:
        gaps = many(len(result.problems), "gap")
        return [*lines, f"{result.restorable:,} of {every} can be restored: {gaps} ({behind})"]
    which = f"all {every}" if result.commits > 1 else every
    return [*lines, f"{which} can be restored: {behind}"]


def restore(result: Any, path: Paths, would: bool) -> list[str]:
    """What became of each path, and what else to know of it."""
    rows = [("to restore" if would else "restored", path(name)) for name in result.restored]
    rows += [("unchanged", path(name)) for name in result.unchanged]
    rows += [("kept", path(name)) for name in result.kept]
    parts = [f"{len(result.unchanged):,} unchanged"] if result.unchanged else []
    parts += _left(result)
    done = f"{len(result.restored):,}"
    what = [f"restore {done}" if would else f"{done} restored", *parts]
    summary = f"{', '.join(what)} ({short(result.commit)})"
    details = table(rows)
    if would:
        return [f"would {summary}", *details]
    lines = [*details, summary]
    return [*lines, hint("git commit")] if result.restored and not result.errors else lines


def checkout(result: Any, path: Paths, would: bool) -> list[str]:
    """The commit that is there now, and where."""
    rows = [("to restore" if would else "restored", path(name)) for name in result.restored]
    rows += [("removed", path(name)) for name in result.removed]
    rows += [("kept", path(name)) for name in result.kept]
    where = f" in {visible(result.into)}" if result.into else ""
    done = [f"{len(result.restored):,} data paths brought", *_left(result)]
    summary = f"commit {short(result.commit)}{where}: {', '.join(done)}"
    details = _first(table(rows))
    if would:
        return [f"would check out {summary}", *details]
    lines = [*details, summary]
    if result.into:
        shown = visible(result.into)
        lines.append(hint(f"cd {shown}; when done with it: git worktree remove --force {shown}"))
    elif result.left:
        lines.append(hint(f"back to where you were: mlrepro checkout {visible(result.left)}"))
    return lines


def _left(result: Any) -> list[str]:
    parts = [f"{len(result.kept):,} kept"] if result.kept else []
    return parts + ([f"{len(result.missing):,} missing"] if result.missing else [])


def mv(result: Any, path: Paths, would: bool) -> list[str]:
    """From where to where."""
    moved = f"{path(result.old)} -> {path(result.new)}"
    return [f"would move {moved}"] if would else [f"moved {moved}", hint("git commit")]


def untrack(result: Any, path: Paths, would: bool) -> list[str]:
    """What is no longer tracked, and what git would take now."""
    count = many(len(result.untracked), "path")
    rows = [f"{'to untrack' if would else 'untracked'}  {path(name)}" for name in result.untracked]
    if would:
        return [f"would untrack {count}", *rows]
    if not result.untracked:
        return [] if result.errors else ["nothing untracked"]
    notes = [f"note: {visible(note)}" for note in result.notes]
    return [*rows, *notes, f"{count} untracked", hint("git commit")]


def gc(result: Any, path: Paths, would: bool) -> list[str]:
    """What is no longer needed, where it went, and what that frees."""
    notes = [f"note: {visible(note)}" for note in result.notes]
    if result.emptied is not None:
        amount = f"{many(result.emptied.count, 'blob')} ({size(result.emptied.bytes)})"
        left = [f"left  {visible(name)}: it is no blob" for name in result.left]
        said = f"would delete {amount} from the trash" if would else f"{amount} deleted for good"
        return [*left, *notes, said if result.emptied.count else "the trash is empty"]
    rows = listed(result.blobs, path)
    kept = f"{many(result.kept.count, 'blob')} ({size(result.kept.bytes)}) needed"
    if not result.blobs:
        return [*notes, f"nothing to free: {kept}"]
    amount = f"{many(result.moved.count, 'blob')} ({size(result.moved.bytes)})"
    if would:
        return [f"would move {amount} to the trash: {kept}", *rows, *notes]
    lines = [*rows, *notes, f"{amount} moved to the trash, {kept}"]
    return [*lines, hint("mlrepro gc --empty-trash frees the space for good")]


def listed(blobs: Iterable[Any], path: Paths) -> list[str]:
    """A row for each blob that goes, the largest first."""
    ordered = sorted(blobs, key=lambda blob: -blob.size)
    rows = [
        (short(blob.oid), size(blob.size), blob.where, path(blob.path) if blob.path else "")
        for blob in ordered
    ]
    return _first(table(rows, right=1))


def _first(rows: list[str]) -> list[str]:
    more = len(rows) - MOST_ROWS
    return [*rows[:MOST_ROWS], f"… and {more:,} more"] if more > 1 else rows


def doctor(result: Any, _path: Paths, would: bool) -> list[str]:
    """What was mended, and how much is left; the findings themselves are told as errors."""
    fixed = [f"{'to mend' if would else 'mended'}  {visible(one.message)}" for one in result.fixed]
    notes = [f"note: {visible(note)}" for note in result.notes]
    left = many(len(result.findings), "finding")
    if would and result.fixed:
        return [f"would mend {many(len(result.fixed), 'finding')}, leaving {left}", *fixed, *notes]
    lines = [*fixed, *notes]
    if not result.findings:
        return [*lines, "all is in order"]
    easy = sum(one.fixable for one in result.findings)
    more = f", {easy:,} of which mlrepro doctor --fix mends" if easy else ""
    return [*lines, f"{left}{more}"]


def remote(result: Any, _path: Paths, would: bool) -> list[str]:
    """The store in use, how a test of it went, or where it is since a move."""
    notes = [f"note: {visible(note)}" for note in result.notes]
    rows = [("name", visible(result.name)), ("url", visible(result.url)), ("kind", result.kind)]
    rows += [(key, visible(value)) for key, value in sorted((result.options or {}).items())]
    if result.secrets:
        rows.append(("secrets", f"{', '.join(result.secrets)} (in .dvc/config.local)"))
    if result.owed:
        rows.append(("owed", many(result.owed, "blob")))
    lines = table(row for row in rows if row[1])
    if result.action == "show":
        return lines
    if result.action == "test":
        if would:
            return ["would write, read, list and remove a small file", *lines]
        done = ", ".join(result.steps)
        said = f"worked: {done}" if result.errors else f"the store works: {done}"
        return [*lines, said] if done else lines
    amount = f"{many(result.copied.count, 'blob')} ({size(result.copied.bytes)})"
    place = visible(result.url)
    if would:
        what = f"move the store from {visible(result.was)} to" if result.moved else "set the store"
        return [f"would {what} {place}, copying {amount}", *lines, *notes]
    was = f"; the old one, {visible(result.was)}, is as it was" if result.moved else ""
    if not (result.moved or result.changed or result.copied.count):
        return [*lines, *notes, f"the store is {place}, as before"]
    lines += [*notes, f"the store is {place}, {amount} copied{was}"]
    if result.changed:
        lines.append(hint("git commit tells the other clones; each then runs mlrepro push --all"))
    return lines
