"""Pointers that say more than a path and a hash, and pipelines: as ``dvc commit`` leaves them."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.register_assert_rewrite("oracle")

from oracle import Pair, Side, dvc, flat  # noqa: E402

# Pointers as a person may have written them; the hashes are filled in by DVC.
POINTERS = {
    "several outputs": ("all.dvc", "outs:\n- path: a.csv\n- path: b\n- path: sub/c.csv\n"),
    "another folder": ("points/here.dvc", "wdir: ../sub\nouts:\n- path: c.csv\n"),
    "in a folder": ("sub/c.csv.dvc", "outs:\n- path: c.csv\n"),
    "words": (
        "a.csv.dvc",
        (
            "# what it is\nouts:\n- path: a.csv\n  desc: the first  # of them\n"
            "  type: dataset\n  labels:\n  - one\n  - two\n  meta:\n    by: me\n"
            "meta:\n  since: 2022\n  list: [1, 2]\n"
        ),
    ),
    "a description": ("a.csv.dvc", "desc: 'all: of it'\nouts:\n- path: a.csv\n  desc: café\n"),
    "frozen": ("a.csv.dvc", "frozen: true\nouts:\n- path: a.csv\n"),
    "persistent": ("b.dvc", "outs:\n- path: b\n  persist: true\n"),
    "path first, flow style": ("a.csv.dvc", "outs: [{path: a.csv, hash: md5}]\n"),
    "quoted": ("a.csv.dvc", 'outs:\n- "path": "a.csv"\n'),
    "a folder's words": ("b.dvc", "outs:\n- path: b\n  desc: |\n    two\n    lines\n"),
    "two kinds": ("all.dvc", "outs:\n- path: a.csv\n- path: b\n  meta: {x: 1}\n"),
}
FILES = {
    "a.csv": b"id\r\n1\r\n",
    "b": {"x": b"x", "deep": {"y": b"y"}},
    "sub/c.csv": b"c\n",
}
NEXT = {
    "a.csv": b"id\r\n2\r\n",
    "b": {"x": b"xx", "z": b"z"},
    "sub/c.csv": b"cc\n",
}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Side:
    return Side.make(tmp_path_factory.mktemp("template") / "side")


@pytest.fixture
def pair(template: Side, tmp_path: Path) -> Pair:
    return Pair(template.copy(tmp_path / "ours"), template.copy(tmp_path / "theirs"), tmp_path)


def states(side: Side) -> set[str]:
    found = side.work.status_of()
    assert not found.errors, [error.message for error in found.errors]
    return {file.state for file in found.files}


EACH = [
    pytest.param(name, marks=pytest.mark.slow) if at % 2 else name
    for at, name in enumerate(POINTERS)
]


@pytest.mark.parametrize("name", EACH)
def test_a_pointer(pair: Pair, name: str) -> None:
    pointer, text = POINTERS[name]
    pair.put(FILES)
    for side in (pair.ours, pair.theirs):
        (side.root / pointer).parent.mkdir(exist_ok=True)
        (side.root / pointer).write_text(text)
        (side.root / ".gitignore").write_text("/a.csv\n/b\n/sub/c.csv\n")
        side.dvc_commit(pointer)
        side.dvc_push()
        side.work.commit("first")
    before = pair.ours.pointers()
    assert before == pair.theirs.pointers()
    assert states(pair.ours) == {"unchanged"}
    assert {one.state for one in pair.ours.work.track().tracked} == {"unchanged"}
    assert pair.ours.pointers() == before
    assert pair.ours.work.status == ""

    pair.put(NEXT)
    assert states(pair.ours) == {"modified"}
    result = pair.ours.work.track()
    assert not result.errors, [error.message for error in result.errors]
    pair.theirs.dvc_commit(pointer)
    pair.theirs.dvc_push()
    pair.assert_alike()
    assert pair.ours.dvc_status() == {}
    pair.ours.work.commit("next")
    assert pair.ours.work.status_of().clean

    clone = pair.ours.clone(pair.base / "clone")
    assert not clone.work.pull().errors
    tracked = {name: None for name in FILES if (clone.root / name).exists()}
    assert flat(clone.root, tracked).items() <= flat(pair.ours.root, FILES).items()
    assert clone.dvc_status() == {}


def test_one_of_several_outputs(pair: Pair) -> None:
    pointer, text = POINTERS["several outputs"]
    pair.put(FILES)
    for side in (pair.ours, pair.theirs):
        (side.root / pointer).write_text(text)
        (side.root / ".gitignore").write_text("/a.csv\n/b\n/sub/c.csv\n")
        side.dvc_commit(pointer)
        side.dvc_push()
        side.work.commit("first")
    pair.put({"b": NEXT["b"]})
    result = pair.ours.work.track("b")
    assert [(one.path, one.pointer) for one in result.tracked] == [("b", pointer)]
    pair.theirs.dvc_commit(pointer)
    pair.theirs.dvc_push()
    pair.assert_alike()


def test_data_that_is_not_kept(pair: Pair) -> None:
    """``cache: false``: it is in git, or nowhere, as its author wants it."""
    pair.put({"a.csv": b"1\n"})
    side = pair.ours
    (side.root / "a.csv.dvc").write_text("outs:\n- path: a.csv\n  cache: false\n")
    side.dvc_commit("a.csv.dvc")
    side.work.commit("first")
    (side.root / "a.csv").write_bytes(b"2\n")
    before = side.pointers()
    assert side.work.status_of().files == ()
    assert side.work.track().tracked == ()
    assert (side.pointers(), side.cache(), side.store()) == (before, {}, {})


@pytest.mark.parametrize(
    ("path", "code"),
    [("many/new", "path-inside-tracked"), ("many", ""), ("top", "path-holds-tracked")],
)
def test_what_a_pipeline_makes_gets_no_pointer_of_its_own(pair: Pair, path: str, code: str) -> None:
    """Two names for one output, and DVC refuses to work at all."""
    pair.put({"in.csv": b"1\n", "top": {"in.csv": b"1\n"}})
    side = pair.ours
    (side.root / "dvc.yaml").write_text(PIPELINE)
    (side.root / "top/dvc.yaml").write_text(PIPELINE)
    with dvc(side.root) as repo:
        repo.reproduce(all_pipelines=True)
    side.work.git("rm", "-rq", "--cached", "--ignore-unmatch", "top")
    (side.root / "many/new").write_bytes(b"2\n")
    result = side.work.track(path)
    assert [error.code for error in result.errors] == ([code] if code else [])
    assert [name for name in side.pointers() if name.endswith(".dvc")] == []


PIPELINE = """\
stages:
  copy:
    cmd: cp in.csv out.csv && mkdir -p many && cp in.csv many/x && echo 1 > metric.json
    deps:
    - in.csv
    outs:
    - out.csv
    - many
    metrics:
    - metric.json:
        cache: false
"""


def test_a_pipeline(pair: Pair) -> None:
    pair.put({"in.csv": b"1\n"})
    for side in (pair.ours, pair.theirs):
        (side.root / "dvc.yaml").write_text(PIPELINE)
        with dvc(side.root) as repo:
            repo.reproduce()
        side.dvc_push()
        side.work.commit("first")
    before = pair.ours.pointers()
    assert before == pair.theirs.pointers()
    assert states(pair.ours) == {"unchanged"}
    assert pair.ours.work.track().errors == ()
    assert pair.ours.pointers() == before
    assert pair.ours.work.status == ""

    pair.put({"out.csv": b"2\n", "many": {"x": b"1\n", "y": b"2\n"}})
    assert states(pair.ours) == {"modified"}
    result = pair.ours.work.track()
    assert not result.errors, [error.message for error in result.errors]
    pair.theirs.dvc_commit("dvc.yaml")
    pair.theirs.dvc_push()
    pair.assert_alike()
    assert pair.ours.dvc_status() == {}
    pair.ours.work.commit("next")
    assert pair.ours.work.status_of().clean
    clone = pair.ours.clone(pair.base / "clone")
    assert not clone.work.pull().errors
    both = {"out.csv": None, "many": None}
    assert flat(clone.root, both) == flat(pair.ours.root, both)


def test_an_import(pair: Pair) -> None:
    """What it depends on stays in its pointer; unchanged it is left alone."""
    source = pair.base / "source.csv"
    source.write_bytes(b"1\n")
    for side in (pair.ours, pair.theirs):
        with dvc(side.root) as repo:
            repo.imp_url(str(source), str(side.root / "a.csv"))
        side.dvc_push()
        side.work.commit("first")
    before = pair.ours.pointers()
    assert b"deps:" in before["a.csv.dvc"]
    assert states(pair.ours) == {"unchanged"}
    result = pair.ours.work.track()
    assert not result.errors, [error.message for error in result.errors]
    assert pair.ours.pointers() == before
    assert pair.ours.work.status == ""
    clone = pair.ours.clone(pair.base / "clone")
    assert not clone.work.pull().errors
    assert (clone.root / "a.csv").read_bytes() == b"1\n"


def test_an_import_that_was_edited(pair: Pair) -> None:
    source = pair.base / "source.csv"
    source.write_bytes(b"1\n")
    for side in (pair.ours, pair.theirs):
        with dvc(side.root) as repo:
            repo.imp_url(str(source), str(side.root / "a.csv"))
        side.dvc_push()
        side.work.commit("first")
        (side.root / "a.csv").write_bytes(b"2\n")
    assert states(pair.ours) == {"modified"}
    result = pair.ours.work.track()
    assert not result.errors, [error.message for error in result.errors]
    pair.theirs.dvc_commit("a.csv.dvc")
    pair.theirs.dvc_push()
    pair.assert_alike()
