"""What a person on a terminal sees of log and diff: the pager that git would use, and colours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import looking
from looking import Looking
from mlrepro import paint


@pytest.fixture
def work(tmp_path: Path) -> Looking:
    work = looking.make(tmp_path / "repo")
    work.has({"data/a.csv": "1"}, "first")
    return work


def on_terminal(work: Looking, *args: str, **env: str) -> tuple[int, str]:
    """Run the real command on a terminal of its own; exit code, and what the terminal got."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "mlrepro", *args],
        cwd=work.root,
        env={**os.environ, "TERM": "xterm", **env},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 1 << 16)
        except OSError:  # how Linux tells that the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(ours)
    return process.wait(), shown.decode().replace("\r\n", "\n")


def test_the_pager_is_the_one_of_git(work: Looking) -> None:
    code, shown = on_terminal(work, "log", GIT_PAGER="sed s/^/paged:/", PAGER="false")
    assert code == 0
    assert all(line.startswith("paged:") for line in shown.splitlines())
    work.git("config", "core.pager", "sed s/^/config:/")
    code, shown = on_terminal(work, "diff", "-C", "data", NO_COLOR="1")
    assert shown.startswith(f"config:{work.head[:10]}")
    assert "\x1b" not in shown


@pytest.mark.parametrize("pager", ["", "cat", "no-such-pager", "no-such-pager --please"])
def test_without_a_pager_it_is_printed(work: Looking, pager: str) -> None:
    code, shown = on_terminal(work, "log", GIT_PAGER=pager)
    assert code == 0
    assert shown.splitlines()[-1] == "1 version, 1 path"
    assert f"\x1b[33m{work.head[:10]}\x1b[0m" in shown


def test_a_pager_that_is_left_early_is_no_failure(work: Looking) -> None:
    work.has({"data/a.csv": "2"}, "more than a pipe holds " * 4000)
    code, shown = on_terminal(work, "log", GIT_PAGER="head -n 1")
    assert (code, len(shown.splitlines())) == (0, 1)


def test_what_is_never_paged(work: Looking) -> None:
    paged = {"GIT_PAGER": "sed s/^/paged:/"}
    for args in (("log", "--json"), ("log", "nope"), ("status",)):
        assert "paged:" not in on_terminal(work, *args, **paged)[1]
    assert "paged:" not in work.mlrepro("log", env=paged).stdout


def test_colours() -> None:
    lines = [
        "data", "0123456789  2024-01-01 12:00  Ada  a -> b", "  added     x", "      + id=3", "",
        "    ~ id=3: x a -> b", "0123456789 one -> workspace", "  hint: git commit",
        "  removed", "1 version",
    ]  # fmt: skip
    assert paint.painted(lines, history=True) == [
        "\x1b[1mdata\x1b[0m", "\x1b[33m0123456789\x1b[0m  2024-01-01 12:00  Ada  a -> b",
        "  \x1b[32madded\x1b[0m     x", "      \x1b[32m+\x1b[0m id=3", "",
        "    \x1b[33m~\x1b[0m id=3: x a -> b", "\x1b[1m0123456789 one -> workspace\x1b[0m",
        "\x1b[2m  hint: git commit\x1b[0m", "  removed", "1 version",
    ]  # fmt: skip
    assert paint.painted(lines, history=False)[:7] == lines[:7]
