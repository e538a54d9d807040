"""The same short work on many small files, shared out to forked processes."""

from __future__ import annotations

import fcntl
import marshal
import os
import sys

from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.parallel import cores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

# What a small file costs is a dozen system calls and the Python between them, which threads cannot
# do side by side. A fork takes two milliseconds. It is never relied on: whatever a process did not
# report, because it failed, was killed or could not be started, is left to the caller, whose own
# way then meets the same trouble and says what it is.

_SIGKILL = 9  # the same everywhere; `signal` takes a millisecond to load
WORTH_A_FORK = 160  # items of work for each process
_MOST = 8  # processes: more gain nothing on one disk
_AT_ONCE = 64  # results in one message
_LENGTH = 4  # bytes before a message that say how long it is
# What a pipe holds, where Linux lets it: a process goes on working while the one that it reports to
# waits for the disk, instead of waiting too. The most that everybody may have (pipe(7)).
_PIPE_BYTES = 1 << 20


def share_out(
    items: Sequence[int],
    jobs: int,
    work: Callable[[int, int], Any],
    take: Callable[[int, Any], None],
    worth: int = WORTH_A_FORK,
) -> list[int]:
    """Call ``work`` (number of the share from 1 on, item) in other processes, where that pays.

    ``take`` gets, here, the item and what ``work`` returned, which is made of tuples, numbers,
    strings and bytes; None: the item is left. ``jobs``: processes (0: one a core), of which each is
    to have ``worth`` items at least. Returns the items that are left to be done here, in order.
    Raises what ``take`` raises; the processes are then ended.
    """
    count = min(jobs if jobs > 0 else cores(), _MOST, len(items) // worth)
    threads = sys.modules.get("threading")
    if count < 2 or (threads is not None and threads.active_count() > 1):
        return list(items)
    left = dict.fromkeys(items)
    crew = _Crew()
    try:
        for share in range(count):
            part = items[len(items) * share // count : len(items) * (share + 1) // count]
            if not crew.start(share + 1, part, work):
                break
        for item, result in crew.results():
            if result is not None:
                take(item, result)
                del left[item]
    finally:
        crew.end()
    return list(left)


class _Crew:
    """The processes that were started, and the pipes on which they report."""

    def __init__(self) -> None:
        self.children: list[int] = []
        self.pipes: dict[int, bytearray] = {}

    def start(self, share: int, part: Sequence[int], work: Callable[[int, int], Any]) -> bool:
        """Fork a process for a part of the items; False where none can be had."""
        parent = os.getpid()
        reading, writing = os.pipe()
        _widen(writing)
        try:
            child = os.fork()
        except OSError:
            os.close(reading)
            os.close(writing)
            return False
        if child == 0:
            code = 1
            try:
                for fd in (reading, *self.pipes):
                    os.close(fd)
                _serve(writing, parent, share, part, work)
                code = 0
            finally:
                os._exit(code)  # whatever happened: what follows is the other process's to do
        os.close(writing)
        self.children.append(child)
        self.pipes[reading] = bytearray()
        return True

    def results(self) -> Iterator[tuple[int, Any]]:
        """Each item and what came of it, as they are reported, until every process has ended."""
        import select  # only where there is much to do

        poll = select.poll()
        for fd in self.pipes:
            poll.register(fd, select.POLLIN)
        while self.pipes:
            for fd, _ in poll.poll():
                data = os.read(fd, 1 << 16)
                if not data:
                    poll.unregister(fd)
                    del self.pipes[fd]
                    os.close(fd)
                    continue
                self.pipes[fd] += data
                for message in _messages(self.pipes[fd]):
                    yield from marshal.loads(message)  # noqa: S302  from our own process

    def end(self) -> None:
        """Wait for every process; one that has not reported to its end is killed."""
        for fd in self.pipes:
            os.close(fd)
        for child in self.children:
            if self.pipes:
                os.kill(child, _SIGKILL)
            os.waitpid(child, 0)


def _widen(pipe: int) -> None:
    size = getattr(fcntl, "F_SETPIPE_SZ", None)
    if size is not None:
        try:
            fcntl.fcntl(pipe, size, _PIPE_BYTES)
        except OSError:
            pass  # it holds less, and is waited for


def _messages(data: bytearray) -> list[bytes]:
    """Take the whole messages out of what has arrived."""
    found, at = list[bytes](), 0
    while at + _LENGTH <= len(data):
        end = at + _LENGTH + int.from_bytes(data[at : at + _LENGTH], "big")
        if end > len(data):
            break
        found.append(bytes(data[at + _LENGTH : end]))
        at = end
    del data[:at]
    return found


def _serve(
    pipe: int, parent: int, share: int, part: Sequence[int], work: Callable[[int, int], Any]
) -> None:
    """What a forked process does: all of its part, as long as there is somebody to report to."""
    done: list[tuple[int, Any]] = []
    try:
        for item in part:
            if os.getppid() != parent:
                return
            done.append((item, work(share, item)))
            if len(done) >= _AT_ONCE:
                _report(pipe, done)
                done = []
    finally:
        _report(pipe, done)


def _report(pipe: int, done: list[tuple[int, Any]]) -> None:
    data = marshal.dumps(done)
    data = len(data).to_bytes(_LENGTH, "big") + data
    while data:
        data = data[os.write(pipe, data) :]
