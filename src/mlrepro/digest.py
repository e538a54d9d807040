"""Hashes of what is small, without loading OpenSSL, which takes as long as to hash a megabyte."""

from __future__ import annotations

# `hashlib` is loaded once it pays: its md5 is a little faster for what is large, and lets other
# threads go on meanwhile.

WORTH_LOADING = 1 << 20  # bytes
_done = 0


def md5(data: bytes) -> str:
    """The md5 of bytes in memory, in hex."""
    global _done  # noqa: PLW0603  how much was hashed by this process
    if _done <= WORTH_LOADING:
        _done += len(data)
    if _done <= WORTH_LOADING:
        try:
            from _md5 import md5 as small  # type: ignore[import-not-found]  # Python's own
        except ImportError:  # built without
            pass
        else:
            text: str = small(data, usedforsecurity=False).hexdigest()
            return text
    from hashlib import md5 as large

    return large(data, usedforsecurity=False).hexdigest()


def sha1(data: bytes) -> str:
    """The sha1 of bytes in memory, in hex."""
    try:
        from _sha1 import sha1 as small  # type: ignore[import-not-found]
    except ImportError:
        from hashlib import sha1 as small
    text: str = small(data, usedforsecurity=False).hexdigest()
    return text
