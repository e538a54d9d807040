"""The two states that are compared, commits or the workspace: their files and their data."""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from functools import cached_property

from mlrepro import git, index, outputs, transfer, worktree
from mlrepro.dataclass import TYPE_CHECKING, dataclass
from mlrepro.errors import MlreproError, PathError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from mlrepro.outputs import Tracked
    from mlrepro.project import Project
    from mlrepro.result import Options
    from mlrepro.store import Store

WORKSPACE = "workspace"
MAX_TEXT_BYTES = (1 << 20) + 1  # one more than is read of any file with values


@dataclass(slots=True)
class Content:
    """What a tracked path holds on one side.

    ``size``: bytes, None where the pointer does not say; ``nfiles``: for a folder; ``file``: its
    absolute path in the workspace, where it is there; ``members``: of a folder in the workspace,
    path → hash; ``absent``: the workspace has the pointer, and not the data.
    """

    path: str
    pointer: str
    oid: str
    size: int | None = None
    nfiles: int | None = None
    file: str = ""
    members: dict[str, str] | None = None
    absent: bool = False

    @property
    def is_dir(self) -> bool:
        return self.oid.endswith(".dir")


class Side(ABC):
    """One of the two; ``name`` is the commit's full hash, ``workspace``, or "" for before any.

    ``errors`` has what could not be read, and grows as more is asked for.
    """

    def __init__(self, project: Project, name: str, places: Sequence[Store]) -> None:
        self.project = project
        self.name = name
        self.places = places
        self.errors: list[MlreproError] = []

    @property
    @abstractmethod
    def files(self) -> dict[str, str]:
        """Every file that git has, or would take: path → git object ("" for the workspace)."""

    @cached_property
    def outs(self) -> list[Tracked]:
        """What the pointers name."""
        listing = self._listing()
        self.errors += listing.errors
        return listing.outs

    @abstractmethod
    def _listing(self) -> outputs.Listing:
        """What the pointers say, and what is wrong with them."""

    def texts(self, names: Iterable[str]) -> dict[str, bytes]:
        """The bytes of small files, those that are there, in git or as data; no link is followed.

        One that is too large comes as more zeros than anyone reads, so that its reader says so.
        """
        wanted = list(names)
        found = self._texts_in_git([name for name in wanted if name in self.files])
        tracked = {name for name in wanted if name not in self.files}
        contents = self.contents(lambda item: item.path in tracked) if tracked else {}
        for name, content in contents.items():
            path = "" if content.is_dir else self.locate(content)
            text = self._read(name, path) if path else None
            if text is not None:
                found[name] = text
        return found

    @abstractmethod
    def _texts_in_git(self, names: Sequence[str]) -> dict[str, bytes]:
        """The bytes of those of ``files`` that can be read."""

    def _read(self, name: str, path: str) -> bytes | None:
        try:
            # Not blocking, not following: what is there now may be something else than before.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            with open(os.open(path, flags), "rb") as file:
                return file.read(MAX_TEXT_BYTES)
        except OSError as error:
            self.errors.append(
                PathError(f"Cannot read {name}: {error.strerror}", code="unreadable", path=name)
            )
            return None

    def contents(self, wanted: Callable[[Tracked], bool]) -> dict[str, Content]:
        """What the tracked paths that are wanted hold."""
        return {
            item.path: Content(item.path, item.pointer, item.oid, item.out.size, item.out.nfiles)
            for item in self.outs
            if item.oid and wanted(item)
        }

    def members(self, content: Content) -> dict[str, str] | None:
        """The files of a folder, path → hash; None where its listing is not on this machine."""
        if content.members is not None:
            return content.members
        try:
            found = transfer.listing_of(content.oid, self.places, only_look=True)
        except MlreproError as error:
            error.path = content.path
            self.errors.append(error)
            return None
        return None if found is None else {member.relpath: member.oid for member in found}

    def locate(self, content: Content, member: str = "", oid: str = "") -> str:
        """Where the bytes of a file, or a folder's member, can be read; "" if nowhere here."""
        if content.file:
            return os.path.join(content.file, member) if member else content.file
        for place in self.places:
            found = place.find(oid or content.oid)
            if found is not None and (oid or content.size in (None, found[1].st_size)):
                return found[0]
        return ""


class Commit(Side):
    """A state that was committed; "" stands for the one before the first commit."""

    @cached_property
    def files(self) -> dict[str, str]:
        if not self.name:
            return {}
        found = {}
        listing = git.run(self.project, "ls-tree", "-r", "-z", "--full-tree", self.name)
        for line in listing.split(b"\0"):
            if line:
                about, name = line.split(b"\t", 1)
                mode, _, oid = about.split(b" ")
                if mode in (b"100644", b"100755"):
                    found[os.fsdecode(name)] = oid.decode()
        return found

    def _listing(self) -> outputs.Listing:
        if not self.name:
            return outputs.Listing()
        return outputs.at_revision(self.project, self.name)

    def _texts_in_git(self, names: Sequence[str]) -> dict[str, bytes]:
        wanted = {name: self.files[name] for name in names}
        sizes = git.sizes(self.project, wanted.values()) if wanted else {}
        small = {oid for oid, size in sizes.items() if size < MAX_TEXT_BYTES}
        contents = git.blobs(self.project, small)
        return {name: contents.get(oid, bytes(MAX_TEXT_BYTES)) for name, oid in wanted.items()}


class Workspace(Side):
    """The files as they are now; data that did not change since it was hashed is not read."""

    def __init__(self, project: Project, places: Sequence[Store], options: Options) -> None:
        super().__init__(project, WORKSPACE, places)
        self._options = options

    @cached_property
    def files(self) -> dict[str, str]:
        asked = ("--cached", "--others", "--exclude-standard", "--deduplicate")
        listing = git.run(self.project, "ls-files", "-z", *asked)
        return dict.fromkeys(git.paths(listing), "")

    def _listing(self) -> outputs.Listing:
        return outputs.in_worktree(self.project)

    def _texts_in_git(self, names: Sequence[str]) -> dict[str, bytes]:
        texts = {
            name: self._read(name, self.project.absolute(name))
            for name in names
            if self._is_plain(name)
        }
        return {name: text for name, text in texts.items() if text is not None}

    def _is_plain(self, name: str) -> bool:
        try:
            mode = os.lstat(self.project.absolute(name)).st_mode
        except OSError:
            return False
        return stat.S_ISREG(mode) and not worktree.linked_parent(self.project, name)

    def contents(self, wanted: Callable[[Tracked], bool]) -> dict[str, Content]:
        items = [item for item in self.outs if wanted(item)]
        record = index.load(self.project.state_dir)
        paths = [item.path for item in items]
        seen = worktree.examine(self.project, paths, record, self._options, items)
        found = {}
        for item in items:
            data = seen[item.path]
            if data.error is not None:
                self.errors.append(data.error)
            elif not data.is_missing:
                members = data.tree.members() if data.tree is not None else None
                file = self.project.absolute(item.path)
                found[item.path] = Content(
                    item.path, item.pointer, data.oid, data.size, data.nfiles, file, members
                )
            elif item.oid:
                found[item.path] = Content(
                    item.path, item.pointer, item.oid, item.out.size, item.out.nfiles, absent=True
                )
        return found
