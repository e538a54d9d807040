"""A content-addressed folder of blobs: DVC's layout, which the cache and the store both have."""

from __future__ import annotations

import errno
import os
import stat
import time

from mlrepro.durable import hard_link, make_folders, sync_dirs, take_name, write_all
from mlrepro.errors import StoreError
from mlrepro.lock import Lock

# On the hook's no-change path, once a blob: only builtin modules, no pathlib, few calls.

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mlrepro.staging import Staging

BLOB_MODE = 0o444
LOCK_SECONDS = 10.0  # so long is waited for a process that sets a blob aside, which takes none
_HEX = "0123456789abcdef"
_MARK = "mlrepro store 1\nid "
_ROOM = ".mlrepro"  # in the root: the marker, temporary files, locks


class Store:
    """Blobs below ``root``, each a regular file named after the md5 of its bytes.

    A blob's name (oid) is 32 hex digits, with ``.dir`` after them for a folder listing. It lies at
    ``root/files/md5/ab/cdef…`` (DVC 3), or was put at ``root/ab/cdef…`` by DVC 2 (legacy), where it
    is found too. Making one touches nothing; what cannot be done raises OSError unless said
    otherwise.
    """

    __slots__ = ("_old", "aside", "base", "changed", "proven", "root")

    def __init__(self, root: str, layout: str = "files/md5") -> None:
        self.root = root
        self.base = f"{root}/{layout}" if layout else root
        self.changed: set[str] = set()  # folders that got a new one, which is still to be flushed
        self.aside: dict[str, str] = {}  # oid → where what was found damaged was put; "": left
        # oid → size, mtime, ctime, inode and device of a file that this process has just hashed
        self.proven: dict[str, tuple[int, int, int, int, int]] = {}
        self._old: bool | None = None  # whether DVC 2 put anything here

    def path(self, oid: str) -> str:
        """Where the blob belongs. Raises StoreError for what is not an oid (it may be hostile)."""
        if (len(oid) != 32 and oid[32:] != ".dir") or oid[:32].strip(_HEX):
            raise StoreError(
                f"Not the name of a blob: {oid[:80]!r}.",
                "Restore the pointer that names it from git",
                code="oid-invalid",
                oid=oid[:80],
            )
        return f"{self.base}/{oid[:2]}/{oid[2:]}"

    def legacy_path(self, oid: str) -> str:
        """Where DVC 2 put the blob."""
        self.path(oid)  # which is then known to be an oid
        return f"{self.root}/{oid[:2]}/{oid[2:]}"

    def stat(self, oid: str) -> os.stat_result | None:
        """What lies under the blob's own name, not followed if it is a symlink; None if nothing."""
        try:
            return os.lstat(self.path(oid))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def find(self, oid: str, size: int | None = None) -> tuple[str, os.stat_result] | None:
        """The blob's path and stat, in either layout; None where there is no such regular file.

        In both layouts it is the same text with other line ends: one of ``size`` is preferred.
        """
        first, path = None, self.path(oid)
        for is_last in (False, True):
            try:
                about = os.lstat(path)
                if stat.S_ISREG(about.st_mode):
                    if size is None or about.st_size == size:
                        return path, about
                    first = first or (path, about)
            except (FileNotFoundError, NotADirectoryError):
                pass
            except PermissionError as error:
                raise store_error(error, self.root) from error
            if is_last or not self.is_mixed():
                break
            path = self.legacy_path(oid)
        return first

    def is_mixed(self) -> bool:
        """Whether there is a folder in which DVC 2 may have put blobs: looked for once."""
        if self._old is None:
            try:
                names = os.listdir(self.root) if self.base != self.root else []
            except OSError:
                return True  # not for us to list
            self._old = any(len(name) == 2 and not name.strip(_HEX) for name in names)
        return self._old

    def has(self, oid: str, size: int | None = None) -> bool:
        """Whether the blob is there, with the right size where that is known.

        The size in a pointer to a folder is that of its files, so for ``.dir`` it says nothing.
        """
        found = self.find(oid, size)
        if found is None:
            return False
        return size is None or len(oid) != 32 or found[1].st_size == size

    @property
    def marker(self) -> str:
        """The file that holds the store's own id."""
        return f"{self.root}/{_ROOM}/store"

    def read_id(self) -> str:
        """The store's own id, 32 hex digits; "" where it has none or its marker says nothing."""
        try:
            fd = os.open(self.marker, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return ""
        try:
            text = os.read(fd, 256).decode("ascii", "replace")
        except OSError:
            return ""
        finally:
            os.close(fd)
        name = text[len(_MARK) : len(_MARK) + 32]
        whole = text.startswith(_MARK) and len(name) == 32 and not name.strip(_HEX)
        return name if whole else ""

    def create(self, *, whole: bool = False) -> str:
        """Make the folders and the marker of a store, where missing; returns its id.

        ``whole``: with every folder that a blob can lie in, so that a commit which stores one has
        one name to flush to disk, not three; else each is made when it is needed. Neither a marker
        nor a blob that is there is ever replaced. Raises StoreError.
        """
        try:
            os.makedirs(self.root, exist_ok=True)
            if whole and not os.path.isdir(self.base):
                self._make_all()
            make_folders(self.base, self.root)
            room = f"{self.root}/{_ROOM}"
            make_folders(f"{room}/tmp", self.root)
            if self.read_id():
                return self.read_id()
            with self.staging() as staging:
                temp = staging.new()
                fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
                try:
                    write_all(fd, f"{_MARK}{os.urandom(16).hex()}\n".encode())
                    os.fsync(fd)
                finally:
                    os.close(fd)
                try:
                    take_name(temp, f"{room}/store")
                except FileExistsError:
                    pass  # another process was first: its id counts
        except OSError as error:
            raise store_error(error, self.root) from error
        found = self.read_id()
        if not found:
            raise StoreError(
                f"The marker of the store cannot be read: {room}/store",
                "Move that file away, then run: mlrepro init",
                code="store-marker",
                path=f"{room}/store",
            )
        return found

    def _make_all(self) -> None:
        make_folders(self.base, self.root)
        for number in range(256):
            make_folders(f"{self.base}/{number:02x}", self.root)
        folders = [self.base]
        while folders[-1] != self.root:
            folders.append(os.path.dirname(folders[-1]))
        sync_dirs(folders)

    def prepare(self) -> None:
        """Make the root folder itself, if only that is missing: for a cache. Raises StoreError."""
        try:
            os.mkdir(self.root)
            sync_dirs([os.path.dirname(self.root)])
        except FileExistsError:
            return
        except OSError as error:
            raise store_error(error, self.root) from error

    def has_any(self) -> bool:
        """Whether there is a single blob."""
        for base in (self.base, self.root):
            for folder in _scan(base):
                if len(folder.name) == 2 and not folder.name.strip(_HEX) and _scan(folder.path):
                    return True
        return False

    def require(self) -> None:
        """Raise StoreError where there is no such folder: one that is missing is not made anew."""
        try:
            about = os.stat(self.root)
        except OSError as error:
            raise store_error(error, self.root) from error
        if not stat.S_ISDIR(about.st_mode):
            raise store_error(NotADirectoryError(errno.ENOTDIR, ""), self.root)

    def staging(self) -> Staging:
        """A folder of temporary files on the store's own file system; sweeps those of the dead."""
        from mlrepro.staging import Staging  # only for writing

        return Staging(f"{self.root}/{_ROOM}/tmp", self.root)

    def sweep(self) -> None:
        """Remove temporary files whose owner is dead; raises nothing."""
        from mlrepro.staging import sweep

        sweep(f"{self.root}/{_ROOM}/tmp")

    def list_oids(self) -> dict[str, int]:
        """Every blob of the store and its size in bytes, by one listing of each folder."""
        found: dict[str, int] = {}
        for base in dict.fromkeys((self.base, self.root)):
            for folder in _scan(base):
                lead = folder.name
                if len(lead) != 2 or lead.strip(_HEX) or not folder.is_dir(follow_symlinks=False):
                    continue
                for entry in _scan(folder.path):
                    tail = entry.name
                    named = (len(tail) == 30 or tail[30:] == ".dir") and not tail[:30].strip(_HEX)
                    if named and entry.is_file(follow_symlinks=False):
                        size = entry.stat(follow_symlinks=False).st_size
                        found.setdefault(lead + tail, size)
        return found

    def adopt(self, temp: str, oid: str, path: str = "") -> bool:
        """Give a finished temporary file its blob's name, unless taken; says whether it was not.

        The caller has hashed the bytes and flushed them to disk. Where the name is taken ``temp``
        stays, since what has the name may be worse. ``path``: of the blob, where it is at hand.
        """
        return self._place(temp, path or self.path(oid))

    def adopt_legacy(self, temp: str, oid: str) -> bool:
        """The same for a blob of DVC 2, whose pointers DVC looks up in that layout only."""
        return self._place(temp, self.legacy_path(oid))

    def _place(self, temp: str, final: str) -> bool:
        if os.lstat(temp).st_mode & 0o7777 != BLOB_MODE:
            try:
                os.chmod(temp, BLOB_MODE)
            except PermissionError:
                pass  # a hard link to another user's blob: its bytes count, not its mode
        try:
            take_name(temp, final)
        except FileExistsError:
            return False
        except FileNotFoundError:
            self._make_room(final)
            return self._place(temp, final)
        return True

    def _make_room(self, final: str) -> None:
        self._old = None
        folder = os.path.dirname(final)
        make_folders(folder, self.root)
        while folder != self.root:
            folder = os.path.dirname(folder)
            self.changed.add(folder)

    def link_from(self, path: str, oid: str, final: str = "") -> bool:
        """Make the file ``path`` the blob as well, by a hard link; the caller knows its bytes.

        False where the file system does not allow that, or the name is taken. ``final``: where the
        blob belongs, where that is at hand.
        """
        final = final or self.path(oid)
        try:
            return hard_link(path, final)
        except FileExistsError:
            return False
        except FileNotFoundError:
            self._make_room(final)
            return self.link_from(path, oid)

    def quarantine(
        self, oid: str, path: str = "", seen: os.stat_result | None = None
    ) -> str | None:
        """Set a bad blob aside in ``.quarantine`` and return its new path; never deletes.

        ``path`` is where it lies if not under its own name. ``seen`` is what was found to be bad:
        where another process has set that aside already, and maybe put a good one in its place,
        nothing is moved and None returned.
        """
        path = path or self.path(oid)
        aside = f"{self.root}/.quarantine"
        make_folders(aside, self.root)
        make_folders(f"{self.root}/{_ROOM}", self.root)
        moved = f"{aside}/{oid}.{time.time_ns()}-{os.getpid()}"
        try:
            with Lock(f"{self.root}/{_ROOM}/quarantine.lock", wait=LOCK_SECONDS):
                return self._move_aside(oid, path, moved, seen)
        except BlockingIOError:  # its holder was stopped in there: go on, and look afterwards
            return self._move_aside(oid, path, moved, seen)

    def _move_aside(
        self, oid: str, path: str, moved: str, seen: os.stat_result | None
    ) -> str | None:
        try:
            if seen is not None and not _same(os.lstat(path), seen):
                return None
            os.rename(path, moved)
        except FileNotFoundError:
            return None
        if seen is not None and not _same(os.lstat(moved), seen):
            try:  # somebody else was between the look and the move: theirs is put back
                take_name(moved, path)
            except FileExistsError:
                pass
            return None
        self.aside[oid] = moved
        return moved


def _same(now: os.stat_result, seen: os.stat_result) -> bool:
    return (now.st_ino, now.st_dev) == (seen.st_ino, seen.st_dev)


def _scan(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


_CODES = {
    errno.ENOENT: ("store-missing", "is not there", "Is its disk mounted? Else run: mlrepro init"),
    errno.ENOTDIR: ("store-not-a-folder", "is not a folder", "Choose another: mlrepro init"),
    errno.ENOSPC: ("store-full", "has no space left", "Free some space, then run this again"),
    errno.EDQUOT: ("store-full", "is over your quota", "Free some space, then run this again"),
    errno.EFBIG: ("store-full", "takes no file of this size", "Use another disk, or ulimit -f"),
    errno.EROFS: ("store-read-only", "is read-only", "Mount it writable, or choose another"),
    errno.EACCES: ("store-denied", "refuses access", "Ask its owner for the right to write"),
    errno.EPERM: ("store-denied", "refuses access", "Ask its owner for the right to write"),
    errno.EMFILE: ("store-io", "cannot be used: too many open files", "ulimit -n 4096"),
    errno.ENFILE: ("store-io", "cannot be used: too many open files", "Close some programs"),
}


def store_error(error: OSError, folder: str) -> StoreError:
    """What an OSError says of the folder ``folder``, as a person can act on it."""
    code, says, hint = _CODES.get(
        error.errno or 0,
        ("store-io", f"failed: {error.strerror or error}", "Check the disk, then run this again"),
    )
    about = error.filename if isinstance(error.filename, str) else ""
    within = f" (at {about})" if about and about != folder else ""
    return StoreError(f"The folder {folder} {says}{within}.", hint, code=code, path=folder)
