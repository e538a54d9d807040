"""The figures in docs/reliability.md: added up over all processes, of tests that passed only."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import reliability

HERE = Path(__file__).parent

TESTS = """
import pytest

@pytest.mark.parametrize("count", [3, 40])
def test_trouble(count, record_property):
    record_property("tried", ["Kill anywhere", "track", count])
    record_property("other", "is no figure")

def test_two_kinds(record_property):
    record_property("tried", ["Kill anywhere", "pull", 1])
    record_property("tried", ["Disk trouble", "a|b", 1_000])

def test_skipped(record_property):
    record_property("tried", ["Kill anywhere", "skipped", 5])
    pytest.skip("not here")

def test_silent():
    assert PASSES
"""


def _run(folder: Path, passes: bool, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(TESTS.replace("PASSES", str(passes)))
    (folder / "conftest.py").write_text('pytest_plugins = ["reliability"]\n')
    (folder / "pytest.ini").write_text(f"[pytest]\npythonpath = {HERE}\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("processes", ["0", pytest.param("2", marks=pytest.mark.slow)])
def test_what_tests_tried_is_added_up_and_written(tmp_path: Path, processes: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{reliability.BEGIN}\nold\n{reliability.END}\n\nafter\n")
    done = _run(tmp_path, False, "--reliability", str(page), f"--numprocesses={processes}")
    assert done.returncode == 0, done.stdout  # the test that would fail has no figures
    assert "Kill anywhere         43  track\n" in done.stdout
    assert "skipped\n" not in done.stdout.partition("Tried and survived")[2]
    text = page.read_text()
    assert text.startswith(f"before\n\n{reliability.BEGIN}\n\n| | what")
    assert text.endswith(f".\n{reliability.END}\n\nafter\n")
    rows = [line for line in text.splitlines() if line.startswith("|")][2:]
    assert rows == [
        "| Disk trouble | a\\|b | 1,000 |",
        "| Kill anywhere | pull | 1 |",
        "|  | track | 43 |",
    ]
    assert "From 3 tests, with Python 3." in text


def test_the_page_has_its_marks(tmp_path: Path) -> None:
    page = HERE.parent / "docs" / "reliability.md"
    copy = tmp_path / "page.md"
    copy.write_text(page.read_text(encoding="utf-8"), encoding="utf-8")
    reliability.write(copy, {("a", "b"): 1}, 1)
    assert "| a | b | 1 |" in copy.read_text(encoding="utf-8")
    copy.write_text("no marks")
    with pytest.raises(ValueError, match="no marks"):
        reliability.write(copy, {}, 1)
