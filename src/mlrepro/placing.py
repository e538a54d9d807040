"""Puts a finished file where a user's may be, and takes back the step if it was not as expected."""

from __future__ import annotations

import errno
import os
import stat

from mlrepro.anchor import Anchor
from mlrepro.dataclass import dataclass, field
from mlrepro.durable import discard, sync_dirs, take_name
from mlrepro.errors import MlreproError, PathError, StoreError
from mlrepro.hashing import Look, stat_key
from mlrepro.kernel import has_writer, rename_exchange
from mlrepro.staging import Staging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlrepro.hashing import Stat

# size, mtime_ns, ctime_ns, inode, device: as hashing.stat_key gives it
Key = tuple[int, int, int, int, int]
_MASK = (1 << 64) - 1
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(slots=True)
class Removed:
    """``kept``: not as expected; ``failed``: could not be removed, and why; ``recovered``: users'
    files that were set aside in staging, of this run or of one that was killed.
    """

    gone: list[str] = field(default_factory=list)
    recovered: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failed: list[tuple[str, MlreproError]] = field(default_factory=list)


def key_of(expect: Stat | tuple[int, ...]) -> Key:
    """The five numbers a file is known by, from its stat or from a record of them."""
    if isinstance(expect, (os.stat_result, Look)):
        return stat_key(expect)
    size, mtime_ns, ctime_ns, inode, device = expect
    # A record may keep inode and device as signed numbers of 64 bits.
    return size, mtime_ns, ctime_ns, inode & _MASK, device & _MASK


def place_new(temp: str, folder: int, name: str) -> bool:
    """Give ``temp`` its place if that is free; says whether it was. Raises OSError."""
    try:
        take_name(temp, name, dir_fd=folder)
    except FileExistsError:
        return False
    return True


def replace(
    temp: str, folder: int, name: str, expect: Key, staging: Staging, *, isexec: bool = False
) -> bool:
    """Put ``temp`` in the place of a file that is exactly as expected; False where it is not.

    The two are swapped in one step, and what came out is looked at then: if a write, or another
    file, slipped in, they are swapped back. A file that a program has open for writing counts as
    not as expected, where that can be told. The permission bits of the old file are kept, and with
    ``isexec`` whoever may read may execute. Raises OSError; nothing is lost then either.
    """
    now = _present(name, folder)
    if now is None or stat_key(now) != expect or _is_written_to(name, folder):
        return False
    bits = stat.S_IMODE(now.st_mode) & 0o777
    os.chmod(temp, bits | ((bits & 0o444) >> 2 if isexec else 0))
    inode = os.lstat(temp).st_ino
    swap = staging.old_name(temp, inode)
    os.rename(temp, swap)
    try:
        if not rename_exchange(swap, name, new_dir=folder):
            return _replace_in_two(swap, folder, name, expect, staging)
    except FileNotFoundError:
        return False  # it was removed just now: not what was expected
    if _is_same(swap, expect):
        os.unlink(swap)
        return True
    try:
        rename_exchange(swap, name, new_dir=folder)
    except OSError:
        pass  # then the user's file stays in staging, which sets it aside
    if os.lstat(swap).st_ino == inode:
        discard(swap)
    return False


def _replace_in_two(temp: str, folder: int, name: str, expect: Key, staging: Staging) -> bool:
    """The same where files cannot be swapped: the old one is taken away before it is looked at.

    A kill in between leaves the place empty and the old file in staging, where the next sweep sets
    it aside; its content is in the cache, or it would not be replaced.
    """
    if not _take_away(temp, folder, name, expect, staging):
        return False
    try:
        take_name(temp, name, dir_fd=folder)
    except FileExistsError:
        return False  # a new file took the place: it stays
    return True


def _take_away(beside: str, folder: int, name: str, expect: Key, staging: Staging) -> bool:
    """Remove a file that is as expected; one that is not gets its place back. Raises OSError."""
    aside = staging.old_name(beside, 0)
    try:
        os.rename(name, aside, src_dir_fd=folder)
    except FileNotFoundError:
        return False
    if _is_same(aside, expect):
        os.unlink(aside)
        return True
    try:
        take_name(aside, name, dir_fd=folder)
    except FileExistsError:
        pass  # both are kept: staging sets this one aside
    return False


def remove_files(
    wanted: Iterable[tuple[str, Stat | tuple[int, ...] | None]],
    staging: str,
    root: str,
) -> Removed:
    """Remove each file (absolute path) that is exactly as expected (None: never).

    For members that a folder's new version does not have. No symlink between ``root`` and a file
    is followed. The folders are flushed once, at the end. Raises StoreError where staging cannot
    be used.
    """
    done = Removed()
    folders: dict[int, set[str]] = {}
    try:
        os.makedirs(staging, exist_ok=True)
        with Anchor(root) as anchor, Staging(staging, staging) as room:
            for dest, expect in wanted:
                try:
                    is_gone = _remove(dest, expect, anchor, room, folders)
                except MlreproError as error:
                    done.failed.append((dest, error))
                except OSError as error:
                    done.failed.append((dest, place_error(error, dest)))
                else:
                    (done.gone if is_gone else done.kept).append(dest)
        done.recovered = room.recovered
    except OSError as error:
        raise disk_error(error, staging) from error
    for names in folders.values():
        try:
            sync_dirs(names)
        except OSError as error:
            raise disk_error(error, staging) from error
    return done


def _remove(
    dest: str,
    expect: Stat | tuple[int, ...] | None,
    anchor: Anchor,
    room: Staging,
    folders: dict[int, set[str]],
) -> bool:
    """Remove one file, and add its folder to those of its device that are to be flushed."""
    if not os.path.lexists(dest):
        return True
    if expect is None:
        return False
    folder, name = anchor.parent(dest)
    try:
        now = _present(name, folder)
        if now is None:
            return True
        if stat_key(now) != key_of(expect) or _is_written_to(name, folder):
            return False
        near = room.new()
        if now.st_dev != os.stat(room.folder).st_dev:
            near = room.new_beside(os.path.dirname(dest))
        if not _take_away(near, folder, name, key_of(expect), room):
            return False
        folders.setdefault(now.st_dev, set()).add(os.path.dirname(dest))
        return True
    finally:
        os.close(folder)


def _present(name: str, folder: int) -> os.stat_result | None:
    try:
        return os.lstat(name, dir_fd=folder)
    except FileNotFoundError:
        return None


def _is_same(path: str, expect: Key) -> bool:
    """Whether a file that was just renamed, which sets its ctime, is the one expected."""
    now = stat_key(os.lstat(path))
    return (now[:2], now[3:]) == (expect[:2], expect[3:])


def _is_written_to(name: str, folder: int) -> bool:
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(name, flags, dir_fd=folder)
    except OSError:
        return False  # may not be read: that no one may write to it is not ours to prove
    try:
        return has_writer(fd)
    finally:
        os.close(fd)


def disk_error(error: OSError, folder: str) -> StoreError:
    """What an OSError in staging means: not a blob folder's fault, but the disk's here."""
    if error.errno in FULL:
        says, hint, code = "There is no space left", "Free some space", "disk-full"
    else:
        says, hint, code = error.strerror or str(error), "Check the disk", "disk-failed"
    where = error.filename if isinstance(error.filename, str) else folder
    return StoreError(f"{says}: {where}", f"{hint}, then run this again", code=code, path=where)


def place_error(error: OSError, dest: str) -> PathError:
    """What an OSError at the file's own place means."""
    denied = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
    return PathError(
        f"{dest} cannot be put in place: {error.strerror or error}.",
        "Mend that, then run this again",
        code="path-denied" if denied else "path-failed",
        path=dest,
    )
