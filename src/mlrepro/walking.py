"""The files below a folder as they stand: names, and five numbers of each, in blocks."""

from __future__ import annotations

import os
from bisect import bisect_left

from mlrepro import plainfile

# On the hook's no-change path.

TYPE_CHECKING = False
if TYPE_CHECKING:
    from array import array

MAX_RULES_BYTES = 1 << 20
NUMBERS = 5  # size, mtime_ns, ctime_ns, inode, device
_REPOSITORIES = frozenset({".git", ".dvc", ".hg"})
# Files whose numbers are objects of Python's at once: they take four times the memory.
_LOOKS = 1024
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Walk:
    """The regular files below a folder as they stand now.

    ``names``: relative paths, sorted; ``numbers``: five a file, in that order; ``odd``: what is
    neither file nor folder; ``hollow``: folders without any file; ``nested``: ``.git`` and ``.dvc``
    that lie inside; ``rules``: what ``.dvcignore`` files above say. Links are not followed.
    """

    __slots__ = ("hollow", "names", "nested", "numbers", "odd", "rules")

    def __init__(self) -> None:
        self.names: list[str] = []
        self.numbers = packed([])
        self.odd: list[str] = []
        self.hollow: list[str] = []
        self.nested: list[str] = []
        self.rules = b""

    def __len__(self) -> int:
        return len(self.names)

    def size(self) -> int:
        """The bytes of all files together."""
        return sum(self.numbers[::NUMBERS])


def walk(root: str, path: str, *, stats: bool = True) -> Walk:
    """List every regular file below the folder ``path`` of the worktree at ``root``.

    Without ``stats`` no file is looked at, and there are no ``numbers``. Raises OSError where a
    part cannot be read.
    """
    look = _look if stats else _list
    folder = f"{root}/{path}"
    found = Walk()
    found.rules = rules_above(root, path)
    # What is next, last first: a folder to look into, or files seen but not yet in their place.
    pending: list[tuple[str, tuple[list[str], array[int]] | None]] = [("", None)]
    while pending:
        prefix, files = pending.pop()
        if files is None:
            files = _in_order(prefix, *look(folder, prefix, found), pending)
        found.names += [prefix + name for name in files[0]] if prefix else files[0]
        if found.numbers:
            found.numbers += files[1]
        else:
            found.numbers = files[1]
    return found


def packed(numbers: list[int]) -> array[int]:
    """The numbers of files as a tree keeps them."""
    from array import array  # two milliseconds, since it loads `collections`

    try:
        return array("q", numbers)
    except OverflowError:  # inodes above 2**63: some network file systems
        return array("q", [_signed(number) for number in numbers])


def numbers_of(names: list[str], here: int) -> array[int]:
    """The numbers of files in the open folder ``here``. Raises OSError."""
    numbers, look = packed([]), os.stat
    for start in range(0, len(names), _LOOKS):
        rows: list[int] = []
        for name in names[start : start + _LOOKS]:
            now = look(name, dir_fd=here, follow_symlinks=False)
            rows += (now.st_size, now.st_mtime_ns, now.st_ctime_ns, now.st_ino, now.st_dev)
        numbers += packed(rows)
    return numbers


def unpacked(data: bytes) -> array[int]:
    """The numbers of files, of their bytes."""
    numbers = packed([])
    numbers.frombytes(data)
    return numbers


def rules_above(root: str, path: str) -> bytes:
    """The rules of the ``.dvcignore`` files from the root down to ``path``; b"" where none has any.

    Each line has the depth of its file before it. Raises OSError, and PathError for
    what is no plain file.
    """
    rules = []
    parts = path.split("/")
    for depth in range(len(parts)):
        try:
            name = "/".join((*parts[:depth], ".dvcignore"))
            text = plainfile.read_at(f"{root}/{name}", name, MAX_RULES_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            continue
        lines = [line for line in text.split(b"\n") if line.strip() and not line.startswith(b"#")]
        rules += [b"%d %s" % (depth, line) for line in lines]
    return b"\n".join(rules)


def _signed(number: int) -> int:
    return number if number < 1 << 63 else number - (1 << 64)


def _look(folder: str, prefix: str, found: Walk) -> tuple[list[str], array[int], list[str]]:
    """One folder's own files in order, their numbers, and the folders in it."""
    files: list[str] = []
    numbers, rows = packed([]), list[int]()
    below: list[str] = []
    try:
        here = os.open(f"{folder}/{prefix}".rstrip("/") or "/", _FOLDER)
    except FileNotFoundError:
        if not prefix:
            raise
        return files, numbers, below  # gone between listing and looking: as if a moment later
    try:
        names = os.listdir(here)
        names.sort()
        look, enough = os.stat, _LOOKS * NUMBERS
        for name in names:
            try:
                now = look(name, dir_fd=here, follow_symlinks=False)
            except FileNotFoundError:
                continue
            kind = now.st_mode & 0o170000
            if kind == 0o100000 and name != ".git":
                files.append(name)
                rows += (now.st_size, now.st_mtime_ns, now.st_ctime_ns, now.st_ino, now.st_dev)
                if len(rows) >= enough:
                    numbers += packed(rows)
                    rows = []
            elif kind == 0o100000 or (kind == 0o040000 and name in _REPOSITORIES):
                found.nested.append(prefix + name)
            elif kind == 0o040000:
                below.append(name)
            else:
                found.odd.append(prefix + name)
    except OSError as error:
        error.filename = f"{folder}/{prefix}"  # by itself it has a name without its folder, or none
        raise
    finally:
        os.close(here)
    if prefix and not files and not below:
        found.hollow.append(prefix[:-1])
    numbers += packed(rows)
    return files, numbers, below


def _list(folder: str, prefix: str, found: Walk) -> tuple[list[str], array[int], list[str]]:
    """The same without numbers: what the folder itself says of the kinds of its entries."""
    files: list[str] = []
    below: list[str] = []
    nested: list[str] = []
    odd: list[str] = []
    here = os.open(f"{folder}/{prefix}".rstrip("/") or "/", _FOLDER)
    try:
        with os.scandir(here) as entries:
            for entry in entries:
                name = entry.name
                if entry.is_file(follow_symlinks=False):
                    (files if name != ".git" else nested).append(name)
                elif entry.is_dir(follow_symlinks=False):
                    (below if name not in _REPOSITORIES else nested).append(name)
                else:
                    odd.append(name)
    finally:
        os.close(here)
    files.sort()
    if prefix and not files and not below:
        found.hollow.append(prefix[:-1])
    found.nested += [prefix + name for name in sorted(nested)]
    found.odd += [prefix + name for name in sorted(odd)]
    return files, packed([]), below


def _in_order(
    prefix: str,
    files: list[str],
    numbers: array[int],
    below: list[str],
    pending: list[tuple[str, tuple[list[str], array[int]] | None]],
) -> tuple[list[str], array[int]]:
    """The files that come before the first folder; the folders and the others become pending.

    By their whole path: ``a.txt`` comes before ``a/b``, since "." comes before "/".
    """
    if not below:
        return files, numbers
    end = len(files)
    for name in sorted(below, key=lambda name: name + "/", reverse=True):
        at = bisect_left(files, name + "/", 0, end)
        if at < end:
            pending.append((prefix, (files[at:end], numbers[at * NUMBERS : end * NUMBERS])))
        pending.append((f"{prefix}{name}/", None))
        end = at
    return files[:end], numbers[: end * NUMBERS]
