"""DVC is the oracle: what mlrepro writes is what ``dvc add`` and ``dvc push`` write."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings, strategies as st

pytest.register_assert_rewrite("oracle")

from oracle import Pair, Side  # noqa: E402

_number = itertools.count()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Side:
    return Side.make(tmp_path_factory.mktemp("template") / "side")


def pair_of(template: Side, tmp_path: Path) -> Pair:
    base = tmp_path / str(next(_number))
    return Pair(template.copy(base / "ours"), template.copy(base / "theirs"), base)


@pytest.fixture
def pair(template: Side, tmp_path: Path) -> Pair:
    return pair_of(template, tmp_path)


PIECES = ("a", "b", "Z", " ", "  ", ".", "-", "#", "!", "[x]", "*", "?", "'", '"', "\\", ":",
          "é", "e\u0301", "日本", "🙂", "\t", "~", "&", "%", "{", "}", "@", "`", "|", ">", "=", ",",
          "0", "1e3", "null", "yes", "- ", "\u2028", "\u00a0")  # fmt: skip
RESERVED = (".", "..", ".git", ".dvc", ".hg", ".gitignore", ".dvcignore", "dvc.yaml", "dvc.lock")


def _fit(name: str) -> bool:
    return (
        name not in RESERVED
        and not name.endswith(".dvc")
        and not name.startswith(".git")
        and len(name.encode()) < 80
    )


names = st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map("".join).filter(_fit)
contents = st.sampled_from(
    [
        b"",
        b"\n",
        b"id,value\n1,one\n",
        b"id,value\r\n1,one\r\n",
        b"\r",
        bytes(range(256)),
        b"\0" * 99,
    ]
) | st.binary(max_size=40)
folders: Any = st.recursive(
    st.dictionaries(names, contents, min_size=1, max_size=4),
    lambda inner: st.dictionaries(names, contents | inner, min_size=1, max_size=3),
    max_leaves=6,
)
trees = st.dictionaries(names, contents | folders, min_size=1, max_size=3)


def few(**more: Any) -> Any:
    return settings(max_examples=10, derandomize=True, phases=(Phase.generate,), **more)


def check_tree(pair: Pair, tree: dict[str, Any], executable: bool) -> None:
    marked = frozenset(list(tree)[:1]) if executable else frozenset()
    pair.put(tree, marked)
    pair.track(*tree)
    pair.assert_alike()
    pair.assert_dvc_content(tree)
    pair.assert_we_are_content(tree)


@few()
@given(tree=trees, executable=st.booleans())
def test_any_tree(template: Side, tmp_path: Path, tree: dict[str, Any], executable: bool) -> None:
    check_tree(pair_of(template, tmp_path), tree, executable)


@pytest.mark.slow
@settings(max_examples=150)
@given(tree=trees, executable=st.booleans())
def test_many_trees(template: Side, tmp_path: Path, tree: dict[str, Any], executable: bool) -> None:
    check_tree(pair_of(template, tmp_path), tree, executable)


# One path, as it is again and again: a file, a folder, a file of the same size, an emptied folder.
states = contents | st.dictionaries(
    st.sampled_from(["a", "b", "sub", "é"]),
    contents | st.dictionaries(st.sampled_from(["x", "y"]), contents, min_size=1),
)
histories = st.lists(st.tuples(states, st.booleans(), st.booleans()), min_size=2, max_size=4)


def check_history(pair: Pair, history: list[tuple[Any, bool, bool]]) -> None:
    """Each version is saved on our side by the one or the other, on the other side by DVC."""
    for content, executable, by_dvc in history:
        if content == {} and not (pair.ours.root / "data.dvc").exists():
            continue  # a folder without a file is not begun with
        pair.put({"data": content}, frozenset({"data"} if executable else ()))
        if by_dvc:
            for side in (pair.ours, pair.theirs):
                side.dvc_add("data")
                side.dvc_push()
        else:
            pair.track("data")
        pair.assert_alike()
        assert pair.ours.dvc_status() == {}
        pair.ours.work.commit("next", "--allow-empty")
        found = pair.ours.work.status_of()
        assert found.clean, (found.files, found.notes, found.errors)


@few()
@given(history=histories)
def test_turn_and_turn_about(template: Side, tmp_path: Path, history: Any) -> None:
    check_history(pair_of(template, tmp_path), history)


@pytest.mark.slow
@settings(max_examples=100)
@given(history=histories)
def test_many_turns(template: Side, tmp_path: Path, history: Any) -> None:
    check_history(pair_of(template, tmp_path), history)


def test_a_clone_without_hooks_goes_back_and_forth(pair: Pair) -> None:
    """Commits that no hook of ours saw count as much as others."""
    side = pair.ours
    versions = []
    for text in (b"one", b"two", b"three"):
        pair.put({"x": text, "data": {"a": text, "same": b""}})
        side.work.track("x", "data")
        versions.append((side.work.commit("next"), text))
    for revision, text in [*reversed(versions), *versions]:
        side.work.git("checkout", "--quiet", revision)
        result = side.work.pull()
        assert (result.kept, result.errors) == ((), ())
        assert (side.root / "x").read_bytes() == (side.root / "data/a").read_bytes() == text
        assert side.work.status_of().clean


def test_an_edit_that_dvc_does_not_see(pair: Pair) -> None:
    """The same size, and the time put back: its inode's own time tells."""
    pair.put({"x": b"1", "data": {"a": b"1", "b": b"2"}})
    pair.track("x", "data")
    for side in (pair.ours, pair.theirs):
        side.work.commit("first")
        side.work.status_of()
        assert side.dvc_status() == {}
        for name in ("x", "data/a"):
            path = side.root / name
            before = path.stat()
            path.write_bytes(b"9")
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert pair.theirs.dvc_status() == {}
    said = {file.path: file.state for file in pair.ours.work.status_of().files}
    assert said == {"x": "modified", "data": "modified"}
    assert not pair.ours.work.track().errors
    assert (pair.ours.root / "x").read_bytes() == b"9"
    pair.ours.work.commit("second")
    assert pair.ours.work.status_of().clean
