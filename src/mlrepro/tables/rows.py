"""How two tables in a database differ: which rows came, went and changed, and which columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mlrepro.errors import MlreproError
from mlrepro.excerpt import excerpts
from mlrepro.tables import Cells, ChangedRow, Columns, Rows, Source, keys, texts
from mlrepro.tables.loading import AT_ONCE, Database, Table

EXAMPLES = 10  # rows shown of each kind
MAX_CELL = 1000  # characters shown of a cell
_FETCHED = 1 << 16  # characters of a cell that are looked at to find where it changed


def compare(
    old: Source | None, new: Source | None, room: str, key: str, jobs: int, memory: int
) -> Rows:
    """See ``tables.compare``."""
    pair = [(name, one) for name, one in (("o", old), ("n", new)) if one is not None]
    with Database(room, jobs, memory) as database, _telling(pair[0][1].name):
        tables = database.load(pair)
        if old is None or new is None:
            return _alone(tables[0], old is None)
        o, n = tables
        shared = [name for name in n.names if name in set(o.names)]
        for table in tables:
            database.find_types(table, shared)
        by = keys.given(database, o, n, key) if key else keys.found(database, o, n, shared)
        if not by:
            return _whole(database, o, n, shared)
        return _by_key(database, o, n, shared, by)


@contextmanager
def _telling(name: str) -> Iterator[None]:
    """Let what fails while tables are compared say which table it is."""
    try:
        yield
    except MlreproError as error:
        if not error.path:
            error.message = f"{name} cannot be compared: {error.message.rstrip('.')}."
            error.path = name
        raise


def _alone(table: Table, is_new: bool) -> Rows:
    count, names = table.rows, tuple(table.names)
    if is_new:
        return Rows(new=count, added=count, columns=Columns(added=names))
    return Rows(old=count, removed=count, columns=Columns(removed=names))


def _encodings(o: Table, n: Table) -> tuple[str, str] | None:
    """What both texts are called, where they are not the same; ASCII is part of UTF-8."""
    if o.encoding is None or n.encoding is None:
        return None
    old, new = (
        texts.UTF8 if one.encoding.name == texts.ASCII else one.encoding.name
        for one in (o, n)
        if one.encoding is not None
    )
    if old == new or texts.LATIN in (old, new):
        return None
    return texts.CALLED[old], texts.CALLED[new]


def _columns(o: Table, n: Table, shared: Sequence[str], renamed: dict[str, str]) -> Columns:
    retyped = []
    for name in shared:
        was, now = o.types[o.names.index(name)], n.types[n.names.index(name)]
        if was and now and was != now:
            retyped.append((name, was, now))
    return Columns(
        added=tuple(c for c in n.names if c not in set(o.names) | set(renamed.values())),
        removed=tuple(c for c in o.names if c not in set(n.names) | set(renamed)),
        retyped=tuple(retyped),
        renamed=tuple(renamed.items()),
    )


def _whole(database: Database, o: Table, n: Table, shared: Sequence[str]) -> Rows:
    """Compare whole rows, over the columns that both have, as often as each is there."""
    cells = ", ".join(f"k{at}" for at in range(len(shared)))
    both = " UNION ALL ".join(
        f"SELECT {mine} AS mine, rowid AS r"
        + "".join(f", {t.column(name)} AS k{at}" for at, name in enumerate(shared))
        + f" FROM {t.table}"
        for mine, t in ((0, o), (1, n))
    )
    counted = (
        "SELECT count(*) FILTER (mine = 0) AS a, count(*) FILTER (mine = 1) AS b, min(r) AS r"
        f"{', ' if cells else ''}{cells} FROM ({both}){' GROUP BY ' if cells else ''}{cells}"
    )
    added, removed, same = database.row(
        "SELECT coalesce(sum(greatest(b - a, 0)), 0), coalesce(sum(greatest(a - b, 0)), 0), "
        f"coalesce(sum(least(a, b)), 0) FROM ({counted})"
    )
    if not shared:  # nothing to compare them by
        added, removed, same = n.rows, o.rows, 0

    def examples(more: str, less: str, count: int) -> tuple[Cells, ...]:
        if not count or not shared:
            return ()
        shown = ", ".join(f"left(k{at}, {_FETCHED})" for at in range(len(shared)))
        found = database.rows(
            f"SELECT {shown} FROM ({counted}) WHERE {more} > {less} ORDER BY r LIMIT {EXAMPLES}"
        )
        return tuple(_cells(shared, row) for row in found)

    return Rows(
        old=o.rows,
        new=n.rows,
        added=int(added),
        removed=int(removed),
        same=int(same),
        columns=_columns(o, n, shared, {}),
        rows_added=examples("b", "a", added),
        rows_removed=examples("a", "b", removed),
        encodings=_encodings(o, n),
    )


def _by_key(
    database: Database, o: Table, n: Table, shared: Sequence[str], by: dict[str, str]
) -> Rows:
    """Compare rows with the same key; ``by``: the key's columns in the old and the new table."""
    pairs = [(o.column(old), n.column(new)) for old, new in by.items()]
    joined = " AND ".join(f"{old} = {new}" for old, new in pairs)
    renamed = {old: new for old, new in by.items() if old != new}
    renamed |= _renamed(database, o, n, joined, pairs, renamed)
    both = [(name, name) for name in shared if name not in by] + [
        (old, new) for old, new in renamed.items() if old not in by
    ]
    here, there = pairs[0][0], pairs[0][1]  # neither has an empty cell in a key
    cells = [(o.column(old), n.column(new)) for old, new in both]
    differ = _differ(cells)
    counts: list[int] = []
    for start in range(0, max(1, len(cells)), AT_ONCE):
        some = cells[start : start + AT_ONCE]
        asked = [
            f"count(*) FILTER ({here} IS NULL)",
            f"count(*) FILTER ({there} IS NULL)",
            f"count(*) FILTER ({here} IS NOT NULL AND {there} IS NOT NULL AND {differ})",
        ] if not start else []  # fmt: skip
        asked += [
            f"count(*) FILTER ({here} IS NOT NULL AND {there} IS NOT NULL AND "
            f"{old} IS DISTINCT FROM {new})"
            for old, new in some
        ]
        counts += database.row(f"SELECT {', '.join(asked)} FROM o FULL JOIN n ON {joined}")
    added, removed, changed, *by_column = counts
    names = [new for _, new in both]
    return Rows(
        key=tuple(by.values()),
        old=o.rows,
        new=n.rows,
        added=added,
        removed=removed,
        changed=changed,
        same=n.rows - added - changed,
        columns=_columns(o, n, shared, renamed),
        cells={name: count for name, count in zip(names, by_column, strict=True) if count},
        rows_added=_lone(database, n, "o", joined) if added else (),
        rows_removed=_lone(database, o, "n", joined) if removed else (),
        rows_changed=_changed(database, joined, differ, by, pairs, names, cells) if changed else (),
        encodings=_encodings(o, n),
    )


def _differ(cells: Sequence[tuple[str, str]]) -> str:
    if not cells:
        return "false"
    olds, news = (", ".join(side) for side in zip(*cells, strict=True))
    return f"row({olds}) IS DISTINCT FROM row({news})"


def _renamed(
    database: Database, o: Table, n: Table, joined: str, pairs: Sequence[tuple[str, str]],
    known: dict[str, str],
) -> dict[str, str]:  # fmt: skip
    """Columns of the old table whose every cell is in a column of another name of the new one.

    Each is summed up in one number, of its cells with their keys, so that many can be matched.
    """
    gone = [c for c in o.names if c not in set(n.names) | set(known)]
    come = [c for c in n.names if c not in set(o.names) | set(known.values())]
    if not gone or not come:
        return {}
    sums: dict[str, dict[int, list[str]]] = {}
    for table, names, key in (
        (o, gone, [old for old, _ in pairs]),
        (n, come, [new for _, new in pairs]),
    ):
        found: dict[int, list[str]] = {}
        for start in range(0, len(names), AT_ONCE):
            some = names[start : start + AT_ONCE]
            asked = [
                f"bit_xor(hash({', '.join(key)}, {cell})), count(nullif({cell}, ''))"
                for cell in map(table.column, some)
            ]
            answer = database.row(f"SELECT {', '.join(asked)} FROM o JOIN n ON {joined}")
            for at, name in enumerate(some):
                if answer[2 * at + 1]:  # a column of empty cells is like any other such
                    found.setdefault(answer[2 * at], []).append(name)
        sums[table.table] = found
    return {
        old: new
        for number, olds in sums["o"].items()
        for old, new in zip(olds, sums["n"].get(number, []), strict=False)
    }


def _lone(database: Database, table: Table, other: str, joined: str) -> tuple[Cells, ...]:
    """The first rows of a table whose key the other one does not have."""
    shown = ", ".join(f"left({table.column(name)}, {_FETCHED})" for name in table.names)
    found = database.rows(
        f"SELECT {shown} FROM {table.table} ANTI JOIN {other} ON {joined} "
        f"ORDER BY {table.table}.rowid LIMIT {EXAMPLES}"
    )
    return tuple(_cells(table.names, row) for row in found)


def _changed(
    database: Database, joined: str, differ: str, by: dict[str, str],
    pairs: Sequence[tuple[str, str]], names: Sequence[str], cells: Sequence[tuple[str, str]],
) -> tuple[ChangedRow, ...]:  # fmt: skip
    """The first rows of the new table that the old one has otherwise."""
    asked = [new for _, new in pairs] + [cell for pair in cells for cell in pair]
    shown = ", ".join(f"left({cell}, {_FETCHED})" for cell in asked)
    found = database.rows(
        f"SELECT {shown} FROM o JOIN n ON {joined} WHERE {differ} ORDER BY n.rowid LIMIT {EXAMPLES}"
    )
    result = []
    for row in found:
        values = row[len(pairs) :]
        different = [
            (name, *excerpts(values[2 * at], values[2 * at + 1], MAX_CELL))
            for at, name in enumerate(names)
            if values[2 * at] != values[2 * at + 1]
        ]
        result.append(ChangedRow(_cells(tuple(by.values()), row), tuple(different)))
    return tuple(result)


def _cells(names: Sequence[str], row: Sequence[str | None]) -> Cells:
    return tuple(
        (name, None if value is None else excerpts(value, value, MAX_CELL)[0])
        for name, value in zip(names, row, strict=False)
    )
