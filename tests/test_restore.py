"""restore: data paths brought back to a commit, and nothing else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import past
import working
from building import blob_path, build_file_tree, read_file_tree
from mlrepro import render
from mlrepro.errors import MlreproError
from mlrepro.result import Options
from past import FIRST, FOURTH, ONE, THREE, TWO, Past, told


@pytest.fixture
def work(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Past:
    return past.copy(tmp_path / "repo", tmp_path_factory.getbasetemp())


def without_dvc(work: Past) -> dict[str, bytes | None]:
    """All files of the worktree but those below .dvc, and the store's list of its clones."""
    return {
        name: text
        for name, text in read_file_tree(work.root).items()
        if not name.startswith(".dvc/") and "/.mlrepro/clones/" not in name
    }


def test_a_file_goes_back_and_the_rest_stays(work: Past) -> None:
    result = work.restore("data/x.csv", rev="one")
    assert (result.restored, result.exit_code) == (("data/x.csv",), 0)
    assert work.has({**FOURTH, "data/x.csv": ONE})
    assert work.staged == {"data/x.csv.dvc"}
    assert work.status == "M  data/x.csv.dvc\n"
    assert work.oid("data/x.csv.dvc", ":0") == working.oid_of(ONE)
    assert work.states()["data/x.csv"] == "unchanged"
    assert work.read("train.py") == b"lr = 3\n"
    assert work.restore("data/x.csv", rev="one").unchanged == ("data/x.csv",)
    lines = render.render("restore", result, str, Options())
    commit = work.git("rev-parse", "one").stdout[:10]
    assert lines == ["restored  data/x.csv", f"1 restored ({commit})", "  hint: git commit"]


def test_a_folder_goes_back_by_any_name_for_it(work: Past) -> None:
    for name, cwd in (("models", "."), (".", "models"), ("../models.dvc", "data"), ("mod*", ".")):
        result = work.restore(name, rev="one", cwd=cwd)
        assert result.restored == ("models",), name
        assert work.has({**FIRST, "data/x.csv": THREE, "data/y.csv": "new\n"})
        assert work.staged == {"models.dvc"}
        assert work.restore("models", rev="HEAD").restored == ("models",)
        assert work.has(FOURTH)
        assert work.status == ""


def test_what_was_untracked_since_comes_back(work: Past) -> None:
    work.git("rm", "--quiet", "data/y.csv.dvc")
    work.path("data/y.csv").unlink()
    work.write("data/.gitignore", "/x.csv\n")
    work.git("add", "--all")
    work.save("gone")
    result = work.restore("data/y.csv", rev="four")
    assert result.restored == ("data/y.csv",)
    assert work.read("data/y.csv") == b"new\n"
    assert work.staged == {"data/y.csv.dvc", "data/.gitignore"}
    assert work.raw == []
    work.save("back")
    assert work.status == ""
    assert work.verify().exit_code == 0
    # All of its folder may have gone.
    work.git("rm", "--quiet", "-r", "data")
    shutil.rmtree(work.path("data"), ignore_errors=True)
    work.save("all gone")
    assert set(work.restore("data", rev="HEAD~1").restored) == {"data/x.csv", "data/y.csv"}
    assert work.has(FOURTH)


def test_an_unsaved_change_is_kept(work: Past) -> None:
    work.write("data/x.csv", "edited\n")
    before = working.snapshot(work.root)
    result = work.restore("data/x.csv", rev="one")
    assert told(result) == [("unsaved-change", "data/x.csv")]
    assert (result.kept, result.restored) == (("data/x.csv",), ())
    assert work.read("data/x.csv") == b"edited\n"
    assert work.status == ""
    after = working.snapshot(work.root)
    changed = {name for name in before if before[name] != after.get(name)}
    assert changed <= {".git/mlrepro/index", ".git/mlrepro/place", ".dvc/config.local"}
    # With the pointer removed, and the record of it too: nothing says that this was ever saved.
    work.path("data/x.csv.dvc").unlink()
    (work.state / "index").unlink()
    assert told(work.restore("data/x.csv", rev="one")) == [("unsaved-change", "data/x.csv")]
    assert work.read("data/x.csv") == b"edited\n"


def test_force_saves_first_and_says_how_to_have_it_back(work: Past) -> None:
    work.write("data/x.csv", "edited\n")
    heard = working.Heard()
    result = work.restore("data/x.csv", rev="one", force=True, reporter=heard)
    assert (result.restored, result.exit_code) == (("data/x.csv",), 0)
    assert result.saved == (("data/x.csv", working.oid_of("edited\n")),)
    (note,) = heard.notes
    assert working.oid_of("edited\n") in note
    command = note.partition("to get it back: ")[2]
    assert os.system(f"cd {work.root} && {command}") == 0
    assert work.read("data/x.csv") == b"edited\n"


def test_force_from_the_command_line(work: Past) -> None:
    work.write("models/b.bin", "edited")
    work.write("models/extra.bin", "extra")
    done = work.mlrepro("restore", "../models", "--rev", "one", cwd="data")
    assert done.exit_code == 1
    assert "../models/b.bin has changes that no commit has" in done.stderr
    assert work.read("models/b.bin") == b"edited"
    done = work.mlrepro("--json", "restore", "../models", "--rev", "one", "--force", cwd="data")
    assert done.exit_code == 0, done.stderr
    assert done.json["data"] == {"restored": ["../models"], "kept": [], "missing": []}
    assert work.has({**FOURTH, **{n: t for n, t in FIRST.items() if n[0] == "m"}} | {}) is False
    assert {n for n in work.found() if n[0] == "m"} == {n for n in FIRST if n[0] == "m"}
    for edited in ("edited", "extra"):
        assert work.blob(edited, work.cache).read_text() == edited
    assert done.stderr.count("to get it back: cp") == 2
    assert work.states()["models"] == "unchanged"


def test_a_folder_with_an_unsaved_change_stays_wholly(work: Past) -> None:
    for name, text in (("models/d.bin", "edited"), ("models/new.bin", "new")):
        work.write(name, text)
        before = without_dvc(work)
        result = work.restore("models", rev="one")
        assert told(result) == [("unsaved-change", name)]
        assert without_dvc(work) == before
        assert work.status == ""
        work.path("models/new.bin").unlink(missing_ok=True)
        work.write("models/d.bin", "d2")


def test_a_single_file_of_a_folder(work: Past) -> None:
    work.write("models/a.bin", "edited")  # another one, which stays as it is
    result = work.restore("models/b.bin", rev="one")
    assert (result.restored, result.exit_code) == (("models",), 0), told(result)
    assert work.read("models/b.bin") == b"b1" and work.read("models/a.bin") == b"edited"
    assert work.staged == {"models.dvc"}
    assert work.states()["models"] == "modified"
    work.write("models/a.bin", "a1")
    assert work.states()["models"] == "unchanged"
    shown = work.git("show", ":models.dvc").stdout
    assert "size: 6\n" in shown and "nfiles: 3\n" in shown
    work.save("one file back")
    assert work.verify(deep=True).exit_code == 0
    assert work.dvc("status").stdout.strip() == "Data and pipelines are up to date."
    # A folder inside it, a file that is gone since, and several at once.
    assert work.restore("models/deep", "models/b.bin", rev="one").exit_code == 0
    assert work.read("models/deep/c.bin") == b"c1"
    assert "nfiles: 4\n" in work.git("show", ":models.dvc").stdout
    work.write("models/b.bin", "mine")
    result = work.restore("models/b.bin", rev="two")
    assert told(result) == [("unsaved-change", "models/b.bin")]
    assert work.read("models/b.bin") == b"mine"
    result = work.restore("models/b.bin", rev="two", force=True)
    assert result.saved == (("models/b.bin", working.oid_of("mine")),)
    assert work.read("models/b.bin") == b"b2"
    assert told(work.restore("models/none", rev="one")) == [("path-not-in-revision", "models/none")]


def test_a_single_file_may_be_committed_with_other_edits(work: Past) -> None:
    """The pointer that was written is the newer one, and refreshed from the data by the hook."""
    work.write("models/a.bin", "edited")
    work.restore("models/b.bin", rev="one")
    work.write("README.md", "more\n")
    work.git("add", "README.md")
    work.git("commit", "--quiet", "--message", "all")
    assert work.states()["models"] == "unchanged"
    assert work.verify(deep=True).exit_code == 0
    assert work.read("models/a.bin") == b"edited" and work.read("models/b.bin") == b"b1"


def test_what_was_never_tracked_then(work: Past) -> None:
    result = work.restore("data/y.csv", "nowhere", "train.py", "../x", "data/x.csv", rev="two")
    assert result.restored == ("data/x.csv",)
    assert told(result) == [
        ("path-in-git", "train.py"),
        ("path-not-in-revision", "data/y.csv"),
        ("path-not-in-revision", "nowhere"),
        ("path-outside", "../x"),
    ]
    hints = {error.path: error.hint for error in result.errors}
    assert hints["train.py"] == "git restore --source two -- train.py"
    assert hints["data/y.csv"] == "mlrepro log data/y.csv shows its versions"


def test_unknown_revisions_and_those_without_data(work: Past) -> None:
    with pytest.raises(MlreproError) as caught:
        work.restore("data/x.csv", rev="nonsense")
    assert caught.value.code == "unknown-revision"
    work.git("checkout", "--quiet", "--orphan", "empty")
    work.git("rm", "--quiet", "-r", "--cached", ".")
    work.git("commit", "--quiet", "--no-verify", "--allow-empty", "--message", "nothing")
    work.git("checkout", "--quiet", "--force", "main")
    result = work.restore("data/x.csv", "models", rev="empty")
    assert told(result) == [
        ("revision-without-data", "data/x.csv"),
        ("revision-without-data", "models"),
    ]


def test_missing_blobs(work: Past) -> None:
    oids = [work.lose(text, cache=True) for text in (ONE, "b1")]
    work.write("data/x.csv", TWO)
    work.track("data/x.csv")
    before = without_dvc(work)
    result = work.restore("data/x.csv", "models", rev="one")
    assert told(result) == [("blob-missing", "data/x.csv"), ("blob-missing", "models/b.bin")]
    assert sorted(gap.oid for gap in result.missing) == sorted(oids)
    assert {gap.author for gap in result.missing} == {"Ada Tester"}
    assert {gap.commit for gap in result.missing} == {work.git("rev-parse", "one").stdout.strip()}
    assert without_dvc(work) == before  # nothing of the folder either
    assert set(result.data()["missing"][0]) == {"path", "oid", "commit", "author"}


def test_a_store_that_is_away_is_said_once(work: Past, tmp_path: Path) -> None:
    shutil.rmtree(work.cache)
    work.store.rename(tmp_path / "away")
    result = work.restore("data/x.csv", "models", rev="one")
    assert [error.code for error in result.errors] == ["store-missing"]
    assert "Out of reach: the content of" in result.errors[0].message
    assert work.has(FOURTH)


def test_a_damaged_blob_is_never_brought(work: Past) -> None:
    work.spoil(ONE, "bad!", cache=True)
    result = work.restore("data/x.csv", rev="one")
    assert result.restored == () and told(result)[0][0] == "blob-missing"
    assert work.read("data/x.csv").decode() == THREE


def test_places_that_contradict(work: Past) -> None:
    work.git("rm", "--quiet", "--cached", "models.dvc")
    work.path("models.dvc").unlink()
    work.track("models/a.bin")
    result = work.restore("models", rev="one")
    assert told(result) == [("path-overlap", "models")]
    work.untrack("models/a.bin")
    work.git("add", "--force", "models/a.bin")
    assert told(work.restore("models", rev="one")) == [("path-in-git", "models")]
    work.git("mv", "data/x.csv.dvc", "x.dvc")
    work.write("x.dvc", work.read("x.dvc").replace(b"path: x.csv", b"path: data/x.csv"))
    assert told(work.restore("data/x.csv", rev="one")) == [("pointer-moved", "data/x.csv")]
    assert work.read("data/x.csv").decode() == THREE


def test_pointers_of_several_outputs_and_of_pipelines(work: Past) -> None:
    one, two = working.oid_of(ONE), working.oid_of(TWO)
    out = "- md5: {}\n  size: {}\n  hash: md5\n  path: "
    outs = f"outs:\n{out}p.csv\n{out}q.csv\n"
    work.write("both.dvc", outs.format(one, len(ONE), two, len(TWO)))
    build_file_tree(work.root, {"p.csv": ONE, "q.csv": TWO})
    stage = f"    outs:\n    - path: o.csv\n      hash: md5\n      md5: {one}\n      size: 1\n"
    work.write("dvc.lock", f"schema: '2.0'\nstages:\n  s:\n    cmd: x\n{stage}")
    work.write("dvc.yaml", "stages:\n  s:\n    cmd: x\n    outs:\n    - o.csv\n")
    work.git("add", "both.dvc", "dvc.lock", "dvc.yaml")
    work.save("both")
    work.write("both.dvc", outs.format(two, len(TWO), two, len(TWO)))
    result = work.restore("p.csv", "o.csv", rev="HEAD")
    assert told(result) == [("path-in-pipeline", "o.csv"), ("pointer-not-plain", "p.csv")]


def test_dry_run(work: Past) -> None:
    before = working.snapshot(work.root)
    result = work.restore("data/x.csv", "models/b.bin", rev="one", dry_run=True)
    assert set(result.restored) == {"data/x.csv", "models"}
    assert working.snapshot(work.root) == before
    lines = render.render("restore", result, str, Options(dry_run=True))
    assert lines[0].startswith("would restore 2")


@pytest.mark.parametrize("times", [3, pytest.param(100, marks=pytest.mark.slow)])
def test_back_and_forth_leaves_no_trace(work: Past, times: int) -> None:
    def sizes() -> dict[str, int]:
        every = working.snapshot(work.root).items()
        return {name: len(text) for name, (_, text) in every if ".git/objects" not in name}

    work.restore("data/x.csv", "models", rev="one")
    work.restore("data/x.csv", "models", rev="HEAD")
    before = sizes()
    for _ in range(times):
        assert work.restore("data/x.csv", "models", rev="one").exit_code == 0
        assert work.restore("data/x.csv", "models", rev="HEAD").exit_code == 0
    assert work.has(FOURTH) and work.status == ""
    assert sizes() == before


def test_through_a_network_of_clones(work: Past, tmp_path: Path) -> None:
    clone = Past(working.cloned(work, tmp_path / "clone").root)
    result = clone.restore("data/x.csv", "models/b.bin", rev="one")
    assert (result.restored, told(result)) == (("data/x.csv", "models"), [])
    assert clone.found() == {"data/x.csv": ONE.encode(), "models/b.bin": b"b1"}
    assert blob_path(clone.cache, working.oid_of(ONE)).exists()
