"""What is noted of a network store: found again, never invented, and forgotten when damaged."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from mlrepro import receipts
from mlrepro.receipts import Receipts

OIDS = st.builds(
    lambda number, folder: f"{number:032x}" + (".dir" if folder else ""),
    st.integers(0, 2**128 - 1) | st.integers(0, 300),
    st.booleans(),
)
PLACE = "http://127.0.0.1:1 s3://bucket/prefix"


def file_of(folder: Path) -> Path:
    (found,) = (one for one in (folder / "mlrepro" / "receipts").iterdir() if not one.suffix)
    return found


@given(steps=st.lists(st.tuples(st.booleans(), st.sets(OIDS, max_size=20)), max_size=8))
def test_it_is_a_set(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[bool, set[str]]]
) -> None:
    folder = str(tmp_path_factory.mktemp("git"))
    kept, expected = Receipts(folder, PLACE), set[str]()
    for is_new, oids in steps:
        if is_new:
            kept.add(oids)
            expected |= oids
        else:
            kept.retract(oids)
            expected -= oids
        again = Receipts(folder, PLACE)
        everything = {oid for _, some in steps for oid in some}
        assert kept.known(everything) == again.known(everything) == expected
        assert len(kept) == len(again) == len(expected)


def test_another_place_knows_nothing(tmp_path: Path) -> None:
    Receipts(str(tmp_path), PLACE).add(["1" * 32])
    other = Receipts(str(tmp_path), PLACE + "2")
    assert "1" * 32 not in other
    file_of(tmp_path).rename(other._file)  # a file that is not what its name says
    assert "1" * 32 not in Receipts(str(tmp_path), PLACE + "2")


@pytest.mark.parametrize("at", [3, -1, -20, -40])
def test_what_is_damaged_is_not_believed(tmp_path: Path, at: int) -> None:
    kept = Receipts(str(tmp_path), PLACE)
    kept.add(["1" * 32])
    kept.add(["2" * 32])
    data = bytearray(file_of(tmp_path).read_bytes())
    data[at] ^= 1
    file_of(tmp_path).write_bytes(data)
    again = Receipts(str(tmp_path), PLACE)
    assert len(again) < 2
    again.add(["3" * 32])
    last = Receipts(str(tmp_path), PLACE)
    assert "3" * 32 in last and len(last) == len(again)


def test_any_end_may_be_missing(tmp_path: Path) -> None:
    oids = [f"{number:032x}" for number in range(6)]
    Receipts(str(tmp_path), PLACE).add(oids[:3])
    Receipts(str(tmp_path), PLACE).add(oids[3:5])
    whole = file_of(tmp_path).read_bytes()
    for length in range(len(whole)):
        file_of(tmp_path).write_bytes(whole[:length])
        torn = Receipts(str(tmp_path), PLACE)
        assert torn.known(oids) in (set(), set(oids[:3])), length
        torn.add(oids[5:])
        assert oids[5] in Receipts(str(tmp_path), PLACE)


def test_many_at_once_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts, "_FEW", 50)  # so that it is put in order now and then

    def note(lead: int) -> None:
        for number in range(40):
            Receipts(str(tmp_path), PLACE).add([f"{lead:02x}{number:030x}"])

    threads = [threading.Thread(target=note, args=(lead,)) for lead in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Receipts(str(tmp_path), PLACE)) == 240
    assert os.stat(file_of(tmp_path)).st_size < 240 * 17 + 240 * 8
