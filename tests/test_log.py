"""log: which commit did what to the data, newest first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import looking
from looking import Looking
from mlrepro.errors import PathError
from mlrepro.layout import Paths
from mlrepro.render_history import log as rendered
from working import oid_of


@pytest.fixture
def work(tmp_path: Path) -> Looking:
    return looking.make(tmp_path / "repo")


def told(work: Looking, path: str | None = None, *, cwd: str = ".") -> list[list[tuple[Any, ...]]]:
    """What each version did: (change, path, oid, size)."""
    versions = work.log(path, cwd=cwd).data()["versions"]
    return [
        [(c["change"], c["path"], c["oid"], c["size"]) for c in version["changes"]]
        for version in versions
    ]


def lines(work: Looking, path: str | None = None) -> list[str]:
    return rendered(work.log(path), Paths(str), False)


def test_versions_newest_first(work: Looking) -> None:
    first = work.has({"data/a.csv": "1\n", "data/b.csv": "22\n"}, "two tables")
    work.has({"train.py": "1"}, "only code")
    second = work.has({"data/a.csv": "333333\n"}, "more rows")
    third = work.has({"data/b.csv": None}, "without b")
    assert told(work) == [
        [("removed", "data/b.csv", oid_of("22\n"), 3)],
        [("modified", "data/a.csv", oid_of("333333\n"), 7)],
        [("added", "data/a.csv", oid_of("1\n"), 2), ("added", "data/b.csv", oid_of("22\n"), 3)],
    ]
    newest = work.log().data()["versions"][0]
    assert list(newest) == ["commit", "date", "author", "subject", "changes"]
    assert (newest["commit"], newest["author"], newest["subject"]) == (
        third,
        "Ada Tester",
        "without b",
    )
    assert newest["date"] == work.git("log", "-1", "--format=%aI").stdout.strip()
    assert [v["commit"] for v in work.log().data()["versions"]] == [third, second, first]
    assert work.log().exit_code == 0


def test_what_a_person_reads(work: Looking) -> None:
    first = work.has({"data/a.csv": b"x" * 2048}, "one table")
    second = work.has({"data/a.csv": b"x" * 1024}, "half of it")
    when = [v.commit.date[:10] + " " + v.commit.date[11:16] for v in work.log().versions]
    assert lines(work) == [
        f"{second[:10]}  {when[0]}  Ada Tester  half of it",
        "  modified  data/a.csv  1.0 KiB  -1.0 KiB",
        "",
        f"{first[:10]}  {when[1]}  Ada Tester  one table",
        "  added  data/a.csv  2.0 KiB  +2.0 KiB",
        "",
        "2 versions, 1 path",
    ]


def test_of_one_path_by_any_of_its_names(work: Looking) -> None:
    work.has({"data/a.csv": "1", "data/b.csv": "2"})
    work.has({"data/a.csv": "3"})
    for name in ("data/a.csv", "data/a.csv.dvc", "data/[a]*"):
        assert [len(version) for version in told(work, name)] == [1, 1], name
    for name in ("data", "."):
        assert [len(version) for version in told(work, name)] == [1, 2], name
    assert len(told(work, "a.csv", cwd="data")) == 2
    assert len(told(work, "data/b.csv")) == 1


def test_a_path_keeps_its_history_when_it_is_renamed(work: Looking) -> None:
    work.has({"data/a.csv": "1"}, "as a")
    work.has({"data/a.csv": None, "data/b.csv": "1"}, "renamed")
    work.has({"data/b.csv": "22"}, "as b")
    subjects = [version.commit.subject for version in work.log("data/b.csv").versions]
    assert subjects == ["as b", "renamed", "as a"]
    assert "  renamed  data/a.csv -> data/b.csv  1 B" in lines(work)


def test_versions_of_branches_and_merges(work: Looking) -> None:
    """One that a merge did not keep is a version, and so is what was made while merging."""
    work.has({"data/a.csv": "1", "data/b.csv": "1"}, "base")
    work.git("checkout", "-q", "-b", "side")
    work.has({"data/a.csv": "side"}, "side")
    work.git("checkout", "-q", "main")
    work.has({"data/a.csv": "main"}, "main")
    work.git("merge", "-q", "--no-commit", "--no-ff", "-s", "ours", "side")
    work.has({"data/a.csv": "both"}, "merged")
    work.git("checkout", "-q", "-b", "other")
    work.has({"data/b.csv": "2"}, "tried")
    work.has({"data/b.csv": "1"}, "given up")
    work.git("checkout", "-q", "main")
    work.git("merge", "-q", "--no-ff", "-m", "nothing new", "other")
    by_subject = {version.commit.subject: version.changes for version in work.log().versions}
    assert set(by_subject) == {"base", "side", "main", "merged", "tried", "given up"}
    (merged,) = by_subject["merged"]
    assert (merged.change, merged.oid, merged.grown) == ("modified", oid_of("both"), 0)


def test_a_pointer_that_says_the_same_in_other_words_is_no_version(work: Looking) -> None:
    work.has({"data/a.csv": "1"})
    pointer = work.path("data/a.csv.dvc")
    pointer.write_text(pointer.read_text() + "desc: what it is\n")
    work.git("commit", "-qam", "described")
    assert len(told(work)) == 1


def test_hostile_subjects_and_names(work: Looking) -> None:
    work.write("name", "")
    work.has({"data/a.csv": "1"}, "\x02:100644 \x01\x1b[2J tricky")
    work.git("config", "log.showSignature", "true")
    work.git("config", "color.ui", "always")
    (version,) = work.log().versions
    assert version.commit.subject == "\x02:100644 \x01\x1b[2J tricky"
    assert len(version.changes) == 1
    assert "\x1b" not in "".join(lines(work))


def test_a_bad_pointer_is_named_and_the_others_go_on(work: Looking) -> None:
    work.has({"data/a.csv": "1"})
    work.write("data/b.csv.dvc", "<<<<<<< HEAD\nouts: []\n")
    bad = work.has({"train.py": ""}, "with a conflict")
    work.git("rm", "-q", "data/b.csv.dvc")
    work.save("without it")
    result = work.log()
    assert [len(version.changes) for version in result.versions] == [1]
    (error,) = result.errors
    assert (error.code, error.commit, error.path) == ("pointer-conflict", bad, "data/b.csv.dvc")
    assert result.exit_code == 1
    assert work.log("data/a.csv").exit_code == 0


def test_no_versions_yet(work: Looking) -> None:
    assert (work.log().versions, work.log().exit_code) == ((), 0)
    assert lines(work)[0] == "no version of any data yet"
    work.has({"train.py": ""})
    assert work.log().versions == ()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("data/never.csv", "No commit ever had data at data/never.csv."),
        ("train.py", "train.py is kept by git itself"),
        ("data/new.csv", "No commit has data/new.csv yet."),
    ],
)
def test_a_path_without_versions(work: Looking, name: str, words: str) -> None:
    work.has({"data/a.csv": "1", "train.py": ""})
    work.write("data/new.csv", "2")
    work.track("data/new.csv")
    with pytest.raises(PathError, match=words) as caught:
        work.log(name)
    assert (caught.value.code, caught.value.path) == ("path-not-tracked", name)
    assert caught.value.hint


def test_outside_of_the_repository(work: Looking) -> None:
    with pytest.raises(PathError) as caught:
        work.log("../elsewhere")
    assert caught.value.code == "path-outside"


def test_a_shallow_clone_says_that_it_is_one(work: Looking, tmp_path: Path) -> None:
    work.has({"data/a.csv": "1"})
    work.has({"data/a.csv": "2"})
    work.git("clone", "-q", "--depth=1", f"file://{work.root}", str(tmp_path / "clone"))
    clone = Looking(tmp_path / "clone")
    assert clone.log().shallow
    assert len(clone.log().versions) == 1
    assert "git fetch --unshallow" in lines(clone)[-1]


def test_a_pipeline_s_outputs_have_versions_too(work: Looking) -> None:
    lock = """\
schema: '2.0'
stages:
  train:
    cmd: python train.py
    outs:
    - path: model.bin
      hash: md5
      md5: {oid}
      size: 3
"""
    work.write("dvc.yaml", "stages:\n  train:\n    cmd: python train.py\n    outs: [model.bin]\n")
    for content in ("one", "two"):
        work.write("dvc.lock", lock.format(oid=oid_of(content)))
        work.has({}, content)
    assert told(work, "model.bin") == [
        [("modified", "model.bin", oid_of("two"), 3)],
        [("added", "model.bin", oid_of("one"), 3)],
    ]


def test_through_the_door(work: Looking) -> None:
    work.has({"data/ü.csv": "1"})
    run = work.mlrepro("log", "--json", "ü.csv", cwd="data")
    assert (run.exit_code, run.stderr) == (0, "")
    assert run.json["data"]["versions"][0]["changes"][0]["path"] == "ü.csv"
    missing = work.mlrepro("log", "nope", "--json")
    assert missing.exit_code == 1
    assert missing.json["errors"][0]["code"] == "path-not-tracked"
