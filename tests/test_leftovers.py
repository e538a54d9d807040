"""What is old among the files on their way to a network store."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from mlrepro.dvc import begun, leftovers

NOW = 1_800_000_000.0
WEEK = begun.KEPT_S


def entry(name: str, written: float | datetime | None, **given: Any) -> dict[str, Any]:
    return {"name": f"bucket/.mlrepro/tmp/{name}", "type": "file", "mtime": written, **given}


def old(*entries: dict[str, Any]) -> list[str]:
    return leftovers.old(entries, entry("blob", NOW))


def named(monkeypatch: pytest.MonkeyPatch, when: float) -> str:
    monkeypatch.setattr(time, "time", lambda: when)
    return leftovers.new_name()


def test_by_the_stores_own_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    name = named(monkeypatch, NOW + 5 * WEEK)  # a clock here that is wrong
    assert old(entry(name, NOW - WEEK + 1)) == []
    assert old(entry(name, NOW - WEEK - 1)) == [name]
    assert old(entry(name, datetime.fromtimestamp(NOW - WEEK - 1, UTC))) == [name]
    assert old(entry("0123456789abcdef", NOW - WEEK - 1)) == ["0123456789abcdef"]


@pytest.mark.parametrize("written", [None, 0.0, datetime.fromtimestamp(0, UTC)])
def test_by_the_name_where_the_store_tells_no_time(
    monkeypatch: pytest.MonkeyPatch, written: float | datetime | None
) -> None:
    """As SeaweedFS of a file whose upload was broken off."""
    before, after = (named(monkeypatch, NOW - WEEK + seconds) for seconds in (-1, 1))
    assert old(entry(before, written), entry(after, written)) == [before]
    assert old(entry("0123456789abcdef", written)) == []  # nothing tells its age


def test_what_is_not_ours_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    name = named(monkeypatch, 1.0)
    others = ["notes.txt", name + "0", name[:-1], "store"]
    assert old(*[entry(other, 1.0) for other in others], entry(name, 1.0, type="directory")) == []


def test_no_two_have_one_name() -> None:
    names = {leftovers.new_name() for _ in range(1000)}
    assert len(names) == 1000
