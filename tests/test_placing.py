"""Where a file is put: nothing is replaced that is not expected, nothing outside is reached."""

from __future__ import annotations

import errno
import os
import stat
import time
from pathlib import Path

import pytest

from blobs import Place, put
from mlrepro import durable, placing, restoring, settling, streaming
from mlrepro.errors import MlreproError
from mlrepro.restoring import Restore, remove_files

LARGE = streaming.SMALL + 1


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture(params=["swap", "two steps", "two steps without links"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How a file is replaced: at once, or where the file system cannot do that."""

    def no_link(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    if request.param != "swap":
        monkeypatch.setattr(placing, "rename_exchange", lambda *_, **__: False)
    if request.param.endswith("links"):
        monkeypatch.setattr(os, "link", no_link)
        monkeypatch.setattr(durable, "rename_noreplace", lambda *_, **__: False)
    return str(request.param)


@pytest.mark.parametrize("size", [0, 1, streaming.SMALL, LARGE, 3 << 20])
def test_new_files(place: Place, size: int, way: str) -> None:
    data = os.urandom(size)
    before = time.time_ns()
    report = place.restore(place.item(data, "a/b/x"))
    [restored] = report.restored
    now = os.stat(place.root / "a/b/x")
    assert place.read("a/b/x") == data and restored.dest == str(place.root / "a/b/x")
    assert restored.stat.st_ctime_ns == now.st_ctime_ns and now.st_nlink == 1
    assert restored.began_ns - now.st_ctime_ns > 20_000_000 and restored.began_ns > before
    assert place.is_tidy() and not report.kept and not report.missing and not report.failed


@pytest.mark.parametrize("size", [3, LARGE])
@pytest.mark.parametrize("as_record", [False, True])
def test_replacing_what_is_expected(place: Place, way: str, size: int, as_record: bool) -> None:
    was = place.file(b"old")
    os.chmod(place.root / "x", 0o600)
    was = os.stat(place.root / "x")
    key = (was.st_size, was.st_mtime_ns, was.st_ctime_ns, was.st_ino, was.st_dev)
    data = os.urandom(size)
    report = place.restore(place.item(data, expect=key if as_record else was))
    assert len(report.restored) == 1 and place.read() == data
    assert stat.S_IMODE(os.stat(place.root / "x").st_mode) == 0o600
    assert place.is_tidy() and not (place.root / ".dvc/staging/kept").exists()


def test_what_is_not_expected_is_kept(place: Place, way: str) -> None:
    was = place.file(b"expected")
    os.utime(place.file(b"other", "touched") and place.root / "touched")
    touched = place.file(b"mine", "touched")
    (place.root / "touched").write_bytes(b"edit")
    place.file(b"new", "unexpected")
    (place.root / "folder").mkdir()
    (place.root / "link").symlink_to("x")
    report = place.restore(
        place.item(b"1", "touched", expect=touched),
        place.item(b"2", "unexpected"),
        place.item(b"3", "folder"),
        place.item(b"4", "link"),
        place.item(b"5", "gone", expect=was),
        place.item(b"6", "link", expect=was),
    )
    assert len(report.kept) == 6 and report.restored == []
    assert (place.read("touched"), place.read("unexpected")) == (b"edit", b"new")
    assert os.readlink(place.root / "link") == "x" and place.read() == b"expected"
    assert not (place.root / "gone").exists() and place.is_tidy()


@pytest.mark.parametrize("slip", ["write", "replace", "append", "remove", "same size"])
def test_a_write_that_slips_in_is_kept(
    place: Place, monkeypatch: pytest.MonkeyPatch, way: str, slip: str
) -> None:
    """Between the last look at the file and the swap."""
    was = place.file(b"expected")
    path = place.root / "x"
    plain = os.rename

    def rename(old: str, new: str, **folders: int) -> None:
        if os.path.basename(new).startswith("old-") and not slipped:
            slipped.append(slip)
            if slip == "replace":
                (place.root / "next").write_bytes(b"precious")
                os.replace(place.root / "next", path)
            elif slip == "append":
                with open(path, "ab") as file:
                    file.write(b"precious")
            elif slip == "remove":
                path.unlink()
            else:
                path.write_bytes(b"precious" if slip == "same size" else b"precious longer")
        plain(old, new, **folders)

    slipped: list[str] = []
    monkeypatch.setattr(os, "rename", rename)
    report = place.restore(place.item(b"from the store", expect=was))
    assert slipped and report.kept == [str(path)] and report.restored == []
    if slip == "remove":
        assert not path.exists()
    else:
        assert b"precious" in path.read_bytes()
    assert place.is_tidy() and not (place.root / ".dvc/staging/kept").exists()


def test_a_new_file_that_slips_in_is_kept(
    place: Place, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    plain = settling.place_new

    def place_new(temp: str, folder: int, name: str) -> bool:
        place.file(b"precious")
        return plain(temp, folder, name)

    monkeypatch.setattr(settling, "place_new", place_new)
    assert place.restore(place.item(b"data")).kept == [str(place.root / "x")]
    assert place.read() == b"precious" and place.is_tidy()


def test_nothing_is_lost_when_even_the_way_back_is_taken(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    was, path = place.file(b"expected"), place.root / "x"
    monkeypatch.setattr(placing, "rename_exchange", lambda *_, **__: False)
    plain = os.rename

    def rename(old: str, new: str, **folders: int) -> None:
        plain(old, new, **folders)
        if old == "x":
            Path(new).write_bytes(b"precious one")
            path.write_bytes(b"precious two")

    monkeypatch.setattr(os, "rename", rename)
    report = place.restore(place.item(b"data", expect=was))
    assert report.kept == [str(path)] and path.read_bytes() == b"precious two"
    assert [Path(name).read_bytes() for name in report.recovered] == [b"precious one"]


def test_a_file_open_for_writing_is_kept(place: Place) -> None:
    """A program that has it open would write its next rows into a file that is gone."""
    was = place.file(b"rows\n")
    with open(place.root / "x", "ab") as file:
        report = place.restore(place.item(b"data", expect=was))
        assert report.kept == [str(place.root / "x")]
        file.write(b"more\n")
    assert place.read() == b"rows\nmore\n"


def test_executables(place: Place) -> None:
    was = place.file(b"old", "kept")
    os.chmod(place.root / "kept", 0o640)
    was = os.stat(place.root / "kept")
    before = os.umask(0o027)
    try:
        place.restore(
            place.item(b"1", "run", isexec=True),
            place.item(b"2", "kept", isexec=True, expect=was),
            place.item(b"3", "plain"),
        )
    finally:
        os.umask(before)
    modes = {
        name: stat.S_IMODE(os.stat(place.root / name).st_mode) for name in os.listdir(place.root)
    }
    assert (modes["run"], modes["kept"], modes["plain"]) == (0o750, 0o750, 0o640)


@pytest.mark.parametrize(
    ("dest", "code"),
    [
        ("link/x", "path-symlink"), ("deep/link/y/x", "path-symlink"),
        ("file/x", "path-not-a-folder"), ("../x", "path-outside"), ("./x", "path-outside"),
        ("a/../../x", "path-outside"), ("a//x", "path-outside"),
    ],
)  # fmt: skip
def test_nothing_outside_is_reached(tmp_path: Path, place: Place, dest: str, code: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (place.root / "deep").mkdir()
    (place.root / "link").symlink_to(outside)
    (place.root / "deep/link").symlink_to("../../outside")
    place.file(b"file", "file")
    oid = put(place.store, b"bad")
    names = sorted(os.listdir(tmp_path))
    report = place.restore(Restore(oid, f"{place.root}/{dest}", 3), place.item(b"good", "good"))
    assert [error.code for _, error in report.failed] == [code]
    assert list(outside.iterdir()) == [] and sorted(os.listdir(tmp_path)) == names
    assert place.read("good") == b"good" and place.read("file") == b"file" and place.is_tidy()


def test_the_root_itself_may_be_a_symlink(tmp_path: Path, place: Place) -> None:
    (tmp_path / "alias").symlink_to("work")
    item = Restore(put(place.store, b"data"), str(tmp_path / "alias/a/x"), 4)
    assert len(place.restore(item, root=tmp_path / "alias").restored) == 1
    assert place.read("a/x") == b"data"


def test_another_disk_below_the_root(
    place: Place, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Staged beside the file, since no rename reaches it from staging."""
    if way == "swap":  # known beforehand by the device, else found out by the rename
        monkeypatch.setattr(restoring._Restorer, "_device_of", lambda *_: -1)
    else:
        plain = settling.place_new

        def place_new(temp: str, folder: int, name: str) -> bool:
            if temp.startswith(place.staging):
                raise OSError(errno.EXDEV, "another device")
            return plain(temp, folder, name)

        monkeypatch.setattr(settling, "place_new", place_new)
    was = place.file(b"old", "d/old")
    report = place.restore(
        place.item(b"1", "d/e/new"), place.item(b"2", "d/old", expect=was),
        place.item(os.urandom(LARGE), "large"),
    )  # fmt: skip
    assert len(report.restored) == 3 and (place.read("d/e/new"), place.read("d/old")) == (
        b"1",
        b"2",
    )
    assert place.is_tidy()


def remove(place: Place, path: str, expect: os.stat_result | None) -> bool:
    """One file taken away; says whether it is gone."""
    done = remove_files([(path, expect)], place.staging, str(place.root))
    if done.failed:
        raise done.failed[0][1]
    return done.gone == [path]


def test_removing(place: Place, way: str) -> None:
    path = str(place.root / "d/x")
    was = place.file(b"old", "d/x")
    assert not remove(place, path, None)
    (place.root / "d/x").write_bytes(b"new!")
    assert not remove(place, path, was) and place.read("d/x") == b"new!"
    assert remove(place, path, os.stat(path)) and not os.path.exists(path)
    assert remove(place, path, was) and remove(place, path, None)
    assert place.is_tidy()


def test_many_removals_are_flushed_once_for_each_folder(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"d{at % 2}/{at}" for at in range(40)]
    wanted = [(str(place.root / name), place.file(b"old", name)) for name in names]
    wanted[7] = (wanted[7][0], wanted[8][1])
    flushed: list[str] = []
    monkeypatch.setattr(placing, "sync_dirs", flushed.extend)
    done = remove_files(wanted, place.staging, str(place.root))
    assert (len(done.gone), done.kept, done.failed) == (39, [wanted[7][0]], [])
    assert sorted(flushed) == [str(place.root / "d0"), str(place.root / "d1")]
    assert place.is_tidy()


def test_removing_follows_no_link(tmp_path: Path, place: Place) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/x").write_bytes(b"safe")
    (place.root / "d").symlink_to("../outside")
    was = os.stat(tmp_path / "outside/x")
    with pytest.raises(MlreproError) as caught:
        remove(place, str(place.root / "d/x"), was)
    assert caught.value.code == "path-symlink" and (tmp_path / "outside/x").exists()


def test_a_removal_into_which_a_write_slips_is_undone(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    was, plain = place.file(b"old"), os.rename

    def rename(old: str, new: str, **folders: int) -> None:
        if old == "x":
            (place.root / "x").write_bytes(b"precious")
        plain(old, new, **folders)

    monkeypatch.setattr(os, "rename", rename)
    assert not remove(place, str(place.root / "x"), was)
    assert place.read() == b"precious"
