"""What may be tracked: paths that pointers, ignore files, git and DVC can hold, and nobody else."""

from __future__ import annotations

import os
import stat

from mlrepro import capture, dvcignore, outputs, worktree
from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.errors import PathError
from mlrepro.safepath import quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlrepro.index import Record
    from mlrepro.outputs import Tracked
    from mlrepro.project import Project
    from mlrepro.remote import Remote

NOT_DATA = frozenset({".gitignore", ".dvcignore", ".gitattributes", ".gitkeep"})


def existing(
    project: Project, name: str, record: Record, own: Sequence[str] | None = None
) -> Tracked | None:
    """What the pointer of ``name`` says, or None where it has none. Raises PointerError.

    ``own``: ``outputs.own_folders``, where these are known.
    """
    entry = record.entries.get(name)
    candidates = dict.fromkeys(
        ([entry.pointer] if entry is not None else []) + [capture.pointer_name(name)]
    )
    for candidate in candidates:
        if not os.path.lexists(project.absolute(candidate)):
            continue
        listing = outputs.in_worktree(project, [candidate], own)
        for item in listing.outs:
            if item.path == name:
                return item
        if listing.errors:
            raise listing.errors[0]
    return None


def check_name(name: str) -> None:
    """Raise PathError for a name that pointers or ignore files cannot hold."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise PathError(
            f"The name is not valid UTF-8: {os.fsencode(name)!r}",
            "rename the file",
            code="path-not-utf8",
            path=name,
        ) from error
    if "\n" in name or "\r" in name:
        raise PathError(
            f"The name holds a line break: {name!r}",
            "rename the file: ignore files and pointers are read line by line",
            code="path-newline",
            path=name,
        )
    if os.path.basename(name) in NOT_DATA:
        raise PathError(
            f"{name} is a file of git or DVC: it belongs into git itself.",
            f"git add {quoted(name)}",
            code="path-reserved",
            path=name,
        )


class Surroundings:
    """The folders that paths to be tracked lie in: each is looked at once.

    ``own``: the folders of blobs in the worktree; ``used``: the remote, where it was read already.
    """

    def __init__(self, project: Project, record: Record, used: Remote | None = None) -> None:
        self._project = project
        self._record = record
        self.own = outputs.own_folders(project, used)
        self._tracked: dict[str, bool] = {}
        self._links: dict[str, str] = {}
        self._rules: dict[str, bool] = {}

    def link(self, name: str) -> str:
        """The first folder on the way to ``name`` that is a symbolic link, or ""."""
        folder = os.path.dirname(name)
        if folder not in self._links:
            self._links[folder] = worktree.linked_parent(self._project, name)
        return self._links[folder]

    def tracked(self, name: str) -> str:
        """The nearest folder above ``name`` that is tracked, or "". Raises PointerError."""
        folder = os.path.dirname(name)
        while folder:
            if folder not in self._tracked:
                found = existing(self._project, folder, self._record, self.own)
                self._tracked[folder] = found is not None
            if self._tracked[folder]:
                return folder
            folder = os.path.dirname(folder)
        return ""

    def leaves_out(self, name: str) -> bool:
        """Whether ``.dvcignore`` leaves out the file ``name``."""
        folder = os.path.dirname(name)
        if folder not in self._rules:
            self._rules[folder] = dvcignore.has_rules(self._project, name)
        return self._rules[folder] and dvcignore.is_left_out(self._project, name)


def check_kind(project: Project, name: str, item: Tracked | None, around: Surroundings) -> None:
    """Raise PathError unless a real file or folder is there; ``item``: what is known of it."""
    link = around.link(name)
    path, mode, gone = project.absolute(name), 0, None
    try:
        mode = os.lstat(path).st_mode
    except OSError as error:
        gone = error
    if link or stat.S_ISLNK(mode):
        leads = os.path.realpath(path)
        outside = not leads.startswith(project.root + os.sep)
        raise PathError(
            f"{link or name} is a symbolic link{' that leads outside' if outside else ''}: "
            "it is not followed.",
            "track the real file, or copy it here",
            code="path-symlink",
            path=name,
        )
    if gone is not None:
        shown = project.show(name)
        folder = quoted(os.path.dirname(shown) or ".")
        hint = f"mlrepro pull {quoted(shown)}" if item is not None else f"ls {folder}"
        raise PathError(
            f"No such file or folder: {project.show(name)}", hint, code="path-missing", path=name
        ) from gone
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise PathError(
            f"{name} is neither a file nor a folder (a pipe, a socket or a device).",
            "track the file that its content is written to",
            code="path-not-regular",
            path=name,
        )


def holds(project: Project, name: str, inner: str) -> PathError:
    """The error for a folder in which something is tracked on its own."""
    return PathError(
        f"{name} holds what is tracked on its own: {project.show(inner)}",
        f"mlrepro track '{project.show(name)}/*'",
        code="path-holds-tracked",
        path=name,
    )


def check_free(project: Project, name: str, around: Surroundings) -> None:
    """Refuse what lies in a tracked folder, and a folder in which something is tracked."""
    above = around.tracked(name)
    if above:
        raise inside(project, name, above)
    path = project.absolute(name)
    if not os.path.isdir(path):
        if around.leaves_out(name):
            raise PathError(
                f"{name} is left out by a .dvcignore file.",
                "change the rule in .dvcignore",
                code="path-ignored",
                path=name,
            )
        return
    for place, folders, files in os.walk(path):
        folders[:] = [folder for folder in folders if folder not in (".git", ".dvc")]
        for file in files:
            if file.endswith(".dvc"):
                inner = os.path.relpath(os.path.join(place, file), project.root)
                raise holds(project, name, inner)


def inside(project: Project, name: str, folder: str) -> PathError:
    """The error for what lies in a tracked folder."""
    return PathError(
        f"{name} lies in the tracked folder {project.show(folder)}: it is part of that already.",
        f"mlrepro track {quoted(project.show(folder))}",
        code="path-inside-tracked",
        path=name,
    )


def refuse_own(project: Project, name: str, own: Sequence[str]) -> None:
    """Refuse the store and the cache, what is in them, and what holds them."""
    path = f"{project.absolute(name)}/" if name else ""
    for place in own:
        if path and (path.startswith(f"{place}/") or f"{place}/".startswith(path)):
            raise PathError(
                f"{name} belongs to the blob store: it is not data to be tracked.",
                "name the folder that holds the data",
                code="path-reserved",
                path=name,
            )
