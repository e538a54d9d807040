"""The calls that reading a Python file understands: pure ones of str, os.path and pathlib."""

from __future__ import annotations

import os.path
import posixpath
import string
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath

# Nothing here touches a file, and no result is larger than these bounds, whatever the source says.
MAX_TEXT = 64 * 1024  # characters of one string or path
MAX_ITEMS = 10_000  # values in one list, dict, set or tuple, those inside it included
MAX_INT_BITS = 64

# What a name in a Python file can stand for: str, int, float, bool, None, PurePosixPath, and list,
# tuple, set and dict of these; or a Symbol. Whoever uses one looks first which of them it is.
Value = object

_CWD = "it depends on the folder that Python is started in"
_SCALARS = (str, int, float, type(None), PurePosixPath)  # bool is an int


class NotRead(Exception):
    """An expression in a form that is not read; the text says why, as a clause without a full stop.

    Caught by the reader, which turns it into an ``Unreadable``; no door ever sees it.
    """


class Symbol:
    """Something imported or built in, known by its dotted name only, such as ``os.path.join``."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class Variables:
    """The environment variables as the file would see them while it runs."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._values: dict[str, str | None] = dict(environ)  # None: set to what is not known
        self._complete = True

    def get(self, key: Value, default: Value = None) -> Value:
        """As ``os.environ.get``; raises NotRead where the value cannot be known."""
        if not isinstance(key, str):
            raise NotRead("the name of an environment variable is not a string")
        if key in self._values and self._values[key] is not None:
            return self._values[key]
        if key in self._values or not self._complete:
            raise NotRead(f"{key} may be set by the file itself, or by a .env file")
        return default

    def require(self, key: Value) -> Value:
        """As ``os.environ[key]``."""
        found = self.get(key)
        if found is None:
            raise NotRead(f"the environment variable {key} is not set")
        return found

    def set(self, key: str, value: str | None) -> None:
        """As ``os.environ[key] = value``; None where the value is not known."""
        self._values[key] = value

    def set_default(self, key: str, value: str) -> None:
        """As ``os.environ.setdefault(key, value)``."""
        if key not in self._values:
            self._values[key] = value if self._complete else None

    def may_have_more(self) -> None:
        """From here on a variable that is not set may be set after all (``load_dotenv()``)."""
        self._complete = False

    def forget(self) -> None:
        """From here on any variable may have any value."""
        self._values.clear()
        self._complete = False


def text_of(value: Value) -> str:
    """``str(value)`` of a plain value; raises NotRead for any other."""
    if not isinstance(value, _SCALARS):
        raise NotRead("only strings, numbers and paths are turned into text")
    return bounded(str(value))


def joined(parts: Iterable[str], separator: str = "") -> str:
    """The parts as one string, given up before it grows too large."""
    pieces, size = list(parts), 0
    for piece in pieces:
        size += len(piece) + len(separator)
        if size > MAX_TEXT:
            raise NotRead("the text is too long")
    return separator.join(pieces)


def bounded(text: str) -> str:
    """The text, unless it is too long (NotRead)."""
    if len(text) > MAX_TEXT:
        raise NotRead("the text is too long")
    return text


def call(symbol: str, args: list[Value], named: dict[str, Value], variables: Variables) -> Value:
    """The value of ``symbol(*args, **named)``.

    Raises NotRead where it is not read, and what Python itself would raise where it would fail.
    """
    if symbol in ("os.getenv", "os.environ.get"):
        return variables.get(*args, **named)
    if symbol == "dict" and not args:
        return dict(named)
    if symbol == "os.path.realpath":
        named.pop("strict", None)
    if named:
        raise NotRead(f"{symbol}() is not read with named arguments")
    if symbol in PATH_CLASSES:
        return PurePosixPath(_join(*args) if args else "")
    if symbol in ("pathlib.Path.home", "pathlib.PosixPath.home"):
        return PurePosixPath(_expanduser("~", variables))
    if symbol == "os.path.expanduser":
        return _expanduser(_fspath(*args), variables)
    if symbol in ("pathlib.Path.cwd", "pathlib.PosixPath.cwd", "os.getcwd"):
        raise NotRead(_CWD)
    if symbol in _FUNCTIONS:
        return _FUNCTIONS[symbol](*args)
    raise NotRead(f"{symbol}() is not a call that is read")


def method(
    owner: Value, name: str, args: list[Value], named: dict[str, Value], variables: Variables
) -> Value:
    """The value of ``owner.name(*args, **named)``; raises as ``call``."""
    if isinstance(owner, str) and name == "format":
        return _format(owner, args, named)
    if isinstance(owner, PurePosixPath) and name == "resolve":
        named.pop("strict", None)
    if named:
        raise NotRead(f".{name}() is not read with named arguments")
    if isinstance(owner, str):
        return _text_method(owner, name, args)
    if isinstance(owner, PurePosixPath):
        if name == "expanduser" and not args:
            return PurePosixPath(_expanduser(str(owner), variables))
        return _path_method(owner, name, args)
    if isinstance(owner, dict) and name == "get":
        found: Value = owner.get(*args)
        return found
    raise NotRead(f".{name}() is not a call that is read")


def attribute(owner: Value, name: str) -> Value:
    """The value of ``owner.name``; raises NotRead where it is not read."""
    if isinstance(owner, PurePosixPath) and name in _PATH_ATTRIBUTES:
        found: Value = getattr(owner, name)
        return found
    raise NotRead(f".{name} is not an attribute that is read")


def divided(left: Value, right: Value) -> PurePosixPath:
    """``left / right`` where one of them is a path."""
    return PurePosixPath(_join(left, right))


def _path_method(path: PurePosixPath, name: str, args: list[Value]) -> Value:
    if name in ("absolute", "resolve") and not args:
        # As text: no symlink is looked up, so ".." takes the part before it away.
        return PurePosixPath(_absolute(path)) if name == "resolve" else _need_absolute(path)
    if name == "joinpath":
        return PurePosixPath(_join(path, *args))
    if name in _PATH_METHODS:
        found: Value = getattr(path, name)(*map(_fspath, args))
        return found
    raise NotRead(f".{name}() is not a call that is read")


def _text_method(text: str, name: str, args: list[Value]) -> Value:
    if name == "join":
        (parts,) = args
        if not isinstance(parts, (list, tuple)):
            raise NotRead("only a list or tuple is joined")
        return joined([_need_text(part) for part in parts], text)
    if name == "replace":
        old, new = map(_need_text, args)
        if len(text) + text.count(old) * len(new) > MAX_TEXT:
            raise NotRead("the text is too long")
        return text.replace(old, new)
    if name in _TEXT_METHODS:
        found: Value = getattr(text, name)(*args)
        return found
    raise NotRead(f".{name}() is not a call that is read")


def _format(text: str, args: list[Value], named: dict[str, Value]) -> str:
    """``str.format`` with plain fields: ``{}``, ``{0}`` and ``{name}``."""
    pieces: list[str] = []
    unnamed = iter(args)
    for literal, field, spec, conversion in string.Formatter().parse(text):
        pieces.append(literal)
        if field is None:
            continue
        if spec or conversion or not (field == "" or field.isdecimal() or field.isidentifier()):
            raise NotRead("only plain fields such as {name} are formatted")
        if field == "":
            pieces.append(text_of(next(unnamed, ())))
        else:
            pieces.append(text_of(args[int(field)] if field.isdecimal() else named[field]))
    return joined(pieces)


def percent(text: str, value: Value) -> str:
    """``text % value`` with plain ``%s`` and ``%d`` only."""
    args = list(value) if isinstance(value, tuple) else [value]
    pieces: list[str] = []
    head, sign, rest = text.partition("%")
    while sign:
        kind, rest = rest[:1], rest[1:]
        pieces.append(head)
        if kind == "%":
            pieces.append("%")
        elif kind == "s" and args:
            pieces.append(text_of(args.pop(0)))
        elif kind == "d" and args and isinstance(number := args.pop(0), int):
            pieces.append(text_of(int(number)))
        else:
            raise NotRead("only %s and %d are formatted, one for each value")
        head, sign, rest = rest.partition("%")
    if args:
        raise NotRead("only %s and %d are formatted, one for each value")
    return joined([*pieces, head])


def _need_text(value: Value) -> str:
    if not isinstance(value, str):
        raise NotRead("something that is not a string stands where a string is needed")
    return value


def _fspath(value: Value) -> str:
    if not isinstance(value, (str, PurePosixPath)):
        raise NotRead("a path is made of something that is neither a string nor a path")
    return str(value)


def _expanduser(path: str, variables: Variables) -> str:
    user, slash, rest = path.partition("/")
    if user == "~":
        home = _need_text(variables.require("HOME"))
        return home.rstrip("/") + slash + rest or "/"
    return os.path.expanduser(path)  # ~name: from the system's list of users


def _need_absolute(path: PurePosixPath) -> PurePosixPath:
    if not path.is_absolute():
        raise NotRead(_CWD)
    return path


def _absolute(path: Value) -> str:
    """``os.path.abspath`` of a path that is absolute already."""
    text = _fspath(path)
    if not posixpath.isabs(text):
        raise NotRead(_CWD)
    return posixpath.normpath(text)


def _join(*parts: Value) -> str:
    texts = [_fspath(part) for part in parts]
    joined(texts, "/")  # for its bound
    return posixpath.join(*texts)


def _of_path(function: Callable[[str], Value]) -> Callable[[Value], Value]:
    return lambda path: function(_fspath(path))


def _integer(value: Value) -> int:
    if isinstance(value, (int, float)):
        return int(value)
    if len(_need_text(value)) > 30:
        raise NotRead("the number is too long")
    return int(_need_text(value))


def _float(value: Value) -> float:
    return float(value) if isinstance(value, (int, float)) else float(_need_text(value)[:MAX_TEXT])


def _items(value: Value) -> list[Value]:
    if not isinstance(value, (list, tuple)):
        raise NotRead("only a list or tuple is copied")
    return list(value)


PATH_CLASSES = frozenset(
    f"pathlib.{name}" for name in ("Path", "PosixPath", "PurePath", "PurePosixPath")
)

# Symbols that stand for a value. The tool runs on POSIX systems only.
CONSTANTS: dict[str, Value] = {
    "os.curdir": ".",
    "os.name": "posix",
    "os.pardir": "..",
    "os.path.sep": "/",
    "os.sep": "/",
    "typing.TYPE_CHECKING": False,
}

_FUNCTIONS: dict[str, Callable[..., Value]] = {
    "bool": bool,
    "float": _float,
    "int": _integer,
    "len": lambda value: len(_items(value)),
    "list": _items,
    "os.fspath": _fspath,
    "os.path.abspath": _absolute,
    "os.path.basename": _of_path(posixpath.basename),
    "os.path.dirname": _of_path(posixpath.dirname),
    "os.path.isabs": _of_path(posixpath.isabs),
    "os.path.join": _join,
    "os.path.normpath": _of_path(posixpath.normpath),
    "os.path.realpath": _absolute,
    "os.path.split": _of_path(posixpath.split),
    "os.path.splitext": _of_path(posixpath.splitext),
    "str": text_of,
    "tuple": lambda value: tuple(_items(value)),
}

_PATH_ATTRIBUTES = frozenset({"anchor", "name", "parent", "stem", "suffix"})

_PATH_METHODS = frozenset(
    {
        "as_posix",
        "as_uri",
        "is_absolute",
        "is_relative_to",
        "relative_to",
        "with_name",
        "with_stem",
        "with_suffix",
    }
)

# None of these makes a text longer than it was by more than a small factor.
_TEXT_METHODS = frozenset(
    {
        "capitalize",
        "casefold",
        "endswith",
        "lower",
        "lstrip",
        "removeprefix",
        "removesuffix",
        "rsplit",
        "rstrip",
        "split",
        "startswith",
        "strip",
        "title",
        "upper",
    }
)
