"""The parts of a large file, a few of them sent at once, each given out in its order meanwhile."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import suppress

from mlrepro.dvc.ranges import Hands, Room


def sent(
    source: str, part: int, send: Callable[[int, bytes], None], room: Room
) -> Generator[bytes]:
    """Each part of the file ``source``, of ``part`` bytes but for the last, while those before it
    are sent.

    ``send`` is called, by other threads, with the number of a part, from 1 on, and its bytes. When
    all have been given out, all are sent; to be closed where not all are asked for. Raises what
    ``send`` raises, and OSError where the file cannot be read.
    """
    ahead: deque[Future[None]] = deque()

    def wait() -> None:
        ahead[0].result()
        ahead.popleft()
        room.give()

    fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    number = 0
    try:
        with Hands() as hands:
            try:
                while data := _read(fd, part):
                    number += 1
                    while not room.take(len(ahead)):
                        wait()
                    ahead.append(hands.submit(send, number, data))
                    yield data
                while ahead:
                    wait()
            finally:
                for one in ahead:
                    one.cancel()
                for one in ahead:
                    with suppress(Exception):
                        one.result()
                    room.give()
    finally:
        os.close(fd)


def _read(fd: int, count: int) -> bytes:
    data = os.read(fd, count)
    while data and len(data) < count:
        more = os.read(fd, count - len(data))
        if not more:
            break
        data += more
    return data
