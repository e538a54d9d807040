"""The streams that a person or a program reads: what may be shown there, and how."""

from __future__ import annotations

import os
import sys

from mlrepro.dataclass import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

RED, GREEN, YELLOW, BOLD, DIM = "31", "32", "33", "1", "2"


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person looks at ``stream``; a closed one is nobody's."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def is_lively(stream: TextIO | None) -> bool:
    """Whether colour and moving bars are welcome: a terminal, and nothing says otherwise.

    https://no-color.org: NO_COLOR counts when it is set and not empty.
    """
    environ = os.environ
    return is_terminal(stream) and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def visible(text: str) -> str:
    r"""``text`` on one line, with what a terminal would obey or cannot show written as ``\xNN``.

    File names come from a repository that nobody vouches for: an escape sequence in one must not
    reach the terminal, and a byte that is not UTF-8 must not stop the line from being printed.
    """
    if text.isprintable():
        return text
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    import unicodedata

    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, as os.fsdecode keeps it
        return f"\\x{code - 0xDC00:02x}"
    joins_letters = character in "\u200c\u200d"
    if not joins_letters and unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    return character


def width(text: str) -> int:
    """How many columns ``text`` takes on a terminal."""
    if text.isascii():
        return len(text)
    import unicodedata

    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) > 0 for character in text)


def coloured(text: str, colour: str, stream: TextIO | None) -> str:
    """``text`` in a colour (an SGR parameter) where ``stream`` welcomes it."""
    return f"\x1b[{colour}m{text}\x1b[0m" if is_lively(stream) else text


def write(stream: TextIO | None, text: str) -> OSError | None:
    """Write and flush; give back why that failed, or None.

    That the reader has gone away (``mlrepro log | head``) is no failure: the rest is dropped.
    """
    if stream is None:
        return None
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        _drop(stream)
    except OSError as failure:
        _drop(stream)
        return failure
    except ValueError:  # closed meanwhile
        pass
    return None


def _drop(stream: TextIO) -> None:
    """Let what is still in the buffer go nowhere, or Python complains of it at its exit."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        pass


def tolerate_any_text() -> None:
    """Let the standard streams take characters that their encoding lacks, written as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def ask(question: str) -> bool | None:
    """Ask on the terminal; None where there is none to ask on. No answer is a no."""
    if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        return None
    write(sys.stderr, f"{visible(question)} [y/N] ")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def secrets(names: Sequence[str]) -> dict[str, str]:
    """A line of standard input for each name; on a terminal it is asked for, and not shown.

    Where there are fewer lines, the rest is "".
    """
    if not names:
        return {}
    if is_terminal(sys.stdin) and is_terminal(sys.stderr):
        from getpass import getpass

        return {name: getpass(f"{visible(name)}: ") for name in names}
    given = sys.stdin.read(1 << 16).split("\n") if sys.stdin is not None else []
    lines = [line.removesuffix("\r") for line in given] + [""] * len(names)
    return dict(zip(names, lines, strict=False))
