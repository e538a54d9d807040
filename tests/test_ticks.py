"""A write that is made once the clock has moved on shows in the file's times."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from mlrepro import index, kernel, ticks


def _key(path: Path) -> tuple[int, int]:
    about = path.stat()
    return about.st_mtime_ns, about.st_ctime_ns


@pytest.mark.parametrize("ours", [True, False])
def test_no_later_write_hides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ours: bool) -> None:
    """Whether this kernel dates the files, or, for all we know, another machine."""
    if not ours:
        monkeypatch.setattr(ticks, "dates_by_our_clock", lambda _: False)
    file = tmp_path / "x"
    device = tmp_path.stat().st_dev
    for at in range(30):
        file.write_bytes(b"%02d" % at)
        before = _key(file)
        since = ticks.pass_by(max(before), device)
        file.write_bytes(b"--")
        now = _key(file)
        assert now[0] > before[0] and now[1] > before[1]
        if since:
            assert max(before) < since <= min(now)
        else:
            assert not ours or not kernel.dates_by_our_clock(device)


def test_what_is_long_over_is_not_waited_for(tmp_path: Path) -> None:
    device = tmp_path.stat().st_dev
    for newest in (0, time.time_ns() - 10**9):
        since = ticks.pass_by(newest, device)
        assert since > newest or not kernel.dates_by_our_clock(device)


@pytest.mark.parametrize("ours", [True, False])
def test_a_clock_that_was_set_back_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ours: bool
) -> None:
    """A time far ahead proves nothing, and would be waited for in vain."""
    monkeypatch.setattr(ticks, "dates_by_our_clock", lambda _: ours)
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("waited"))
    assert ticks.pass_by(time.time_ns() + 3600 * 10**9, tmp_path.stat().st_dev) == 0


def test_who_dates_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a mount does not say, and what a server or a program does for us, is not ours."""
    mounts = tmp_path / "mountinfo"
    lines = [
        "1 0 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw",
        "2 1 0:50 / /far rw - nfs4 host:/export rw",
        "3 1 0:51 / /fuse rw master:2 - fuse.sshfs host: rw",
    ]
    mounts.write_text("\n".join(lines) + "\n")
    plain = open
    monkeypatch.setattr(
        kernel,
        "open",
        lambda path, mode: plain(mounts if "proc" in path else path, mode),
        raising=False,
    )
    monkeypatch.setattr(kernel, "_kinds", {})
    devices = [(8, 1), (0, 50), (0, 51), (0, 99)]
    found = [kernel.dates_by_our_clock(os.makedev(*device)) for device in devices]
    assert found == [True, False, False, False]
    mounts.unlink()
    monkeypatch.setattr(kernel, "_kinds", {})
    assert not kernel.dates_by_our_clock(os.makedev(8, 1))


def test_the_index_believes_what_is_sure(tmp_path: Path) -> None:
    """What was seen after the tick, dated as late as the index wants it, is not racy."""
    file = tmp_path / "x"
    file.write_bytes(b"data")
    about = file.stat()
    newest = max(about.st_mtime_ns, about.st_ctime_ns)
    since = ticks.pass_by(time.time_ns(), about.st_dev)
    if since:
        began = time.time_ns() + index.TICK_NS
        assert newest < since
        assert not index.is_racy(about.st_mtime_ns, about.st_ctime_ns, began)
