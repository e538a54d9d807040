"""The files that setting up writes: noted first, so that the next run completes one cut short."""

from __future__ import annotations

import os

from mlrepro import git, gitadd, plainfile, writing
from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.errors import PathError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlrepro.project import Project

SETTINGS = (".dvc/config", ".dvc/.gitignore", ".dvcignore")  # belong into git, whoever made them


class Scaffold:
    """Reads and writes files of a repository by their names relative to its top.

    ``created``, ``changed``: what was written, or in a dry run would be; ``advice``: what is left
    to the user. What is to be staged is noted in git's folder before it is written, so that a run
    that is cut short leaves to the next one what it had made but not staged.
    """

    def __init__(self, project: Project, *, dry_run: bool) -> None:
        self.project = project
        self.dry_run = dry_run
        self.created: list[str] = []
        self.changed: list[str] = []
        self.advice: list[str] = []
        self._journal = os.path.join(project.state_dir, "unfinished-init")
        self._ours = self._unfinished()

    def _unfinished(self) -> list[str]:
        try:
            with open(self._journal, "rb") as file:
                return git.paths(file.read(1 << 20))
        except OSError:
            return []

    def read(self, name: str) -> str | None:
        """The text of a file, None where it is absent. Raises PathError for what is no file."""
        path = self.project.absolute(name)
        if not os.path.lexists(path):
            return None
        there = os.path.realpath(path)
        if not (os.path.isfile(path) and there.startswith(self.project.root + os.sep)):
            raise in_the_way(name)
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read()

    def write(self, name: str, text: str) -> None:
        """Give a file this text, and remember whether it was made or changed."""
        link = plainfile.linked_parent(self.project.root, name)
        if link:
            raise in_the_way(link)
        before = self.read(name)
        if before == text:
            return
        if name not in (*self.created, *self.changed):
            (self.created if before is None else self.changed).append(name)
        if self.dry_run:
            return
        if before is None or git.is_as_staged(self.project, name):
            self.announce([name])
        path = self.project.absolute(name)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise in_the_way(os.path.dirname(name)) from None
        writing.write_atomic(path, text.encode("utf-8", "surrogateescape"))

    def announce(self, names: Sequence[str]) -> None:
        """Note that these files, about to be written, are ours to stage."""
        fresh = [name for name in names if name not in self._ours]
        if fresh and not self.dry_run:
            self._ours += fresh
            os.makedirs(self.project.state_dir, exist_ok=True)
            writing.write_atomic(self._journal, git.joined(self._ours))

    def stage(self) -> None:
        """Stage what was made, and what was changed where it was as staged before.

        So nothing of a user's is staged that they have not staged themselves.
        """
        if self.dry_run:
            return
        wanted = [*self._ours, *self._settings()]
        hidden = git.ignored(self.project, wanted)
        names = [name for name in wanted if name not in hidden]
        gitadd.stage(
            self.project, [name for name in names if os.path.isfile(self.project.absolute(name))]
        )
        if os.path.exists(self._journal):
            os.unlink(self._journal)

    def _settings(self) -> list[str]:
        known = git.listed(self.project, SETTINGS)
        return [name for name in SETTINGS if name not in known]


def in_the_way(name: str) -> PathError:
    """The error for a file, folder or link that stands where another kind has to be."""
    return PathError(
        f"{name} is in the way of what has to be there.",
        f"mv {name} {name}.away, then: mlrepro init",
        code="path-in-the-way",
        path=name,
    )
