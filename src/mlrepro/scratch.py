"""A folder for what one run writes for itself: gone afterwards, or, if it was killed, by the next.

Best below a clone's own folders; where nothing can be written there, where the system has such.
"""

from __future__ import annotations

import os
import stat

from mlrepro.staging import Staging


def room(base: str, top: str) -> Staging:
    """A room with an empty ``folder`` below ``base``, made where missing, below ``top``.

    Without ``base`` it is where the system has such. Raises OSError where none can be made.
    """
    if base:
        try:
            return Staging(base, top)
        except OSError:
            pass
    base = _elsewhere()
    return Staging(base, base)


def _elsewhere() -> str:
    """A folder of this user's alone, among those that everyone may write to."""
    # Not what tempfile finds by writing a file: who is killed then leaves it.
    top = os.environ.get("TMPDIR") or "/tmp"
    place = os.path.join(top, f"mlrepro-{os.geteuid()}")
    try:
        os.mkdir(place, 0o700)
    except FileExistsError:
        about = os.lstat(place)  # another user may have been there before
        ours = stat.S_ISDIR(about.st_mode) and about.st_uid == os.geteuid()
        if not ours or stat.S_IMODE(about.st_mode) & 0o077:
            from tempfile import mkdtemp

            return mkdtemp(prefix="mlrepro-", dir=top)
    return place
