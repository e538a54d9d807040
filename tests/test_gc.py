"""gc: what nothing needs goes to a trash; whatever anybody may need stays."""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import past
import working
from building import blob_path, git
from mlrepro import clones, collecting, landing, render
from mlrepro.errors import MlreproError
from mlrepro.lock import Lock
from mlrepro.result import Options
from mlrepro.store import Store
from past import FOURTH, ONE, THREE, TWO, Past, told


@pytest.fixture
def work(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Past:
    monkeypatch.setattr(collecting, "GRACE_SECONDS", -60)  # nothing counts as new
    return past.copy(tmp_path / "repo", tmp_path_factory.getbasetemp())


def change(work: Past, text: str, name: str = "data/x.csv") -> str:
    """Track a content; returns its oid."""
    work.write(name, text)
    assert not work.track(name).errors
    return working.oid_of(text)


def refused(work: Past, **given: Any) -> MlreproError:
    before = work.blobs() | work.blobs(work.cache)
    with pytest.raises(MlreproError) as caught:
        work.gc(**given)
    assert work.blobs() | work.blobs(work.cache) == before
    return caught.value


def trashed(place: Path) -> set[str]:
    parts = place.joinpath(".mlrepro", "trash").glob("*")
    return {oid for part in parts for oid in Store(str(part)).list_oids()}


def test_nothing_goes_that_history_needs(work: Past) -> None:
    before = work.blobs()
    result = work.gc()
    assert (result.blobs, result.kept.count, result.errors) == ((), 11, ())
    assert work.blobs() == before
    said = render.render("gc", result, str, Options())
    assert said == [f"nothing to free: 11 blobs ({result.kept.bytes} B) needed"]


def test_what_nothing_needs_goes_to_the_trash(work: Past) -> None:
    oid = change(work, "never committed\n")
    work.git("checkout", "--quiet", "HEAD", "--", "data/x.csv.dvc")
    result = work.gc(dry_run=True)
    assert [(b.oid, b.size, b.where) for b in result.blobs] == [(oid, 16, "store and cache")]
    assert oid in work.blobs() and not trashed(work.store)
    assert not (work.store / ".mlrepro/gc.lock").exists()
    assert render.render("gc", result, str, Options(dry_run=True)) == [
        f"would move 1 blob (16 B) to the trash: 11 blobs ({result.kept.bytes} B) needed",
        f"{oid[:10]}  16 B  store and cache",
    ]
    result = work.gc()
    assert (result.moved.count, result.moved.bytes) == (1, 16)
    assert oid not in work.blobs() | work.blobs(work.cache)
    assert trashed(work.store) == trashed(work.cache) == {oid}
    assert render.render("gc", result, str, Options())[-2:] == [
        f"1 blob (16 B) moved to the trash, 11 blobs ({result.kept.bytes} B) needed",
        "  hint: mlrepro gc --empty-trash frees the space for good",
    ]
    (part,) = work.store.joinpath(".mlrepro", "trash").iterdir()
    assert part.name[:2] == "20"
    assert work.verify(all_commits=True, deep=True).exit_code == 0
    assert work.gc().blobs == ()


def test_the_trash_gives_back_and_is_emptied(work: Past) -> None:
    oid = change(work, "thought better of\n")
    commit = work.save("back again")
    work.git("reset", "--quiet", "--hard", "HEAD~1")
    work.git("reflog", "expire", "--expire=now", "--all")
    assert {blob.oid for blob in work.gc().blobs} == {oid}
    work.git("reset", "--quiet", "--hard", commit)
    work.path("data/x.csv").unlink()
    assert [p.reason for p in work.verify().problems] == ["missing"]
    assert work.verify(repair=True).repaired == (oid,)
    assert work.pull().restored == ("data/x.csv",)
    change(work, "gone for good\n")
    work.git("reset", "--quiet", "--hard", commit)
    work.gc()
    keep = work.store / ".mlrepro" / "trash" / "README"
    keep.write_text("not a blob")
    assert refused(work, empty_trash=True, yes=False).code == "needs-yes"
    assert work.gc(empty_trash=True, dry_run=True).emptied.count == 4
    result = work.gc(empty_trash=True)
    assert result.emptied.count == 4 and result.left == (str(keep),)
    assert trashed(work.store) == trashed(work.cache) == set()
    assert keep.read_text() == "not a blob"
    assert work.gc(empty_trash=True).emptied.count == 0
    assert render.render("gc", work.gc(empty_trash=True), str, Options()) == ["the trash is empty"]
    assert work.verify(all_commits=True).exit_code == 0


def test_it_asks_first(work: Past) -> None:
    oid = change(work, "x" * 5000)
    work.git("checkout", "--quiet", "HEAD", "--", "data/x.csv.dvc")
    heard = working.Heard()
    error = refused(work, yes=False, reporter=heard)
    assert error.code == "needs-yes" and "mlrepro gc -y" in error.hint
    assert error.message.startswith("Nothing needs 1 blob (5,000 bytes)")
    assert heard.notes == [f"{oid}  5,000 bytes  store and cache"]


def test_from_the_command_line(work: Past) -> None:
    done = work.mlrepro("gc")
    assert done.exit_code == 0 and done.stdout.startswith("nothing to free: 11 blobs")
    change(work, "fresh\n")
    work.git("checkout", "--quiet", "HEAD", "--", "data/x.csv.dvc")
    done = work.mlrepro("--json", "gc", "-y")
    assert done.json["data"]["moved"] == {"count": 0, "bytes": 0}  # what is new stays a while
    assert done.json["data"]["kept"]["count"] == 12


def test_all_that_git_still_knows_is_kept(work: Past, tmp_path: Path) -> None:
    """Branches, tags, every stash, worktrees, indexes, pointers not staged, and reflogs."""
    kept = {}
    kept["stash 2"] = change(work, "stashed\n")
    work.git("stash", "--quiet")
    kept["stash 1"] = change(work, "stashed too\n")
    work.write("models/a.bin", "staged in a stash")
    work.track("models")
    work.git("stash", "--quiet", "--include-untracked")
    kept["branch"] = change(work, "branch\n")
    work.save("on a branch")
    work.git("branch", "side")
    work.git("reset", "--quiet", "--hard", "HEAD~1")
    kept["tag"] = change(work, "tagged\n")
    work.save("tagged")
    work.git("tag", "-m", "annotated", "kept")
    work.git("reset", "--quiet", "--hard", "HEAD~1")
    kept["reflog"] = change(work, "reflog\n")
    work.save("only in the reflog")
    work.git("reset", "--quiet", "--hard", "HEAD~1")
    work.git("worktree", "add", "--quiet", "--detach", str(tmp_path / "wt"))
    there = Past(tmp_path / "wt")
    kept["worktree"] = change(there, "worktree\n")
    there.save("detached")
    there.git("reflog", "expire", "--expire=now", "HEAD")
    kept["worktree index"] = change(there, "worktree index\n")
    there.write("data/x.csv.dvc", there.git("show", "HEAD:data/x.csv.dvc").stdout)
    kept["index"] = change(work, "index\n")
    work.write("data/x.csv.dvc", work.git("show", "HEAD:data/x.csv.dvc").stdout)
    kept["pointer"] = change(work, "pointer only\n", "data/new.csv")
    work.git("rm", "--quiet", "--cached", "data/new.csv.dvc")
    gone = change(work, "gone\n", "data/gone.csv")
    work.git("rm", "--quiet", "--force", "data/gone.csv.dvc")
    result = work.gc()
    assert told(result) == []
    assert {blob.oid for blob in result.blobs} == {gone}
    assert set(kept.values()) <= work.blobs()
    assert work.verify(all_commits=True).exit_code == 0
    # And each of them goes when the last that named it is gone.
    work.git("stash", "drop", "--quiet", "stash@{1}")
    work.git("tag", "-d", "kept")
    work.git("worktree", "remove", "--force", str(tmp_path / "wt"))
    work.git("reflog", "expire", "--expire=now", "--all", "--expire-unreachable=now")
    gone_now = {blob.oid for blob in work.gc().blobs}
    assert gone_now >= {kept["tag"], kept["reflog"], kept["worktree"], kept["worktree index"]}
    assert not gone_now & {kept["branch"], kept["index"], kept["pointer"]}


def test_all_sides_of_a_merge_in_conflict_are_kept(work: Past) -> None:
    work.git("checkout", "--quiet", "-b", "side", "two")
    theirs = change(work, "theirs\n")
    work.save("theirs")
    work.git("checkout", "--quiet", "main")
    work.git("merge", "--quiet", "side", check=False)
    work.git("branch", "--quiet", "-D", "side")
    work.git("reflog", "expire", "--expire=now", "--all", "--expire-unreachable=now")
    assert "UU data/x.csv.dvc" in work.status
    result = work.gc()
    assert told(result) == [] and theirs in work.blobs() and working.oid_of(TWO) in work.blobs()


def test_keep_last(work: Past) -> None:
    work.git("reflog", "expire", "--expire=now", "--all", "--expire-unreachable=now")
    assert work.gc(keep_last=1).blobs == ()  # every commit has a tag
    for tag in ("one", "two", "three"):
        work.git("tag", "--delete", tag)
    result = work.gc(keep_last=3, dry_run=True)
    assert {blob.oid for blob in result.blobs} == {
        working.oid_of(ONE), working.oid_of("b1"), working.oid_of("c1"),
        work.oid("models.dvc", "HEAD~3"),
    }  # fmt: skip
    assert {blob.path for blob in result.blobs} == {"data/x.csv", "models"}
    result = work.gc(keep_last=1)
    assert work.blobs() == {working.oid_of(text) for text in (THREE, "new\n", "a1", "b2", "d2")} | {
        work.oid("models.dvc")
    }
    assert work.verify(all_commits=True).restorable == 1
    assert work.verify(all_commits=True, repair=True).exit_code == 0  # from the trash


def test_keep_last_keeps_what_else_is_named(work: Past, tmp_path: Path) -> None:
    for tag in ("one", "three"):
        work.git("tag", "--delete", tag)
    stashed = change(work, "stashed\n")
    work.git("stash", "--quiet")
    detached = change(work, "detached\n")
    work.git("worktree", "add", "--quiet", "--detach", str(tmp_path / "wt"), "HEAD")
    work.git("checkout", "--quiet", "HEAD", "--", "data/x.csv.dvc")
    there = Past(tmp_path / "wt")
    change(there, "detached\n")
    there.save("detached")
    work.git("reflog", "expire", "--expire=now", "refs/heads/main", "HEAD")
    there.git("reflog", "expire", "--expire=now", "HEAD")
    result = work.gc(keep_last=1)
    assert told(result) == []
    assert {stashed, detached, working.oid_of(TWO), working.oid_of("b2")} <= work.blobs()
    assert working.oid_of(ONE) not in work.blobs()


def test_other_clones_are_asked(work: Past, tmp_path: Path) -> None:
    clone = Past(working.cloned(work, tmp_path / "clone").root)
    reader = Past(working.cloned(work, tmp_path / "reader").root)
    work.track()
    oid = change(clone, "of another clone\n")
    clone.save("there")
    shutil.rmtree(clone.cache)
    assert not reader.pull("models").errors
    assert len(clones.registered(Store(str(work.store)))) == 3
    assert work.gc().blobs == () and oid in work.blobs()
    clone.git("reset", "--quiet", "--hard", "HEAD~1")
    assert work.gc().blobs == ()  # its reflog
    clone.root.rename(tmp_path / "moved")
    result = work.gc()
    assert told(result)[0][0] == "clone-unreadable"
    assert str(tmp_path / "clone") in result.errors[0].message
    assert oid in work.blobs()
    moved = Past(tmp_path / "moved")
    assert not moved.pull().errors  # it says where it is now
    assert work.gc().blobs == () and len(clones.registered(Store(str(work.store)))) == 3
    shutil.rmtree(moved.root)
    result = work.gc()
    assert [error.code for error in result.errors] == ["clone-unreadable"]
    command = result.errors[0].hint.partition("gone for good: ")[2]
    assert os.system(command) == 0
    assert {blob.oid for blob in work.gc().blobs} == {oid}


def test_a_clone_that_has_only_used_dvc(work: Past, tmp_path: Path) -> None:
    """It left no name here, so what it has stored ahead of its commits is known once these came."""
    other = work.clone(tmp_path / "other")
    text = "stored, and not pushed to git yet"
    oid = working.oid_of(text)
    work.blob(text).parent.mkdir(exist_ok=True)
    work.blob(text).write_text(text)
    pointer = f"outs:\n- md5: {oid}\n  size: {len(text)}\n  hash: md5\n  path: x.csv\n"
    other.write("data/x.csv.dvc", pointer)
    other.commit("with DVC alone")
    assert [blob.oid for blob in work.gc().blobs] == [oid]
    work.git("fetch", "--quiet", str(other.root), "HEAD:refs/heads/theirs")
    assert [problem.oid for problem in work.verify(all_commits=True).problems] == [oid]
    mended = work.verify(all_commits=True, repair=True)  # from the trash
    assert (mended.exit_code, mended.repaired) == (0, (oid,))
    assert work.gc().blobs == ()


def test_a_copy_of_a_clone_is_one_of_its_own(work: Past, tmp_path: Path) -> None:
    work.track()
    change(work, "registered\n")
    shutil.copytree(work.root, tmp_path / "copy", symlinks=True)
    copy = Past(tmp_path / "copy")
    copy.write(".dvc/config.local", f"['remote \"storage\"']\n    url = {work.store}\n")
    oid = change(copy, "of the copy\n")
    copy.save("there")
    assert len(clones.registered(Store(str(work.store)))) == 2
    work.git("checkout", "--quiet", "HEAD", "--", "data/x.csv.dvc")
    assert {blob.oid for blob in work.gc().blobs} == {working.oid_of("registered\n")}
    assert oid in work.blobs()


def test_clones_that_cannot_be_asked(work: Past, tmp_path: Path) -> None:
    work.track()
    room = work.store / ".mlrepro" / "clones"
    room.mkdir(exist_ok=True)
    (room / ("a" * 32)).write_text(f"mlrepro clone 1\nanother-machine\n{tmp_path}/x/.git\n")
    (room / ("b" * 32)).write_text("garbage")
    (room / "notes.txt").write_text("not an entry")
    result = work.gc()
    assert [error.code for error in result.errors] == ["clone-unreadable"] * 2
    assert "on the machine another-machine" in result.errors[0].message
    assert result.moved.count == 0


def test_where_it_cannot_be_said_what_is_needed(work: Past, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", "--depth", "1", f"file://{work.root}", "shallow")
    shallow = Past(tmp_path / "shallow")
    shallow.write(".dvc/config.local", f"['remote \"storage\"']\n    url = {work.store}\n")
    with pytest.raises(MlreproError) as caught:
        shallow.gc()
    assert caught.value.code == "shallow-clone"
    gone = change(work, "nobody's\n")
    work.git("checkout", "--quiet", "HEAD", "--", "data/x.csv.dvc")
    listing = blob_path(work.store, work.oid("models.dvc", "one"))
    for place in (work.store, work.cache):
        blob_path(place, work.oid("models.dvc", "one")).unlink()
    assert told(work.gc()) == [("listing-unreadable", "models.dvc")]
    work.git("tag", "--delete", "one")
    work.git("reflog", "expire", "--expire=now", "--all", "--expire-unreachable=now")
    assert told(work.gc(keep_last=2, dry_run=True)) == []
    work.write("bad.dvc", "no pointer\n")
    work.git("add", "bad.dvc")
    work.save("bad")
    work.git("rm", "--quiet", "bad.dvc")
    work.save("mended")
    codes = {code for code, _ in told(work.gc())}
    assert codes == {"listing-unreadable", "pointer-invalid"}
    assert gone in work.blobs() and not listing.exists()


def test_stores_that_are_not_looked_after(work: Past, tmp_path: Path) -> None:
    (work.store / ".mlrepro" / "store").unlink()
    assert refused(work).code == "store-unmarked"
    work.store.rename(tmp_path / "away")
    with pytest.raises(MlreproError) as caught:
        work.gc()
    assert caught.value.code == "store-missing"
    work.write(".dvc/config.local", "['remote \"storage\"']\n    url = s3://bucket/x\n")
    with pytest.raises(MlreproError) as caught:
        work.gc()
    assert caught.value.code == "gc-network"


def test_a_cache_of_others_is_left_alone(work: Past, tmp_path: Path) -> None:
    work.cache.rename(tmp_path / "shared")
    work.write(".dvc/config.local", f"[cache]\n    dir = {tmp_path / 'shared'}\n")
    oid = change(work, "unneeded\n")
    work.git("checkout", "--quiet", "HEAD", "--", "data/x.csv.dvc")
    result = work.gc()
    assert {blob.oid for blob in result.blobs} == {oid} and len(result.notes) == 1
    assert oid in work.blobs(tmp_path / "shared") and oid not in work.blobs()


def test_what_is_no_blob_is_never_touched(work: Past) -> None:
    others = {
        "README": "mine", "files/md5/ab/notes.txt": "mine", "files/md5/zz/" + "a" * 30: "mine",
        "files/md5/ab/" + "A" * 30: "mine", "ab/" + "c" * 29: "mine", "runs/ab/x": "mine",
    }  # fmt: skip
    for place in (work.store, work.cache):
        for name, text in others.items():
            path = place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        os.symlink(work.path("README.md"), place / "files" / "md5" / "ab" / ("d" * 30))
        (place / "files" / "md5" / "ab" / ("e" * 30)).mkdir()
    before = {p for p in work.store.rglob("*") if ".mlrepro" not in p.parts}
    assert work.gc().blobs == ()
    assert {p for p in work.store.rglob("*") if ".mlrepro" not in p.parts} == before


def test_blobs_of_dvc_2_too(work: Past) -> None:
    oid = working.oid_of("old and unneeded")
    path = work.store / oid[:2] / oid[2:]
    path.parent.mkdir()
    path.write_text("old and unneeded")
    (blob,) = work.gc().blobs
    assert blob.oid == oid and not path.exists()
    (part,) = work.store.joinpath(".mlrepro", "trash").iterdir()
    assert (part / oid[:2] / oid[2:]).read_text() == "old and unneeded"


def test_what_comes_to_be_needed_meanwhile_is_put_back(
    work: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    oid, other = change(work, "needed again\n"), change(work, "not needed\n", "data/n.csv")
    pointer = work.read("data/x.csv.dvc").decode()
    work.git("checkout", "--quiet", "HEAD", "--", "data/x.csv.dvc")
    work.git("rm", "--quiet", "--force", "data/n.csv.dvc")
    move = collecting.trash.move

    def slow(*args: Any) -> list[str]:
        work.write("data/x.csv.dvc", pointer)
        return move(*args)

    monkeypatch.setattr(collecting.trash, "move", slow)
    result = work.gc()
    assert {blob.oid for blob in result.blobs} == {other}
    assert oid in work.blobs() and oid in work.blobs(work.cache)
    assert result.notes == ("put back, since needed by now: 1 blob",)


def test_what_is_saved_again_counts_as_new(work: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    oid = change(work, "thrown away\n")
    path = work.blob("thrown away\n")
    monkeypatch.setattr(landing, "_FRESH_NS", -1)  # as if it were an old one
    before = path.stat()
    work.git("checkout", "--quiet", "HEAD", "--", "data/x.csv.dvc")
    work.write("data/z.csv", "thrown away\n")
    work.track("data/z.csv")
    assert path.stat().st_ctime_ns > before.st_ctime_ns
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert oid in work.blobs()


def test_new_blobs_stay_and_one_gc_at_a_time(work: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    oid = change(work, "being saved by someone\n")
    work.git("checkout", "--quiet", "HEAD", "--", "data/x.csv.dvc")
    with Lock(str(work.store / ".mlrepro" / "gc.lock")):
        failed: list[MlreproError] = []
        thread = threading.Thread(target=lambda: failed.append(refused(work)))
        thread.start()
        thread.join()
    assert [error.code for error in failed] == ["gc-running"]
    monkeypatch.setattr(collecting, "GRACE_SECONDS", 900)
    assert work.gc().blobs == () and oid in work.blobs()


@pytest.mark.slow
def test_saving_while_it_is_at_work(
    work: Past, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clone commits what was thrown away before, while another collects: nothing is lost."""
    monkeypatch.setattr(collecting, "GRACE_SECONDS", 15)
    monkeypatch.setattr(landing, "_FRESH_NS", 5_000_000_000)
    for at in range(6):
        change(work, f"content {at}\n")
    work.git("checkout", "--quiet", "HEAD", "--", "data/x.csv.dvc")
    work.write("data/x.csv", THREE)
    clone = Past(working.cloned(work, tmp_path / "clone").root)
    clone.pull()
    time.sleep(16)  # until all of it counts as old
    assert len(work.gc(dry_run=True).blobs) == 6
    failed: list[Exception] = []

    def save() -> None:
        try:
            for at in range(6):
                change(clone, f"content {at}\n")
                clone.save(f"{at}")
        except (MlreproError, AssertionError) as error:
            failed.append(error)

    busy = threading.Thread(target=save)
    busy.start()
    while busy.is_alive():
        work.gc()
    assert failed == []
    assert clone.verify(all_commits=True).exit_code == 0
    assert work.has(FOURTH)
