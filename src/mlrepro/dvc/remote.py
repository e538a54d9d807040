"""Blobs to and from a store on the network, by the file systems that DVC has for them."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mlrepro.dvc import clouds, leftovers, ranges, webdav
from mlrepro.dvc.answers import WHOLE
from mlrepro.dvc.begun import Begun
from mlrepro.dvc.failures import missing_remote, translate
from mlrepro.dvc.ranges import LARGE, PART, Received, Room
from mlrepro.errors import StoreError
from mlrepro.parallel import Crew

# These have real folders: a missing one is noticed instead of made, and a blob is put beside and
# renamed. On the others (object stores) a blob appears whole or not at all.
_WITH_FOLDERS = frozenset({"local", "ssh", "sftp", "webdav", "webdavs", "hdfs", "webhdfs"})
# Of a file on these a part can be read: once it was opened, or (plain HTTP: if it says so) at once.
_SEEKABLE = frozenset({"ssh", "sftp", "webdav", "webdavs"})
_RANGED = frozenset({"s3", "gs", "azure", "oss"})
_APPENDABLE = frozenset({"ssh", "sftp"})  # and on these a part can be written
_FIRST_ANSWER_S = 10.0
_MOST_JOBS = 16
_MANY = 512  # blobs from which on folders are listed rather than asked for one by one


class Remote:
    """A store as DVC knows it: ``fs``, a file system of DVC's, and the folder ``base`` on it.

    Each blob lies at ``files/md5/ab/cdef…``, or at ``ab/cdef…`` where DVC 2 put it. Methods raise
    what the file system raises, unless said otherwise.
    """

    is_fsspec = True
    hashes_from = sys.maxsize  # bytes from which on ``send`` hashes a file on its way: never

    def __init__(self, repo: Any, name: str) -> None:
        """Raises StoreError or ConfigError where there is no such remote or it cannot be used."""
        found = repo.cloud.get_remote(name or None)
        self.name, self.fs, self.base = found.name, found.fs, found.path
        if found.worktree or found.fs.version_aware:
            raise StoreError(
                f"The store {self.name} keeps versions by the cloud's own means, not as blobs.",
                f"dvc remote modify {self.name} version_aware false",
                code="remote-versioned",
            )
        for asks, secret in (("ask_password", "password"), ("ask_passphrase", "passphrase")):
            if found.config.get(asks) and not found.config.get(secret):
                raise StoreError(
                    f"The store {self.name} would ask for a {secret}, and nothing here may.",
                    f"dvc remote modify --local {self.name} {secret} SECRET",
                    code="remote-asks",
                )
        self._layouts = (found.odb, found.legacy_odb)
        self._room = repo.site_cache_dir
        self._made: set[str] = set()
        self._making = threading.Lock()
        self._parts = Room()
        self._met = False
        self.place = str(found.fs.unstrip_protocol(found.path))
        self.has_folders = self.fs.protocol in _WITH_FOLDERS

    @property
    def jobs(self) -> int:
        """How many transfers at once: DVC's default of four a core is too much for some servers."""
        return min(_MOST_JOBS, int(self.fs.jobs))

    def path(self, oid: str, legacy: bool = False) -> str:
        """Where the blob belongs."""
        return str(self._layouts[legacy].oid_to_path(oid))

    @property
    def _beside(self) -> str:
        """Where files lie that are on their way, and those that try the store out."""
        return f"{self.base.rstrip('/')}/.mlrepro/tmp"

    def require(self) -> None:
        """Raise StoreError ``remote-missing`` where the store's folder is not there."""
        if self.has_folders and self._size(self.base) is None:
            raise missing_remote(self.name)

    def _meet(self) -> None:
        """Find out whether a cloud answers at all, which its own library tries for minutes."""
        if self._met or self.has_folders or not getattr(self.fs.fs, "async_impl", False):
            return
        try:
            self.fs.fs.info(self.base, timeout=_FIRST_ANSWER_S)
        except FileNotFoundError as error:  # a folder that has nothing yet
            self._raise_unless_absent(error)
        self._met = True

    def _hear(self) -> None:
        """Raise what says that a cloud does not answer at all; any other refusal is no news yet.

        What a probe would be told of it says more.
        """
        try:
            self._meet()
        except Exception as error:
            meaning = translate(error, remote=self.name)
            if meaning.code == "remote-unreachable":
                raise meaning from error

    def sizes(self, oids: Sequence[str], crew: Crew, legacy: bool = False) -> dict[str, int]:
        """Of these blobs, those that are there, with their sizes in bytes (-1: not told)."""
        if not oids:
            return {}
        self._meet()
        self.fs.fs.invalidate_cache()
        found: dict[str, int] = {}
        if len(oids) >= _MANY and self.fs.CAN_TRAVERSE and self.fs.protocol != "local":
            wanted = {self.path(oid, legacy).strip("/"): oid for oid in oids}
            folders = sorted({os.path.dirname(self.path(oid, legacy)) for oid in oids})

            def list_one(folder: str) -> None:
                for entry in self._list(folder):
                    oid = wanted.get(str(entry["name"]).strip("/"))
                    if oid and entry.get("type") != "directory":
                        found[oid] = _entry_size(entry)

            crew.each(list_one, folders)
            return found

        def ask_one(oid: str) -> None:
            size = self._size(self.path(oid, legacy))
            if size is not None:
                found[oid] = size

        crew.each(ask_one, list(oids))
        return found

    def _list(self, folder: str) -> list[dict[str, Any]]:
        try:
            return list(webdav.once_free(self.fs.ls, folder, detail=True))
        except FileNotFoundError as error:
            self._raise_unless_absent(error)
            return []

    def _size(self, path: str) -> int | None:
        try:
            return _entry_size(webdav.once_free(self.fs.info, path))
        except (FileNotFoundError, NotADirectoryError) as error:
            self._raise_unless_absent(error)
            return None

    def _raise_unless_absent(self, error: OSError) -> None:
        """Fsspec's HTTP says that a file is not found whatever the reason was."""
        meaning = translate(error, remote=self.name)
        if meaning.code in WHOLE:
            raise meaning from error

    def send(self, source: str, oid: str, legacy: bool, callback: Any, begun: Begun) -> bool:
        """Put a file that was checked under its blob's name, which was not taken.

        Who takes it meanwhile has the same bytes. Whether they arrived is still to be asked.
        """
        final, size = self.path(oid, legacy), os.stat(source).st_size
        about = f"{self.place} {final} {size}"
        if not self.has_folders:
            fs = self.fs.fs
            in_parts = size >= LARGE and not legacy
            if not in_parts or not clouds.send(
                fs, source, final, oid, about, callback, begun, self._parts
            ):
                self.fs.put_file(source, final, callback=callback)
            return False
        in_parts = self.fs.protocol in _APPENDABLE and size >= LARGE
        first = begun.resume(about) if in_parts else []
        name = first[0] if first and first[0].isalnum() else leftovers.new_name()
        temp = f"{self._beside}/{name}"
        self._make_folders(temp, final)
        done = False
        try:
            if in_parts:
                if begun.parts and self._size(temp) is None:
                    begun.parts.clear()
                begun.begin(about, name)
                self._put_parts(source, temp, callback, begun)
            elif self.fs.protocol in webdav.KINDS:
                webdav.once_free(webdav.put, self.fs.fs, source, temp, callback)
            else:
                self.fs.put_file(source, temp, callback=callback)
            self._move(temp, final)
            done = True
        finally:
            if not done and not begun.kept:
                with contextlib.suppress(Exception):  # may not be there; what matters is raised
                    self.fs.rm_file(temp)
        begun.forget()
        self._layouts[legacy].protect(final)  # read-only, in a folder
        return False

    def _move(self, old: str, new: str) -> None:
        """Rename a file, in one step where the store can."""
        if self.fs.protocol in webdav.KINDS:
            webdav.once_free(webdav.move, self.fs.fs, old, new)
        else:
            self.fs.mv(old, new)

    def _make_folders(self, *paths: str) -> None:
        with self._making:
            for folder in {self.fs.parent(path) for path in paths} - self._made:
                webdav.once_free(self.fs.makedirs, folder)
                self._made.add(folder)

    def _put_parts(self, source: str, temp: str, callback: Any, begun: Begun) -> None:
        """Write a file part by part, but those that the server has said that it has."""
        mode = "r+b" if begun.parts else "wb"
        with open(source, "rb") as file, self.fs.fs.open(temp, mode) as target:
            for number in itertools.count():
                data = file.read(PART)
                if not data:
                    return
                if number not in begun.parts:
                    target.seek(number * PART)
                    target.write(data)
                    begun.add(number)
                callback.relative_update(len(data))

    def receive(
        self, oid: str, size: int | None, temp: str, callback: Any, begun: Begun
    ) -> Received:
        """Copy a blob to the new file ``temp``, or where it was ``begun`` if it is large.

        ``size``: its bytes as far as known; where they are not, it comes in one piece, since to ask
        for each would cost more than it saves.
        """
        try:
            if size is not None and size >= LARGE:
                found = self._parts_of(self.path(oid))
                if found is not None:
                    path, digest = ranges.fetch(oid, *found, begun, temp, callback, self._parts)
                    return Received(path, False, digest)
            self.fs.get_file(self.path(oid), temp, callback=callback)
            return Received(temp, False)
        except FileNotFoundError as error:
            self._raise_unless_absent(error)
        self.fs.get_file(self.path(oid, legacy=True), temp, callback=callback)
        return Received(temp, True)

    def _parts_of(self, path: str) -> tuple[ranges.Read, str, int] | None:
        """How to read a large file in parts, what it is, its size; None where that cannot be."""
        entry = self.fs.info(path)
        size = _entry_size(entry)
        opened = self.fs.protocol in _SEEKABLE
        if size < LARGE or not (opened or self.fs.protocol in _RANGED or entry.get("partial")):
            return None

        def read(start: int, end: int, _: memoryview) -> bytes:
            if not opened:
                return bytes(self.fs.fs.cat_file(path, start=start, end=end))
            with self.fs.fs.open(path, "rb") as file:
                file.seek(start)
                return bytes(file.read(end - start))

        marks = [entry.get(key) for key in ("etag", "ETag", "mtime", "modified")]
        return read, f"{self.place} {path} {size} {marks}", size

    def set_aside(self, oid: str, legacy: bool) -> None:
        """Move a bad blob out of the way; where that is not possible, the next put replaces it."""
        aside = f"{self.base.rstrip('/')}/.quarantine/{oid}.{os.urandom(4).hex()}"
        try:
            self.fs.makedirs(self.fs.parent(aside))
            self._move(self.path(oid, legacy), aside)
        except NotImplementedError:
            return

    def sweep(self, oid: str) -> None:
        """Remove what runs that were killed have left on their way, once nobody can be at it.

        By the store's own clock, which ``oid`` tells, a blob that was just sent. Raises nothing:
        the next run does it, then.
        """
        if self.has_folders:
            with contextlib.suppress(Exception):
                self.fs.fs.invalidate_cache()
                left = self._list(self._beside)
                if left:
                    self._remove_old(left, self.fs.info(self.path(oid)))

    def _remove_old(self, entries: Iterable[dict[str, Any]], fresh: dict[str, Any]) -> None:
        for name in leftovers.old(entries, fresh):
            self.fs.rm_file(f"{self._beside}/{name}")

    def probe(self, create: bool, told: Callable[[str], None]) -> None:
        """Write, read, list and remove a small file; raises StoreError where that does not work.

        ``told`` hears of each step that worked: write, read, list, remove.
        """
        if create and self.has_folders:
            self.fs.makedirs(self.base)
        self.require()
        self._hear()
        folder = self._beside
        path = f"{folder}/{leftovers.new_name()}"
        data = os.urandom(16)
        with tempfile.TemporaryDirectory(dir=self._room) as room:
            there, back = os.path.join(room, "there"), os.path.join(room, "back")
            with open(there, "wb") as file:
                file.write(data)
            self.fs.makedirs(folder)
            try:
                self.fs.put_file(there, path)
            except FileNotFoundError as error:  # what is put is there
                raise missing_remote(self.name) from error
            told("write")
            self.fs.get_file(path, back)
            with open(back, "rb") as file:
                if file.read() != data:
                    raise self._unconfirmed("does not give back what was put into it")
        told("read")
        self._list_probe(folder, path, told)
        with contextlib.suppress(NotImplementedError):  # plain HTTP cannot remove
            self.fs.rm_file(path)
            told("remove")

    def _list_probe(self, folder: str, path: str, told: Callable[[str], None]) -> None:
        if not self.fs.CAN_TRAVERSE:  # plain HTTP has no listing
            return
        self.fs.fs.invalidate_cache()
        listed = {leftovers.name_of(entry): entry for entry in self.fs.ls(folder, detail=True)}
        found = listed.get(path.rpartition("/")[2])
        if found is None:
            raise self._unconfirmed("does not list what was put into it")
        told("list")
        with contextlib.suppress(Exception):
            self._remove_old(listed.values(), found)

    def _unconfirmed(self, what: str) -> StoreError:
        return StoreError(
            f"The store {self.name} {what}.", "mlrepro remote set URL", code="remote-unconfirmed"
        )


def _entry_size(entry: dict[str, Any]) -> int:
    size = entry.get("size")
    return -1 if size is None else int(size)
