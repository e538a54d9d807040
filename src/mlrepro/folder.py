"""The record of a tracked folder: what each of its files was when it was hashed, and is still."""

from __future__ import annotations

import os
from zlib import crc32

from mlrepro.index import COARSE_NS, TICK_NS, WHOLE_NS, is_racy
from mlrepro.walking import NUMBERS, Walk, packed

# On the hook's no-change path. A folder of 20,000 files is compared as two blocks of bytes (the
# names, and five numbers a file), so that no object is made for a file that did not change.

TYPE_CHECKING = False
if TYPE_CHECKING:
    from array import array
    from io import BufferedReader

MAGIC = b"mlrepro tree 3\n"
UNKNOWN = bytes(16)  # in place of a hash
_BLOCK = 64  # files whose numbers are compared at once


class Tree:
    """What the members of a folder were when they were hashed.

    ``path``: the folder; ``oid``: its listing's hash (``.dir``; "" where it is yet to be made);
    ``names``, ``numbers``, ``rules``: as in ``Walk``; ``odd``: what in it is no file of its own;
    ``oids``: 16 bytes a file, all zero for a file that ``.dvcignore`` leaves out; ``began_ns``:
    when the hashing of the oldest of them began; ``alias``: the hash that DVC 2 gave the same
    content, "" where that is not known; ``shelves``: how the store's folders were when all of it
    was in them (see ``Presence``), "" where that is not known.
    """

    __slots__ = (
        "_joined", "_names", "alias", "began_ns", "numbers", "odd", "oid", "oids", "path", "rules",
        "shelves",
    )  # fmt: skip

    def __init__(self, path: str, oid: str, found: Walk, oids: bytes, began_ns: int) -> None:
        self.path = path
        self.oid = oid
        self.alias = self.shelves = ""
        self.rules = found.rules
        self.odd = found.odd + found.nested
        self._names: list[str] | None = found.names
        self._joined = b""  # in place of the names, until they are asked for one by one
        self.numbers = found.numbers
        self.oids = oids
        self.began_ns = began_ns

    def __len__(self) -> int:
        return len(self.oids) // 16

    @property
    def names(self) -> list[str]:
        if self._names is None:
            self._names, self._joined = _names(self._joined), b""
        return self._names

    def joined(self) -> bytes:
        """All names as they are kept."""
        return self._joined if self._names is None else _joined(self._names)

    def know_joined(self, names: bytes) -> None:
        """Take the names as they are kept."""
        self._names, self._joined = None, names

    def members(self) -> dict[str, str]:
        """Relative path → hash of each file that belongs to the folder's content."""
        oids = self.oids.hex()
        pairs = zip(self.names, range(0, len(oids), 32), strict=True)
        return {name: oid for name, at in pairs if (oid := oids[at : at + 32]) != "0" * 32}

    def is_same(self, found: Walk) -> bool:
        """Whether every file is proven to be as it was hashed, and none came or went."""
        return (
            self.is_listed_as(found)
            and self.numbers == found.numbers
            and not self.racy(found.numbers)
        )

    def is_listed_as(self, found: Walk) -> bool:
        """Whether the same files are there, and count, whatever is in them."""
        same = self.rules == found.rules and self.odd == found.odd + found.nested
        return same and self._is_named_as(found)

    def _is_named_as(self, found: Walk) -> bool:
        if self._names is None:
            return len(self) == len(found) and self._joined == _joined(found.names)
        return self._names == found.names

    def racy(self, numbers: array[int]) -> bool:
        """Whether a write after hashing began could hide behind any of these times."""
        mtimes, ctimes = numbers[1::NUMBERS], numbers[2::NUMBERS]
        newest = max(max(mtimes), max(ctimes)) if numbers else 0  # noqa: PLW3301  two runs in C
        if newest < self.began_ns - COARSE_NS:
            return False
        if newest < self.began_ns - TICK_NS and all(mtime % WHOLE_NS for mtime in mtimes):
            return False  # no file of a file system that keeps whole seconds only
        pairs = zip(mtimes, ctimes, strict=True)
        return any(is_racy(mtime, ctime, self.began_ns) for mtime, ctime in pairs)

    def proven(self, found: Walk) -> tuple[bytearray, list[int]]:
        """The hashes of the files of ``found`` that are proven to be as they were hashed, and the
        places of the others.

        16 bytes each: ``UNKNOWN`` for the others, and for what was left out.
        """
        if self._is_named_as(found):
            return self._proven_in_place(found)
        oids, others = bytearray(16 * len(found)), list[int]()
        names, end, at = self.names, len(self), 0  # both are sorted
        for place, name in enumerate(found.names):
            while at < end and names[at] < name:
                at += 1
            row = found.numbers[place * NUMBERS : (place + 1) * NUMBERS]
            if at == end or names[at] != name or not self._is_proven(at, row):
                others.append(place)
            else:
                oids[place * 16 : place * 16 + 16] = self.oids[at * 16 : at * 16 + 16]
        return oids, others

    def _proven_in_place(self, found: Walk) -> tuple[bytearray, list[int]]:
        """The same where no file came or went: only what is doubtful is looked at by itself."""
        oids, others = bytearray(self.oids), list[int]()
        for at in sorted(self._doubtful(found.numbers)):
            if not self._is_proven(at, found.numbers[at * NUMBERS : (at + 1) * NUMBERS]):
                oids[at * 16 : at * 16 + 16] = UNKNOWN
                others.append(at)
        return oids, others

    def _is_proven(self, at: int, now: array[int]) -> bool:
        """Whether the file at this place, which has these numbers now, is as it was hashed."""
        same = self.numbers[at * NUMBERS : (at + 1) * NUMBERS] == now
        return same and not is_racy(now[1], now[2], self.began_ns)

    def _doubtful(self, numbers: array[int]) -> set[int]:
        """The places of files near which numbers are others now, or whose times are late."""
        old, was, width = self.began_ns - COARSE_NS, self.numbers, _BLOCK * NUMBERS * 8
        found = {
            at
            for times in (was[1::NUMBERS], was[2::NUMBERS])
            if times and max(times) >= old
            for at, when in enumerate(times)
            if when >= old
        }
        then, now = memoryview(was).cast("B"), memoryview(numbers).cast("B")
        for start in range(0, len(then), width):
            if then[start : start + width] != now[start : start + width]:
                first = start // (NUMBERS * 8)
                found.update(range(first, min(first + _BLOCK, len(self))))
        return found


def tree_file(state_dir: str, path: str) -> str:
    """Where the tree of the folder ``path`` is kept."""
    data = os.fsencode(path)
    return os.path.join(state_dir, "trees", f"{crc32(data):08x}{crc32(data[::-1]):08x}")


def load(state_dir: str, path: str) -> Tree | None:
    """Read the tree of the folder ``path``; None where there is none, or it is damaged."""
    try:
        with open(tree_file(state_dir, path), "rb") as file:
            return _read(file, path)
    except (OSError, ValueError):
        return None


def _read(file: BufferedReader, path: str) -> Tree | None:
    """The tree that a file has; raises ValueError, or returns None, where it is damaged.

    Read part by part, so that none of it is in memory twice.
    """
    if file.read(len(MAGIC)) != MAGIC:
        return None
    told, header = file.readline(), file.readline()
    began, count, oid, alias, rules, *ends = header.split(b" ")
    odd_at, at, numbers_at = (int(end) for end in ends)
    many = int(count)
    size = os.fstat(file.fileno()).st_size
    if not 0 <= odd_at <= at <= numbers_at <= numbers_at + many * (NUMBERS * 8 + 16) <= size:
        return None
    odd, named, names = file.read(odd_at), file.read(at - odd_at), file.read(numbers_at - at)
    found = Walk()
    found.numbers = packed([0]) * (NUMBERS * many)
    file.readinto(found.numbers)
    oids, shelves = file.read(16 * many), file.read()
    sum_ = 0
    for part in (header, odd, named, names, found.numbers, oids, shelves):
        sum_ = crc32(part, sum_)
    if told != b"%08x\n" % sum_ or named != os.fsencode(path):
        return None
    found.rules, found.odd = bytes.fromhex(rules.decode()), _names(odd)
    whole = Tree(path, oid.decode(), found, oids, int(began))
    whole.know_joined(names)
    whole.alias, whole.shelves = alias.decode(), shelves.decode("ascii")
    return whole if (names.count(b"\0") + 1 if names else 0) == many else None


def _names(data: bytes) -> list[str]:
    return data.decode("utf-8", "surrogateescape").split("\0") if data else []


def _joined(names: list[str]) -> bytes:
    return "\0".join(names).encode("utf-8", "surrogateescape")


def save(state_dir: str, tree: Tree) -> None:
    """Keep the tree, in one step."""
    target = tree_file(state_dir, tree.path)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    odd, path, names = _joined(tree.odd), os.fsencode(tree.path), tree.joined()
    ends = (len(odd), len(odd + path), len(odd + path) + len(names))
    facts = (tree.began_ns, len(tree), tree.oid, tree.alias, tree.rules.hex(), *ends)
    first = (" ".join(map(str, facts)) + "\n").encode() + odd + path
    numbers = memoryview(tree.numbers).cast("B")
    parts = (first, names, numbers, tree.oids, tree.shelves.encode())
    sum_ = 0
    for part in parts:
        sum_ = crc32(part, sum_)
    from mlrepro import writing  # not needed where nothing changed

    # Not flushed, since the sum tells a damaged one.
    writing.write_atomic(target, MAGIC + b"%08x\n" % sum_, *parts, durable=False)
