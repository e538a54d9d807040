"""Makes the parser of the whole command line from the verbs, and asks it."""

from __future__ import annotations

import contextlib
import io
from importlib.util import find_spec
from typing import Any

import typer

import mlrepro
from mlrepro.call import Call
from mlrepro.dataclass import dataclass
from mlrepro.errors import UsageError
from mlrepro.flags import group_callback, with_flags
from mlrepro.outcome import EXIT_INTERRUPTED
from mlrepro.verbs import VERBS

# What follows a hook's name is git's, not ours to understand.
_AS_GIT_GAVE_IT = {"ignore_unknown_options": True, "allow_interspersed_args": False}
# The base of all errors of usage. Where its own name is, depends on the version of Typer.
_WRONG_USAGE: Any = typer.BadParameter.__bases__[0]


def registered() -> list[str]:
    """The verbs that can be served: those whose module is there."""
    return [verb for verb in VERBS if verb == "hook" or find_spec(f"mlrepro.commands.{verb}")]


def _app() -> typer.Typer:
    # Without Rich's markup: importing it would cost more than most commands take.
    app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    app.callback()(group_callback(mlrepro.__doc__ or ""))
    for verb in registered():
        function, writes = VERBS[verb]
        settings = _AS_GIT_GAVE_IT if verb == "hook" else None
        app.command(verb, context_settings=settings)(with_flags(function, writes=writes))
    return app


@dataclass(frozen=True)
class Said:
    """What the parser itself had to say: help, the version, a completion."""

    text: str
    exit_code: int


def parse(arguments: list[str]) -> Call | Said:
    """Understand a command line, without doing any of it; needs no repository.

    An empty one asks for help, and is wrong all the same. Raises UsageError where it is wrong.
    """
    text = io.StringIO()
    if verb_in(arguments) == "diff" and "--" in arguments:
        # Typer takes the first one away, and here it says which names are paths.
        at = arguments.index("--")
        arguments = [*arguments[:at], "--", *arguments[at:]]
    try:
        with contextlib.redirect_stdout(text):
            parsed = typer.main.get_command(_app()).main(
                args=arguments or ["--help"], prog_name="mlrepro", standalone_mode=False
            )
    except SystemExit as stop:  # a shell asked for completions
        parsed = stop.code
    except typer.Abort:
        raise KeyboardInterrupt from None
    except _WRONG_USAGE as wrong:
        message = " ".join(wrong.format_message().split()).replace("Value error, ", "")
        raise UsageError(message, _help_for(arguments)) from None
    if isinstance(parsed, Call):
        return parsed
    code = parsed if isinstance(parsed, int) else 0
    if code == EXIT_INTERRUPTED:  # newer versions of Typer give this back instead of Abort
        raise KeyboardInterrupt
    return Said(text.getvalue(), code if arguments else UsageError.exit_code)


def verb_in(arguments: list[str]) -> str:
    """The verb that a command line, which may be a wrong one, means; "" where it names none."""
    known = registered()
    return next((argument for argument in arguments if argument in known), "")


def _help_for(arguments: list[str]) -> str:
    verb = verb_in(arguments)
    return f"mlrepro {verb} --help" if verb else "mlrepro --help"
