"""Has the calls by which a command changes a file fail, and looks what the command makes of it.

A program of its own, run by test_disk.py: ``failing_commands.py FOLDER WAY STRIDE COMMAND…``, WAY:

- ``once``: one call fails, each in turn, with an error that it can have;
- ``since``: it and all calls after it that can have that error fail, as on a disk that is full;
- ``slow``: every call takes a while, and succeeds.

A command that says it failed has to say why, and must not have harmed anything; one that says it
succeeded must have done all; and the same command again, with nothing in its way, ends well. Prints
a line ``COMMAND ERROR TRIED`` for each kind.
"""

from __future__ import annotations

import errno
import os
import random
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import tracer
from scenes import Scene

NOT_HERE = 77  # the exit code where nothing can be traced; the reason is printed

_MAKES = {"open", "creat", "mkdir", "link", "symlink", "rename"}
_WRITES = {"write", "pwrite64", "writev", "pwritev", "sendfile", "ftruncate", "fallocate"}
_FLUSHES = {"fsync", "fdatasync", "syncfs"}
_CHANGES = {"unlink", "rmdir", "chmod", "fchmod", "utimens"}
_CAN_HAVE = {
    errno.EIO: _MAKES | _WRITES | _FLUSHES | _CHANGES | {"ficlone", "copy_file_range"},
    errno.ENOSPC: _MAKES | _WRITES | _FLUSHES | {"ficlone", "copy_file_range"},
    errno.EROFS: _MAKES | _CHANGES,
    errno.EACCES: _MAKES | _CHANGES,
    errno.EDQUOT: _MAKES | _WRITES,
    errno.EMLINK: {"link", "mkdir"},
    errno.EXDEV: {"link", "rename", "ficlone", "copy_file_range"},
}
_SLOW = 0.003  # seconds a call
# Ours and git's; the last is what git makes of a message that it could not write down.
_WORDS = ("error:", "fatal:", "Aborting commit")


def main() -> None:
    if tracer.why_not():
        print(tracer.why_not())
        sys.exit(NOT_HERE)
    folder, way, stride = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    for command in sys.argv[4:]:
        scene = Scene(folder, command)
        tried: Counter[str] = Counter()
        for number, at in _cases(scene, way, stride):
            try:
                tried[errno.errorcode.get(number, "slow")] += try_once(scene, way, number, at)
            except AssertionError as error:
                call = f"{scene.calls[at].name} {' '.join(scene.calls[at].paths)}" if number else ""
                error.add_note(f"{command}, {errno.errorcode.get(number)} {way} call {at}: {call}")
                raise
        for name, count in tried.items():
            if count:
                print(command, name, count, flush=True)


def _cases(scene: Scene, way: str, stride: int) -> Iterator[tuple[int, int]]:
    """Which error at which call: at each call another one that it can have, links have all."""
    if way == "slow":
        yield 0, 0
        return
    for at in range(random.randrange(stride), len(scene.calls), stride):
        name = scene.calls[at].name
        numbers = [number for number, names in _CAN_HAVE.items() if name in names]
        if name == "link":
            yield from ((number, at) for number in (errno.EMLINK, errno.EXDEV))
        if numbers:
            yield numbers[at // stride % len(numbers)], at


def try_once(scene: Scene, way: str, number: int, at: int) -> bool:
    """One run in which calls fail, and what has to hold after it."""
    scene.fresh()
    failed: list[tracer.Call] = []

    def decide(call: tracer.Call) -> tracer.Decision:
        if way == "slow":
            return tracer.Wait(_SLOW)
        reached = call.number == at or (way == "since" and call.number > at)
        if not reached or call.name not in _CAN_HAVE[number]:
            return None
        if number == errno.EXDEV and len({os.path.dirname(path) for path in call.paths}) < 2:
            return None  # in one folder there is one disk
        failed.append(call)
        return tracer.Fail(number)

    ended = scene.run(decide)
    said = scene.said()
    assert ended.exit_code in (0, 1, 128), f"exit {ended.exit_code}: {said}"
    assert "itself failed" not in said and "Traceback" not in said, said
    scene.check_meanwhile()
    if ended.exit_code == 0:
        scene.check_result(0)
        lost = [call for call in failed if call.name in _FLUSHES and call.pid == ended.pid]
        assert not lost, f"a flush that failed was taken for one: {lost}"
    else:
        assert any(word in said for word in _WORDS), said
    scene.check_recovers()
    return bool(failed) or way == "slow"


if __name__ == "__main__":
    main()
