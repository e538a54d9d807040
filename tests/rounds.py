"""The same few steps in several processes at once, over and over, with a look after each round."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import unprivileged
from building import PATIENCE

# A user and the group of all users of a shared store: who each of the processes is.
ROOT, NOBODY = 0, unprivileged.NOBODY
USERS = {
    "one user": (os.geteuid(), os.geteuid()),
    "without rights": (NOBODY, NOBODY),
    "two users": (os.geteuid(), NOBODY),
}

Work = Callable[[int], object]


def together(
    count: int,
    works: Sequence[Work],
    check: Work,
    home: Path,
    users: Sequence[int] = (),
    prepare: Work | None = None,
    umask: int = 0o22,
) -> None:
    """Fork a process for each of ``works``; in each of ``count`` rounds all begin at one moment.

    The first of them calls ``prepare`` before a round, and ``check`` when all are done with it.
    """
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(len(works))

    def serve(number: int) -> None:
        signal.alarm(int(PATIENCE))
        chance = random.Random(number)
        try:
            for turn in range(count):
                if prepare is not None and number == 0:
                    prepare(turn)
                barrier.wait(PATIENCE)
                time.sleep(chance.choice((0, 0, 0.001, 0.003)) * chance.random())
                works[number](turn)
                barrier.wait(PATIENCE)
                if number == 0:
                    check(turn)
                barrier.wait(PATIENCE)
        except BaseException:
            barrier.abort()
            raise

    children = []
    for number in range(len(works)):
        user = users[number] if users else os.geteuid()
        work = lambda number=number: serve(number)  # noqa: E731 (one for each child)
        children.append(unprivileged.start(work, home, user, NOBODY, umask))
    unprivileged.wait(*children)


def share(folder: Path) -> None:
    """Make a folder, and what is in it, one that all users of the group write to."""
    unprivileged.give(folder, os.geteuid(), NOBODY)
    for place, _, _ in os.walk(folder):
        os.chmod(place, 0o2775)


def stopped(work: Callable[[], None], home: Path) -> int:
    """Start ``work`` in a child that stops itself somewhere in it; returns its pid once it has."""
    child = unprivileged.start(work, home, os.geteuid())
    _, status = os.waitpid(child, os.WUNTRACED)
    assert os.WIFSTOPPED(status), status
    return child


def go_on(child: int) -> None:
    """Let a stopped child end, which it has to do well."""
    os.kill(child, signal.SIGCONT)
    unprivileged.wait(child)
