"""Bytes of a file at any place, a few at a time, and what is told of one tensor."""

from __future__ import annotations

import os
from typing import Any

from mlrepro.dataclass import dataclass

WINDOW = 1 << 16
MAX_TENSORS = 50_000
MAX_NAME = 1000  # characters
MAX_DIMENSIONS = 64
MAX_SIDE = 1 << 62


class Unreadable(Exception):
    """The bytes are not what the format says; the text is a clause. Only this package sees it."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor; ``where``: offset and bytes in its file, ``mark``: what equals for equal bytes."""

    dtype: str
    shape: tuple[int, ...]
    where: tuple[int, int] | None = None
    mark: str = ""

    def data(self) -> dict[str, Any]:
        """As the JSON envelope carries it."""
        return {"dtype": self.dtype, "shape": list(self.shape)}

    @property
    def count(self) -> int:
        """How many numbers it has."""
        total = 1
        for side in self.shape:
            total *= side
        return total


def tensor(
    dtype: object, shape: object, where: tuple[int, int] | None = None, mark: str = ""
) -> Tensor:
    """A Tensor from what a file says; raises Unreadable where that is none."""
    if not isinstance(dtype, str) or not isinstance(shape, (list, tuple)):
        raise Unreadable("a tensor has no type or no shape")
    if len(shape) > MAX_DIMENSIONS:
        raise Unreadable("a tensor has too many dimensions")
    if not all(type(side) is int and 0 <= side < MAX_SIDE for side in shape):
        raise Unreadable("a tensor has a shape that is none")
    return Tensor(dtype[:MAX_NAME], tuple(shape), where, mark)


class Reader:
    """An open file, read where it is asked for; nothing beyond its end is promised.

    Raises OSError where it cannot be opened or is no plain file.
    """

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        about = os.fstat(self._fd)
        self.path = path
        self.size = about.st_size
        self._start, self._window = 0, b""

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def at(self, place: int, length: int) -> bytes:
        """``length`` bytes from ``place`` on, fewer at the end; many small reads cost few calls."""
        start = place - self._start
        if start >= 0 and start + length <= len(self._window):
            return self._window[start : start + length]
        if length >= WINDOW:
            return self._read(place, length)
        self._start, self._window = place, self._read(place, WINDOW)
        return self._window[:length]

    def _read(self, place: int, length: int) -> bytes:
        parts = []
        while length > 0:
            part = os.pread(self._fd, min(length, 1 << 24), place)
            if not part:
                break
            parts.append(part)
            place, length = place + len(part), length - len(part)
        return b"".join(parts)

    def exactly(self, place: int, length: int) -> bytes:
        """As ``at``; raises Unreadable where the file ends before that."""
        data = self.at(place, length) if place + length <= self.size else b""
        if len(data) != length:
            raise Unreadable("it ends too early")
        return data

    def is_same(self, place: int, other: Reader, there: int, length: int) -> bool:
        """Whether both files have the same bytes in these places."""
        for done in range(0, length, 1 << 22):
            step = min(1 << 22, length - done)
            if self.exactly(place + done, step) != other.exactly(there + done, step):
                return False
        return True
