"""Tables compared row by row: keys found and given, columns, encodings, and what cannot be read."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from mlrepro import tables
from mlrepro.errors import MlreproError
from mlrepro.excerpt import excerpts
from mlrepro.tables import Rows, Source

pytest.importorskip("duckdb", reason="the extra mlrepro[tables] is not installed")

Compare = Callable[..., Rows]


@pytest.fixture
def compare(tmp_path: Path) -> Compare:
    """Compares two tables, given as texts or bytes; None stands for a table that is not there."""

    def call(
        old: str | bytes | None, new: str | bytes | None, name: str = "t.csv", **given: Any
    ) -> Rows:
        return compared(tmp_path, old, new, name, **given)

    return call


def compared(
    folder: Path, old: str | bytes | None, new: str | bytes | None, name: str = "t.csv",
    **given: Any,
) -> Rows:  # fmt: skip
    sources = []
    for side, content in (("old", old), ("new", new)):
        path = folder / f"a[1]*{side}'\""
        if content is not None:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        sources.append(None if content is None else Source(str(path), name, side))
    room = folder / "room"
    room.mkdir(exist_ok=True)
    for left in room.iterdir():
        left.unlink()
    return tables.compare(*sources, str(room), **given)


def counts(rows: Rows) -> tuple[int, int, int, int]:
    return rows.added, rows.removed, rows.changed, rows.same


def code_of(compare: Compare, *texts: str | bytes | None, **given: Any) -> str:
    with pytest.raises(MlreproError) as caught:
        compare(*texts, **given)
    error = caught.value
    assert "\n" not in error.message
    assert "room" not in error.message
    assert error.path == given.get("name", "t.csv")
    return error.code


# by key


def test_rows_and_cells(compare: Compare) -> None:
    old = "id,name,n\n1,a,1\n2,b,2\n3,c,3\n4,d,4\n"
    new = "id,name,n\n4,d,4\n2,B,2\n3,C,33\n5,e,5\n"
    rows = compare(old, new)
    assert (rows.key, rows.old, rows.new) == (("id",), 4, 4)
    assert counts(rows) == (1, 1, 2, 1)
    assert rows.cells == {"name": 2, "n": 1}
    assert rows.rows_added == ((("id", "5"), ("name", "e"), ("n", "5")),)
    assert rows.rows_removed == ((("id", "1"), ("name", "a"), ("n", "1")),)
    second = rows.rows_changed[1]
    assert (second.key, second.cells) == ((("id", "3"),), (("name", "c", "C"), ("n", "3", "33")))
    told = rows.data()
    assert json.loads(json.dumps(told)) == told
    assert told["examples"]["changed"][0] == {
        "key": {"id": "2"}, "cells": [{"column": "name", "old": "b", "new": "B"}],
    }  # fmt: skip


def test_columns(compare: Compare) -> None:
    old = "id,gone,was,n,d,empty\n1,x,alpha,1,2024-01-01,\n2,y,beta,2,2024-01-02,\n"
    new = "id,is,n,come,d,empty\n2,beta,2.5,q,soon,1\n1,alpha,1,q,2024-01-01,1\n"
    rows = compare(old, new)
    assert rows.columns.added == ("come",)
    assert rows.columns.removed == ("gone",)
    assert rows.columns.renamed == (("was", "is"),)
    assert rows.columns.retyped == (("n", "integer", "number"), ("d", "date", "text"))
    assert rows.cells == {"n": 1, "d": 1, "empty": 2}
    assert counts(rows) == (0, 0, 2, 0)


def test_a_renamed_key_is_found(compare: Compare) -> None:
    rows = compare("id,x\n1,a\n2,a\n", "number,x\n2,a\n1,c\n3,a\n")
    assert rows.key == ("number",)
    assert rows.columns.renamed == (("id", "number"),)
    assert counts(rows) == (1, 0, 1, 1)


def test_a_column_with_other_content_is_not_renamed(compare: Compare) -> None:
    rows = compare("id,a,void\n1,x,\n2,y,\n", "id,b,empty\n1,x,\n2,z,\n")
    assert rows.columns.renamed == ()
    assert rows.columns.added == ("b", "empty")


@pytest.mark.parametrize(
    ("header", "rows", "key"),
    [
        ("name,id", ["a,1", "b,2"], "id"),
        ("ID,name", ["1,a", "2,b"], "ID"),
        ("user_id,name", ["1,a", "2,b"], "user_id"),
        ("row,userId,name", ["1,1,a", "1,2,b"], "userId"),
        ("uuid,user_id", ["x,1", "y,2"], "uuid"),
        ("x,y,name", ["0.5,1.5,a", "0.25,2.5,b"], "name"),
        ("when,name", ["2024-01-01,a", "2024-01-02,b"], "name"),
        ("when,n", ["2024-01-01,a", "2024-01-02,a"], "when"),
        (",x", ["0,a", "1,a"], ""),
        ("id,name", ["1,a", "1,b"], "name"),
        ("id,name", ["1,a", ",b"], "name"),
        ("x,y", ["0.5,a", "0.25,a"], None),
    ],
)
def test_the_key_that_is_found(
    compare: Compare, header: str, rows: list[str], key: str | None
) -> None:
    text = "\n".join((header, *rows, ""))
    assert compare(text, text).key == (() if key is None else (key,))


def test_keys_that_are_given(compare: Compare) -> None:
    old, new = "a,b,x\n1,1,p\n1,2,q\n", "a,b,x\n1,1,p\n1,2,r\n2,1,s\n"
    rows = compare(old, new, key="a,b")
    assert (rows.key, counts(rows)) == (("a", "b"), (1, 0, 1, 1))
    assert compare('"a,b"\n1\n', '"a,b"\n2\n', key="a,b").key == ("a,b",)
    with pytest.raises(
        MlreproError, match="1 values are there more than once, such as 1"
    ) as caught:
        compare(old, new, key="a")
    assert caught.value.code == "table-key-duplicates"
    assert code_of(compare, old, new, key="nope") == "table-key-missing"
    assert code_of(compare, old, "b,x\n1,1\n", key="a,b") == "table-key-missing"
    assert code_of(compare, "a,x\n1,1\n,2\n", "a,x\n1,1\n", key="a") == "table-key-duplicates"


def test_an_ambiguous_key(compare: Compare) -> None:
    text = "sha,url\nx,p\ny,q\n"
    with pytest.raises(MlreproError, match="sha, url") as caught:
        compare(text, text)
    assert caught.value.code == "table-key-ambiguous"
    assert "--key" in caught.value.hint
    assert counts(compare(text, text, key="url")) == (0, 0, 0, 2)


def test_without_a_key_whole_rows_are_compared(compare: Compare) -> None:
    rows = compare("id,tag\n1,a\n2,a\n3,b\n4,c\n", "tag\na\nb\nb\na\n")
    assert (rows.key, counts(rows)) == ((), (1, 1, 0, 3))
    assert rows.rows_added == ((("tag", "b"),),)
    assert rows.rows_removed == ((("tag", "c"),),)
    assert rows.columns.removed == ("id",)
    nothing = compare("a\n1\n1\n", "b\n1\n1\n1\n")
    assert counts(nothing) == (3, 2, 0, 0)


def test_one_side_alone_is_counted(compare: Compare) -> None:
    new = compare(None, "a,b\n1,2\n3,4\n")
    assert (new.old, new.new, new.added, new.columns.added) == (None, 2, 2, ("a", "b"))
    gone = compare("a,b\n1,2\n", None)
    assert (gone.old, gone.new, gone.removed, gone.columns.removed) == (1, None, 1, ("a", "b"))
    assert counts(compare("id\n", "id\n1\n")) == (1, 0, 0, 0)


def test_examples_are_few_and_long_cells_are_cut_where_they_differ(compare: Compare) -> None:
    same = "s" * 5000
    old = "id,x\n" + "".join(f"{n},{same}a\n" for n in range(30))
    new = "id,x\n" + "".join(f"{n},{same}b\n" for n in range(30))
    rows = compare(old, new)
    assert rows.changed == 30
    assert len(rows.rows_changed) == 10
    ((_, was, now),) = rows.rows_changed[0].cells
    assert was is not None and now is not None
    assert was.endswith("sa") and now.endswith("sb")
    assert was.startswith("...")
    assert len(was) < 300
    assert excerpts("x" * 50, None, 10) == ("xxxxxxxxxx...", None)
    assert excerpts("ab", "ac", 10) == ("ab", "ac")


# texts


def test_quotes_delimiters_and_line_ends(compare: Compare) -> None:
    plain = 'id,"a, b",c\n1,"x ""y""\nz",3\n2,,4\n'
    semicolons = 'id;"a, b";c\r\n1;"x ""y""\nz";3\r\n2;"";4\r\n'
    assert counts(compare(plain, semicolons)) == (0, 0, 0, 2)
    tabs = 'id\ta\n1\t"x\ty"\n'
    assert counts(compare(tabs, tabs, name="t.TSV")) == (0, 0, 0, 1)
    assert counts(compare("id|a\n1|x\n", "id,a\n1,x\n")) == (0, 0, 0, 1)


def test_lines_that_end_in_different_ways(compare: Compare) -> None:
    """DuckDB refuses the mixture; Python's csv module then reads both sides."""
    mixed = 'id,a\r\n1,x\n2,"y\r\nz"\r\n3,w\n'
    even = 'id,a\n1,x\n2,"y\r\nz"\n3,v\n'
    for pair in ((mixed, even), (even, mixed)):
        assert counts(compare(*pair)) == (0, 0, 1, 2)


def test_names_of_columns(compare: Compare) -> None:
    text = 'id,x,x,X,"a\nb",,"""q"""\n1,2,3,4,5,6,7\n'
    rows = compare(text, text.replace("\n1,", "\n2,"))
    names = [name for name, _ in rows.rows_added[0]]
    assert names == ["id", "x", "x (2)", "X", "a\nb", "", '"q"']


UNICODE = "id,name\n1,größe\n2,図\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be-bom"])
def test_encodings_that_can_be_told(compare: Compare, encoding: str) -> None:
    if encoding == "utf-16-be-bom":
        data = b"\xfe\xff" + UNICODE.encode("utf-16-be")
    else:
        data = UNICODE.encode(encoding)
    for pair in ((UNICODE, data), (data, UNICODE)):
        rows = compare(*pair)
        assert (counts(rows), rows.key) == ((0, 0, 0, 2), ("id",))
        assert (rows.encodings is None) == (encoding == "utf-8")


def test_latin_1_is_compared_with_itself_alone(compare: Compare) -> None:
    old, new = (
        "id,name\n1,größe\n2,x\n".encode("latin-1"),
        "id,name\n1,große\n2,x\n".encode("latin-1"),
    )
    rows = compare(old, new)
    assert rows.rows_changed[0].cells == (("name", "größe", "große"),)
    assert counts(compare(old, b"id,name\n1,a\n2,x\n")) == (0, 0, 1, 1)
    with pytest.raises(MlreproError, match=r"UTF-8 in old, and in new none of .*line 2") as caught:
        compare("id,name\n1,größe\n2,x\n", old)
    assert caught.value.code == "table-encodings"
    assert "iconv" in caught.value.hint
    assert code_of(compare, old, UNICODE.encode("utf-16")) == "table-encodings"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "it is empty"),
        (b"\n\n", "its first line is empty"),
        (b"id,a\n1,2,3\n", "line 2 has 3 columns, the first one 2"),
        (b"id,a\n1,2\n3\n", "line 3 has 1 columns, the first one 2"),
        (b'id,a\n1,"2\n', "line 2: unexpected end of data"),
        (b'id,a\n1,"x" y\n', "line 2: "),
        (b"id,a\n1,\x00\n", "bytes that are zero"),
        (b"id,a\n1,2\n2," + b"a" * (3 << 20) + b"\n3,2\n", "line 3 has more than 2 MiB"),
        (b"\xff\xfei\x00d\x00\xd8", "it is not UTF-16"),
        (b"\xff\xfe\x00\x00i\x00\x00\x00", "it is UTF-32"),
    ],
    ids=lambda value: ascii(value[:40]),
)
def test_texts_that_are_no_tables(compare: Compare, text: bytes, words: str) -> None:
    good = "id,a\n1,2\n"
    with pytest.raises(MlreproError, match=words) as caught:
        compare(good, text)
    assert caught.value.code == "table-unreadable"
    assert caught.value.message.startswith("t.csv in new is no table")
    assert code_of(compare, text, good) == "table-unreadable"


def test_packed_texts(compare: Compare) -> None:
    old, new = (gzip.compress(f"id,a\n1,{cell}\n".encode()) for cell in "xy")
    assert counts(compare(old, new, name="t.csv.gz")) == (0, 0, 1, 0)
    assert counts(compare(old, gzip.compress(b'id,a\r\n1,x\n2,"y"\r\n'), name="t.csv.gz")) == (
        1,
        0,
        0,
        1,
    )
    utf16 = gzip.compress("id,a\n1,ü\n".encode("utf-16"))
    assert counts(compare(old, utf16, name="t.csv.gz")) == (0, 0, 1, 0)
    lines = gzip.compress(b'{"id": 1}\n')
    assert counts(compare(lines, lines, name="t.jsonl.gz")) == (0, 0, 0, 1)
    assert code_of(compare, old, new[:20], name="t.csv.gz") == "table-unreadable"
    assert code_of(compare, old, b"id,a\n", name="t.csv.gz") == "table-unreadable"


# other formats


def test_lines_of_json(compare: Compare) -> None:
    old = [
        {"id": 1, "a": "x", "n": 1, "deep": {"k": [1]}}, {"id": 2, "a": "y", "n": 2},
        {"id": 3, "a": "z", "n": 3, "o/~d": 1},
    ]  # fmt: skip
    new = [
        {"id": 2, "n": 2.5, "a": "y"}, {"id": 1, "a": "1", "n": 1, "deep": {"k": [2]}},
        {"id": 4, "more": True},
    ]  # fmt: skip
    texts = ["".join(json.dumps(row) + "\n" for row in rows) for rows in (old, new)]
    rows = compare(*texts, name="t.jsonl")
    assert (rows.key, counts(rows)) == (("id",), (1, 1, 2, 0))
    assert rows.cells == {"a": 1, "n": 1, "deep": 1}
    assert rows.columns.added == ("more",)
    assert rows.columns.removed == ("o/~d",)
    assert rows.columns.retyped == (("n", "integer", "number"),)
    assert code_of(compare, texts[0], '{"id": 1}\n{"id": \n', name="t.ndjson") == "table-unreadable"
    assert code_of(compare, texts[0], '{"id": 1}\n[1]\n', name="t.ndjson") == "table-unreadable"
    assert code_of(compare, texts[0], "{}\n", name="t.ndjson") == "table-unreadable"


def test_parquet(compare: Compare, tmp_path: Path) -> None:
    import duckdb

    def parquet(query: str) -> bytes:
        path = tmp_path / "made.parquet"
        with duckdb.connect() as connection:
            connection.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet)")
        return path.read_bytes()

    old = parquet(
        "SELECT i AS id, i * 0.5::DOUBLE AS x, [i] AS l, NULL::INT AS e FROM range(3) t(i)"
    )
    new = parquet(
        "SELECT i::INT AS id, i * 0.5 + (i = 2)::INT AS x, [i] AS l, i AS e FROM range(4) t(i)"
    )
    rows = compare(old, new, name="t.parquet")
    assert (rows.key, counts(rows)) == (("id",), (1, 0, 3, 0))
    assert rows.cells["e"] == 3
    assert rows.columns.retyped[0] == ("id", "bigint", "integer")
    assert code_of(compare, old, new[:50], name="t.parquet") == "table-unreadable"
    assert code_of(compare, old, b"", name="t.pq") == "table-unreadable"


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("a.csv", True), ("A.CSV", True), ("a.tsv.gz", True), ("a.jsonl", True), ("a.pq", True),
     ("a.parquet.gz", False), ("a.txt", False), ("csv", False), ("a.json", False)],
)  # fmt: skip
def test_what_is_a_table(name: str, is_one: bool) -> None:
    assert tables.is_table(name) is is_one


# against an independent computation

CELLS = st.sampled_from(["", "a", "b", '"', "x,y", "p\nq", " ", "é", "1", "null"])
TABLES = st.dictionaries(st.integers(0, 12), st.tuples(CELLS, CELLS), max_size=10)


@settings(max_examples=25)
@given(old=TABLES, new=TABLES, end=st.sampled_from(["\n", "\r\n"]))
def test_numbers_are_those_of_the_csv_module(
    tmp_path_factory: pytest.TempPathFactory, old: dict[int, Any], new: dict[int, Any], end: str
) -> None:
    folder = tmp_path_factory.mktemp("tables")
    rows = compared(folder, written(old, "\n"), written(new, end), key="id")
    both = old.keys() & new.keys()
    changed = [key for key in both if old[key] != new[key]]
    expected = Counter(
        name for key in changed for name, was, now in zip("xy", old[key], new[key], strict=True)
        if was != now
    )  # fmt: skip
    assert counts(rows) == (
        len(new.keys() - old.keys()), len(old.keys() - new.keys()), len(changed),
        len(both) - len(changed),
    )  # fmt: skip
    assert rows.cells == dict(expected)


def written(table: dict[int, tuple[str, str]], end: str) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator=end)
    writer.writerow(("id", "x", "y"))
    writer.writerows((key, *cells) for key, cells in table.items())
    return file.getvalue()


@pytest.mark.slow
def test_tables_larger_than_memory(tmp_path: Path) -> None:
    """Two times some 160 MB of text in less memory than either has; numbers known beforehand."""
    count, draw = 1_500_000, random.Random(0)
    paths = [tmp_path / name for name in ("old.csv", "new.csv")]
    gone, other = set(draw.sample(range(count), 1000)), set(draw.sample(range(count), 2000))
    filler = "lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor "
    with paths[0].open("w") as old, paths[1].open("w") as new:
        for file in (old, new):
            file.write("id,a,b,c\n")
        for n in range(count):
            row = f"{n},{n * 7919 % count},{filler}{n},"
            old.write(row + "x\n")
            if n not in gone:
                new.write(row + ("y\n" if n in other else "x\n"))
        new.writelines(f"{count + n},1,2,3\n" for n in range(500))
    room = tmp_path / "room"
    room.mkdir()
    sources = [Source(str(path), "t.csv", path.stem) for path in paths]
    rows = tables.compare(*sources, str(room), jobs=2, memory=256 << 20)
    changed = len(other - gone)
    assert rows.key == ("id",)
    assert counts(rows) == (500, 1000, changed, count - 1000 - changed)
    assert rows.cells == {"c": changed}
