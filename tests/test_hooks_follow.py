"""post-merge, post-checkout, post-rewrite: data follows the commit, and what was edited is kept."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from building import blob_path
from hooked import DATA, FIRST, POINTER, Hooked

FOLLOWS = "the data follows this commit"


def _bob(repo: Hooked, tmp_path: Path, content: str = "by bob") -> tuple[Hooked, str]:
    """A teammate with a commit of newer data."""
    bob = repo.teammate(tmp_path / "bob")
    oid = bob.edit(content)
    bob.commits("--allow-empty", "-m", "by bob")
    return bob, oid


def _branch(repo: Hooked, content: str = "on the branch") -> str:
    """A branch with newer data; main is checked out again, and its data is here."""
    repo.git("switch", "--quiet", "-c", "branch")
    oid = repo.edit(content)
    repo.commits("--allow-empty", "-m", "on the branch")
    repo.git("switch", "--quiet", "main")
    assert repo.is_good(), repo.explain()
    return oid


def test_a_fast_forward_pull(plain: Hooked, tmp_path: Path) -> None:
    bob, oid = _bob(plain, tmp_path)
    said = plain.git("pull", "--ff-only", str(bob.root), "main").stderr
    assert plain.md5(DATA) == oid
    assert f"{FOLLOWS}: {DATA}" in said
    assert plain.is_good(), plain.explain()
    assert plain.status == ""


def test_a_merge(plain: Hooked, tmp_path: Path) -> None:
    bob, oid = _bob(plain, tmp_path)
    plain.stage()
    plain.commits("-m", "mine")
    plain.git("pull", "--no-rebase", "--no-edit", str(bob.root), "main")
    assert plain.md5(DATA) == oid
    assert plain.is_good(), plain.explain()


def test_a_squash(plain: Hooked) -> None:
    """Nothing is committed yet, but the worktree is as it will be."""
    oid = _branch(plain)
    plain.git("merge", "--squash", "branch")
    assert plain.md5(DATA) == oid
    plain.commits("-m", "squashed")
    assert plain.is_good(), plain.explain()


def test_a_pull_that_rebases(plain: Hooked, tmp_path: Path) -> None:
    """The data follows once, at the end; in between it stays."""
    bob, oid = _bob(plain, tmp_path)
    for number in ("1", "2"):
        plain.stage(f"{number}.txt", number)
        plain.commits("-m", number)
    said = plain.git("pull", "--rebase", str(bob.root), "main").stderr
    assert said.count(FOLLOWS) == 1
    assert plain.md5(DATA) == oid
    assert plain.is_good(), plain.explain()
    assert plain.status == ""


def test_a_pull_that_rebases_nothing(plain: Hooked, tmp_path: Path) -> None:
    bob, oid = _bob(plain, tmp_path)
    plain.git("pull", "--rebase", str(bob.root), "main")
    assert plain.md5(DATA) == oid
    assert plain.is_good(), plain.explain()


@pytest.mark.parametrize("backend", ["--merge", "--apply"])
def test_a_rebase_of_a_branch_that_is_merely_behind(plain: Hooked, backend: str) -> None:
    """No commit is rewritten, so git calls no post-rewrite: the one checkout is all there is."""
    oid = _branch(plain)
    plain.git("rebase", backend, "branch")
    assert plain.md5(DATA) == oid
    assert plain.is_good(), plain.explain()


@pytest.mark.parametrize("backend", ["--merge", "--apply"])
def test_a_rebase(plain: Hooked, backend: str) -> None:
    oid = _branch(plain)
    plain.stage()
    plain.commits("-m", "mine")
    plain.git("rebase", backend, "branch")
    assert plain.md5(DATA) == oid
    assert plain.is_good(), plain.explain()
    assert plain.status == ""


def test_a_rebase_whose_commits_are_all_there_already(plain: Hooked) -> None:
    _branch(plain)
    plain.stage()
    plain.commits("-m", "mine")
    plain.git("switch", "--quiet", "branch")
    plain.git("cherry-pick", "main")
    oid = plain.md5(DATA)
    plain.git("switch", "--quiet", "main")
    plain.git("rebase", "branch")
    assert plain.md5(DATA) == oid
    assert plain.is_good(), plain.explain()


def test_a_rebase_with_a_reset_in_its_midst(plain: Hooked) -> None:
    """Data that only the old branch had goes, whatever ORIG_HEAD has come to be."""
    _branch(plain)
    plain.write("models/m.bin", "weights")
    assert plain.mlrepro("track", "models/m.bin").exit_code == 0
    plain.commits("-m", "model")
    plain.stage()
    plain.commits("-m", "mine")
    editor = {"GIT_SEQUENCE_EDITOR": "sed -i -e 1d -e 2s/pick/edit/"}
    plain.git("rebase", "-i", "branch", env=editor)
    plain.git("reset", "--quiet", "--soft", "HEAD")
    plain.git("rebase", "--continue")
    assert not plain.path("models").exists()
    assert plain.is_good(), plain.explain()


def test_a_rebase_that_stops_and_is_given_up(plain: Hooked) -> None:
    _branch(plain)
    plain.stage()
    plain.commits("-m", "mine")
    editor = {"GIT_SEQUENCE_EDITOR": "sed -i -e 1s/pick/edit/"}
    plain.git("rebase", "-i", "branch", env=editor)
    assert plain.read(DATA) == FIRST.encode()
    plain.git("rebase", "--abort")
    assert plain.read(DATA) == FIRST.encode()
    assert plain.is_good(), plain.explain()


def test_amending_brings_nothing(plain: Hooked) -> None:
    plain.path(DATA).unlink()
    plain.stage()
    plain.commits("--amend", "--no-edit")
    assert not plain.path(DATA).exists()


@pytest.mark.parametrize("verb", [("checkout",), ("switch",), ("checkout", "--detach")])
def test_a_checkout(plain: Hooked, verb: tuple[str, ...]) -> None:
    oid = _branch(plain)
    said = plain.git(*verb, "branch").stderr
    assert f"{FOLLOWS}: {DATA}" in said
    assert plain.md5(DATA) == oid
    assert plain.is_good(), plain.explain()
    plain.git("checkout", "main")
    assert plain.read(DATA) == FIRST.encode()
    assert plain.is_good(), plain.explain()


def test_a_checkout_from_a_folder_below(plain: Hooked) -> None:
    oid = _branch(plain)
    plain.git("-C", "data", "switch", "--quiet", "branch")
    assert plain.md5(DATA) == oid


def test_a_checkout_of_single_files_brings_nothing(plain: Hooked) -> None:
    _branch(plain)
    plain.git("checkout", "branch", "--", "README.md", POINTER)
    assert plain.read(DATA) == FIRST.encode()


def test_nothing_is_said_where_nothing_changed(plain: Hooked) -> None:
    for command in (("switch", "-c", "other"), ("switch", "main"), ("checkout", "HEAD~0")):
        assert "mlrepro" not in plain.git(*command).stderr
    before = plain.untouched(DATA)
    plain.git("switch", "main")
    assert plain.untouched(DATA) == before


def test_bisecting(plain: Hooked) -> None:
    oids = [plain.md5(DATA)]
    for content in ("one", "two", "three", "four"):
        oids.append(plain.edit(content))
        plain.commits("--allow-empty", "-m", content)
    plain.git("bisect", "start", "HEAD", "HEAD~4")
    assert plain.md5(DATA) == oids[2] == plain.oid(POINTER, "HEAD")
    plain.git("bisect", "good")
    assert plain.md5(DATA) == oids[3] == plain.oid(POINTER, "HEAD")
    plain.git("bisect", "reset")
    assert plain.md5(DATA) == oids[4]
    assert plain.is_good(), plain.explain()


def test_a_worktree(plain: Hooked, tmp_path: Path) -> None:
    oid = _branch(plain)
    plain.git("worktree", "add", str(tmp_path / "linked"), "branch")
    linked = Hooked(tmp_path / "linked")
    assert linked.md5(DATA) == oid
    assert linked.status == ""
    assert plain.is_good(), plain.explain()


def test_a_clone_whose_template_has_the_hooks(plain: Hooked, tmp_path: Path) -> None:
    template = tmp_path / "template"
    shutil.copytree(plain.path(".git/hooks"), template / "hooks")
    clone = plain.clone(tmp_path / "clone", f"--template={template}")
    assert clone.read(DATA) == FIRST.encode()
    assert clone.status == ""


def test_edited_data_is_kept_and_named(plain: Hooked, tmp_path: Path) -> None:
    bob, _ = _bob(plain, tmp_path)
    mine = plain.edit("by me")
    said = plain.git("pull", "--ff-only", str(bob.root), "main").stderr
    assert DATA in said and "kept" in said
    assert plain.md5(DATA) == mine


def test_data_with_a_refreshed_pointer_is_kept_too(plain: Hooked) -> None:
    """The pointer that was staged for it goes with the checkout; the data does not."""
    _branch(plain)
    mine = plain.edit("by me")
    plain.refused("-m", "data")
    plain.git("switch", "--quiet", "--discard-changes", "branch")
    assert plain.md5(DATA) == mine


def test_data_that_the_new_commit_does_not_have(plain: Hooked) -> None:
    """It goes away where it is unedited and stored, and comes back with its commit."""
    plain.git("switch", "--quiet", "-c", "branch")
    plain.write("models/m.bin", "weights")
    assert plain.mlrepro("track", "models/m.bin").exit_code == 0
    plain.commits("-m", "model")
    plain.git("switch", "--quiet", "main")
    assert not plain.path("models").exists()
    assert plain.status == ""
    plain.git("switch", "--quiet", "branch")
    assert plain.read("models/m.bin") == b"weights"
    plain.write("models/m.bin", "edited")
    said = plain.git("switch", "main").stderr
    assert plain.read("models/m.bin") == b"edited"
    assert "models/m.bin" in said and "kept" in said


def test_data_that_is_nowhere_else_stays(plain: Hooked) -> None:
    plain.git("switch", "--quiet", "-c", "branch")
    plain.write("models/m.bin", "weights")
    assert plain.mlrepro("track", "models/m.bin").exit_code == 0
    plain.commits("-m", "model")
    oid = plain.md5("models/m.bin")
    for place in (plain.store, plain.path(".dvc/cache")):
        blob_path(place, oid).unlink()
    plain.git("switch", "--quiet", "main")
    assert plain.read("models/m.bin") == b"weights"


def test_data_that_was_removed_stays_away_until_its_pointer_changes(plain: Hooked) -> None:
    oid = _branch(plain)
    plain.path(DATA).unlink()
    plain.git("switch", "--quiet", "-c", "other")
    assert not plain.path(DATA).exists()
    plain.git("switch", "--quiet", "branch")
    assert plain.md5(DATA) == oid


def test_a_blob_that_is_nowhere_is_told_and_the_old_data_stays(plain: Hooked) -> None:
    oid = _branch(plain)
    for place in (plain.store, plain.path(".dvc/cache")):
        blob_path(place, oid).unlink()
    said = plain.git("switch", "branch").stderr
    assert oid in said and DATA in said
    assert plain.read(DATA) == FIRST.encode()


def test_a_store_that_is_away_is_told(plain: Hooked, tmp_path: Path) -> None:
    """Exit code 0: the branch has been switched, and git would say that it failed."""
    oid = _branch(plain)
    shutil.rmtree(plain.path(".dvc/cache"))
    plain.store.rename(tmp_path / "unmounted")
    said = plain.git("switch", "branch").stderr
    assert str(plain.store) in said
    assert plain.read(DATA) == FIRST.encode()
    (tmp_path / "unmounted").rename(plain.store)
    assert plain.mlrepro("pull").exit_code == 0
    assert plain.md5(DATA) == oid


def test_a_bad_pointer_does_not_keep_the_others_from_following(plain: Hooked) -> None:
    plain.git("switch", "--quiet", "-c", "branch")
    oid = plain.edit()
    plain.commits("--allow-empty", "-m", "data")
    plain.write("bad.csv.dvc", "outs:\n- md5: ../../etc\n  path: bad.csv\n")
    plain.git("add", "bad.csv.dvc")
    plain.unhooked("commit", "--quiet", "-m", "bad")
    plain.git("switch", "--quiet", "main")
    said = plain.git("switch", "branch").stderr
    assert "bad.csv.dvc" in said
    assert plain.md5(DATA) == oid


@pytest.mark.parametrize("damage", ["record", "store", "config"])
def test_it_never_fails(plain: Hooked, damage: str) -> None:
    _branch(plain)
    broken = {"record": ".git/mlrepro/index", "store": "stores/blob", "config": ".dvc/config.local"}
    path = plain.path(broken[damage])
    if damage == "store":
        shutil.rmtree(path)
    path.write_bytes(b"\0 nonsense [")
    done = plain.git("switch", "branch")
    assert "Traceback" not in done.stderr and "this is a bug" not in done.stderr
    assert plain.git("branch", "--show-current").stdout == "branch\n"


def test_a_teammates_executable_bit_arrives_and_stays(plain: Hooked, tmp_path: Path) -> None:
    bob = plain.teammate(tmp_path / "bob")
    bob.path(DATA).chmod(0o755)
    bob.commits("--allow-empty", "-m", "executable")
    plain.git("pull", "--quiet", "--ff-only", str(bob.root), "main")
    assert plain.path(DATA).stat().st_mode & 0o111
    plain.stage()
    plain.commits("-m", "readme")
    assert "isexec: true" in plain.git("show", f"HEAD:{POINTER}").stdout
    plain.git("switch", "--quiet", "--detach", "HEAD~2")
    assert not plain.path(DATA).stat().st_mode & 0o111


def test_a_teammates_executable_bit_is_not_undone(plain: Hooked, tmp_path: Path) -> None:
    """Where no hook brought it: the file here is as it was, so its pointer is the newer one."""
    bob = plain.teammate(tmp_path / "bob")
    bob.path(DATA).chmod(0o755)
    bob.commits("--allow-empty", "-m", "executable")
    plain.unhooked("pull", "--quiet", "--ff-only", str(bob.root), "main")
    for content in ("once", "twice"):
        plain.stage("README.md", content)
        plain.commits("-m", content)
        assert "isexec: true" in plain.git("show", f"HEAD:{POINTER}").stdout
    assert plain.mlrepro("pull").exit_code == 0
    assert plain.path(DATA).stat().st_mode & 0o111


def test_an_executable_bit_of_ones_own_survives_a_pull(plain: Hooked) -> None:
    plain.path(DATA).chmod(0o755)
    assert plain.mlrepro("pull").exit_code == 0
    plain.stage()
    plain.commits("-m", "readme")
    assert "isexec: true" in plain.git("show", f"HEAD:{POINTER}").stdout
    assert plain.path(DATA).stat().st_mode & 0o111


def test_a_bit_goes_with_the_content_it_came_with(plain: Hooked) -> None:
    plain.git("switch", "--quiet", "-c", "branch")
    plain.edit()
    plain.path(DATA).chmod(0o755)
    plain.commits("--allow-empty", "-m", "executable")
    plain.git("switch", "--quiet", "main")
    assert not plain.path(DATA).stat().st_mode & 0o111
    assert plain.is_good(), plain.explain()


def test_a_file_taken_out_of_a_folder_is_an_edit(plain: Hooked) -> None:
    """Where the folder's pointer did not change, the file does not come back of itself."""
    plain.write("models/a.bin", "a")
    plain.write("models/b.bin", "b")
    assert plain.mlrepro("track", "models").exit_code == 0
    plain.commits("--message", "a folder")
    plain.path("models/a.bin").unlink()
    plain.edit("also edited")
    plain.mlrepro("track", DATA)  # so that there is something to look at
    plain.git("switch", "--quiet", "-c", "topic")
    assert not plain.path("models/a.bin").exists()
    plain.commits("--allow-empty", "--message", "without it")
    plain.path("models/b.bin").unlink()
    assert plain.mlrepro("pull").exit_code == 0
    assert plain.read("models/b.bin") == b"b" and not plain.path("models/a.bin").exists()
