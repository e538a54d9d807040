"""The same work for many files, in a few threads, that stops as one."""

from __future__ import annotations

import os
import time
from _thread import allocate_lock, start_new_thread

from mlrepro.dataclass import TYPE_CHECKING

if TYPE_CHECKING:
    from _thread import LockType
    from collections.abc import Callable, Iterator, Sequence
    from typing import TypeVar

    Item = TypeVar("Item")

_MOST = 8  # more threads than this gain nothing on one disk, and each holds buffers
_DONE = object()


class Halted(Exception):
    """Raised in a thread because another one failed or the user interrupted; never reported."""


class Flag:
    """Is set once, and stays so."""

    __slots__ = ("_set",)

    def __init__(self) -> None:
        self._set = False

    def set(self) -> None:
        """Set it, in whatever thread."""
        self._set = True

    def is_set(self) -> bool:
        """Whether it was set."""
        return self._set


class Crew:
    """Up to ``jobs`` threads (0: one a core, at most 8) that work through a list.

    ``patience_s``: so long an interrupt waits for them, where they may hang in a call that cannot
    be given up; then they are left to end with the process. None: until each has come to its end.
    """

    def __init__(self, jobs: int = 0, patience_s: float | None = None) -> None:
        self.jobs = jobs if jobs > 0 else min(_MOST, cores())
        self._patience_s = patience_s
        self.halt = Flag()

    def check(self) -> None:
        """Called between steps of long work: raises Halted when it is to be given up."""
        if self.halt.is_set():
            raise Halted

    def one_by_one(self, work: Callable[[Item], None]) -> Callable[[Sequence[Item]], None]:
        """The same work for a group of items, given up between two of them."""

        def group(items: Sequence[Item]) -> None:
            for item in items:
                self.check()
                work(item)

        return group

    def each(self, work: Callable[[Item], None], items: Sequence[Item]) -> None:
        """Call ``work`` with every item, in order of starting; raises the first error.

        Items that were not begun by then stay undone. The calling thread only waits, so that an
        interrupt from the keyboard is seen at once.
        """
        count = min(self.jobs, len(items))
        if count <= 1 and (self._patience_s is None or not items):
            for item in items:
                work(item)
            return
        from threading import Thread  # three milliseconds

        source, guard, failures = iter(items), allocate_lock(), list[BaseException]()
        threads = [
            Thread(target=self._serve, args=(work, source, guard, failures), daemon=True)
            for _ in range(count)
        ]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except BaseException:
            self.halt.set()
            end = None if self._patience_s is None else time.monotonic() + self._patience_s
            for thread in threads:
                if thread.ident is not None:
                    thread.join(None if end is None else max(0.0, end - time.monotonic()))
            raise
        for failure in failures:
            if not isinstance(failure, Halted):
                raise failure

    def _serve(
        self,
        work: Callable[[Item], None],
        source: Iterator[Item],
        guard: LockType,
        failures: list[BaseException],
    ) -> None:
        while not self.halt.is_set():
            with guard:
                item = next(source, _DONE)
            if item is _DONE:
                return
            try:
                work(item)  # type: ignore[arg-type]
            except BaseException as error:  # noqa: BLE001 (handed to the caller, whatever it is)
                failures.append(error)
                self.halt.set()
                return


def beside(work: Callable[[], None], meanwhile: Callable[[], None]) -> None:
    """Call ``work``, which mostly waits, in a thread, and ``meanwhile`` here.

    Returns once both have come to their end. Raises what either of them raised.
    """
    begun, ended, failures = allocate_lock(), allocate_lock(), list[BaseException]()

    def run() -> None:
        try:
            begun.release()
            work()
        except BaseException as error:  # noqa: BLE001 (raised below, whatever it is)
            failures.append(error)
        finally:
            ended.release()

    begun.acquire()
    ended.acquire()
    start_new_thread(run, ())
    try:
        begun.acquire()  # else it comes to its turn only when this thread has had its own, 5 ms
        meanwhile()
    finally:
        ended.acquire()
    if failures:
        raise failures[0]


def cores() -> int:
    """How many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # macOS
        return os.cpu_count() or 1
