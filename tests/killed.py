"""Runs a command that dies at one of its system calls: ``killed.py CALL COMMAND…``."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading

from mlrepro import cli, collecting
from mlrepro.commands import checkout, gc, pull, push, restore, track, verify  # noqa: F401


def main() -> int:
    call = int(sys.argv[1])
    counter = itertools.count()

    def profile(_: object, event: str, function: object) -> None:
        module = getattr(function, "__module__", "")
        if event == "c_call" and module in ("posix", "fcntl") and next(counter) == call:
            os.kill(os.getpid(), signal.SIGKILL)

    collecting.GRACE_SECONDS = -60
    threading.setprofile(profile)
    sys.setprofile(profile)
    return cli.main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
