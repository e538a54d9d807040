"""Proves a tracked folder unchanged, with as many cores as that pays for."""

from __future__ import annotations

import os

from mlrepro import folder

# On the hook's no-change path. Nearly all of the time goes into asking the file system for each
# file's times, which Python's threads cannot do side by side: the calls are too short. So this
# process forks, which takes half a millisecond; no program is started, and a fork only looks.

TYPE_CHECKING = False
if TYPE_CHECKING:
    from array import array

MOST = 4  # processes
WORTH_A_FORK = 4000  # files
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def is_folder_same(root: str, state_dir: str, path: str, oid: str) -> bool:
    """Whether the folder ``path`` is proven to be as it was when its listing's hash was ``oid``."""
    tree = folder.load(state_dir, path)
    if tree is None or oid not in (tree.oid, tree.alias):
        return False
    try:
        return is_same(root, tree)
    except OSError:
        return False


def is_same(root: str, tree: folder.Tree) -> bool:
    """Whether every file of the folder is proven to be as it was hashed, and none came or went.

    Raises OSError where a part cannot be read.
    """
    if not tree.is_listed_as(folder.walk(root, tree.path, stats=False)):
        return False
    here = os.open(f"{root}/{tree.path}", _FOLDER)
    try:
        return _all_agree(here, tree) and not tree.racy(tree.numbers)
    finally:
        os.close(here)


def _all_agree(here: int, tree: folder.Tree) -> bool:
    """Whether the numbers of all files are those of the tree; a part for each process."""
    count = len(tree.names)
    parts = max(1, min(MOST, _cores(), count // WORTH_A_FORK))
    slices = [slice(count * part // parts, count * (part + 1) // parts) for part in range(parts)]
    children = [_forked(here, tree, part) for part in slices[1:]]
    try:
        same = _agree(here, tree, slices[0])
    finally:
        ends = [os.waitpid(child, 0)[1] for child in children]
    return same and not any(ends)


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # macOS has no such call
        return os.cpu_count() or 1


def _forked(here: int, tree: folder.Tree, part: slice) -> int:
    """Start a process that ends with 0 where this part agrees; returns its id."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if _agree(here, tree, part) else 1
        finally:
            os._exit(code)  # whatever happened: what follows is the other process's to do
    return child


def _agree(here: int, tree: folder.Tree, part: slice) -> bool:
    """Whether these files have the size, times, inode and device that they were hashed with."""
    numbers: list[int] = []
    look = os.stat
    for name in tree.names[part]:
        now = look(name, dir_fd=here, follow_symlinks=False)
        numbers += (now.st_size, now.st_mtime_ns, now.st_ctime_ns, now.st_ino, now.st_dev)
    known: array[int] = tree.numbers[part.start * folder.NUMBERS : part.stop * folder.NUMBERS]
    return folder.packed(numbers) == known
