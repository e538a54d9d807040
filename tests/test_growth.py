"""What is kept in memory for each file of a folder: counted as bytes that Python allocates."""

from __future__ import annotations

import gc
import os
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from building import Repo
from mlrepro import (
    folder,
    glance,
    index,
    landing,
    listing,
    locating,
    outputs,
    project,
    walking,
    worktree,
)
from mlrepro.commands import status, track
from mlrepro.result import Options

FEW, MANY = 800, 1800  # files
ONE_CORE = Options(jobs=1)


def _grown(work: Callable[[int], object]) -> float:
    """How many bytes more for each file were there at the most, all at once."""
    peaks = []
    for count in (FEW, FEW, MANY):  # first what is loaded once
        gc.collect()
        tracemalloc.start()
        try:
            work(count)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    return (peaks[2] - peaks[1]) / (MANY - FEW)


@pytest.fixture
def filled(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], project.Project]:
    """Fills a folder of a repository that is set up; batches of work are small, as of a million."""
    assert repo.mlrepro("-q", "init", "--hooks", "git").exit_code == 0
    monkeypatch.setattr(landing, "_BATCH_FILES", 64)
    monkeypatch.setattr("mlrepro.saving.AT_ONCE", 64)
    monkeypatch.setattr(walking, "_LOOKS", 64)
    monkeypatch.setattr(listing, "_ROWS", 64)
    monkeypatch.setattr(listing, "_CHUNK", 1 << 12)
    monkeypatch.chdir(repo.root)

    def fill(count: int) -> project.Project:
        for at in range(count):
            repo.write(f"set{count}/file{at:06}.bin", f"{count} {at}")
        time.sleep(0.05)  # so that no later write could hide behind these files' times
        return project.find(str(repo.root), os.environ)

    return fill


def test_track_of_a_folder(filled: Callable[[int], project.Project]) -> None:
    counts, done = (FEW, FEW + 1, MANY), []
    here, turns = [filled(count) for count in counts].pop(), iter(counts)

    def tracked(_: int) -> None:
        done.append(track.run(here, [f"set{next(turns)}"], ONE_CORE))

    grown = _grown(tracked)
    assert [len(one.errors) for one in done] == [0, 0, 0]
    assert done[2].stored.count >= MANY
    # Its name, five numbers, a hash, its line of the listing.
    assert grown <= 250, grown


def test_status_of_a_folder(filled: Callable[[int], project.Project]) -> None:
    folders = {}
    for count in (FEW, MANY):
        here = filled(count)
        assert not track.run(here, [f"set{count}"], ONE_CORE).errors
        every = outputs.in_worktree(here).outs
        folders[count] = [item for item in every if item.path == f"set{count}"]

    def looked(count: int) -> None:
        paths = [item.path for item in folders[count]]
        assert paths == [f"set{count}"]
        found = worktree.examine(here, paths, index.load(here.state_dir), ONE_CORE, folders[count])
        assert found[paths[0]].proven
        stored = status._Stored(here, locating.located(here, os.environ, write=False), usable=True)
        assert stored.has(folders[count][0].oid)

    # The same of it, of the record of it, and of the listing while that is checked.
    assert (grown := _grown(looked)) <= 700, grown


def test_proving_a_folder_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walking, "_LOOKS", 64)
    monkeypatch.setattr(glance, "_cores", lambda: 1)
    state = str(tmp_path / "state")
    for count in (FEW, MANY):
        (tmp_path / f"set{count}").mkdir()
        for at in range(count):
            (tmp_path / f"set{count}" / f"file{at:06}.bin").touch()
        found = walking.walk(str(tmp_path), f"set{count}")
        tree = folder.Tree(
            f"set{count}", "1" * 32 + ".dir", found, b"\1" * 16 * count, index.now_ns() + 10**10
        )
        folder.save(state, tree)

    def proven(count: int) -> None:
        oid = "1" * 32 + ".dir"
        assert glance.is_folder_same(str(tmp_path), state, f"set{count}", oid)

    # Its name twice, once of these as bytes; twice its five numbers, and a hash.
    assert (grown := _grown(proven)) <= 300, grown
