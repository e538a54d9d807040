"""Paths below a root, reached folder by folder without following a single symlink."""

from __future__ import annotations

import errno
import os
import stat
from _thread import allocate_lock

from mlrepro.errors import Refused

_MOST_OPEN = 64  # folders kept open, since neighbours are mostly asked for together
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Anchor:
    """Opens the folders that files below ``root`` lie in; the root itself may be a symlink."""

    def __init__(self, root: str) -> None:
        """Raises OSError where the root is not a folder."""
        self.root = root.rstrip("/") or "/"
        self._guard = allocate_lock()
        self._open = {"": os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)}

    def __enter__(self) -> Anchor:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()

    def parent(self, dest: str, *, make: bool = False) -> tuple[int, str]:
        """A descriptor of the folder that ``dest`` lies in, and its name there.

        The caller closes the descriptor. ``make``: missing folders are made. Raises Refused where
        the way leads through a symlink or a file (``path-symlink``, ``path-not-a-folder``) or out
        of the root (``path-outside``), and OSError.
        """
        lead = self.root if self.root == "/" else self.root + "/"
        parts = dest[len(lead) :].split("/")
        if not dest.startswith(lead) or any(part in ("", ".", "..") for part in parts):
            raise Refused(
                f"{dest} does not lie in {self.root}.",
                "Mend the pointer that names it",
                code="path-outside",
                path=dest,
            )
        with self._guard:
            return os.dup(self._folder(parts[:-1], make)), parts[-1]

    def _folder(self, parts: list[str], make: bool) -> int:
        relative = "/".join(parts)
        known = self._open.get(relative)
        if known is not None:
            return known
        above = self._folder(parts[:-1], make)
        fd = self._enter(above, parts[-1], relative, make)
        if len(self._open) >= _MOST_OPEN:
            top = self._open.pop("")
            for old in self._open.values():
                os.close(old)
            self._open = {"": top}
        self._open[relative] = fd
        return fd

    def _enter(self, above: int, name: str, relative: str, make: bool) -> int:
        try:
            return os.open(name, _FLAGS, dir_fd=above)
        except FileNotFoundError:
            if not make:
                raise
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENOTDIR, errno.EMLINK):
                raise
            link = stat.S_ISLNK(os.lstat(name, dir_fd=above).st_mode)
            raise Refused(
                f"{relative} is {'a symbolic link' if link else 'not a folder'}: "
                "nothing is written behind it.",
                "Move it away, then run this again",
                code="path-symlink" if link else "path-not-a-folder",
                path=f"{self.root}/{relative}",
            ) from error
        try:
            os.mkdir(name, dir_fd=above)
        except FileExistsError:
            pass  # another process was first
        return self._enter(above, name, relative, False)
