"""What data must be, worked out apart from the tool: contents, merges, which side is newer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

# A file is its bytes, a folder its members by name, sorted; None stands for nothing at all.
Folder = tuple[tuple[str, bytes], ...]
Content = bytes | Folder
Snapshot = dict[str, Content]
ISEXEC = " isexec"


class Program(bytes):
    """A file that may be executed: another content than the same bytes without that."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Program) and bytes(self) == bytes(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = bytes.__hash__

    def __repr__(self) -> str:
        return f"Program({bytes(self)!r})"


def like(data: bytes, isexec: bool) -> bytes:
    """These bytes, as a file that may be executed, or may not."""
    return Program(data) if isexec else bytes(data)


def is_alike(one: Content | None, other: Content | None) -> bool:
    """Whether these are the same, whatever may be executed of it."""
    if isinstance(one, bytes) and isinstance(other, bytes):
        return bytes(one) == bytes(other)
    return one == other


def with_bit(content: Content, of: Content | None) -> Content:
    """A file as it is, with the executable bit of another one; a folder has none."""
    if isinstance(content, bytes) and isinstance(of, bytes):
        return like(content, isinstance(of, Program))
    return content


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def oid_of(content: Content) -> str:
    """The name of a content, as DVC's formats have it; a file's bit is part of it here."""
    if isinstance(content, bytes):
        return md5(content) + (ISEXEC if isinstance(content, Program) else "")
    rows = [{"md5": md5(data), "relpath": name} for name, data in sorted(content)]
    return md5(json.dumps(rows, sort_keys=True).encode()) + ".dir"


def blobs_of(content: Content) -> dict[str, bytes]:
    """Every blob that the content is kept in, with its bytes."""
    if isinstance(content, bytes):
        return {md5(content): bytes(content)}
    blobs = {md5(data): data for _, data in content}
    rows = [{"md5": md5(data), "relpath": name} for name, data in sorted(content)]
    blobs[oid_of(content)] = json.dumps(rows, sort_keys=True).encode()
    return blobs


def folder(members: Mapping[str, bytes]) -> Folder:
    return tuple(sorted(members.items()))


def members(content: Content | None) -> dict[str, bytes]:
    return dict(content) if isinstance(content, tuple) else {}


def merge(
    base: Content | None, ours: Content | None, theirs: Content | None
) -> tuple[Content | None, bool]:
    """The merge of one path, and whether it takes a person: then it is ours."""
    if theirs in (ours, base):
        return ours, False
    if ours == base:
        return theirs, False
    if isinstance(base, bytes) and isinstance(ours, bytes) and isinstance(theirs, bytes):
        if base not in (bytes(ours), bytes(theirs)) and not is_alike(ours, theirs):
            return ours, True
        bit = theirs if isinstance(ours, Program) == isinstance(base, Program) else ours
        return with_bit(theirs if is_alike(ours, base) else ours, bit), False
    if not (isinstance(ours, tuple) and isinstance(theirs, tuple)):
        return ours, True
    was, mine, yours = members(base), members(ours), members(theirs)
    merged = {}
    for name in {*mine, *yours}:
        three = was.get(name), mine.get(name), yours.get(name)
        if three[2] in (three[1], three[0]):
            chosen = three[1]
        elif three[1] == three[0]:
            chosen = three[2]
        else:
            return ours, True
        if chosen is not None:
            merged[name] = chosen
    return folder(merged), False


def merge_all(base: Snapshot, ours: Snapshot, theirs: Snapshot) -> tuple[Snapshot, set[str]]:
    """The merge of all paths, and those that take a person."""
    merged: Snapshot = {}
    conflicts = set()
    for path in {*ours, *theirs}:
        content, conflict = merge(base.get(path), ours.get(path), theirs.get(path))
        if conflict:
            conflicts.add(path)
        if content is not None:
            merged[path] = content
    return merged, conflicts


def moved(*snapshots: Snapshot) -> set[str]:
    """The paths that are not in all of these: git may take one for another's new name."""
    every = {path for snapshot in snapshots for path in snapshot}
    return {path for path in every if any(path not in snapshot for snapshot in snapshots)}


SAME, BEHIND, REFRESH, BOTH = "same", "behind", "refresh", "both"


@dataclass
class Tie:
    """How data and pointer of one path have belonged together in one clone.

    ``base``: what both last had in common; ``pending``: what was written into the pointer since,
    from data, for a commit that is yet to come. ``bit``: a file that may be executed, or may not,
    as data and pointer last both had it.
    """

    base: Content | None = None
    pending: list[Content] = field(default_factory=list)
    bit: Content | None = None

    def join(self, content: Content, data: Content) -> None:
        """The pointer names the data now, perhaps but for its bit."""
        self.base, self.pending = content, []
        self.meet(content, data)

    def wait(self, content: Content, data: Content) -> None:
        """The pointer was made to name this, from data, for a commit that is yet to come."""
        rest = [one for one in self.pending if not is_alike(one, content)]
        self.pending = [*rest, content]
        self.meet(content, data)

    def meet(self, content: Content, data: Content) -> None:
        """Take note of the bit of both, where it is the same."""
        if content == data:
            self.bit = data

    def settle(self, content: Content) -> None:
        """A commit names this: if it was waited for, both have it in common now."""
        for at, one in enumerate(self.pending):
            if is_alike(one, content):
                self.base, self.pending = content, self.pending[at + 1 :]
                return

    def judge(
        self, data: Content | None, named: Content, was_named: Callable[[Content], bool]
    ) -> str:
        """Which of data and pointer is the newer one, when a commit is about to be made.

        ``was_named``: whether the pointer of any commit has ever named a content.
        """
        if data is None or data == named:
            return SAME
        if is_alike(data, named):
            return REFRESH if self.is_bit_edited(data) else BEHIND
        if any(is_alike(named, one) for one in self.pending):
            return REFRESH
        if self.base is None and not self.pending:
            return BEHIND if was_named(data) else REFRESH
        if is_alike(data, self.base):
            return BEHIND
        return REFRESH if is_alike(named, self.base) else BOTH

    def is_bit_edited(self, data: Content | None) -> bool:
        """Whether a file may be executed where it last might not, or the other way round."""
        return with_bit(b"", self.bit) != with_bit(b"", data) if self.bit is not None else False

    def refreshed(self, data: Content, named: Content) -> Content:
        """What the pointer is to name for edited data: the bit that it says may be a newer one."""
        is_known = self.bit is not None and not self.is_bit_edited(data)
        return with_bit(data, named) if is_known else data

    def is_edited(self, data: Content | None) -> bool:
        """Whether the data is not what data and pointer last had in common."""
        return not is_alike(data, self.base) or self.is_bit_edited(data)


def brought(
    tie: Tie, data: Content | None, named: Content, is_saved: Callable[[bytes], bool]
) -> tuple[Content, bool]:
    """What data is to be once it follows its pointer, and whether an edit of it was kept.

    A bit that was edited goes along with the content that is brought.
    """
    if data is None or data == named:
        return named, False
    if isinstance(named, bytes) or isinstance(data, bytes):
        carried = with_bit(named, data) if tie.is_bit_edited(data) else named
        if is_alike(data, named):
            return carried, carried != named
        known = tie.base is None and not tie.pending and isinstance(data, bytes) and is_saved(data)
        return (carried, False) if is_alike(data, tie.base) or known else (data, True)
    was, here, there = members(tie.base), members(data), members(named)
    result, kept = dict(there), False
    for name, content in here.items():
        if there.get(name) == content:
            continue
        edited = content != was.get(name)
        if name in there and edited and not was and is_saved(content):
            continue
        if edited:
            result[name], kept = content, True
    return folder(result), kept
