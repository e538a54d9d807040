"""Which of data and pointer is the newer one: the rule by which no stale pointer is committed."""

from __future__ import annotations

import os

from mlrepro import git, pointer
from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.errors import PointerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from mlrepro import index
    from mlrepro.outputs import Tracked
    from mlrepro.project import Project
    from mlrepro.worktree import Data

SAME, MISSING, BEHIND, REFRESH, BOTH = "same", "missing", "behind", "refresh", "both"


def judge(entry: index.Entry, data: str, named: str, is_in_history: Callable[[], bool]) -> str:
    """How data (its hash, "" where missing) and pointer (the hash it names) stand to each other.

    SAME; MISSING: no data, which is no change; BEHIND: the pointer moved on, the data did not;
    REFRESH: the data was edited; BOTH: each went its own way. Without a record of what they last
    had in common, data that an earlier version of the pointer names is BEHIND.
    """
    if not data:
        return MISSING
    if data == named:
        return SAME
    if named in entry.pending.split():
        return REFRESH  # we wrote that pointer ourselves, from data that was edited since
    if not entry.synced:
        if entry.pending:
            return BOTH
        return BEHIND if is_in_history() else REFRESH
    if data == entry.synced:
        return BEHIND
    return REFRESH if named == entry.synced else BOTH


def was_named(project: Project, pointer_name: str, oid: str) -> bool:
    """Whether any commit's version of the pointer names ``oid``."""
    found = git.text(project, "log", "-1", "--all", "--format=%H", f"-S{oid}", "--", pointer_name)
    return bool(found)


def bits_before(project: Project, entries: Iterable[index.Entry]) -> dict[str, bool]:
    """Whether each path could be executed when data last had the bit that its pointer says.

    Where that is not known, the path is left out: an edit of the bit is not assumed.
    """
    seen = {entry.path: entry for entry in entries if entry.seen}
    wanted = {entry.seen for entry in seen.values()}
    texts = git.blobs(project, wanted, pointer.MAX_POINTER_BYTES)
    found = {}
    for path, entry in seen.items():
        try:
            outs = pointer.parse(texts.get(entry.seen, b""), entry.pointer).outs
        except PointerError:
            continue
        name = os.path.relpath(path, os.path.dirname(entry.pointer) or ".")
        before = [out for out in outs if out.path == name or len(outs) == 1]  # it may have moved
        if before:
            found[path] = before[0].isexec
    return found


def differing_bits(
    project: Project, items: Iterable[Tracked], found: Mapping[str, Data], record: index.Record
) -> tuple[set[str], set[str]]:
    """The files whose executable bit is not what the pointer says: those of which it is known that
    it was edited here, and those of which it is known that the pointer's is newer.
    """
    now = {
        item.path: (record.entry(item.path, item.pointer), found[item.path].isexec)
        for item in items
        if found[item.path].stat is not None and found[item.path].isexec != item.out.isexec
    }
    before = bits_before(project, [entry for entry, _ in now.values()])
    edited = {path for path in before if before[path] != now[path][1]}
    return edited, before.keys() - edited


def settle(
    project: Project, record: index.Record, standing: Mapping[str, str] | None = None
) -> list[index.Entry]:
    """Advance ``synced`` of every entry whose pending commit was made; returns those entries.

    The commit is looked for in HEAD and in what HEAD was since (git's reflog), so that a branch
    switched away from counts too. ``standing``: what HEAD is known to name (path → hash).
    """
    waiting = [entry for entry in record.entries.values() if entry.pending]
    if not waiting:
        return []
    done = [entry for entry in waiting if _seen(entry, (standing or {}).get(entry.path, ""))]
    # The newest pending hash that was committed counts: HEAD may be back at an older one.
    waiting = [entry for entry in waiting if entry.pending]
    head = git.head(project) if waiting else ""
    done += _made(project, waiting, [head] if head else [])
    rest = [entry for entry in waiting if entry.pending]
    if rest:
        since = _reflog_since(project, {entry.base for entry in rest})
        done += _made(project, rest, [oid for oid in since if oid != head])
    return list(dict.fromkeys(done))


def _seen(entry: index.Entry, named: str) -> bool:
    """Advance the entry where ``named``, which a commit names, is one of its pending hashes."""
    waiting = entry.pending.split()
    if named not in waiting:
        return False
    at = waiting.index(named)
    entry.synced, entry.pending = named, " ".join(waiting[at + 1 :])
    return True


def _made(
    project: Project, entries: Sequence[index.Entry], commits: Sequence[str]
) -> list[index.Entry]:
    """Advance the entries whose pointer names a pending hash in one of the commits."""
    names = {f"{oid}:{entry.pointer}" for oid in commits for entry in entries}
    contents = git.blobs(
        project, [name for name in names if "\n" not in name], pointer.MAX_POINTER_BYTES
    )
    done = []
    for entry in entries:
        texts = [contents.get(f"{oid}:{entry.pointer}", b"") for oid in commits]
        waiting = entry.pending.split()
        for at in range(len(waiting) - 1, -1, -1):
            if any(waiting[at].encode() in text for text in texts):
                entry.synced, entry.pending = waiting[at], " ".join(waiting[at + 1 :])
                done.append(entry)
                break
    return done


def present(project: Project) -> str:
    """What HEAD is now, and how long git's log of it: what lies behind that came later."""
    try:
        size = os.stat(_log_of_head(project)).st_size
    except OSError:
        size = 0
    return f"{git.head(project)} {size}"


def _log_of_head(project: Project) -> str:
    return os.path.join(project.git_dir, "logs", "HEAD")


def _reflog_since(project: Project, bases: set[str], most: int = 5000) -> list[str]:
    """What HEAD has been since it was any of ``bases`` (see ``present``), by git's log of it."""
    try:
        with open(_log_of_head(project), "rb") as file:
            file.seek(0, os.SEEK_END)
            start = file.seek(max(0, file.tell() - most * 512))
            data = file.read()
    except OSError:
        return []
    found: dict[str, None] = {}
    for base in bases:
        head, _, size = base.partition(" ")
        at = int(size) - start if size.isdecimal() else -1
        for line in _lines_since(data, (head or git.NULL_OID).encode(), at)[-most:]:
            found[line.partition(b" ")[2][:40].decode("ascii", "replace")] = None
    return [oid for oid in found if oid.isalnum()]


def _lines_since(data: bytes, head: bytes, at: int) -> list[bytes]:
    """The lines of git's log from ``at`` on, where HEAD was ``head``.

    Where that is not so, since git has shortened its log, or the place is not known: those since
    HEAD was that the last time.
    """
    if at >= 0 and (not at or data[at - 1 : at] == b"\n"):
        rest = data[at:]
        if not rest or rest.startswith(head):
            return rest.splitlines()
    lines = data.splitlines()
    for place in range(len(lines) - 1, -1, -1):
        if lines[place].startswith(head):
            return lines[place:]
    return lines
