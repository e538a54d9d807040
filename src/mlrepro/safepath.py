"""Which paths and oids are safe to take from others, and how a path is safe to type."""

from __future__ import annotations

from itertools import pairwise

from mlrepro.errors import PointerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./-_")
HEX = "0123456789abcdef"
MAX_SHOWN = 300  # characters of what a message quotes
MAX_PATH = 4096  # characters; Linux takes no longer one, and macOS not that much

# Folders that no path may lead into, also in the spellings that macOS and Windows file systems take
# for the same name: git's utf8.c (next_hfs_char, is_hfs_dot_generic) and path.c (is_ntfs_dotgit).
_FORBIDDEN = frozenset((".git", "git~1", ".dvc", "dvc~1"))
_SUSPICIOUS = (
    *("//", "/./", "/../", "\n", "\0", "~1"),
    *(f"/{folder}{end}" for folder in (".git", ".dvc") for end in "/:. "),
)
_IGNORED = dict.fromkeys(
    (*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF)
)


def is_oid(text: str) -> bool:
    """Whether ``text`` is the name of a blob: 32 hex digits, and ``.dir`` if it is a listing."""
    if len(text) == 36 and text.endswith(".dir"):
        text = text[:32]
    return len(text) == 32 and not text.strip(HEX)


def are_digits(text: str) -> bool:
    """Whether all of a long text, of an even number of characters, is hex digits as md5s have."""
    try:
        return bytes.fromhex(text).hex() == text
    except ValueError:
        return False


def quoted(text: str) -> str:
    """A path as a shell takes it."""
    text = text if not text.startswith("-") else "./" + text
    if text and not set(text) - _PLAIN:
        return text
    return "'" + text.replace("'", "'\"'\"'") + "'"  # as shlex.quote, which loads `re`


def path_problem(path: str) -> str:
    """What makes a path unsafe to track or to write, for a message; "" if nothing does."""
    if not path:
        return "is empty"
    if not is_utf8(path):
        return "is not UTF-8"
    if len(path) > MAX_PATH:
        return "is too long"
    if "\0" in path or "\n" in path:
        return "holds a line break or a NUL"
    if path[0] == "/":
        return "is absolute"
    for part in path.split("/"):
        if part in ("", ".", ".."):
            return f"holds '{part}' as a folder" if part else "holds an empty folder name"
        if part.translate(_IGNORED).lower().split(":")[0].rstrip(" .") in _FORBIDDEN:
            return f"leads into '{part}'"
    return ""


def is_utf8(text: str) -> bool:
    """Whether a name can be written as UTF-8: not so one that ``os.fsdecode`` had to escape."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def check_paths(paths: Sequence[str], *, writing: bool = False) -> None:
    """Raise PointerError unless each path is safe, and none equals or lies in another.

    The code is ``pointer-invalid``; with ``writing``, where the paths are a user's own, it is
    ``path-not-utf8`` or ``path-invalid``. Takes n log n time, whatever the depth of the paths.
    """
    check_each(paths, writing=writing)
    if _surely_apart(paths):
        return
    # With the separator sorted before all else, what lies in a folder follows right behind it.
    ordered = sorted("\n".join(paths).replace("/", "\0").split("\n"))
    for path, following in pairwise(ordered):
        if following.startswith(path) and following[len(path) :][:1] in ("", "\0"):
            twice = "stands there twice" if path == following else "is both a file and a folder"
            raise _refusal(path.replace("\0", "/"), twice, writing)


def check_each(paths: Sequence[str], *, writing: bool = False) -> None:
    """The same of each path by itself: of paths that a file system has, none lies in another."""
    if not _surely_safe(paths):
        for path in paths:
            problem = path_problem(path)
            if problem:
                raise _refusal(path, problem, writing)


def _surely_safe(paths: Sequence[str]) -> bool:
    """A check of all paths at once that lets the usual ones through, and none that is unsafe."""
    joined = f"/{'/'.join(paths)}/"
    if not joined.isascii():
        if not is_utf8(joined):
            return False
        if any(chr(code) in joined for code in _IGNORED):
            return False
    joined = joined.lower()
    return len(max(paths, key=len, default="")) <= MAX_PATH and not any(
        bad in joined for bad in _SUSPICIOUS
    )


def _surely_apart(paths: Sequence[str]) -> bool:
    """Whether these paths are sorted, and none is another's folder; False where that would take
    more than linear time to tell.
    """
    if not all(path < following for path, following in pairwise(paths)):
        return False
    above = {path[: path.rindex("/")] for path in paths if "/" in path}
    allowed, some = sum(map(len, paths)), above  # characters
    while some:
        some = {path[: path.rindex("/")] for path in some if "/" in path} - above
        allowed -= sum(map(len, some))
        if allowed < 0:
            return False
        above |= some
    return not above or above.isdisjoint(paths)


def path_error(path: str, problem: str) -> PointerError:
    """The error for a path with this problem in a pointer or listing."""
    return PointerError(f"the path {path[:MAX_SHOWN]!r} {problem}")


def _refusal(path: str, problem: str, writing: bool) -> PointerError:
    if not writing:
        return path_error(path, problem)
    code = "path-invalid" if is_utf8(path) else "path-not-utf8"
    return PointerError(
        f"The path {path[:MAX_SHOWN]!r} {problem}, so it cannot be tracked.",
        "rename it, then run the same command again",
        code,
        path=path,
    )


def named(error: PointerError, name: str, hint: str = "") -> PointerError:
    """The same error, with the file that it is about."""
    return type(error)(f"{name}: {error.message}", error.hint or hint, error.code, path=name)
