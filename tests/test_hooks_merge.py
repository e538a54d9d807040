"""Merges of data: folders merge by file in git itself; files are a choice, made by ``resolve``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from building import blob_path
from hooked import DATA, FIRST, POINTER, UNHOOKED, Hooked

IMAGES = "images.dvc"


def _theirs(repo: Hooked, **changes: str | None) -> None:
    """Commit ``changes`` (name → content, None: removed) on a branch, and come back."""
    repo.git("switch", "--quiet", "-c", "theirs")
    _commit(repo, "theirs", changes)
    repo.git("switch", "--quiet", "main")


def _commit(repo: Hooked, message: str, changes: dict[str, str | None]) -> None:
    for name, content in changes.items():
        if content is None:
            repo.path(name).unlink()
        else:
            repo.write(name, content)
    repo.commits("--allow-empty", "-m", message)


def _conflict(repo: Hooked) -> tuple[str, str]:
    """A file that both sides edited, merged: ours and theirs."""
    _theirs(repo, **{DATA: FIRST + "2,theirs\n"})
    _commit(repo, "ours", {DATA: FIRST + "2,ours\n"})
    merged = repo.git("merge", "theirs", check=False)
    assert merged.returncode == 1
    assert "mlrepro resolve --ours" in merged.stderr, merged.stderr
    return repo.oid(POINTER, "HEAD"), repo.oid(POINTER, "theirs")


def _folder(repo: Hooked) -> None:
    for name in ("a", "b", "c"):
        repo.write(f"images/{name}", name)
    assert repo.mlrepro("track", "images").exit_code == 0
    repo.commits("-m", "images")


def _listed(repo: Hooked, oid: str) -> dict[str, str]:
    listing = blob_path(repo.store, oid).read_bytes()
    return {member["relpath"]: member["md5"] for member in json.loads(listing)}


@pytest.mark.parametrize("mover", ["ours", "theirs"])
def test_data_that_one_side_moved_and_the_other_changed(plain: Hooked, mover: str) -> None:
    plain.git("switch", "--quiet", "-c", "theirs")
    edited = FIRST + "2,edited\n"
    for side in ("theirs", "ours"):
        if side == "ours":
            plain.git("switch", "--quiet", "main")
        if side == mover:
            assert plain.mlrepro("mv", DATA, "data/moved.csv").exit_code == 0
            plain.commits("-m", "moved")
        else:
            _commit(plain, "edited", {DATA: edited})
    merged = plain.git("merge", "--no-edit", "theirs", check=False)
    assert merged.returncode == 0, merged.stdout + merged.stderr
    assert b"path: moved.csv\n" in plain.read("data/moved.csv.dvc")
    assert not plain.path(POINTER).exists()
    assert plain.md5("data/moved.csv") == plain.oid("data/moved.csv.dvc", "HEAD")
    assert plain.read("data/moved.csv").decode() == edited


def test_the_side_that_is_taken_names_data_where_the_pointer_is(plain: Hooked) -> None:
    _theirs(plain, **{DATA: FIRST + "2,theirs\n"})
    theirs = plain.oid(POINTER, "theirs")
    stages = [plain.git("rev-parse", f"{at}:{POINTER}").stdout.strip() for at in ("main", "theirs")]
    assert plain.mlrepro("mv", DATA, "data/moved.csv").exit_code == 0
    plain.commits("-m", "moved")
    ours = plain.git("rev-parse", "HEAD:data/moved.csv.dvc").stdout.strip()
    # As git leaves it where it takes the new name for the old one's.
    rows = zip((stages[0], ours, stages[1]), "123", strict=True)
    text = "".join(f"100644 {blob} {stage}\tdata/moved.csv.dvc\n" for blob, stage in rows)
    plain.git("rm", "--quiet", "--cached", "data/moved.csv.dvc")
    plain.git("update-index", "--index-info", input=text)
    done = plain.mlrepro("resolve", "--theirs", "data/moved.csv")
    assert done.exit_code == 0, done.stderr
    assert plain.oid("data/moved.csv.dvc") == theirs
    assert b"path: moved.csv\n" in plain.read("data/moved.csv.dvc")
    assert plain.read("data/moved.csv").decode() == FIRST + "2,theirs\n"
    assert not plain.path(DATA).exists()


def test_a_file_stays_in_conflict_and_the_way_out_is_named(plain: Hooked) -> None:
    ours, theirs = _conflict(plain)
    text = plain.read(POINTER).decode()
    assert "<<<<<<<" in text and ours in text and theirs in text
    assert plain.md5(DATA) == ours
    assert plain.commit_with("-am", "unresolved").exit_code != 0


@pytest.mark.parametrize("side", ["ours", "theirs"])
def test_resolving_to_a_side(plain: Hooked, side: str) -> None:
    chosen = dict(zip(("ours", "theirs"), _conflict(plain), strict=True))[side]
    done = plain.mlrepro("resolve", f"--{side}", DATA, "--json")
    assert done.exit_code == 0, done.stdout
    assert done.json["data"] == {"resolved": [POINTER], "conflicts": []}
    assert plain.md5(DATA) == chosen
    plain.commits("-m", "merged")
    assert plain.is_good(), plain.explain()
    assert plain.git("log", "-1", "--format=%P").stdout.count(" ") == 1
    assert plain.status == ""


def test_resolving_with_data_edited_meanwhile(plain: Hooked) -> None:
    """What is not saved is kept and named; the pointer is resolved all the same."""
    _, theirs = _conflict(plain)
    mine = plain.edit("something else")
    done = plain.mlrepro("resolve", "--theirs", DATA)
    assert done.exit_code == 1 and DATA in done.stderr
    assert plain.md5(DATA) == mine
    assert plain.oid(POINTER) == theirs


def test_resolving_from_a_folder_below_by_the_pointers_name(plain: Hooked) -> None:
    _, theirs = _conflict(plain)
    assert plain.mlrepro("resolve", "--theirs", "x.csv.dvc", cwd="data").exit_code == 0
    assert plain.md5(DATA) == theirs


def test_a_dry_run_resolves_nothing(plain: Hooked) -> None:
    _conflict(plain)
    before = plain.read(POINTER)
    assert plain.mlrepro("resolve", "--theirs", DATA, "--dry-run").exit_code == 0
    assert plain.read(POINTER) == before
    assert plain.status.startswith("UU")


def test_files_have_no_union(plain: Hooked) -> None:
    _conflict(plain)
    done = plain.mlrepro("resolve", "--union", DATA)
    assert done.exit_code == 1
    assert f"mlrepro resolve --ours {DATA}" in done.stderr


def test_what_has_no_conflict(plain: Hooked) -> None:
    assert plain.mlrepro("resolve", "--ours", DATA).exit_code == 1
    done = plain.mlrepro("resolve", "--ours", "data/none.csv", "--json")
    assert done.json["errors"][0]["code"] == "path-missing"
    assert plain.mlrepro("resolve", DATA).exit_code == 2


def test_markers_that_were_committed(plain: Hooked) -> None:
    """As left by a merge without any hook: the sides are in the text itself."""
    ours, theirs = _conflict(plain)
    plain.git("add", POINTER)
    plain.unhooked("commit", "--quiet", "-m", "markers and all")
    assert plain.mlrepro("resolve", "--theirs", DATA).exit_code == 0
    plain.commits("-m", "mended")
    assert plain.is_good(), plain.explain()
    assert plain.md5(DATA) == theirs != ours


@pytest.mark.parametrize("side", ["ours", "theirs"])
def test_deleted_on_one_side(plain: Hooked, side: str) -> None:
    plain.git("switch", "--quiet", "-c", "theirs")
    plain.git("rm", "--quiet", POINTER)
    plain.commits("-m", "theirs")
    plain.git("switch", "--quiet", "main")
    _commit(plain, "ours", {DATA: FIRST + "2,ours\n"})
    ours = plain.oid(POINTER, "HEAD")
    assert plain.git("merge", "theirs", check=False).returncode == 1
    done = plain.mlrepro("resolve", f"--{side}", DATA)
    if side == "theirs":
        assert done.exit_code == 1 and f"git rm {POINTER}" in done.stderr
        plain.git("rm", "--quiet", POINTER)
        plain.commits("-m", "merged")
        assert plain.md5(DATA) == ours
    else:
        assert done.exit_code == 0, done.stderr
        plain.commits("-m", "merged")
        assert plain.is_good(), plain.explain()


@pytest.mark.parametrize("deleter", ["ours", "theirs"])
def test_a_folder_that_one_side_deleted_has_no_union(plain: Hooked, deleter: str) -> None:
    """There is nothing to unite with: that is said, with the ways out, and nothing is touched."""
    _folder(plain)
    plain.git("switch", "--quiet", "-c", "theirs")
    for side in ("theirs", "ours"):
        if side == "ours":
            plain.git("switch", "--quiet", "main")
        if side == deleter:
            plain.git("rm", "--quiet", IMAGES)
            plain.commits("-m", side)
        else:
            _commit(plain, side, {"images/a": f"by {side}"})
    assert plain.git("merge", "theirs", check=False).returncode == 1
    before = plain.status
    done = plain.mlrepro("resolve", "--union", "images", "--json")
    assert done.exit_code == 1
    [error] = done.json["errors"]
    assert error["code"] == "deleted-on-side" and "does not exist on one side" in error["message"]
    assert f"git rm {IMAGES}" in error["hint"]
    assert plain.status == before
    other = "theirs" if deleter == "ours" else "ours"
    assert plain.mlrepro("resolve", f"--{other}", "images").exit_code == 0
    plain.commits("-m", "merged")
    assert plain.is_good(), plain.explain()
    assert plain.read("images/a").decode() == f"by {other}"


def test_a_folder_merges_by_file(plain: Hooked) -> None:
    """One side edits and adds, the other removes and adds: git merge ends clean."""
    _folder(plain)
    _theirs(plain, **{"images/a": "theirs", "images/new/t": "t"})
    _commit(plain, "ours", {"images/b": None, "images/o": "o"})
    plain.git("merge", "--no-edit", "theirs")
    oid = plain.oid(IMAGES, "HEAD")
    assert set(_listed(plain, oid)) == {"a", "c", "o", "new/t"}
    assert plain.read("images/a") == b"theirs"
    assert plain.read("images/new/t") == b"t"
    assert not plain.path("images/b").exists()
    assert all(plain.has_blob(one) for one in _listed(plain, oid).values())
    assert plain.status == ""
    size = sum(plain.path(f"images/{name}").stat().st_size for name in _listed(plain, oid))
    assert f"size: {size}\n  nfiles: 4\n" in plain.read(IMAGES).decode()
    plain.stage()
    plain.commits("-m", "readme")
    assert plain.oid(IMAGES, "HEAD") == oid


def test_a_folder_in_which_one_file_was_edited_on_both_sides(plain: Hooked) -> None:
    _folder(plain)
    _theirs(plain, **{"images/a": "theirs", "images/t": "t"})
    _commit(plain, "ours", {"images/a": "ours", "images/o": "o"})
    merged = plain.git("merge", "theirs", check=False)
    assert merged.returncode == 1 and "changed a in the folder of images.dvc" in merged.stderr
    done = plain.mlrepro("resolve", "--union", "images", "--json")
    assert done.exit_code == 1
    assert done.json["data"] == {"resolved": [], "conflicts": ["images/a"]}
    assert plain.mlrepro("resolve", "--theirs", "images").exit_code == 0
    plain.commits("-m", "merged")
    assert plain.read("images/a") == b"theirs"
    assert plain.read("images/t") == b"t"


def test_a_union_after_a_merge_without_the_driver(plain: Hooked) -> None:
    """As in a clone that was not set up: git merged the pointer as text, and could not."""
    _folder(plain)
    _theirs(plain, **{"images/t": "t"})
    _commit(plain, "ours", {"images/o": "o"})
    plain.git("config", "--remove-section", "merge.mlrepro-pointer")
    assert plain.git("merge", "theirs", check=False).returncode == 1
    assert plain.mlrepro("resolve", "--union", "images").exit_code == 0
    plain.commits("-m", "merged")
    assert set(_listed(plain, plain.oid(IMAGES, "HEAD"))) == {"a", "b", "c", "o", "t"}
    assert plain.read("images/t") == b"t"


def test_a_folder_whose_listing_is_nowhere(plain: Hooked) -> None:
    """It cannot be merged then, and both sides are still there to be chosen."""
    _folder(plain)
    _theirs(plain, **{"images/t": "t"})
    theirs = plain.oid(IMAGES, "theirs")
    _commit(plain, "ours", {"images/o": "o"})
    for place in (plain.store, plain.path(".dvc/cache")):
        blob_path(place, theirs).unlink()
    merged = plain.git("merge", "theirs", check=False)
    assert merged.returncode == 1 and theirs in merged.stderr
    assert plain.mlrepro("resolve", "--ours", "images").exit_code == 0
    plain.commits("-m", "merged")
    assert set(_listed(plain, plain.oid(IMAGES, "HEAD"))) == {"a", "b", "c", "o"}


def test_a_folder_during_a_rebase(plain: Hooked) -> None:
    """Ours is what is rebased upon then, as git has it."""
    _folder(plain)
    _theirs(plain, **{"images/t": "t"})
    _commit(plain, "ours", {"images/o": "o"})
    plain.git("rebase", "--quiet", "theirs")
    assert set(_listed(plain, plain.oid(IMAGES, "HEAD"))) == {"a", "b", "c", "o", "t"}
    assert plain.read("images/t") == b"t" and plain.read("images/o") == b"o"
    assert plain.status == ""


@pytest.mark.parametrize("side", ["ours", "theirs"])
def test_a_file_during_a_rebase(plain: Hooked, side: str) -> None:
    _theirs(plain, **{DATA: FIRST + "2,upstream\n"})
    _commit(plain, "mine", {DATA: FIRST + "2,mine\n"})
    oids = {"ours": plain.oid(POINTER, "theirs"), "theirs": plain.oid(POINTER, "HEAD")}
    assert plain.git("rebase", "theirs", check=False).returncode == 1
    assert plain.mlrepro("resolve", f"--{side}", DATA).exit_code == 0
    done = plain.git("rebase", "--continue", check=False)
    if done.returncode:  # nothing is left of the commit: git asks
        plain.git("rebase", "--skip")
    assert plain.oid(POINTER, "HEAD") == oids[side]
    assert plain.is_good(), plain.explain()
    assert plain.status == ""


@pytest.mark.parametrize("side", ["ours", "theirs"])
def test_a_file_during_a_cherry_pick(plain: Hooked, side: str) -> None:
    _theirs(plain, **{DATA: FIRST + "2,picked\n", "README.md": "picked\n"})
    plain.git("switch", "--quiet", "theirs")
    plain.git("commit", "--quiet", "--amend", "-am", "with the readme")
    plain.git("switch", "--quiet", "main")
    _commit(plain, "mine", {DATA: FIRST + "2,mine\n"})
    oids = {"ours": plain.oid(POINTER, "HEAD"), "theirs": plain.oid(POINTER, "theirs")}
    assert plain.git("cherry-pick", "theirs", check=False).returncode == 1
    assert plain.mlrepro("resolve", f"--{side}", DATA).exit_code == 0
    plain.git("cherry-pick", "--continue")
    assert plain.oid(POINTER, "HEAD") == oids[side]
    assert plain.is_good(), plain.explain()
    assert plain.read("README.md") == b"picked\n"


def test_the_driver_with_wrong_arguments(plain: Hooked, tmp_path: Path) -> None:
    assert plain.mlrepro("hook", "merge-pointer", "one", "two").exit_code == 2
    missing = [str(tmp_path / name) for name in ("base", "ours", "theirs")]
    done = plain.mlrepro("hook", "merge-pointer", *missing, "x.dvc")
    assert done.exit_code == 1 and "Traceback" not in done.stderr


def test_two_folders_of_the_same_name_made_on_both_sides(plain: Hooked) -> None:
    """There is no common version then: what either side has is kept."""
    plain.git("switch", "--quiet", "-c", "theirs")
    plain.write("images/t", "t")
    assert plain.mlrepro("track", "images").exit_code == 0
    plain.commits("-m", "theirs")
    plain.git("switch", "--quiet", "main")
    plain.write("images/o", "o")
    assert plain.mlrepro("track", "images").exit_code == 0
    plain.commits("-m", "ours")
    plain.git("merge", "--no-edit", "theirs")
    assert set(_listed(plain, plain.oid(IMAGES, "HEAD"))) == {"o", "t"}
    assert plain.read("images/t") == b"t" and plain.read("images/o") == b"o"


def test_a_merge_without_hooks_is_caught_up_by_a_pull(plain: Hooked) -> None:
    _folder(plain)
    _theirs(plain, **{"images/t": "t"})
    _commit(plain, "ours", {"images/o": "o"})
    plain.git(*UNHOOKED, "merge", "--no-edit", "theirs")
    assert not plain.path("images/t").exists()
    assert plain.mlrepro("pull").exit_code == 0
    assert plain.read("images/t") == b"t"
