"""The door for people: understands the command line, runs one command, says what came of it."""

from __future__ import annotations

import errno
import os
import sys

from mlrepro import redaction, terminal
from mlrepro.call import Call, Flags, parse_plain
from mlrepro.dataclass import TYPE_CHECKING, replace
from mlrepro.errors import MlreproError, PathError, Refused, RepositoryError, UsageError
from mlrepro.outcome import EXIT_BUG, EXIT_INTERRUPTED, Outcome, shower
from mlrepro.progress import StreamReporter
from mlrepro.project import Project, find
from mlrepro.render import render
from mlrepro.result import Options, Result, lane_of

if TYPE_CHECKING:
    from typing import TextIO

    from mlrepro.outcome import Show

# The code of a Refused that a yes would lift: its message is then asked as a question.
NEEDS_YES = "needs-yes"

# What a person reads rather than glances at, as git pages its own log and diff.
_PAGED = frozenset({"config", "diff", "log"})

# What these show is what the files of the repository say, as it stands there.
_OF_CONTENT = frozenset({"config", "diff", "log"})

# What the machine, rather than mlrepro, is at fault for; and what to do about it.
_OF_THE_MACHINE = {
    errno.EACCES: "look at who owns it and may write it: ls -ld",
    errno.EPERM: "look at who owns it and may write it: ls -ld",
    errno.EROFS: "mount it so that it can be written",
    errno.ENOSPC: "make room, then run the same command again",
    errno.EDQUOT: "make room, then run the same command again",
    errno.EIO: "look at the disk: dmesg",
    errno.ESTALE: "mount it again, then run the same command again",
    errno.EMFILE: "run the same command again with -j 1",
    errno.ENFILE: "run the same command again with -j 1",
    errno.ENAMETOOLONG: "give it a shorter name",
    errno.ELOOP: "look where the symbolic link leads: ls -l",
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command line (without the program's name) and give back its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) > 1 and given[0] == "hook" and not given[1].startswith("-"):
        return _open_hook_door(given[1:])
    try:
        terminal.tolerate_any_text()
        redaction.know_arguments(given)
        run = _Run(given)
        outcome = run.outcome()
        try:
            return _say(outcome, run.flags)
        except Exception as error:  # before a word of it was written
            return _say(run.bug(error), run.flags)
    except KeyboardInterrupt:  # a second one, while the first was being told of
        return EXIT_INTERRUPTED


class _Run:
    """One command line, and what is known of it at the moment something goes wrong."""

    def __init__(self, arguments: list[str]) -> None:
        self.arguments = arguments
        self.command = ""
        self.show: Show = str
        # Until the line is understood, a guess: a wrong line shall be answered in JSON, too.
        ours = arguments[: arguments.index("--")] if "--" in arguments else arguments
        self.flags = Flags(json="--json" in ours)

    def outcome(self) -> Outcome:
        """Do what the line asks; every way in which that can fail becomes an Outcome."""
        if not self.flags.json:
            return self._served()
        with _StdoutKeptClear():
            return self._served()

    def _served(self) -> Outcome:
        try:
            return self._serve()
        except MlreproError as error:
            return self._failure(error, error.exit_code)
        except KeyboardInterrupt:
            return self._failure(MlreproError("Interrupted.", code="interrupted"), EXIT_INTERRUPTED)
        except OSError as error:
            expected = _of_the_machine(error)
            return self._failure(expected, expected.exit_code) if expected else self.bug(error)
        except (Exception, SystemExit) as error:
            return self.bug(error)

    def _serve(self) -> Outcome:
        call = parse_plain(self.arguments)
        if call is None:
            from mlrepro import parser  # Typer: only for lines that are not plain

            self.command = parser.verb_in(self.arguments)
            parsed = parser.parse(self.arguments)
            if isinstance(parsed, parser.Said):
                lines = tuple(parsed.text.splitlines())
                return Outcome(self.command, parsed.exit_code, {"text": parsed.text}, lines=lines)
            call = parsed
        self.command, self.flags = call.verb, call.flags
        with _StandingIn(call.flags.directory):
            if call.hook:
                return Outcome("hook", _open_hook_door(list(call.hook)))
            return self._carry_out(call)

    def _carry_out(self, call: Call) -> Outcome:
        flags = call.flags
        with StreamReporter(sys.stderr, quiet=flags.quiet, verbose=flags.verbose) as reporter:
            options = Options(flags.jobs, flags.dry_run, flags.yes, lane_of(os.environ), reporter)
            result = self._run(call, options)
        unread = flags.json or flags.quiet
        lines = () if unread else tuple(render(call.verb, result, self.show, options))
        data = result.data()
        if result.damaged:
            data["damaged"] = [dict(vars(one)) for one in result.damaged]
        return Outcome(call.verb, result.exit_code, data, result.errors, lines, self.show)

    def _run(self, call: Call, options: Options) -> Result:
        """Import the command and call it; where it needs a yes that can be had here, ask for it."""
        name = f"mlrepro.commands.{call.module or call.verb}"
        __import__(name)
        run = sys.modules[name].run
        start = _here()
        if call.verb == "init":  # there may be nothing to find yet
            target: Project | str = start
            try:
                self.show = shower(find(start, os.environ))
            except RepositoryError:
                pass
        else:
            target = project = find(start, os.environ)
            self.show = shower(project)
        result: Result
        arguments = dict(call.arguments)
        if "secrets" in arguments:
            arguments["secrets"] = terminal.secrets(arguments["secrets"])
            redaction.know(*arguments["secrets"].values())
        try:
            result = run(target, options=options, **arguments)
        except Refused as refused:
            if refused.code != NEEDS_YES or self.flags.json or not terminal.ask(refused.message):
                raise
            result = run(target, options=replace(options, yes=True), **arguments)
        return result

    def _failure(self, error: MlreproError, exit_code: int) -> Outcome:
        return Outcome(self.command, exit_code, errors=(error,), show=self.show, failed=True)

    def bug(self, error: BaseException) -> Outcome:
        """What is told of a fault of mlrepro's own: never the traceback, but where that is kept."""
        from mlrepro import crashlog

        path = crashlog.keep(error, self.arguments)
        where = f"what is known of it is in {path}" if path else "and no log could be written"
        hint = "look through that file, then report the bug with it" if path else ""
        told = MlreproError(f"mlrepro itself failed: {where}", hint, code="internal")
        return self._failure(told, EXIT_BUG)


def _open_hook_door(arguments: list[str]) -> int:
    """What git calls has a door of its own, which does not import what this one needs."""
    from mlrepro import hook

    return hook.main(arguments)


def _here() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        raise PathError(
            "The current folder no longer exists.", "cd to one that does", code="folder-gone"
        ) from None


class _StdoutKeptClear:
    """Sends to stderr whatever anything prints meanwhile, libraries and child programs included."""

    def __enter__(self) -> None:
        terminal.write(sys.stdout, "")
        self._stream: TextIO | None = sys.stdout
        sys.stdout = sys.stderr
        self._kept = -1
        try:
            self._kept = os.dup(1)
            os.dup2(2, 1)
        except OSError:
            pass  # one of them is closed

    def __exit__(self, *_: object) -> None:
        if self._kept >= 0:
            os.dup2(self._kept, 1)
            os.close(self._kept)
        sys.stdout = self._stream


class _StandingIn:
    """As if started in ``directory``; "" is the current folder. Raises UsageError if it is none."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def __enter__(self) -> None:
        self._before = _here()
        if self._directory:
            try:
                os.chdir(self._directory)
            except OSError as error:
                raise UsageError(
                    f"-C {self._directory}: {error.strerror}", "name a folder that is there"
                ) from None

    def __exit__(self, *_: object) -> None:
        try:
            os.chdir(self._before)
        except OSError:
            pass  # it is gone meanwhile


def _of_the_machine(error: OSError) -> MlreproError | None:
    """A failure that a person can mend outside of mlrepro, or None where it is a bug of ours."""
    if error.errno not in _OF_THE_MACHINE:
        return None
    name = error.filename
    path = os.fsdecode(name) if isinstance(name, str | bytes) else ""
    about = f"{error.strerror}: {path}" if path else f"{error.strerror}."
    return MlreproError(about, _OF_THE_MACHINE[error.errno], code="system", path=path)


def _say(outcome: Outcome, flags: Flags) -> int:
    """Print what a command line came to, and give back the exit code."""
    lines = [outcome.envelope()] if flags.json else _coloured(outcome)
    text = "".join(line + "\n" for line in lines)
    if outcome.command not in _OF_CONTENT or outcome.failed:
        text = redaction.shown(text)
    failure = _write(outcome, flags, text) if lines else None
    if outcome.exit_code == EXIT_INTERRUPTED and terminal.is_terminal(sys.stderr):
        terminal.write(sys.stderr, "\n")  # after the ^C that the terminal shows
    _complain(outcome.told())
    if failure is None:
        return outcome.exit_code
    _complain([{"message": f"The output could not be written: {failure.strerror}", "hint": ""}])
    return outcome.exit_code or MlreproError.exit_code


def _coloured(outcome: Outcome) -> list[str]:
    if not terminal.is_lively(sys.stdout):
        return list(outcome.lines)
    from mlrepro import paint

    return paint.painted(outcome.lines, history=outcome.command in _PAGED)


def _write(outcome: Outcome, flags: Flags, text: str) -> OSError | None:
    if outcome.command in _PAGED and not (flags.json or outcome.failed):
        from mlrepro import pager

        if pager.show(text, flags.directory):
            return None
    return terminal.write(sys.stdout, text)


def _complain(errors: list[dict[str, str]]) -> None:
    """Print errors; a hint that several in a row share, once."""
    label = terminal.coloured("error:", terminal.RED, sys.stderr)
    lines = []
    for place, error in enumerate(errors):
        lines.append(f"{label} {terminal.visible(error['message'])}\n")
        following = errors[place + 1]["hint"] if place + 1 < len(errors) else ""
        if error["hint"] and error["hint"] != following:
            hint = f"  hint: {terminal.visible(error['hint'])}"
            lines.append(terminal.coloured(hint, terminal.DIM, sys.stderr) + "\n")
    if lines:
        terminal.write(sys.stderr, "".join(lines))
