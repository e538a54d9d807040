"""Runs a program within limits that the kernel keeps, and tells what it took.

A program of its own, so that the memory measured is not that of the tests:
``limited.py REPORT CPU-SECONDS ADDRESS-SPACE PROGRAM…``. The exit code is the program's, or 128 and
the signal that ended it; REPORT gets the most memory, in bytes, that it or what it started had.
"""

import os
import resource
import sys


def main() -> int:
    report, seconds, space = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if sys.platform.startswith("linux"):  # macOS maps far more than it uses
            resource.setrlimit(resource.RLIMIT_AS, (space, space))
        os.execvp(sys.argv[4], sys.argv[4:])
    _, status, used = os.wait4(child, 0)
    unit = 1 if sys.platform == "darwin" else 1024
    with open(report, "w", encoding="ascii") as file:
        file.write(str(used.ru_maxrss * unit))
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
