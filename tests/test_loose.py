"""Loose objects are read as git reads them, or left to git."""

from __future__ import annotations

import os
import zlib

import pytest

from building import Repo
from mlrepro import git, loose, project as places

LIMIT = 1 << 20


def objects(repo: Repo) -> str:
    return str(repo.root / ".git/objects")


def asked(repo: Repo, *names: str) -> dict[str, bytes]:
    return loose.blobs(objects(repo), names, LIMIT)


@pytest.fixture
def filled(repo: Repo) -> Repo:
    repo.write("a", "one")
    repo.write("deep/er/b", b"\0two\n")
    repo.write("empty", "")
    repo.write("deep.txt", "three")
    repo.commit("first")
    return repo


def test_by_name_and_by_place(filled: Repo) -> None:
    for name, content in (("a", b"one"), ("deep/er/b", b"\0two\n"), ("empty", b"")):
        place = f"{filled.head}:{name}"
        oid = filled.git("rev-parse", place).stdout.strip()
        assert asked(filled, oid, place) == {oid: content, place: content}


@pytest.mark.parametrize(
    "place", ["deep", "deep/er", "no", "a/b", "deep/no/b", "", "/", "dee", "deep/er/b/c"]
)
def test_what_is_no_blob_is_left_to_git(filled: Repo, place: str) -> None:
    assert asked(filled, f"{filled.head}:{place}", "HEAD:a", filled.head, "0" * 40, "", ":") == {}


def test_packed_objects_are_read_by_git(filled: Repo) -> None:
    place = f"{filled.head}:deep/er/b"
    filled.git("repack", "-adq")
    assert asked(filled, place) == {}
    project = places.find(str(filled.root), {})
    assert git.blobs(project, [place, "0" * 40]) == {place: b"\0two\n"}


@pytest.mark.parametrize("harm", ["cut", "other", "empty", "large", "no zlib", "tree"])
def test_damage_is_left_to_git(filled: Repo, harm: str) -> None:
    oid = filled.git("rev-parse", "HEAD:a").stdout.strip()
    path = filled.root / ".git/objects" / oid[:2] / oid[2:]
    os.chmod(path, 0o644)
    harmed = {
        "cut": path.read_bytes()[:-6],
        "other": zlib.compress(b"blob 3\0eno"),
        "empty": b"",
        "large": zlib.compress(b"blob %d\0" % (LIMIT + 1) + bytes(LIMIT + 1)),
        "no zlib": b"blob 3\0one",
        "tree": zlib.compress(b"tree 3\0one"),
    }
    path.write_bytes(harmed[harm])
    assert asked(filled, oid) == {}


def test_an_object_that_is_replaced_is_read_by_git(filled: Repo) -> None:
    old, new = (filled.git("rev-parse", f"HEAD:{name}").stdout.strip() for name in ("a", "empty"))
    filled.git("replace", old, new)
    assert git.blobs(places.find(str(filled.root), {}), [old]) == {old: b""}
