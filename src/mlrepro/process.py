"""The one place that starts another process."""

from __future__ import annotations

import os

from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.errors import MlreproError, ProcessError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import BinaryIO

# `import subprocess` takes 14 ms, which is more than git needs for most of what it is asked. So
# short questions are asked by posix_spawn(3). What that cannot do is left to `subprocess`: another
# folder to run in (git has its own flag for that), and a limit of time.

PIPE = -1
_RESTORED = (13, 25)  # SIGPIPE and SIGXFSZ, which Python ignores and no program it starts should
_IN_MEMORY = 1 << 20  # bytes of input; more go by way of the disk


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
    stdout: int = PIPE,
) -> tuple[int, bytes]:
    """As ``run``, returning the exit code with the output; ``stdout``: an open file to take it."""
    merged = {**os.environ, **env} if env else None
    given = list(argv)
    try:
        if timeout is None and (given[0] == "git" or cwd == os.getcwd()):
            placed = ["git", "-C", cwd, *given[1:]] if given[0] == "git" else given
            code, out, err = _spawned(placed, input, merged, stdout)
        else:
            code, out, err = _by_subprocess(given, cwd, input, merged, timeout, stdout)
    except FileNotFoundError as error:
        _refuse_missing(cwd, error)
        raise MlreproError(
            f"{argv[0]} is not installed, or not on the PATH.",
            f"install {argv[0]}",
            code="program-missing",
        ) from error
    if code not in ok:
        _refuse_missing(cwd, None)
        raise ProcessError(given, code, os.fsdecode(err))
    return code, out


def _refuse_missing(cwd: str, error: Exception | None) -> None:
    if not os.path.isdir(cwd):
        raise MlreproError(f"No such folder: {cwd}", code="folder-missing") from error


def _spawned(
    argv: list[str], input: bytes, env: Mapping[str, str] | None, stdout: int
) -> tuple[int, bytes, bytes]:
    """Run a program: its exit code, output and complaints. Raises OSError where it cannot begin."""
    return Started(argv, input, env, stdout).ended()


class Started:
    """A program that runs beside us; ``ended`` waits for it, and has to be called once.

    Only its output comes through a pipe, so neither can wait for the other for ever. Raises OSError
    where it cannot be started.
    """

    __slots__ = ("_child", "_err", "_out")

    def __init__(
        self,
        argv: list[str],
        input: bytes = b"",
        env: Mapping[str, str] | None = None,
        stdout: int = PIPE,
    ) -> None:
        self._out, self._err, out, given = -1, -1, stdout, -1
        try:
            nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) if not input else -1
            given = _file_of(input) if input else nothing
            self._err = _file_of(b"")
            if stdout == PIPE:
                self._out, out = os.pipe()
            self._child = os.posix_spawnp(
                argv[0],
                argv,
                env or os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, given, 0),
                    (os.POSIX_SPAWN_DUP2, out, 1),
                    (os.POSIX_SPAWN_DUP2, self._err, 2),
                ],
                setsigdef=_RESTORED,
            )
        except BaseException:
            _close(self._out, self._err)
            raise
        finally:
            _close(given, out if stdout == PIPE else -1)

    def ended(self) -> tuple[int, bytes, bytes]:
        """Its exit code, its output, and what it complained of if the code is not 0."""
        try:
            text = _all_of(self._out) if self._out >= 0 else b""
            code = os.waitstatus_to_exitcode(os.waitpid(self._child, 0)[1])
            self._child = 0  # the number may be another's from now on
            os.lseek(self._err, 0, os.SEEK_SET)
            return code, text, _all_of(self._err) if code else b""
        finally:
            self.kill()

    def kill(self) -> None:
        """End it at once, if it has not ended; nothing is heard of it."""
        _close(self._out, self._err)
        self._out = self._err = -1
        child, self._child = self._child, 0
        if not child:
            return
        try:
            os.kill(child, 9)
            os.waitpid(child, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


def _close(*files: int) -> None:
    for file in files:
        if file >= 0:
            os.close(file)


def _file_of(data: bytes) -> int:
    """An open file without a name that holds these bytes, to be read from its beginning."""
    memory = getattr(os, "memfd_create", None)  # Linux
    if memory is not None and len(data) <= _IN_MEMORY:
        file: int = memory("mlrepro")
    else:
        import tempfile

        with tempfile.TemporaryFile() as named:
            file = os.dup(named.fileno())
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
    os.lseek(file, 0, os.SEEK_SET)
    return file


def _all_of(file: int) -> bytes:
    parts = []
    while part := os.read(file, 1 << 18):
        parts.append(part)
    return b"".join(parts)


def _by_subprocess(
    argv: list[str],
    cwd: str,
    input: bytes,
    env: Mapping[str, str] | None,
    timeout: float | None,
    stdout: int,
) -> tuple[int, bytes, bytes]:
    import subprocess

    try:
        done = subprocess.run(
            argv,
            cwd=cwd,
            input=input,
            env=env,
            stdout=stdout,
            stderr=subprocess.PIPE,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ProcessError(argv, -1, f"no answer within {timeout} seconds") from error
    return done.returncode, done.stdout or b"", done.stderr


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
    import subprocess

    merged = {**os.environ, **env} if env else None
    try:
        return subprocess.run(list(argv), cwd=cwd, env=merged, input=input, check=False).returncode
    except FileNotFoundError as error:
        raise MlreproError(
            f"{argv[0]} is not installed, or not on the PATH.", code="program-missing"
        ) from error
