"""Folders of temporary files that are known to be dead when the run that made them is."""

from __future__ import annotations

import itertools
import os
import stat
import time

from mlrepro.durable import TEMP_PREFIX, discard, make_folders
from mlrepro.lock import Lock

# A file named OLD + number + "-" + inode may hold a user's file that was swapped out: unless its
# inode is the one named, which was ours, a sweep sets it aside instead of removing it.
OLD = "old-"
KEPT = "kept"
_BESIDE = "beside"
_SHARE = "share-"
_UNLOCKABLE_AGE = 7 * 24 * 3600.0  # seconds; where there are no locks, only age tells


class Staging:
    """One run's temporary files below the folder ``base``, and beside other files where need be.

    The run holds a lock as long as it lives; a sweep, which every run begins with, clears away what
    runs left that can be locked, that is, whose process is gone. ``recovered`` names the files that
    it set aside because they may be a user's.
    """

    def __init__(self, base: str, top: str) -> None:
        """Make ``base`` where missing, below ``top``, which has to exist; raises OSError."""
        make_folders(base, top)
        self.base = base
        self.recovered = sweep(base)
        self._numbers = itertools.count()
        self._beside: set[str] = set()
        self._shares: set[int] = set()
        while True:
            self.name = f"{os.getpid()}-{os.urandom(4).hex()}"
            self._lock = Lock(os.path.join(base, self.name + ".lock"), wait=0)
            try:
                self._lock.__enter__()
                break
            except BlockingIOError:  # a sweep saw the new lock before it was taken
                continue
        self.folder = os.path.join(base, self.name)
        try:
            os.mkdir(self.folder)
        except BaseException:
            self.close()
            raise

    def new(self) -> str:
        """A path for a temporary file, used by nobody else; any thread may ask."""
        return f"{self.folder}/{next(self._numbers)}"

    def share(self, number: int) -> str:
        """A folder of its own for the temporary files of one of several processes."""
        path = f"{self.folder}/{_SHARE}{number}"
        if number not in self._shares:
            os.makedirs(path, exist_ok=True)
            self._shares.add(number)
        return path

    def new_beside(self, folder: str) -> str:
        """The same in another folder, where a rename from here cannot reach."""
        if folder not in self._beside:
            with open(os.path.join(self.folder, _BESIDE), "ab") as file:
                file.write(os.fsencode(folder) + b"\0")
            self._beside.add(folder)
        return f"{folder}/{TEMP_PREFIX}{self.name}-{next(self._numbers)}"

    def old_name(self, temp: str, inode: int) -> str:
        """The name ``temp`` has to have before a user's file may be swapped into its place."""
        folder, name = os.path.split(temp)
        lead = f"{TEMP_PREFIX}{self.name}-" if name.startswith(TEMP_PREFIX) else ""
        return f"{folder}/{lead}{OLD}{next(self._numbers)}-{inode}"

    def close(self) -> None:
        """Remove what is left of this run and let its lock go."""
        self.recovered += _clear(self.base, self.name)
        self._lock.__exit__()

    def __enter__(self) -> Staging:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def sweep(base: str) -> list[str]:
    """Clear away what dead runs left below ``base``; returns the files set aside in ``kept``.

    Raises nothing: what cannot be cleared now, for want of permission, is left.
    """
    recovered: list[str] = []
    try:
        names = os.listdir(base)
    except OSError:
        return recovered
    for name in names:
        if not name.endswith(".lock"):
            continue
        path = os.path.join(base, name)
        try:
            with Lock(path, wait=0) as lock:
                if lock.real or time.time() - os.lstat(path).st_mtime > _UNLOCKABLE_AGE:
                    recovered += _clear(base, name[:-5])
        except OSError:
            continue  # alive, or not ours to judge
    return recovered


def dead(base: str) -> list[str]:
    """The runs that left temporary files below ``base`` and are over; raises nothing."""
    found = list[str]()
    try:
        names = sorted(os.listdir(base))
    except OSError:
        return found
    for name in names:
        if name.endswith(".lock"):
            try:
                with Lock(os.path.join(base, name), wait=0) as lock:
                    found += [name[:-5]] if lock.real else []
            except OSError:
                continue  # alive, or not ours to judge
    return found


def _clear(base: str, name: str) -> list[str]:
    """Remove the temporary files of the run ``name``, which is over."""
    folder, recovered = os.path.join(base, name), list[str]()
    try:
        entries = os.listdir(folder)
    except OSError:
        entries = []
    for entry in entries:
        path = os.path.join(folder, entry)
        if entry == _BESIDE:
            _clear_beside(path, name)
        elif entry.startswith(_SHARE):
            _clear_share(path)
        elif _is_users(path, entry):
            kept = os.path.join(base, KEPT, f"{name}-{entry}")
            try:
                make_folders(os.path.dirname(kept), base)
                os.rename(path, kept)
                recovered.append(kept)
            except OSError:
                continue
        elif os.path.isdir(path) and not os.path.islink(path):
            from shutil import rmtree  # what commits make is flat

            rmtree(path, ignore_errors=True)
        else:
            discard(path)
    try:
        os.rmdir(folder)
    except OSError:
        pass
    if not os.path.lexists(folder):  # else something is still in it, for the next sweep
        discard(folder + ".lock")
    return recovered


def _clear_share(folder: str) -> None:
    """Remove the temporary files of one process; a user's never gets there."""
    try:
        for entry in os.listdir(folder):
            discard(f"{folder}/{entry}")
        os.rmdir(folder)
    except OSError:
        pass  # for the next sweep


def _clear_beside(record: str, name: str) -> None:
    """Remove the run's temporary files in the folders it wrote down; a user's file stays there."""
    try:
        with open(record, "rb") as file:
            folders = file.read().split(b"\0")[:-1]
    except OSError:
        return
    lead = f"{TEMP_PREFIX}{name}-"
    for folder in map(os.fsdecode, folders):
        try:
            entries = os.listdir(folder)
        except OSError:
            continue
        for entry in entries:
            path = os.path.join(folder, entry)
            if entry.startswith(lead) and not _is_users(path, entry[len(lead) :]):
                discard(path)
    discard(record)


def _is_users(path: str, entry: str) -> bool:
    """Whether the temporary file may be what a user's path held before a swap."""
    if not entry.startswith(OLD):
        return False
    try:
        about = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(about.st_mode) and not entry.endswith(f"-{about.st_ino}")
