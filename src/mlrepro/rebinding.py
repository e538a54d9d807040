"""Gives BLOB_STORE in config/config.py another value; every other letter of the file stays."""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Iterator, Mapping

from mlrepro import config
from mlrepro.dataclass import dataclass
from mlrepro.errors import ConfigError

NAME = "BLOB_STORE"


@dataclass(frozen=True, slots=True)
class Rebound:
    """What is to become of the file.

    ``text``: all of it, "" where it has to be changed by hand; ``line``: where BLOB_STORE gets its
    value (0: nowhere); ``was``, ``now``: that value, as the source has it; ``why``: why not.
    """

    text: str
    line: int
    was: str
    now: str
    why: str = ""


def rebind(root: str, text: str, url: str, environ: Mapping[str, str]) -> Rebound | None:
    """The file ``text`` with a BLOB_STORE that means ``url``; None where it does already.

    Only a value that one assignment at module level gives is replaced, and not one that depends on
    the environment: that is there so that it can differ from machine to machine. What comes out is
    read again before it is believed.
    """
    try:
        if config.load(root, environ, text).blob_store == url:
            return None
    except ConfigError:
        pass
    options = list(_expressions(root, url, text))
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return Rebound("", 0, "", options[-1], "the file cannot be read")
    found = [node for node in ast.walk(tree) if _binds(node)]
    value = _value(tree, found)
    line = min((getattr(node, "lineno", 0) for node in found), default=0)
    if value is None:
        why = "it is set in more than one place" if found else "it is not set there"
        return Rebound("", line, "", options[-1], why)
    was = ast.get_source_segment(text, value) or ""
    if "environ" in was or "getenv" in was:
        return Rebound("", line, was, options[-1], "it comes from the environment")
    for now in options:
        after = _replaced(text, value, now)
        if _means(root, after, url, environ) and _same_else(tree, value, after):
            return Rebound(after, line, was, now)
    return Rebound("", line, was, options[-1], "it is written in a form that is not changed here")


def _binds(node: ast.AST) -> bool:
    if isinstance(node, ast.Name):
        return node.id == NAME and not isinstance(node.ctx, ast.Load)
    return isinstance(node, ast.alias) and (node.asname or node.name) in (NAME, "*")


def _value(tree: ast.Module, found: list[ast.AST]) -> ast.expr | None:
    """The value of the one plain assignment that binds the name, or None."""
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target: ast.AST = statement.targets[0]
        elif isinstance(statement, ast.AnnAssign):
            target = statement.target
        else:
            continue
        if found == [target]:
            return statement.value
    return None


def _expressions(root: str, url: str, text: str) -> Iterator[str]:
    """Ways to write the place, the best first; a path stays a Path where the file knows that."""
    if "://" not in url and "Path" in text:
        inside = url.startswith(root + os.sep)
        place = json.dumps(os.path.relpath(url, root) if inside else url, ensure_ascii=False)
        if inside:
            yield f"Path(BASE_DIR, {place})"
            yield f"Path(__file__).parent.parent / {place}"
        else:
            yield f"Path({place})"
    inside = "://" not in url and url.startswith(root + os.sep)
    yield json.dumps(os.path.relpath(url, root) if inside else url, ensure_ascii=False)


def _replaced(text: str, value: ast.expr, now: str) -> str:
    lines = text.encode("utf-8", "surrogateescape").split(b"\n")
    first, last = value.lineno - 1, (value.end_lineno or value.lineno) - 1
    if last >= len(lines):
        return ""
    head = lines[first][: value.col_offset]
    tail = lines[last][value.end_col_offset :]
    lines[first : last + 1] = [head + now.encode("utf-8", "surrogateescape") + tail]
    return b"\n".join(lines).decode("utf-8", "surrogateescape")


def _means(root: str, text: str, url: str, environ: Mapping[str, str]) -> bool:
    try:
        return bool(text) and config.load(root, environ, text).blob_store == url
    except ConfigError:
        return False


def _same_else(before: ast.Module, value: ast.expr, text: str) -> bool:
    """Whether the new text says all else that the old one says."""
    try:
        after = ast.parse(text)
    except (SyntaxError, ValueError):
        return False
    if len(after.body) != len(before.body):
        return False
    changed = [
        (old, new)
        for old, new in zip(before.body, after.body, strict=True)
        if ast.dump(old) != ast.dump(new)
    ]
    return len(changed) == 1 and getattr(changed[0][0], "value", None) is value
