"""A large blob of a store in parts: some are fetched at once, and all are hashed in order."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import closing, suppress
from hashlib import md5
from queue import SimpleQueue
from typing import Any

from mlrepro.dataclass import dataclass
from mlrepro.dvc.begun import Begun
from mlrepro.kernel import begin_writeback

LARGE = 16 << 20  # bytes from which on a blob travels in parts
PART = 8 << 20
AT_ONCE = 4  # parts of one blob in memory
ALL_AT_ONCE = 16  # parts of all blobs in memory

# The bytes from an offset to another; they may be put into the memory that is lent, to be used
# until the next part is asked for with it.
Read = Callable[[int, int, memoryview], Any]


@dataclass(frozen=True, slots=True)
class Received:
    """A blob that came: its file, whether it was where DVC 2 put it, its md5 ("": not known)."""

    path: str
    legacy: bool
    digest: str = ""


class Room:
    """How many parts of all large blobs may be in memory.

    Each blob waits for one place only while it has none, so that none waits for another's for ever.
    """

    def __init__(self, parts: int = ALL_AT_ONCE) -> None:
        self._places = threading.BoundedSemaphore(parts)
        self._unused: list[bytearray] = []

    def take(self, held: int) -> bool:
        """Take a place for one more, where ``held`` are taken: whether there was one."""
        return held < AT_ONCE and self._places.acquire(blocking=held == 0)

    def give(self) -> None:
        """Give one back."""
        self._places.release()

    def lend(self) -> bytearray:
        """Memory for a part, for whom a place was taken: it is used again and again.

        To get it anew for each part costs more than to fill it, and leaves holes. None of it is
        really there until it is written to.
        """
        try:
            return self._unused.pop()
        except IndexError:
            return bytearray(PART)

    def take_back(self, memory: bytearray) -> None:
        """What was lent is free for another part; before the place is given back."""
        self._unused.append(memory)


class Hands:
    """A few threads that do what they are given; unlike a pool's, none holds up a process's end."""

    def __init__(self) -> None:
        self._given: SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]] | None]
        self._given = SimpleQueue()
        self._threads = 0

    def __enter__(self) -> Hands:
        return self

    def __exit__(self, *_: object) -> None:
        for _number in range(self._threads):
            self._given.put(None)

    def submit(self, work: Callable[..., Any], *given: Any) -> Future[Any]:
        """Have it done as soon as one is free."""
        future: Future[Any] = Future()
        self._given.put((future, work, given))
        if self._threads < AT_ONCE:
            self._threads += 1
            threading.Thread(target=self._serve, daemon=True).start()
        return future

    def _serve(self) -> None:
        while (item := self._given.get()) is not None:
            future, work, given = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work(*given))
            except BaseException as error:  # noqa: BLE001 (raised where the result is asked for)
                future.set_exception(error)


def fetch(
    oid: str, read: Read, about: str, size: int, begun: Begun, temp: str, callback: Any, room: Room
) -> tuple[str, str]:
    """Bring ``size`` bytes to a file: its path, which is ``temp`` or where it was begun; its md5.

    What an earlier run had brought is hashed again, not fetched; were it wrong, all of it is
    fetched. ``about`` tells what is read from all else. Raises what ``read`` raises, OSError where
    a file cannot be written.
    """
    begun.resume(about)
    had = bool(begun.parts)
    begun.begin(about)
    path = begun.data if begun.kept else temp
    digest = _fetch(read, size, begun, temp, callback, room)
    if had and digest != oid[:32]:
        begun.forget()
        begun.begin(about)
        digest = _fetch(read, size, begun, temp, callback, room)
    return path, digest


def _fetch(read: Read, size: int, begun: Begun, temp: str, callback: Any, room: Room) -> str:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    fd = begun.open() if begun.kept else os.open(temp, flags, 0o666)
    digest = md5(usedforsecurity=False)
    try:
        held = _Held(fd, size, begun)
        with closing(_in_order(read, size, held, room)) as parts:
            for data in parts:
                digest.update(data)
                callback.relative_update(len(data))
        os.ftruncate(fd, size)
    finally:
        os.close(fd)
    return digest.hexdigest()


class _Held:
    """The file that the parts are put into, and those that are there already."""

    def __init__(self, fd: int, size: int, begun: Begun) -> None:
        self._fd, self._size, self._begun = fd, size, begun

    def part(self, number: int) -> bytes | None:
        """A part that is there; None where it is not, or not whole."""
        if number not in self._begun.parts:
            return None
        start, end = bounds(number, self._size)
        data = os.pread(self._fd, end - start, start)
        return data if len(data) == end - start else None

    def put(self, number: int, data: Any) -> None:
        """Put a part in its place, and note that it is there."""
        start, end = bounds(number, self._size)
        view = memoryview(data)
        if len(view) != end - start:
            raise ConnectionError(f"{len(view)} bytes came instead of {end - start}")
        done = 0
        while done < len(view):
            done += os.pwrite(self._fd, view[done:], start + done)
        begin_writeback(self._fd, start, end - start)
        self._begun.add(number)


def bounds(number: int, size: int) -> tuple[int, int]:
    """Where a part begins and ends."""
    return number * PART, min(size, number * PART + PART)


def _in_order(read: Read, size: int, held: _Held, room: Room) -> Generator[Any]:
    """Each part, the next ones fetched meanwhile."""

    def bring(number: int, memory: bytearray) -> Any:
        data = read(*bounds(number, size), memoryview(memory))
        held.put(number, data)
        return data

    ahead: deque[tuple[Future[Any] | bytes, bytearray]] = deque()
    numbers = iter(range(-(-size // PART)))
    number = next(numbers, None)
    with Hands() as pool:
        try:
            while number is not None or ahead:
                while number is not None and room.take(len(ahead)):
                    here, memory = held.part(number), room.lend()
                    part = pool.submit(bring, number, memory) if here is None else here
                    ahead.append((part, memory))
                    number = next(numbers, None)
                first, memory = ahead[0]
                yield first if isinstance(first, bytes) else first.result()
                ahead.popleft()
                room.take_back(memory)
                room.give()
        finally:
            for one, _ in ahead:
                if not isinstance(one, bytes):
                    one.cancel()
            for one, memory in ahead:
                if not isinstance(one, bytes):
                    with suppress(Exception):
                        one.result()
                room.take_back(memory)
                room.give()
