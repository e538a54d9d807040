"""Runs the real command line as a process of its own, with commands that a test wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlrepro

LAUNCH = """\
import sys
import mlrepro.commands
mlrepro.commands.__path__.insert(0, sys.argv[1])
from mlrepro.cli import main
sys.exit(main(sys.argv[2:]))
"""
HEAD = """\
from mlrepro.dataclass import dataclass
from types import SimpleNamespace as Some
from mlrepro import errors
from mlrepro.result import Result
@dataclass(frozen=True)
class Fake(Result):
    code: int = 0
    fields: tuple = ()
    json: tuple = ()
    @property
    def exit_code(self):
        return self.code or super().exit_code
    def data(self):
        return dict(self.json)
    def __getattr__(self, name):
        return dict(object.__getattribute__(self, "fields"))[name]
"""
# A push that found all in order: the shortest result there is.
NOTHING_STORED = "return Fake(fields=(('stored', Some(count=0, bytes=0)), ('missing', ())))"


@dataclass
class Line:
    """What a command line printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def envelope(self) -> dict[str, Any]:
        """The one JSON object on stdout; fails where there is anything else."""
        assert self.out[-1:] == "\n", self.out
        assert self.out.count("\n") == 1, self.out
        return json.loads(self.out)


@dataclass
class Commands:
    """A folder of commands, a repository to run them in, and a home that is nobody's."""

    base: Path
    repo: Path = field(init=False)

    def __post_init__(self) -> None:
        self.repo = self.base / "repo"
        for folder in (self.repo, self.base / "home", self.base / "fakes", self.base / "empty"):
            folder.mkdir()
        subprocess.run(["git", "init", "-q", self.repo], check=True)

    def write(self, verb: str, body: str, head: str = "") -> None:
        """Make ``mlrepro VERB`` run ``body``, in which the arguments are ``args``, ``options``."""
        code = HEAD + head + "\ndef run(project, *, options, **args):\n"
        (self.base / "fakes" / f"{verb}.py").write_text(
            code + textwrap.indent(textwrap.dedent(body), "    "), encoding="utf-8"
        )

    def argv(self, *arguments: str | bytes) -> list[str | bytes]:
        """The process to start for a command line."""
        return [sys.executable, "-c", LAUNCH, str(self.base / "fakes"), *arguments]

    def environ(self, **changes: str) -> dict[str, str]:
        """An environment in which nothing of this machine's user is seen."""
        source = str(Path(mlrepro.__file__).parents[1])
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        home = str(self.base / "home")
        mine = {"HOME": home, "XDG_STATE_HOME": f"{home}/state", "PYTHONPATH": source}
        return {**kept, **mine, "PYTHONWARNINGS": "error", **changes}

    def run(
        self, *arguments: str | bytes, cwd: Path | None = None, env: dict[str, str] | None = None
    ) -> Line:
        """Run a command line to its end, without a terminal."""
        done = subprocess.run(
            self.argv(*arguments),
            cwd=cwd or self.repo,
            env=env or self.environ(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
        out, err = done.stdout.decode(), done.stderr.decode()
        return Line(done.returncode, out, err)
