"""The values of config, params and metrics files, read from their text; nothing of it is run."""

from __future__ import annotations

import datetime as dt
import os
from math import isfinite
from pathlib import PurePosixPath

from mlrepro.dataclass import TYPE_CHECKING, dataclass, field
from mlrepro.errors import ConfigError, MlreproError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any, NoReturn

MAX_BYTES = 1 << 20
MAX_VALUES = 10_000  # of one file, so that a config stays something a person can read
MAX_DEPTH = 40  # mappings inside one another
MAX_INT_BITS = 8192
FORMATS = (".py", ".json", ".yaml", ".yml", ".toml")

# The first words of what binds a name to no value: nobody looks for these in a config.
_NO_VALUES = ("import ", "from ", "def ", "class ", "async ", "@")


@dataclass(frozen=True, slots=True)
class Value:
    """One value: ``name`` has a dot for each mapping that it lies in; ``value`` is as JSON has it.

    Dates, paths, infinity and nan are text.
    """

    file: str
    name: str
    value: Any


@dataclass(frozen=True, slots=True)
class Unread:
    """A name whose value cannot be told without running the file.

    ``line`` counts from 1, ``source`` is that line of the file, ``reason`` a clause that says what
    stopped it.
    """

    file: str
    name: str
    line: int
    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class Changed:
    """A value that differs; ``change``: added, modified or removed; None for what is not there.

    For a name whose value is not read, old or new is the line of text that sets it.
    """

    file: str
    name: str
    change: str
    old: Any
    new: Any


@dataclass(slots=True)
class Values:
    """What files hold, in their order, and the files that could not be read."""

    values: list[Value] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)
    errors: list[MlreproError] = field(default_factory=list)


def read(texts: Mapping[str, bytes], root: str) -> Values:
    """The values of files: path relative to the root → text; ``root`` is where they lie, absolute.

    A Python file is read as if no environment variable were set: what is shown hangs on the commit
    alone, and no secret of whoever looks at it gets into the answer.
    """
    found = Values()
    for name, text in texts.items():
        try:
            if len(text) > MAX_BYTES:
                _refuse(name, "it is larger than 1 MiB")
            if name.endswith(".py"):
                values, unread = _python(name, text, root)
                found.unread += unread
            else:
                values = list(_flat(name, parsed(name, text)))
            found.values += values
        except MlreproError as error:
            found.errors.append(error)
    return found


def _python(name: str, text: bytes, root: str) -> tuple[list[Value], list[Unread]]:
    from mlrepro import literal

    names = literal.read_names(literal.decode(text, name), os.path.join(root, name), {}, name)
    values = list(_flat(name, names.values))
    unread = [
        Unread(name, bound, stopped.line, stopped.source, stopped.reason)
        for bound, stopped in names.unreadable.items()
        if not stopped.source.startswith(_NO_VALUES)
    ]
    return values, unread


def parsed(name: str, text: bytes) -> Any:
    """The mapping that a JSON, TOML or YAML text holds. Raises ConfigError."""
    if name.endswith((".yaml", ".yml")):
        from mlrepro import dvc  # reads YAML within bounds; DVC itself is not imported

        return dvc.read_yaml(text, lambda why: _refuse(name, why), MAX_BYTES)
    try:
        words = text.decode("utf-8-sig")
        if name.endswith(".toml"):
            import tomllib

            return tomllib.loads(words)
        import json

        return json.loads(words)
    except UnicodeDecodeError:
        _refuse(name, "it is not UTF-8 text")
    except RecursionError:
        _refuse(name, "it is nested too deeply")
    except ValueError as error:  # both formats' own errors are ValueErrors
        kind = "TOML" if name.endswith(".toml") else "JSON"
        _refuse(name, f"it is not {kind}: {str(error)[:200]}")


def _flat(file: str, data: Any) -> Iterator[Value]:
    """One value for each leaf of the mappings in ``data``; lists are leaves."""
    plain = _Plain(file)
    pending: list[tuple[str, Any, int]] = [("", data, 0)]
    while pending:
        name, value, depth = pending.pop()
        if isinstance(value, dict) and value:
            plain.spend(len(value), depth)
            pending += [
                (f"{name}.{key}" if name else str(key), item, depth + 1)
                for key, item in reversed(value.items())
            ]
        elif name or value is not None:  # None alone: an empty file
            yield Value(file, name, plain.of(value, depth))


class _Plain:
    """Turns the values of one file into what JSON has, within bounds.

    What aliases of YAML name a thousand times is counted a thousand times.
    """

    def __init__(self, file: str) -> None:
        self._file = file
        self._values, self._letters = MAX_VALUES, 4 * MAX_BYTES

    def spend(self, values: int, depth: int, letters: int = 0) -> None:
        """Count what is to be shown; raises ConfigError where it is more than anyone reads."""
        self._values -= values
        self._letters -= letters
        if self._values < 0 or self._letters < 0:
            _refuse(self._file, f"it holds more than {MAX_VALUES:,} values, or too much text")
        if depth > MAX_DEPTH:
            _refuse(self._file, "it is nested too deeply")

    def of(self, value: object, depth: int = 0) -> Any:
        """Paths, dates, infinity and nan are text, tuples and sets lists."""
        if value is None or isinstance(value, (bool, int)):
            # Python writes no longer number in decimal digits.
            return hex(value) if value and value.bit_length() > MAX_INT_BITS else value
        if isinstance(value, float):
            return value if isfinite(value) else str(value)
        if isinstance(value, dict):
            self.spend(len(value), depth)
            return {self._text(str(key)): self.of(value[key], depth + 1) for key in value}
        if isinstance(value, (list, tuple, set, frozenset)):
            self.spend(len(value), depth)
            items = [self.of(item, depth + 1) for item in value]
            return items if isinstance(value, (list, tuple)) else sorted(items, key=repr)
        if isinstance(value, (dt.date, dt.time)):
            return value.isoformat()
        if isinstance(value, (str, PurePosixPath)):
            return self._text(str(value))
        return self._text(repr(value))  # such as YAML's !!binary

    def _text(self, text: str) -> str:
        self.spend(0, 0, len(text))
        return text


def _refuse(name: str, why: str) -> NoReturn:
    raise ConfigError(
        f"{name} cannot be read: {why}.", f"correct the file: {name}", "config-unreadable",
        path=name,
    )  # fmt: skip


def compare(old: Values, new: Values) -> list[Changed]:
    """What differs between two readings, by file and name. A file that one of them could not read
    is left out: all of it would seem to have come or gone.
    """
    bad = {error.path for error in (*old.errors, *new.errors)}
    before, after = _by_name(old), _by_name(new)
    found = []
    for key in sorted({**before, **after}, key=lambda key: key[0]):  # in the order of the file
        was, now = before.get(key), after.get(key)
        if key[0] in bad or _same(was, now):
            continue
        change = "added" if was is None else "removed" if now is None else "modified"
        found.append(Changed(*key, change, was and was[0], now and now[0]))
    return found


def _by_name(values: Values) -> dict[tuple[str, str], tuple[Any, bool]]:
    """(file, name) → (value, whether it is one): for a name that is not read, its line of text."""
    found: dict[tuple[str, str], tuple[Any, bool]] = {
        (one.file, one.name): (one.value, True) for one in values.values
    }
    found.update({(one.file, one.name): (one.source, False) for one in values.unread})
    return found


def _same(was: tuple[Any, bool] | None, now: tuple[Any, bool] | None) -> bool:
    """Whether two values are the same, of the same type too: 1, 1.0 and true are not."""
    import json

    return json.dumps(was, sort_keys=True) == json.dumps(now, sort_keys=True)
