"""Runs the real command on a repository that is not to be trusted, and sees what it reached for."""

from __future__ import annotations

import ctypes
import os
import stat
import struct
import subprocess
import sys
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from building import PATIENCE

LIMITED = Path(__file__).with_name("limited.py")
MEBI = 1 << 20
CPU_SECONDS = 5  # of each process; a process that hangs in a computation is killed by the kernel
MEMORY = 200 * MEBI
# Address space is more than memory: libraries that are only mapped, stacks and arenas of threads.
ADDRESSES = 2048 * MEBI

_SEEN = {
    0x1: "read", 0x2: "written", 0x4: "attributes", 0x20: "opened", 0x40: "moved away",
    0x80: "moved in", 0x100: "made", 0x200: "removed", 0x400: "removed itself", 0x800: "moved",
}  # fmt: skip


@dataclass(frozen=True)
class Confined:
    """What a command came to: its words, its memory (bytes), and what it did outside."""

    argv: tuple[str, ...]
    exit_code: int
    stdout: str
    stderr: str
    memory: int
    reached: tuple[str, ...]

    @property
    def said(self) -> str:
        return self.stdout + self.stderr

    def check(self, ignoring: Collection[str] = (), memory: int = MEMORY) -> None:
        """Nothing outside was looked at, nothing hung or grew, and no bug came out."""
        shown = f"{' '.join(self.argv)}: exit {self.exit_code}\n{self.said[-3000:]}"
        assert set(self.reached) <= set(ignoring), f"{self.reached}\n{shown}"
        assert self.exit_code in (0, 1) and "died of signal" not in self.said, shown
        assert "Traceback" not in self.said, shown
        assert self.memory <= memory, f"{self.memory // MEBI} MiB\n{shown}"


class Outside:
    """A folder of somebody's own files, watched: whoever opens, lists or changes one is seen."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("secret.txt", "notes.csv.dvc", "config", "sub/inner.txt", "sub/.gitignore"):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"mine: {name}\n")
        self._before = self._state()
        self._fd = _watch(root)

    @property
    def secret(self) -> Path:
        return self.root / "secret.txt"

    @property
    def executed(self) -> Path:
        """What code of the repository's would make, were it ever run."""
        return self.root / "executed"

    def reached(self) -> tuple[str, ...]:
        """What happened here since the last time this was asked."""
        found = _events(self._fd) if self._fd >= 0 else []
        if not found and self._state() != self._before:
            found = ["changed"]
        return tuple(dict.fromkeys(found))

    def look_again(self) -> None:
        """Take in what was planted here since."""
        self.close()
        self._before, self._fd = self._state(), _watch(self.root)

    def reset(self) -> None:
        self._before = self._state()
        if self._fd >= 0:
            _events(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def _state(self) -> dict[str, tuple[int, int, bytes]]:
        found = {}
        for folder, folders, files in os.walk(self.root):
            for name in (*folders, *files):
                path = Path(folder, name)
                about = path.lstat()
                text = path.read_bytes() if stat.S_ISREG(about.st_mode) else b""
                found[str(path)] = (about.st_mode, about.st_nlink, text)
        return found


def _watch(root: Path) -> int:
    """An inotify descriptor for every folder below, or -1 where the kernel has none."""
    if not sys.platform.startswith("linux"):
        return -1
    libc = ctypes.CDLL(None, use_errno=True)
    fd: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if fd < 0:
        return -1
    for folder, _, _ in os.walk(root):
        if libc.inotify_add_watch(fd, os.fsencode(folder), sum(_SEEN)) < 0:
            raise OSError(ctypes.get_errno(), "inotify_add_watch", folder)
    return fd


def _events(fd: int) -> list[str]:
    found = []
    while True:
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            return found
        at = 0
        while at < len(data):
            _, mask, _, length = struct.unpack_from("iIII", data, at)
            name = data[at + 16 : at + 16 + length].rstrip(b"\0").decode(errors="replace")
            found += [f"{what} {name or '.'}" for bit, what in _SEEN.items() if mask & bit]
            at += 16 + length


def run(
    root: Path,
    *argv: str,
    outside: Outside | None = None,
    env: dict[str, str] | None = None,
    seconds: int = CPU_SECONDS,
    addresses: int = ADDRESSES,
) -> Confined:
    """Run ``mlrepro``, or git where that is the first word, within the limits."""
    program = [*argv] if argv[0] == "git" else [sys.executable, "-m", "mlrepro", *argv]
    return confined(program, root, outside, env, seconds, addresses)


def confined(
    program: list[str],
    root: Path,
    outside: Outside | None = None,
    env: dict[str, str] | None = None,
    seconds: int = CPU_SECONDS,
    addresses: int = ADDRESSES,
) -> Confined:
    """Run any program within the limits; ``outside`` is somebody's folder that it may not touch."""
    if outside is not None:
        outside.reset()
    with tempfile.NamedTemporaryFile() as report:
        limited = [sys.executable, "-I", "-S", str(LIMITED), report.name, str(seconds)]
        done = subprocess.run(
            [*limited, str(addresses), *program],
            cwd=root,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
            start_new_session=True,
            check=False,
        )
        memory = int(report.read() or 0)
    reached = outside.reached() if outside is not None else ()
    said = [text.decode("utf-8", "replace") for text in (done.stdout, done.stderr)]
    return Confined(tuple(program[-6:]), done.returncode, said[0], said[1], memory, reached)


def tried(record: Any, what: str, count: int) -> None:
    """Count what was tried, for the figures of the whole suite."""
    record("tried", ["Hostile repositories", what, count])
