"""A tracked folder's members: listed as they are, and unchanged only where that is proven."""

from __future__ import annotations

import os
import socket
import subprocess
from array import array
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from mlrepro import folder, glance, index, walking

LATER = 10**10  # ns
ZERO, ONE = "0" * 32, "1" * 32
names = st.binary(min_size=1, max_size=12).map(
    lambda raw: os.fsdecode(raw.replace(b"\0", b"x").replace(b"/", b"_"))
)
parts = names.filter(lambda name: name not in (".", "..", ".git", ".dvc", ".hg"))
# Names that sort differently alone and as a folder of a longer path: "/" is between "." and "0".
TRICKY = ["a", "a-b", "a.txt", "a0", "aa", "b", "a b"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path


def made(root: Path, *files: str) -> Path:
    for name in files:
        path = root / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(name))
    return root / "data"


def walked(root: Path) -> walking.Walk:
    return walking.walk(str(root), "data")


def hashed(root: Path, began_ns: int = 0) -> folder.Tree:
    """The tree of ``data`` as if all of it had been hashed a while after it was written."""
    found = walked(root)
    oids = b"".join(bytes([1 + at % 255]) * 16 for at in range(len(found)))
    return folder.Tree("data", ONE + ".dir", found, oids, began_ns or index.now_ns() + LATER)


def unchanged(tree: folder.Tree, found: walking.Walk) -> dict[str, str]:
    """The files that are proven to be as they were hashed, with their hashes."""
    oids, others = tree.proven(found)
    for at in others:
        assert oids[at * 16 : at * 16 + 16] == folder.UNKNOWN
    return {
        name: oids[at * 16 : at * 16 + 16].hex()
        for at, name in enumerate(found.names)
        if at not in others
    }


# listing


@settings(max_examples=40)
@given(
    paths=st.lists(st.lists(st.sampled_from(TRICKY) | parts, min_size=1, max_size=3), max_size=9)
)
def test_every_file_is_listed_in_order(
    tmp_path_factory: pytest.TempPathFactory, paths: list[list[str]]
) -> None:
    root = tmp_path_factory.mktemp("walk")
    (root / "data").mkdir()
    for path in paths:
        try:
            made(root, "/".join(path))
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            continue  # one name for both a file and a folder
    found = walked(root)
    expected = sorted(
        os.path.relpath(os.path.join(place, name), root / "data")
        for place, _, files in os.walk(root / "data")
        for name in files
    )
    assert found.names == expected
    assert len(found) == len(expected)
    rows = []
    for name in expected:
        now = os.lstat(os.path.join(root, "data", name))
        rows += [now.st_size, now.st_mtime_ns, now.st_ctime_ns, now.st_ino, now.st_dev]
    assert list(found.numbers) == rows
    assert found.size() == sum(rows[::5])
    assert walking.walk(str(root), "data", stats=False).names == expected


def test_what_is_no_plain_file(root: Path) -> None:
    data = made(root, "a/x", "b/.git/HEAD", "c/.git", "d/.dvc/config", "e/.hg/x", "f/.dvc.txt")
    (data / "hollow/inner").mkdir(parents=True)
    (data / "link").symlink_to("a")
    (data / "a/dangling").symlink_to("nowhere")
    os.mkfifo(data / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        here = os.getcwd()
        os.chdir(data)  # the name of a socket may have 108 bytes at most
        try:
            listening.bind("socket")
        finally:
            os.chdir(here)
        found = walked(root)
    assert found.names == ["a/x", "f/.dvc.txt"]
    assert sorted(found.odd) == ["a/dangling", "link", "pipe", "socket"]
    assert sorted(found.nested) == ["b/.git", "c/.git", "d/.dvc", "e/.hg"]
    assert "hollow/inner" in found.hollow


def test_a_link_in_place_of_the_folder_is_not_followed(root: Path) -> None:
    made(root, "x")
    (root / "data").rename(root / "real")
    (root / "data").symlink_to("real")
    with pytest.raises(OSError, match="data"):
        walked(root)


def test_what_is_absent_or_closed_is_an_error_that_names_it(root: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        walking.walk(str(root), "nowhere")
    if os.geteuid() == 0:
        pytest.skip("nothing is closed to root")
    made(root, "inner/x")
    (root / "data/inner").chmod(0)
    try:
        with pytest.raises(PermissionError, match="inner"):
            walked(root)
    finally:
        (root / "data/inner").chmod(0o755)


def test_nested_as_deep_as_a_path_can_be(root: Path) -> None:
    depth = 1200
    here = os.getcwd()
    os.chdir(root / "data")
    try:
        for _ in range(depth):
            os.mkdir("d")
            os.chdir("d")
        Path("x").write_text("deep")
    finally:
        os.chdir(here)
    assert walked(root).names == ["d/" * depth + "x"]
    subprocess.run(["rm", "-r", root / "data"], check=True)  # which Python's own removal cannot


def test_rules_of_every_level_above(root: Path) -> None:
    made(root, "a/b/x")
    (root / ".dvcignore").write_bytes(b"# comment\n\n  *.tmp  \r\n")
    (root / "data/.dvcignore").write_bytes(b"!x\n")
    (root / "data/a/b/.dvcignore").write_bytes(b"not above\n")
    assert walking.walk(str(root), "data/a/b").rules == b"0   *.tmp  \r\n1 !x"
    (root / ".dvcignore").write_bytes(b"# comment\n")
    (root / "data/.dvcignore").unlink()
    assert walking.walk(str(root), "data/a/b").rules == b""


# compared


def glanced(root: Path, tree: folder.Tree) -> bool:
    """What the hook finds out, which is the same by one process and by several."""
    found = set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(glance, "_cores", lambda: 3)
        for files in (1, 1000):
            patch.setattr(glance, "WORTH_A_FORK", files)
            found.add(glance.is_same(str(root), tree))
    assert len(found) == 1
    return found.pop()


def test_each_process_sees_the_changes_of_its_part(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(glance, "_cores", lambda: 3)
    monkeypatch.setattr(glance, "WORTH_A_FORK", 3)
    data = made(root, *(f"{number}" for number in range(9)), "odd/.git/x", "z")
    tree = hashed(root)
    for name in tree.names:
        assert glance.is_same(str(root), tree)
        about = (data / name).stat()
        os.utime(data / name, ns=(about.st_atime_ns, about.st_mtime_ns - 1))
        before = index.now_ns()
        assert not glance.is_same(str(root), tree)
        assert glance.taken(str(root), "data") is None  # only for who says so
        assert not glance.is_same(str(root), tree, keep=True), name
        seen, began, known = glance.taken(str(root), "data") or (walking.Walk(), 0, None)
        assert known is tree
        now = walked(root)
        assert before <= began <= index.now_ns()
        assert (seen.names, seen.numbers, seen.rules) == (now.names, now.numbers, now.rules)
        assert (seen.odd, seen.nested, seen.hollow) == (now.odd, now.nested, now.hollow)
        assert set(unchanged(tree, seen)) == set(tree.names) - {name}
        assert glance.taken(str(root), "data") is None  # told once
        tree = hashed(root)
    with pytest.raises(ChildProcessError):  # none is left behind
        os.waitpid(-1, os.WNOHANG)


def test_what_is_the_same_or_cannot_be_told_is_not_kept_in_mind(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(glance, "_cores", lambda: 2)
    monkeypatch.setattr(glance, "WORTH_A_FORK", 2)
    data = made(root, "a", "b", "c", "d")
    tree = hashed(root)
    here = str(root)
    assert glance.is_same(here, tree, keep=True) and glance.taken(here, "data") is None
    (data / "e").touch()
    assert not glance.is_same(here, tree, keep=True) and glance.taken(here, "data") is None
    (data / "e").unlink()
    (data / "a").write_text("other")
    assert not glance.is_same(here, tree, keep=True)
    glance.forget()
    assert glance.taken(here, "data") is None
    tree.numbers = tree.numbers[: 3 * walking.NUMBERS]  # as no tree is
    assert not glance.is_same(here, tree, keep=True) and glance.taken(here, "data") is None


def test_members_that_are_unchanged_whether_or_not_others_came(root: Path) -> None:
    data = made(root, *"abcdef")
    tree = hashed(root)
    (data / "c").write_text("other")
    here = walked(root)
    same = unchanged(tree, here)
    assert list(same) == ["a", "b", "d", "e", "f"]
    (data / "g").touch()
    assert (
        unchanged(tree, walked(root))
        == same
        == {name: oid for name, oid in tree.members().items() if name != "c"}
    )
    racy = hashed(root, began_ns=min(walked(root).numbers[2 :: walking.NUMBERS]))
    assert unchanged(racy, walked(root)) == {}


def test_a_few_edits_among_many_members(root: Path) -> None:
    """Blocks of numbers are compared; in one that differs, each file by itself."""
    every = [f"{at:03}" for at in range(200)]
    data = made(root, *every)
    tree = hashed(root)
    for name in (touched := ["000", "063", "064", "130", "199"]):
        (data / name).write_text("other")
    left = {name: oid for name, oid in tree.members().items() if name not in touched}
    assert len(left) == 195 and unchanged(tree, walked(root)) == left
    for name in every:  # all of them are late, and some too late
        os.utime(data / name, ns=(10**18, 10**18 + 1 + int(name)))
    tree = hashed(root, began_ns=max(walked(root).numbers[2 :: walking.NUMBERS]) + LATER)
    assert list(unchanged(tree, walked(root))) == every
    tree.began_ns = 10**18 + 101 + index.TICK_NS
    tree.numbers[2 :: walking.NUMBERS] = tree.numbers[1 :: walking.NUMBERS]
    assert list(unchanged(tree, _with_numbers(walked(root), tree))) == every[:100]


def _with_numbers(found: walking.Walk, tree: folder.Tree) -> walking.Walk:
    found.numbers = tree.numbers[:]
    return found


def test_untouched_is_the_same(root: Path) -> None:
    made(root, "a", "sub/b", "c/.git/x")
    (root / "data/pipe").symlink_to("a")
    tree = hashed(root)
    found = walked(root)
    assert tree.is_same(found)
    assert glanced(root, tree)
    assert list(unchanged(tree, found)) == ["a", "sub/b"]


def edited(data: Path) -> None:
    """The same size, and the time put back."""
    before = (data / "a").stat()
    while (data / "a").stat().st_ctime_ns == before.st_ctime_ns:
        (data / "a").write_text("b")
        os.utime(data / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (data / "a").stat().st_mtime_ns == before.st_mtime_ns


def replaced(data: Path) -> None:
    before = (data / "a").stat()
    (data / "new").write_text("a")
    os.utime(data / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
    (data / "new").replace(data / "a")


def ruled(data: Path) -> None:
    (data.parent / ".dvcignore").write_text("sub/\n")


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (edited, ["sub/b"]),
        (replaced, ["sub/b"]),
        (lambda data: (data / "a").unlink(), ["sub/b"]),
        (lambda data: (data / "c").write_text("new"), ["a", "sub/b"]),
        (lambda data: (data / "a").rename(data / "z"), ["sub/b"]),
        (lambda data: (data / "link").symlink_to("a"), ["a", "sub/b"]),
        (lambda data: (data / "sub/.git").mkdir(), ["a", "sub/b"]),
        (ruled, ["a", "sub/b"]),
    ],
    ids=["edited", "replaced", "removed", "added", "renamed", "linked", "nested", "ruled"],
)
def test_every_change_is_seen(
    root: Path, change: Callable[[Path], object], left: list[str]
) -> None:
    data = made(root, "a", "sub/b")
    tree = hashed(root)
    change(data)
    found = walked(root)
    assert not tree.is_same(found)
    assert not glanced(root, tree)
    assert list(unchanged(tree, found)) == left
    assert unchanged(tree, found)["sub/b"] == "02" * 16


def test_what_was_written_as_hashing_began_is_not_believed(root: Path) -> None:
    data = made(root, "old", "new")
    os.utime(data / "old", ns=(1, 1))
    newest = max(walked(root).numbers[2::5])
    for later, believed in ((0, False), (index.TICK_NS, False), (LATER, True)):
        tree = hashed(root, began_ns=newest + later)
        assert tree.is_same(walked(root)) is glanced(root, tree) is believed
        assert bool(unchanged(tree, walked(root))) is believed


def test_a_coarse_clock_beside_a_fine_one(root: Path) -> None:
    """One file of a folder may lie on a file system that keeps whole seconds."""
    made(root, "coarse", "fine")
    tree = hashed(root)
    second = 10**9
    row = [5, 100 * second, 100 * second, 1, 2, 5, 100 * second + 7, 100 * second + 8, 3, 2]
    tree.numbers = array("q", row)
    for seconds, believed in ((1, False), (2, False), (3, True)):
        tree.began_ns = (100 + seconds) * second
        assert tree.racy(tree.numbers) is not believed


def test_nothing_is_the_same_as_nothing(root: Path) -> None:
    assert hashed(root).is_same(walked(root))


# kept


@settings(max_examples=40)
@given(
    path=names,
    files=st.lists(names, unique=True, max_size=5),
    odd=st.lists(names, max_size=2),
    rules=st.binary(max_size=9),
    oid=st.sampled_from(["", ONE + ".dir"]),
    data=st.data(),
)
def test_what_is_kept_is_loaded(
    tmp_path_factory: pytest.TempPathFactory,
    path: str,
    files: list[str],
    odd: list[str],
    rules: bytes,
    oid: str,
    data: st.DataObject,
) -> None:
    state = str(tmp_path_factory.mktemp("state"))
    found = walking.Walk()
    found.names, found.odd, found.rules = sorted(files), odd, rules
    numbers = st.lists(st.integers(-(2**63), 2**63 - 1), min_size=5, max_size=5)
    found.numbers = array("q", [one for _ in files for one in data.draw(numbers)])
    oids = b"".join(data.draw(st.binary(min_size=16, max_size=16)) for _ in files)
    tree = folder.Tree(path, oid, found, oids, 123)
    tree.shelves = data.draw(st.sampled_from(["", "ab 1 2 3 4 5\ncd 1 2 3 4 5"]))
    folder.save(state, tree)
    again = folder.load(state, path)
    assert again is not None
    assert again.is_listed_as(found) and again.joined() == tree.joined()  # as they are kept
    for name in (*folder.Tree.__slots__, "names"):
        if not name.startswith("_"):
            assert getattr(again, name) == getattr(tree, name)
    assert again.is_listed_as(found) and again.joined() == tree.joined()
    assert folder.load(state, path + "x") is None
    place = Path(folder.tree_file(state, path))
    whole = place.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytearray(whole)
    flipped[at] ^= data.draw(st.integers(1, 255))
    for bad in (bytes(flipped), whole[:at], whole + b"x"):
        place.write_bytes(bad)
        assert folder.load(state, path) is None


def test_another_folders_tree_is_not_taken(root: Path) -> None:
    """Not even where the two names come to the same file."""
    state = root / "state"
    made(root, "a")
    folder.save(str(state), hashed(root))
    mine = folder.tree_file(str(state), "other")
    os.replace(folder.tree_file(str(state), "data"), mine)
    assert folder.load(str(state), "other") is None


def test_members_are_those_that_are_not_left_out(root: Path) -> None:
    made(root, "a", "b", "c")
    tree = hashed(root)
    tree.oids = b"\1" * 16 + bytes(16) + b"\3" * 16
    assert tree.members() == {"a": "01" * 16, "c": "03" * 16}
