"""Git's lock on its index: another git that holds it is waited for, a stopped one is named."""

from __future__ import annotations

import time

from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.errors import ProcessError, RepositoryError

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 20.0  # seconds; git itself holds it for moments, but a commit's editor may be open


def patiently(change: Callable[[], object], lock: str) -> None:
    """Call ``change``, again for as long as git says that ``lock`` is there.

    Raises RepositoryError (``locked``) where that does not come to an end.
    """
    until, pause = time.monotonic() + PATIENCE, 0.01
    while True:
        try:
            change()
            return
        except ProcessError as error:
            if ".lock': File exists" not in error.stderr:
                raise
            if time.monotonic() >= until:
                raise _held(lock) from error
        time.sleep(pause)
        pause = min(pause * 2, 0.2)


def _held(lock: str) -> RepositoryError:
    from shlex import quote  # only on the way to a message

    return RepositoryError(
        f"Git's index is locked by {lock}: the data is saved and its pointers are written, "
        "but they are not staged.",
        f"when no git runs here any more: rm -f {quote(lock)}; then run this again",
        code="locked",
        path=lock,
    )
