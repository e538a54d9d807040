"""The clones that use a store: each leaves its name in it, so that none is forgotten there."""

from __future__ import annotations

import os

from mlrepro import durable, writing
from mlrepro.dataclass import TYPE_CHECKING, dataclass

if TYPE_CHECKING:
    from mlrepro.project import Project
    from mlrepro.store import Store

_HEX = frozenset("0123456789abcdef")
_MARK = "mlrepro clone 1"
_MAX_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Clone:
    """One registration: the file that holds it, the machine, and the git folder of the clone.

    ``git_dir`` is the one that all worktrees of the clone share; "" where the file says nothing.
    """

    file: str
    host: str
    git_dir: str

    @property
    def is_elsewhere(self) -> bool:
        """Whether another machine has it, so that it cannot be looked at from here."""
        return self.host != os.uname().nodename


def folder(store: Store) -> str:
    """Where a store keeps the names of its clones."""
    return os.path.join(store.root, ".mlrepro", "clones")


def registered(store: Store) -> list[Clone]:
    """All that are registered. Raises OSError where the folder cannot be read."""
    try:
        names = sorted(os.listdir(folder(store)))
    except FileNotFoundError:
        return []
    return [_read(os.path.join(folder(store), name)) for name in names if _is_id(name)]


def register(project: Project, store: Store) -> None:
    """Leave this clone's name in the store, where it is not there yet. Raises OSError.

    A clone that was moved renews its entry; a copy of a clone gets a name of its own.
    """
    own_file = os.path.join(project.common_dir, "mlrepro", "clone")
    own = _text(own_file).strip()
    if _is_id(own):
        entry = _read(os.path.join(folder(store), own))
        if entry.git_dir == project.common_dir and not entry.is_elsewhere:
            return
        if _is_another(entry, own, project):
            own = ""
    if not _is_id(own):
        own = os.urandom(16).hex()
        os.makedirs(os.path.dirname(own_file), exist_ok=True)
        # Not flushed: a clone that lost its name to a power cut leaves another one.
        writing.write_atomic(own_file, f"{own}\n".encode(), durable=False)
    text = f"{_MARK}\n{os.uname().nodename}\n{project.common_dir}\n"
    durable.make_folders(folder(store), store.root)
    writing.write_atomic(os.path.join(folder(store), own), text.encode("utf-8", "surrogateescape"))


def _is_another(entry: Clone, own: str, project: Project) -> bool:
    """Whether the clone that the entry names is still where it says: then this one is its copy."""
    if not entry.git_dir or entry.is_elsewhere or entry.git_dir == project.common_dir:
        return bool(entry.git_dir) and entry.is_elsewhere
    return _text(os.path.join(entry.git_dir, "mlrepro", "clone")).strip() == own


def _read(file: str) -> Clone:
    lines = _text(file).split("\n")
    if len(lines) < 4 or lines[0] != _MARK or not os.path.isabs(lines[2]):
        return Clone(file, os.uname().nodename, "")
    return Clone(file, lines[1], lines[2])


def _text(file: str) -> str:
    try:
        with open(file, encoding="utf-8", errors="surrogateescape") as opened:
            return opened.read(_MAX_BYTES)
    except OSError:
        return ""


def _is_id(name: str) -> bool:
    return len(name) == 32 and set(name) <= _HEX
