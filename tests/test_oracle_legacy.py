"""Pointers of DVC 2: left alone as DVC 3 leaves them, and no line end is lost on the way."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest

pytest.register_assert_rewrite("oracle")

import dvc2  # noqa: E402
from oracle import Pair, Side, flat  # noqa: E402

_number = itertools.count()
NAMES = ["crlf.csv", "data", "lf.csv", "model.bin"]
EDITS: dict[str, dict[str, bytes]] = {
    "text": {"crlf.csv": dvc2.CRLF + b"3,three\r\n"},
    "text, same size": {"crlf.csv": dvc2.CRLF.replace(b"one", b"two")},
    "LF text": {"lf.csv": b"id;value\n2;two\n"},
    "binary": {"model.bin": dvc2.BINARY[::-1]},
    "member": {"data/b.txt": b"x\r\nz\r\n"},
    "new member": {"data/new": b"\r\n"},
    "all": {"crlf.csv": b"\r\n", "lf.csv": b"\n", "model.bin": b"\0", "data/sub/a": b"a\r\n"},
}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Side:
    side = Side.make(tmp_path_factory.mktemp("template") / "side")
    dvc2.fill(side)
    return side


@pytest.fixture
def pair(template: Side, tmp_path: Path) -> Pair:
    return Pair(template.copy(tmp_path / "ours"), template.copy(tmp_path / "theirs"), tmp_path)


def states(side: Side) -> dict[str, str]:
    return {file.path: file.state for file in side.work.status_of().files}


def test_what_did_not_change_is_clean_and_stays_as_it_is(pair: Pair) -> None:
    before = pair.ours.pointers(), flat(pair.ours.root, dict.fromkeys(NAMES))
    assert pair.theirs.dvc_status() == {}
    found = pair.ours.work.status_of()
    assert found.clean, (found.files, found.notes, found.errors)
    pair.track(*NAMES)
    assert {one.state for one in pair.ours.work.track().tracked} == {"unchanged"}
    pair.assert_alike()
    assert pair.ours.cache() == {}
    assert before == (pair.ours.pointers(), flat(pair.ours.root, dict.fromkeys(NAMES)))
    assert pair.ours.work.status == ""


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_what_changed_becomes_one_of_dvc_3(pair: Pair, edit: dict[str, bytes]) -> None:
    for side in (pair.ours, pair.theirs):
        for name, content in edit.items():
            (side.root / name).write_bytes(content)
    changed = {name.split("/")[0] for name in edit}
    assert {path for path, state in states(pair.ours).items() if state == "modified"} == changed
    before = flat(pair.ours.root, dict.fromkeys(NAMES))
    pair.track(*NAMES)
    pair.assert_alike()
    assert flat(pair.ours.root, dict.fromkeys(NAMES)) == before
    for name in NAMES:
        upgraded = b"hash: md5" in pair.ours.pointers()[f"{name}.dvc"]
        assert upgraded == (name in changed)
    assert pair.ours.dvc_status() == {}
    pair.ours.work.commit("next")
    assert pair.ours.work.status_of().clean
    clone = pair.ours.clone(pair.base / "clone")
    clone.dvc_pull()
    assert flat(clone.root, dict.fromkeys(NAMES)) == before


LINE_ENDS = {
    "all to LF": {"crlf.csv": dvc2.CRLF.replace(b"\r\n", b"\n")},
    "one to LF": {"crlf.csv": dvc2.CRLF.replace(b"\r\n", b"\n", 1)},
    "all to CRLF": {"lf.csv": dvc2.LF.replace(b"\n", b"\r\n")},
    "a member to LF": {"data/b.txt": b"x\ny\n"},
    "a member to CRLF": {"data/sub/a": b"plain\r\n"},
    "as many as before": {"data/b.txt": b"x\ny\r\n", "data/sub/a": b"plain\r\n"},
}


@pytest.mark.parametrize("edit", LINE_ENDS.values(), ids=LINE_ENDS)
def test_an_edit_of_line_ends_alone_is_seen(pair: Pair, edit: dict[str, bytes]) -> None:
    """DVC 3 takes it for no change, and puts the old line ends back on the next checkout."""
    for name, content in edit.items():
        (pair.ours.root / name).write_bytes(content)
    changed = {name.split("/")[0] for name in edit}
    for _ in range(2):  # the second time from the record
        said = states(pair.ours)
        assert {path for path, state in said.items() if state == "modified"} == changed
    before = flat(pair.ours.root, dict.fromkeys(NAMES))
    result = pair.ours.work.track()
    assert not result.errors
    assert {one.path for one in result.tracked if one.state == "changed"} == changed
    assert flat(pair.ours.root, dict.fromkeys(NAMES)) == before
    assert pair.ours.dvc_status() == {}
    pair.ours.work.commit("line ends")
    assert pair.ours.work.status_of().clean
    for way in ("dvc_pull", "pull"):
        clone = pair.ours.clone(pair.base / way)
        clone.dvc_pull() if way == "dvc_pull" else clone.work.pull()
        assert flat(clone.root, dict.fromkeys(NAMES)) == before


def test_line_ends_that_changed_places_are_seen(template: Side, tmp_path: Path) -> None:
    """The same size and the same text: what tells is the blob."""
    side = template.copy(tmp_path / "side")
    mixed = b"a\r\nb\nc\r\n"
    dvc2.add(side, "mixed", mixed)
    side.work.commit("mixed")
    assert states(side)["mixed"] == "unchanged"
    (side.root / "mixed").write_bytes(b"a\nb\r\nc\r\n")
    assert states(side)["mixed"] == "modified"
    (side.root / "mixed").write_bytes(mixed)
    assert states(side)["mixed"] == "unchanged"


def test_pull_in_a_clone(pair: Pair) -> None:
    before = flat(pair.ours.root, dict.fromkeys(NAMES))
    clone = pair.ours.clone(pair.base / "clone")
    result = clone.work.pull()
    assert not result.errors
    assert flat(clone.root, dict.fromkeys(NAMES)) == before
    assert clone.work.status_of().clean
    assert clone.dvc_status() == {}
    assert dvc2.old_blobs(clone.root / ".dvc/cache") == dvc2.old_blobs(pair.ours.base / "store")


def test_one_lost_member_is_brought_back(pair: Pair) -> None:
    before = flat(pair.ours.root, ["data"])
    pair.ours.work.status_of()
    (pair.ours.root / "data/sub/a").unlink()
    result = pair.ours.work.pull()
    assert (result.kept, result.errors) == ((), ())
    assert flat(pair.ours.root, ["data"]) == before
    assert states(pair.ours)["data"] == "unchanged"


def test_back_to_before_it_was_upgraded(pair: Pair) -> None:
    side = pair.ours
    first = side.work.head
    before = flat(side.root, dict.fromkeys(NAMES))
    for name, content in EDITS["all"].items():
        (side.root / name).write_bytes(content)
    side.work.track()
    after = flat(side.root, dict.fromkeys(NAMES))
    second = side.work.commit("upgraded")
    for revision, expected in ((first, before), (second, after), (first, before)):
        side.work.git("checkout", "--quiet", revision)
        result = side.work.pull()
        assert (result.kept, result.errors) == ((), ())
        assert flat(side.root, dict.fromkeys(NAMES)) == expected
        assert side.work.status_of().clean


def test_blobs_that_are_in_the_cache_only_are_stored_as_they_are(pair: Pair) -> None:
    for side in (pair.ours, pair.theirs):
        shutil.rmtree(side.base / "store")
        (side.base / "store").mkdir()
    pair.track(*NAMES)
    pair.assert_alike()
    expected = dvc2.old_blobs(pair.theirs.base / "store")
    assert {
        o: b for o, b in dvc2.old_blobs(pair.ours.base / "store").items() if len(o) > 30
    } == expected


def test_content_that_is_nowhere_is_saved_as_by_dvc_3(template: Side, tmp_path: Path) -> None:
    """The data is there, and no blob of it: its pointer has to change for it to be stored."""
    side = template.copy(tmp_path / "side")
    for place in (side.root / ".dvc/cache", side.base / "store"):
        shutil.rmtree(place)
        place.mkdir()
    before = flat(side.root, dict.fromkeys(NAMES))
    result = side.work.track()
    assert not result.errors
    assert {one.state for one in result.tracked} == {"changed"}
    side.work.commit("saved")
    assert side.work.status_of().clean
    assert side.dvc_status() == {}
    clone = side.clone(tmp_path / "clone")
    clone.dvc_pull()
    assert flat(clone.root, dict.fromkeys(NAMES)) == before


def test_new_data_with_content_that_dvc_2_saved(pair: Pair) -> None:
    """DVC 3 looks for it in its own layout only, so it has to be there too."""
    pair.put({"copy.csv": dvc2.LF, "set": {"x": dvc2.LF, "y": dvc2.BINARY}})
    pair.track("copy.csv", "set")
    pair.assert_alike()
    assert pair.ours.dvc_status() == {}


def test_a_commit_takes_no_notice_of_what_did_not_change(pair: Pair) -> None:
    from mlrepro import precommit
    from mlrepro.result import Options
    from mlrepro.unchanged import nothing_to_do

    side = pair.ours
    for _ in range(2):  # what was hashed in the first is believed in the second
        result = precommit.run(side.work.project(), Options())
        assert result.errors == ()
        assert not result.again
        assert side.work.status == ""
    assert nothing_to_do(side.work.project())
    (side.root / "data/b.txt").write_bytes(b"x\ny\n")
    assert not nothing_to_do(side.work.project())


def test_one_text_with_two_kinds_of_line_ends(template: Side, tmp_path: Path) -> None:
    """DVC 2 kept one blob for both, and so lost one of them: it is saved as soon as it is seen."""
    side = template.copy(tmp_path / "side")
    crlf, lf = b"one\r\ntwo\r\n", b"one\ntwo\n"
    dvc2.add(side, "windows.csv", crlf)
    dvc2.add(side, "unix.csv", lf)
    side.work.commit("by DVC 2")
    stored = {file.path: file.stored for file in side.work.status_of().files}
    assert (stored["windows.csv"], stored["unix.csv"]) == (True, False)
    result = side.work.track()
    assert not result.errors
    assert [one.path for one in result.tracked if one.state == "changed"] == ["unix.csv"]
    side.work.commit("both")
    assert side.work.status_of().clean
    assert side.dvc_status() == {}
    for way in ("pull", "dvc_pull"):
        clone = side.clone(tmp_path / way)
        clone.dvc_pull() if way == "dvc_pull" else clone.work.pull()
        assert (clone.root / "windows.csv").read_bytes() == crlf
        assert (clone.root / "unix.csv").read_bytes() == lf
        assert clone.work.status_of().clean
