"""Which blobs a store has, by the names in its folders, and by folders that are as they were."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from blobs import make_store, put
from building import blob_path
from mlrepro import presence
from mlrepro.presence import Presence
from mlrepro.store import Store

TICK = 0.03  # seconds after which a change of a folder cannot hide in its times


@pytest.fixture(autouse=True)
def _few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "_MANY", 10)


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that are listed, by the two digits that they are named after."""
    found: list[str] = []
    as_ever = Presence._list

    def noted(self: Presence, folder: str) -> frozenset[str] | None:
        found.append(os.path.basename(folder))
        return as_ever(self, folder)

    monkeypatch.setattr(Presence, "_list", noted)
    return found


def _filled(tmp_path: Path) -> tuple[Store, dict[str, str]]:
    store = make_store(tmp_path / "s")
    known = {f"f{at}": put(store, b"%d" % at) for at in range(40)}
    time.sleep(TICK)
    return store, known


def _absent(there: Presence, known: dict[str, str], shelves: str = "") -> list[str]:
    """The names whose blobs are not there."""
    names, oids = list(known), b"".join(map(bytes.fromhex, known.values()))
    return [names[at] for at in there.absent(oids, shelves)]


def test_folders_that_are_as_they_were_are_not_listed_again(
    tmp_path: Path, listed: list[str]
) -> None:
    store, known = _filled(tmp_path)
    leads = {oid[:2] for oid in known.values()}
    first = Presence(store, 40)
    assert _absent(first, known) == [] and set(listed) == leads
    listed.clear()
    second = Presence(store, 40)
    assert _absent(second, known, first.shelves) == [] and listed == []
    assert second.shelves == first.shelves
    put(store, b"another")  # a blob that came
    assert _absent(Presence(store, 40), known, first.shelves) == [] and len(listed) <= 1


@pytest.mark.parametrize("how", ["gone", "moved away", "a folder", "a link", "its folder is gone"])
def test_a_blob_that_is_lacking_is_seen(tmp_path: Path, how: str) -> None:
    store, known = _filled(tmp_path)
    before = Presence(store, 40)
    _absent(before, known)
    path = blob_path(store.root, known["f7"])
    if how == "its folder is gone":
        path.parent.rename(tmp_path / "aside")
    elif how == "moved away":
        path.rename(path.with_name("f" * 30))
    else:
        path.unlink()
    if how == "a folder":
        path.mkdir()
    elif how == "a link":
        path.symlink_to(tmp_path)
    gone = [name for name, oid in known.items() if not blob_path(store.root, oid).is_file()]
    assert "f7" in gone
    for shelves in ("", before.shelves):
        after = Presence(store, 40)
        assert _absent(after, known, shelves) == gone
        assert known["f7"][:2] not in after.shelves.split()  # nothing is vouched for there


def test_what_changed_a_moment_ago_is_not_vouched_for(tmp_path: Path) -> None:
    """A blob that goes within a tick of the clock would leave no trace in the folder's times."""
    store = make_store(tmp_path / "s")
    known = {f"f{at}": put(store, b"%d" % at) for at in range(40)}
    ahead = time.time_ns() + 3600 * 10**9
    for folder in {blob_path(store.root, oid).parent for oid in known.values()}:
        os.utime(folder, ns=(ahead, ahead))
    there = Presence(store, 40)
    assert _absent(there, known) == [] and there.shelves == ""


def test_of_another_store_and_of_what_dvc_2_put_there(tmp_path: Path, listed: list[str]) -> None:
    store, known = _filled(tmp_path)
    before = Presence(store, 40)
    _absent(before, known)
    other = make_store(tmp_path / "other")
    assert _absent(Presence(other, 40), known, before.shelves) == list(known)
    moved = known["f3"]
    legacy = Path(store.root, moved[:2], moved[2:])
    legacy.parent.mkdir()
    blob_path(store.root, moved).rename(legacy)
    for _ in range(2):  # it is there, but not where its folder's times would tell of it
        listed.clear()
        there = Presence(Store(store.root), 40)
        assert _absent(there, known, before.shelves) == [] and listed == [moved[:2]]
        before = there


def test_a_few_are_looked_for_one_by_one(tmp_path: Path, listed: list[str]) -> None:
    store, known = _filled(tmp_path)
    there = Presence(store, 9)
    assert _absent(there, {"f1": known["f1"], "x": "1" * 32}) == ["x"]
    assert there.absent(bytes(32), some_unknown=True) == []  # none is no blob
    assert there.absent(bytes(32)) == [0, 1]
    assert listed == [] and there.shelves == ""
