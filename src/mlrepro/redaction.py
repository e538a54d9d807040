"""Takes secrets out of whatever is shown or kept: the one place that says what they look like."""

from __future__ import annotations

import os

# A word that every name of a secret has in it, and a sign that every secret by its form has: only a
# text with one of them is looked at with the patterns, which take some milliseconds to compile.
_WORDS = (
    "pass",
    "secret",
    "token",
    "key",
    "connection",
    "credential",
    "authorization",
    "signature",
)
_SIGNS = ("@", "=", "-----BEGIN", "AKIA", "ASIA")
_SHORTEST = 6  # letters; a shorter one could be any word

_known: set[str] = set()


def know(*secrets: str) -> None:
    """Have these texts taken out of all that is shown or kept from now on, wherever they stand."""
    _known.update(secret for secret in secrets if len(secret) >= _SHORTEST)


def know_arguments(arguments: list[str]) -> None:
    """Know the values of a command line's flags that are named like a secret.

    But the mere name of a setting, as in ``--secret access_key_id``, is none.
    """
    for flag, word in zip(arguments, [*arguments[1:], ""], strict=False):
        name, equals, value = flag.partition("=")
        given = value if equals else word
        if not flag.startswith("-") or not _is_name_of_one(name.lstrip("-")):
            continue
        plain = given.islower() and given.replace("_", "").isalpha()
        if not (name == "--secret" and plain and _is_name_of_one(given)):
            know(given)


def redact(text: str) -> str:
    """``text`` without the values of what is named like a secret and the logins in URLs.

    For what others wrote, and for what is kept. Errs on the side of taking out too much.
    """
    from mlrepro.secretforms import RULES

    text = _without_known(text)
    for pattern, instead in RULES:
        text = pattern.sub(instead, text)
    return text


def shown(text: str) -> str:
    """``text`` without what is certainly a secret: known ones, passwords in URLs, signatures.

    For messages of our own, of which nothing else may be lost.
    """
    text = _without_known(text)
    if any(sign in text for sign in _SIGNS):
        from mlrepro.secretforms import CERTAIN

        for pattern, instead in CERTAIN:
            text = pattern.sub(instead, text)
    return text


def without_secrets(arguments: list[str]) -> list[str]:
    """A command line without the words that follow ``--password`` and the like."""
    before = ["", *arguments]
    return [
        "***" if flag.startswith("-") and _is_name_of_one(flag.lstrip("-")) else word
        for flag, word in zip(before, arguments, strict=False)
    ]


def _without_known(text: str) -> str:
    secrets = _known | _in_environment()
    if secrets:
        from json import dumps

        for secret in sorted(secrets, key=len, reverse=True):
            for written in (secret, dumps(secret)[1:-1]):
                text = text.replace(written, "***")
    return text


def _is_name_of_one(name: str) -> bool:
    lower = name.lower()
    if not any(word in lower for word in _WORDS):
        return False
    from mlrepro.secretforms import NAME_OF_ONE

    return NAME_OF_ONE.fullmatch(name) is not None


def _in_environment() -> set[str]:
    """What the environment holds under names of secrets, but paths of files that hold them."""
    return {
        value
        for name, value in os.environ.items()
        if len(value) >= _SHORTEST
        and _is_name_of_one(name)
        and not (os.path.isabs(value) and os.path.exists(value))
    }
