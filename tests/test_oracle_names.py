"""Names: whatever a file system takes, pointers, ignore files and listings are as DVC's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.register_assert_rewrite("oracle")

from oracle import Pair, Side, flat  # noqa: E402

NAMES = (
    # what YAML reads as something else than text
    "null", "~", "yes", "No", "true", "1", "0x10", "0o7", "1_000", "1e3", ".5", "1.0", "12:30:00",
    "2022-08-01", ".inf", ".NaN", "=", "<<", "<", "- a", "-", "---", "...", "a: b", "a:", ": a",
    ":", "a #b", "#", "# a", "'", "''", '"', '"a"', "it's", "@a", "`a", "%a", "&a", "*a", "!a", "!",
    "|", ">", "? a", "?", "{a}", "{a", "a}", "[a]", "[", "]", ",", ",a", "\\", "\\n", "a\\b", "\\#",
    # what a shell, git or a pattern reads as something else than a name
    "-rf", "--help", "*", "**", "a*b", "a?b", "[!a]", "$HOME", "`id`", "a;b", "a&b", "(a)", "a|b",
    ":(top)", ":!x", "HEAD", "a@{1}", "a..b", "..a", "...a", ".hidden", ".env", "a~1",
    "con", "a.dvcx", "dvc", "x.lock", ".gitx",
    # spaces, and what is none
    " a", "  ", "a b", "a  b", "\ta", "a\tb", "\u00a0", "a\u2003b", "\u3000", "\u200b", "\u2028",
    # letters
    "café", "cafe\u0301", "ÅÄÖ", "A\u030a", "ﬁ", "日本語", "العربية", "עברית", "🙂", "👩‍👩‍👧",
    "\U0010fffd", "ß", "SS", "a\u0308\u0323",
    # what cannot be seen
    "\x7f", "a\x1b[31m", "\x01", "\x80", "\ufffe", "\ufeff", "a\u202eb",
    # lengths at which YAML lines are folded, or not
    "two  spaces " * 9 + "end", "word " * 15 + "end", "w" * 100, "a " * 45 + "b", "x" * 251,
    "é" * 125, "-" * 90,
)  # fmt: skip


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Side:
    return Side.make(tmp_path_factory.mktemp("template") / "side")


@pytest.fixture
def pair(template: Side, tmp_path: Path) -> Pair:
    return Pair(template.copy(tmp_path / "ours"), template.copy(tmp_path / "theirs"), tmp_path)


def test_files_of_every_name(pair: Pair) -> None:
    tree = {name: name.encode() for name in NAMES if not name.endswith(" ")}
    pair.put(tree)
    pair.track(*(f"./{name}" for name in tree))
    pair.assert_alike()
    pair.assert_dvc_content(tree)
    pair.assert_we_are_content(tree)


def test_members_of_every_name(pair: Pair) -> None:
    tree = {"data": {name: name.encode() for name in NAMES}}
    pair.put(tree)
    pair.track("data")
    pair.assert_alike()
    pair.assert_dvc_content(tree)
    pair.assert_we_are_content(tree)


def test_folders_of_every_name(pair: Pair) -> None:
    tree = {name: {"x": name.encode()} for name in NAMES[::3] if not name.endswith(" ")}
    pair.put({"top": tree})
    pair.track(*(f"top/{name}" for name in tree))
    pair.assert_alike()
    pair.assert_dvc_content({"top": tree})
    pair.assert_we_are_content({"top": tree})


@pytest.mark.parametrize("name", ["a ", " ", "a\\ ", "a  "])
def test_a_space_at_the_end(pair: Pair, name: str) -> None:
    """DVC writes an ignore rule of which git drops the space, so that git sees the data."""
    pair.put({name: b"1"})
    pair.track(name)
    pair.assert_alike()
    pair.assert_dvc_content({name: b"1"})
    assert [one for one in pair.ours.work.raw if not one.endswith((".dvc", ".gitignore"))] == []
    assert name in pair.theirs.work.raw


def test_a_name_that_dvc_writes_so_that_it_reads_another(pair: Pair) -> None:
    """A line break of YAML 1.1 in it: read back it is folded to a space."""
    name = "a\x85b"
    pair.put({name: b"1", "good": b"2"})
    result = pair.ours.work.track(name, "good")
    assert not result.errors
    pair.assert_dvc_content({name: b"1", "good": b"2"})
    pair.theirs.dvc_add(name)
    assert pair.theirs.pointers()[f"{name}.dvc"] != pair.ours.pointers()[f"{name}.dvc"]


@pytest.mark.parametrize("name", ["x" * 252, "x" * 255, "é" * 127, "日" * 85])
def test_a_name_with_no_room_for_dvc_behind_it(pair: Pair, name: str) -> None:
    """DVC cannot name the pointer; ours has a shorter name, and DVC works with it."""
    pair.put({name: b"1"})
    result = pair.ours.work.track(name)
    assert not result.errors
    assert len(os.fsencode(result.tracked[0].pointer)) <= 255
    pair.assert_dvc_content({name: b"1"})
    (pair.ours.root / name).write_bytes(b"2")
    again = pair.ours.work.track(name)
    assert again.tracked[0].pointer == result.tracked[0].pointer
    assert pair.ours.dvc_status() == {}
    with pytest.raises(OSError, match="too long"):
        pair.theirs.dvc_add(name)


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "\n"])
def test_a_name_that_no_pointer_can_hold(pair: Pair, name: str) -> None:
    pair.put({name: b"1", "good": b"2"})
    result = pair.ours.work.track(name, "good")
    assert len(result.errors) == 1
    assert [one.path for one in result.tracked] == ["good"]
    assert sorted(pair.ours.pointers()) == [".dvcignore", ".gitignore", "good.dvc"]


def test_a_name_that_is_no_utf8(pair: Pair) -> None:
    raw = os.fsdecode(b"a\xff")
    pair.put({"good": b"1"})
    (pair.ours.root / raw).write_bytes(b"1")
    (pair.ours.root / "data").mkdir()
    (pair.ours.root / "data" / raw).write_bytes(b"2")
    result = pair.ours.work.track(raw, "good", "data")
    assert sorted(error.code for error in result.errors) == ["path-not-utf8", "path-not-utf8"]
    assert [one.path for one in result.tracked] == ["good"]


def test_a_member_that_is_called_like_a_pointer_of_none(pair: Pair) -> None:
    """``.dvc`` as a whole name is a repository; DVC leaves it out, and we refuse it."""
    pair.put({"data": {"x": b"1", ".dvc": {"config": b""}}})
    result = pair.ours.work.track("data")
    assert [error.code for error in result.errors] == ["path-nested-repository"]


def test_names_alike_but_for_their_accents(pair: Pair) -> None:
    """One file each, as on any file system that keeps names as they are."""
    names = {"caf\u00e9": b"one", "cafe\u0301": b"two"}
    pair.put({**names, "data": dict(names)})
    if len(os.listdir(pair.ours.root / "data")) == 1:
        pytest.skip("this file system takes them for one name")
    pair.track(*names, "data")
    pair.assert_alike()
    pair.assert_dvc_content({**names, "data": names})
    assert len(flat(pair.ours.root, ["data"])) == 2
