"""Git's index file, read as it lies on disk, so that the hook needs no git process."""

from __future__ import annotations

import os
from bisect import bisect_left

# The format is git's own: Documentation/gitformat-index.txt (versions 2, 3 and 4). A kind that is
# not read here (SHA-256, a split or a sparse index) is answered with None: ask git instead.
# The checksum at the end is not compared, as git itself does only in fsck: what git will commit is
# what these bytes say.

ASSUME_VALID, EXTENDED, STAGE, NAME = 0x8000, 0x4000, 0x3000, 0x0FFF
EMPTY_BLOB = bytes.fromhex("e69de29bb2d1d6434b8b29ae775ad8c2e48c5391")
LARGE_BYTES = 5_000_000  # a file of more bytes belongs in the store, not in git


class Entries:
    """The entries of an index, in git's order (by path, as bytes).

    ``names`` are paths relative to the top of the worktree; ``oids`` the 40 hex digits of the git
    object; ``sizes`` bytes as git saw them in the worktree (0 where not known; modulo 2**32);
    ``stages`` 0, or 1 to 3 in a merge conflict; ``times``: eight bytes each of ctime and mtime and
    four each of device and inode, as git saw them, empty where git was asked instead; ``written``:
    when the index was (mtime, in nanoseconds); ``tree``: the git tree of all of them, "" where git
    has not noted it.
    """

    __slots__ = ("names", "oids", "sizes", "stages", "times", "tree", "written")

    def __init__(self) -> None:
        self.tree = ""
        self.times: list[bytes] = []
        self.written = 0
        self.names: list[bytes] = []
        self.oids: list[bytes] = []
        self.sizes: list[int] = []
        self.stages: list[int] = []

    def find(self, name: bytes) -> int:
        """The position of the first entry called ``name``, or -1."""
        at = bisect_left(self.names, name)
        return at if at < len(self.names) and self.names[at] == name else -1

    def within(self, folder: bytes) -> range:
        """The positions of the entries that lie in ``folder``."""
        start = bisect_left(self.names, folder + b"/")
        return range(start, bisect_left(self.names, folder + b"0", start))  # "0" follows "/"

    def oid(self, at: int) -> str:
        return self.oids[at].hex()

    def is_as_staged(self, at: int, now: os.stat_result) -> bool:
        """Whether a file that has these numbers now is proven to be as it was staged.

        By git's own rule (Documentation/technical/racy-git.txt), and stricter: where git noted less
        than the system tells, it is not.
        """
        if not self.times or now.st_mode & 0o170000 != 0o100000:
            return False
        seen = b"".join(
            [
                (time % (1 << 32)).to_bytes(4, "big")
                for time in (
                    *divmod(now.st_ctime_ns, 10**9), *divmod(now.st_mtime_ns, 10**9),
                    now.st_dev, now.st_ino,
                )
            ]
        )  # fmt: skip
        same = self.times[at] == seen and self.sizes[at] == now.st_size % (1 << 32)
        return same and now.st_mtime_ns < self.written


def read(path: str) -> Entries | None:
    """Read the index file at ``path``; an absent one is an empty index.

    Returns None where the file is of a kind that is not read here, or is damaged: git is then to
    be asked, which also has the better words for damage.
    """
    try:
        with open(path, "rb") as file:
            written = os.fstat(file.fileno()).st_mtime_ns
            data = file.read()
    except FileNotFoundError:
        return Entries()
    except OSError:
        return None
    if len(data) < 32 or data[:4] != b"DIRC":
        return None
    version, count = int.from_bytes(data[4:8], "big"), int.from_bytes(data[8:12], "big")
    if version not in (2, 3, 4) or count * 63 > len(data) * 4:
        return None
    try:
        entries, end = _read_entries(data, version, count)
    except (ValueError, IndexError):
        return None
    extensions = _extensions(data, end)
    if entries is None or extensions is None:
        return None
    entries.written, entries.tree = written, _tree_in(extensions.get(b"TREE", b""))
    return entries


def _read_entries(data: bytes, version: int, count: int) -> tuple[Entries | None, int]:
    entries = Entries()
    names, oids, sizes, stages = entries.names, entries.oids, entries.sizes, entries.stages
    times = entries.times
    at, name = 12, b""
    for _ in range(count):
        mode_bits, flags = data[at + 26 : at + 28], (data[at + 60] << 8) | data[at + 61]
        if mode_bits == b"\x40\x00":  # a folder that a sparse index has folded up
            return None, at
        begin = at + (64 if flags & EXTENDED else 62)
        if version == 4:
            strip, begin = _varint(data, begin)
            if strip > len(name):
                return None, at
            end = data.index(b"\0", begin)
            name = name[: len(name) - strip] + data[begin:end]
            following = end + 1
        else:
            end = data.index(b"\0", begin)
            name = data[begin:end]
            following = at + ((end - at + 8) & ~7)
        names.append(name)
        times.append(data[at : at + 24])
        oids.append(data[at + 40 : at + 60])
        sizes.append(int.from_bytes(data[at + 36 : at + 40], "big"))
        stages.append((flags & STAGE) >> 12)
        if flags & NAME != NAME and flags & NAME != len(name):
            return None, at  # not the layout of SHA-1 entries
        at = following
    return entries, at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Git's variable-width number (varint.c): returns it and the position behind it."""
    byte = data[at]
    value = byte & 0x7F
    while byte & 0x80:
        at += 1
        byte = data[at]
        value = ((value + 1) << 7) | (byte & 0x7F)
    return value, at + 1


def _extensions(data: bytes, at: int) -> dict[bytes, bytes] | None:
    """What follows the entries; None where that says that some are elsewhere ("link") or folded up
    ("sdir"), or is damaged.
    """
    found, last = {}, len(data) - 20
    while at + 8 <= last:
        kind, start = data[at : at + 4], at + 8
        if kind in (b"link", b"sdir"):
            return None
        at = start + int.from_bytes(data[at + 4 : start], "big")
        found[kind] = data[start:at]
    return found if at == last else None


def _tree_in(data: bytes) -> str:
    """The tree of the whole index, in its extension "TREE"; "" where that is not known."""
    counts, _, rest = data[1:].partition(b"\n")
    known = data[:1] == b"\0" and counts[:1].isdigit() and len(rest) >= 20
    return rest[:20].hex() if known else ""


def is_large(entries: Entries, at: int) -> bool:
    """Whether the file may be too large for git: by its size, or where git left that open (0)."""
    size = entries.sizes[at]
    return size > LARGE_BYTES or (size == 0 and entries.oids[at] != EMPTY_BLOB)


def path_of(git_dir: str, cwd: str, named: str | None) -> str:
    """The index file a hook is to look at: what git names in ``GIT_INDEX_FILE``, else its own."""
    return os.path.join(cwd, named) if named else os.path.join(git_dir, "index")
