"""What a command costs: wall time, CPU time, and the most memory that any of its processes had."""

from __future__ import annotations

import marshal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LAUNCHER = Path(__file__).with_name("launcher.py")


@dataclass(frozen=True)
class Cost:
    """What commands cost together: seconds add up, ``peak`` is that of the largest, in bytes."""

    seconds: float = 0.0
    cpu: float = 0.0
    peak: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.seconds + other.seconds, self.cpu + other.cpu, max(self.peak, other.peak))


class Failed(RuntimeError):
    """A command that should not have failed; the message has its last words."""


class Launcher:
    """Runs commands in one environment, from one small process."""

    def __init__(self, env: dict[str, str], said: Path) -> None:
        self.env = env
        self.said = said
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(LAUNCHER), str(said)],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def run(
        self,
        where: Path,
        argv: Sequence[str | Path],
        ok: bool = True,
        env: dict[str, str] | None = None,
    ) -> Cost:
        """Run one command in ``where``; raises Failed where it fails, unless ``ok`` is False."""
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        words = [str(word) for word in argv]
        marshal.dump((words, str(where), {**self.env, **(env or {})}), process.stdin)
        process.stdin.flush()
        code, seconds, cpu, peak = marshal.load(process.stdout)
        if ok and code:
            told = self.said.read_bytes()[-2000:].decode(errors="replace")
            raise Failed(f"{' '.join(words[:4])} … in {where}: exit {code}\n{told}")
        return Cost(seconds, cpu, peak)

    def close(self) -> None:
        """End the small process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
