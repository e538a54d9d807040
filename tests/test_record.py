"""The record of what was hashed when: kept whole, shared by two commands, and never a guess."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given, strategies as st

from mlrepro import index

# Anything that a file system takes for a name: bytes without NUL, valid UTF-8 or not.
paths = st.binary(min_size=1, max_size=30).map(lambda raw: os.fsdecode(raw.replace(b"\0", b"x")))
oids = st.sampled_from(["", "0" * 32, "a" * 32, "b" * 32 + ".dir"])
counts = st.integers(0, 2**63)
FIELDS = index.Entry.__slots__


@st.composite
def records(draw: Any) -> index.Record:
    record = index.Record()
    record.store_id = draw(st.sampled_from(["", "f" * 32]))
    record.cleared = draw(st.lists(st.sampled_from(["1" * 40, "2" * 40, "3" * 40]), unique=True))
    for path in draw(st.lists(paths, max_size=5, unique=True)):
        entry = record.entry(path, path + ".dvc")
        entry.oid, entry.synced, entry.named = draw(oids), draw(oids), draw(oids)
        entry.pending = " ".join(draw(st.lists(oids.filter(bool), max_size=2)))
        entry.size, entry.began_ns = draw(counts), draw(counts)
        entry.stat = draw(st.sampled_from(["", "5 6 7 8 9"]))
        entry.stored = draw(st.booleans())
        entry.seen = entry.base = "c" * 40
    return record


def told(record: index.Record) -> object:
    entries = {
        path: {name: getattr(entry, name) for name in FIELDS}
        for path, entry in record.entries.items()
    }
    return record.store_id, record.cleared, entries


@given(record=records())
def test_what_is_written_is_read(record: index.Record) -> None:
    assert told(index.parse(index.render(record))) == told(record)


@given(record=records(), data=st.data())
def test_damage_makes_an_empty_record(record: index.Record, data: st.DataObject) -> None:
    whole = index.render(record)
    at = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytearray(whole)
    flipped[at] ^= data.draw(st.integers(1, 255))
    for bad in (bytes(flipped), whole[:at], whole + b"x", whole + b"\0"):
        assert told(index.parse(bad)) == ("", [], {})


def test_another_version_is_an_empty_record(tmp_path: Path) -> None:
    record = index.Record()
    record.entry("x", "x.dvc")
    whole = index.render(record)
    for bad in (whole.replace(b"index 1", b"index 2"), b"", b"mlrepro index 1\n", os.urandom(99)):
        (tmp_path / "index").write_bytes(bad)
        assert told(index.load(str(tmp_path))) == ("", [], {})


def test_fields_that_do_not_fit_make_an_empty_record() -> None:
    for body in (b"", b"id\0\0a\0", b"id\0\0" + b"\0".join([b"x"] * 12) + b"\0"):
        data = index.MAGIC + b"%08x\n" % crc32(body) + body
        assert told(index.parse(data)) == ("", [], {})


def test_no_record_is_an_empty_one(tmp_path: Path) -> None:
    assert told(index.load(str(tmp_path / "nowhere"))) == ("", [], {})


SAVER = """
import sys
from mlrepro import index
place, mine = sys.argv[1:]
for at in range(40):
    entry = index.Entry(f"{mine}{at}", f"{mine}{at}.dvc")
    index.save(place, [entry], [f"gone{mine}{at}"], cleared=[f"{mine}{at}"])
"""


def test_two_that_save_at_once_lose_nothing(tmp_path: Path) -> None:
    gone = [index.Entry(f"gone{who}{at}", "p") for who in "ab" for at in range(40)]
    index.save(str(tmp_path), gone)
    running = [subprocess.Popen([sys.executable, "-c", SAVER, str(tmp_path), who]) for who in "ab"]
    assert [one.wait() for one in running] == [0, 0]
    record = index.load(str(tmp_path))
    both = {f"{who}{at}" for who in "ab" for at in range(40)}
    assert set(record.entries) == both
    assert set(record.cleared) == both


def test_another_store_has_none_of_it(tmp_path: Path) -> None:
    first, second = index.Entry("a", "a.dvc"), index.Entry("b", "b.dvc")
    first.stored = second.stored = True
    index.save(str(tmp_path), [first], store_id="one")
    index.save(str(tmp_path), [second], store_id="two")
    record = index.load(str(tmp_path))
    assert {path: entry.stored for path, entry in record.entries.items()} == {"a": False, "b": True}
    assert record.store_id == "two"


def test_only_the_newest_cleared_objects_are_kept(tmp_path: Path) -> None:
    index.save(str(tmp_path), [], cleared=["old"])
    index.save(str(tmp_path), [], cleared=[str(at) for at in range(index.MOST_CLEARED)])
    cleared = index.load(str(tmp_path)).cleared
    assert len(cleared) == index.MOST_CLEARED
    assert "old" not in cleared


def stat_of(path: Path, **other: int) -> os.stat_result:
    """The stat of a file, some of its values others."""
    now = path.stat()
    names = ("st_mode", "st_ino", "st_dev", "st_nlink", "st_uid", "st_gid", "st_size")
    values = [getattr(now, name) for name in names] + [0, 0, 0]
    extra = {name: getattr(now, name) for name in ("st_mtime_ns", "st_ctime_ns")}
    for name, value in other.items():
        if name in extra:
            extra[name] = value
        else:
            values[names.index(name)] = value
    return os.stat_result(values, extra)


LATER = 10**10  # ns


def hashed(path: Path, began_ns: int = 0) -> index.Entry:
    entry = index.Entry("x", "x.dvc")
    now = path.stat()
    entry.hashed("a" * 32, now.st_size, now, began_ns or now.st_ctime_ns + LATER)
    return entry


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    os.utime(path, ns=(1_500_000_000_123_456_789, 1_500_000_000_123_456_789))
    return path


@pytest.mark.parametrize("name", ["st_size", "st_mtime_ns", "st_ctime_ns", "st_ino", "st_dev"])
def test_unchanged_needs_all_five_to_be_equal(file: Path, name: str) -> None:
    entry = hashed(file)
    assert entry.is_unchanged(file.stat())
    assert entry.is_unchanged(stat_of(file))
    assert not entry.is_unchanged(stat_of(file, **{name: getattr(file.stat(), name) - 1}))


def test_an_edit_of_the_same_size_with_its_time_put_back_is_seen(file: Path) -> None:
    entry = hashed(file, began_ns=file.stat().st_ctime_ns + LATER)
    before = file.stat()
    while True:
        file.write_bytes(b"54321")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        if file.stat().st_ctime_ns != before.st_ctime_ns:
            break  # else within one tick of the clock, where `began_ns` would be too
    now = file.stat()
    assert (now.st_size, now.st_mtime_ns, now.st_ino) == (
        before.st_size, before.st_mtime_ns, before.st_ino,
    )  # fmt: skip
    assert not entry.is_unchanged(now)


def test_a_file_written_as_hashing_began_is_not_believed(file: Path) -> None:
    ctime = file.stat().st_ctime_ns
    for later, believed in ((-LATER, False), (0, False), (index.TICK_NS, False), (LATER, True)):
        assert hashed(file, began_ns=ctime + later).is_unchanged(file.stat()) is believed


@pytest.mark.parametrize(("mtime", "ctime"), [(7, 5), (5, 7), (7, 7)])
def test_whole_seconds_are_a_coarse_clock(mtime: int, ctime: int) -> None:
    second = 10**9
    newest = 7 * second
    assert index.is_racy(mtime * second, ctime * second, newest + index.COARSE_NS)
    assert not index.is_racy(mtime * second, ctime * second, newest + index.COARSE_NS + 1)
    assert not index.is_racy(mtime * second + 1, ctime * second + 1, newest + index.TICK_NS + 2)


def test_what_was_hashed_as_other_content_is_not_stored(file: Path) -> None:
    entry = hashed(file)
    entry.stored = True
    entry.hashed("a" * 32, 5, file.stat(), 1)
    assert entry.stored
    entry.hashed("b" * 32, 5, file.stat(), 1)
    assert not entry.stored
    entry.hashed("c" * 32 + ".dir", 5, None, 1)
    assert entry.stat == ""
    assert not entry.is_unchanged(file.stat())
