"""How new blobs come to rest: written beside, flushed together, named without replacing."""

from __future__ import annotations

import os
import stat
import time
from _thread import allocate_lock

from mlrepro.dataclass import TYPE_CHECKING, dataclass
from mlrepro.durable import discard, flush, hard_link, sync_dirs, sync_files, take_name, write_all
from mlrepro.errors import StoreError
from mlrepro.parallel import beside
from mlrepro.shares import share_out
from mlrepro.store import BLOB_MODE, Store, store_error
from mlrepro.streaming import SMALL, Moved, Sink, md5_of, nothing, read_whole, stream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_BATCH_FILES = 4096  # so many blobs, or so many bytes, are flushed at once: what was done until
_BATCH_BYTES = 1 << 29  # then is kept if the next moment is the last
_TRIES = 5
_WORTH_A_FORK = 1000  # names to give: two calls each
# A blob that somebody else put there a moment ago may not be on the disk yet.
_FRESH_NS = 60_000_000_000


def _renew(path: str, about: os.stat_result) -> None:
    """Give a blob that is to be used again a new ctime: ``gc`` leaves alone what is new."""
    try:
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns), follow_symlinks=False)
    except OSError:
        pass  # another user's blob: it is looked for again when a pointer to it is committed


class Target:
    """A store that blobs are put into, and its temporary files. ``shares``: as hard links."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.shares = False
        self.mode = -1  # the permission bits of its temporary files, once there was one
        self.folders: set[str] = set()  # whose names are still to be flushed
        self.fresh: list[str] = []  # blobs of others that are still to be flushed
        try:
            self.staging = store.staging()
        except OSError as error:
            raise self.explain(error) from error

    def explain(self, error: OSError) -> StoreError:
        """What an OSError in this store means."""
        return store_error(error, self.store.root)

    def create(self) -> tuple[str, int]:
        """A new temporary file and its descriptor. Raises StoreError."""
        path = self.staging.new()
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            return path, os.open(path, flags, BLOB_MODE)
        except OSError as error:
            raise self.explain(error) from error

    def write(self, data: bytes) -> str:
        """A new temporary file with these bytes, not yet flushed. Raises StoreError."""
        path, fd = self.create()
        try:
            write_all(fd, data)
        except OSError as error:
            raise self.explain(error) from error
        finally:
            os.close(fd)
        return path


@dataclass(slots=True)
class Landed:
    """Bytes on their way: a temporary file per target (None: has it, or shares the first's).

    ``as_blob``: these files have the permission bits of a blob, and the oid is our own hash.
    """

    oid: str
    size: int
    temps: tuple[str | None, ...]
    flushed: bool = False
    legacy: bool = False
    as_blob: bool = False


class Landing:
    """Brings blobs into one or two stores at once; any thread may add, whole batches are landed.

    ``repaired`` are the oids under whose name something else was found and set aside; ``jobs``:
    processes at once (0: one a core).
    """

    def __init__(
        self, stores: Sequence[Store], check_existing: bool = False, jobs: int = 0
    ) -> None:
        """Raises StoreError where one cannot be written to."""
        self.repaired: list[str] = []
        self.check_existing = check_existing
        self.jobs = jobs
        self._guard = allocate_lock()
        self._one_batch = allocate_lock()
        self._claimed: set[str] = set()
        self._batch: list[Landed] = []
        self._bytes = 0
        self.targets: list[Target] = []
        try:
            for store in stores:
                self.targets.append(Target(store))
            for target in self.targets[1:]:
                target.shares = self._can_link(target)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Landing:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove what did not land."""
        for target in self.targets:
            target.staging.close()

    def _can_link(self, target: Target) -> bool:
        """Whether a file of the first target can be a file of this one too: by trying."""
        first = self.targets[0]
        probe = target.staging.new()
        try:
            made = hard_link(first.write(b""), probe)
        except OSError as error:
            raise target.explain(error) from error
        discard(probe)
        return made

    def claim(self, oid: str) -> bool:
        """Whether the caller is the first to have this blob, which is in no store yet as far as
        this run knows, and so the one to land it.
        """
        with self._guard:
            if oid in self._claimed:
                return False
            self._claimed.add(oid)
            return True

    def lacking(self, oid: str, size: int, data: bytes | None = None) -> list[Target]:
        """The targets that do not have the blob, or had something else under its name.

        A blob that is there is trusted if its size is right, it is write-protected and it is too
        large to be read again in passing; the others are compared (``data``) or hashed. Whoever
        wrote to a blob had to take its protection away first; who then put it back is found by
        ``verify --deep``, and never gets past a restore, which hashes everything.
        """
        missing: list[Target] = []
        seen: set[tuple[int, int]] = set()
        for target in self.targets:
            # What the first lacks is written anyway, and the link to it tells who had it.
            if (target.shares and missing) or self._lacks(target, oid, size, data, seen):
                missing.append(target)
        return missing

    def _lacks(
        self,
        target: Target,
        oid: str,
        size: int,
        data: bytes | None,
        seen: set[tuple[int, int]],
    ) -> bool:
        """The same of one target; ``seen``: inode and device of files known to be right."""
        try:
            about = target.store.stat(oid)
            if about is None:
                return True
            if (about.st_ino, about.st_dev) not in seen:
                if not self._is_right(target, oid, about, size, data):
                    if target.store.quarantine(oid, seen=about):
                        self.repaired.append(oid)
                    return True
                seen.add((about.st_ino, about.st_dev))
        except OSError as error:
            raise target.explain(error) from error
        if time.time_ns() - about.st_ctime_ns < _FRESH_NS:
            with self._guard:
                target.fresh.append(target.store.path(oid))
        else:
            _renew(target.store.path(oid), about)
        return False

    def _is_right(
        self, target: Target, oid: str, about: os.stat_result, size: int, data: bytes | None
    ) -> bool:
        if not stat.S_ISREG(about.st_mode) or about.st_size != size:
            return False
        protected = stat.S_IMODE(about.st_mode) == BLOB_MODE
        if size > SMALL and protected and not self.check_existing:
            return True
        try:
            fd = os.open(target.store.path(oid), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return False  # what cannot be read cannot be restored from
        try:
            if size <= SMALL:
                there = read_whole(fd, size)
                return there == data if data is not None else md5_of(there) == oid[:32]
            return stream(fd, (), nothing, nothing) == oid[:32]
        except (OSError, Moved):
            return False
        finally:
            os.close(fd)

    def add(self, landed: Landed) -> None:
        """Take over temporary files; lands all there are when they are many."""
        with self._guard:
            self._batch.append(landed)
            self._bytes += landed.size
            full = len(self._batch) >= _BATCH_FILES or self._bytes >= _BATCH_BYTES
        if full:
            self.land()

    def land(self, meanwhile: Callable[[], None] | None = None) -> None:
        """Flush all that was added, give it its names, and flush those. Raises StoreError.

        ``meanwhile``: called once, while the disk is waited for.
        """
        with self._guard:
            batch, self._batch, self._bytes = self._batch, [], 0
        with self._one_batch:
            waiting = [one for one in batch if not one.flushed]
            if meanwhile is not None:
                beside(lambda: self._flush_all(waiting), meanwhile)
            else:
                self._flush_all(waiting)
            self._name_all(batch)
            self._flush_names()
        with self._guard:  # from here on the stores themselves say that they have these
            self._claimed.difference_update([one.oid for one in batch])

    def _flush_all(self, batch: list[Landed]) -> None:
        for at, target in enumerate(self.targets):
            temps = [one.temps[at] for one in batch]
            if target.shares:  # what is the first target's is flushed with that
                pairs = zip(temps, [one.temps[0] for one in batch], strict=True)
                temps = [temp for temp, first in pairs if temp != first]
            self._flush(target, [temp for temp in temps if temp])

    def _flush(self, target: Target, paths: list[str]) -> None:
        try:
            if paths:
                sync_files(paths)
        except OSError as error:
            raise target.explain(error) from error

    def _flush_names(self) -> None:
        """Bring the names that were given to disk, and what others have just put there.

        Of targets that share files, which are on one file system, all at once.
        """
        folders = set[str]()
        for target, following in zip(self.targets, [*self.targets[1:], None], strict=True):
            with self._guard:
                fresh, target.fresh = target.fresh, []
            folders.update(target.folders, [os.path.dirname(path) for path in fresh])
            if target.folders or fresh:
                folders.update(target.store.changed)
                target.store.changed.clear()
            self._flush(target, fresh)
            target.folders.clear()
            if following is None or not following.shares:
                try:
                    sync_dirs(folders)
                except OSError as error:
                    raise target.explain(error) from error
                folders.clear()

    def _name_all(self, batch: list[Landed]) -> None:
        """Give blobs their names, many by several processes; what is in the way is seen to here."""
        usual = [at for at, one in enumerate(batch) if one.as_blob]

        def name(_: int, at: int) -> bool | None:
            return self._place_usual(batch[at]) or None

        def named(at: int, _: bool) -> None:
            for target in self.targets:
                target.folders.add(f"{target.store.base}/{batch[at].oid[:2]}")

        left = dict.fromkeys(share_out(usual, self.jobs, name, named, worth=_WORTH_A_FORK))
        for at, one in enumerate(batch):
            if one.as_blob and at not in left:
                continue
            if one.as_blob and self._place_usual(one):
                named(at, True)
            else:
                self._name(one)

    def _name(self, one: Landed) -> None:
        # The one that the others are linked to comes last: its temporary file ends then.
        for at in reversed(range(len(self.targets))):
            target, temp = self.targets[at], one.temps[at]
            if temp:
                try:
                    self._place(target, one, temp, target.shares and temp == one.temps[0])
                except OSError as error:
                    raise target.explain(error) from error

    def _place_usual(self, one: Landed) -> bool:
        """Give it its names with a single call each; False where one fails, for any reason."""
        rest = f"{one.oid[:2]}/{one.oid[2:]}"
        try:
            for at in reversed(range(len(self.targets))):
                target, temp = self.targets[at], one.temps[at]
                if not temp:
                    continue
                path = f"{target.store.base}/{rest}"
                if not (target.shares and temp == one.temps[0]):
                    take_name(temp, path)
                elif not hard_link(temp, path):
                    return False
        except OSError:
            return False
        return True

    def _place(self, target: Target, one: Landed, temp: str, linked: bool) -> None:
        store, oid = target.store, one.oid
        path = store.legacy_path(oid) if one.legacy else store.path(oid)
        for _ in range(_TRIES):
            if one.legacy:
                placed = store.adopt_legacy(temp, oid)
            elif linked:
                placed = store.link_from(temp, oid, path)
            else:
                placed = store.adopt(temp, oid, path)
            if placed:
                target.folders.add(path[: path.rindex("/")])
                return
            if linked and store.stat(oid) is None:
                temp, linked = self._copy(target, temp, oid), False
            elif one.legacy or not self._lacks(target, oid, one.size, None, set()):
                if not linked:
                    discard(temp)
                return
        raise target.explain(OSError(f"the blob {oid} keeps being replaced"))

    def _copy(self, target: Target, source: str, oid: str) -> str:
        """A copy of a temporary file of the first target, for when a link is refused after all."""
        path, fd = target.create()
        source_fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            sink = Sink(fd, target.explain)
            if stream(source_fd, (sink,), nothing, nothing) != oid[:32]:
                raise target.explain(OSError("a file changed while it was copied"))
            flush(fd)
        finally:
            os.close(source_fd)
            os.close(fd)
        return path
