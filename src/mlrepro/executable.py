"""The executable bit of a file: part of what its pointer says, though not of its content."""

from __future__ import annotations

import os
import stat

from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.hashing import stat_key

if TYPE_CHECKING:
    from mlrepro.hashing import Stat


def is_set(now: Stat) -> bool:
    """Whether anyone may execute the file, which is what DVC's ``isexec`` means."""
    return bool(now.st_mode & 0o111)


def give(path: str, expect: Stat, wanted: bool) -> Stat:
    """Let whoever may read the file ``path`` execute it, or nobody; returns its new stat.

    A file that is not the one of ``expect`` any more is left alone, and ``expect`` returned.
    Raises OSError.
    """
    if is_set(expect) == wanted:
        return expect
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if stat_key(os.fstat(file)) != stat_key(expect):
            return expect
        bits = stat.S_IMODE(expect.st_mode)
        os.fchmod(file, bits | ((bits & 0o444) >> 2) if wanted else bits & ~0o111)
        return os.fstat(file)
    finally:
        os.close(file)
