"""Bars: only on a terminal, only after a second; steps and notes above them."""

from __future__ import annotations

import os
import pty
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from fake_commands import NOTHING_STORED, Commands

if TYPE_CHECKING:
    from pathlib import Path

TRANSFER = """
report = options.reporter
report.begin("copying \\x1b[2J", 4096)
report.advance(1024)
time.sleep(SECONDS)
report.note("a note")
report.advance(1024)
report.end()
"""


def on_a_terminal(commands: Commands, *flags: str, **environ: str) -> str:
    """What a command line writes on stderr, where that is a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        commands.argv("push", *flags),
        cwd=commands.repo,
        env=commands.environ(**environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        seen = []

        def read() -> None:
            try:
                while chunk := os.read(ours, 10_000):
                    seen.append(chunk)
            except OSError:  # how Linux says that the other side was closed
                pass

        reader = threading.Thread(target=read)
        reader.start()
        assert process.wait(60) == 0
        reader.join(60)
    os.close(ours)
    return b"".join(seen).decode()


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(tmp_path)


def test_a_bar_on_a_terminal(commands: Commands) -> None:
    body = TRANSFER.replace("SECONDS", "2.5") + NOTHING_STORED
    commands.write("push", body, head="import time")
    seen = on_a_terminal(commands, TERM="xterm", COLUMNS="120")
    assert r"copying \x1b[2J" in seen
    assert "\x1b[2J" not in seen
    assert "1.0 KiB of 4.0 KiB" in seen
    assert "a note" in seen
    assert seen.rstrip().endswith("\x1b[2K") or "\x1b[?25h" in seen  # gone, the cursor is back


@pytest.mark.parametrize(
    ("flag", "environ"),
    [
        ("", {"NO_COLOR": "1"}),
        pytest.param("", {"TERM": "dumb"}, marks=pytest.mark.slow),
        pytest.param("-q", {"TERM": "xterm"}, marks=pytest.mark.slow),
    ],
)
def test_no_bar_where_it_is_not_wanted(
    commands: Commands, flag: str, environ: dict[str, str]
) -> None:
    body = TRANSFER.replace("SECONDS", "1.5") + NOTHING_STORED
    commands.write("push", body, head="import time")
    seen = on_a_terminal(commands, *flag.split(), **environ)
    assert seen == ("" if flag else "a note\r\n")


def test_no_bar_for_a_short_transfer_and_none_without_a_terminal(commands: Commands) -> None:
    body = TRANSFER.replace("SECONDS", "0")
    imports = "options.reporter.note(str('rich' in sys.modules))\n"
    commands.write("push", body + imports + NOTHING_STORED, head="import sys, time")
    assert on_a_terminal(commands, TERM="xterm") == "a note\r\nFalse\r\n"
    commands.write("push", TRANSFER.replace("SECONDS", "1.5") + NOTHING_STORED, head="import time")
    assert commands.run("push").err == "a note\n"


def test_transfers_of_several_threads_share_one_bar(commands: Commands) -> None:
    body = """
    def transfer():
        for _ in range(20):
            options.reporter.begin("copy", 1000)
            for _ in range(100):
                options.reporter.advance(10)
            options.reporter.step("one")
            options.reporter.end()
    options.reporter.begin("all", 0)
    time.sleep(1.5)
    threads = [threading.Thread(target=transfer) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    options.reporter.end()
    options.reporter.end()
    """
    import textwrap

    commands.write("push", textwrap.dedent(body) + NOTHING_STORED, head="import threading, time")
    seen = on_a_terminal(commands, "-v", TERM="xterm")
    assert seen.count("one") == 80


def test_colour_only_on_a_terminal(commands: Commands) -> None:
    commands.write("push", "return Fake(errors=(errors.Refused('No.'),), code=0)")
    commands.write("push", "raise errors.Refused('No.', 'do it')")
    for environ, label in (({}, "\x1b[31merror:\x1b[0m No."), ({"NO_COLOR": "1"}, "error: No.")):
        ours, theirs = pty.openpty()
        env = commands.environ(TERM="xterm", **environ)
        argv = commands.argv("push")
        code = subprocess.call(
            argv, cwd=commands.repo, env=env, stdin=subprocess.DEVNULL, stderr=theirs
        )
        assert code == 1
        assert os.read(ours, 1000).decode().startswith(label)
        os.close(ours)
        os.close(theirs)
