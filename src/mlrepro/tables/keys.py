"""Which columns name a row: those that were given, checked, or one that both tables agree on."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mlrepro.errors import MlreproError
from mlrepro.tables.loading import AT_ONCE, Database, Table

# What people call the column that names a row: the more certain first.
_NAMES = (
    re.compile(r"id", re.IGNORECASE),
    re.compile(r"_id|key|uuid|guid|pk|index|idx|unnamed: 0|", re.IGNORECASE),
    re.compile(r".*(?:[_\- .](?:id|key|uuid|guid|pk)|[a-z](?:Id|ID|Key|UUID))"),
)
# What measures rather than names, even where no two rows have the same.
_MEASURES = frozenset({"number", "double", "float", "boolean"})
_MOMENTS = frozenset({"date", "time", "timestamp"})
_LIKELY = 0.8  # of all rows, different values by estimate: then it is counted exactly


def given(database: Database, o: Table, n: Table, key: str) -> dict[str, str]:
    """The key that was asked for: one column, or several with commas between them.

    Returns old name → new name. Raises MlreproError ``table-key-missing`` where a table lacks one
    of them, ``table-key-duplicates`` where two rows of one have the same.
    """
    names = [key]
    if key not in o.names or key not in n.names:
        parts = [part.strip() for part in key.split(",")]
        names = parts if len(parts) > 1 else names
    for table in (o, n):
        absent = [name for name in names if name not in table.names]
        if absent:
            raise _missing(table, absent)
        _check_unique(database, table, names)
    return {name: name for name in names}


def found(database: Database, o: Table, n: Table, shared: Sequence[str]) -> dict[str, str]:
    """The column that names a row in both tables; nothing where there is none.

    One called id counts before others of such names, these before all else, and times last. A
    column may also have been renamed, if it has the same values. Raises MlreproError
    ``table-key-ambiguous`` where columns of equal standing would do.
    """
    if not o.rows or not n.rows:
        return {}
    for group in _groups(n, shared):
        likely = _likely(database, (o, n), group)
        unique = [
            name for name in likely if all(_is_unique(database, table, [name]) for table in (o, n))
        ]
        if len(unique) > 1:
            raise MlreproError(
                f"{n.source.name} could be compared by any of these columns: {', '.join(unique)}.",
                f"say which names a row: --key {unique[0]}",
                "table-key-ambiguous",
                path=n.source.name,
            )
        if unique:
            return {unique[0]: unique[0]}
    return _renamed(database, o, n)


def _groups(table: Table, names: Sequence[str]) -> list[list[str]]:
    """The columns that may be keys, by how likely their name and type make it."""
    groups: list[list[str]] = [[] for _ in range(len(_NAMES) + 2)]
    for name in names:
        kind = table.types[table.names.index(name)]
        if kind in _MEASURES or kind.startswith(("decimal", "struct", "map", "list", "object")):
            continue
        ranks = [rank for rank, pattern in enumerate(_NAMES) if pattern.fullmatch(name.strip())]
        last = len(_NAMES) + any(kind.startswith(moment) for moment in _MOMENTS)
        groups[ranks[0] if ranks else last].append(name)
    return groups


def _likely(database: Database, tables: Sequence[Table], group: Sequence[str]) -> list[str]:
    """Those worth counting exactly, which takes as much memory as the column."""
    left = list(group)
    for table in tables if len(group) > 1 else ():
        counted: list[int] = []
        for start in range(0, len(left), AT_ONCE):
            some = [table.column(name) for name in left[start : start + AT_ONCE]]
            asked = ", ".join(f"approx_count_distinct({column})" for column in some)
            counted += database.row(f"SELECT {asked} FROM {table.table}")
        about = zip(left, counted, strict=True)
        left = [name for name, count in about if count >= _LIKELY * table.rows]
    return left


def _filled(table: Table, names: Sequence[str]) -> str:
    return " AND ".join(f"nullif({table.column(name)}, '') IS NOT NULL" for name in names)


def _is_unique(database: Database, table: Table, names: Sequence[str]) -> bool:
    cells = ", ".join(table.column(name) for name in names)
    distinct, filled = database.row(
        f"SELECT count(DISTINCT row({cells})), count(*) FILTER ({_filled(table, names)}) "
        f"FROM {table.table}"
    )
    return bool(distinct == filled == table.rows)


def _check_unique(database: Database, table: Table, names: Sequence[str]) -> None:
    if _is_unique(database, table, names):
        return
    called = f"{' and '.join(names)} in {table.source.name} ({table.source.side})"
    cells = ", ".join(table.column(name) for name in names)
    twice = database.rows(
        f"SELECT {cells}, count(*) FROM {table.table} WHERE {_filled(table, names)} "
        f"GROUP BY {cells} HAVING count(*) > 1 ORDER BY min(rowid)"
    )
    empty = database.row(f"SELECT count(*) FROM {table.table} WHERE NOT ({_filled(table, names)})")[
        0
    ]
    if twice:
        value = ", ".join(str(cell)[:100] for cell in twice[0][:-1])
        why = f"{len(twice):,} values are there more than once, such as {value}"
    else:
        why = f"it is empty in {empty:,} rows"
    raise MlreproError(
        f"The key {called} does not name one row: {why}.",
        "name another column, or several: --key A,B",
        "table-key-duplicates",
        path=table.source.name,
    )


def _renamed(database: Database, o: Table, n: Table) -> dict[str, str]:
    """A column of the old table and one of the new, of other names, with the same values."""
    gone = [name for name in o.names if name not in set(n.names)]
    come = [name for name in n.names if name not in set(o.names)]
    if not gone or not come or max(len(gone), len(come)) > AT_ONCE:
        return {}
    sides = []
    for table, names in ((o, gone), (n, come)):
        database.find_types(table, names)
        likely = [name for group in _groups(table, names) for name in group]
        sides.append([name for name in likely if _is_unique(database, table, [name])])
    pairs = []
    for old in sides[0]:
        for new in sides[1]:
            common = database.row(
                f"SELECT count(*) FROM o JOIN n ON {o.column(old)} = {n.column(new)}"
            )[0]
            if common == min(o.rows, n.rows):
                pairs.append((old, new))
    return dict(pairs) if len(pairs) == 1 else {}


def _missing(table: Table, names: Sequence[str]) -> MlreproError:
    return MlreproError(
        f"{table.source.name} in {table.source.side} has no column {', '.join(names)}.",
        f"its columns: {', '.join(table.names[:20])}",
        "table-key-missing",
        path=table.source.name,
    )
