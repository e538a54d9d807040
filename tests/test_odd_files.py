"""Odd files: done right, or refused in words before anything has changed."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

from building import git
from working import Work, cloned, codes, made, oid_of, snapshot


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Work:
    root = tmp_path_factory.mktemp("template")
    made(root / "first").root.rename(root / "repo")
    return Work(root / "repo")


@pytest.fixture
def work(template: Work, tmp_path: Path) -> Work:
    return Work(shutil.copytree(template.root, tmp_path / "repo", symlinks=True))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_permissions(work: Work, tmp_path: Path) -> None:
    """The executable bit belongs to the content; who else may read is each user's own affair.

    So a file that only its owner may read stays so here, through an edit and a pull, and is as any
    new file in a clone.
    """
    work.write("data/run.sh", "#!/bin/sh\n").chmod(0o700)
    work.write("data/secret.csv", "one\n").chmod(0o600)
    assert codes(work.track("data/run.sh", "data/secret.csv")) == []
    first = work.save("data")
    assert (mode(work.path("data/run.sh")), mode(work.path("data/secret.csv"))) == (0o700, 0o600)
    work.write("data/secret.csv", "two\n")
    work.track()
    work.save("more")
    work.git("checkout", "--quiet", first)
    assert codes(work.pull()) == []
    assert work.read("data/secret.csv") == b"one\n"
    assert mode(work.path("data/secret.csv")) == 0o600
    clone = cloned(work, tmp_path / "clone")
    assert codes(clone.pull()) == []
    usual = mode(clone.write("usual", ""))
    assert mode(clone.path("data/secret.csv")) == usual
    assert mode(clone.path("data/run.sh")) & 0o111
    blobs = (work.store / "files/md5").glob("??/*")
    assert {mode(blob) for blob in blobs} == {0o444}


def test_a_sparse_file_and_files_of_no_bytes(work: Work, tmp_path: Path) -> None:
    with open(work.write("data/sparse.bin", ""), "r+b") as file:
        file.truncate(32 << 20)
        file.seek(16 << 20)
        file.write(b"in the middle")
    for name in ("data/none.csv", "data/void/a", "data/void/b"):
        work.write(name, "")
    before = work.md5("data/sparse.bin")
    assert codes(work.track("data/sparse.bin", "data/none.csv", "data/void")) == []
    work.save("data")
    clone = cloned(work, tmp_path / "clone")
    assert codes(clone.pull()) == []
    assert clone.md5("data/sparse.bin") == before
    assert clone.read("data/none.csv") == clone.read("data/void/b") == b""
    assert clone.states() == dict.fromkeys(("data/none.csv", "data/sparse.bin", "data/void"),
                                           "unchanged")  # fmt: skip


def test_hard_links(work: Work) -> None:
    """Two names of one file, inside and outside: neither is ever written through the other."""
    outside = work.root.parent / "mine.csv"
    outside.write_text("one\n")
    work.path("data").mkdir()
    os.link(outside, work.path("data/a.csv"))
    os.link(outside, work.path("data/b.csv"))
    assert codes(work.track("data/a.csv", "data/b.csv")) == []
    first = work.save("one")
    assert os.stat(outside).st_nlink == 3
    work.path("data/a.csv").write_text("two\n")  # in place: all three change
    work.track()
    assert {work.oid(f"data/{name}.csv.dvc") for name in "ab"} == {oid_of("two\n")}
    work.save("two")
    work.git("checkout", "--quiet", first)
    assert codes(work.pull()) == []
    assert work.read("data/a.csv") == work.read("data/b.csv") == b"one\n"
    assert outside.read_text() == "two\n"


def test_what_folders_may_not_hold_changes_nothing(work: Work, record_property: Any) -> None:
    """Each is refused with a hint, and whole: no blob, no pointer, no ignore line."""
    cases = {
        "pipe": lambda top: os.mkfifo(top / "pipe"),
        "link out": lambda top: (top / "link").symlink_to("/etc/passwd"),
        "link in": lambda top: (top / "link").symlink_to("good.csv"),
        "loop": lambda top: (top / "loop").symlink_to("."),
        "repository": lambda top: git(top, "init", "--quiet", "inner"),
        "worktree": lambda top: (top / ".git").write_text("gitdir: /tmp/elsewhere\n"),
        "dvc": lambda top: (top / "sub/.dvc").mkdir(parents=True),
        "pointer": lambda top: (top / "table.dvc").write_text("a,b\n"),
        "rules": lambda top: (top / ".dvcignore").write_text("x\n"),
        "line": lambda top: (top / "a\nb").write_text("n"),
        "bytes": lambda top: (top / os.fsdecode(b"\xff\xfe")).write_text("n"),
    }
    for name, plant in cases.items():
        work.write(f"{name}/good.csv", "good")
        plant(work.path(name))
    before = snapshot(work.root)
    for name in cases:
        done = work.track(name)
        assert len(done.errors) == 1 and done.errors[0].hint, (name, codes(done))
    after = snapshot(work.root)
    known = {path for path in {*before, *after} if before.get(path) != after.get(path)}
    assert {path for path in known if not path.startswith((".git/mlrepro", ".dvc/"))} <= {
        path for path in known if "/.mlrepro" in path or path.startswith("stores/blob/files")
    }
    assert list((work.store / "files/md5").glob("??/*")) == []
    record_property("tried", ["Odd files", "kinds refused before anything changed", len(cases)])


def test_empty_folders(work: Work, tmp_path: Path) -> None:
    """A folder of nothing is refused; one inside another is no content, as with git and DVC."""
    work.path("nothing/at/all").mkdir(parents=True)
    assert len(work.track("nothing").errors) == 1
    work.write("set/a.csv", "a")
    work.path("set/hollow").mkdir()
    done = work.track("set")
    assert codes(done) == [] and any("hollow" in note for note in done.notes), done.notes


def test_as_deep_as_a_path_can_be(work: Work, tmp_path: Path) -> None:
    """Up to what the system takes a path comes back; what no path can name is refused."""
    deep = "/".join(["d" * 200] * 15)
    work.write(f"set/{deep}/x.csv", "x")
    done = work.track("set")
    assert codes(done) == []
    work.save("deep")
    clone = cloned(work, tmp_path / "clone")
    assert codes(clone.pull()) == []
    assert clone.read(f"set/{deep}/x.csv") == b"x"
    top = os.open(work.path(f"set/{deep}"), os.O_RDONLY)
    for _ in range(6):  # past PATH_MAX, which only steps by descriptors reach
        os.mkdir("e" * 200, dir_fd=top)
        inner = os.open("e" * 200, os.O_RDONLY, dir_fd=top)
        os.close(top)
        top = inner
    os.close(os.open("y", os.O_CREAT | os.O_WRONLY, dir_fd=top))
    os.close(top)
    again = work.track("set")
    assert len(again.errors) == 1 and again.errors[0].hint
    assert work.status == ""
