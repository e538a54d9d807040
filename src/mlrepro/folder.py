"""The members of a tracked folder: listed, and compared with what was hashed when."""

from __future__ import annotations

import os
from array import array
from zlib import crc32

from mlrepro.index import COARSE_NS, TICK_NS

# On the hook's no-change path. A folder of 20,000 files is compared as two blocks of bytes (the
# names, and five numbers a file), so that no object is made for a file that did not change.

MAGIC = b"mlrepro tree 1\n"
NUMBERS = 5  # size, mtime_ns, ctime_ns, inode, device


class Walk:
    """The regular files below a folder as they stand now.

    ``names``: relative paths, sorted; ``numbers``: five a file, in that order; ``odd``: what is
    neither file nor folder; ``hollow``: folders without any file; ``nested``: ``.git`` and ``.dvc``
    that lie inside. Links are not followed.
    """

    __slots__ = ("hollow", "names", "nested", "numbers", "odd")

    def __init__(self) -> None:
        self.names: list[str] = []
        self.numbers = array("q")
        self.odd: list[str] = []
        self.hollow: list[str] = []
        self.nested: list[str] = []

    def __len__(self) -> int:
        return len(self.names)

    def size(self) -> int:
        """The bytes of all files together."""
        return sum(self.numbers[::NUMBERS])


def walk(folder: str) -> Walk:
    """List every regular file below ``folder``. Raises OSError where a part cannot be read."""
    found = Walk()
    rows: list[tuple[str, os.stat_result]] = []
    _walk(folder, "", rows, found)
    rows.sort(key=lambda row: row[0])
    numbers: list[int] = []
    for name, stat in rows:
        found.names.append(name)
        numbers += (
            stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, _signed(stat.st_dev),
        )  # fmt: skip
    try:
        found.numbers = array("q", numbers)
    except OverflowError:  # inodes above 2**63: some network file systems
        found.numbers = array("q", [_signed(number) for number in numbers])
    return found


def _signed(number: int) -> int:
    return number if number < 1 << 63 else number - (1 << 64)


def _walk(folder: str, prefix: str, rows: list[tuple[str, os.stat_result]], found: Walk) -> None:
    before, below = len(rows), []
    with os.scandir(folder) as items:
        for item in items:
            if item.is_file(follow_symlinks=False):
                if item.name == ".git":
                    found.nested.append(prefix + item.name)
                    continue
                try:
                    rows.append((prefix + item.name, item.stat(follow_symlinks=False)))
                except FileNotFoundError:
                    continue  # gone between listing and looking: as if a moment later
            elif item.is_dir(follow_symlinks=False):
                if item.name in (".git", ".dvc", ".hg"):
                    found.nested.append(prefix + item.name)
                else:
                    below.append((item.path, prefix + item.name))
            else:
                found.odd.append(prefix + item.name)
    for path, name in below:
        _walk(path, name + "/", rows, found)
    if len(rows) == before and prefix and not below:
        found.hollow.append(prefix[:-1])


class Tree:
    """What the members of a folder were when they were hashed.

    ``path``: the folder; ``oid``: its listing's hash (``.dir``; "" where it is yet to be made);
    ``names``, ``numbers``: as in
    ``Walk``; ``oids``: 16 bytes a file, all zero for a file that ``.dvcignore`` leaves out;
    ``began_ns``: when the hashing of the oldest of them began.
    """

    __slots__ = ("began_ns", "names", "numbers", "oid", "oids", "path")

    def __init__(self, path: str, oid: str, found: Walk, oids: bytes, began_ns: int) -> None:
        self.path = path
        self.oid = oid
        self.names = found.names
        self.numbers = found.numbers
        self.oids = oids
        self.began_ns = began_ns

    def members(self) -> dict[str, str]:
        """Relative path → hash of each file that belongs to the folder's content."""
        oids = self.oids.hex()
        pairs = zip(self.names, range(0, len(oids), 32), strict=True)
        return {name: oid for name, at in pairs if (oid := oids[at : at + 32]) != "0" * 32}

    def is_same(self, found: Walk) -> bool:
        """Whether every file is proven to be as it was hashed, and none came or went."""
        return (
            self.names == found.names
            and self.numbers == found.numbers
            and not self.racy(found.numbers)
        )

    def racy(self, numbers: array[int]) -> bool:
        """Whether a write after hashing began could hide behind any of these times."""
        if not numbers:
            return False
        newest = max(max(numbers[1::NUMBERS]), max(numbers[2::NUMBERS]))
        coarse = newest % 1_000_000_000 == 0
        return newest >= self.began_ns - (COARSE_NS if coarse else TICK_NS)

    def unchanged(self, found: Walk) -> dict[str, str]:
        """The files of ``found`` that are proven to be as they were hashed, with their hashes."""
        was = {name: at for at, name in enumerate(self.names)}
        same = {}
        for at, name in enumerate(found.names):
            before = was.get(name, -1)
            if before < 0:
                continue
            now = found.numbers[at * NUMBERS : (at + 1) * NUMBERS]
            if now != self.numbers[before * NUMBERS : (before + 1) * NUMBERS]:
                continue
            if max(now[1], now[2]) >= self.began_ns - (
                COARSE_NS if now[1] % 1_000_000_000 == 0 else TICK_NS
            ):
                continue
            same[name] = self.oids[before * 16 : before * 16 + 16].hex()
        return same


def tree_file(state_dir: str, path: str) -> str:
    """Where the tree of the folder ``path`` is kept."""
    data = os.fsencode(path)
    return os.path.join(state_dir, "trees", f"{crc32(data):08x}{crc32(data[::-1]):08x}")


def load(state_dir: str, path: str) -> Tree | None:
    """Read the tree of the folder ``path``; None where there is none, or it is damaged."""
    try:
        with open(tree_file(state_dir, path), "rb") as file:
            data = file.read()
    except OSError:
        return None
    start = len(MAGIC) + 9
    if not data.startswith(MAGIC) or data[len(MAGIC) : start] != b"%08x\n" % crc32(data[start:]):
        return None
    try:
        header, names, rest = data[start:].split(b"\0\0", 2)
        named, oid, began, count = header.decode("utf-8", "surrogateescape").split("\0")
        found = Walk()
        found.names = names.decode("utf-8", "surrogateescape").split("\0") if names else []
        width = int(count) * NUMBERS * 8
        found.numbers.frombytes(rest[:width])
    except ValueError:
        return None
    if named != path or len(found.names) != int(count) or len(rest) != width + 16 * int(count):
        return None
    return Tree(path, oid, found, rest[width:], int(began))


def save(state_dir: str, tree: Tree) -> None:
    """Keep the tree, in one step."""
    target = tree_file(state_dir, tree.path)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    header = "\0".join((tree.path, tree.oid, str(tree.began_ns), str(len(tree.names))))
    body = b"\0\0".join(
        (
            header.encode("utf-8", "surrogateescape"),
            "\0".join(tree.names).encode("utf-8", "surrogateescape"),
            tree.numbers.tobytes() + tree.oids,
        )
    )
    from mlrepro import durable  # not needed where nothing changed

    data = MAGIC + b"%08x\n" % crc32(body) + body
    durable.write_atomic(target, data, durable=False)  # crc32 tells a damaged one
