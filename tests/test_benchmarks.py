"""What the benchmark makes of its measurements: ratios, verdicts, tables, pictures, a page."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).resolve().parent.parent
BENCHMARKS = ROOT / "benchmarks"
MIB = 1 << 20


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """The benchmark's own modules, by name; forgotten after the test."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    import curves
    import launching
    import picture
    import report

    modules = {module.__name__: module for module in (curves, launching, picture, report)}
    yield modules
    for path in BENCHMARKS.glob("*.py"):
        sys.modules.pop(path.stem, None)


@pytest.fixture
def results(bench: dict[str, ModuleType]) -> dict[str, Any]:
    cost = bench["launching"].Cost

    def runs(*seconds: float, peak: int = 10) -> list[Any]:
        return [cost(one, one / 2, peak * MIB) for one in seconds]

    costs = {
        "commit/three": {"mlrepro": runs(0.02, 0.03, 0.9, peak=9), "git-lfs": runs(0.06),
                         "floor": runs(0.005)},
        "track/large": {"mlrepro": runs(1.0, peak=70), "DVC": runs(3.0), "floor": runs(1.0)},
        "edit/folder": {"mlrepro": runs(0.3), "itself": runs(0.1)},
        "other/folder": {"DVC": runs(1.0)},
    }  # fmt: skip
    grown = {
        "files": {at: {"status": runs(at / 1e4), "pull": runs(at / 1e3)} for at in (1000, 5000)},
        "history": {at: {"commit, nothing changed": runs(0.03, peak=21)} for at in (10, 100)},
        "memory": {32 * MIB: {"status": runs(0.1)}},
    }
    about = {"quick": False, "cpu": "A", "cores": 2, "disk": "ext4", "system": "Linux",
             "python": "3.11", "git": "2.39", "dvc": "3.67", "lfs": "3.3", "load": [0.1, 0.2],
             "compiled": ["byte-compiled: 3 of 3 modules of DVC"]}  # fmt: skip
    titles = {row: f"{row} in words" for row in costs}
    rows = bench["report"].rows(costs, titles)
    return {"about": about, "rows": rows, "curves": bench["report"].points(grown)}


def test_ratios_and_verdicts(results: dict[str, Any], bench: dict[str, ModuleType]) -> None:
    commit, large, edit = results["rows"]
    assert commit["median_seconds"]["mlrepro"] == 0.03
    assert commit["ratios"]["git-lfs"] == {"value": 0.5, "at_most": 1.0, "met": True}
    assert commit["ratios"]["floor"] == {"value": 6.0, "at_most": 3.0, "met": False}
    assert commit["peak"] == {"value": 9 * MIB, "at_most": 20 * MIB, "met": True}
    assert large["ratios"]["DVC"]["met"] and large["ratios"]["floor"]["met"]
    assert large["peak"]["met"] is False
    assert edit["ratios"]["itself"]["value"] == pytest.approx(3.0)
    assert edit["ratios"]["itself"]["met"] is False
    assert [one["peak"]["met"] for one in results["curves"]["history"][
        "commit, nothing changed"]] == [False, False]  # fmt: skip
    assert bench["report"].verdict(results).startswith("10 of 15 targets met")


def test_the_tables(results: dict[str, Any], bench: dict[str, ModuleType], tmp_path: Path) -> None:
    report = bench["report"]
    text = "\n".join(report.table(results))
    assert "commit/three in words" in text and "(≤ 1 ✓)" in text
    assert "5,000" in text and "100 µs a file" in text and "other/folder" not in text
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nto be replaced\n{report.END}\nafter\n")
    for _ in range(2):
        report.write(page, results)
    written = page.read_text("utf-8")
    assert written.startswith(f"before\n{report.BEGIN}\n\n10 of 15 targets met")
    assert written.endswith(f"\n\n{report.END}\nafter\n") and "to be replaced" not in written
    tables = [line for line in written.splitlines() if line.startswith("|")]
    assert len(tables) == 3 + 2 + (2 + 2) * 2 + (1 + 2)
    page.write_text(f"{report.SHORT_BEGIN}{report.SHORT_END}")
    report.write(page, results)
    short = [line for line in page.read_text("utf-8").splitlines() if line.startswith("|")]
    assert len(short) == 2 + 2 and "6.00" in short[2]
    page.write_text("no markers\n")
    with pytest.raises(ValueError, match="no markers"):
        report.write(page, results)


def test_the_pictures(results: dict[str, Any], bench: dict[str, ModuleType]) -> None:
    picture = bench["picture"]
    for svg in (picture.ratios(results["rows"]), picture.growth(results["curves"])):
        root = ET.fromstring(svg)
        assert root.tag.endswith("svg")
    assert "commit/three in words" in picture.ratios(results["rows"])
    assert ET.fromstring(picture.growth({})).tag.endswith("svg")


def test_the_pages_have_their_places(bench: dict[str, ModuleType]) -> None:
    report = bench["report"]
    page = (ROOT / "docs" / "performance.md").read_text("utf-8")
    assert [page.count(mark) for mark in (report.BEGIN, report.END)] == [1, 1]
    readme = (ROOT / "README.md").read_text("utf-8")
    assert [readme.count(mark) for mark in (report.SHORT_BEGIN, report.SHORT_END)] == [1, 1]


@pytest.mark.slow
def test_a_run(tmp_path: Path) -> None:
    """Small, but whole: measured, drawn, written down; a part more is added to it."""
    page, out = tmp_path / "page.md", tmp_path / "out"
    marks = "<!-- measured: written by `make bench` -->\n<!-- measured: end -->\n"
    page.write_text(f"{marks}![As a picture](performance.svg)\n")
    base = [sys.executable, str(BENCHMARKS / "run.py"), "--quick", "--rounds", "1"]
    for more in (["--only", "commits", "--write", str(page)], ["--only", "history", "--add"]):
        done = subprocess.run(
            [*base, *more, "--out", str(out)],
            env={**os.environ, "TMPDIR": str(tmp_path)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((out / "bench.json").read_text("utf-8"))
    assert [row["row"] for row in found["rows"]] == ["commit/three", "edit/three"]
    assert set(found["curves"]) == {"history"} and set(found["about"]["parts"]) == {
        "commits", "history"
    }  # fmt: skip
    assert all(row["peak_bytes"]["mlrepro"] > MIB for row in found["rows"])
    assert "commit, nothing changed, 3 files" in page.read_text("utf-8")
    for name in ("out/performance.svg", "out/performance-growth.svg", "performance.svg"):
        ET.parse(tmp_path / name)
    assert not (tmp_path / "performance-growth.svg").exists()
    assert not list(tmp_path.glob("mlrepro-bench-*"))
