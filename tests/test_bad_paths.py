"""Paths and pointers that cannot be served: each is named, nothing is followed or written."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from pathlib import Path

import pytest

from building import blob_path, git
from working import Work, codes, made, oid_of, only, snapshot


@pytest.fixture
def work(tmp_path: Path) -> Work:
    """Two files tracked and committed."""
    found = made(tmp_path / "repo")
    for name in ("a", "b"):
        found.write(f"data/{name}.csv", f"{name}\n")
    assert found.track("data/*.csv").exit_code == 0
    found.save("data")
    return found


def test_paths_that_cannot_be_tracked(work: Work, tmp_path: Path) -> None:
    (tmp_path / "outside.csv").write_text("outside")
    work.write("in_git.csv", "x")
    work.write("folder/in_git.csv", "x")
    work.git("add", "in_git.csv", "folder/in_git.csv")
    work.write("models/m/w.bin", "w")
    work.track("models/m")
    work.write("models/m/more.bin", "w")
    os.mkfifo(work.path("data/pipe"))
    with socket.socket(socket.AF_UNIX) as listening, contextlib.chdir(work.path("data")):
        listening.bind("socket")  # whose path may not be long
    work.path("data/out").symlink_to(tmp_path / "outside.csv")
    work.path("data/inner").symlink_to("a.csv")
    work.path("linked").symlink_to("models")
    work.path("data/device").symlink_to("/dev/null")
    work.write("data/new\nline.csv", "n")
    work.write("data/table.csv.dvc", "a,b\n1,2\n")
    work.path(os.fsdecode(b"data/\xff\xfe.csv")).write_text("n")
    work.write("data/fine.csv", "fine")
    want = {
        "../outside.csv": "path-outside",
        str(tmp_path / "outside.csv"): "path-outside",
        "data/gone.csv": "path-missing",
        "data/*.gone": "path-missing",
        "in_git.csv": "path-in-git",
        "folder": "path-in-git",
        "models/m/more.bin": "path-inside-tracked",
        "models": "path-holds-tracked",
        "data/pipe": "path-not-regular",
        "data/socket": "path-not-regular",
        "data/out": "path-symlink",
        "data/inner": "path-symlink",
        "data/device": "path-symlink",
        "linked/m": "path-symlink",
        "data/new\nline.csv": "path-newline",
        "data/table.csv.dvc": "path-named-dvc",
        os.fsdecode(b"data/\xff\xfe.csv"): "path-not-utf8",
        ".": "path-is-root",
        ".git/config": "path-reserved",
        ".gitignore": "path-reserved",
        "data/.gitignore": "path-reserved",
        "data/a.csv/x": "path-missing",
    }
    before = snapshot(work.path("data"))
    for typed, code in want.items():
        done = work.track(typed)
        error = only(done)
        assert (typed, error.code) == (typed, code)
        assert error.hint, typed
        assert "\n" not in error.hint
    assert snapshot(work.path("data")) == before
    done = work.track(*want, "data/fine.csv")  # and all at once
    assert sorted(codes(done)) == sorted(want.values())
    assert [item.path for item in done.tracked] == ["data/fine.csv"]
    listed = work.git("ls-files", "-z").stdout.split("\0")
    assert [name for name in listed if "pipe" in name or "new" in name or "\udcff" in name] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make a device")
def test_a_device(work: Work) -> None:
    try:
        os.mknod(work.path("data/null"), 0o20644, os.makedev(1, 3))
    except OSError as error:
        pytest.skip(f"no devices can be made here: {error}")
    assert only(work.track("data/null")).code == "path-not-regular"


def test_what_a_folder_may_not_hold(work: Work) -> None:
    for kind in ("pipe", "link", "repository", "dvc file"):
        work.write(f"set {kind}/good.csv", "good")
    os.mkfifo(work.path("set pipe/pipe"))
    work.path("set link/link").symlink_to("/etc/passwd")
    git(work.path("set repository"), "init", "--quiet", "inner")
    work.write("set dvc file/table.dvc", "a,b\n")
    done = work.track("set pipe", "set link", "set repository", "set dvc file", "data/a.csv")
    assert {error.path.split("/")[0]: error.code for error in done.errors} == {
        "set pipe": "path-not-regular",
        "set link": "path-not-regular",
        "set repository": "path-nested-repository",
        "set dvc file": "path-holds-tracked",
    }
    assert all(error.hint for error in done.errors)
    assert [item.path for item in done.tracked] == ["data/a.csv"]
    assert not any(name.startswith("set") for name in work.staged)


def test_odd_paths_for_pull(work: Work, tmp_path: Path) -> None:
    want = {
        "../x": "path-outside", "/etc/passwd": "path-outside", "data/none.csv": "path-not-tracked",
        "*.none": "path-not-tracked", ".git": "path-not-tracked",
    }  # fmt: skip
    said = work.mlrepro("pull", "a\nb")  # told in one line, whatever was typed
    assert (said.exit_code, len(said.stderr.splitlines())) == (1, 2)
    for typed, code in want.items():
        assert only(work.pull(typed)).code == code
        assert only(work.pull(typed)).hint
    work.path("data/a.csv").unlink()
    done = work.pull(*want, "data/a.csv")
    assert (done.restored, len(done.errors)) == (("data/a.csv",), len(want))


def test_a_link_in_the_place_of_data_is_not_followed(work: Work, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.csv").write_text("theirs")
    work.path("data/a.csv").unlink()
    work.path("data/a.csv").symlink_to(outside / "a.csv")
    done = work.pull(force=True)
    assert done.exit_code == 1
    assert (outside / "a.csv").read_text() == "theirs"
    assert work.track().exit_code == 1
    shutil.rmtree(work.path("data"))
    work.git("checkout", "--quiet", "--", "data")
    work.path("data").rename(work.path("real"))
    work.path("data").symlink_to(outside)
    done = work.pull(force=True)
    assert sorted(os.listdir(outside)) == ["a.csv"]
    assert (outside / "a.csv").read_text() == "theirs"


POINTERS = {
    "empty": "",
    "truncated": "outs:\n- md5: 60b725f10c9c85c70d97880dfe8191b3\n  si",
    "cut in the hash": "outs:\n- md5: 60b725f10c9c",
    "conflict": "<<<<<<< HEAD\nouts:\n=======\nouts:\n>>>>>>> other\n",
    "bad oid": "outs:\n- md5: ../../../etc/passwd\n  size: 2\n  hash: md5\n  path: a.csv\n",
    "short oid": "outs:\n- md5: 60b7\n  size: 2\n  hash: md5\n  path: a.csv\n",
    "leads up": f"outs:\n- md5: {oid_of('a')}\n  size: 1\n  hash: md5\n  path: ../../x.csv\n",
    "absolute": f"outs:\n- md5: {oid_of('a')}\n  size: 1\n  hash: md5\n  path: /etc/passwd\n",
    "into git": f"outs:\n- md5: {oid_of('a')}\n  size: 1\n  hash: md5\n  path: ../.git/config\n",
    "not yaml": "\x00\x01\x02",
    "a list": "- a\n- b\n",
    "wdir leads up": f"wdir: ../..\nouts:\n- md5: {oid_of('a')}\n  size: 1\n  path: x.csv\n",
}


@pytest.mark.parametrize("case", POINTERS)
def test_a_bad_pointer_is_named_and_the_others_are_served(work: Work, case: str) -> None:
    work.write("data/a.csv.dvc", POINTERS[case])
    work.write("data/b.csv", "changed\n")
    config = work.read(".git/config")
    found = work.status_of()
    assert {file.path: file.state for file in found.files} == {
        "data/a.csv": "conflict" if case == "conflict" else "unreadable",
        "data/b.csv": "modified",
    }
    done = work.track()
    error = only(done)
    assert error.path == "data/a.csv.dvc"
    assert error.code == ("pointer-conflict" if case == "conflict" else error.code)
    assert error.code.startswith("pointer-")
    assert error.hint
    assert "data/a.csv.dvc" in error.message
    assert [item.path for item in done.tracked] == ["data/b.csv"]
    assert only(work.track("data/a.csv")).code == error.code
    work.path("data/b.csv").unlink()
    back = work.pull()
    assert (back.restored, only(back).path) == (("data/b.csv",), "data/a.csv.dvc")
    assert only(work.push()).path == "data/a.csv.dvc"
    assert work.read("data/a.csv") == b"a\n"
    assert work.read("data/a.csv.dvc").decode() == POINTERS[case]
    assert work.read(".git/config") == config
    assert not (work.root.parent / "x.csv").exists()


def test_a_pointer_that_is_a_link_or_a_folder(work: Work, tmp_path: Path) -> None:
    outside = tmp_path / "outside.dvc"
    shutil.copyfile(work.path("data/a.csv.dvc"), outside)
    work.path("data/a.csv.dvc").unlink()
    work.path("data/a.csv.dvc").symlink_to(outside)
    assert only(work.pull()).path == "data/a.csv.dvc"
    assert work.track("data/a.csv").exit_code == 1
    work.path("data/a.csv.dvc").unlink()
    work.path("data/a.csv.dvc").mkdir()
    done = work.track("data/a.csv", "data/b.csv")
    assert [item.path for item in done.tracked] == ["data/b.csv"]
    assert only(done).hint


def test_a_listing_that_leads_outside(work: Work, tmp_path: Path) -> None:
    listing = b'[{"md5": "%s", "relpath": "../../../evil"}]' % oid_of("a\n").encode()
    name = oid_of(listing) + ".dir"
    blob = blob_path(work.store, name)
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(listing)
    work.write(
        "data/set.dvc", f"outs:\n- md5: {name}\n  size: 2\n  nfiles: 1\n  hash: md5\n  path: set\n"
    )
    work.path("data/a.csv").unlink()
    done = work.pull()
    assert done.restored == ("data/a.csv",)
    assert done.exit_code == 1
    assert not (tmp_path / "evil").exists()
    assert not (tmp_path.parent / "evil").exists()


def test_two_pointers_for_one_path(work: Work) -> None:
    text = work.read("data/a.csv.dvc").decode()
    work.write("data/other.dvc", text)
    error = only(work.pull())
    assert "data/a.csv.dvc" in error.message
    assert "data/other.dvc" in error.message
    assert error.hint
