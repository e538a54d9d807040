"""Small files of a repository that is not trusted: no link is followed, nothing waited for."""

from __future__ import annotations

import os

from mlrepro.errors import PathError

# On the hook's no-change path: no module but these.

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_KIND, _REGULAR, _LINK = 0o170000, 0o100000, 0o120000


def read(root: str, name: str, most: int) -> bytes:
    """The first ``most`` bytes of the file ``name`` (posix, relative to ``root``).

    Raises FileNotFoundError, or NotADirectoryError, where there is none, PathError where it is a
    link (``path-symlink``), lies behind one, or is no plain file (``path-not-regular``), and
    OSError.
    """
    link = linked_parent(root, name)
    if link:
        raise PathError(
            f"{name} lies behind a symbolic link: {link}",
            f"replace the link {link} by a folder of its own",
            code="path-symlink",
            path=name,
        )
    return read_at(f"{root}/{name}", name, most)


def read_at(path: str, name: str, most: int) -> bytes:
    """The same for an absolute path whose folders are known to be real ones."""
    kind = os.lstat(path).st_mode & _KIND
    if kind == _REGULAR:
        file = os.open(path, _FLAGS)
        try:
            about = os.fstat(file)
            if about.st_mode & _KIND == _REGULAR:
                return _whole(file, about.st_size, most)
        finally:
            os.close(file)
    is_link = kind == _LINK
    raise PathError(
        f"{name} is {'a symbolic link' if is_link else 'not a plain file'}: it is not read.",
        "put a plain file in its place",
        code="path-symlink" if is_link else "path-not-regular",
        path=name,
    )


def _whole(file: int, size: int, most: int) -> bytes:
    """What a file of this size has, which may have become another since: ``most`` bytes of it."""
    data = os.read(file, min(size + 1, most))  # as much is allocated
    while data and len(data) not in (size, most):
        more = os.read(file, most - len(data))
        if not more:
            break
        data += more
    return data


def linked_parent(root: str, name: str) -> str:
    """The first folder on the way from ``root`` to ``name`` that is a symbolic link, or ""."""
    at = name.find("/")
    while at >= 0:
        if os.path.islink(f"{root}/{name[:at]}"):
            return name[:at]
        at = name.find("/", at + 1)
    return ""
