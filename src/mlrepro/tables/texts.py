"""How the bytes of a text table are to be read: packing, encoding, delimiter, names of columns."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import os
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TextIO

from mlrepro.dataclass import dataclass
from mlrepro.errors import MlreproError

CHUNK = 1 << 20  # not more than a line may have
MAX_HEADER = 1 << 20  # characters
MAX_COLUMNS = 2_000
MAX_FIELD = MAX_LINE = 2 << 20  # characters of one cell, and bytes of a line, as DuckDB has it
# A packed text of more than so many bytes that is so many times its own size is no table.
MAX_UNPACKED, MAX_RATIO = 256 << 20, 100
DELIMITERS = {".tsv": "\t", ".tab": "\t"}
ASCII, UTF8, BOM, UTF16, LATIN = "ascii", "utf-8", "utf-8-sig", "utf-16", "latin-1"
# What each is called in a message.
CALLED = {ASCII: "ASCII", UTF8: "UTF-8", BOM: "UTF-8 with a BOM", UTF16: "UTF-16", LATIN: "Latin-1"}

_GUESSED = (",", ";", "\t", "|")


@dataclass(frozen=True, slots=True)
class Encoding:
    """The encoding of a whole text, and the first line that has anything but ASCII in it.

    LATIN stands for every text that is not UTF-8 and has no BOM: which of the encodings with one
    byte a character it is, its bytes do not say, so that two can be compared only with each other.
    """

    name: str
    line: int = 0


@contextmanager
def opened(path: str, packed: bool) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked where it is a gzip file."""
    with open(path, "rb") as file:
        if not packed:
            yield file
            return
        with gzip.open(file) as inside:
            yield inside  # type: ignore[misc]


class _Bounds:
    """Watches the bytes of a text go by. Raises MlreproError ``table-unreadable``."""

    def __init__(self, most_line: int, most: int = 0) -> None:
        self._most_line, self._most = most_line, most
        self.bytes = self.lines = 0
        self._open = 0  # bytes of the line that has not ended yet

    def look(self, chunk: bytes) -> None:
        self.bytes += len(chunk)
        if self._most and self.bytes > self._most:
            raise unreadable("it is very many times as large when it is unpacked")
        first = chunk.find(b"\n")
        # Only one that began before can be too long: a chunk is shorter than a line may be.
        if self._open + (first if first >= 0 else len(chunk)) > self._most_line:
            raise unreadable(f"line {self.lines + 1} has more than {self._most_line >> 20} MiB")
        self._open = len(chunk) - chunk.rfind(b"\n") - 1 + (self._open if first < 0 else 0)
        self.lines += chunk.count(b"\n")


def encoding_of(path: str, packed: bool, most_line: int = MAX_LINE) -> Encoding:
    """Read a text once to tell its encoding. Raises MlreproError ``table-unreadable``."""
    most = max(MAX_UNPACKED, MAX_RATIO * os.stat(path).st_size) if packed else 0
    try:
        with opened(path, packed) as file:
            return _encoding_of(file, _Bounds(most_line, most))
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise unreadable("it is not a whole gzip file") from error


def _encoding_of(file: IO[bytes], bounds: _Bounds) -> Encoding:
    chunk = file.read(CHUNK)
    if not chunk:
        raise unreadable("it is empty")
    if chunk.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        raise unreadable("it is UTF-32, which is not read; save it as UTF-8")
    if chunk.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        while chunk:
            bounds.look(chunk)
            chunk = file.read(CHUNK)
        return Encoding(UTF16)
    is_utf8 = codecs.getincrementaldecoder("utf-8")("strict")
    name = BOM if chunk.startswith(codecs.BOM_UTF8) else UTF8
    first, plain = 0, True
    while chunk:
        lines = bounds.lines
        bounds.look(chunk)
        if b"\0" in chunk:
            raise unreadable("it is no text: it has bytes that are zero")
        if plain and not chunk.isascii():
            plain = False
            at = next(at for at, byte in enumerate(chunk) if byte > 127)
            first = lines + chunk.count(b"\n", 0, at) + 1
        following = file.read(CHUNK)
        if name != LATIN:
            try:
                is_utf8.decode(chunk, not following)
            except UnicodeDecodeError:
                name = LATIN
        chunk = following
    return Encoding(ASCII if plain else name, first)


@contextmanager
def text_of(path: str, packed: bool, encoding: str) -> Iterator[TextIO]:
    """A text for the csv module: line ends as they are."""
    known = {ASCII: "utf-8", BOM: "utf-8-sig"}.get(encoding, encoding)
    with opened(path, packed) as file, io.TextIOWrapper(file, known, newline="") as text:
        yield text


def transcode(path: str, packed: bool, encoding: str, target: str) -> None:
    """Write the text to the new file ``target`` as UTF-8. Raises ``table-unreadable``."""
    try:
        with text_of(path, packed, encoding) as text, open(target, "xb") as file:
            while chunk := text.read(CHUNK):
                file.write(chunk.encode("utf-8"))
    except UnicodeError as error:
        raise unreadable(f"it is not {CALLED[encoding]} throughout") from error


def header_of(path: str, packed: bool, encoding: str, suffix: str) -> tuple[list[str], str]:
    """The names in the first line of a table, and its delimiter. Raises ``table-unreadable``."""
    with text_of(path, packed, encoding) as text, _large_fields():
        try:
            start = text.read(MAX_HEADER)
        except UnicodeError as error:
            raise unreadable(f"it is not {CALLED[encoding]} throughout") from error
        delimiter = DELIMITERS.get(suffix) or _delimiter(start)
        try:
            names = next(csv.reader(io.StringIO(start), delimiter=delimiter, strict=True), [])
        except csv.Error as error:
            raise unreadable(f"line 1: {error}") from error
    if not names:
        raise unreadable("its first line is empty, and should name the columns")
    if len(names) > MAX_COLUMNS:
        raise unreadable(f"it has more than {MAX_COLUMNS:,} columns")
    return _distinct(names), delimiter


def _delimiter(start: str) -> str:
    """The likeliest delimiter: the one that is most often in the first line, outside of quotes."""
    outside = start[:CHUNK].split('"')[::2]
    line = ""
    for part in outside:
        head, end, _ = part.partition("\n")
        line += head
        if end:
            break
    return max(_GUESSED, key=line.count)


def _distinct(names: list[str]) -> list[str]:
    """The names with a number after those that were there before."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return result


def rewrite(path: str, packed: bool, encoding: str, delimiter: str, target: str) -> None:
    """Write the table to ``target`` as the plainest CSV there is: UTF-8, all in quotes.

    For what only Python's csv module reads, such as lines that end in different ways. Raises
    MlreproError ``table-unreadable``, which names the line that is wrong.
    """
    with (
        text_of(path, packed, encoding) as text,
        open(target, "x", encoding="utf-8", newline="") as file,
        _large_fields(),
    ):
        rows = csv.reader(text, delimiter=delimiter, strict=True)
        out = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        columns = 0
        try:
            for row in rows:
                if columns and row and len(row) != columns:
                    raise unreadable(
                        f"line {rows.line_num} has {len(row)} columns, the first one {columns}"
                    )
                columns = columns or len(row)
                if row or columns == 1:
                    out.writerow(row or [""])
        except csv.Error as error:
            raise unreadable(f"line {rows.line_num}: {error}") from error
        except UnicodeError as error:
            raise unreadable(f"it is not {CALLED[encoding]} throughout") from error


@contextmanager
def _large_fields() -> Iterator[None]:
    before = csv.field_size_limit(min(MAX_FIELD, sys.maxsize))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def unreadable(why: str) -> MlreproError:
    """The error for a table that cannot be parsed; whoever knows its path and side adds them."""
    return MlreproError(why, "", "table-unreadable")
