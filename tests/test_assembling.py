"""A new folder takes its place as one; where it cannot, its files one by one; nothing is lost."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from blobs import Place, contents, damage, oid_of, put
from building import read_file_tree
from mlrepro import assembling, folder, kernel, reading, walking, weighing
from mlrepro.assembling import Whole
from mlrepro.hashing import stat_key
from mlrepro.restoring import Restore, RestoreReport, restore_files
from mlrepro.streaming import SMALL
from working import Work, codes, made

COUNT = 20
NAMES = [f"{'inner/' if at % 3 else ''}{'deep/' if at % 2 else ''}f{at:02}" for at in range(COUNT)]
WANT = {name: b"content of %s" % name.encode() for name in NAMES}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture(autouse=True)
def _dated_here(tmp_path: Path) -> None:
    if not kernel.dates_by_our_clock(tmp_path.stat().st_dev):
        pytest.skip("this file system is not dated by the kernel's clock, as far as is known")


def _items(place: Place) -> list[Restore]:
    (place.root / "data").mkdir(exist_ok=True)
    return [place.item(data, f"data/set/{name}") for name, data in WANT.items()]


def _restore(place: Place, items: list[Restore], *, jobs: int = 0) -> RestoreReport:
    base = str(place.root / "data/set")
    sources = [place.cache, place.store]
    return restore_files(
        items, sources, place.staging, str(place.root), fresh={base: (0, len(items), 0)}, jobs=jobs
    )


def _here(place: Place) -> dict[str, bytes]:
    return {name: data for name, data in _all(place).items() if data is not None}


def _all(place: Place) -> dict[str, bytes | None]:
    base = place.root / "data/set"
    return read_file_tree(base) if base.exists() else {}


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_new_folder_takes_its_place_as_one(place: Place, jobs: int) -> None:
    """Its files are known by what they were when they were staged, to the last number."""
    report = _restore(place, _items(place), jobs=jobs)
    [(base, whole)] = report.wholes.items()
    assert report.restored == [] and whole.count == COUNT
    assert _here(place) == WANT and place.is_tidy()
    assert contents(place.cache) == {oid_of(data): data for data in WANT.values()}
    for at, name in enumerate(NAMES):
        about = os.stat(f"{base}/{name}")
        assert whole.row(at) == stat_key(about)
        assert whole.began_ns - 20_000_000 > max(about.st_mtime_ns, about.st_ctime_ns)


def test_modes_are_those_of_new_files_and_folders(place: Place) -> None:
    _restore(place, _items(place))
    (place.root / "other").mkdir()
    (place.root / "other/file").write_bytes(b"")
    for name, like in (("data/set/inner", "other"), (f"data/set/{NAMES[0]}", "other/file")):
        assert (place.root / name).stat().st_mode == (place.root / like).stat().st_mode


def test_few_files_are_put_there_one_by_one(place: Place) -> None:
    report = _restore(place, _items(place)[:8])
    assert report.wholes == {} and len(report.restored) == 8


def _taken(place: Place) -> None:
    (place.root / "data/set").mkdir()
    (place.root / "data/set" / NAMES[0]).write_bytes(b"mine")


def _linked(place: Place) -> None:
    elsewhere = place.root.parent / "elsewhere"
    elsewhere.mkdir()
    (place.root / "data").rmdir()
    (place.root / "data").symlink_to(elsewhere)


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize("trouble", [_taken, _linked])
def test_something_is_in_the_way(
    place: Place, monkeypatch: pytest.MonkeyPatch, trouble: Callable[[Place], None], early: bool
) -> None:
    """Whether it was there before, or came while the folder was put together."""
    items = _items(place)
    plain = Whole.place

    def put(self: Whole, anchor: object) -> bool:
        trouble(place)
        return plain(self, anchor)  # type: ignore[arg-type]

    if early:
        trouble(place)
    else:
        monkeypatch.setattr(Whole, "place", put)
    report = _restore(place, items)
    assert report.wholes == {} and place.is_tidy()
    if trouble is _taken:
        assert report.kept == [items[0].dest] and len(report.restored) == COUNT - 1
        assert _here(place) == WANT | {NAMES[0]: b"mine"}
    else:
        assert {error.code for _, error in report.failed} == {"path-symlink"}
        assert len(report.failed) == COUNT
        assert list((place.root.parent / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("how", ["truncated", "flipped", "folder", "deleted"])
def test_what_is_nowhere_is_told_and_the_rest_is_brought(place: Place, how: str) -> None:
    items = _items(place)
    damage(place.store, items[7].oid, how, place.root, 0o444)
    report = _restore(place, items)
    [whole] = report.wholes.values()
    assert whole.count == COUNT - 1 and not whole.row(7)[1]
    assert [one.dest for one in report.missing] == [items[7].dest]
    assert _here(place) == {name: data for name, data in WANT.items() if name != NAMES[7]}
    assert place.is_tidy()


def test_where_all_is_nowhere_no_folder_is_made(place: Place) -> None:
    items = _items(place)
    for item in items:
        os.unlink(place.store.path(item.oid))
    report = _restore(place, items)
    assert report.wholes == {} and len(report.missing) == COUNT
    assert not (place.root / "data/set").exists() and place.is_tidy()


@pytest.mark.parametrize("why", ["setgid", "acl", "size", "clock", "flag"])
def test_where_a_rename_would_not_be_the_same(
    place: Place, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """A folder that hands something on to what is made in it; one that is dear to copy anew."""
    items = _items(place)
    if why == "setgid":
        (place.root / "data").chmod(0o2775)
    elif why == "acl":
        monkeypatch.setattr(os, "listxattr", lambda _: ["system.posix_acl_default"])
    elif why == "size":
        monkeypatch.setattr(assembling, "_MOST_BYTES", sum(map(len, WANT.values())) - 1)
    elif why == "clock":
        monkeypatch.setattr(assembling, "dates_by_our_clock", lambda _: False)
    else:
        monkeypatch.setattr(assembling, "rename_noreplace", lambda *_, **__: False)
    report = _restore(place, items)
    assert report.wholes == {} and len(report.restored) == COUNT
    assert _here(place) == WANT and place.is_tidy()
    if why == "setgid":
        assert (place.root / "data/set").stat().st_mode & stat.S_ISGID


def test_what_a_process_left_behind_is_done_anew(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was killed before it told of a file that it had begun."""
    plain = Whole.__init__

    def begin(self: Whole, *given: object) -> None:
        plain(self, *given)  # type: ignore[arg-type]
        for name in NAMES[3:6]:
            Path(self.path(str(place.root / "data/set" / name))).write_bytes(b"half")

    monkeypatch.setattr(Whole, "__init__", begin)
    report = _restore(place, _items(place))
    assert len(report.wholes) == 1
    assert _here(place) == WANT and place.is_tidy()


def test_it_is_on_the_disk_before_it_has_its_name(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where one call cannot flush all, every file and folder is flushed by itself."""
    flushed: list[str] = []
    plain = os.fsync

    def fsync(fd: int) -> None:
        flushed.append(os.readlink(f"/proc/self/fd/{fd}"))
        plain(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    for module in (assembling, assembling.sync_files.__globals__):
        if isinstance(module, dict):
            monkeypatch.setitem(module, "syncfs", lambda _: False)
        else:
            monkeypatch.setattr(module, "syncfs", lambda _: False)
    seen: list[int] = []
    rename = assembling.rename_noreplace

    def swap(old: str, new: str, **given: int) -> bool:
        seen.extend(sum(name.endswith(f"/{one}") for name in flushed) for one in NAMES)
        seen.append(sum(name in (old, f"{old}/inner", f"{old}/deep") for name in flushed))
        return rename(old, new, **given)

    monkeypatch.setattr(assembling, "rename_noreplace", swap)
    report = _restore(place, _items(place))
    assert len(report.wholes) == 1
    assert seen == [1] * COUNT + [3]
    assert flushed[-1] == str(place.root / "data")


def _work(tmp_path: Path) -> Work:
    work = made(tmp_path / "repo", hooks="none")
    for name, data in WANT.items():
        work.write(f"data/set/{name}", data)
    assert work.track("data/set").exit_code == 0
    work.save("data")
    return work


def _clone(work: Work) -> Work:
    place = work.root.parent / "clone"
    work.git("clone", "--quiet", str(work.root), str(place))
    return Work(place)


def test_pull_proves_what_it_brought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read again afterwards, and the next edit is seen, though it keeps the size."""
    clone = _clone(_work(tmp_path))
    done = clone.pull()
    assert (done.restored, done.errors) == (("data/set",), ())
    edited = clone.path(f"data/set/{NAMES[4]}")
    before = edited.stat()
    tree = folder.load(clone.project().state_dir, "data/set")
    assert tree is not None and tree.is_same(walking.walk(str(clone.root), "data/set"))
    with monkeypatch.context() as patch:
        patch.setattr(reading, "Blob", None)
        assert clone.status_of().clean
    edited.write_bytes(bytes(before.st_size))
    os.utime(edited, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not clone.status_of().clean


def test_an_edit_right_after_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before what was brought is written down, with the same size and date."""
    clone = _clone(_work(tmp_path))
    plain = Whole.place
    edited = clone.path(f"data/set/{NAMES[4]}")

    def put(self: Whole, anchor: object) -> bool:
        done = plain(self, anchor)  # type: ignore[arg-type]
        about = edited.stat()
        with edited.open("r+b") as file:
            file.write(b"E")
        os.utime(edited, ns=(about.st_atime_ns, about.st_mtime_ns))
        clone.write("data/set/more", "more")
        return done

    monkeypatch.setattr(Whole, "place", put)
    assert clone.pull().restored == ("data/set",)
    assert not clone.status_of().clean
    done = clone.pull()
    assert "unsaved-change" in codes(done) and edited.read_bytes()[:1] == b"E"
    assert clone.read("data/set/more") == b"more"


def test_the_bytes_that_a_pointer_says_are_only_a_guess(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large files among many small ones are found; too many bytes are not believed to be there."""
    monkeypatch.setattr(weighing, "_MANY", 5)
    items = _items(place)
    large = os.urandom(SMALL + 3)
    items[5].oid, items[5].size = put(place.store, large), None
    for said in (1, 1 << 20, 1 << 62):
        base = str(place.root / "data/set")
        report = restore_files(
            items, [place.cache, place.store], place.staging, str(place.root),
            fresh={base: (0, len(items), said)},
        )  # fmt: skip
        [whole] = report.wholes.values()
        assert whole.count == COUNT
        assert _here(place) == WANT | {NAMES[5]: large} and place.is_tidy()
        shutil.rmtree(base)
