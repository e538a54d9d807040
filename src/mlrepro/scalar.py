"""YAML scalars: written byte for byte as DVC writes them, and read as DVC reads them.

A port of the scalar analysis, the writers and the scanners of ruamel.yaml 0.19.1 (``emitter.py``,
``scanner.py``, ``resolver.py``; round-trip dumper, block style, width 80), which is
Copyright (c) 2014-2026 Anthon van der Neut, Ruamel bvba, and under the MIT licence (see NOTICE).
Left out is what a path never needs: newlines, block scalars, flow context, comments, tags, anchors.
"""

from __future__ import annotations

from mlrepro.errors import PointerError, PointerUnknown

WIDTH = 80  # ruamel's best_width

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_DIGITS = "0123456789"
# Characters that mean nothing to YAML wherever they stand (a first "-" or "." is looked at apart).
_SAFE = frozenset(_LETTERS + _DIGITS + "_-./")
_FIRST_LETTER = frozenset(_LETTERS)
_FIRST_DIGIT = frozenset(_DIGITS)
# No number or time that begins with a digit holds one of these, unless it begins with "0x".
_NEVER_NUMBER = frozenset("acdfghijklmnpqrsuvwyz/ACDFGHIJKLMNOPQRSUVWXY")
_WORDS = frozenset(("true", "false", "null"))

_BREAKS = "\x85\u2028\u2029"  # NEL, LS, PS: line breaks in YAML 1.1, and so for ruamel
_INDICATORS = frozenset("#,[]{}&*!|>'\"%@`")
# fmt: off
_ESCAPES = {
    "\0": "0", "\x07": "a", "\x08": "b", "\t": "t", "\n": "n", "\x0b": "v", "\x0c": "f",
    "\r": "r", "\x1b": "e", '"': '"', "\\": "\\", "\x85": "N", "\xa0": "_", "\u2028": "L",
    "\u2029": "P",
}
# fmt: on
_UNESCAPES = {short: char for char, short in _ESCAPES.items()} | {" ": " ", "/": "/"}
_ESCAPE_DIGITS = {"x": 2, "u": 4, "U": 8}
_HEX = frozenset("0123456789abcdefABCDEF")

# resolver.py, the rules of YAML 1.2: what a plain scalar is if it is not text. By its first
# character, so that most names need no regular expression at all.
_NUMBER = (
    r"[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?(?:[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)"
    r"|[-+]?\.[0-9_]+(?:[eE][-+][0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
    r"|[-+]?0b[0-1_]+|[-+]?0o?[0-7_]+|[-+]?[0-9_]+|[-+]?0x[0-9a-fA-F_]+"
)
_TIME = (
    r"[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]"
    r"|[0-9][0-9][0-9][0-9]-[0-9][0-9]?-[0-9][0-9]?(?:[Tt]|[ \t]+)[0-9][0-9]?"
    r":[0-9][0-9]:[0-9][0-9](?:\.[0-9]*)?(?:[ \t]*(?:Z|[-+][0-9][0-9]?(?::[0-9][0-9])?))?"
)
# fmt: off
_NAMED = frozenset((
    "", "~", "null", "Null", "NULL", "true", "True", "TRUE", "false", "False", "FALSE",
    "<<", "=", "!", "&", "*",
))
# fmt: on


def dump(key: str, text: str, indent: int) -> str:
    """The entry ``key: text`` of a block mapping whose keys stand in column ``indent``.

    Without the indentation of its first line and without the final newline. ``text`` is encodable
    as UTF-8 and holds no newline. ruamel writes a few names so that it reads them back as other
    names (a raw NEL; several spaces where it folds a line): those are written in one line of
    escapes instead, which DVC reads right.
    """
    column = indent + len(key) + 1
    if stands_plain(text, column):
        return f"{key}: {text}"
    style = _choose_style(text)
    if style == "":
        entry = f"{key}:{_write_plain(text, column, indent + 2)}"
    elif style == "'":
        entry = f"{key}: '{_write_single(text, column + 2, indent + 2)}'"
    else:
        entry = f'{key}: "{_write_double(text, column + 2, indent + 2)}"'
    try:
        if read((" " * indent + entry).split("\n"), 0, column, indent)[0] == text:
            return entry
    except PointerError:
        pass  # what cannot be read back is not written
    return f'{key}: "{"".join(_escaped(char) or char for char in text)}"'


def stands_plain(text: str, column: int) -> bool:
    """Whether ``text`` is written as it is behind a colon that ends in ``column``, and read so.

    Cheap, so it misses some.
    """
    return column + 1 + len(text) <= WIDTH and _SAFE.issuperset(text) and _surely_text(text)


def is_text(text: str) -> bool:
    """Whether a plain scalar is text for YAML: no number, time, truth value, null or ``<<``."""
    if _SAFE.issuperset(text) and _surely_text(text):
        return True
    if text in _NAMED:
        return False
    if text[0] not in "-+.0123456789":
        return True
    import re  # only a name that begins like a number gets here

    return re.fullmatch(f"{_NUMBER}|{_TIME}", text) is None


def _surely_text(text: str) -> bool:
    """True only for what ``is_text``, and what may be written plain; cheap, so it misses some."""
    first = text[:1]
    if first in _FIRST_LETTER:
        return text.lower() not in _WORDS
    if first in _FIRST_DIGIT:
        return text[1:2] != "x" and not _NEVER_NUMBER.isdisjoint(text)
    return False


def _choose_style(text: str) -> str:
    """``analyze_scalar`` and ``choose_scalar_style``: "" for plain, else the quotation mark."""
    if not text:
        return "'"
    escapes = any(_special(char) for char in text)
    breaks = any(char in text for char in _BREAKS)
    if breaks:
        # A space beside a line break would be lost on reading.
        escapes = escapes or any(f"{b} " in text or f" {b}" in text for b in _BREAKS)
    indicator = (
        text[0] in _INDICATORS
        or text.startswith(("---", "..."))
        or (text[0] in "?:-" and text[1:2] in ("", " "))
        or ": " in text
        or text[-1] == ":"
        or " #" in text
    )
    if not (escapes or breaks or indicator or text[0] == " " or text[-1] == " ") and is_text(text):
        return ""
    return '"' if escapes or "'" in text else "'"


def _special(char: str) -> bool:
    """Whether a character can only be written as an escape."""
    return not (" " <= char <= "~" or char == "\x85" or _printable(char))


def _printable(char: str) -> bool:
    return (
        "\xa0" <= char <= "\ud7ff" or "\ue000" <= char <= "\ufffd" or char >= "\U00010000"
    ) and char != "\ufeff"


def _escaped(char: str) -> str:
    """The escape that a character needs between double quotes; "" if it needs none."""
    if char not in '"\\\x85\u2028\u2029' and (" " <= char <= "~" or _printable(char)):
        return ""
    if char in _ESCAPES:
        return "\\" + _ESCAPES[char]
    code = ord(char)
    if code <= 0xFF:
        return f"\\x{code:02X}"
    return f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"


def _write_plain(text: str, column: int, indent: int) -> str:
    """``write_plain``: folds at single spaces; a word too long for the line gets its own."""
    fold = "\n" + " " * indent
    out = [" "]
    column += 1
    for run in _runs(text):
        if run == " " and column >= WIDTH:
            out.append(fold)
            column = indent
            continue
        if run[0] != " " and column + len(run) > WIDTH and column > indent:
            out.append(fold)
            column = indent
        out.append(run)
        column += len(run)
    return "".join(out)


def _write_single(text: str, column: int, indent: int) -> str:
    """``write_single_quoted``, for text without an apostrophe: that is always double-quoted."""
    fold = "\n" + " " * indent
    out: list[str] = []
    position = 0
    for run in _runs(text):
        start, position = position, position + len(run)
        if run == " " and column > WIDTH and start > 0 and position < len(text):
            out.append(fold)
            column = indent
        elif run[0] in _BREAKS:
            out.append(run + " " * indent)
            column = indent
        else:
            out.append(run)
            column += len(run)
    return "".join(out)


def _runs(text: str) -> list[str]:
    """The text cut into its longest runs of spaces, of line breaks and of anything else."""
    runs: list[str] = []
    start = 0
    before = ""
    for position, char in enumerate(text):
        kind = " " if char == " " else "b" if char in _BREAKS else "w"
        if kind != before and position > start:
            runs.append(text[start:position])
            start = position
        before = kind
    if start < len(text):
        runs.append(text[start:])
    return runs


def _write_double(text: str, column: int, indent: int) -> str:
    """``write_double_quoted``: folds before a space or after an escape, kept near its source."""
    fold = "\n" + " " * indent
    out: list[str] = []
    start = 0
    for end, char in enumerate(text + "\0"):
        last = end == len(text)
        escape = "" if last else _escaped(char)
        if (last or escape) and start < end:
            out.append(text[start:end])
            column += end - start
            start = end
        if escape:
            out.append(escape)
            column += len(escape)
            start = end + 1
        if (
            0 < end < len(text) - 1
            and (char == " " or start >= end)
            and column + end - start > WIDTH
        ):
            slash = "\\" if _needs_backslash(text, start, end) else ""
            out.append(text[start:end] + slash + fold)
            column = indent
            start = max(start, end)
            if text[start] == " ":
                if not slash:
                    start += 1  # the line break itself will be read as this space
                out.append(slash)
                column += len(slash)
    return "".join(out)


def _needs_backslash(text: str, start: int, end: int) -> bool:
    """Whether the line break that folds a double-quoted scalar here has to be escaped."""
    space = text.find(" ", end)
    if space < 0 or space + 1 >= len(text):
        return True
    between = text[end:space]
    return (
        '"' in between
        or "'" in between
        or text[space + 1] == " "
        or text[end - 1 : end + 1] == "  "
        or start == end
    )


def read(lines: list[str], row: int, column: int, indent: int) -> tuple[str, bool, int]:
    """Read the scalar that begins behind the colon at ``lines[row][:column]``.

    ``lines`` end without a newline; a line deeper than ``indent``, the column of the mapping's
    keys, continues the scalar. Returns the text, whether it stood there plain (only then can it be
    something else than text), and the row behind it. No scalar at all is plain and "". Raises
    PointerError where no YAML reader could make sense of it, PointerUnknown where another might.
    """
    deeper = " " * (indent + 1)
    first = lines[row][column:].strip(" ")
    after = row + 1
    while after < len(lines) and lines[after].startswith(deeper):
        after += 1
    pieces = [piece.strip(" ") for piece in lines[row + 1 : after]]
    if pieces and not all(pieces):
        raise PointerUnknown(f"line {row + 1} is followed by a blank one")
    if first or not pieces:
        pieces.insert(0, first)
    start = pieces[0]
    if len(pieces) == 1 and _SAFE.issuperset(start) and start[:1] != "-":
        return start, True, after
    if start[0] in "'\"":
        # A quoted scalar counts the spaces at the ends of its lines, if an escape precedes them.
        rows = [start] if len(pieces) == 1 else _quoted_rows(lines, row, column, after)
        text, closed = _read_quoted("\n".join(rows), row)
        if not closed and after < len(lines):
            raise PointerUnknown(f"the quoted value in line {row + 1} ends in a less indented line")
        if not closed:
            raise PointerError(f"the quoted value in line {row + 1} does not end")
        return text, False, after
    if start[0] in _INDICATORS or (start[0] in "?:-" and start[1:2] in ("", " ")):
        raise PointerUnknown(f"line {row + 1} holds something else than a plain value")
    text = " ".join(pieces)
    if " #" in text or any(char in text for char in "\t" + _BREAKS):
        raise PointerUnknown(f"line {row + 1} holds a comment, a tab or an odd line break")
    if ": " in text or text[-1] == ":":
        raise PointerError(f"line {row + 1} holds a second key")
    return text, True, after


def _quoted_rows(lines: list[str], row: int, column: int, after: int) -> list[str]:
    rows = [lines[row][column:], *lines[row + 1 : after]]
    if not rows[0].strip(" "):
        del rows[0]
    rows[0] = rows[0].lstrip(" ")
    return rows


def _read_quoted(text: str, row: int) -> tuple[str, bool]:
    """``scan_flow_scalar``: what stands between the quotation marks, and whether both are there."""
    if "\x85" in text or "\t" in text:
        # YAML 1.1 and 1.2 read a raw NEL differently, and ruamel loses it.
        raise PointerUnknown(f"line {row + 1} holds a tab or an odd line break")
    quote = text[0]
    stops = frozenset(" \n\u2028\u2029" + (quote + "\\" if quote == '"' else quote))
    out: list[str] = []
    at = 1
    while at < len(text):
        char = text[at]
        if char not in stops:
            begin = at
            while at < len(text) and text[at] not in stops:
                at += 1
            out.append(text[begin:at])
        elif char == quote:
            at += 1
            if quote == '"' or text[at : at + 1] != quote:
                break
            out.append(quote)
            at += 1
        elif char == "\\":
            at = _read_escape(text, at + 1, out, row)
        else:
            at = _read_spaces(text, at, out)
    else:
        return "", False
    rest = text[at:].strip(" \n")
    if rest and rest[0] in "#\u2028\u2029":
        raise PointerUnknown(f"line {row + 1} holds a comment or an odd line break")
    if rest:
        raise PointerError(f"something follows the quoted value in line {row + 1}")
    return "".join(out), True


def _read_escape(text: str, at: int, out: list[str], row: int) -> int:
    """``scan_flow_scalar_non_spaces``, what follows a backslash; returns where to go on."""
    char = text[at : at + 1]
    if not char:
        return at
    if char in _UNESCAPES:
        out.append(_UNESCAPES[char])
        return at + 1
    if char in "\n\u2028\u2029":
        return _read_breaks(text, at + 1, out)
    width = _ESCAPE_DIGITS.get(char, 0)
    digits = text[at + 1 : at + 1 + width]
    code = int(digits, 16) if len(digits) == width > 0 and _HEX.issuperset(digits) else -1
    if not 0 <= code <= 0x10FFFF:
        raise PointerError(f"line {row + 1} holds an escape that YAML does not know")
    out.append(chr(code))
    return at + 1 + width


def _read_spaces(text: str, at: int, out: list[str]) -> int:
    """``scan_flow_scalar_spaces``: spaces, or a fold, which reads as one space."""
    begin = at
    while text[at : at + 1] == " ":
        at += 1
    char = text[at : at + 1]
    if not char or char not in "\n\u2028\u2029":
        out.append(text[begin:at])
        return at
    breaks: list[str] = []
    at = _read_breaks(text, at + 1, breaks)
    if char != "\n":
        out.append(char)
    elif not breaks:
        out.append(" ")
    out.extend(breaks)
    return at


def _read_breaks(text: str, at: int, out: list[str]) -> int:
    """``scan_flow_scalar_breaks``: further line breaks stay, the spaces around them go."""
    while text[at : at + 1] in (" ", "\n", "\u2028", "\u2029"):
        if text[at] != " ":
            out.append(text[at])
        at += 1
    return at
