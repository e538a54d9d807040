"""What DVC 2.10.2 itself wrote of files of every kind: read, verified, pulled, changed and kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite("oracle")

from building import git  # noqa: E402
from dvc2 import old_blobs, put_blob  # noqa: E402
from dvc2_contents import CONTENTS, write  # noqa: E402
from oracle import Side  # noqa: E402
from working import Work, codes  # noqa: E402

WRITTEN: dict[str, Any] = json.loads(Path(__file__).with_name("dvc2.json").read_text())
TOPS = sorted({name.split("/")[0] for name in CONTENTS})


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Side:
    """The repository and its store, byte for byte as DVC 2.10.2 left them, with no cache."""
    side = Side(tmp_path_factory.mktemp("template") / "side")
    side.root.mkdir(parents=True)
    git(side.root, "init", "--quiet")
    for name in (".dvc/config", ".dvc/.gitignore", ".gitignore", ".dvcignore"):
        side.work.write(name, WRITTEN[name])
    for name, text in WRITTEN["pointers"].items():
        side.work.write(name, text)
    for name in ("dvc.yaml", "dvc.lock"):
        side.work.write(name, WRITTEN[name])
    write(side.root)
    side.work.write("out.csv", CONTENTS["crlf.csv"])
    for oid, about in WRITTEN["blobs"].items():
        data = CONTENTS[about["file"]] if "file" in about else about["listing"].encode()
        put_blob(side.base / "store", oid, data)
    side.work.commit("by DVC 2.10.2")
    return side


@pytest.fixture
def side(template: Side, tmp_path: Path) -> Side:
    return template.copy(tmp_path / "side")


def contents(root: Path) -> dict[str, bytes]:
    return {name: (root / name).read_bytes() for name in CONTENTS}


def test_all_of_it_is_in_order_and_stays_as_it_is(side: Side) -> None:
    pointers, store = side.pointers(), old_blobs(side.base / "store")
    found = side.work.status_of()
    assert {file.path: file.state for file in found.files if file.path != "out.csv"} == (
        dict.fromkeys(TOPS, "unchanged")
    )
    assert found.clean and not found.errors, (found.files, found.errors)
    assert side.work.mlrepro("verify", "--all", "--deep").exit_code == 0
    done = side.work.track()
    assert {item.state for item in done.tracked} == {"unchanged"} and codes(done) == []
    assert side.work.push().exit_code == 0
    assert side.pointers() == pointers and old_blobs(side.base / "store") == store
    assert side.store() == {}  # nothing was written anew in DVC 3's layout
    assert contents(side.root) == CONTENTS
    assert side.work.status == ""


@pytest.mark.parametrize("mixed", [False, True], ids=["DVC 2", "both layouts"])
def test_a_clone_gets_the_very_bytes(side: Side, tmp_path: Path, mixed: bool) -> None:
    if mixed:  # some of it was saved again by DVC 3
        for name in ("crlf.csv", "data/b.txt"):
            side.work.write(name, CONTENTS[name] + b"more\r\n")
        assert side.work.track().exit_code == 0
        side.work.commit("by now")
    before = contents(side.root)
    clone = side.clone(tmp_path / "clone")
    done = clone.work.pull()
    assert codes(done) == [] and contents(clone.root) == before
    assert (clone.root / "run.sh").stat().st_mode & 0o111
    assert clone.work.status_of().clean
    if mixed:
        clone.work.git("checkout", "--quiet", "HEAD~1")
        assert codes(clone.work.pull()) == []
        assert contents(clone.root) == CONTENTS


def test_each_change_of_line_ends_alone_is_seen_and_kept(
    side: Side, tmp_path: Path, record_property: Any
) -> None:
    """In every file that has any: DVC 3 sees it in none of those that DVC 2 took for text."""
    changed = {}
    for name, data in CONTENTS.items():
        other = data.replace(b"\r\n", b"\n") if b"\r\n" in data else data.replace(b"\n", b"\r\n")
        if other != data:
            changed[name] = other
            side.work.write(name, other)
    assert len(changed) >= 15
    tops = {name.split("/")[0] for name in changed}
    for _ in range(2):  # the second time from the record
        states = side.work.states()
        assert {path for path, state in states.items() if state == "modified"} == tops
    store = old_blobs(side.base / "store")
    done = side.work.track()
    assert codes(done) == [] and contents(side.root) == {**CONTENTS, **changed}
    assert {item.path for item in done.tracked if item.state == "changed"} == tops
    assert {**old_blobs(side.base / "store"), **store} == old_blobs(side.base / "store")
    side.work.commit("line ends")
    assert side.work.status_of().clean
    clone = side.clone(tmp_path / "clone")
    assert codes(clone.work.pull()) == []
    assert contents(clone.root) == {**CONTENTS, **changed}
    clone.work.git("checkout", "--quiet", "HEAD~1")
    assert codes(clone.work.pull()) == []
    assert contents(clone.root) == CONTENTS
    record_property("tried", ["Old repositories", "edits of line ends alone", len(changed)])


def test_a_cache_of_dvc_2_is_enough(side: Side) -> None:
    """The store is new: what only the cache has goes there as it is."""
    (side.base / "store").rename(side.root / ".dvc" / "cache")
    (side.base / "store").mkdir()
    cached = old_blobs(side.root / ".dvc" / "cache")
    assert side.work.push().exit_code == 0
    stored = {oid: data for oid, data in old_blobs(side.base / "store").items() if len(oid) >= 32}
    assert stored == cached
    for name in TOPS:
        path = side.root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert codes(side.work.pull()) == []
    assert contents(side.root) == CONTENTS


def test_a_blob_with_other_line_ends_is_not_taken_for_it(side: Side, tmp_path: Path) -> None:
    """Its text has the right hash, its bytes are not what was saved: the size tells."""
    oid = next(oid for oid, about in WRITTEN["blobs"].items() if about.get("file") == "crlf.csv")
    path = side.base / "store" / oid[:2] / oid[2:]
    path.chmod(0o644)
    path.write_bytes(CONTENTS["crlf.csv"].replace(b"\r\n", b"\n"))
    work: Work = side.work
    states = {file.path: file.stored for file in work.status_of().files}
    assert states["crlf.csv"] is False
    assert work.track().exit_code == 0
    assert (side.root / "crlf.csv").read_bytes() == CONTENTS["crlf.csv"]
    work.commit("saved anew")
    clone = side.clone(tmp_path / "clone")
    clone.work.pull()
    assert (clone.root / "crlf.csv").read_bytes() == CONTENTS["crlf.csv"]
