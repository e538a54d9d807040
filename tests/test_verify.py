"""verify: whether commits can be restored, what is lacking, and what can be mended."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import past
import working
from building import blob_path, git
from mlrepro import mending, pointer, render
from mlrepro.errors import MlreproError
from mlrepro.result import Options
from past import ONE, THREE, TWO, Past


@pytest.fixture
def work(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Past:
    return past.copy(tmp_path / "repo", tmp_path_factory.getbasetemp())


def gaps(result: Any) -> list[tuple[str, str, str]]:
    return sorted((p.path, p.oid, p.reason) for p in result.problems)


def said(result: Any) -> str:
    return render.render("verify", result, str, Options())[-1]


def test_all_is_well(work: Past) -> None:
    result = work.verify()
    assert (result.commits, result.restorable, result.exit_code) == (1, 1, 0)
    assert result.blobs == 6  # x, y, the listing of models and its three members
    assert said(result) == f"1 commit can be restored: 6 blobs, {result.bytes} B"
    result = work.verify(all_commits=True)
    assert (result.commits, result.restorable, result.problems) == (4, 4, ())
    assert result.blobs == 11
    assert result.bytes == sum(path.stat().st_size for path in work.store.rglob("files/md5/*/*"))
    assert said(result).startswith("all 4 commits can be restored: 11 blobs, ")
    assert gaps(work.verify("one", "two~0", "one")) == []
    assert work.verify("one", "two", "one").commits == 2
    assert work.status == ""


def test_from_the_command_line(work: Past) -> None:
    done = work.mlrepro("verify", "--all", cwd="data")
    assert done.exit_code == 0
    assert done.stdout.startswith("all 4 commits can be restored: 11 blobs")
    work.lose(TWO)
    done = work.mlrepro("--json", "verify", "--all", cwd="data")
    assert done.exit_code == 1
    data = done.json["data"]
    assert (data["commits"], data["restorable"], data["blobs"]) == (4, 2, 11)
    (problem,) = data["problems"]
    assert problem == {
        "commit": work.git("rev-parse", "two").stdout.strip(),
        "path": "x.csv",
        "oid": working.oid_of(TWO),
        "reason": "missing",
    }
    assert set(data) == {"commits", "restorable", "blobs", "bytes", "problems"}
    (error,) = done.json["errors"]
    assert (error["code"], error["author"]) == ("blob-missing", "Ada Tester")
    assert "there is a copy in" in error["message"]
    assert error["hint"] == "mlrepro verify --repair"


@pytest.mark.parametrize("revisions", [(), ("four",), ("HEAD", "main")])
def test_a_gap_names_the_commit_that_brought_it(work: Past, revisions: tuple[str, ...]) -> None:
    work.git("commit", "--quiet", "--allow-empty", "--no-verify", "--message", "later")
    oid = work.lose("d2")
    result = work.verify(*revisions)
    (problem,) = result.problems
    assert (problem.path, problem.oid, problem.reason) == ("models/d.bin", oid, "missing")
    assert problem.commit.oid == work.git("rev-parse", "two").stdout.strip()
    assert problem.commit.author == "Ada Tester" and problem.commit.date[:2] == "20"
    assert result.restorable == 0
    error = working.only(result)
    commit = problem.commit
    for part in ("models/d.bin", oid, commit.oid[:10], "Ada Tester", commit.date[:10]):
        assert part in error.message
    assert said(result) == f"0 of 1 commit can be restored: 1 gap (6 blobs, {result.bytes} B)"


def test_every_commit_that_needs_a_blob_counts(work: Past) -> None:
    work.lose("a1")  # in all versions of the folder
    assert work.verify(all_commits=True).restorable == 0
    work.git("checkout", "--quiet", "-b", "side", "one")
    work.write("README.md", "side\n")
    work.git("commit", "--quiet", "--no-verify", "--all", "--message", "side")
    assert work.verify(all_commits=True).restorable == 0


def test_only_the_commits_that_have_it_count(work: Past) -> None:
    work.lose(ONE)
    assert work.verify(all_commits=True).restorable == 3
    assert work.verify("one").restorable == 0
    assert work.verify("two").restorable == 1
    # What another pointer names in a later commit is lacking there as well.
    work.write("data/again.csv", ONE)
    out = pointer.Out("again.csv", working.oid_of(ONE), len(ONE))
    work.write("data/again.csv.dvc", pointer.render(pointer.Pointer((out,))))
    work.git("add", "data/again.csv.dvc")
    work.save("again")
    result = work.verify(all_commits=True)
    assert (result.commits, result.restorable) == (5, 3)
    assert [p.path for p in result.problems] == ["data/x.csv"]


def test_size_and_bytes(work: Past) -> None:
    oid = work.spoil(TWO, "short")
    result = work.verify(all_commits=True)
    assert gaps(result) == [("data/x.csv", oid, "size")]
    assert "5 bytes instead of 21" in working.only(result).message
    same = work.spoil(THREE, THREE.replace("three", "THREE"))
    assert len(work.verify(all_commits=True).problems) == 1
    result = work.verify(all_commits=True, deep=True)
    assert gaps(result) == sorted([("data/x.csv", oid, "corrupt"), ("data/x.csv", same, "corrupt")])
    assert work.blob(TWO).read_text() == "short"  # only looked at
    assert not (work.state / "verified").exists()


def test_a_damaged_listing(work: Past) -> None:
    oid = work.oid("models.dvc", "two")
    path = blob_path(work.store, oid)
    path.unlink()
    path.write_text("[]")
    result = work.verify("two")
    assert gaps(result) == [("models", oid, "corrupt")]
    assert path.read_text() == "[]"  # nothing is set aside without --repair
    shutil.rmtree(work.cache)
    assert gaps(work.verify("two")) == [("models", oid, "corrupt")]
    path.unlink()
    assert gaps(work.verify("two")) == [("models", oid, "missing")]


def test_a_hostile_listing_is_named(work: Past) -> None:
    listing = b'[{"md5": "0123456789abcdef0123456789abcdef", "relpath": "../../x"}]'
    oid = pointer.listing_oid(listing)
    path = blob_path(work.store, oid)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(listing)
    out = pointer.Out("evil", oid, 1, 1)
    work.write("evil.dvc", pointer.render(pointer.Pointer((out,))))
    work.git("add", "evil.dvc")
    work.save()
    result = work.verify()
    assert gaps(result) == [("evil", oid, "bad-pointer")]
    assert result.restorable == 0
    # The others are mended all the same, from the worktree as well.
    work.write("evil/x", "here")
    text = work.read("data/x.csv").decode()
    lost = work.lose(text, cache=True)
    assert work.verify(repair=True).repaired == (lost,)


def test_pointers_that_cannot_be_read(work: Past) -> None:
    texts = {
        "conflict.dvc": "outs:\n<<<<<<< a\n- md5: x\n=======\n>>>>>>> b\n",
        "out.dvc": f"outs:\n- md5: {working.oid_of('')}\n  hash: md5\n  path: ../../etc\n",
        "odd\nname.dvc": "no pointer at all",
    }
    for name, text in texts.items():
        work.write(name, text)
    os.symlink("/etc/passwd", work.path("link.dvc"))
    work.git("add", *texts, "link.dvc")
    work.save("broken")
    head = work.head
    work.git("rm", "--quiet", "--cached", *texts, "link.dvc")
    work.save("mended")
    assert work.verify().exit_code == 0
    result = work.verify(all_commits=True)
    assert {p.path for p in result.problems} == {*texts, "link.dvc"}
    assert {(p.reason, p.oid, p.commit.oid) for p in result.problems} == {("bad-pointer", "", head)}
    assert (result.commits, result.restorable) == (6, 5)
    assert all("Traceback" not in error.message for error in result.errors)


def test_a_submodule_called_like_a_pointer_is_none(work: Past) -> None:
    work.git("update-index", "--add", "--cacheinfo", f"160000,{work.head},sub.dvc")
    work.save("submodule")
    assert work.verify(all_commits=True).exit_code == 0
    assert work.verify().exit_code == 0


def test_everything_that_git_still_knows_is_looked_at(work: Past) -> None:
    """Branches, tags, every stash, worktrees, and what only the reflog has."""

    def change(text: str) -> str:
        work.write("data/x.csv", text)
        assert not work.track("data/x.csv").errors
        return work.lose(text)

    lost = {}
    lost["stash 2"] = change("stashed\n")
    work.git("stash", "--quiet")
    lost["stash 1"] = change("stashed too\n")
    work.git("stash", "--quiet")
    lost["reflog"] = change("amended away\n")
    work.save("amended away")
    work.git("reset", "--quiet", "--hard", "HEAD~1")
    lost["tag"] = change("tagged\n")
    work.save("tagged")
    work.git("tag", "-m", "annotated", "kept")
    work.git("reset", "--quiet", "--hard", "HEAD~1")
    lost["worktree"] = change("worktree\n")
    work.save("in a worktree")
    work.git("worktree", "add", "--quiet", "--detach", str(work.root.parent / "wt"))
    work.git("reset", "--quiet", "--hard", "HEAD~1")
    work.git("reflog", "expire", "--expire=now", "refs/heads/main")
    result = work.verify(all_commits=True)
    assert {p.oid for p in result.problems} == set(lost.values())
    work.git("reflog", "expire", "--expire=now", "HEAD")
    found = {p.oid for p in work.verify(all_commits=True).problems}
    assert found == set(lost.values()) - {lost["reflog"]}


def test_versions_that_a_merge_did_not_keep(work: Past) -> None:
    """Git's log of a path leaves a branch out that a merge made nothing of."""
    work.git("checkout", "--quiet", "-b", "side", "two")
    work.write("data/x.csv", "side\n")
    work.track("data/x.csv")
    work.save("side")
    work.git("checkout", "--quiet", "main")
    work.git("merge", "--quiet", "--strategy=ours", "--no-verify", "--message", "merge", "side")
    work.git("branch", "--quiet", "-D", "side")
    oid = work.lose("side\n")
    result = work.verify(all_commits=True)
    assert gaps(result) == [("data/x.csv", oid, "missing")]
    assert (result.commits, result.restorable) == (6, 5)


def test_merges_that_keep_one_side(work: Past) -> None:
    """Whether a merge has a bad version is asked where its parents disagree."""
    work.git("checkout", "--quiet", "-b", "side", "two")
    work.write("data/x.csv", "side\n")
    work.track("data/x.csv")
    work.save("side")
    work.git("checkout", "--quiet", "main")
    for kept in ("ours", "theirs"):
        work.git("checkout", "--quiet", "-B", kept, "main")
        work.git("merge", "--quiet", "--no-commit", "-X", kept, "side", check=False)
        work.git("checkout", f"--{kept}", "data/x.csv.dvc", check=False)
        work.git("checkout", "main" if kept == "ours" else "side", "--", "data/x.csv.dvc")
        work.git("commit", "--quiet", "--no-verify", "--message", kept)
        work.write("README.md", f"after {kept}\n")
        work.git("commit", "--quiet", "--no-verify", "--all", "--message", "after")
    work.lose("side\n")
    # four of the past, side, two merges and one commit after each
    result = work.verify(all_commits=True)
    assert (result.commits, result.restorable) == (9, 6)
    assert work.verify("ours", "theirs", "ours~1", "theirs~1", "side").restorable == 2


def test_repair_from_cache(work: Past) -> None:
    lost, bad = work.lose(ONE), work.spoil(THREE, "THREE")
    listing = work.oid("models.dvc", "one")
    blob_path(work.store, listing).unlink()
    result = work.verify(all_commits=True, repair=True, dry_run=True)
    assert set(result.repaired) == {lost, bad, listing}
    assert len(result.problems) == 3
    assert work.blob(THREE).read_text() == "THREE"
    result = work.verify(all_commits=True, repair=True)
    assert set(result.repaired) == {lost, bad, listing}
    assert (result.problems, result.exit_code) == ((), 0)
    assert work.blob(ONE).read_text() == ONE and work.blob(THREE).read_text() == THREE
    (aside,) = (work.store / ".quarantine").iterdir()
    assert aside.name.startswith(bad) and aside.read_text() == "THREE"
    assert render.render("verify", result, str, Options())[0] == "repaired 3 blobs from good copies"
    assert work.verify(all_commits=True, deep=True).exit_code == 0


def test_repair_from_worktree_data_and_other_clones(work: Past, tmp_path: Path) -> None:
    clone = Past(working.cloned(work, tmp_path / "clone").root)
    assert not clone.pull().errors
    work.git("worktree", "add", "--quiet", "--detach", str(tmp_path / "wt"), "one")
    wt = Past(tmp_path / "wt")
    assert not wt.pull().errors
    shutil.rmtree(work.cache)
    lost = {work.lose(text) for text in (ONE, "b2", THREE, "d2")}
    os.truncate(work.path("models/d.bin"), 1)  # edited: no good copy in the worktree
    shutil.rmtree(clone.cache / "files" / "md5" / working.oid_of("d2")[:2])
    result = work.verify(all_commits=True, repair=True)
    assert set(result.repaired) == lost - {working.oid_of("d2")}
    assert gaps(result) == [("models/d.bin", working.oid_of("d2"), "missing")]
    # The clone uses the same store: its own data has the last copy.
    clone.forget()
    assert clone.verify(repair=True, all_commits=True).repaired == (working.oid_of("d2"),)
    assert work.verify(all_commits=True).exit_code == 0


def test_a_bad_copy_is_not_spread(work: Past) -> None:
    oid = work.lose(ONE)
    work.spoil(ONE, "bad", cache=False) if work.blob(ONE).exists() else None
    path = work.blob(ONE, work.cache)
    path.unlink()
    path.write_text("bad")
    result = work.verify("one", repair=True)
    assert gaps(result) == [("data/x.csv", oid, "missing")]
    assert not work.blob(ONE).exists()
    (aside,) = (work.cache / ".quarantine").iterdir()
    assert aside.read_text() == "bad"


def test_deep_goes_on_where_it_was_interrupted(work: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    verify_blob = mending.engine.verify_blob

    def counted(store: Any, oid: str, size: int | None = None) -> str:
        if len(read) == 4:
            raise KeyboardInterrupt
        read.append(oid)
        return verify_blob(store, oid, size)

    monkeypatch.setattr(mending.engine, "verify_blob", counted)
    with pytest.raises(KeyboardInterrupt):
        work.verify(all_commits=True, deep=True, jobs=1)
    first, read[:] = list(read), []
    monkeypatch.setattr(
        mending.engine, "verify_blob", lambda s, oid: read.append(oid) or verify_blob(s, oid)
    )
    assert work.verify(all_commits=True, deep=True, jobs=1).exit_code == 0
    assert len(read) == 7 and not set(read) & set(first)
    read.clear()
    assert work.verify(all_commits=True, deep=True, jobs=1).exit_code == 0
    assert len(read) == 11  # a run that came to its end is begun anew


def test_a_shallow_clone_cannot_know(work: Past, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", "--depth", "1", f"file://{work.root}", "shallow")
    clone = Past(tmp_path / "shallow")
    with pytest.raises(MlreproError) as caught:
        clone.verify(all_commits=True)
    assert caught.value.code == "shallow-clone"
    assert caught.value.hint == "git fetch --unshallow"
    assert clone.verify().restorable == 1


def test_what_cannot_be_asked(work: Past, tmp_path: Path) -> None:
    with pytest.raises(MlreproError) as caught:
        work.verify("nonsense")
    assert caught.value.code == "unknown-revision"
    work.store.rename(tmp_path / "away")
    with pytest.raises(MlreproError) as caught:
        work.verify(all_commits=True)
    assert caught.value.code == "store-missing"


def test_before_the_first_commit(tmp_path: Path) -> None:
    work = Past.make(tmp_path / "new")
    work.init(hooks="none")
    for all_commits in (False, True):
        result = work.verify(all_commits=all_commits)
        assert (result.commits, result.restorable, result.exit_code) == (0, 0, 0)
        assert said(result) == "no commit yet, so nothing to restore"


def test_pipelines_are_read_with_the_stages_of_their_time(work: Past) -> None:
    """An output that is not cached has no blob; which ones are, the commit's dvc.yaml says."""
    lock = (
        "schema: '2.0'\nstages:\n  train:\n    cmd: 'true'\n    outs:\n"
        "    - path: metrics.json\n      hash: md5\n      md5: 0123456789abcdef0123456789abcdef\n"
        "      size: 3\n"
    )
    metrics = "    metrics:\n    - metrics.json:\n        cache: false\n"
    work.write("dvc.yaml", f"stages:\n  train:\n    cmd: 'true'\n{metrics}")
    work.write("dvc.lock", lock)
    work.git("add", "dvc.yaml", "dvc.lock")
    work.save("pipeline")
    assert work.verify().exit_code == 0
    work.git("rm", "--quiet", "dvc.yaml", "dvc.lock")
    work.save("no pipeline")
    assert work.verify("HEAD~1").exit_code == 0
    assert work.verify(all_commits=True).exit_code == 0


@pytest.mark.slow
def test_ten_thousand_commits(tmp_path: Path) -> None:
    """Each blob is looked at once, whatever the number of commits."""
    work = Past.make(tmp_path / "big")
    stream = []
    for at in range(10_000):
        oid = working.oid_of(f"{at}")
        out = pointer.Out(f"f{at % 100}.csv", oid, len(str(at)))
        text = pointer.render(pointer.Pointer((out,))).decode()
        body = f"data {len(text)}\n{text}\n"
        parent = f"from :{at}\n" if at else ""
        stream.append(
            f"commit refs/heads/main\nmark :{at + 1}\ncommitter A <a@b> {at} +0000\ndata 1\nx\n"
            f"{parent}M 644 inline data/f{at % 100}.csv.dvc\n{body}"
        )
        path = blob_path(work.root / "stores" / "blob", oid)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(at))
    subprocess.run(
        ["git", "fast-import", "--quiet"],
        input="".join(stream),
        text=True,
        cwd=work.root,
        check=True,
    )
    work.git("checkout", "--quiet", "main")
    work.init(hooks="none")
    result = work.verify(all_commits=True, deep=True)
    assert (result.commits, result.restorable, result.blobs) == (10_000, 10_000, 10_000)
    lost = [work.lose(str(at)) for at in (0, 5_000, 9_999)]
    result = work.verify(all_commits=True)
    assert {p.oid for p in result.problems} == set(lost)
    assert result.restorable == 10_000 - 100 - 100 - 1
