"""Shows long output through the pager that git would use, on a terminal and nowhere else."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import sys

from mlrepro import process, terminal
from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.errors import MlreproError

if TYPE_CHECKING:
    from collections.abc import Iterator

# As git has it: quit where all fits on the screen, show colours, leave the screen as it is.
_SETTINGS = {"LESS": "FRX", "LV": "-c"}
_ONE_WORD = re.compile(r"[\w./-]+")  # no more than a program's name
_NOT_STARTED = (126, 127)  # what a shell answers with


def show(text: str, directory: str) -> bool:
    """Give ``text`` to the pager for a repository's ``directory``; False where there is none.

    GIT_PAGER, core.pager, PAGER and ``less`` count in this order; git itself is asked.
    """
    if not terminal.is_terminal(sys.stdout):
        return False
    where = directory or os.curdir
    try:
        pager = os.fsdecode(process.run(["git", "var", "GIT_PAGER"], cwd=where)).strip()
    except (MlreproError, OSError):
        return False
    if pager in ("", "cat") or (_ONE_WORD.fullmatch(pager) and shutil.which(pager) is None):
        return False
    settings = {name: value for name, value in _SETTINGS.items() if name not in os.environ}
    data = text.encode(sys.stdout.encoding or "utf-8", "backslashreplace")
    terminal.write(sys.stdout, "")
    with _interrupts_left_to_the_pager(), contextlib.suppress(OSError):
        code = process.run_shown(["sh", "-c", pager], cwd=os.curdir, env=settings, input=data)
        return code not in _NOT_STARTED
    return False


@contextlib.contextmanager
def _interrupts_left_to_the_pager() -> Iterator[None]:
    # A handler that does nothing: one that is ignored would be ignored in the pager, too.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
