"""gitindex.read says what ``git ls-files --stage`` says, or leaves the answer to git."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings, strategies as st

from building import Repo, git
from mlrepro import gitindex

NAMES = (
    "a", "a.txt", "a/b", "a-b", "data/x.csv.dvc", "data/y.csv.dvc", "data/deep/er/z", "é",
    "e\u0301", "日本/🙂", " ", "tab\tname", 'quo"te', "back\\slash", "new\nline", "-n", "n" * 250,
    "/".join(["long" * 50] * 6) + "/4095.or.more",
)  # fmt: skip

Row = tuple[bytes, str, int]


def listed(root: Path, index: str = "") -> list[Row] | None:
    """What git itself reads: path, object and stage of each entry; None where it refuses to."""
    env = {**os.environ, "GIT_INDEX_FILE": index} if index else dict(os.environ)
    done = subprocess.run(
        ["git", "ls-files", "--stage", "-z"], cwd=root, env=env, capture_output=True, check=False
    )
    if done.returncode:
        return None
    rows = []
    for line in done.stdout.split(b"\0")[:-1]:
        about, name = line.split(b"\t", 1)
        _, oid, stage = about.split()
        rows.append((name, oid.decode(), int(stage)))
    return rows


def rows(entries: gitindex.Entries) -> list[Row]:
    return [(name, entries.oid(at), entries.stages[at]) for at, name in enumerate(entries.names)]


def read(repo: Repo) -> gitindex.Entries | None:
    return gitindex.read(str(repo.root / ".git" / "index"))


def assert_as_git(repo: Repo) -> gitindex.Entries:
    found = read(repo)
    assert found is not None
    assert rows(found) == listed(repo.root)
    return found


def test_what_is_as_staged_is_told_by_its_times(repo: Repo) -> None:
    path = repo.write("x", "content")
    old = time.time_ns() - 10**10
    os.utime(path, ns=(old, old))
    repo.git("add", "x")
    found = read(repo)
    assert found is not None and found.is_as_staged(0, path.stat())
    assert not found.is_as_staged(0, repo.root.stat())
    before = path.stat()
    while path.stat().st_ctime_ns == before.st_ctime_ns:
        path.write_text("CONTENT")
        os.utime(path, ns=(old, old))
    assert not found.is_as_staged(0, path.stat())


def test_what_was_written_with_the_index_is_not_believed(repo: Repo) -> None:
    """Written within the same tick of the clock, it may have been written again."""
    path = repo.write("x", "content")
    repo.git("add", "x")
    ahead = time.time_ns() + 10**11
    os.utime(path, ns=(ahead, ahead))
    repo.git("update-index", "--refresh")
    found = read(repo)
    assert found is not None and not found.is_as_staged(0, path.stat())


@pytest.fixture
def filled(repo: Repo) -> Repo:
    for at, name in enumerate(NAMES):
        repo.write(name if name != "a" else "zz", f"{at}\n" * at)
    repo.git("add", "--all")
    return repo


@pytest.mark.parametrize("version", ["2", "4"])
def test_every_kind_of_name(filled: Repo, version: str) -> None:
    filled.git("update-index", "--index-version", version)
    found = assert_as_git(filled)
    assert filled.read(".git/index")[7] == int(version)
    for at, name in enumerate(found.names):
        assert found.find(name) == at
        assert found.sizes[at] == (filled.root / os.fsdecode(name)).stat().st_size


def test_version_3_with_an_entry_that_is_only_intended(filled: Repo) -> None:
    filled.write("later", "not yet\n")
    filled.git("add", "--intent-to-add", "later")
    found = assert_as_git(filled)
    assert filled.read(".git/index")[7] == 3
    assert found.oids[found.find(b"later")] == gitindex.EMPTY_BLOB


def test_skipped_and_assumed_entries(filled: Repo) -> None:
    filled.git("update-index", "--skip-worktree", "zz")
    filled.git("update-index", "--assume-unchanged", "a.txt")
    assert_as_git(filled)


def test_with_extensions(filled: Repo) -> None:
    """A cached tree, resolved conflicts, the untracked cache, an end-of-entries marker."""
    filled.commit("all")
    filled.git("config", "index.threads", "2")
    filled.git("update-index", "--untracked-cache")
    filled.git("status")
    filled.write("a.txt", "changed")
    filled.git("add", "a.txt")
    assert_as_git(filled)


def test_without_checksum(filled: Repo) -> None:
    filled.git("config", "index.skipHash", "true")
    filled.write("more", "x")
    filled.git("add", "more")
    assert_as_git(filled)


def test_unmerged_entries(repo: Repo) -> None:
    repo.write("x.dvc", "base\n")
    repo.write("y", "same\n")
    repo.commit("base")
    repo.git("switch", "--quiet", "--create", "other")
    repo.write("x.dvc", "theirs\n")
    repo.commit("theirs")
    repo.git("switch", "--quiet", "main")
    repo.write("x.dvc", "ours\n")
    repo.commit("ours")
    assert repo.git("merge", "other", check=False).returncode
    found = assert_as_git(repo)
    assert found.stages == [1, 2, 3, 0]
    assert found.find(b"x.dvc") == 0


def test_an_absent_index_is_an_empty_one(repo: Repo) -> None:
    found = read(repo)
    assert found is not None
    assert found.names == []
    assert found.find(b"x") == -1


def test_an_empty_index(repo: Repo) -> None:
    repo.write("x", "")
    repo.git("add", "x")
    repo.git("rm", "--cached", "--quiet", "x")
    assert rows(assert_as_git(repo)) == []


def test_a_split_index_is_left_to_git(filled: Repo) -> None:
    filled.git("update-index", "--split-index")
    filled.write("a.txt", "changed")
    filled.git("add", "a.txt")
    assert read(filled) is None


def test_a_sparse_index_is_left_to_git(filled: Repo) -> None:
    filled.commit("all")
    filled.git("sparse-checkout", "set", "--cone", "--sparse-index", "data")
    assert read(filled) is None


def test_a_sha256_index_is_left_to_git(tmp_path: Path) -> None:
    root = tmp_path / "new"
    root.mkdir()
    git(root, "init", "--quiet", "--object-format=sha256")
    repo = Repo(root)
    for at in range(40):
        repo.write(f"name{at}", str(at))
        repo.git("add", "--all")
        assert read(repo) is None


@pytest.mark.parametrize("content", [b"", b"DIRC", b"x" * 100, b"DIRC" + b"\xff" * 100])
def test_what_is_no_index_is_left_to_git(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "index"
    path.write_bytes(content)
    assert gitindex.read(str(path)) is None


def test_what_cannot_be_read_is_left_to_git(tmp_path: Path) -> None:
    assert gitindex.read(str(tmp_path)) is None


def test_within(filled: Repo) -> None:
    found = read(filled)
    assert found is not None
    assert [found.names[at] for at in found.within(b"data")] == [
        b"data/deep/er/z", b"data/x.csv.dvc", b"data/y.csv.dvc",
    ]  # fmt: skip
    assert list(found.within(b"dat")) == []
    assert list(found.within(b"a")) == [found.find(b"a/b")]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, bytes]]:
    """A repository of a few entries, and its index in each version."""
    root = tmp_path_factory.mktemp("small") / "repo"
    root.mkdir()
    git(root, "init", "--quiet")
    repo = Repo(root)
    for name in ("a", "data/x.csv.dvc", "data/y.csv.dvc", "zz"):
        repo.write(name, name)
    repo.git("add", "--all")
    repo.git("write-tree")
    found = {}
    for version in (2, 4):
        repo.git("update-index", "--index-version", str(version), "--force-write-index")
        found[version] = repo.read(".git/index")
    return root, found


def check_damaged(root: Path, place: Path, data: bytes) -> None:
    """No exception; and an answer only where it is git's own (or git refuses these bytes)."""
    path = place / "damaged"
    path.write_bytes(data)
    found = gitindex.read(str(path))
    if found is not None:
        seen = listed(root, str(path))
        assert seen is None or rows(found) == seen


versions = st.sampled_from([2, 4])
flips = st.lists(st.tuples(st.integers(0, 999), st.integers(1, 255)), min_size=1, max_size=3)


@settings(max_examples=60, derandomize=True, phases=(Phase.generate,))
@given(version=versions, flipped=flips, keep=st.integers(0, 999) | st.none())
def test_damaged(
    small: tuple[Path, dict[int, bytes]],
    tmp_path: Path,
    version: int,
    flipped: list[tuple[int, int]],
    keep: int | None,
) -> None:
    root, kept = small
    data = bytearray(kept[version])
    for at, mask in flipped:
        data[at % len(data)] ^= mask
    check_damaged(root, tmp_path, bytes(data[:keep]))


@pytest.mark.slow
@settings(max_examples=3000)
@given(version=versions, flipped=flips, keep=st.integers(0, 999) | st.none())
def test_damaged_in_many_ways(
    small: tuple[Path, dict[int, bytes]],
    tmp_path: Path,
    version: int,
    flipped: list[tuple[int, int]],
    keep: int | None,
) -> None:
    root, kept = small
    data = bytearray(kept[version])
    for at, mask in flipped:
        data[at % len(data)] ^= mask
    check_damaged(root, tmp_path, bytes(data[:keep]))


def test_each_single_truncation(small: tuple[Path, dict[int, bytes]], tmp_path: Path) -> None:
    root, kept = small
    for data in kept.values():
        for end in range(len(data)):
            check_damaged(root, tmp_path, data[:end])
