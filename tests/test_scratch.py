"""Folders for what a run writes for itself: whoever is killed, the next one clears it away."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mlrepro import scratch

KILLED = """
import os, signal, sys
from mlrepro import scratch
with scratch.room(sys.argv[1], sys.argv[2]) as own:
    os.makedirs(own.folder + "/deep/er")
    open(own.folder + "/deep/er/file", "w").close()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's own folder for temporary files."""
    place = tmp_path / "tmp"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    return place


@pytest.mark.parametrize("where", ["a folder of our own", "where the system has it"])
def test_what_a_kill_leaves_is_cleared_away(tmp: Path, tmp_path: Path, where: str) -> None:
    base = str(tmp_path / "base") if where.startswith("a folder") else ""
    done = subprocess.run([sys.executable, "-c", KILLED, base, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    place = tmp_path / "base" if base else tmp / f"mlrepro-{os.geteuid()}"
    assert len(list(place.rglob("file"))) == 1
    with scratch.room(base, str(tmp_path)) as own:
        assert own.folder.startswith(str(place))
        assert len(list(place.iterdir())) == 2  # this one and its lock
    assert list(place.iterdir()) == []
    assert bool(list(tmp.iterdir())) == (not base)


def test_nothing_can_be_made_where_it_should_be(tmp: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with scratch.room(str(tmp_path / "file" / "base"), str(tmp_path)) as own:
        assert own.folder.startswith(str(tmp))
        assert stat.S_IMODE(os.stat(tmp / f"mlrepro-{os.geteuid()}").st_mode) == 0o700


@pytest.mark.parametrize("trap", ["link", "open to all"])
def test_a_folder_that_another_user_may_have_made_is_not_used(
    tmp: Path, tmp_path: Path, trap: str
) -> None:
    place = tmp / f"mlrepro-{os.geteuid()}"
    if trap == "link":
        (tmp_path / "else").mkdir()
        place.symlink_to(tmp_path / "else")
    else:
        place.mkdir()
        place.chmod(0o777)
    with scratch.room("", "") as own:
        assert not own.folder.startswith(f"{place}/")
    assert not (tmp_path / "else").exists() or not list((tmp_path / "else").iterdir())
