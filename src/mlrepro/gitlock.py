"""Git's lock on its index: another git that holds it is waited for, a stopped one is named."""

from __future__ import annotations

import os
import time

from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.errors import ProcessError, RepositoryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

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


def free(places: Iterable[str]) -> None:
    """Wait until none of these locks is there. Raises RepositoryError (``locked``)."""
    until = time.monotonic() + PATIENCE
    for place in places:
        while os.path.lexists(place):
            if time.monotonic() >= until:
                said = f"Git is locked by {place}."
                raise RepositoryError(said, way_out(place), "locked", path=place)
            time.sleep(0.05)


def way_out(lock: str) -> str:
    """What to do about a lock that git may have left when it was killed."""
    from shlex import quote  # only on the way to a message

    return f"when no git runs here any more: rm -f {quote(lock)}; then run this again"


def _held(lock: str) -> RepositoryError:
    return RepositoryError(
        f"Git's index is locked by {lock}: the data is saved and its pointers are written, "
        "but they are not staged.",
        way_out(lock),
        code="locked",
        path=lock,
    )
