"""What diff says to a person: config, metrics, data and code, old and new side by side."""

from __future__ import annotations

import json

from mlrepro.amounts import many, size
from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.excerpt import excerpts
from mlrepro.layout import Paths, short, table
from mlrepro.render_history import grown, value_text
from mlrepro.terminal import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

NAMES = 5  # names shown of each kind, of the files of a folder, of keys, of tensors
ROWS = 5  # changed rows shown
CELL = 40  # characters shown of a cell
VALUE = 80  # characters shown of a value

_QUOTED = frozenset(' ,;"\n\r\t')  # in a cell: without quotes its ends could not be seen
NOTHING = "-"  # stands for what one side does not have


def diff(result: Any, path: Paths, _would: bool) -> list[str]:
    """A section for each kind of change, then what they come to."""
    lines = [f"{called(result.a, result.about[0])} -> {called(result.b, result.about[1])}"]
    heads = (column(result.a), column(result.b))
    lines += _section("config", values(result.config, heads, path))
    lines += _section("metrics", values(result.metrics, heads, path))
    lines += _section("data", _data(result.files, heads, path))
    lines += _section("code", table((one.change, moved(one, path)) for one in result.code))
    told = [f"note: {note_text(note, result, path)}" for note in result.notes]
    return [*lines, "", *told, summary(result)]


def called(name: str, about: str) -> str:
    """A side as its heading has it."""
    return visible(f"{column(name)} {about}".rstrip())


def column(name: str) -> str:
    """A side as the head of a column."""
    return short(name) if name else "before the first commit"


def summary(result: Any) -> str:
    """What changed, in numbers."""
    counts = (
        (result.config, "config value", ""),
        (result.metrics, "metric", ""),
        (result.files, "data path", ""),
        (result.code, "code file", ""),
    )
    parts = [many(len(found), one, several) for found, one, several in counts if found]
    if parts:
        return f"changed: {', '.join(parts)}"
    return "no other differences" if result.errors else "no differences"


def note_text(note: str, result: Any, path: Paths) -> str:
    """A note; it begins with the path that it is about."""
    about, colon, rest = note.partition(": ")
    known = about in {change.path for change in result.files}
    return f"{path(about) if known else visible(about)}{colon}{visible(rest)}"


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return ["", title, *(f"  {line}" for line in lines)] if lines else []


def moved(change: Any, path: Paths) -> str:
    """A path, after the one it had before where it was renamed."""
    return f"{path(change.before)} -> {path(change.path)}" if change.before else path(change.path)


def values(changes: Sequence[Any], heads: tuple[str, str], path: Paths) -> list[str]:
    """A table of values: file, name, old and new; of numbers by how much they changed."""
    if not changes:
        return []
    rows = [("", "", *heads, "")]
    for one in changes:
        old = NOTHING if one.change == "added" else value_text(one.old, VALUE)
        new = NOTHING if one.change == "removed" else value_text(one.new, VALUE)
        rows.append((path(one.file), visible(one.name), old, new, by(one.old, one.new)))
    return table(rows)


def by(old: Any, new: Any) -> str:
    """By how much a number changed; "" for anything else."""
    numbers = (int, float)
    if (
        not isinstance(old, numbers)
        or not isinstance(new, numbers)
        or bool in (type(old), type(new))
    ):
        return ""
    if max(abs(old), abs(new)) > 1e15:
        return ""
    return f"{new - old:+.6g}"


def _data(files: Sequence[Any], heads: tuple[str, str], path: Paths) -> list[str]:
    """A row for each path, and below it what is known of its inside."""
    if not files:
        return []
    rows = [("", "", *heads, "")]
    rows += [(one.change, moved(one, path), *sizes(one)) for one in files]
    head, *lines = table(rows, (2, 3, 4))
    result = [head]
    for line, one in zip(lines, files, strict=True):
        result.append(line)
        result += [f"    {part}" for part in inner(one)]
    return result


def sizes(change: Any) -> tuple[str, str, str]:
    """Size before, size after, and the difference."""
    old, new = change.old, change.new
    grew = None
    if all(one is None or one.size is not None for one in (old, new)):
        grew = (new.size if new else 0) - (old.size if old else 0)
    return _size(old), _size(new), "" if change.change == "renamed" else grown(grew)


def _size(content: Any) -> str:
    if content is None:
        return NOTHING
    text = size(content.size) if content.size is not None else "?"
    return f"{text} in {many(content.nfiles, 'file')}" if content.nfiles is not None else text


def inner(change: Any) -> Iterator[str]:
    """What is known of the inside of a path."""
    if change.members is not None:
        yield from _members(change.members)
    for name, found in change.looks.items():
        if name:
            yield f"{visible(name)}:"
        lead = "  " if name else ""
        if "rows" in found:
            yield from (lead + line for line in rows_of(found["rows"]))
        if "model" in found:
            yield from (lead + line for line in model_of(found["model"]))


def _members(members: Any) -> Iterator[str]:
    renamed = [f"{old} -> {new}" for old, new in members.renamed]
    kinds = (
        ("added", members.added), ("removed", members.removed), ("modified", members.modified),
        ("renamed", renamed),
    )  # fmt: skip
    for kind, names in kinds:
        if names:
            yield f"{many(len(names), 'file')} {kind}: {listed(names)}"


def listed(names: Iterable[str], most: int = NAMES) -> str:
    """The first of the names, and how many more there are."""
    every = [visible(name) for name in names]
    more = f" and {len(every) - most:,} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more


def rows_of(rows: Any) -> Iterator[str]:
    """How the rows and columns of a table differ."""
    yield rows_summary(rows)
    if rows.old is None or rows.new is None:
        return
    yield from columns_of(rows)
    if rows.cells:
        counts = [f"{name} {count:,}" for name, count in rows.cells.items()]
        yield f"cells changed: {listed(counts, 10)}"
    for row in rows.rows_changed[:ROWS]:
        cells = "; ".join(
            f"{visible(column)} {' -> '.join(cell_pair(old, new))}"
            for column, old, new in row.cells
        )
        yield f"~ {keyed(row.key)}: {cells}"
    yield from _more(rows.changed, len(rows.rows_changed))
    for sign, found, count in (
        ("+", rows.rows_added, rows.added),
        ("-", rows.rows_removed, rows.removed),
    ):
        for row in found[:ROWS]:
            yield f"{sign} " + ", ".join(f"{visible(name)}={cell(text)}" for name, text in row)
        yield from _more(count, len(found))


def rows_summary(rows: Any) -> str:
    """The numbers of rows, in one line."""
    if rows.old is None or rows.new is None:
        count, names = (
            (rows.new, rows.columns.added) if rows.old is None else (rows.old, rows.columns.removed)
        )
        return f"{many(count, 'row')}, {many(len(names), 'column')}: {listed(names, 10)}"
    how = f"by {', '.join(visible(name) for name in rows.key)}" if rows.key else "as a whole"
    parts = [("added", rows.added), ("removed", rows.removed)]
    parts += [("changed", rows.changed)] if rows.key else []
    counts = ", ".join(f"{count:,} {what}" for what, count in (*parts, ("same", rows.same)))
    return f"{rows.old:,} -> {rows.new:,} rows, compared {how}: {counts}"


def columns_of(rows: Any) -> Iterator[str]:
    """How the columns differ, and the encodings."""
    columns = rows.columns
    if columns.added:
        yield f"columns added: {listed(columns.added, 10)}"
    if columns.removed:
        yield f"columns removed: {listed(columns.removed, 10)}"
    if columns.renamed:
        yield f"columns renamed: {listed((f'{old} -> {new}' for old, new in columns.renamed), 10)}"
    for name, old, new in columns.retyped:
        yield f"column {visible(name)}: {visible(old)} -> {visible(new)}"
    if rows.encodings:
        yield f"encoding: {' -> '.join(rows.encodings)}"


def _more(count: int, shown: int) -> Iterator[str]:
    if count > min(shown, ROWS) > 0:
        yield f"  and {count - min(shown, ROWS):,} more"


def keyed(key: Iterable[tuple[str, str | None]]) -> str:
    """What names a row."""
    return ", ".join(f"{visible(name)}={cell(text)}" for name, text in key)


def cell(text: str | None) -> str:
    """A cell on one line; in quotes where its ends could not be seen otherwise."""
    return cell_pair(text, text)[0]


def cell_pair(old: str | None, new: str | None) -> tuple[str, str]:
    """Two cells cut to where they differ."""
    both = excerpts(old, new, CELL)
    quotes = any(text is not None and (not text or set(text) & _QUOTED) for text in both)
    before, after = (
        "(none)" if text is None else json.dumps(text, ensure_ascii=False) if quotes else text
        for text in both
    )
    return visible(before), visible(after)


def model_of(change: Any) -> Iterator[str]:
    """How a model differs, as far as it could be read."""
    old, new = change.old, change.new
    texts = [model_summary(one) for one in (old, new) if one is not None]
    yield texts[0] if len(set(texts)) == 1 else " -> ".join(texts)
    for one in (old, new):
        if one is not None and one.problem:
            yield f"not all of it was read: {visible(one.problem)}"
            break
    if old is None or new is None:
        return
    for kind, names, owner in (("added", change.added, new), ("removed", change.removed, old)):
        if names:
            shapes = [f"{name} {shape(owner.tensors[name])}" for name in names]
            yield f"{many(len(names), 'tensor')} {kind}: {listed(shapes)}"
    for name, was, now in change.changed[:NAMES]:
        yield f"tensor {visible(name)}: {shape(was)} -> {shape(now)}"
    if len(change.changed) > NAMES:
        yield f"  and {len(change.changed) - NAMES:,} more of another shape or type"
    if change.values:
        yield f"{many(len(change.values), 'tensor')} with other values: {listed(change.values)}"
    for name, (was, now) in list(change.settings.items())[:NAMES]:
        yield f"{visible(name)}: {value_text(was, VALUE)} -> {value_text(now, VALUE)}"
    if len(change.settings) > NAMES:
        yield f"  and {len(change.settings) - NAMES:,} more settings"


def model_summary(model: Any) -> str:
    """A model in one line: format, class, tensors, numbers."""
    parts = [model.format]
    if model.classes:
        parts.append(model.classes[0])
    if model.tensors:
        parts.append(
            f"{many(len(model.tensors), 'tensor')} with {many(model.parameters, 'number')}"
        )
    return visible(", ".join(parts))


def shape(tensor: Any) -> str:
    """A tensor's type and shape."""
    sides = " x ".join(f"{side:,}" for side in tensor.shape) or "one number"
    return visible(f"{tensor.dtype} {sides}")
