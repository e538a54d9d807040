"""Takes secrets out of whatever is shown or kept: the one place that says what they look like."""

from __future__ import annotations

import json
import os
import re

_NAMED_SO = (
    r"(?:pass(?:word|wd|phrase|code)|secret|token|(?:api|access|account|private)[_-]?key|"
    r"connection[_-]?string|credential|authorization|signature)"
)
# Plain, and as the representation of a text that has quotes in it writes them.
_QUOTED = r"""b?"(?:\\.|[^"\\])*"|b?'(?:\\.|[^'\\])*'|\\+(?P<quote>["']).{0,500}?\\+(?P=quote)"""
_BARE = r"""(?:(?:bearer|basic)[ ]+)?[^\s,;&)}\]'"]+"""
_KEY_BLOCK = (re.compile(r"-----BEGIN ([A-Z ]*)-----.*?-----END \1-----", re.DOTALL), "***")
_KEY_ID = (re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"), "***")
# Repeats are bounded, so that no text takes long.
_RULES = (
    _KEY_BLOCK,
    (re.compile(r"(\w://)[^\s'\"]{0,2000}@"), r"\1***@"),
    (re.compile(r"([?&]sig=)[^&\s'\"]+"), r"\1***"),
    (
        re.compile(
            rf"""(\b[\w.-]{{0,60}}{_NAMED_SO}[\w-]{{0,60}}\\{{0,3}}["']?[ ]*(?:=>|[:=])[ ]*)"""
            rf"""(?:{_QUOTED}|{_BARE})""",
            re.IGNORECASE,
        ),
        r"\1***",
    ),
    _KEY_ID,
)
# What is certain to be a secret wherever it stands, so that nothing else in a message is lost.
_CERTAIN = (
    _KEY_BLOCK,
    (re.compile(r"(\w:/{1,2}[^\s'\"/@:]{0,200}):(?!\d+/)(?!<)[^\s'\"@]{1,2000}@"), r"\1:***@"),
    (
        re.compile(
            r"([?&](?:sig|x-amz-signature|[\w-]{0,60}token|[\w-]{0,60}secret)=)[^&\s'\"<]+",
            re.IGNORECASE,
        ),
        r"\1***",
    ),
    (re.compile(r"\b((?:Account|SharedAccess)(?:Key|Signature)=)[^;\s'\"]+", re.IGNORECASE),
     r"\1***"),
    _KEY_ID,
)  # fmt: skip
_NAME_OF_ONE = re.compile(rf"[\w.-]{{0,60}}{_NAMED_SO}[\w-]{{0,60}}", re.IGNORECASE)
_SHORTEST = 6  # letters; a shorter one could be any word

_known: set[str] = set()


def know(*secrets: str) -> None:
    """Have these texts taken out of all that is shown or kept from now on, wherever they stand."""
    _known.update(secret for secret in secrets if len(secret) >= _SHORTEST)


def know_arguments(arguments: list[str]) -> None:
    """Know the values of a command line's flags that are named like a secret."""
    for flag, word in zip(arguments, [*arguments[1:], ""], strict=False):
        name, equals, value = flag.partition("=")
        if flag.startswith("-") and _NAME_OF_ONE.fullmatch(name.lstrip("-")):
            know(value if equals else word)


def redact(text: str) -> str:
    """``text`` without the values of what is named like a secret and the logins in URLs.

    For what others wrote, and for what is kept. Errs on the side of taking out too much.
    """
    text = _without_known(text)
    for pattern, instead in _RULES:
        text = pattern.sub(instead, text)
    return text


def shown(text: str) -> str:
    """``text`` without what is certainly a secret: known ones, passwords in URLs, signatures.

    For messages of our own, of which nothing else may be lost.
    """
    text = _without_known(text)
    for pattern, instead in _CERTAIN:
        text = pattern.sub(instead, text)
    return text


def without_secrets(arguments: list[str]) -> list[str]:
    """A command line without the words that follow ``--password`` and the like."""
    before = ["", *arguments]
    return [
        "***" if flag.startswith("-") and _NAME_OF_ONE.fullmatch(flag.lstrip("-")) else word
        for flag, word in zip(before, arguments, strict=False)
    ]


def _without_known(text: str) -> str:
    for secret in sorted(_known | _in_environment(), key=len, reverse=True):
        for written in (secret, json.dumps(secret)[1:-1]):
            text = text.replace(written, "***")
    return text


def _in_environment() -> set[str]:
    """What the environment holds under names of secrets, but paths of files that hold them."""
    return {
        value
        for name, value in os.environ.items()
        if len(value) >= _SHORTEST
        and _NAME_OF_ONE.fullmatch(name)
        and not (os.path.isabs(value) and os.path.exists(value))
    }
