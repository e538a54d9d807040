"""Bytes that were bred to reach as much code as they can: no reader of ours fails over them."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FUZZING = Path(__file__).with_name("fuzzing.py")
RUNS, SECONDS = 200_000, 15
# By way of a shell that forks: Linux tells a process that its parent started directly the peak of
# the parent's memory as its own, and a worker that had many tests has far more than the limit.
FORKED = ("sh", "-c", '"$@"; exit $?', "sh")


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None,
    reason="atheris is not installed: it has wheels for Linux on x86-64 alone",
)
@pytest.mark.parametrize("reader", ["pointer", "listing", "settings", "code"])
def test_nothing_but_our_own_errors_comes_out(
    reader: str, tmp_path: Path, record_property: Any
) -> None:
    done = subprocess.run(
        [*FORKED, sys.executable, str(FUZZING), reader, str(RUNS), str(SECONDS)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    counted = re.findall(r"Done (\d+) (?:runs|in)|#(\d+)\s+DONE", done.stderr)
    count = max((int(number) for pair in counted for number in pair if number), default=0)
    assert count > 0, done.stderr[-2000:]
    what = f"inputs bred for the {reader} reader"
    record_property("tried", ["Hostile repositories", what, count])
