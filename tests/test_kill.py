"""Commands killed at every call by which they change a file: nothing lost, all mended by the next.

What is tried is in killing_commands.py, a program of its own.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
COMMANDS = ("track", "commit", "push", "pull", "restore", "checkout", "repair")
Record = Callable[[str, object], None]

WAYS = {
    "all": "{}: it and all that it started killed before and after a call that changes a file",
    "one": "{}: a process that it started, or the hook, killed before a call that changes a file",
    "random": "{}: killed at a random moment",
}


def _kill(folder: Path, record: Record, way: str, stride: int, *commands: str) -> dict[str, int]:
    program = [sys.executable, str(HERE / "killing_commands.py"), str(folder), way, str(stride)]
    done = subprocess.run([*program, *commands], capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    tried = {line.split()[0]: int(line.split()[1]) for line in done.stdout.splitlines()}
    assert set(tried) == set(commands)
    for command, count in tried.items():
        record("tried", ["Kill anywhere", WAYS[way].format(command), count])
    return tried


def test_killed_now_and_then(tmp_path: Path, record_property: Record) -> None:
    tried = _kill(tmp_path, record_property, "all", 45, "commit", "restore")
    assert sum(tried.values()) >= 5


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_killed_at_every_call(in_memory: Path, record_property: Record, command: str) -> None:
    assert _kill(in_memory, record_property, "all", 1, command)[command] >= 30


@pytest.mark.slow
def test_only_one_process_killed(tmp_path: Path, record_property: Record) -> None:
    """Every other such call, the odd ones or the even ones by chance."""
    _kill(tmp_path, record_property, "one", 2, "track", "commit", "restore", "checkout")


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_killed_at_random_moments(tmp_path: Path, record_property: Record, command: str) -> None:
    assert _kill(tmp_path, record_property, "random", 29, command)[command] == 29
