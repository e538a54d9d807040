"""Pointers and ignore files, written beside their places while content is still on its way."""

from __future__ import annotations

from mlrepro import durable, ignore, wording, writing
from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.errors import MlreproError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlrepro.capture import Saved
    from mlrepro.ignore import Change
    from mlrepro.project import Project


class Ahead:
    """What one ``track`` writes into the worktree, where it shows once all content is stored.

    Where many paths are new, the time in which the disk is waited for is enough to write it, and
    the flush of the blobs' names brings it to the disk as well.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._begun = writing.Begun()
        self._planned: list[Change] = []
        self._names: list[str] = []  # of the pointers that were begun

    def begin(self, saved: Sequence[Saved]) -> None:
        """Write all of it, if it is much and new. Raises OSError where the disk cannot take it."""
        if len(saved) <= durable.FEW or not all(item.is_new for item in saved):
            return
        wording.set_texts(self._project, saved)
        texts = wording.texts(saved)
        try:
            self._planned = plan(self._project, saved)
            for change in self._planned:  # first: data that has a pointer is kept out of git
                self._begun.add(self._project.absolute(change.file), ignore.bytes_of(change))
            for name, text in texts.items():
                self._begun.add(self._project.absolute(name), text)
        except MlreproError:
            self._begun.give_up()  # content is stored all the same; ``write`` says what is wrong
            return
        self._names = list(texts)

    def write(self, saved: Sequence[Saved]) -> tuple[list[str], list[Change]]:
        """Write what the ignore files lack, and the pointers that have something new to say.

        Returns the names of these pointers, and the changes. Raises PathError and OSError.
        """
        if not saved:
            return [], []
        texts = wording.texts(saved)
        with ignore.lock(self._project):
            if self._names == list(texts) and self._is_as_planned():
                ignore.note(self._project, self._planned)
                self._begun.finish()
                return self._names, self._planned
            changes = plan(self._project, saved)
            ignore.note(self._project, changes)
            ignore.write(self._project, changes)
        writing.write_many({self._project.absolute(name): text for name, text in texts.items()})
        return list(texts), changes

    def _is_as_planned(self) -> bool:
        """Whether the ignore files are as they were when their new text was made."""
        return all(ignore.read(self._project, one.file) == one.before for one in self._planned)

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, *_: object) -> None:
        self._begun.give_up()


def plan(project: Project, saved: Sequence[Saved]) -> list[Change]:
    """What the ignore files need, so that pointers are seen by git and data is not."""
    if not saved:
        return []
    pointers, outs = zip(*[(one.target.pointer, one.target.path) for one in saved], strict=True)
    return ignore.set_right(project, pointers, outs)
