"""The members of a tracked folder: listed, and compared with what was hashed when."""

from __future__ import annotations

import os
from bisect import bisect_left
from zlib import crc32

from mlrepro import plainfile
from mlrepro.index import COARSE_NS, TICK_NS, WHOLE_NS, is_racy

# On the hook's no-change path. A folder of 20,000 files is compared as two blocks of bytes (the
# names, and five numbers a file), so that no object is made for a file that did not change.

TYPE_CHECKING = False
if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterator

MAGIC = b"mlrepro tree 3\n"
MAX_RULES_BYTES = 1 << 20
NUMBERS = 5  # size, mtime_ns, ctime_ns, inode, device
_BLOCK = 64  # files whose numbers are compared at once
_REPOSITORIES = frozenset({".git", ".dvc", ".hg"})
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Walk:
    """The regular files below a folder as they stand now.

    ``names``: relative paths, sorted; ``numbers``: five a file, in that order; ``odd``: what is
    neither file nor folder; ``hollow``: folders without any file; ``nested``: ``.git`` and ``.dvc``
    that lie inside; ``rules``: what ``.dvcignore`` files above say. Links are not followed.
    """

    __slots__ = ("hollow", "names", "nested", "numbers", "odd", "rules")

    def __init__(self) -> None:
        self.names: list[str] = []
        self.numbers = packed([])
        self.odd: list[str] = []
        self.hollow: list[str] = []
        self.nested: list[str] = []
        self.rules = b""

    def __len__(self) -> int:
        return len(self.names)

    def size(self) -> int:
        """The bytes of all files together."""
        return sum(self.numbers[::NUMBERS])


def walk(root: str, path: str, *, stats: bool = True) -> Walk:
    """List every regular file below the folder ``path`` of the worktree at ``root``.

    Without ``stats`` no file is looked at, and there are no ``numbers``. Raises OSError where a
    part cannot be read.
    """
    look = _look if stats else _list
    folder = f"{root}/{path}"
    found = Walk()
    found.rules = rules_above(root, path)
    numbers: list[int] = []
    # What is next, last first: a folder to look into, or files seen but not yet in their place.
    pending: list[tuple[str, tuple[list[str], list[int]] | None]] = [("", None)]
    while pending:
        prefix, files = pending.pop()
        if files is None:
            files = _in_order(prefix, *look(folder, prefix, found), pending)
        found.names += [prefix + name for name in files[0]] if prefix else files[0]
        numbers += files[1]
    found.numbers = packed(numbers)
    return found


def packed(numbers: list[int]) -> array[int]:
    """The numbers of files as a tree keeps them."""
    from array import array  # two milliseconds, since it loads `collections`

    try:
        return array("q", numbers)
    except OverflowError:  # inodes above 2**63: some network file systems
        return array("q", [_signed(number) for number in numbers])


def unpacked(data: bytes) -> array[int]:
    """The numbers of files, of their bytes."""
    numbers = packed([])
    numbers.frombytes(data)
    return numbers


def rules_above(root: str, path: str) -> bytes:
    """The rules of the ``.dvcignore`` files from the root down to ``path``; b"" where none has any.

    Each line has the depth of its file before it. Raises OSError, and PathError for
    what is no plain file.
    """
    rules = []
    parts = path.split("/")
    for depth in range(len(parts)):
        try:
            name = "/".join((*parts[:depth], ".dvcignore"))
            text = plainfile.read_at(f"{root}/{name}", name, MAX_RULES_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            continue
        lines = [line for line in text.split(b"\n") if line.strip() and not line.startswith(b"#")]
        rules += [b"%d %s" % (depth, line) for line in lines]
    return b"\n".join(rules)


def _signed(number: int) -> int:
    return number if number < 1 << 63 else number - (1 << 64)


def _look(folder: str, prefix: str, found: Walk) -> tuple[list[str], list[int], list[str]]:
    """One folder's own files in order, their numbers, and the folders in it."""
    files: list[str] = []
    numbers: list[int] = []
    below: list[str] = []
    try:
        here = os.open(f"{folder}/{prefix}".rstrip("/") or "/", _FOLDER)
    except FileNotFoundError:
        if not prefix:
            raise
        return files, numbers, below  # gone between listing and looking: as if a moment later
    try:
        names = os.listdir(here)
        names.sort()
        look = os.stat
        for name in names:
            try:
                now = look(name, dir_fd=here, follow_symlinks=False)
            except FileNotFoundError:
                continue
            kind = now.st_mode & 0o170000
            if kind == 0o100000 and name != ".git":
                files.append(name)
                numbers += (
                    now.st_size, now.st_mtime_ns, now.st_ctime_ns, now.st_ino, now.st_dev,
                )  # fmt: skip
            elif kind == 0o100000 or (kind == 0o040000 and name in _REPOSITORIES):
                found.nested.append(prefix + name)
            elif kind == 0o040000:
                below.append(name)
            else:
                found.odd.append(prefix + name)
    except OSError as error:
        error.filename = f"{folder}/{prefix}"  # by itself it has a name without its folder, or none
        raise
    finally:
        os.close(here)
    if prefix and not files and not below:
        found.hollow.append(prefix[:-1])
    return files, numbers, below


def _list(folder: str, prefix: str, found: Walk) -> tuple[list[str], list[int], list[str]]:
    """The same without numbers: what the folder itself says of the kinds of its entries."""
    files: list[str] = []
    below: list[str] = []
    nested: list[str] = []
    odd: list[str] = []
    here = os.open(f"{folder}/{prefix}".rstrip("/") or "/", _FOLDER)
    try:
        with os.scandir(here) as entries:
            for entry in entries:
                name = entry.name
                if entry.is_file(follow_symlinks=False):
                    (files if name != ".git" else nested).append(name)
                elif entry.is_dir(follow_symlinks=False):
                    (below if name not in _REPOSITORIES else nested).append(name)
                else:
                    odd.append(name)
    finally:
        os.close(here)
    files.sort()
    if prefix and not files and not below:
        found.hollow.append(prefix[:-1])
    found.nested += [prefix + name for name in sorted(nested)]
    found.odd += [prefix + name for name in sorted(odd)]
    return files, [], below


def _in_order(
    prefix: str,
    files: list[str],
    numbers: list[int],
    below: list[str],
    pending: list[tuple[str, tuple[list[str], list[int]] | None]],
) -> tuple[list[str], list[int]]:
    """The files that come before the first folder; the folders and the others become pending.

    By their whole path: ``a.txt`` comes before ``a/b``, since "." comes before "/".
    """
    end = len(files)
    for name in sorted(below, key=lambda name: name + "/", reverse=True):
        at = bisect_left(files, name + "/", 0, end)
        if at < end:
            pending.append((prefix, (files[at:end], numbers[at * NUMBERS : end * NUMBERS])))
        pending.append((f"{prefix}{name}/", None))
        end = at
    return files[:end], numbers[: end * NUMBERS]


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
        "alias", "began_ns", "names", "numbers", "odd", "oid", "oids", "path", "rules", "shelves",
    )  # fmt: skip

    def __init__(self, path: str, oid: str, found: Walk, oids: bytes, began_ns: int) -> None:
        self.path = path
        self.oid = oid
        self.alias = self.shelves = ""
        self.rules = found.rules
        self.odd = found.odd + found.nested
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
            self.is_listed_as(found)
            and self.numbers == found.numbers
            and not self.racy(found.numbers)
        )

    def is_listed_as(self, found: Walk) -> bool:
        """Whether the same files are there, and count, whatever is in them."""
        return (
            self.rules == found.rules
            and self.odd == found.odd + found.nested
            and self.names == found.names
        )

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

    def unchanged(self, found: Walk) -> dict[str, str]:
        """The files of ``found`` that are proven to be as they were hashed, with their hashes."""
        if self.names == found.names:
            return self._unchanged_in_place(found)
        before = zip(self.names, _rows(self.numbers), range(len(self.names)), strict=True)
        was = {name: (row, at * 32) for name, row, at in before}
        oids, old = self.oids.hex(), self.began_ns - COARSE_NS
        same = {}
        for name, row in zip(found.names, _rows(found.numbers), strict=True):
            then, at = was.get(name, (None, 0))
            if row != then:
                continue
            _, mtime, ctime, _, _ = row
            if (mtime < old and ctime < old) or not is_racy(mtime, ctime, self.began_ns):
                same[name] = oids[at : at + 32]
        return same

    def _unchanged_in_place(self, found: Walk) -> dict[str, str]:
        """The same where no file came or went: only what is doubtful is looked at by itself."""
        oids, names = self.oids.hex(), found.names
        hashes = [oids[at : at + 32] for at in range(0, len(oids), 32)]
        same = dict(zip(names, hashes, strict=True))
        for at in self._doubtful(found.numbers):
            row = self.numbers[at * NUMBERS : (at + 1) * NUMBERS]
            now = found.numbers[at * NUMBERS : (at + 1) * NUMBERS]
            if row != now or is_racy(row[1], row[2], self.began_ns):
                del same[names[at]]
        return same

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
        then, now = was.tobytes(), numbers.tobytes()
        for start in range(0, len(then), width):
            if then[start : start + width] != now[start : start + width]:
                first = start // (NUMBERS * 8)
                found.update(range(first, min(first + _BLOCK, len(self.names))))
        return found


def _rows(numbers: array[int]) -> Iterator[tuple[int, ...]]:
    """The five numbers of each file."""
    return zip(*[iter(numbers)] * NUMBERS, strict=True)


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
        line = data.index(b"\n", start)
        began, count, oid, alias, rules, *ends = data[start:line].split(b" ")
        odd_at, at, numbers_at = (int(end) for end in ends)
        body, many = data[line + 1 :], int(count)
        oids_at = numbers_at + many * NUMBERS * 8
        found = Walk()
        found.rules = bytes.fromhex(rules.decode())
        found.odd = _names(body[:odd_at])
        found.names = _names(body[at:numbers_at])
        found.numbers.frombytes(body[numbers_at:oids_at])
        end = oids_at + 16 * many
        whole = Tree(path, oid.decode(), found, body[oids_at:end], int(began))
        whole.alias, whole.shelves = alias.decode(), body[end:].decode("ascii")
    except ValueError:
        return None
    fits = len(found.names) == many and len(whole.oids) == 16 * many
    return whole if fits and body[odd_at:at] == os.fsencode(path) else None


def _names(data: bytes) -> list[str]:
    return data.decode("utf-8", "surrogateescape").split("\0") if data else []


def save(state_dir: str, tree: Tree) -> None:
    """Keep the tree, in one step."""
    target = tree_file(state_dir, tree.path)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    odd, path, names = (
        text.encode("utf-8", "surrogateescape")
        for text in ("\0".join(tree.odd), tree.path, "\0".join(tree.names))
    )
    ends = (len(odd), len(odd + path), len(odd + path + names))
    facts = (tree.began_ns, len(tree.names), tree.oid, tree.alias, tree.rules.hex(), *ends)
    header = " ".join(map(str, facts)) + "\n"
    shelves = tree.shelves.encode()
    body = b"".join((header.encode(), odd, path, names, tree.numbers.tobytes(), tree.oids, shelves))
    from mlrepro import durable  # not needed where nothing changed

    data = MAGIC + b"%08x\n" % crc32(body) + body
    durable.write_atomic(target, data, durable=False)  # crc32 tells a damaged one
