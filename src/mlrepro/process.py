"""The one place that starts another process."""

from __future__ import annotations

import os
import subprocess

from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.errors import MlreproError, ProcessError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import BinaryIO


def run(
    argv: Sequence[str],
    *,
    cwd: str,
    input: bytes = b"",
    env: Mapping[str, str] | None = None,
    ok: Sequence[int] = (0,),
    timeout: float | None = None,
    spooled: bool = False,
) -> bytes:
    """Run a program to its end and return its standard output.

    ``env`` is laid over the present environment. ``timeout`` is in seconds. ``spooled``: by way of
    a temporary file, since a program that writes in tiny pieces has a pipe's reader wake for each.
    Raises ProcessError (argv, exit code, stderr) where the exit code is not in ``ok``, and
    MlreproError with code ``program-missing`` where the program is not installed.
    """
    if not spooled:
        return run_code(argv, cwd=cwd, input=input, env=env, ok=ok, timeout=timeout)[1]
    with _unnamed() as file:
        run_code(argv, cwd=cwd, input=input, env=env, ok=ok, timeout=timeout, stdout=file.fileno())
        file.seek(0)
        return file.read()


def _unnamed() -> BinaryIO:
    """A temporary file without a name, in memory where the system has such: no kill leaves it."""
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("mlrepro"), "w+b")
    import tempfile

    return tempfile.TemporaryFile()


def run_code(
    argv: Sequence[str],
    *,
    cwd: str,
    input: bytes = b"",
    env: Mapping[str, str] | None = None,
    ok: Sequence[int] = (0,),
    timeout: float | None = None,
    stdout: int = subprocess.PIPE,
) -> tuple[int, bytes]:
    """As ``run``, returning the exit code with the output; ``stdout``: an open file to take it."""
    merged = {**os.environ, **env} if env else None
    try:
        done = subprocess.run(
            list(argv),
            cwd=cwd,
            input=input,
            env=merged,
            stdout=stdout,
            stderr=subprocess.PIPE,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        if not os.path.isdir(cwd):
            raise MlreproError(f"No such folder: {cwd}", code="folder-missing") from error
        raise MlreproError(
            f"{argv[0]} is not installed, or not on the PATH.",
            f"install {argv[0]}",
            code="program-missing",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise ProcessError(list(argv), -1, f"no answer within {timeout} seconds") from error
    if done.returncode not in ok:
        raise ProcessError(list(argv), done.returncode, os.fsdecode(done.stderr))
    return done.returncode, done.stdout or b""


def run_shown(
    argv: Sequence[str],
    *,
    cwd: str,
    env: Mapping[str, str] | None = None,
    input: bytes | None = None,
) -> int:
    """Run a program on our own standard streams, and return its exit code.

    With ``input``, that is its standard input; a program that does not read all of it may.
    """
    merged = {**os.environ, **env} if env else None
    try:
        return subprocess.run(list(argv), cwd=cwd, env=merged, input=input, check=False).returncode
    except FileNotFoundError as error:
        raise MlreproError(
            f"{argv[0]} is not installed, or not on the PATH.", code="program-missing"
        ) from error
