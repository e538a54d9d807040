"""diff: what changed in config, metrics, data and code between two commits, or since one."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

import looking
from looking import Looking, changes, code_of, lines
from mlrepro import engine, render
from mlrepro.errors import MlreproError
from working import oid_of


@pytest.fixture
def work(tmp_path: Path) -> Looking:
    return looking.make(tmp_path / "repo")


# data


def test_data_between_commits_and_since_the_last(work: Looking) -> None:
    first = work.has({"data/a.csv": "1\n", "data/b.csv": "2\n", "data/c.csv": "3\n"})
    second = work.has({"data/a.csv": "11\n", "data/b.csv": None, "data/d.csv": "4\n"})
    assert changes(work.diff()) == []
    work.write("data/c.csv", "333\n")
    result = work.diff()
    assert (result.a, result.b) == (second, "workspace")
    assert changes(result) == [("modified", "data/c.csv")]
    assert changes(work.diff(first, second)) == [
        ("modified", "data/a.csv"), ("removed", "data/b.csv"), ("added", "data/d.csv"),
    ]  # fmt: skip
    assert [one[0] for one in changes(work.diff(second, first))] == ["modified", "added", "removed"]
    assert len(changes(work.diff(first))) == 4
    assert work.diff(first).exit_code == 0
    told = work.diff(first, second).data()
    assert told["data"][0] == {
        "path": "data/a.csv",
        "pointer": "data/a.csv.dvc",
        "change": "modified",
        "old": {"oid": oid_of("1\n"), "size": 2, "nfiles": None},
        "new": {"oid": oid_of("11\n"), "size": 3, "nfiles": None},
        "rows": None,
    }
    assert told["data"][1]["new"] is None
    assert told["data"][2]["old"] is None


def test_a_rename_is_one_change(work: Looking) -> None:
    work.has({"data/a.csv": "1", "data/b.csv": "1", "data/c.csv": "2"})
    work.has({"data/a.csv": None, "data/z.csv": "1", "data/y.csv": "1"})
    (added, renamed) = work.diff("HEAD~1", "HEAD").files
    assert (added.change, added.path) == ("renamed", "data/y.csv")
    assert added.before == "data/a.csv"
    assert (renamed.change, renamed.path) == ("added", "data/z.csv")
    told = work.mlrepro("diff", "HEAD~1", "HEAD", "--json", cwd="data").json["data"]["data"][0]
    assert (told["path"], told["before"], told["change"]) == ("y.csv", "a.csv", "renamed")


def test_only_what_was_asked_for(work: Looking) -> None:
    """A rename out of what was asked for is one, and nothing else seems to come or go."""
    work.has({"data/a.csv": "1", "data/sub/b.csv": "2", "params.yaml": "a: 1", "x.py": "1"})
    work.has({"data/a.csv": "11", "data/sub/b.csv": "22", "params.yaml": "a: 2", "x.py": "2"})
    work.write("data/sub/b.csv", "222")
    for names in (("HEAD~1", "HEAD"), ("HEAD~1",)):
        result = work.diff(*names, "data/sub")
        assert changes(result) == [("modified", "data/sub/b.csv")]
        assert not result.config
        assert not result.code
    assert changes(work.diff("data/a.csv")) == []
    assert changes(work.diff("HEAD~1", "data/a.csv.dvc", "params.yaml"))[0][1] == "data/a.csv"
    assert [one.name for one in work.diff("HEAD~1", "params.yaml").config] == ["a"]
    assert [one.path for one in work.diff("HEAD~1", "*.py").code] == ["x.py"]
    assert changes(work.diff("HEAD~1", "HEAD", "b.csv", cwd="data/sub"))[0][1] == "data/sub/b.csv"


def test_the_files_of_a_folder(work: Looking) -> None:
    before = {"a.png": "1", "b.png": "2", "c.png": "3", "d/e.png": "4"}
    for name, content in before.items():
        work.write(f"pics/{name}", content)
    work.track("pics")
    work.git("add", "--all")
    work.save()
    shutil.rmtree(work.path("pics"))
    after = {"a.png": "111", "c2.png": "3", "d/e.png": "4", "new.png": "5"}
    for name, content in after.items():
        work.write(f"pics/{name}", content)
    workspace = work.diff()
    work.track("pics")
    work.git("add", "--all")
    work.save()
    for result in (workspace, work.diff("HEAD~1", "HEAD")):
        (change,) = result.files
        members = change.members
        assert members is not None
        assert (members.added, members.removed) == (["new.png"], ["b.png"])
        assert (members.modified, members.renamed) == (["a.png"], [("c.png", "c2.png")])
        told = result.data()["data"][0]
        assert (told["old"]["nfiles"], told["new"]["nfiles"], told["new"]["size"]) == (4, 4, 6)
        text = "\n".join(lines(result, work))
        assert "modified  pics  4 B in 4 files  6 B in 4 files  +2 B" in text
        assert "1 file renamed: c.png -> c2.png" in text
    work.forget()
    shutil.rmtree(work.store / "files")
    (change,) = work.diff("HEAD~1", "HEAD").files
    assert change.members is None
    assert "which of its files changed is not known here" in work.diff("HEAD~1", "HEAD").notes[0]


def test_data_that_was_not_pulled_is_compared_by_its_pointer(work: Looking) -> None:
    work.has({"data/a.csv": "1"})
    work.has({"data/a.csv": "2"})
    work.path("data/a.csv").unlink()
    assert work.diff().files == ()
    result = work.diff("HEAD~1")
    assert changes(result) == [("modified", "data/a.csv")]
    assert result.notes == ("data/a.csv: not in the workspace; its pointer was compared",)


def test_what_did_not_change_is_not_read(work: Looking, monkeypatch: pytest.MonkeyPatch) -> None:
    work.has({"data/a.csv": "1", "data/b.csv": "2"})
    time.sleep(0.05)  # older than the clock's tick, so that its times prove something
    work.status_of()
    read = []
    original = engine.hash_files

    def noted(paths: list[str], **given: Any) -> Any:
        read.extend(paths)
        return original(paths, **given)

    monkeypatch.setattr(engine, "hash_files", noted)
    work.write("data/b.csv", "22")
    assert changes(work.diff()) == [("modified", "data/b.csv")]
    assert read == [str(work.path("data/b.csv"))]


def test_a_pointer_in_conflict_is_named_and_the_others_go_on(work: Looking) -> None:
    work.has({"data/a.csv": "1", "data/b.csv": "2"})
    work.write("data/b.csv", "22")
    work.write("data/a.csv.dvc", "<<<<<<< HEAD\nouts: []\n")
    result = work.diff()
    assert changes(result) == [("modified", "data/b.csv")]
    assert [error.code for error in result.errors] == ["pointer-conflict"]
    assert result.exit_code == 1


# values and code


def test_config_metrics_and_code(work: Looking) -> None:
    first = work.has({
        "config/config.py": "LR = 0.1\nNAME = 'a'\nX = f()\n", "params.yaml": "train: {seed: 1}\n",
        "metrics.json": '{"f1": 0.5, "n": 3}', "src/a.py": "a\n" * 20, "src/b.py": "1",
        "config/same.json": "{}",
    })  # fmt: skip
    work.git("mv", "src/a.py", "src/c.py")
    work.has({
        "config/config.py": "LR = 0.2\nNEW = 1\nX = f(1)\n", "params.yaml": "train: {seed: 1}  #\n",
        "metrics.json": '{"f1": 0.75, "n": 3}', "src/b.py": "2", ".gitignore": "/stores/\n/x\n",
    })  # fmt: skip
    work.write("fresh.py", "")
    work.write("stores/ignored", "")
    result = work.diff(first)
    told = [(one.name, one.change, one.old, one.new) for one in result.config]
    assert told == [
        ("LR", "modified", 0.1, 0.2), ("NAME", "removed", "a", None),
        ("X", "modified", "X = f()", "X = f(1)"), ("NEW", "added", None, 1),
    ]  # fmt: skip
    assert [(one.name, one.new) for one in result.metrics] == [("f1", 0.75)]
    code = [(one.change, one.path, one.before) for one in result.code]
    assert code == [
        ("added", "fresh.py", ""), ("modified", "params.yaml", ""), ("modified", "src/b.py", ""),
        ("renamed", "src/c.py", "src/a.py"),
    ]  # fmt: skip
    assert result.data()["config"][0] == {
        "file": "config/config.py", "name": "LR", "change": "modified", "old": 0.1, "new": 0.2,
    }  # fmt: skip
    between = work.diff(first, "HEAD").data()
    assert [one["path"] for one in between["code"]] == ["params.yaml", "src/b.py", "src/c.py"]
    assert list(between) == ["a", "b", "config", "metrics", "data", "code"]


def test_metrics_that_are_data(work: Looking) -> None:
    """What a pipeline measures is kept by DVC unless it says otherwise."""
    work.has({"dvc.yaml": "metrics: [data/scores.json]\n", "data/scores.json": '{"f1": 0.5}'})
    work.has({"data/scores.json": '{"f1": 0.75}'})
    work.write("data/scores.json", '{"f1": 1.0}')
    for names, values in ((("HEAD~1", "HEAD"), (0.5, 0.75)), ((), (0.75, 1.0))):
        result = work.diff(*names)
        assert [(one.old, one.new) for one in result.metrics] == [values]
        assert changes(result) == [("modified", "data/scores.json")]


def test_a_file_that_one_side_cannot_read_does_not_seem_to_come_or_go(work: Looking) -> None:
    work.has({"config/a.json": '{"x": 1}', "config/b.json": '{"y": 1}'})
    work.write("config/a.json", '{"x": ')
    work.write("config/b.json", '{"y": 2}')
    result = work.diff()
    assert [one.name for one in result.config] == ["y"]
    assert [error.path for error in result.errors] == ["config/a.json"]
    assert [one.path for one in result.code] == ["config/a.json"]


# names


def test_names_are_commits_or_paths(work: Looking) -> None:
    first = work.has({"data/a.csv": "1"})
    second = work.has({"data/a.csv": "2"})
    work.git("tag", "v1", first)
    for names in (("v1", "HEAD"), ("v1..HEAD",), ("v1..",), ("v1...HEAD",), ("v1", "HEAD", "--")):
        result = work.diff(*names)
        assert (result.a, result.b) == (first, second), names
        assert len(result.files) == 1
    assert work.diff("v1", "--", "data").b == "workspace"
    assert work.diff("--", "data").a == second
    work.git("branch", "data")
    assert code_of(work, "data") == "ambiguous-name"
    assert work.diff("data", "--").a == second
    assert changes(work.diff("v1", "--", "data")) == [("modified", "data/a.csv")]
    work.git("checkout", "-q", "--orphan", "alone")
    work.save("unrelated")
    assert code_of(work, "v1...alone") == "no-common-commit"


@pytest.mark.parametrize(
    ("names", "code", "exit_code"),
    [
        (("nope",), "unknown-revision", 1),
        (("HEAD", "nope"), "unknown-revision", 1),
        (("nope", "--"), "unknown-revision", 1),
        (("nope", "HEAD"), "unknown-revision", 1),
        (("HEAD..nope", "--"), "unknown-revision", 1),
        (("data/never.csv",), "path-unknown", 1),
        (("HEAD", "--", "never"), "path-unknown", 1),
        (("HEAD", "HEAD", "never"), "path-unknown", 1),
        (("HEAD", "../outside"), "path-outside", 1),
        (("HEAD", "HEAD", "HEAD"), "usage", 2),
        (("data/a.csv", "HEAD"), "usage", 2),
    ],
)
def test_wrong_names(work: Looking, names: tuple[str, ...], code: str, exit_code: int) -> None:
    work.has({"data/a.csv": "1"})
    with pytest.raises(MlreproError) as caught:
        work.diff(*names)
    assert (caught.value.code, caught.value.exit_code) == (code, exit_code)
    assert caught.value.hint


def test_a_path_that_only_an_old_commit_has(work: Looking) -> None:
    work.has({"data/a.csv": "1", "gone.py": ""})
    work.git("rm", "-q", "gone.py")
    work.has({"data/a.csv": None})
    assert changes(work.diff("HEAD~1", "data/a.csv")) == [("removed", "data/a.csv")]
    assert [one.path for one in work.diff("HEAD~1", "gone.py").code] == ["gone.py"]
    result = work.diff("HEAD~1", "data/a.csv", "data/never.csv")
    assert [error.code for error in result.errors] == ["path-unknown"]
    assert changes(result) == [("removed", "data/a.csv")]


def test_before_the_first_commit_and_without_data(work: Looking) -> None:
    work.write("data/a.csv", "1")
    work.track("data/a.csv")
    result = work.diff()
    assert (result.a, changes(result)) == ("", [("added", "data/a.csv")])
    work.has({"x.py": ""})
    assert changes(work.diff("HEAD")) == []
    assert lines(work.diff("HEAD"), work)[-1] == "no differences"


# what is said of it


def test_what_a_person_reads(work: Looking) -> None:
    a = work.has({"data/a.csv": b"x" * 2048, "params.yaml": "lr: 0.1\n", "x.py": ""}, "one")[:10]
    work.has({"data/a.csv": b"x" * 1024, "params.yaml": "lr: 0.25\n", "x.py": "1"}, "two")
    told = lines(work.diff("HEAD~1"), work)
    assert told[0].startswith(a)
    assert told[0].endswith(" one -> workspace")
    assert told[1:] == [
        "",
        "config",
        f"                   {a}  workspace",
        "  params.yaml  lr  0.1         0.25       +0.15",
        "",
        "data",
        f"                        {a}  workspace",
        "  modified  data/a.csv     2.0 KiB    1.0 KiB  -1.0 KiB",
        "",
        "code",
        "  modified  x.py",
        "",
        "changed: 1 config value, 1 data path, 1 code file",
    ]


HOSTILE = "`|<img src=x onerror=alert(1)>@team #1 [a](http://x.org) *b* \x1b[2J"


def test_markdown_is_bounded_and_nothing_in_it_acts(work: Looking) -> None:
    many = {f"data/{n:03}.csv": str(n) for n in range(60)}
    work.has({"params.yaml": "a: 1\n", **many}, HOSTILE.replace("\x1b", ""))
    work.has({"params.yaml": json.dumps({"a": HOSTILE}), **dict.fromkeys(many, "x")}, "two")
    result = work.diff("HEAD~1", "HEAD")
    text = "\n".join(render.render("diff", _markdown(result), str, work.options()))
    assert text.startswith("### Changes from ")
    assert "| file | name |" in text
    assert "and 10 more" in text
    assert "<img" not in text.replace("\\<img", "")
    assert "@team" not in text
    assert "\x1b" not in text
    assert "http://" not in text
    row = next(line for line in text.splitlines() if line.startswith("| params.yaml"))
    assert row.replace("\\|", "").count("|") == 6
    run = work.mlrepro("diff", "--md", "HEAD~1", "HEAD")
    assert (run.exit_code, run.stdout) == (0, text + "\n")


def _markdown(result: Any) -> Any:
    from mlrepro.dataclass import replace

    return replace(result, markdown=True)


def test_through_the_door(work: Looking) -> None:
    work.has({"data/a.csv": "1"})
    work.has({"data/a.csv": "2"})
    work.git("branch", "data")
    assert work.mlrepro("diff", "data", "--json").exit_code == 2
    run = work.mlrepro("diff", "HEAD~1", "--json", "--", "data")
    assert run.exit_code == 0
    assert [one["path"] for one in run.json["data"]["data"]] == ["data/a.csv"]
    run = work.mlrepro("diff", "nope", "--json")
    assert (run.exit_code, run.json["errors"][0]["code"]) == (1, "unknown-revision")
    assert run.json["data"] == {}
