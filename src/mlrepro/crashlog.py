"""Keeps the traceback of a bug in a private log file, with secrets taken out."""

from __future__ import annotations

import contextlib
import os
import sys
import time
import traceback

from mlrepro import __version__
from mlrepro.redaction import redact, without_secrets


def keep(error: BaseException, arguments: list[str]) -> str:
    """Write what is known of a bug; give back the file's path, "" where none could be written.

    The file is its owner's alone, in ``$XDG_STATE_HOME/mlrepro/log`` (``~/.local/state`` where that
    is not set), or in the folder for temporary files where that cannot be written.
    """
    system = os.uname()
    report = redact(
        f"mlrepro {__version__}, Python {sys.version.split()[0]}\n"
        f"system: {system.sysname} {system.release} {system.machine}\n"
        f"command: {without_secrets(arguments)!r}\n"
        f"folder: {_folder()!r}\n\n" + "".join(traceback.format_exception(error))
    )
    for create in (_in_state_home, _in_temporary):
        try:
            descriptor, path = create()
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as log:
                log.write(report)
        except OSError:
            continue
        return path
    return ""


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""


def _in_state_home() -> tuple[int, str]:
    home = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(home):  # the specification: a relative one is to be ignored
        home = os.path.join(os.path.expanduser("~"), ".local", "state")
    os.makedirs(home, 0o700, exist_ok=True)
    folder = home
    for part in ("mlrepro", "log"):
        folder = os.path.join(folder, part)
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, 0o700)
    name = f"{time.strftime('%Y-%m-%dT%H-%M-%S')}-{os.getpid()}-{time.monotonic_ns() % 10**6:06d}"
    path = os.path.join(folder, name + ".log")
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), path


def _in_temporary() -> tuple[int, str]:
    import tempfile  # only where the usual folder cannot be written

    return tempfile.mkstemp(prefix="mlrepro-", suffix=".log")
