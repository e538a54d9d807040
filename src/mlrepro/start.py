"""The first door: says at once that all is in order, where it is, or opens the one for people."""

from __future__ import annotations

import atexit
import gc
import os
import sys

from mlrepro import seal, standing


def main() -> int:
    """Run the command line of this process; returns its exit code."""
    if sys.argv[1:] == ["hook", "pre-commit"] and seal.unbroken():
        os._exit(0)  # as the plain hook does, where a framework calls this one
    gc.set_threshold(50_000)  # as in hook.py
    text = standing.told(sys.argv[1:])
    if text is not None:
        from mlrepro import terminal

        terminal.tolerate_any_text()
        if terminal.write(sys.stdout, text) is None:
            os._exit(0)  # all is said; taking Python down takes as long as finding it out
    from mlrepro import cli

    code = cli.main()
    _leave(code)
    return code


def _leave(code: int) -> None:
    """End here and now, where taking Python down would do nothing but take 4 ms."""
    waiting = getattr(atexit, "_ncallbacks", None)
    threads = sys.modules.get("threading")
    if waiting is None or waiting() or (threads is not None and threads.active_count() > 1):
        return
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):
        return  # Python has its own way to say so
    os._exit(code)
