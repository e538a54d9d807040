"""status: each state that a tracked path can be in, and whether HEAD can be restored."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import hostile
from building import blob_path
from working import Work, cloned, codes, made, oid_of, snapshot


@pytest.fixture
def work(tmp_path: Path) -> Work:
    """A repository with a committed file and a committed folder."""
    found = made(tmp_path / "repo")
    found.write("data/x.csv", "1\n")
    found.write("data/set/a.txt", "a")
    found.write("data/set/b.txt", "b")
    assert found.track("data/x.csv", "data/set").exit_code == 0
    found.save("data")
    return found


def test_all_in_order(work: Work) -> None:
    before = snapshot(work.root)
    done = work.mlrepro("status", "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    told = done.json
    assert told["status"] == "ok"
    assert set(told["data"]) == {"clean", "restorable", "files"}
    assert (told["data"]["clean"], told["data"]["restorable"]) == (True, True)
    assert told["data"]["files"] == [
        {"path": "data/set", "pointer": "data/set.dvc", "state": "unchanged", "stored": True},
        {"path": "data/x.csv", "pointer": "data/x.csv.dvc", "state": "unchanged", "stored": True},
    ]
    after = snapshot(work.root)
    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    assert all(name.startswith(".git/mlrepro") for name in changed)  # what was hashed, no more
    from_below = work.mlrepro("status", cwd="data")
    assert "unchanged  x.csv" in from_below.stdout
    assert "2 tracked, all in order; HEAD can be restored" in from_below.stdout


def test_modified_missing_and_back(work: Work) -> None:
    work.write("data/x.csv", "2\n")
    work.write("data/set/new.txt", "n")
    assert work.states() == {"data/x.csv": "modified", "data/set": "modified"}
    found = work.status_of()
    assert (found.exit_code, found.clean, found.restorable) == (1, False, True)
    assert all(file.stored for file in found.files)  # what the pointers name
    work.path("data/x.csv").unlink()
    shutil.rmtree(work.path("data/set"))
    assert work.states() == {"data/x.csv": "missing", "data/set": "missing"}
    assert work.status_of().exit_code == 1
    said = work.mlrepro("status")
    assert (said.exit_code, said.stderr) == (1, "")
    assert "hint: mlrepro pull" in said.stdout
    work.write("data/x.csv", "1\n")
    work.write("data/set/a.txt", "a")
    work.write("data/set/b.txt", "b")
    assert work.status_of().clean


def test_one_member_gone_or_edited_in_place(work: Work) -> None:
    work.path("data/set/a.txt").unlink()
    assert work.states()["data/set"] == "modified"
    work.write("data/set/a.txt", "a")
    assert work.states()["data/set"] == "unchanged"
    work.write("data/set/a.txt", "A")
    assert work.states()["data/set"] == "modified"


def test_a_pointer_in_conflict_and_one_that_cannot_be_read(work: Work) -> None:
    text = work.read("data/x.csv.dvc").decode()
    work.write("data/x.csv.dvc", f"<<<<<<< ours\n{text}=======\n{text}>>>>>>> theirs\n")
    found = work.status_of()
    assert found.exit_code == 1
    assert work.states() == {"data/x.csv": "conflict", "data/set": "unchanged"}
    assert "pointer-conflict" in codes(found)
    assert "mlrepro resolve" in next(e.hint for e in found.errors if e.code == "pointer-conflict")
    work.write("data/x.csv.dvc", "")
    assert work.states() == {"data/x.csv": "unreadable", "data/set": "unchanged"}
    work.write("data/x.csv.dvc", text)
    assert work.status_of().clean


def test_not_committed_and_not_staged(work: Work) -> None:
    work.write("data/new.csv", "n")
    work.track("data/new.csv")
    found = work.status_of()
    assert (found.exit_code, found.clean, found.restorable) == (1, False, True)
    assert found.notes == ("data/new.csv.dvc: staged, not committed",)
    work.git("rm", "--quiet", "--cached", "data/new.csv.dvc")
    assert work.status_of().notes == ("data/new.csv.dvc: neither staged nor committed",)
    work.git("add", "data/new.csv.dvc")
    work.save("new")
    assert work.status_of().clean
    work.path("data/new.csv.dvc").unlink()
    assert work.status_of().notes == ("data/new.csv.dvc: removed, not committed",)
    assert work.status_of().exit_code == 1


def test_before_the_first_commit(tmp_path: Path) -> None:
    work = Work.make(tmp_path / "repo")
    work.init()
    assert (work.status_of().exit_code, work.status_of().files) == (0, ())
    work.write("data/x.csv", "1")
    work.track("data/x.csv")
    found = work.status_of()
    assert (found.restorable, found.clean) == (True, False)


def test_content_that_is_not_in_the_store(work: Work) -> None:
    blob = blob_path(work.store, oid_of("1\n"))
    aside = work.root / "aside"
    blob.rename(aside)
    found = work.status_of()
    assert (found.clean, found.restorable, found.exit_code) == (False, False, 1)
    assert codes(found) == ["blob-missing"]
    assert (found.errors[0].path, found.errors[0].commit) == ("data/x.csv", work.head)
    assert found.errors[0].hint == "mlrepro push"
    assert {file.path: file.stored for file in found.files} == {
        "data/x.csv": False,
        "data/set": True,
    }
    assert work.push().stored.count == 1
    assert work.status_of().clean
    member = blob_path(work.store, oid_of("a"))
    member.unlink()  # one of a folder
    found = work.status_of()
    assert {file.path: file.stored for file in found.files}["data/set"] is False
    assert (found.restorable, found.errors[0].path) == (False, "data/set")


def test_a_blob_of_the_wrong_size_is_not_stored(work: Work) -> None:
    blob = blob_path(work.store, oid_of("1\n"))
    blob.chmod(0o644)
    blob.write_bytes(b"")
    assert not work.status_of().restorable


def test_an_unsafe_listing_is_named_and_the_others_are_judged(work: Work) -> None:
    hostile.listing(work, ["../../x"])
    work.git("add", "evil.dvc")
    work.save("evil")
    result = work.status_of()
    (error,) = [one for one in result.errors if one.path == "evil"]
    assert error.code == "pointer-invalid" and "holds '..'" in error.message
    states = {file.path: (file.state, file.stored) for file in result.files}
    assert states == {
        "data/x.csv": ("unchanged", True),
        "data/set": ("unchanged", True),
        "evil": ("missing", False),
    }
    assert not result.restorable


def test_head_is_judged_not_the_workspace(work: Work) -> None:
    work.write("data/x.csv", "2\n")
    work.track("data/x.csv")
    work.save("second")
    work.git("checkout", "--quiet", "HEAD~1")
    blob_path(work.store, oid_of("2\n")).unlink()
    blob_path(work.path(".dvc/cache"), oid_of("2\n")).unlink()
    assert work.status_of().restorable  # HEAD is the first commit here
    work.git("checkout", "--quiet", "main")
    found = work.status_of()
    assert not found.restorable
    assert found.errors[0].oid == oid_of("2\n")


def test_the_pointer_is_newer(work: Work, tmp_path: Path) -> None:
    clone = cloned(work, tmp_path / "clone")
    clone.pull()
    work.write("data/x.csv", "2\n")
    work.track("data/x.csv")
    work.save("second")
    clone.git("pull", "--quiet")
    found = {file.path: (file.state, file.note) for file in clone.status_of().files}
    assert found["data/x.csv"][0] == "modified"
    assert "mlrepro pull" in found["data/x.csv"][1]


def test_a_store_that_is_gone_or_emptied(work: Work) -> None:
    work.store.rename(work.root / "away")
    found = work.status_of()
    assert codes(found) == ["store-missing"]
    assert (found.exit_code, found.restorable) == (1, False)
    assert {file.state for file in found.files} == {"unchanged"}
    work.store.mkdir()
    assert codes(work.status_of()) == ["store-emptied"]
    assert list(work.store.iterdir()) == []
    work.store.rmdir()
    (work.root / "away").rename(work.store)
    assert work.status_of().clean


def test_what_is_owed_to_a_store_out_of_reach(work: Work) -> None:
    from mlrepro import debts

    debts.owe(work.project(), [oid_of("1\n")])
    found = work.status_of()
    assert found.notes == ("content is owed to the store (1): mlrepro push",)
    assert found.exit_code == 1
    assert work.push().exit_code == 0
    assert work.status_of().clean


def test_what_was_hashed_is_not_hashed_again(work: Work) -> None:
    from working import Heard

    class Counted(Heard):
        total = 0

        def advance(self, count: int) -> None:
            self.total += count

    work.path(".git/mlrepro/index").unlink()
    first, second = Counted(), Counted()
    assert work.status_of(reporter=first).clean
    assert work.status_of(reporter=second).clean
    assert (first.total > 0, second.total) == (True, 0)


def test_from_a_linked_worktree(work: Work, tmp_path: Path) -> None:
    work.init(hooks="none")
    work.git("worktree", "add", "--quiet", str(tmp_path / "linked"), "HEAD")
    linked = Work(tmp_path / "linked")
    assert set(linked.states().values()) == {"missing"}
    assert linked.status_of().restorable
    assert set(linked.pull().restored) == {"data/x.csv", "data/set"}
    assert linked.status_of().clean
