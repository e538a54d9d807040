"""The module-level values of a Python file, read from its text; nothing of it is ever run."""

from __future__ import annotations

import ast
import io
import tokenize
import warnings
from collections.abc import Mapping

from mlrepro.dataclass import dataclass, field
from mlrepro.errors import ConfigError
from mlrepro.expression import TooMuch
from mlrepro.purecalls import NotRead, Symbol, Value, Variables
from mlrepro.statements import Statements

# Characters, and bytes. Python's own parser takes seconds for some texts of this size.
MAX_SOURCE = 256 * 1024

# Text encodings that a file may declare. Others are rare, and some are slow to decode.
_ENCODINGS = frozenset({"utf-8", "utf-8-sig", "ascii", "iso-8859-1", "iso-8859-15", "cp1252"})


@dataclass(frozen=True)
class Unreadable:
    """A name that is bound to something that is not read.

    ``line`` counts from 1, ``source`` is that line, ``reason`` a clause that says what stopped it.
    """

    line: int
    source: str
    reason: str


@dataclass(frozen=True)
class Names:
    """What a Python file assigns at module level.

    ``values`` holds str, int, float, bool, None, PurePosixPath, and list, tuple, set and dict of
    them. ``unreadable`` holds every other name that is bound, imports and functions too, and "*"
    where names may be bound that the text does not show (``from settings import *``).
    """

    values: dict[str, Value] = field(default_factory=dict)
    unreadable: dict[str, Unreadable] = field(default_factory=dict)


def decode(data: bytes, name: str = "config/config.py") -> str:
    """The text of a Python file, decoded as Python does; ``name`` is used in messages.

    Raises ConfigError ``config-syntax`` for an encoding that is not known, or not kept to.
    """
    if len(data) > MAX_SOURCE:
        raise _broken(name, 0, "it is larger than 256 KiB")
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        if encoding.lower() not in _ENCODINGS:
            raise _broken(name, 1, f"its encoding {encoding} is not read")
        return data.decode(encoding)
    except SyntaxError as error:
        raise _broken(name, 1, error.msg) from error
    except UnicodeDecodeError as error:
        raise _broken(name, data.count(b"\n", 0, error.start) + 1, error.reason) from error


def read_names(
    source: str, filename: str, environ: Mapping[str, str], name: str = "config/config.py"
) -> Names:
    """Read what ``source`` assigns at module level, were it run as ``filename`` with ``environ``.

    ``filename`` is absolute, and stands for ``__file__``; it need not exist. Paths are worked out
    as text: no symlink is followed, and what depends on the current folder is unreadable. That no
    function defined in the file changes its lists and dicts is taken for granted.
    Raises ConfigError ``config-syntax``, naming file (as ``name``) and line.
    """
    tree = _parsed(source, name)
    try:
        statements = Statements({"__file__": filename}, Variables(environ))
        statements.run(tree.body)
        statements.spoil_globals(tree)
    except (TooMuch, RecursionError) as error:
        raise _broken(name, 0, "it is far larger than a config") from error
    lines = source.replace("\r\n", "\n").split("\n")
    found = Names()
    for bound, line in statements.line_of.items():
        value = statements.bound.get(bound)
        if isinstance(value, Symbol):
            value = NotRead(f"{value.name} is not a plain value")
        if isinstance(value, NotRead):
            text = lines[line - 1].strip()[:200] if 0 < line <= len(lines) else ""
            found.unreadable[bound] = Unreadable(line, text, str(value))
        else:
            found.values[bound] = value
    return found


def _parsed(source: str, name: str) -> ast.Module:
    if len(source) > MAX_SOURCE:
        raise _broken(name, 0, "it is larger than 256 KiB")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as for a "\d" in the user's file
            return ast.parse(source.removeprefix("\ufeff"))
    except SyntaxError as error:
        raise _broken(name, error.lineno or 0, error.msg) from error
    except UnicodeEncodeError as error:
        line = source.count("\n", 0, error.start) + 1
        raise _broken(name, line, "it holds bytes that are not text") from error
    except (ValueError, MemoryError, RecursionError) as error:
        # NUL bytes; brackets or operators nested past the parser's limit
        raise _broken(name, 0, str(error) or "it is nested too deeply") from error


def _broken(name: str, line: int, why: str) -> ConfigError:
    place = f"{name} line {line}" if line else name
    return ConfigError(
        f"{place} cannot be read as Python: {why}.",
        f"correct the file: python -m py_compile {name}",
        code="config-syntax",
        path=name,
    )
