"""Counts what a command asks of the system: programs started, files opened, bytes, flushes, looks.

strace(1) writes a file for each thread, so that no line is split. What git does by itself is left
out, as far as it is not asked for: of its processes only the number counts.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

CALLS = (
    "clone,clone3,fork,vfork,open,openat,read,pread64,readv,preadv,write,pwrite64,writev,pwritev,copy_file_range,sendfile,"
    "ftruncate,fsync,fdatasync,syncfs,sync,execve,stat,lstat,fstat,newfstatat,statx,"
    "link,linkat,rename,renameat,renameat2,unlink,unlinkat"
)
LINE = re.compile(r"(\w+)\((.*)\)\s+= (-?\d+)(.*)")
OPENED = re.compile(r"<(/.*?)(?: \(deleted\))?>$")
GIVEN = re.compile(r"^\d+<(/[^>]*?)(?: \(deleted\))?>")
TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')
LOOKS = {"stat", "lstat", "fstat", "newfstatat", "statx"}
NAMES = {"link", "linkat", "rename", "renameat", "renameat2", "unlink", "unlinkat"}
READS = {"read", "pread64", "readv", "preadv"}
STARTS = {"clone", "clone3", "fork", "vfork"}
FLUSHES = {"fsync", "fdatasync", "syncfs", "sync"}
PLACES = {
    "/.git/": "git", "/.dvc/cache/": "blobs", "/stores/": "blobs", "/data/": "data",
    "/.dvc/tmp/": "staged", "/.dvc/config": "config", "/.dvcignore": "config",
}  # fmt: skip
WRITES = {"write", "pwrite64", "writev", "pwritev"}


@functools.cache
def why_not() -> str:
    """Why nothing can be counted here, by trying; "" where it can."""
    if not sys.platform.startswith("linux"):
        return "strace is there on Linux only"
    if not shutil.which("strace"):
        return "strace is not installed"
    done = subprocess.run(
        ["strace", "-o", os.devnull, "-y", "true"], check=False, capture_output=True
    )
    return "strace is not allowed here" if done.returncode else ""


class Counts:
    """What was counted: ``self["read data"]`` are bytes, ``self["opened pointer"]`` files.

    "opened", "created" (opened to write), "read" and "written" by the kind of place, see ``place``;
    "fsync", "syncfs", "looks" (all kinds of stat), "names" (made, moved, removed); "programs" that
    were started, and "modules" of mlrepro's own that were loaded. ``opened``: the files.
    """

    def __init__(self) -> None:
        self.numbers: Counter[str] = Counter()
        self.opened: list[str] = []
        self.modules: set[str] = set()

    def __getitem__(self, what: str) -> int:
        return self.numbers[what]


def count(argv: Sequence[str], root: Path, below: Path, record: Path) -> Counts:
    """Run a command in ``root``, and count what it does with the files ``below`` a folder.

    ``record``: a folder that is made for what strace says. Raises AssertionError, with what the
    command said, where it fails.
    """
    record.mkdir()
    options = ["-ff", "-qq", "-y", "-s", "64", "-o", str(record / "of"), "-e", f"trace={CALLS}"]
    done = subprocess.run(
        ["strace", *options, *argv],
        cwd=root,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{argv}\n{done.stdout}{done.stderr}"
    calls = {int(file.name.rpartition(".")[2]): _calls(file) for file in record.iterdir()}
    started = {
        gave: pid for pid, made in calls.items() for call, _, gave, _ in made if call in STARTS
    }
    counts, inside = Counts(), f"{below.resolve()}/"
    for pid, made in calls.items():
        counts.numbers["programs"] += sum(call == "execve" for call, _, _, _ in made)
        if not _is_git(_program(pid, calls, started)):
            for one in made:
                _add(counts, *one, inside)
    counts.numbers["modules"] = len(counts.modules)
    return counts


Call = tuple[str, str, int, str]  # its name, what it was given, what it gave, and that as a file


def _calls(file: Path) -> list[Call]:
    """All calls of a thread that did not fail."""
    found = map(LINE.match, file.read_text("utf-8", "surrogateescape").splitlines())
    return [(one[1], one[2], int(one[3]), one[4]) for one in found if one and int(one[3]) >= 0]


def _program(pid: int, calls: Mapping[int, list[Call]], started: Mapping[int, int]) -> str:
    """What a process runs, or the one that it is a thread of."""
    while True:
        ran = [given for call, given, _, _ in calls.get(pid, []) if call == "execve"]
        if ran or pid not in started:
            return _words(ran[-1]) if ran else ""
        pid = started[pid]


def _words(given: str) -> str:
    """The words of a command line, as far as they are shown."""
    return " ".join(TEXT.findall(given)[1:])


def _is_git(program: str) -> bool:
    return os.path.basename(program.partition(" ")[0]) == "git"


def _add(counts: Counts, call: str, given: str, gave: int, rest: str, inside: str) -> None:
    numbers = counts.numbers
    if call in ("open", "openat"):
        found = OPENED.search(rest)
        if found is None or "O_DIRECTORY" in given or "O_PATH" in given:
            return
        path = found[1]
        if "/mlrepro/" in path and path.endswith((".py", ".pyc")):
            counts.modules.add(re.sub(r"\.cpython-\w+\.pyc$|\.py$", "", path.rpartition("/")[2]))
        if path.startswith(inside):
            writes = "O_WRONLY" in given or "O_RDWR" in given
            kind = "folder" if os.path.isdir(path) else place(path)
            numbers[f"{'created' if writes else 'opened'} {kind}"] += 1
            counts.opened.append(path.removeprefix(inside))
    elif call in FLUSHES:
        numbers["syncfs" if call == "syncfs" else "fsync"] += 1
    elif call in LOOKS:
        numbers["looks"] += 1
    elif call in NAMES:
        numbers["names"] += 1
    else:
        for what, path in _moved(call, given):
            if path.startswith(inside):
                numbers[f"{what} {place(path)}"] += gave


def _moved(call: str, given: str) -> Iterator[tuple[str, str]]:
    """Of a call that moves bytes: "read" or "written", and which file."""
    if call in READS or call in WRITES:
        found = GIVEN.match(given)
        if found is not None:
            yield "read" if call in READS else "written", found[1]
    elif call in ("copy_file_range", "sendfile"):
        paths = re.findall(r"\d+<(/[^>]*?)(?: \(deleted\))?>", given)
        if len(paths) == 2:
            source, dest = paths if call == "copy_file_range" else reversed(paths)
            yield from (("read", source), ("written", dest))


def place(path: str) -> str:
    """What kind of file it is, by where it lies in a repository."""
    if path.endswith(".dvc"):
        return "pointer"
    return next((kind for part, kind in PLACES.items() if part in path), "other")
