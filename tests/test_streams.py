"""What gets to stdout and stderr: names, paths, closed and full streams, questions, Ctrl-C."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from fake_commands import NOTHING_STORED, Commands

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    made = Commands(tmp_path)
    made.write("push", NOTHING_STORED)
    return made


def test_nothing_but_the_envelope_gets_to_stdout(commands: Commands) -> None:
    commands.write(
        "push",
        """
        print("said by Python")
        os.write(1, b"said by C\\n")
        subprocess.run(["echo", "said by a child"])
        """
        + NOTHING_STORED,
        head="import os, subprocess",
    )
    line = commands.run("push", "--json")
    assert line.envelope["status"] == "ok"
    assert sorted(line.err.splitlines()) == ["said by C", "said by Python", "said by a child"]
    assert "said by C" in commands.run("push").out


NAME = os.fsdecode(b"sub/\x1b[31mcaf\xe9\n.csv")


def test_paths_are_relative_to_the_current_folder(commands: Commands) -> None:
    (commands.repo / "sub").mkdir()
    commands.write(
        "pull",
        """
        words = "sub/a.csv is lost: sub/a.csv.dvc.", "look at sub/a.csv"
        lost = errors.BlobMissing(*words, path="sub/a.csv")
        return Fake(
            errors=(lost,),
            json=(("restored", ["sub/b", "c", project.root + "/sub/d", "/elsewhere"]),
                  ("missing", [{"path": "sub/a.csv"}]),
                  ("values", [{"file": "c", "value": ["sub/b"]}])),
            fields=(("restored", ("sub/b",)), ("unchanged", ()), ("kept", ()), ("missing", ())),
        )
        """,
    )
    line = commands.run("pull", "--json", cwd=commands.repo / "sub")
    assert line.envelope["data"] == {
        "restored": ["b", "../c", "d", "/elsewhere"],
        "missing": [{"path": "a.csv"}],
        "values": [{"file": "../c", "value": ["sub/b"]}],
    }
    assert line.envelope["errors"][0]["path"] == "a.csv"
    line = commands.run("-C", "sub", "pull")
    assert line.out.splitlines()[0] == "restored  b"
    assert line.err == "error: a.csv is lost: a.csv.dvc.\n  hint: look at a.csv\n"


def test_no_file_name_can_spoil_the_output(commands: Commands) -> None:
    commands.write(
        "pull",
        f"""
        lost = errors.PathError("Odd: " + {NAME!r}, path={NAME!r})
        fields = (("restored", ({NAME!r},)), ("unchanged", 0), ("kept", ()), ("missing", ()))
        return Fake(errors=(lost,), fields=fields, json=(("restored", [{NAME!r}]),))
        """,
    )
    for lang in ("C.UTF-8", "C"):
        env = commands.environ(LC_ALL=lang, PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
        line = commands.run("pull", env=env)
        assert line.out.splitlines()[0] == r"restored  sub/\x1b[31mcaf\xe9\x0a.csv"
        assert line.err == "error: Odd: " + r"sub/\x1b[31mcaf\xe9\x0a.csv" + "\n"
        line = commands.run("pull", "--json", env=env)
        assert line.envelope["data"]["restored"] == [NAME]
        assert line.out.isascii()


def test_arguments_that_are_not_utf8_arrive(commands: Commands) -> None:
    commands.write("track", "raise errors.Refused(ascii(args['paths']))")
    for flags in ((), ("-j", "1")):  # the plain parser, and the full one
        line = commands.run("track", *flags, b"caf\xe9")
        assert line.err == "error: ['caf\\udce9']\n"


def test_errors_in_a_row_share_their_hint(commands: Commands) -> None:
    commands.write(
        "push",
        "three = [errors.Refused(f'{n}.', h) for n, h in [(1, 'a'), (2, 'a'), (3, 'b')]]\n"
        "return Fake(errors=tuple(three))",
    )
    line = commands.run("push", "-q")
    assert line.err == "error: 1.\nerror: 2.\n  hint: a\nerror: 3.\n  hint: b\n"
    assert (line.code, line.out) == (1, "")


def test_quiet_and_verbose(commands: Commands) -> None:
    commands.write(
        "push",
        "options.reporter.step('a step'); options.reporter.note('a note')\n" + NOTHING_STORED,
    )
    seen = {flag: commands.run("push", *flag.split()) for flag in ("", "-q", "-v", "-v --json")}
    assert seen[""].err == "a note\n"
    assert seen[""].out
    assert seen["-q"].err == seen["-q"].out == ""
    assert seen["-v"].err == seen["-v --json"].err == "a step\na note\n"


def test_what_the_machine_is_at_fault_for(commands: Commands) -> None:
    commands.write("push", "raise OSError(28, 'No space left on device', project.root + '/a')")
    line = commands.run("push", "--json")
    error = line.envelope["errors"][0]
    assert (line.code, error["code"], error["path"]) == (1, "system", "a")
    assert error["message"] == f"No space left on device: {error['path']}"


def interrupted(commands: Commands, *arguments: str) -> tuple[int, bytes, bytes]:
    commands.write(
        "push",
        "print('ready', file=sys.stderr, flush=True); time.sleep(60)",
        head="import sys, time",
    )
    with subprocess.Popen(
        commands.argv(*arguments),
        cwd=commands.repo,
        env=commands.environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_interrupted(commands: Commands) -> None:
    assert interrupted(commands, "push") == (130, b"", b"error: Interrupted.\n")
    code, out, _ = interrupted(commands, "push", "--json")
    assert code == json.loads(out)["exit_code"] == 130
    assert json.loads(out)["errors"][0]["code"] == "interrupted"


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_reader_that_goes_away(commands: Commands, flags: list[str]) -> None:
    commands.write(
        "pull",
        "names = ['x' * 50] * 20_000\n"
        "return Fake(json=(('restored', names),), fields=(('restored', names),"
        "('unchanged', 0), ('kept', ()), ('missing', ())))",
    )
    with subprocess.Popen(
        commands.argv("pull", *flags),
        cwd=commands.repo,
        env=commands.environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_output_that_cannot_be_written(commands: Commands) -> None:
    with open("/dev/full", "wb") as full:
        argv, env = commands.argv("push"), commands.environ()
        done = subprocess.run(
            argv, cwd=commands.repo, env=env, stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 1
    assert done.stderr == b"error: The output could not be written: No space left on device\n"


ASKS = (
    """
if not options.yes:
    raise errors.Refused("This frees 3 GiB. Go on?", "mlrepro push -y", code="needs-yes")
"""
    + NOTHING_STORED
)


def test_nothing_prompts_without_a_terminal(commands: Commands) -> None:
    commands.write("push", ASKS)
    line = commands.run("push")
    assert (line.code, line.out) == (1, "")
    assert line.err == "error: This frees 3 GiB. Go on?\n  hint: mlrepro push -y\n"
    assert commands.run("push", "-y").code == 0


@pytest.mark.parametrize(("answer", "code"), [(b"y\n", 0), (b"n\n", 1), (b"\x04", 1)])
def test_a_question_on_a_terminal(commands: Commands, answer: bytes, code: int) -> None:
    commands.write("push", ASKS)
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        commands.argv("push"),
        cwd=commands.repo,
        env=commands.environ(NO_COLOR="1"),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        seen = b""
        while not seen.endswith(b"Go on? [y/N] "):
            seen += os.read(ours, 1000)
        os.write(ours, answer)
        assert process.stdout is not None
        assert process.stdout.read() == (b"all is in the store\n" if code == 0 else b"")
        assert process.wait(60) == code
    os.close(ours)


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&-"])
def test_streams_that_are_closed(commands: Commands, closed: str) -> None:
    commands.write("pull", "raise errors.Refused('No.')")
    for verb, code in (("push", 0), ("pull", 1)):
        for flags in ([], ["--json"], ["-v", "-j", "2"]):
            script = f'exec "$@" {closed}'
            argv = ["sh", "-c", script, "sh", *commands.argv(verb, *flags)]
            env = commands.environ()
            done = subprocess.run(
                argv, cwd=commands.repo, env=env, capture_output=True, check=False
            )
            assert done.returncode == code
            if flags == ["--json"] and ">&-" not in closed.split():
                assert json.loads(done.stdout)["exit_code"] == code
            assert b"Traceback" not in done.stderr
