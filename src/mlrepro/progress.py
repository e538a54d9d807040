"""Shows what a command tells of its progress: steps, notes, and a bar for long transfers."""

from __future__ import annotations

from _thread import RLock

from mlrepro import redaction
from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.result import Reporter
from mlrepro.terminal import is_lively, visible, write

if TYPE_CHECKING:
    from threading import Timer
    from types import TracebackType
    from typing import TextIO

    from mlrepro.bar import Bar

SECONDS_BEFORE_BAR = 1.0


class StreamReporter(Reporter):
    """Shows notes unless ``quiet``, steps where ``verbose``, and on a terminal a bar.

    A bar appears once a transfer has lasted a second. Transfers that overlap, as those of several
    threads do, share one bar, of their total. A context manager: at its end the bar is gone.
    """

    def __init__(
        self, stream: TextIO | None, *, quiet: bool = False, verbose: bool = False
    ) -> None:
        self._stream = stream
        self._quiet = quiet
        self._verbose = verbose
        self._bars = is_lively(stream) and not quiet
        self._lock = RLock()
        self._running = 0
        self._label = ""
        self._total = 0
        self._done = 0
        self._timer: Timer | None = None
        self._bar: Bar | None = None

    def step(self, text: str) -> None:
        """One step, shown where ``verbose``."""
        if self._verbose:
            self._say(text)

    def note(self, text: str) -> None:
        """One line, shown unless ``quiet``."""
        if not self._quiet:
            self._say(text)

    def begin(self, label: str, total: int) -> None:
        """A transfer begins; after a second of it there is a bar."""
        if not self._bars:
            return
        with self._lock:
            self._running += 1
            self._label = visible(label)
            self._total += total
            if self._running == 1:
                from threading import Timer

                self._timer = Timer(SECONDS_BEFORE_BAR, self._show_bar)
                self._timer.daemon = True
                self._timer.start()
            self._update_bar()

    def advance(self, count: int) -> None:
        """So many bytes more."""
        if not self._bars:
            return
        with self._lock:
            self._done += count
            self._update_bar()

    def end(self) -> None:
        """It has ended; with the last one the bar goes."""
        if not self._bars:
            return
        with self._lock:
            self._running = max(0, self._running - 1)
            if not self._running:
                self._hide_bar()

    def __enter__(self) -> StreamReporter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._running = 0
            self._hide_bar()

    def _say(self, text: str) -> None:
        with self._lock:
            line = visible(redaction.shown(text))
            if self._bar is not None:  # above the bar, which is drawn anew below
                self._bar.above(line)
            else:
                write(self._stream, line + "\n")

    def _show_bar(self) -> None:
        from mlrepro.bar import Bar  # only now: importing Rich takes longer than many a transfer

        with self._lock:
            if self._running and self._bar is None and self._stream is not None:
                self._bar = Bar(self._stream, self._label, self._total)
                self._update_bar()

    def _update_bar(self) -> None:
        if self._bar is not None:
            self._bar.update(self._label, self._done, self._total)

    def _hide_bar(self) -> None:
        self._done = self._total = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
