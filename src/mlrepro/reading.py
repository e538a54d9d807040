"""Takes blobs out of a store: what does not have the bytes its name promises is set aside."""

from __future__ import annotations

import errno
import os
import stat

from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.errors import MlreproError, StoreError
from mlrepro.kernel import reflink
from mlrepro.store import Store, store_error
from mlrepro.streaming import SMALL, Sink, copy_over, nothing, pour, text_md5

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Blob:
    """An open file under a blob's name, in DVC's layout or in that of DVC 2 (``legacy``)."""

    __slots__ = ("fd", "legacy", "oid", "path", "stat", "store")

    def __init__(self, store: Store, oid: str, path: str, fd: int, legacy: bool) -> None:
        self.store = store
        self.oid = oid
        self.path = path
        self.fd = fd
        self.legacy = legacy
        self.stat = os.fstat(fd)

    def pour(
        self,
        target: int | None = None,
        explain: Callable[[OSError], MlreproError] | None = None,
        look: Callable[[], None] = nothing,
        advance: Callable[[int], None] = nothing,
    ) -> bool:
        """Hash the blob, and copy it into the open, empty file ``target``; says if it is right.

        Where the file system can, the copy shares the blob's blocks, and is hashed itself. Raises
        what ``explain`` makes of an OSError in writing, and StoreError where the blob cannot be
        read (which does not prove it wrong).
        """
        size, checked = self.stat.st_size, self.fd if target is None else target
        try:
            if target is None or explain is None:
                found = pour(self.fd, size, (), look, advance)
            elif size > SMALL and reflink(self.fd, target):
                found = pour(target, size, (), look, advance)
            else:
                found = pour(self.fd, size, (Sink(target, explain),), look, advance)
            wanted = self.oid[:32]
            return found == wanted or (self.legacy and text_md5(checked) == wanted)
        except OSError as error:
            raise store_error(error, self.store.root) from error

    def copy(self, target: int, look: Callable[[], None], advance: Callable[[int], None]) -> bool:
        """Copy the blob into the open, empty file ``target``, without hashing it.

        For one that this process has hashed: False where it is not, or may not be, the same file
        with the same bytes as then, from before the first one was read to after the last one.
        ``target`` may hold something then.
        """
        known = self.store.proven.get(self.oid)
        if known is None or _row(self.stat) != known:
            return False
        size = self.stat.st_size
        if reflink(self.fd, target):
            advance(size)
        elif not copy_over(self.fd, size, target, look, advance):
            return False
        return _row(os.fstat(self.fd)) == known and os.fstat(target).st_size == size


def _row(about: os.stat_result) -> tuple[int, int, int, int, int]:
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino, about.st_dev


def open_blobs(store: Store, oid: str, bad: list[str]) -> Iterator[Blob]:
    """Every file under the blob's name, in either layout, open until the next is asked for.

    What is not a plain file is set aside, and the oid added to ``bad``. Raises StoreError where one
    cannot be opened.
    """
    for path, legacy in ((store.path(oid), False), (store.legacy_path(oid), True)):
        try:
            about = os.lstat(path)
            if not stat.S_ISREG(about.st_mode):
                bad.append(oid)
                set_aside(store, oid, path, about)
                continue
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise store_error(error, store.root) from error
        try:
            yield Blob(store, oid, path, fd, legacy)
        finally:
            os.close(fd)


def set_aside(store: Store, oid: str, path: str, seen: os.stat_result) -> None:
    """Move what was found to be bad into the store's quarantine, where that can be written to."""
    try:
        store.quarantine(oid, path, seen)
    except OSError:
        store.aside.setdefault(oid, "")  # reported, not copied from; to mend it takes more rights


def is_right(store: Store, oid: str) -> bool:
    """Whether a good blob has this name; whatever else has it is set aside, unreadable or wrong.

    Unlike ``verify_blob``, whose answer may be out of date where another process mends the store,
    this moves only what it has looked at.
    """
    for path, legacy in ((store.path(oid), False), (store.legacy_path(oid), True)):
        try:
            about = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise store_error(error, store.root) from error
        if stat.S_ISREG(about.st_mode) and _reads_right(store, oid, path, legacy):
            return True
        set_aside(store, oid, path, about)
    return False


def _reads_right(store: Store, oid: str, path: str, legacy: bool) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise store_error(error, store.root) from error
        return False
    try:
        return Blob(store, oid, path, fd, legacy).pour()
    except StoreError:
        return False
    finally:
        os.close(fd)


def verify_blob(store: Store, oid: str, size: int | None = None) -> str:
    """Hash a blob in the store: "ok", "missing", "size" (not the given one) or "corrupt".

    Changes nothing. A size that is not the pointer's is told only of wrong bytes: right ones prove
    the pointer wrong, not the blob. Raises StoreError where the blob cannot be read.
    """
    state = "missing"
    for path in (store.path(oid), store.legacy_path(oid)):
        try:
            if not stat.S_ISREG(os.lstat(path).st_mode):
                state = "corrupt"
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise store_error(error, store.root) from error
    if state == "corrupt":
        return state
    for blob in open_blobs(store, oid, []):
        if blob.pour():
            return "ok"
        wrong = size is not None and len(oid) == 32 and blob.stat.st_size != size
        state = "size" if wrong else "corrupt"
    return state
