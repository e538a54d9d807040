"""What was hashed when: the private record of one worktree, by which unchanged is proven."""

from __future__ import annotations

import os
import time
from zlib import crc32

# On the hook's no-change path: nothing heavier than zlib is imported, and a record of a thousand
# paths is read in about a millisecond. The record is a cache of facts: where it is absent, damaged
# or of another version it is rebuilt by hashing, and nothing is lost but time and, for a path whose
# pointer and data both changed, the knowledge of which came first (see ``Entry.synced``).

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlrepro.hashing import Stat

MAGIC = b"mlrepro index 1\n"
WIDTH = 12  # fields of one entry
MOST_CLEARED = 1000

# A file system stamps a write with the time of its last clock tick, up to 10 ms ago, so a write
# shortly after hashing began may carry an earlier stamp. Whole seconds are the mark of a file
# system that keeps no finer time (FAT: two seconds).
TICK_NS = 20_000_000
COARSE_NS = 2_000_000_000
WHOLE_NS = 1_000_000_000


def stat_key(stat: Stat) -> str:
    """What must be the same for a file to count as unchanged (DESIGN: invariant 9)."""
    return f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino} {stat.st_dev}"


def is_racy(mtime_ns: int, ctime_ns: int, began_ns: int) -> bool:
    """Whether a write after hashing began could hide behind these times."""
    newest = max(mtime_ns, ctime_ns)
    coarse = mtime_ns % WHOLE_NS == 0 and ctime_ns % WHOLE_NS == 0
    return newest >= began_ns - (COARSE_NS if coarse else TICK_NS)


class Entry:
    """What is known of one tracked path.

    ``path``, ``pointer``: relative to the root. ``oid``: hash of the data when its ``stat`` (see
    ``stat_key``; "" for a folder, whose members are in a ``Tree``) was taken, ``began_ns`` when
    that hashing began, ``size`` its bytes. ``synced``: the hash that data and pointer last had in
    common.
    ``pending``: the hashes that were written into the pointer since, oldest first, for a commit
    that was not seen yet (it may have been refused); ``base``: where HEAD was before. ``stored``:
    that ``oid`` is in the store. ``seen``: the git object of the pointer file when it was last
    read and data had the executable bit that it said, ``named``: the hash that it names.
    """

    __slots__ = (
        "base", "began_ns", "named", "oid", "path", "pending", "pointer", "seen", "size", "stat",
        "stored", "synced",
    )  # fmt: skip

    def __init__(self, path: str, pointer: str) -> None:
        self.path = path
        self.pointer = pointer
        self.oid = ""
        self.size = 0
        self.stat = ""
        self.began_ns = 0
        self.synced = ""
        self.pending = ""
        self.base = ""
        self.stored = False
        self.seen = ""
        self.named = ""

    def hashed(self, oid: str, size: int, stat: Stat | None, began_ns: int) -> None:
        """Note what the data was found to be."""
        self.stored = self.stored and self.oid == oid
        self.oid, self.size, self.began_ns = oid, size, began_ns
        self.stat = stat_key(stat) if stat else ""

    def saw(self, pointer: str, named: str, *, is_alike: bool) -> None:
        """Note the pointer as it was read: its git object, and the hash that it names.

        ``is_alike``: the data has the executable bit that it says. Else what it said before stays,
        by which an edit of the bit is told from a pointer that is newer.
        """
        self.named = named
        if is_alike:
            self.seen = pointer

    def await_commit(self, oid: str, base: str) -> None:
        """Note that the pointer names ``oid`` now, for a commit that is yet to be made.

        ``base``: where HEAD is before that (see ``threeway.present``).
        """
        if not self.pending:
            self.base = base
        self.pending = " ".join([*(one for one in self.pending.split() if one != oid), oid])

    def in_step(self, oid: str) -> None:
        """Note that data and pointer both are at ``oid``, in a commit."""
        self.synced, self.pending, self.base = oid, "", ""

    def is_unchanged(self, stat: os.stat_result) -> bool:
        """Whether a file of this ``stat`` is proven to be as it was hashed."""
        return self.stat == stat_key(stat) and not is_racy(
            stat.st_mtime_ns, stat.st_ctime_ns, self.began_ns
        )


class Record:
    """All entries of a worktree by path, and the store that ``stored`` speaks of.

    ``cleared``: git objects (a large file, ``.dvc/config``, a pointer without outputs) that the
    hook has looked at and found fit to be committed, newest last.
    """

    __slots__ = ("cleared", "entries", "store_id")

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.store_id = ""
        self.cleared: list[str] = []

    def entry(self, path: str, pointer: str) -> Entry:
        """The entry of ``path``, made where there is none."""
        found = self.entries.get(path)
        if found is None:
            found = self.entries[path] = Entry(path, pointer)
        found.pointer = pointer
        return found


def load(state_dir: str) -> Record:
    """Read the record; an absent, damaged or foreign one is an empty one."""
    try:
        with open(os.path.join(state_dir, "index"), "rb") as file:
            data = file.read()
    except OSError:
        return Record()
    return parse(data)


def parse(data: bytes) -> Record:
    """The record in ``data``, or an empty one where it is damaged."""
    record = Record()
    start = len(MAGIC) + 9
    if not data.startswith(MAGIC) or len(data) < start:
        return record
    if data[len(MAGIC) : start] != b"%08x\n" % crc32(data[start:]):
        return record
    fields = data[start:].decode("utf-8", "surrogateescape").split("\0")
    if (len(fields) - 3) % WIDTH:
        return record
    record.store_id, record.cleared = fields[0], fields[1].split()
    for item in zip(*[iter(fields[2:])] * WIDTH, strict=False):
        entry = Entry(item[0], item[1])
        (_, _, entry.oid, size, entry.stat, began, entry.synced, entry.pending, entry.base,
         stored, entry.seen, entry.named) = item  # fmt: skip
        try:
            entry.size, entry.began_ns, entry.stored = int(size), int(began), stored == "1"
        except ValueError:
            return Record()
        record.entries[entry.path] = entry
    return record


def render(record: Record) -> bytes:
    """The bytes of the record file."""
    fields = [record.store_id, " ".join(record.cleared[-MOST_CLEARED:])]
    for entry in record.entries.values():
        fields += (
            entry.path, entry.pointer, entry.oid, str(entry.size), entry.stat,
            str(entry.began_ns), entry.synced, entry.pending, entry.base,
            "1" if entry.stored else "", entry.seen, entry.named,
        )  # fmt: skip
    fields.append("")
    body = "\0".join(fields).encode("utf-8", "surrogateescape")
    return MAGIC + b"%08x\n" % crc32(body) + body


def save(
    state_dir: str,
    changed: Iterable[Entry],
    removed: Iterable[str] = (),
    store_id: str = "",
    cleared: Iterable[str] = (),
) -> None:
    """Put the entries that changed into the record, beside what others wrote meanwhile.

    The file is replaced in one step under a lock, so that two commands at once lose nothing.
    Entries of another store than ``store_id`` (where one is given) no longer count as stored.
    """
    from mlrepro import writing  # not needed where nothing changed
    from mlrepro.lock import Lock

    os.makedirs(state_dir, exist_ok=True)
    with Lock(os.path.join(state_dir, "lock")):
        record = load(state_dir)
        if store_id and record.store_id != store_id:
            for entry in record.entries.values():
                entry.stored = False
            record.store_id = store_id
        for path in removed:
            record.entries.pop(path, None)
        for entry in changed:
            record.entries[entry.path] = entry
        record.cleared += [oid for oid in cleared if oid not in record.cleared]
        # Not flushed to disk: after a power cut a damaged record is only an empty one (crc32).
        writing.write_atomic(os.path.join(state_dir, "index"), render(record), durable=False)


def now_ns() -> int:
    """The time by which hashings are dated, in nanoseconds."""
    return time.time_ns()
