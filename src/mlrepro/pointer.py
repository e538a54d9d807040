"""DVC's pointers: the ``.dvc`` files that stand in git for data.

Format, key order and defaults are those of DVC 3.67.1 (``dumpd`` in ``dvc/output.py``, ``get_dump``
in ``dvc/stage/utils.py``, ``apply_diff`` in ``dvc/utils/collections.py``), byte for byte. What is
read is taken for hostile: a strict grammar, bounded in size, in time linear in it. What a pointer
says of a folder is continued in its listing; those names of ``listing`` are given on from here.
"""

from __future__ import annotations

from mlrepro import scalar
from mlrepro.dataclass import dataclass, field
from mlrepro.errors import PointerError, PointerUnknown
from mlrepro.listing import (
    Member,
    Members,
    listing_oid,
    parse_listing,
    read_listing,
    render_listing,
    render_members,
)
from mlrepro.safepath import check_paths, is_oid, is_utf8, named, path_error, path_problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "MAX_POINTER_BYTES",
    "Member",
    "Members",
    "Out",
    "Pointer",
    "is_oid",
    "listing_oid",
    "out_path",
    "parse",
    "parse_listing",
    "path_problem",
    "read_listing",
    "render",
    "render_listing",
    "render_members",
]

MAX_POINTER_BYTES = 1 << 20
MAX_COUNT = (1 << 63) - 1  # bytes, and files of a folder: what a file system could count
MAX_INDENT = 8  # DVC writes its list with none; formatters indent it by 2 or 4

_KEYS = ("md5", "size", "nfiles", "isexec", "hash", "path")  # in DVC's order
# What surrounds hash, size and path in what DVC writes for a file, and the keys' order there.
_USUAL = (b"outs:\n- md5: ", b"\n  size: ", b"\n  hash: md5\n  path: ")
_USUAL_ORDER = ("md5", "size", "hash", "path")
_PRINTABLE = bytes(range(0x20, 0x7F)) + b"\n"
_MARKERS = (b"<<<<<<<", b"|||||||", b">>>>>>>")  # of a merge that git could not finish


@dataclass(frozen=True, slots=True)
class Out:
    """One tracked path of a pointer.

    ``path`` is as written: posix, relative to the pointer's ``wdir``. ``oid`` is the md5 of the
    content, with ``.dir`` for a folder, "" where nothing was saved yet. ``size`` is in bytes,
    ``nfiles`` the number of files in a folder. ``legacy``: written by DVC 2.x, whose md5 is of the
    text with CRLF turned into LF. ``order`` has the keys of an existing pointer as they stand,
    because DVC keeps it when it rewrites one and puts new keys behind; () is DVC's order for new
    ones. ``dataclasses.replace`` therefore updates an out as DVC does.
    """

    path: str
    oid: str
    size: int | None = None
    nfiles: int | None = None
    isexec: bool = False
    legacy: bool = False
    order: tuple[str, ...] = field(default=(), compare=False, repr=False)

    @property
    def is_dir(self) -> bool:
        """Whether this is a folder, so that ``oid`` names a listing."""
        return self.oid.endswith(".dir")


@dataclass(frozen=True, slots=True)
class Pointer:
    """A ``.dvc`` file. ``wdir`` is what its paths are relative to, seen from the pointer's folder.

    ``exact``: ``render`` gives back the very bytes that were parsed, so it may be rewritten without
    losing anything.
    """

    outs: tuple[Out, ...]
    wdir: str = "."
    exact: bool = field(default=True, compare=False)


def parse(text: bytes, name: str) -> Pointer:
    """Read a pointer; ``name`` is its path, for messages.

    Raises PointerError (``pointer-empty``, ``pointer-conflict``, ``pointer-invalid``), or
    PointerUnknown for what DVC might read but this grammar does not: comments, other keys, flow
    style, anchors, a missing final newline.
    """
    usual = _usual(text)
    if usual is not None:
        return usual
    try:
        lines = _lines(text)
        outs, wdir = _parse_document(lines)
        check_paths([out.path for out in outs])
        if not text.endswith(b"\n"):
            raise PointerUnknown("the last line has no end: it may be cut off")
    except PointerError as error:
        raise _explained(error, text, name) from None
    return Pointer(outs, wdir, _render(outs, wdir) == text)


def render(pointer: Pointer) -> bytes:
    """The bytes that DVC would write.

    Raises PointerError for what could not be read back: ``path-not-utf8``, ``path-invalid``,
    ``pointer-invalid``.
    """
    if not pointer.outs:
        raise PointerError("A pointer has to name some data.")
    check_paths([out.path for out in pointer.outs], writing=True)
    for out in pointer.outs:
        wrong = _out_problem(out)
        if wrong:
            raise PointerError(f"{out.path}: {wrong}.", path=out.path)
    if pointer.wdir != "." and (not is_utf8(pointer.wdir) or _wdir_problem(pointer.wdir)):
        raise PointerError(f"The folder {pointer.wdir!r} cannot stand in a pointer.")
    return _render(pointer.outs, pointer.wdir)


def out_path(pointer_relpath: str, pointer: Pointer, out: Out) -> str:
    """Where an out lies, relative to the top of the repository, posix and normalised.

    ``pointer_relpath`` is the pointer's own path from there. Raises PointerError
    (``pointer-invalid``) where ``wdir`` leads out of the repository, or into ``.git`` or ``.dvc``.
    Symlinks are the caller's to refuse.
    """
    parts = pointer_relpath.split("/")[:-1]
    for part in (*pointer.wdir.split("/"), *out.path.split("/")):
        if part == "..":
            if not parts:
                raise named(PointerError("it leads out of the repository"), pointer_relpath)
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    path = "/".join(parts)
    wrong = path_problem(path)
    if wrong:
        raise named(path_error(path, wrong), pointer_relpath)
    return path


def _usual(text: bytes) -> Pointer | None:
    """The pointer to a file of a plain name, as DVC writes it: read so in a quarter of the time.

    None for all that differs from it by a single byte, be it right or wrong.
    """
    before, between, behind = _USUAL
    at, end = len(before) + 32, len(before) + 32 + len(between)
    if text[: len(before)] != before or text[at:end] != between or text[-1:] != b"\n":
        return None
    size, found, path = text[end:-1].partition(behind)
    if not found or not size.isdigit() or len(size) > 18 or (size[:1] == b"0" and size != b"0"):
        return None
    try:
        oid, name = text[len(before) : at].decode("ascii"), path.decode("ascii")
    except UnicodeDecodeError:
        return None
    plain = scalar.stands_plain(oid, len("  md5:")) and scalar.stands_plain(name, len("  path:"))
    if not plain or not is_oid(oid) or path_problem(name):
        return None
    return Pointer((Out(name, oid, int(size), order=_USUAL_ORDER),))


def _lines(text: bytes) -> list[str]:
    """The lines of a pointer without their ends, which may be CRLF (git's ``core.autocrlf``)."""
    if len(text) > MAX_POINTER_BYTES:
        raise PointerError(f"it is larger than {MAX_POINTER_BYTES} bytes")
    if not text.strip():
        raise PointerError("it is empty", code="pointer-empty")
    text = text.replace(b"\r\n", b"\n")
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError:
        raise PointerError("it is not UTF-8 text") from None
    if text.translate(None, _PRINTABLE):
        for char in decoded:
            # NON_PRINTABLE in ruamel's reader.py: C0 and C1 without NEL, and what is no character.
            if (char < " " and char not in "\t\r\n") or (
                ("\x7f" <= char < "\xa0" and char != "\x85") or char in "\ufffe\uffff"
            ):
                raise PointerError(f"it holds the control character {char!r}")
        if "\r" in decoded or "\ufeff" in decoded:
            raise PointerUnknown("it holds a lone carriage return or a byte order mark")
    return decoded.removesuffix("\n").split("\n")


def _parse_document(lines: list[str]) -> tuple[tuple[Out, ...], str]:
    """The outs and the wdir of a pointer's lines."""
    outs: list[Out] = []
    wdir = "."
    seen = set()
    row = 0
    while row < len(lines):
        key, column = _key(lines, row, 0)
        if key in seen:
            raise PointerError(f"it has {key[:40]!r} twice")
        seen.add(key)
        if key == "outs":
            if lines[row][column:].strip(" "):
                raise PointerUnknown("its 'outs' are no block list")
            outs, row = _parse_outs(lines, row + 1)
        elif key == "wdir":
            wdir, plain, row = scalar.read(lines, row, column, 0)
            if plain and not scalar.is_text(wdir):
                raise PointerUnknown("its 'wdir' is no text")
            wrong = _wdir_problem(wdir)
            if wrong:
                raise PointerError(f"its 'wdir' {wrong}")
        else:
            raise PointerUnknown(f"it has the key {key[:40]!r}")
    if not outs:
        raise PointerError("it names no data")
    return tuple(outs), wdir


def _parse_outs(lines: list[str], row: int) -> tuple[list[Out], int]:
    """The items of the block list that begins in ``row``, and the row behind it."""
    outs: list[Out] = []
    dash = len(lines[row]) - len(lines[row].lstrip(" ")) if row < len(lines) else 0
    if dash > MAX_INDENT:
        raise PointerUnknown("its list is indented too far")
    head, deeper = " " * dash + "- ", " " * (dash + 2)
    while row < len(lines) and lines[row].startswith(head):
        values: dict[str, tuple[str, bool]] = {}
        while True:
            key, column = _key(lines, row, dash + 2)
            if key not in _KEYS:
                raise PointerUnknown(f"it has the key {key[:40]!r}")
            if key in values:
                raise PointerError(f"it has {key!r} twice in one item")
            text, plain, row = scalar.read(lines, row, column, dash + 2)
            values[key] = (text, plain)
            if row >= len(lines) or not lines[row].startswith(deeper):
                break
        outs.append(_parse_out(values))
    return outs, row


def _key(lines: list[str], row: int, column: int) -> tuple[str, int]:
    """The key that stands in this column, and the column behind its colon."""
    line = lines[row]
    key, colon, rest = line[column:].partition(":")
    bare = key.isascii() and key.replace("_", "a").isalnum()
    if bare and colon and rest[:1] in ("", " "):
        return key, column + len(key) + 1
    if bare or line.strip(" ") == "-" or (row == len(lines) - 1 and line[:1] == " "):
        raise PointerError(f"line {row + 1} is cut off or out of place")
    raise PointerUnknown(f"line {row + 1} is no plain key and value")


def _parse_out(values: dict[str, tuple[str, bool]]) -> Out:
    """An out from the texts of its keys, each with whether it stood there plain."""
    path, plain = values.get("path", ("", True))
    if not path or (plain and not scalar.is_text(path)):
        raise PointerError("an item has no 'path', or one that is no text")
    if "://" in path:
        raise PointerUnknown("it names data outside of the repository")
    wrong = path_problem(path)
    if wrong:
        raise path_error(path, wrong)
    oid, plain = values.get("md5", ("", True))
    if oid and (not is_oid(oid) or (plain and not scalar.is_text(oid))):
        if is_oid(oid.lower()):
            raise PointerUnknown("its md5 is in capitals, or reads as a number")
        raise PointerError("its md5 is not 32 hex digits")
    algorithm, plain = values.get("hash", ("md5", True))
    if algorithm != "md5":
        raise PointerUnknown("its 'hash' is not md5")
    isexec, plain = values.get("isexec", ("false", True))
    if isexec not in ("true", "false") or not plain:
        raise PointerUnknown("its 'isexec' is not true or false")
    out = Out(
        path,
        oid,
        _count(values, "size"),
        _count(values, "nfiles"),
        isexec == "true",
        legacy=bool(oid) and "hash" not in values,
        order=tuple(values),
    )
    if oid and not out.is_dir and out.nfiles is not None:
        raise PointerUnknown("it has 'nfiles', but is no folder")
    return out


def _count(values: dict[str, tuple[str, bool]], key: str) -> int | None:
    """The number under ``key``; None if there is none."""
    if key not in values:
        return None
    text, plain = values[key]
    if plain and len(text) <= 19 and text.isdecimal() and text.isascii():
        number = int(text)
        if number <= MAX_COUNT and str(number) == text:
            return number
    raise PointerError(f"its {key!r} is no sensible number")


def _wdir_problem(wdir: str) -> str:
    """What is wrong with a ``wdir``, which unlike a path may have ``.`` and ``..`` in it."""
    if not wdir:
        return "is empty"
    if wdir[0] == "/":
        return "is absolute"
    folders = "/".join(part for part in wdir.split("/") if part not in ("", ".", ".."))
    return path_problem(folders) if folders else ""


def _out_problem(out: Out) -> str:
    """Why an out may not be written, apart from its path; "" if it may."""
    if out.oid and not is_oid(out.oid):
        return f"{out.oid!r} is no md5"
    if not all(0 <= (number or 0) <= MAX_COUNT for number in (out.size, out.nfiles)):
        return "its size is no sensible number"
    return ""


def _render(outs: Sequence[Out], wdir: str) -> bytes:
    rows = [] if wdir == "." else [scalar.dump("wdir", wdir, 0)]
    rows.append("outs:")
    for out in outs:
        entries = {}
        if out.oid:
            entries["md5"] = scalar.dump("md5", out.oid, 2)
        if out.size is not None:
            entries["size"] = f"size: {out.size}"
        if out.nfiles is not None:
            entries["nfiles"] = f"nfiles: {out.nfiles}"
        if out.isexec:
            entries["isexec"] = "isexec: true"
        if not out.legacy:
            entries["hash"] = "hash: md5"
        entries["path"] = scalar.dump("path", out.path, 2)
        keys = [*out.order, *(key for key in _KEYS if key not in out.order)]
        rows.append("- " + "\n  ".join([entries[key] for key in keys if key in entries]))
    return ("\n".join(rows) + "\n").encode("utf-8")


def _explained(error: PointerError, text: bytes, name: str) -> PointerError:
    """The error with the file's name and what to type; a merge conflict where there is one."""
    from shlex import quote  # only on the way to an error message

    lines = text[:MAX_POINTER_BYTES].split(b"\n")
    if any(line.startswith(_MARKERS) or line.rstrip(b"\r") == b"=======" for line in lines):
        data = quote(name.removesuffix(".dvc"))
        return PointerError(
            f"{name}: it has the conflict markers of an unfinished merge",
            f"mlrepro resolve --ours {data}, or --theirs",
            "pointer-conflict",
            path=name,
        )
    if isinstance(error, PointerUnknown):
        return named(error, name)
    return named(error, name, f"git checkout HEAD -- {quote(name)}")
