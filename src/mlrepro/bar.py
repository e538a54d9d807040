"""Draws one progress bar with Rich; imported only once a transfer has taken a while."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from mlrepro.amounts import size
from mlrepro.dataclass import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO


class _Bytes(ProgressColumn):
    """How much is done of how much, and how fast: "1.2 of 4.0 GiB, 310.0 MiB/s"."""

    def render(self, task: Task) -> Text:
        done = size(task.completed)
        of_all = f"{done} of {size(task.total)}" if task.total else done
        return Text(f"{of_all}, {size(task.speed)}/s" if task.speed else of_all)


class Bar:
    """A bar that is there from its making until ``stop``, and then leaves no trace."""

    def __init__(self, stream: TextIO, label: str, total: int) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            _Bytes(),
            TimeRemainingColumn(),
            console=Console(file=stream),
            transient=True,
        )
        self._task = self._progress.add_task(label, total=total or None)
        self._progress.start()

    def update(self, label: str, done: int, total: int) -> None:
        """Move to ``done`` of ``total`` bytes (0: not known)."""
        self._progress.update(self._task, description=label, completed=done, total=total or None)

    def above(self, line: str) -> None:
        """Print a line that stays, above the bar."""
        self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def stop(self) -> None:
        """Take the bar away."""
        self._progress.stop()
