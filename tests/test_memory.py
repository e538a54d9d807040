"""How much memory each command has at most, whatever the data: as the kernel counts it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from building import Repo

ROOT = Path(__file__).resolve().parent.parent
MIB = 1 << 20
# The largest process of a command; and of a commit in which no data changed, git's included.
MOST, QUIET = 64 * MIB, 20 * MIB


class Measured:
    """A repository whose commands tell how much the largest of their processes had."""

    def __init__(self, repo: Repo, launcher: object) -> None:
        self.repo = repo
        self.launcher = launcher
        self.peaks: dict[str, int] = {}

    def run(self, what: str, *argv: str, where: Path | None = None) -> None:
        cost = self.launcher.run(where or self.repo.root, argv)  # type: ignore[attr-defined]
        self.peaks[what] = cost.peak

    def mlrepro(self, *args: str, where: Path | None = None) -> None:
        self.run(args[0], sys.executable, "-m", "mlrepro", "-q", *args, where=where)

    def commit(self, what: str) -> None:
        self.repo.write("README", f"{what}\n")
        self.repo.git("add", "README")
        self.run(what, "git", "commit", "--quiet", "--message", what)

    def life(self, paths: list[str], edited: str) -> dict[str, int]:
        """Track, commit, look at, bring back and edit what is there: the peak of each, in bytes."""
        repo = self.repo
        self.mlrepro("track", *paths)
        self.commit("commit of what is new")
        self.commit("commit, nothing changed")
        self.mlrepro("status")
        clone = repo.clone(repo.root.parent / "clone")
        self.mlrepro("pull", where=clone.root)
        with repo.path(edited).open("r+b") as file:
            file.write(os.urandom(16))
        self.commit("commit, one file edited")
        return self.peaks


@pytest.fixture
def measured(repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Measured]:
    """An empty repository that is set up."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import launching

    done = repo.mlrepro("-q", "init", "--hooks", "git")
    assert done.exit_code == 0, done.stderr
    repo.commit("set up", "--no-verify")
    launcher = launching.Launcher(dict(os.environ), tmp_path / "said")
    yield Measured(repo, launcher)
    launcher.close()


def _judge(peaks: dict[str, int]) -> None:
    told = {what: f"{peak / MIB:.1f} MiB" for what, peak in peaks.items()}
    assert peaks["commit, nothing changed"] <= QUIET, told
    assert max(peaks.values()) <= MOST, told


def test_what_is_measured_is_the_command_alone(measured: Measured) -> None:
    """Not this process, from which the launcher comes; and of all that it starts, the largest."""
    held = bytearray(os.urandom(1 << 20) * 100)
    measured.run("little", "true")
    measured.run("much", "sh", "-c", f"{sys.executable} -I -S -c 'print(len(bytes(5 << 20) * 10))'")
    assert held
    assert measured.peaks["little"] < 20 * MIB
    assert 50 * MIB < measured.peaks["much"] < 100 * MIB


@pytest.mark.parametrize(
    "count", [300, *(pytest.param(count, marks=pytest.mark.slow) for count in (1000, 20_000))]
)
def test_files_of_a_folder(measured: Measured, count: int) -> None:
    for at in range(count):
        measured.repo.write(f"data/set/file{at:06}", f"{at}")
    _judge(measured.life(["data/set"], "data/set/file000007"))


@pytest.mark.slow
def test_files_with_a_pointer_each(measured: Measured) -> None:
    names = [f"data/file{at:06}" for at in range(500)]
    for name in names:
        measured.repo.write(name, name)
    _judge(measured.life(names, names[7]))


@pytest.mark.slow
def test_a_file_may_be_as_large_as_it_likes(measured: Measured) -> None:
    found = []
    for size in (32 * MIB, 1024 * MIB):
        name = f"data/{size}"
        measured.repo.write(name, os.urandom(MIB))
        os.truncate(measured.repo.path(name), size)
        measured.mlrepro("track", name)
        measured.commit("commit of what is new")
        with measured.repo.path(name).open("r+b") as file:
            file.write(b"edited")
        measured.commit("commit, edited")
        measured.commit("commit, nothing changed")
        measured.mlrepro("status")
        clone = measured.repo.clone(measured.repo.root.parent / f"clone{size}")
        measured.mlrepro("pull", name, where=clone.root)
        _judge(measured.peaks)
        found.append(dict(measured.peaks))
    for what, peak in found[0].items():
        assert found[1][what] <= peak + 6 * MIB, what
