"""Tables compared row by row, by key, through DuckDB: larger than memory, too."""

from __future__ import annotations

import os
from typing import Any

from mlrepro.dataclass import dataclass, field
from mlrepro.errors import MlreproError

# What is compared, by the end of the name; a text may be packed with gzip.
TEXTS = (".csv", ".tsv", ".tab")
LINES = (".jsonl", ".ndjson")
PARQUET = (".parquet", ".pq")
PACKED = ".gz"


def suffix_of(name: str) -> tuple[str, bool]:
    """The ending that says what kind of table a file is, in small letters, and if it is packed."""
    base = name.lower()
    packed = base.endswith(PACKED)
    ending = os.path.splitext(base.removesuffix(PACKED) if packed else base)[1]
    return ending, packed


def is_table(name: str) -> bool:
    """Whether a file of this name is one that rows are compared of."""
    ending, packed = suffix_of(name)
    return ending in TEXTS + LINES or (ending in PARQUET and not packed)


@dataclass(frozen=True, slots=True)
class Source:
    """One side of a table: the file with its bytes, the name it goes by, and whose it is.

    ``path``: absolute; ``name``: decides how it is read; ``side``: for messages.
    """

    path: str
    name: str
    side: str


@dataclass(frozen=True, slots=True)
class Columns:
    """How the columns differ. ``retyped``: (name, old, new type); ``renamed``: (old, new name),
    for the same content under another name.
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    retyped: tuple[tuple[str, str, str], ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()


Cells = tuple[tuple[str, str | None], ...]  # column, text of the cell (None: no value)


@dataclass(frozen=True, slots=True)
class ChangedRow:
    """A row that both have; ``cells``: (column, old, new) of each cell that changed."""

    key: Cells
    cells: tuple[tuple[str, str | None, str | None], ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """How two tables differ.

    ``key``: the columns that name a row, none where whole rows were compared (then a row that
    changed counts as removed and added); ``old``, ``new``: numbers of rows, None where there is no
    such table; ``cells``: changed cells by column. The numbers are complete, the rows shown are
    examples, with long cells cut. ``encodings``: of both texts, where they differ.
    """

    key: tuple[str, ...] = ()
    old: int | None = None
    new: int | None = None
    added: int = 0
    removed: int = 0
    changed: int = 0
    same: int = 0
    columns: Columns = Columns()
    cells: dict[str, int] = field(default_factory=dict)
    rows_added: tuple[Cells, ...] = ()
    rows_removed: tuple[Cells, ...] = ()
    rows_changed: tuple[ChangedRow, ...] = ()
    encodings: tuple[str, str] | None = None

    def data(self) -> dict[str, Any]:
        """As the JSON envelope carries it."""
        renamed = [{"old": old, "new": new} for old, new in self.columns.renamed]
        retyped = [{"name": n, "old": old, "new": new} for n, old, new in self.columns.retyped]
        return {
            "key": list(self.key),
            "old": self.old,
            "new": self.new,
            "added": self.added,
            "removed": self.removed,
            "changed": self.changed,
            "same": self.same,
            "columns": {
                "added": list(self.columns.added),
                "removed": list(self.columns.removed),
                "retyped": retyped,
                "renamed": renamed,
            },
            "cells": self.cells,
            "examples": {
                "added": [dict(row) for row in self.rows_added],
                "removed": [dict(row) for row in self.rows_removed],
                "changed": [
                    {
                        "key": dict(row.key),
                        "cells": [{"column": c, "old": o, "new": n} for c, o, n in row.cells],
                    }
                    for row in self.rows_changed
                ],
            },
            "encodings": list(self.encodings) if self.encodings else None,
        }


def compare(
    old: Source | None, new: Source | None, room: str, *, key: str = "", jobs: int = 0,
    memory: int = 0,
) -> Rows:  # fmt: skip
    """Compare two tables, or count the rows of the one there is.

    ``room``: a folder of this run for what does not fit into memory; ``key``: the column that names
    a row, or several with commas between them, "" to find it; ``jobs``: threads; ``memory``: bytes
    that may be used, 0 for a quarter of what the machine has. Raises MlreproError with code
    ``table-extra-missing`` (DuckDB is not installed), ``table-unreadable``, ``table-encodings``,
    ``table-key-missing``, ``table-key-duplicates`` or ``table-key-ambiguous``.
    """
    require()
    from mlrepro.tables import rows

    return rows.compare(old, new, room, key, jobs, memory)


def require() -> None:
    """Raise MlreproError ``table-extra-missing`` where DuckDB is not installed."""
    from importlib.util import find_spec

    if find_spec("duckdb") is None:
        raise MlreproError(
            "Comparing tables row by row needs DuckDB, which is not installed.",
            'pip install "mlrepro[tables]"',
            code="table-extra-missing",
        )
