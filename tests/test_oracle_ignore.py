"""``.dvcignore``: a folder's content is what DVC makes of the rules, where git would differ too."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings, strategies as st

from mlrepro import dvc, dvcignore, walking

pytest.register_assert_rewrite("oracle")

from oracle import Pair, Side  # noqa: E402

_number = itertools.count()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Side:
    return Side.make(tmp_path_factory.mktemp("template") / "side")


def pair_of(template: Side, tmp_path: Path) -> Pair:
    base = tmp_path / str(next(_number))
    return Pair(template.copy(base / "ours"), template.copy(base / "theirs"), base)


def ruled(pair: Pair, rules: dict[str, str]) -> None:
    """The same ignore files on both sides."""
    for side in (pair.ours, pair.theirs):
        for name, text in rules.items():
            path = side.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())


TREE = {
    name: name.encode()
    for name in (
        "a", "b", "a.tmp", "a.tmp2", "log", "log.txt", "sp ace", "ends ", " starts", "#hash",
        "!bang", "[x]", "x", "é", "back\\slash", "*", "A.TMP",
    )
}  # fmt: skip
FOLDER: dict[str, Any] = {
    **TREE,
    "sub": {**TREE, "deep": {"a": b"1", "a.tmp": b"2", "keep": b"3"}},
    "tmp": {"a": b"4", "b": {"a": b"5", "c.txt": b"6"}},
    "log.d": {"a": b"7"},
}


@pytest.mark.parametrize(
    "rules",
    [
        {".dvcignore": "*.tmp\nlog\n"},
        {".dvcignore": "# *\n\n   \n  *.tmp  \n\tlog\t\r\nb\r\n"},
        {".dvcignore": "tmp/\n"},
        {".dvcignore": "a/\n/a\n/data/set/a\n"},
        {".dvcignore": "data/set/sub/*\n"},
        {".dvcignore": "data/set/sub/**\n!data/set/sub/a\n"},
        {".dvcignore": "**/a\n**/deep/**\n"},
        {".dvcignore": "*\n!a\n!sub/\n!data/\n!set/\n"},
        {".dvcignore": "*.tmp\n!a.tmp\n"},
        {".dvcignore": "a.tmp*\n!sub\n"},
        {".dvcignore": "sp ace\nends \n starts\n"},
        {".dvcignore": "\\#hash\n\\!bang\n\\[x\\]\n"},
        {".dvcignore": "[ax]\n"},
        {".dvcignore": "[!ax]\n"},
        {".dvcignore": "?\n"},
        {".dvcignore": "é\n"},
        {".dvcignore": "back\\\\slash\n\\*\n"},
        {".dvcignore": "/\n//\n.\n./a\n../b\n"},
        {".dvcignore": "a//b\nset//a\n"},
        {".dvcignore": "*.TMP\n"},
        {"data/.dvcignore": "*.tmp\n/set/log\n"},
        {"data/.dvcignore": "set/sub/\nset/tmp/b\n"},
        {".dvcignore": "*.tmp\n", "data/.dvcignore": "!a.tmp\n"},
        {".dvcignore": "!a.tmp\n", "data/.dvcignore": "*.tmp\n"},
        {".dvcignore": "data/.dvcignore\n", "data/.dvcignore": "*\n"},
        {"data/.dvcignore": "\\*\n\\#hash\n"},
    ],
    ids=lambda rules: repr("|".join(f"{k}:{v}" for k, v in rules.items()))[:50],
)
def test_rules(template: Side, tmp_path: Path, rules: dict[str, str]) -> None:
    pair = pair_of(template, tmp_path)
    ruled(pair, rules)
    pair.put({"data/set": FOLDER})
    assert_same_content(pair, "data/set")


def assert_same_content(pair: Pair, path: str) -> None:
    """The members that we count are those that DVC walks over."""
    project = pair.ours.work.project()
    found = walking.walk(str(pair.ours.root), path)
    ours = set(found.names) - dvcignore.left_out(project, path, found)
    assert ours == set(members(pair.theirs.root, path))


def members(root: Path, path: str) -> list[str]:
    """The files below a folder that DVC would add."""
    from dvc.fs import localfs
    from dvc.ignore import DvcIgnoreFilter

    rules = DvcIgnoreFilter(localfs, str(root))
    top = str(root / path)
    return [name[len(top) + 1 :] for name in rules.find(localfs, top)]


LINES = ("a", "a.tmp", "*.tmp", "/a", "sub/", "sub", "/data/set/sub", "data/set/*", "*",
         "tmp/a", "sub/*", "**/a", "sub/**", "s*", "a?", "[ab]", " a ", "deep", "/set/a",
         "log.*")  # fmt: skip
rule_files = st.dictionaries(
    st.sampled_from([".dvcignore", "data/.dvcignore"]),
    st.lists(st.tuples(st.sampled_from(["", "", "!"]), st.sampled_from(LINES)), max_size=4).map(
        lambda lines: "".join(f"{sign}{line}\n" for sign, line in lines)
    ),
)


@settings(max_examples=40, derandomize=True, phases=(Phase.generate,))
@given(rules=rule_files)
def test_any_rules(template: Side, tmp_path: Path, rules: dict[str, str]) -> None:
    pair = pair_of(template, tmp_path)
    ruled(pair, rules)
    pair.put({"data/set": FOLDER})
    assert_same_content(pair, "data/set")


@pytest.mark.slow
@settings(max_examples=600)
@given(rules=rule_files)
def test_many_rules(template: Side, tmp_path: Path, rules: dict[str, str]) -> None:
    test_any_rules.hypothesis.inner_test(template, tmp_path, rules)


@pytest.fixture
def pair(template: Side, tmp_path: Path) -> Pair:
    return pair_of(template, tmp_path)


def test_a_whole_round(pair: Pair) -> None:
    ruled(pair, {".dvcignore": "*.tmp\n", "data/.dvcignore": "set/sub/deep\n!set/a.tmp\n"})
    pair.put({"data/set": FOLDER})
    pair.track("data/set")
    pair.assert_alike()
    assert pair.ours.dvc_status() == {}
    pair.assert_we_are_content({})


def test_a_rule_that_comes_or_goes_is_seen(pair: Pair) -> None:
    pair.put({"data/set": {"a": b"1", "b.tmp": b"2"}})
    pair.track("data/set")
    for rules in ("*.tmp\n", "a\n", "", "# only this\n"):
        ruled(pair, {".dvcignore": rules})
        for side in (pair.ours, pair.theirs):
            side.work.commit("rules", "--allow-empty")
        modified = bool(pair.theirs.dvc_status())
        said = {file.path: file.state for file in pair.ours.work.status_of().files}
        assert said == {"data/set": "modified" if modified else "unchanged"}
        pair.track("data/set")
        pair.assert_alike()


def test_the_file_itself_is_left_out(pair: Pair) -> None:
    ruled(pair, {".dvcignore": "*.csv\n"})
    pair.put({"x.csv": b"1", "y": b"2"})
    result = pair.ours.work.track("x.csv", "y")
    assert [error.code for error in result.errors] == ["path-ignored"]
    assert [one.path for one in result.tracked] == ["y"]
    assert not (pair.ours.root / "x.csv.dvc").exists()
    with pytest.raises(Exception, match="ignored"):
        pair.theirs.dvc_add("x.csv")


def test_all_of_a_folder_is_left_out(pair: Pair) -> None:
    ruled(pair, {".dvcignore": "data/\n"})
    pair.put({"data": {"x": b"1"}})
    result = pair.ours.work.track("data")
    assert [error.code for error in result.errors] == ["path-ignored"]
    with pytest.raises(Exception, match="ignored"):
        pair.theirs.dvc_add("data")


def test_a_file_that_was_left_out_is_not_replaced_unsaved(pair: Pair) -> None:
    """A teammate took the rule away and tracked a file of that name; here it was never saved."""
    side = pair.ours
    pair.put({"data": {"x": b"1", "y.tmp": b"theirs"}})
    pair.track("data")
    side.work.commit("all of it")
    clone = side.clone(pair.base / "clone")
    (clone.root / ".dvcignore").write_text("*.tmp\n")
    (clone.root / "data").mkdir()
    (clone.root / "data/y.tmp").write_bytes(b"mine")
    result = clone.work.pull()
    assert result.kept == ("data/y.tmp",)
    assert (clone.root / "data/y.tmp").read_bytes() == b"mine"
    assert (clone.root / "data/x").read_bytes() == b"1"
    forced = clone.work.pull(force=True)
    assert [path for path, _ in forced.saved] == ["data/y.tmp"]
    assert (clone.root / "data/y.tmp").read_bytes() == b"theirs"


def test_rules_inside_a_tracked_folder_are_refused(pair: Pair) -> None:
    pair.put({"data": {"x": b"1", "sub": {".dvcignore": b"x\n", "x": b"2"}}})
    result = pair.ours.work.track("data")
    assert [error.code for error in result.errors] == ["path-ignore-file"]
    with pytest.raises(Exception, match=r"\.dvcignore"):
        pair.theirs.dvc_add("data")


def test_what_is_left_out_may_be_anything(pair: Pair) -> None:
    """A link, a pipe, a repository: none of it is looked at."""
    ruled(pair, {".dvcignore": "out/\n*.lnk\n"})
    pair.put({"data": {"x": b"1", "out": {"y": b"2"}}})
    for side in (pair.ours, pair.theirs):
        (side.root / "data/a.lnk").symlink_to("x")
        (side.root / "data/out/b").symlink_to("nowhere")
    pair.track("data")
    pair.assert_alike()
    assert pair.ours.dvc_status() == {}


@pytest.mark.parametrize("rules", [b"\xff\xfe\n", b"ends\\ \n"])
def test_rules_that_dvc_cannot_read_are_an_error(pair: Pair, rules: bytes) -> None:
    pair.put({"data": {"x": b"1"}})
    pair.track("data")
    for side in (pair.ours, pair.theirs):
        (side.root / ".dvcignore").write_bytes(rules)
    result = pair.ours.work.track("data")
    assert [error.code for error in result.errors] == ["ignore-file-invalid"]
    assert [file.state for file in pair.ours.work.status_of().files] == ["unreadable"]
    with pytest.raises(ValueError, match=r"."):
        pair.theirs.dvc_status()


def test_dvc_answers_for_any_kind_of_file(pair: Pair) -> None:
    ruled(pair, {".dvcignore": "a\n!b\n"})
    assert dvc.left_out(str(pair.ours.root), ["a", "b", "c/a", "a/b"]) == {"a", "c/a", "a/b"}
