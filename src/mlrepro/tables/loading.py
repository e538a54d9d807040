"""Brings a table into a DuckDB database on disk: every cell as text, so that equal means equal."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mlrepro.dataclass import dataclass
from mlrepro.errors import MlreproError
from mlrepro.tables import LINES, PARQUET, Source, suffix_of, texts
from mlrepro.tables.texts import Encoding, unreadable

MAX_OBJECT = 8 << 20  # bytes of one line of JSON
LEAST_MEMORY = 256 << 20
AT_ONCE = 50  # columns looked at in one query

_JSON_TYPES = {
    "BIGINT": "integer", "UBIGINT": "integer", "HUGEINT": "integer", "UHUGEINT": "integer",
    "DOUBLE": "number", "BOOLEAN": "boolean", "VARCHAR": "text", "OBJECT": "object",
    "ARRAY": "list",
}  # fmt: skip
# Of every value of a text column one bit for each type that it can be; what all of them can be is
# the column's type. DuckDB itself would take 2.5 for an integer, and 1 for a boolean.
_TYPES = ("integer", "number", "boolean", "date", "time")
_EMPTY = 63  # no value: it can be anything
_BITS = f"""CASE WHEN v = '' THEN {_EMPTY}
    WHEN regexp_full_match(v, '[+-]?[0-9]+') THEN 1 + 2
    WHEN TRY_CAST(v AS DOUBLE) IS NOT NULL THEN 2
    WHEN lower(v) IN ('true', 'false') THEN 4
    WHEN length(v) = 10 AND TRY_CAST(v AS DATE) IS NOT NULL THEN 8 + 16
    WHEN TRY_CAST(v AS TIMESTAMP) IS NOT NULL THEN 16
    ELSE 0 END"""
_VALUE = re.compile(r"\bv\b")
_HARMLESS = {
    "autoinstall_known_extensions": "false",  # nothing is ever downloaded
    "autoload_known_extensions": "false",
}


class NotStrict(Exception):
    """DuckDB's reader refused a text that Python's csv module may read; only the loader sees it."""


@dataclass(slots=True)
class Table:
    """A table in the database: its columns there are c0, c1 and so on, all of them text.

    ``names``: of the columns, in order; ``types``: of some of them, by place.
    """

    table: str
    source: Source
    names: list[str]
    rows: int
    types: dict[int, str]
    encoding: Encoding | None = None

    def column(self, name: str) -> str:
        """A column as SQL calls it."""
        return f"{self.table}.c{self.names.index(name)}"


class Database:
    """A DuckDB database in ``room`` that spills what memory does not hold; it reads files only."""

    def __init__(self, room: str, threads: int, memory: int) -> None:
        import duckdb

        self.room = room
        self._error: type[Exception] = duckdb.Error
        self._no_room = (duckdb.OutOfMemoryException, duckdb.IOException)
        settings = {
            **_HARMLESS,
            "memory_limit": f"{max(LEAST_MEMORY, memory or _memory() // 4)}B",
            "temp_directory": room,
            "threads": threads or os.cpu_count() or 1,
        }
        self._connection: Any = duckdb.connect(os.path.join(room, "rows.duckdb"), config=settings)

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The answer to a query. Raises ``table-unreadable`` where DuckDB cannot give one."""
        try:
            found: list[tuple[Any, ...]] = self._ask(query).fetchall()
        except self._error as error:
            raise self._unreadable(error) from error
        return found

    def _ask(self, query: str) -> Any:
        try:
            return self._connection.execute(query)
        except RuntimeError as error:  # what DuckDB makes of a KeyboardInterrupt
            if "interrupt" in str(error).lower():
                raise KeyboardInterrupt from None
            raise

    def _unreadable(self, error: Exception) -> MlreproError:
        why = _without_paths(str(error).strip().partition("\n")[0], self.room)
        if isinstance(error, self._no_room):
            return MlreproError(
                f"there is too little memory or disk for it: {why}",
                "make room where .dvc/tmp lies, or use fewer threads: -j 1",
                "table-no-room",
            )
        return unreadable(why)

    def row(self, query: str) -> tuple[Any, ...]:
        """The one row of an answer."""
        return self.rows(query)[0]

    def load(self, pair: Sequence[tuple[str, Source]]) -> list[Table]:
        """Bring these tables in, by name; all by the same reader, so that they can be compared.

        Raises MlreproError ``table-unreadable`` or ``table-encodings``.
        """
        found = {name: _encoding(source) for name, source in pair}
        _check_encodings([(source, found[name]) for name, source in pair])
        for careful in (False, True):
            try:
                return [self._load(name, source, found[name], careful) for name, source in pair]
            except NotStrict:
                for name, _ in pair:
                    self.rows(f"DROP TABLE IF EXISTS {name}")
        raise AssertionError

    def _load(self, name: str, source: Source, encoding: Encoding | None, careful: bool) -> Table:
        ending, packed = suffix_of(source.name)
        with _telling(source):
            if ending in PARQUET:
                return self._parquet(name, source)
            assert encoding is not None
            if ending in LINES:
                return self._lines(name, source, encoding, packed)
            return self._csv(name, source, encoding, careful)

    def _link(self, name: str, source: Source) -> str:
        """A path that SQL takes as it is: the file's own may look like a pattern."""
        link = os.path.join(self.room, name)
        if not os.path.lexists(link):
            os.symlink(source.path, link)
        return link

    def _csv(self, name: str, source: Source, encoding: Encoding, careful: bool) -> Table:
        ending, packed = suffix_of(source.name)
        names, delimiter = texts.header_of(source.path, packed, encoding.name, ending)
        if careful:
            path, packed = os.path.join(self.room, f"{name}.plain"), False
            was_packed = suffix_of(source.name)[1]
            texts.rewrite(source.path, was_packed, encoding.name, delimiter, path)
            delimiter = ","
        else:
            path, packed = self._as_utf8(name, source, encoding, packed)
        columns = ", ".join(f"c{at}: 'VARCHAR'" for at in range(len(names)))
        # What is empty is so with quotes or without.
        cells = ", ".join(f"coalesce(c{at}, '') AS c{at}" for at in range(len(names)))
        try:
            self._ask(
                f"CREATE TABLE {name} AS SELECT {cells} FROM read_csv({_quoted(path)}, "
                f"columns={{{columns}}}, auto_detect=false, header=true, "
                f"delim={_quoted(delimiter)}, quote='\"', escape='\"', hive_partitioning=false, "
                f"compression='{'gzip' if packed else 'none'}')"
            )
        except self._error as error:
            if careful:
                raise self._unreadable(error) from error
            raise NotStrict from error
        return Table(name, source, names, self._count(name), {}, encoding)

    def _as_utf8(
        self, name: str, source: Source, encoding: Encoding, packed: bool
    ) -> tuple[str, bool]:
        """The path of the text as UTF-8, and whether it is still packed."""
        if encoding.name not in (texts.UTF16, texts.LATIN):
            return self._link(name, source), packed
        path = os.path.join(self.room, f"{name}.utf8")
        if not os.path.exists(path):
            texts.transcode(source.path, packed, encoding.name, path)
        return path, False

    def _lines(self, name: str, source: Source, encoding: Encoding, packed: bool) -> Table:
        path, packed = self._as_utf8(name, source, encoding, packed)
        raw = f"{name}_raw"
        self.rows(
            f"CREATE TABLE {raw} AS SELECT json FROM read_ndjson_objects({_quoted(path)}, "
            f"maximum_object_size={MAX_OBJECT}, "
            f"compression='{'gzip' if packed else 'uncompressed'}')"
        )
        others = self.row(f"SELECT count(*) FROM {raw} WHERE json_type(json) <> 'OBJECT'")[0]
        if others:
            raise unreadable(f"{others:,} of its lines are no JSON objects")
        found = self.rows(
            f"SELECT k FROM (SELECT unnest(json_keys(json)) AS k, rowid AS r FROM {raw}) "
            f"GROUP BY k ORDER BY min(r), k LIMIT {texts.MAX_COLUMNS + 1}"
        )
        names = [row[0] for row in found]
        if len(names) > texts.MAX_COLUMNS:
            raise unreadable(f"it has more than {texts.MAX_COLUMNS:,} columns")
        if not names:
            raise unreadable("it has no columns")
        cells, types = [], {}
        for at, key in enumerate(names):
            pointer = _quoted("/" + key.replace("~", "~0").replace("/", "~1"))
            cells.append(f"CAST(json_extract(json, {pointer}) AS VARCHAR) AS c{at}")
            kinds = self.rows(f"SELECT DISTINCT json_type(json, {pointer}) FROM {raw}")
            types[at] = _json_type({kind for (kind,) in kinds})
        self.rows(f"CREATE TABLE {name} AS SELECT {', '.join(cells)} FROM {raw}")
        self.rows(f"DROP TABLE {raw}")
        return Table(name, source, names, self._count(name), types, encoding)

    def _parquet(self, name: str, source: Source) -> Table:
        where = f"read_parquet({_quoted(self._link(name, source))}, hive_partitioning=false)"
        found = self.rows(f"DESCRIBE SELECT * FROM {where}")
        names = [row[0] for row in found]
        quoted = ['"' + column.replace('"', '""') + '"' for column in names]
        cells = ", ".join(f"CAST({column} AS VARCHAR) AS c{at}" for at, column in enumerate(quoted))
        self.rows(f"CREATE TABLE {name} AS SELECT {cells} FROM {where}")
        types = {at: row[1].lower() for at, row in enumerate(found)}
        return Table(name, source, names, self._count(name), types)

    def _count(self, name: str) -> int:
        count: int = self.row(f"SELECT count(*) FROM {name}")[0]
        return count

    def find_types(self, table: Table, names: Iterable[str]) -> None:
        """Fill in the types of these columns of a text table: what all their values can be read as.

        One without any value has the type "".
        """
        places = [table.names.index(name) for name in names]
        places = [at for at in places if at not in table.types]
        for start in range(0, len(places), AT_ONCE):
            some = places[start : start + AT_ONCE]
            bits = ", ".join(f"bit_and({_VALUE.sub(f'c{at}', _BITS)})" for at in some)
            for at, mask in zip(some, self.row(f"SELECT {bits} FROM {table.table}"), strict=True):
                kinds = [kind for bit, kind in enumerate(_TYPES) if (mask or 0) >> bit & 1]
                table.types[at] = "" if mask in (None, _EMPTY) else (*kinds, "text")[0]


def _encoding(source: Source) -> Encoding | None:
    ending, packed = suffix_of(source.name)
    if ending in PARQUET:
        return None
    with _telling(source):
        most = MAX_OBJECT if ending in LINES else texts.MAX_LINE
        return texts.encoding_of(source.path, packed, most)


def _check_encodings(both: Sequence[tuple[Source, Encoding | None]]) -> None:
    """Raise ``table-encodings`` where equal texts need not have equal bytes, or the reverse."""
    unknown = [(s, e) for s, e in both if e is not None and e.name == texts.LATIN]
    known = [(s, e) for s, e in both if e is not None and e.name not in (texts.LATIN, texts.ASCII)]
    if unknown and known:
        (source, encoding), (other, its) = unknown[0], known[0]
        raise MlreproError(
            f"{source.name} has another encoding on each side: {texts.CALLED[its.name]} in "
            f"{other.side}, and in {source.side} none of the Unicode ones (line {encoding.line}).",
            "save it as UTF-8 again: iconv -f LATIN1 -t UTF-8",
            "table-encodings",
            path=source.name,
        )


@contextmanager
def _telling(source: Source) -> Iterator[None]:
    """Let what is wrong with a table say which table it is, and whose."""
    try:
        yield
    except MlreproError as error:
        if error.path:
            raise
        raise MlreproError(
            f"{source.name} in {source.side} is no table that can be read: "
            f"{error.message.rstrip('.')}.",
            error.hint or "correct the file, or leave --rows out",
            error.code,
            path=source.name,
        ) from error
    except OSError as error:
        raise MlreproError(
            f"{source.name} in {source.side} cannot be read: {error.strerror}.",
            code="unreadable",
            path=source.name,
        ) from error


def _json_type(kinds: set[str | None]) -> str:
    names = sorted(
        {_JSON_TYPES.get(kind, kind.lower()) for kind in kinds if kind and kind != "NULL"}
    )
    return "number" if names == ["integer", "number"] else " or ".join(names)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _without_paths(text: str, room: str) -> str:
    """DuckDB's words without the names of our own temporary files."""
    text = text.partition(": ")[2] or text
    for name in (f'"{room}/', f"'{room}/", f"{room}/"):
        text = text.replace(name, name[: -1 - len(room)])
    return text


def _memory() -> int:
    """The bytes of memory that the machine has."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 4 << 30
