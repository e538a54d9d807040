"""Starts commands, one at a time, and says what each cost: the process that launching.py asks.

What a command used at most is counted from the moment its process begins, and until it becomes
another program its memory is its parent's: so its parent must be small.
"""

import marshal
import os
import sys
import time

SAID = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


def serve(said: str) -> None:
    """Answer until nobody asks; what commands say goes into the file ``said``."""
    into, out = os.fdopen(0, "rb"), os.fdopen(1, "wb")
    while True:
        try:
            argv, cwd, env = marshal.load(into)
        except EOFError:
            return
        marshal.dump(measured(argv, cwd, env, said), out)
        out.flush()


def measured(
    argv: list[str], cwd: str, env: dict[str, str], said: str
) -> tuple[int, float, float, int]:
    """Exit code, wall seconds, seconds of CPU, the most bytes that any process of it had."""
    os.chdir(cwd)
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, said, SAID, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    began = time.perf_counter()
    pid = os.posix_spawnp(argv[0], argv, env, file_actions=actions)
    _, status, used = os.wait4(pid, 0)
    took = time.perf_counter() - began
    unit = 1 if sys.platform == "darwin" else 1024
    cpu = used.ru_utime + used.ru_stime
    return os.waitstatus_to_exitcode(status), took, cpu, used.ru_maxrss * unit


if __name__ == "__main__":
    serve(sys.argv[1])
