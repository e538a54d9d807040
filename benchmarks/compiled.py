"""Byte-compiles what the measured programs load, so that nobody is measured compiling."""

from __future__ import annotations

import compileall
import importlib.util
import os
import re
import sysconfig
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src"
# What no command loads, and some of it is wrong on purpose.
LEFT_OUT = re.compile(r"/(tests?|idlelib|lib2to3|turtledemo|site-packages)/")


def check() -> list[str]:
    """Compile mlrepro, what is installed beside it (DVC), and Python's library: a line for each."""
    places = sysconfig.get_paths()
    trees = [
        ("mlrepro", SOURCE, None),
        ("DVC and all packages", Path(places["purelib"]), re.compile(r"/tests?/")),
        ("Python's library", Path(places["stdlib"]), LEFT_OUT),
    ]
    lines = []
    for name, tree, left_out in trees:
        have, all_ = _counted(tree, left_out)
        if have < all_ and os.access(tree, os.W_OK):
            compileall.compile_dir(tree, quiet=2, rx=left_out, workers=os.cpu_count() or 1)
            have, all_ = _counted(tree, left_out)
        lines.append(f"byte-compiled: {have} of {all_} modules of {name}")
    return lines


def _counted(tree: Path, left_out: re.Pattern[str] | None) -> tuple[int, int]:
    """How many modules have bytecode that is not older than they are, and how many there are."""
    have = all_ = 0
    for path in tree.rglob("*.py"):
        if left_out is not None and left_out.search(str(path)):
            continue
        all_ += 1
        try:
            cached = Path(importlib.util.cache_from_source(str(path)))
            with cached.open("rb") as file:
                header = file.read(16)[8:]
            found = path.stat()
        except OSError:
            continue
        have += int.from_bytes(header[:4], "little") == int(found.st_mtime) & 0xFFFFFFFF
    return have, all_
