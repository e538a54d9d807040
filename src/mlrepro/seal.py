"""A seal: what a whole look found in order, and the few looks by which that is proven again."""

import posix
from _imp import source_hash

# All that a commit without changed data loads besides hook.py. Every import is felt in each of
# them: ``os`` costs a millisecond, a module of C a quarter of one, so there is neither, and paths
# are the bytes that the system takes. ``sealing`` writes seals, and says what is in one.
#
# A seal only saves time: it holds what was proven, by the same rules as in ``unchanged``, with the
# size, times, inode and device of every file that was looked at then. Where it is absent, damaged,
# of other places or settings, or where anything is not as it says, the answer is no.

MAGIC = b"# mlrepro seal 3 "  # then a checksum, a line end, what a shell makes of it, and END
# Ends a field. Not a NUL: bash does not read a file that has some hundred of them. A name that has
# this byte is not sealed.
END = b"\x1e"
FILE = b"mlrepro/seal"  # in the worktree's own git folder
SETTINGS = (  # what in the environment says where things are
    b"AWS_ENDPOINT_URL", b"DVC_GLOBAL_CONFIG_DIR", b"DVC_SYSTEM_CONFIG_DIR", b"HOME",
    b"XDG_CONFIG_DIRS", b"XDG_CONFIG_HOME",
)  # fmt: skip
MARKER = b".mlrepro/store"  # in the store
POINTERS, CONFIG = (b".dvc", b"dvc.lock"), b".dvc/config"  # how names end, and how they begin
MISSING, FOLDER = b"-", b"/"  # instead of the numbers of a file; a folder's hash follows the latter
MOST_BYTES = 64 << 20

EMPTY_BLOB = bytes.fromhex("e69de29bb2d1d6434b8b29ae775ad8c2e48c5391")
LARGE_BYTES = 5_000_000  # as in gitindex
_KIND, _REGULAR, _DIRECTORY = 0o170000, 0o100000, 0o040000
_READ = posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC


class Seal:
    """What a seal says. Paths are absolute, or relative to the root; those of blobs, to the store.

    ``looks``: path → numbers, or MISSING, of the files that say where things are; ``folders``: what
    has to be a folder of its own, no link; ``marker``: what the store's marker file holds;
    ``cleared``: git objects found fit to be committed; ``pointers``: name → git object;
    ``entries``: (pointer, data, its numbers or MISSING or FOLDER, blob, size of the blob);
    ``clean``: as ``looks``, what else has to be as it is for ``status`` to find all in order; empty
    where that was never asked; ``shell``: the same as a shell can tell it, see ``sealing``.
    """

    __slots__ = (
        "clean", "cleared", "entries", "folders", "git_dir", "looks", "marker", "pointers", "root",
        "settings", "shell",
    )  # fmt: skip

    def __init__(self, root: bytes, git_dir: bytes, settings: bytes) -> None:
        self.root = root
        self.git_dir = git_dir
        self.settings = settings
        self.marker: tuple[bytes, bytes] = (b"", b"")
        self.looks: list[tuple[bytes, bytes]] = []
        self.folders: list[bytes] = []
        self.cleared = b""
        self.pointers: dict[bytes, bytes] = {}
        self.entries: list[tuple[bytes, bytes, bytes, bytes, bytes]] = []
        self.clean: list[tuple[bytes, bytes]] = []
        self.shell = b"exit 1\n"


def unbroken() -> bool:
    """Whether it is proven that the commit for which this hook runs has nothing to do with data."""
    environ = posix.environ
    if b"MLREPRO_LANE" in environ or b"MLREPRO_NO_HOOKS" in environ:
        return False
    try:
        cwd = posix.getcwdb()
        git_dir = git_dir_of(cwd)
        found = read(git_dir)
        if found is None or found.root != cwd:
            return False
        named = environ.get(b"GIT_INDEX_FILE") or git_dir + b"/index"
        return holds(found, named if named[:1] == b"/" else cwd + b"/" + named)
    except (OSError, ValueError, IndexError):
        return False


def git_dir_of(top: bytes) -> bytes:
    """The git folder of the worktree whose top this is. ValueError or OSError: ask in full."""
    environ = posix.environ
    if b"GIT_WORK_TREE" in environ:
        raise ValueError
    named = environ.get(b"GIT_DIR") or b".git"
    if named[:1] != b"/":
        named = top + b"/" + named
    if posix.lstat(named).st_mode & _KIND == _DIRECTORY:
        return named
    text = content(named, 8192)
    if text[:9] != b"gitdir: /":
        raise ValueError
    return text[8:].rstrip(b"\r\n")


def read(git_dir: bytes) -> Seal | None:
    """The seal of a worktree, if it is one of these settings and in order."""
    data = content(git_dir + b"/" + FILE, MOST_BYTES)
    start = len(MAGIC) + 17
    if data[: len(MAGIC)] != MAGIC or data[len(MAGIC) : start] != sum_of(data[start:]) + b"\n":
        return None
    found = parsed(data[start:].split(END)[1:])
    return found if found.git_dir == git_dir and found.settings == settings_now() else None


def sum_of(body: bytes) -> bytes:
    """The checksum of a seal: Python's own SipHash, since that is there before any import."""
    return source_hash(len(body), body).hex().encode()


def settings_now() -> bytes:
    """What the environment says of where things are."""
    return b"\n".join([posix.environ.get(name, b"") for name in SETTINGS])


def parsed(fields: list[bytes]) -> Seal:
    """The seal that these fields say. Raises ValueError or IndexError."""
    found = Seal(fields[0], fields[1], fields[2])
    found.marker, found.cleared = (fields[3], fields[4]), fields[5]
    ends = [7]
    if not fields[6].replace(b" ", b"").isdigit():
        raise ValueError
    for count, width in zip(fields[6].split(), (2, 1, 2, 2), strict=True):
        ends.append(ends[-1] + int(count) * width)
    looks, folders, pointers, clean, entries = ends
    if entries > len(fields):
        raise ValueError
    found.looks = list(zip(*[iter(fields[looks:folders])] * 2, strict=True))
    found.folders = fields[folders:pointers]
    found.pointers = dict(zip(*[iter(fields[pointers:clean])] * 2, strict=True))
    found.clean = list(zip(*[iter(fields[clean:entries])] * 2, strict=True))
    found.entries = list(zip(*[iter(fields[entries:])] * 5, strict=True))
    return found


def rendered(seal: Seal) -> bytes:
    """The bytes of a seal's file. Raises ValueError for a name that ends a field."""
    counts = b"%d %d %d %d" % (
        len(seal.looks), len(seal.folders), len(seal.pointers), len(seal.clean),
    )  # fmt: skip
    fields = [seal.root, seal.git_dir, seal.settings, *seal.marker, seal.cleared, counts]
    for pair in seal.looks:
        fields += pair
    fields += seal.folders
    for pair in (*seal.pointers.items(), *seal.clean):
        fields += pair
    for entry in seal.entries:
        fields += entry
    if any(END in field for field in fields):
        raise ValueError("a name that ends a field")
    body = END.join([seal.shell, *fields])
    return MAGIC + sum_of(body) + b"\n" + body


def holds(seal: Seal, index: bytes, *, whole: bool = False) -> bool:
    """Whether all is as the seal says, and ``index`` holds no pointer and no file that is new.

    ``whole``: it holds all pointers as well, and what ``clean`` says is so too.
    """
    if not are_as(seal.root, seal.looks):
        return False
    for path in seal.folders:
        if posix.lstat(path).st_mode & _KIND != _DIRECTORY:
            return False
    marker, text = seal.marker
    if marker and content(marker, 256) != text:
        return False
    present = _pointers_in(content(index, 1 << 30), seal)
    if present is None:
        return False
    if whole and not (len(present) == len(seal.pointers) and are_as(seal.root, seal.clean)):
        return False
    return all(_is_in_order(seal, entry, present, whole) for entry in seal.entries)


def are_as(root: bytes, looks: list[tuple[bytes, bytes]]) -> bool:
    """Whether each of these files has the numbers that go with it."""
    for path, was in looks:
        if numbers_of(path if path[:1] == b"/" else root + b"/" + path) != was:
            return False
    return True


def numbers_of(path: bytes) -> bytes:
    """What tells a file that is as it was from one that is not; MISSING where there is none."""
    try:
        return numbers(posix.lstat(path))
    except (FileNotFoundError, NotADirectoryError):
        return MISSING


def numbers(stat: posix.stat_result) -> bytes:
    """The same of a stat, as in ``index.stat_key``."""
    return b"%d %d %d %d %d" % (
        stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev,
    )  # fmt: skip


def content(path: bytes, most: int) -> bytes:
    """The bytes of a plain file, no link followed. ValueError: more than ``most`` of them."""
    file = posix.open(path, _READ)
    try:
        about = posix.fstat(file)
        if about.st_mode & _KIND != _REGULAR or about.st_size > most:
            raise ValueError
        data = posix.read(file, about.st_size + 1)
        while len(data) < about.st_size:
            more = posix.read(file, about.st_size - len(data))
            if not more:
                raise ValueError
            data += more
        return data
    finally:
        posix.close(file)


def _is_in_order(seal: Seal, entry: tuple[bytes, ...], present: set[bytes], whole: bool) -> bool:
    pointer, path, was, blob, size = entry
    if pointer not in present:
        return True  # it is not part of this commit
    path = seal.root + b"/" + path
    if was[:1] == FOLDER:
        if not _is_same_folder(seal, entry[1], was[1:], keep=not whole):
            return False
    elif numbers_of(path) != was:
        return False
    if not blob:
        return True  # on the network: the record's word is taken, which is among the looks
    about = posix.lstat(seal.marker[0][: -len(MARKER)] + blob)
    return about.st_mode & _KIND == _REGULAR and b"%d" % about.st_size == size


def _is_same_folder(seal: Seal, path: bytes, oid: bytes, *, keep: bool) -> bool:
    from mlrepro import glance  # a quarter of the start-up time: only where a folder is tracked

    places = (seal.root, seal.git_dir + b"/mlrepro", path)
    root, state_dir, name = (place.decode("utf-8", "surrogateescape") for place in places)
    return glance.is_folder_same(root, state_dir, name, oid.decode("ascii"), keep=keep)


def _pointers_in(data: bytes, seal: Seal) -> set[bytes] | None:
    """The pointers in git's index; None where a name or object in it is not known to be harmless.

    Reads versions 2 and 3 of the format (see ``gitindex``), and nothing of what is rare.
    """
    if data[:4] != b"DIRC" or data[4:8] not in (b"\0\0\0\2", b"\0\0\0\3"):
        return None
    known, cleared = seal.pointers, seal.cleared
    names: list[bytes] = []
    found: set[bytes] = set()
    at = 12
    for _ in range(int.from_bytes(data[8:12], "big")):
        high, low = data[at + 60], data[at + 61]
        begin = at + (64 if high & 0x40 else 62)
        end = data.index(b"\0", begin)
        name = data[begin:end]
        if high & 0x30 or data[at + 26 : at + 28] == b"\x40\0":
            return None  # a merge conflict, or a folder that is folded up
        length = (high & 0x0F) << 8 | low
        if length not in (0x0FFF, end - begin):
            return None  # not the layout of SHA-1 entries
        if name.endswith(POINTERS):
            oid = data[at + 40 : at + 60].hex().encode()
            if known.get(name) == oid:
                found.add(name)
            elif oid not in cleared:
                return None
        else:
            size = int.from_bytes(data[at + 36 : at + 40], "big")
            if (
                name[:11] == CONFIG
                or size > LARGE_BYTES
                or (not size and data[at + 40 : at + 60] != EMPTY_BLOB)
            ) and data[at + 40 : at + 60].hex().encode() not in cleared:
                return None
        names.append(name)
        at += (end - at + 8) & ~7
    return found if _is_plain(data, at) and not _holds_data(names, seal) else None


def _is_plain(data: bytes, at: int) -> bool:
    """Whether no extension says that entries are elsewhere ("link") or folded up ("sdir")."""
    last = len(data) - 20
    while at + 8 <= last:
        if data[at : at + 4] in (b"link", b"sdir"):
            return False
        at += 8 + int.from_bytes(data[at + 4 : at + 8], "big")
    return at == last


def _holds_data(names: list[bytes], seal: Seal) -> bool:
    """Whether any of these names is tracked data itself, or lies in a folder of it."""
    paths = {entry[1] for entry in seal.entries}
    if not paths.isdisjoint(names):
        return True
    for entry in seal.entries:
        if entry[2][:1] in (FOLDER, MISSING) and _any_in(names, entry[1] + b"/"):
            return True
    return False


def _any_in(names: list[bytes], folder: bytes) -> bool:
    low, high = 0, len(names)
    while low < high:
        middle = (low + high) // 2
        if names[middle] < folder:
            low = middle + 1
        else:
            high = middle
    return low < len(names) and names[low].startswith(folder)
