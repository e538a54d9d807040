"""Small file systems that tests may fill, take away and make larger; skipped where not allowed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def _mount(*words: str | Path) -> None:
    try:
        done = subprocess.run(["mount", *map(str, words)], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if done.returncode:
        pytest.skip("mounting is not allowed here")


def resize(folder: Path, mebibytes: int) -> None:
    """Make the small disk larger."""
    subprocess.run(["mount", "-o", f"remount,size={mebibytes}m", str(folder)], check=True)


def allow_writing(folder: Path, allowed: bool) -> None:
    """Make a disk read-only, or writable again."""
    how = "rw" if allowed else "ro"
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)


def take_away(folder: Path) -> None:
    """Unmount a disk: the empty folder that it was mounted on is left."""
    subprocess.run(["umount", str(folder)], check=True)


def bring_back(folder: Path, place: Path) -> None:
    """Mount the folder ``place`` at ``folder``."""
    _mount("--bind", place, folder)


@contextmanager
def small(folder: Path, mebibytes: int) -> Iterator[Path]:
    """A file system of so many MiB at a new folder."""
    folder.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", folder)
    try:
        yield folder
    finally:
        take_away(folder)
