"""verify beside others: what they take away meanwhile, and what it may not set aside."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import past
import working
from blobs import put
from mlrepro import mending
from mlrepro.store import Store
from past import ONE, Past

BAD = "x" * len(ONE)


@pytest.fixture
def work(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Past:
    return past.copy(tmp_path / "repo", tmp_path_factory.getbasetemp())


def before_it_is_read(
    monkeypatch: pytest.MonkeyPatch, *steps: Callable[[], object]
) -> Callable[[], int]:
    """Do one of these steps each time that blobs were listed and are about to be read; returns how
    to ask how many were done.
    """
    read_all, left = mending.read_all, list(steps)

    def after_the_step(*given: Any) -> Any:
        if left:
            left.pop(0)()
        return read_all(*given)

    monkeypatch.setattr(mending, "read_all", after_the_step)
    return lambda: len(steps) - len(left)


def aside(work: Past) -> str:
    """Set a blob aside, as the repair of a teammate does before the good copy comes."""
    oid = working.oid_of(ONE)
    assert Store(str(work.store)).quarantine(oid)
    return oid


def test_a_blob_that_goes_before_it_is_read_is_missing(
    work: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_it_is_read(monkeypatch, lambda: aside(work))
    result = work.verify("one", deep=True)
    assert [(p.path, p.oid, p.reason) for p in result.problems] == [
        ("data/x.csv", working.oid_of(ONE), "missing")
    ]
    assert result.exit_code == 1


def test_a_blob_that_goes_before_it_is_read_is_mended(
    work: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_it_is_read(monkeypatch, lambda: aside(work))
    result = work.verify("one", deep=True, repair=True)
    assert (result.repaired, result.exit_code) == ((working.oid_of(ONE),), 0)
    assert work.blob(ONE).read_text() == ONE


def test_a_blob_that_comes_back_is_read_then(work: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gone when it was to be read, and bad when it was looked for anew."""
    store, present = Store(str(work.store)), mending.present
    done = before_it_is_read(monkeypatch, lambda: aside(work))

    def present_late(*given: Any) -> Any:
        if done() == 1 and not store.has(working.oid_of(ONE)):
            put(store, BAD.encode(), working.oid_of(ONE))
        return present(*given)

    monkeypatch.setattr(mending, "present", present_late)
    result = work.verify("one", deep=True)
    assert [problem.reason for problem in result.problems] == ["corrupt"]


def test_a_blob_that_comes_and_goes_is_not_called_right(
    work: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    present = mending.present

    def there_again(*given: Any) -> Any:
        return {**present(*given), working.oid_of(ONE): len(ONE)}

    before_it_is_read(monkeypatch, lambda: aside(work))
    monkeypatch.setattr(mending, "present", there_again)
    result = work.verify("one", deep=True)
    assert [problem.reason for problem in result.problems] == ["corrupt"]


def test_what_cannot_be_set_aside_is_not_mended(
    work: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    work.spoil(ONE, BAD)

    def refuse(*_: object) -> None:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(Store, "quarantine", refuse)
    result = work.verify("one", deep=True, repair=True)
    assert result.repaired == ()
    assert [problem.reason for problem in result.problems] == ["corrupt"]
    assert result.exit_code == 1
