"""Kills a command at each call by which it changes a file, and looks what that left behind.

A program of its own, run by test_kill.py: ``killing_commands.py FOLDER WAY STRIDE COMMAND…``, WAY:

- ``all``: the command and all that it started die at once, before the call is made; which is right
  after the call before it was made;
- ``one``: only the process that makes the call dies, where that is not the first one: a hook of
  git's while git lives on, a git that the command started while the command lives on;
- ``random``: all die at STRIDE random moments.

Prints one line ``COMMAND TRIED`` a command; fails where anything was lost, or was not mended by
the same command again.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import tracer
from scenes import Scene

NOT_HERE = 77  # the exit code where nothing can be traced; the reason is printed


def main() -> None:
    if tracer.why_not():
        print(tracer.why_not())
        sys.exit(NOT_HERE)
    folder, way, stride = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    for command in sys.argv[4:]:
        scene = Scene(folder, command)
        moments = _moments(scene, way, stride)
        tried = 0
        for moment, what in moments:
            try:
                scene.check_meanwhile()
                scene.check_recovers()
            except BaseException as error:
                error.add_note(f"{command}, {moment}: {what}")
                raise
            tried += 1
        print(command, tried, flush=True)


def _moments(scene: Scene, way: str, stride: int) -> Iterator[tuple[str, str]]:
    """Kill the command at one moment after the other, each time in a fresh scene."""
    if way == "random":
        yield from _at_random(scene, stride)
        return
    every = range(len(scene.calls)) if way == "all" else scene.by_others
    for at in every[random.randrange(stride) :: stride]:
        scene.fresh()
        ended = scene.run(lambda call, at=at: _kill(scene, way, call, at))
        if not ended.killed:  # threads take turns: there may be a call more or less
            assert at > len(ended.calls) - 1 >= len(scene.calls) * 0.9, f"{len(ended.calls)} calls"
            continue
        call = ended.calls[at]
        yield f"call {at}", f"{call.name} {' '.join(call.paths)}"


def _kill(scene: Scene, way: str, call: tracer.Call, at: int) -> tracer.Decision:
    if call.number != at:
        return None
    return tracer.Kill() if way == "all" else tracer.Kill((call.pid,))


def _at_random(scene: Scene, times: int) -> Iterator[tuple[str, str]]:
    scene.fresh()
    began = time.monotonic()
    assert scene.again() == 0, scene.said()
    lasts = time.monotonic() - began
    done = tries = 0
    while done < times:
        tries += 1
        assert tries < 20 * times + 20, "it ends too soon to be killed"
        scene.fresh()
        after = random.random() * lasts
        if scene.killed_after(after):
            done += 1
            yield "random", f"after {after:.4f} s of {lasts:.4f}"


if __name__ == "__main__":
    main()
