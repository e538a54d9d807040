"""Vouches for blobs that this process has just hashed: who places them need not hash them again."""

from __future__ import annotations

import os
import stat
from collections.abc import MutableMapping

from mlrepro.hashing import stat_key
from mlrepro.kernel import hold_writers_off, writers_were_held_off
from mlrepro.streaming import SMALL
from mlrepro.ticks import pass_by

_MOST = 64  # files that are held open at once

Row = tuple[int, int, int, int, int]  # size, mtime and ctime (ns), inode, device


def row_of(path: str) -> Row:
    """What a file is known by, while it has its temporary name. Raises OSError."""
    return stat_key(os.lstat(path))


class Vouching:
    """Files on their way from a temporary name to that of their blob; a context manager.

    A file's times tell of every later write, but not of one within the clock tick in which the file
    got its name, by somebody who puts the mtime back. So nobody may open it for writing from before
    it is named until that tick is over: a few milliseconds, in which who tries waits. Where that
    cannot be had (another kernel than Linux, a server's file system, a file that is open for
    writing), nothing is vouched for, and the file is hashed again before its bytes are used.
    """

    def __init__(self, proven: MutableMapping[str, Row]) -> None:
        """``proven``: gets each blob's oid, and what its file is then known by."""
        self._proven = proven
        self._held: list[tuple[str, int, Row]] = []

    def __enter__(self) -> Vouching:
        return self

    def __exit__(self, *_: object) -> None:
        for _oid, fd, _row in self._held:
            os.close(fd)  # and who waits may go on
        self._held.clear()

    def hold(self, oid: str, path: str, written: Row) -> None:
        """Begin with a file that is about to be named; ``written``: as it was when all was in it.

        Does nothing for a small one, which is read whole anyway, nor for more than can be held
        open at once. Raises nothing.
        """
        if written[0] <= SMALL or len(self._held) == _MOST:
            return
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return
        if hold_writers_off(fd) and self._is_as_written(fd, written):
            self._held.append((oid, fd, written))
        else:
            os.close(fd)

    def vouch(self) -> None:
        """Once all have their names: note what each is known by from now on."""
        rows = [stat_key(os.fstat(fd)) for _, fd, _ in self._held]
        if not rows or not all(pass_by(row[2], row[4]) for row in rows):
            return
        for (oid, fd, written), row in zip(self._held, rows, strict=True):
            if self._is_as_written(fd, written) and writers_were_held_off(fd):
                self._proven[oid] = row

    @staticmethod
    def _is_as_written(fd: int, written: Row) -> bool:
        """Whether nothing was written since; a new name or mode changes the ctime only."""
        about = os.fstat(fd)
        now = stat_key(about)
        return stat.S_ISREG(about.st_mode) and (now[:2], now[3:]) == (written[:2], written[3:])
