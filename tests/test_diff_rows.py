"""diff --rows: the rows of tables that differ between two commits, or since one."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from pathlib import Path

import pytest

import looking
from looking import Looking, changes, code_of, lines
from mlrepro.errors import MlreproError
from working import REAL, oid_of

real = pytest.mark.skipif(not REAL.is_dir(), reason="the folder shared/data is not here")


@pytest.fixture
def work(tmp_path: Path) -> Looking:
    return looking.make(tmp_path / "repo")


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@real
def test_the_published_versions(work: Looking) -> None:
    """The numbers are those of Python's csv module."""
    pytest.importorskip("duckdb", reason="the extra mlrepro[tables] is not installed")
    old, new = REAL / "2022-08", REAL / "2023-07"
    work.has({f"data/{path.name}": path.read_bytes() for path in old.iterdir()}, "2022-08")
    work.has({f"data/{path.name}": path.read_bytes() for path in new.iterdir()}, "2023-07")
    result = work.diff("HEAD~1", "HEAD", rows=True)
    assert not result.errors
    assert changes(result) == [
        ("added", "data/holdout.csv"), ("added", "data/labeled_projects.csv"),
        ("modified", "data/projects.csv"), ("modified", "data/tags.csv"),
    ]  # fmt: skip
    told = {change["path"]: change["rows"] for change in result.data()["data"]}

    before = {row["id"]: row for row in table(old / "projects.csv")}
    after = {row["id"]: row for row in table(new / "projects.csv")}
    both = before.keys() & after.keys()
    changed = [key for key in both if before[key] != after[key]]
    cells = Counter(c for key in changed for c in after[key] if before[key][c] != after[key][c])
    projects = told["data/projects.csv"]
    assert projects["key"] == ["id"]
    assert (projects["old"], projects["new"]) == (len(before), len(after))
    assert projects["removed"] == len(before.keys() - after.keys()) > 0
    assert projects["added"] == len(after.keys() - before.keys())
    assert projects["changed"] == len(changed) > 0
    assert projects["same"] == len(both) - len(changed)
    assert projects["cells"] == dict(cells)
    for example in projects["examples"]["changed"]:
        key = example["key"]["id"]
        for cell in example["cells"]:
            was, now = before[key][cell["column"]], after[key][cell["column"]]
            assert was != now
            assert (cell["old"] in was, cell["new"] in now) == (len(was) <= 1000, len(now) <= 1000)

    tags = told["data/tags.csv"]
    assert tags["columns"] == {"added": [], "removed": ["id"], "retyped": [], "renamed": []}
    counts = [Counter(row["tag"] for row in table(place / "tags.csv")) for place in (old, new)]
    assert tags["removed"] == (counts[0] - counts[1]).total()
    assert tags["added"] == (counts[1] - counts[0]).total()
    for name in ("holdout.csv", "labeled_projects.csv"):
        rows = told[f"data/{name}"]
        assert (rows["old"], rows["new"]) == (None, len(table(new / name)))
        assert rows["columns"]["added"] == list(table(new / name)[0])

    text = "\n".join(lines(result, work))
    assert f"compared by id: 0 added, {projects['removed']} removed, {len(changed)} changed" in text
    assert "columns removed: id" in text


def test_rows_of_the_workspace_and_of_a_folder(work: Looking) -> None:
    pytest.importorskip("duckdb", reason="the extra mlrepro[tables] is not installed")
    work.has({"data/a.csv": "id,x\n1,a\n2,b\n", "data/b.txt": "no table"})
    work.write("parts/one.csv", "id,x\n1,a\n")
    work.write("parts/two.csv", "id,x\n1,a\n")
    work.track("parts")
    work.git("add", "--all")
    work.save()
    work.write("data/a.csv", "id,x\n1,a\n2,c\n3,d\n")
    work.write("data/b.txt", "none either")
    work.write("parts/two.csv", "id,x\n1,a\n2,b\n")
    result = work.diff(rows=True)
    assert not result.errors
    told = {one["path"]: one for one in result.data()["data"]}
    rows = told["data/a.csv"]["rows"]
    assert (rows["added"], rows["removed"], rows["changed"]) == (1, 0, 1)
    (inside,) = told["parts"]["members"]["inside"]
    assert (inside["name"], inside["rows"]["added"]) == ("two.csv", 1)
    assert told["data/b.txt"]["rows"] is None
    text = "\n".join(lines(result, work))
    assert "~ id=2: x b -> c" in text
    assert "two.csv:" in text
    assert not list(work.path(".dvc/tmp").glob("mlrepro/*"))


def test_a_bad_table_is_named_and_the_others_go_on(work: Looking) -> None:
    pytest.importorskip("duckdb", reason="the extra mlrepro[tables] is not installed")
    good = "id,x\n1,a\n"
    work.has({"data/a.csv": good, "data/b.csv": good, "data/c.csv": good, "data/d.csv": good})
    work.has({
        "data/a.csv": good + "2,b\n", "data/b.csv": good + "2,b,c\n", "data/c.csv": "id,y\n1,b\n",
        "data/d.csv": good + "1,b\n",
    })  # fmt: skip
    work.forget()
    (work.store / "files" / "md5" / oid_of(good)[:2] / oid_of(good)[2:]).chmod(0o644)
    result = work.diff("HEAD~1", "HEAD", rows=True, key="id")
    told = {change["path"]: change["rows"] for change in result.data()["data"]}
    assert told["data/a.csv"]["added"] == 1
    assert told["data/c.csv"]["columns"]["added"] == ["y"]
    errors = {error.path: error for error in result.errors}
    assert errors["data/b.csv"].code == "table-unreadable"
    assert "line 3 has 3 columns" in errors["data/b.csv"].message
    assert work.head[:10] in errors["data/b.csv"].message
    assert errors["data/d.csv"].code == "table-key-duplicates"
    assert len(errors) == 2
    assert result.exit_code == 1


def test_content_that_is_not_here(work: Looking) -> None:
    pytest.importorskip("duckdb", reason="the extra mlrepro[tables] is not installed")
    work.has({"data/a.csv": "id\n1\n"})
    work.has({"data/a.csv": "id\n2\n"})
    work.forget()
    shutil.rmtree(work.store / "files")
    assert work.diff("HEAD~1", "HEAD").exit_code == 0
    (error,) = work.diff("HEAD~1", "HEAD", rows=True).errors
    assert (error.code, error.path) == ("blob-missing", "data/a.csv")
    assert work.diff("HEAD~1", rows=True).errors[0].code == "blob-missing"


def test_without_the_extra(work: Looking, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "duckdb" else find_spec(name)
    )
    work.has({"data/a.csv": "id\n1\n"})
    assert code_of(work, rows=True) == "table-extra-missing"
    assert work.diff().exit_code == 0
    with pytest.raises(MlreproError) as caught:
        work.diff(key="id")
    assert caught.value.hint == 'pip install "mlrepro[tables]"'
