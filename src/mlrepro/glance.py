"""Proves a tracked folder unchanged, with as many cores as that pays for."""

from __future__ import annotations

import os

from mlrepro import folder, walking
from mlrepro.index import now_ns

# On the hook's no-change path. Nearly all of the time goes into asking the file system for each
# file's times, which Python's threads cannot do side by side: the calls are too short. So this
# process forks, which takes half a millisecond; no program is started, and a fork only looks.

TYPE_CHECKING = False
if TYPE_CHECKING:
    from array import array

MOST = 4  # processes
WORTH_A_FORK = 4000  # files
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def is_folder_same(root: str, state_dir: str, path: str, oid: str, *, keep: bool = False) -> bool:
    """Whether the folder ``path`` is proven to be as it was when its listing's hash was ``oid``.

    ``keep``: what was seen of one that is not is kept in mind, see ``taken``.
    """
    if keep and (root, path) in _seen:
        return False  # as it was found a moment ago
    tree = folder.load(state_dir, path)
    if tree is None or oid not in (tree.oid, tree.alias):
        return False
    try:
        return is_same(root, tree, keep=keep)
    except OSError:
        return False


def is_same(root: str, tree: folder.Tree, *, keep: bool = False) -> bool:
    """Whether every file of the folder is proven to be as it was hashed, and none came or went.

    Raises OSError where a part cannot be read.
    """
    began = now_ns()
    found = walking.walk(root, tree.path, stats=False)
    if not tree.is_listed_as(found):
        return False
    here = os.open(f"{root}/{tree.path}", _FOLDER)
    try:
        numbers = _numbers_now(here, tree, found.names)
    finally:
        os.close(here)
    if numbers == tree.numbers and not tree.racy(numbers):
        return True
    if keep and numbers is not None:
        found.numbers = numbers
        _seen[root, tree.path] = found, began, tree
    return False


_seen: dict[tuple[str, str], tuple[walking.Walk, int, folder.Tree]] = {}


def taken(root: str, path: str) -> tuple[walking.Walk, int, folder.Tree] | None:
    """What was seen of a folder that is not the same, when looking began, and as what it was kept;
    told once.

    So that a commit, which asks whether a folder is the same, and then in what it is not, looks at
    it once.
    """
    return _seen.pop((root, path), None)


def forget() -> None:
    """Keep nothing in mind beyond the end of a commit."""
    _seen.clear()


def _numbers_now(here: int, tree: folder.Tree, names: list[str]) -> array[int] | None:
    """The numbers of all files, a part looked at by each process; None where one came to grief."""
    count = len(tree)
    parts = max(1, min(MOST, _cores(), count // WORTH_A_FORK))
    slices = [slice(count * part // parts, count * (part + 1) // parts) for part in range(parts)]
    children = [_forked(here, tree, names, part) for part in slices[1:]]
    told: list[bytes | None] = []
    try:
        numbers = walking.numbers_of(names[slices[0]], here)
    finally:
        told += [_ended(*child) for child in children]
    for part, theirs in zip(slices[1:], told, strict=True):
        if theirs is None:
            return None
        numbers += walking.unpacked(theirs) if theirs else _known(tree, part)
    return numbers if len(numbers) == len(tree.numbers) else None


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # macOS has no such call
        return os.cpu_count() or 1


def _forked(here: int, tree: folder.Tree, names: list[str], part: slice) -> tuple[int, int]:
    """Start a process that looks at this part; returns its id, and where it tells of it.

    It ends with 0 where all is as it was, and with 3 once it has told what there is instead.
    """
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            numbers = walking.numbers_of(names[part], here)
            same = numbers == _known(tree, part)
            view = memoryview(b"" if same else numbers.tobytes())
            while view:
                view = view[os.write(theirs, view) :]
            code = 0 if same else 3
        finally:
            os._exit(code)  # whatever happened: what follows is the other process's to do
    os.close(theirs)
    return child, ours


def _ended(child: int, told: int) -> bytes | None:
    """What the process told: nothing where all was the same; None where it came to grief."""
    data = b""
    try:
        while more := os.read(told, 1 << 20):
            data += more
    finally:
        os.close(told)
        code = os.waitpid(child, 0)[1]
    return data if (os.WIFEXITED(code) and os.WEXITSTATUS(code) == (3 if data else 0)) else None


def _known(tree: folder.Tree, part: slice) -> array[int]:
    """The same as they were when they were hashed."""
    return tree.numbers[part.start * walking.NUMBERS : part.stop * walking.NUMBERS]
