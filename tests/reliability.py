"""Adds up what the tests tried and survived, prints it, and writes it into the documentation.

A test says what it tried with ``record_property("tried", [topic, what, count])``: two texts and
how often. What counts is that the test passed. ``--reliability FILE`` runs the tests that say so,
and no others, and writes the table between the two marks in FILE.
"""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

BEGIN = "<!-- figures: written by `make reliability` -->"
END = "<!-- figures: end -->"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--reliability",
        metavar="FILE",
        default=None,
        help="run only the tests that say what they tried, and write the sums into FILE",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Tally(config), "mlrepro-tally")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("reliability") is None:
        return
    others = [item for item in items if not _reports(item)]
    items[:] = [item for item in items if _reports(item)]
    config.hook.pytest_deselected(items=others)


def _reports(item: pytest.Item) -> bool:
    return "record_property" in getattr(item, "fixturenames", ())


class Tally:
    """The sums of one run; with several processes the one that leads them has all reports."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.passed: set[str] = set()
        self.counts: Counter[tuple[str, str]] = Counter()
        self.tests = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            self.passed.add(report.nodeid)
        if report.when != "teardown" or not report.passed or report.nodeid not in self.passed:
            return
        # The report of the last phase has what was said in all of them.
        said = [value for name, value in report.user_properties if name == "tried"]
        for value in said:
            assert isinstance(value, (list, tuple)), value
            topic, what, count = value
            self.counts[str(topic), str(what)] += int(count)
        self.tests += bool(said)

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter, exitstatus: int
    ) -> None:
        if not self.counts:
            return
        terminalreporter.section("Tried and survived")
        topics = max(len(topic) for topic, _ in self.counts)
        for (topic, what), count in sorted(self.counts.items()):
            terminalreporter.line(f"{topic:<{topics}}  {count:>9,}  {what}")
        path = self.config.getoption("reliability")
        if path is None:
            return
        if exitstatus:
            terminalreporter.line(f"{path} is left as it was: not every test passed.")
        else:
            write(Path(path), self.counts, self.tests)


def write(path: Path, counts: Mapping[tuple[str, str], int], tests: int) -> None:
    """Put the table between the marks of a file that has them; ValueError where it has not."""
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{path} has no marks {BEGIN} … {END}")
    rows = "\n".join(["", "", *table(counts), "", f"{origin(tests)}", ""])
    path.write_text(before + begin + rows + end + after, encoding="utf-8")


def table(counts: Mapping[tuple[str, str], int]) -> list[str]:
    """The sums as a Markdown table, each topic named once."""
    lines = ["| | what was tried | times |", "|---|---|---:|"]
    last = ""
    for (topic, what), count in sorted(counts.items()):
        named = "" if topic == last else topic
        lines.append(f"| {_cell(named)} | {_cell(what)} | {count:,} |")
        last = topic
    return lines


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def origin(tests: int) -> str:
    """What the figures were taken with."""
    git = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout
    version = git.split()[2]
    dvc = importlib.metadata.version("dvc")
    return (
        f"From {tests:,} tests, with Python {platform.python_version()}, git {version}, DVC {dvc} "
        f"on {platform.system()}."
    )
