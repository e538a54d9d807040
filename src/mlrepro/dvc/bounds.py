"""Keeps YAML from a repository that is not trusted within bounds, before and while it is read."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any, NoReturn

DEEPEST = 40  # levels of nesting; the parser's time grows with their square, and worse
MAX_ALIASES = 32  # an alias of a list of aliases of lists…: with each level twice as much
MAX_MERGED_ALIASES = 8  # merging copies at once what an alias only names
_NOT_YAML = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
_BRACKET = re.compile(r"[\[\]{}]")
_ALIAS = re.compile(r"(?:^|[\s\[{,])\*[^\s\]},]", re.MULTILINE)


def load(
    text: bytes, most: int, refuse: Callable[[str], NoReturn], *, aliases: bool = False
) -> Any:
    """What a YAML text of at most ``most`` characters holds, read so that none can take long.

    Needs no DVC. ``refuse(why)`` raises, and is called for what is too large, not UTF-8, not YAML,
    nested too deeply or, without ``aliases``, uses an anchor or alias.
    """
    try:
        words = text[: most + 1].decode("utf-8")
    except UnicodeDecodeError:
        refuse("it is not UTF-8 text")
    problem = problem_of(words, most)
    if problem:
        refuse(problem)
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    yaml: Any = YAML(typ="safe", pure=True)
    yaml.Composer = composer(refuse, aliases)
    try:
        return yaml.load(io.StringIO(words))
    except (YAMLError, *_NOT_YAML) as error:
        problem = str(getattr(error, "problem", None) or type(error).__name__)
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark is not None else ""
        refuse(f"it is not YAML: {problem}{line}")


def problem_of(text: str, most: int, aliases: int = MAX_ALIASES) -> str:
    """Why a text of at most ``most`` characters would take DVC's parser too long; "" if not.

    ``aliases``: how many the text may have. A star in a plain text counts as one only as long as
    that does not decide; then the text is parsed, without making anything of it.
    """
    if len(text) > most:
        return f"it is larger than {most >> 20} MiB"
    depth = 0
    for bracket in _BRACKET.findall(text):
        depth = depth + 1 if bracket in "[{" else max(0, depth - 1)
        if depth > DEEPEST:
            return "it is nested too deeply"
    if "<<" in text:
        aliases = min(aliases, MAX_MERGED_ALIASES)
    if len(_ALIAS.findall(text)) > aliases and _count_aliases(text, aliases) > aliases:
        return "it uses too many aliases"
    return ""


def _count_aliases(text: str, enough: int) -> int:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError
    from ruamel.yaml.events import AliasEvent

    count = 0
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            count += isinstance(event, AliasEvent)
            if count > enough:
                break
    except (YAMLError, ValueError):
        pass  # whoever loads it will say so
    return count


def composer(refuse: Any, aliases: bool) -> type:
    """A composer for ruamel that calls ``refuse(why)`` for deep nesting, and for aliases."""
    from ruamel.yaml.composer import Composer
    from ruamel.yaml.events import AliasEvent

    class Bounded(Composer):
        levels = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            event = self.parser.peek_event()
            if not aliases and (isinstance(event, AliasEvent) or event.anchor is not None):
                refuse(f"it uses an anchor or alias (line {event.start_mark.line + 1})")
            self.levels += 1
            if self.levels > DEEPEST:
                refuse("it is nested too deeply")
            node = super().compose_node(parent, index)
            self.levels -= 1
            return node

    return Bounded
