"""What a large transfer had come to when it was cut short, kept beside for the next run."""

from __future__ import annotations

import contextlib
import os
import stat
import time

from mlrepro.durable import discard, make_folders
from mlrepro.lock import Lock

# In a folder beside the temporary files, for each transfer: ``NAME.note``, what is known of it and
# a line for each part that is done; ``NAME.lock``, held by who is at it; for a download
# ``NAME.data``, its parts at their places. Nothing here is believed: who goes on hashes all of it.

ROOM = ".mlrepro/begun"
KEPT_S = 7 * 24 * 3600.0  # so long nobody came back for it
_HEAD = "mlrepro begun 1\n"
_END = "."  # ends a line that is whole
_MAX_NOTE = 1 << 21


class Begun:
    """One transfer that another run may have begun; a context manager, costing nothing by itself.

    ``root``: of the cache, "" where nothing is to be kept; ``name``: a file's name that tells it
    from all others. After ``resume``,
    ``parts`` maps each part that is done to what was noted of it. Where another process is at it,
    or nothing can be kept, ``kept`` is False: then this one does it all, and notes nothing.
    """

    def __init__(self, root: str, name: str) -> None:
        self._root = root
        self._base = f"{root}/{ROOM}/{name}"
        self._lock: Lock | None = None
        self._note = -1
        self.kept = False
        self.data = self._base + ".data"
        self.parts: dict[int, str] = {}

    def __enter__(self) -> Begun:
        return self

    def _take(self) -> None:
        if not self._root:
            return
        try:
            make_folders(os.path.dirname(self._base), self._root)
            lock = Lock(self._base + ".lock", wait=0)
            lock.__enter__()
        except OSError:
            return
        self._lock, self.kept = lock, lock.real

    def __exit__(self, *_: object) -> None:
        if self._note >= 0:
            os.close(self._note)
            self._note = -1
        if self._lock is not None:
            if self.kept and not os.path.lexists(self._base + ".note"):
                discard(self._base + ".lock")
            self._lock.__exit__()

    def resume(self, about: str) -> list[str]:
        """What was noted first, where it is about the same; else nothing, and what is there goes.

        ``about``: what has to be as it was (the store, the size, the version of the object …).
        """
        if self._lock is None:
            self._take()
        if not self.kept:
            return []
        try:
            fd = os.open(self._base + ".note", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            self.forget()
            return []
        try:
            text = os.read(fd, _MAX_NOTE).decode("utf-8", "surrogateescape")
        finally:
            os.close(fd)
        lines = [line for line in text.split("\n") if line]
        if not text.startswith(_HEAD) or len(lines) < 3 or lines[1] != _line(about):
            self.forget()
            return []
        for line in lines[3:]:
            number, *told = line.split()
            if number.isdecimal() and told and told[-1] == _END:
                self.parts[int(number)] = " ".join(told[:-1])
        return lines[2].split()

    def begin(self, about: str, *first: str, mode: int = 0o666) -> None:
        """Note that it begins now, or goes on; ``first`` is what ``resume`` gives back.

        ``mode``: the note's permission bits, as far as the umask lets them.
        """
        if not self.kept:
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._note = os.open(self._base + ".note", flags, mode)
            if self.parts:
                self._write("\n")  # the last line may have been cut off
            else:
                os.ftruncate(self._note, 0)
                self._write(f"{_HEAD}{_line(about)}\n{' '.join(first) or _END}\n")
        except OSError:  # as where it is another user's
            self.kept = False

    def add(self, number: int, told: str = "") -> None:
        """Note that a part is done; any thread may call it."""
        if self.kept:
            self._write(f"{number} {told} {_END}\n")

    def open(self) -> int:
        """The file for the parts of a download, open for reading and writing. Raises OSError."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(self.data, flags, 0o666)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(f"not a plain file: {self.data}")
        return fd

    def forget(self) -> None:
        """Remove what is kept: it is done, or was in vain."""
        self.parts.clear()
        if self.kept:
            discard(self._base + ".note")
            discard(self.data)

    def finish(self) -> None:
        """Remove the note; what came together has a name of its own now."""
        self.parts.clear()
        if self.kept:
            discard(self._base + ".note")

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):  # then that part is done again
            os.write(self._note, text.encode("utf-8", "surrogateescape"))


def _line(text: str) -> str:
    return " ".join(text.split())


def names(root: str) -> set[str]:
    """The transfers that were begun, or are under way."""
    try:
        return {name[:-5] for name in os.listdir(f"{root}/{ROOM}") if name.endswith(".note")}
    except OSError:
        return set()


def sweep(root: str, older_s: float = KEPT_S) -> None:
    """Remove what nobody came back for; raises nothing."""
    room = f"{root}/{ROOM}"
    try:
        names = [name[:-5] for name in os.listdir(room) if name.endswith(".lock")]
    except OSError:
        return
    for name in names:
        base = f"{room}/{name}"
        try:
            newest = max(_changed(base + end) for end in (".lock", ".note", ".data"))
            if time.time() - newest < older_s:
                continue
            with Lock(base + ".lock", wait=0) as lock:
                if lock.real:
                    for end in (".note", ".data", ".lock"):
                        discard(base + end)
        except OSError:
            continue  # somebody is at it, or it is another user's


def _changed(path: str) -> float:
    try:
        return os.lstat(path).st_mtime
    except OSError:
        return 0.0
