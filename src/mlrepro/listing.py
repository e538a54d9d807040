"""DVC's folder listings: the ``.dir`` blobs that name the files of a tracked folder.

The format is that of ``as_list`` and ``as_bytes`` in ``dvc_data/hashfile/tree.py`` (DVC 3.67.1):
``json.dumps`` of ``{"md5", "relpath"}`` objects sorted by relpath, with sorted keys.
"""

from __future__ import annotations

import os

from mlrepro import digest
from mlrepro.dataclass import dataclass
from mlrepro.errors import PointerError, PointerUnknown
from mlrepro.safepath import HEX, are_digits, check_each, check_paths, named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

# What a listing may come to unless a person says that a clone has larger folders: some commands
# take up to 700 bytes of memory for a member.
MAX_BYTES, MAX_MEMBERS = 24 << 20, 200_000
LARGE = "mlrepro.largeFolders"  # of git's configuration, which no clone brings with it
MAX_LARGE_BYTES = 256 << 20
# A listing that is not in DVC's exact form goes through json, which can turn each byte of a
# hostile one into some twenty of memory.
MAX_FOREIGN_BYTES = 4 << 20

_CHUNK = 1 << 20  # bytes of a listing that are taken apart together
_ROWS = 2048  # members of a folder that are rendered together
_HEAD, _MIDDLE, _TAIL = '{"md5": "', '", "relpath": "', '"}'
_BETWEEN = f"{_TAIL}, {_HEAD}".encode()


@dataclass(frozen=True, slots=True)
class Member:
    """A file of a tracked folder: its posix path relative to the folder, and its md5."""

    relpath: str
    oid: str


class Members:
    """The members that a listing names, in its order: a Member is made when it is asked for."""

    __slots__ = ("_names", "_oids")

    def __init__(self) -> None:
        self._names: list[str] = []
        self._oids = bytearray()  # sixteen bytes each

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[Member]:
        oids = self._oids
        for at, name in enumerate(self._names):
            yield Member(name, oids[at * 16 : at * 16 + 16].hex())

    @property
    def names(self) -> list[str]:
        """The paths, which are not to be changed."""
        return self._names

    @property
    def oids(self) -> bytes:
        """Sixteen bytes for each."""
        return bytes(self._oids)

    def pairs(self) -> Iterator[tuple[str, str]]:
        """The path and the oid of each, for which no Member has to be made."""
        digits = self._oids.hex()
        oids = (digits[at : at + 32] for at in range(0, len(digits), 32))
        return zip(self._names, oids, strict=True)

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, (Members, list)) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def add(self, names: list[str], oids: list[str]) -> None:
        """Take in some more. Raises PointerError for what is no md5."""
        digits = "".join(oids)
        if len(digits) != 32 * len(oids) or not are_digits(digits):
            wrong = next(oid for oid in oids if len(oid) != 32 or oid.strip(HEX))
            raise PointerError(f"{wrong[:40]!r} is no md5")
        self._names += names
        self._oids += bytes.fromhex(digits)
        if len(self._names) > MAX_MEMBERS and not may_be_large():
            raise _too_large()

    def check(self) -> None:
        """Raise PointerError where a path is not safe, or lies in another."""
        check_paths(self._names)


def read_listing(path: str | int, name: str) -> bytes:
    """The bytes of the listing at ``path``, or in an open file, which stays open; ``name`` is its
    oid or path, for messages.

    Raises OSError where it cannot be read, PointerError (``listing-large``) where it is larger than
    is read.
    """
    with open(path, "rb", closefd=isinstance(path, str)) as file:
        size = os.fstat(file.fileno()).st_size
        if size <= MAX_BYTES or may_be_large():
            data = file.read(min(size, MAX_LARGE_BYTES) + 1)  # as much is allocated
        else:
            raise named(_too_large(), name)
    return data


def may_be_large() -> bool:
    """Whether git's configuration says that folders here are larger than those of others may be."""
    from mlrepro import process  # only where one is

    asked = ["git", "config", "--type=bool", "--get", LARGE]
    return process.run_code(asked, cwd=".", ok=(0, 1, 128))[1].strip() == b"true"


def is_large(size: int, count: int) -> bool:
    """Whether a listing of so many bytes and members is only read where ``may_be_large``."""
    return size > MAX_BYTES or count > MAX_MEMBERS


def _too_large() -> PointerError:
    return PointerError(
        f"it lists more than {MAX_MEMBERS:,} files, or has more than {MAX_BYTES >> 20} MiB, which "
        "takes much memory",
        f"if you trust who made it: git config {LARGE} true",
        "listing-large",
    )


def parse_listing(data: bytes, name: str) -> Members:
    """Read a folder listing; ``name`` is its oid or path, for messages.

    The members come in the order of the file. Raises PointerError (``pointer-empty``,
    ``pointer-invalid``, ``listing-large``) for anything but a JSON list of ``{"md5", "relpath"}``
    with safe paths of which none is another or lies in another, and PointerUnknown for further
    keys.
    """
    try:
        if len(data) > MAX_LARGE_BYTES:
            raise PointerError(f"it is larger than {MAX_LARGE_BYTES} bytes")
        if len(data) > MAX_BYTES and not may_be_large():
            raise _too_large()
        if not data[:_CHUNK].strip() and not data.strip():
            raise PointerError("it is empty", code="pointer-empty")
        members = _split_listing(data)
        if members is None:
            members = _load_listing(data)
        members.check()
    except PointerError as error:
        raise named(error, name) from None
    return members


def _split_listing(data: bytes) -> Members | None:
    """The members, if the listing is in the form in which DVC writes it; else None.

    No quotation mark stands unescaped in a JSON string, so what is split at cannot be in a name.
    """
    found = Members()
    if data == b"[]":
        return found
    start = f"[{_HEAD}".encode()
    if not (data.startswith(start) and data.endswith(f"{_TAIL}]".encode()) and data.isascii()):
        return None
    between = f"{_TAIL}, {_HEAD}"
    split_at, at, last = between.encode(), len(start), len(data) - 3
    if at > last:
        return None
    while at <= last:
        end = data.find(split_at, at + _CHUNK, last)
        if end < 0:
            end = last
        text = data[at:end].decode("ascii")
        pieces = text.split(between) if text.isprintable() else []
        names = _names_in(pieces, "\\" in text)
        if not names:
            return None
        found.add(names, [piece[:32] for piece in pieces])
        at = end + len(split_at)
    return found


def _names_in(pieces: list[str], escaped: bool) -> list[str]:
    """The names of these members, each without its braces; none where one is not as by DVC."""
    if escaped:
        from json import JSONDecoder  # only names with escapes need it

        decode = JSONDecoder().raw_decode
    name_at = 32 + len(_MIDDLE)
    names = []
    for piece in pieces:
        relpath = piece[name_at:]
        if piece[32:name_at] != _MIDDLE:
            return []
        if "\\" in relpath:
            try:
                relpath, end = decode(piece + '"', name_at - 1)
            except ValueError:
                return []
            if end <= len(piece):
                return []
        elif '"' in relpath:
            return []
        names.append(relpath)
    return names


def _load_listing(data: bytes) -> Members:
    """The members, from a listing in any JSON form."""
    from json import loads  # DVC's own listings never get here

    if len(data) > MAX_FOREIGN_BYTES:
        raise PointerUnknown("it is large, and not as DVC writes it")
    try:
        members = loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        raise PointerError("it is not JSON text") from None
    if not isinstance(members, list):
        raise PointerError("it is no list")
    names, oids = [], []
    for member in members:
        if not isinstance(member, dict):
            raise PointerError("a member is no object")
        relpath, oid = member.get("relpath"), member.get("md5")
        if not isinstance(relpath, str) or not isinstance(oid, str):
            raise PointerError("a member has no 'md5' or no 'relpath'")
        if len(member) > 2:
            raise PointerUnknown("a member has more keys than 'md5' and 'relpath'")
        names.append(relpath)
        oids.append(oid)
    found = Members()
    found.add(names, oids)
    return found


def render_listing(members: Iterable[Member]) -> bytes:
    """The bytes of a folder's listing as DVC writes them, whatever the order of ``members``.

    Raises PointerError (``path-not-utf8``, ``path-invalid``, ``pointer-invalid``).
    """
    return _render_pairs([(member.relpath, member.oid) for member in members])


def render_members(
    names: Sequence[str], oids: bytes | bytearray, *, checked: bool = False
) -> bytes:
    """The same of files that were found in a folder: ``names`` in order, 16 bytes of ``oids`` each.

    One whose oid is all zero is no member. ``checked``: these paths are known to be fit for one.
    Not all of it is in memory as anything but the listing itself.
    """
    from io import BytesIO

    out = BytesIO()
    for start in range(0, len(names), _ROWS):
        part, some = names[start : start + _ROWS], oids[start * 16 : (start + _ROWS) * 16]
        digits = some.hex()
        places = range(0, len(digits), 32)
        pairs = [(name, digits[at : at + 32]) for name, at in zip(part, places, strict=True)]
        if bytes(16) in some:
            pairs = [pair for pair in pairs if pair[1].strip("0")]
        if not checked:
            check_each([name for name, _ in pairs], writing=True)
        if pairs:
            out.write(_BETWEEN if out.tell() else b"[" + _HEAD.encode())
            out.write(_rows(pairs).encode("ascii"))
    if not out.tell():
        return b"[]"
    out.write(f"{_TAIL}]".encode())
    return out.getvalue()


def _render_pairs(members: Iterable[tuple[str, str]]) -> bytes:
    pairs = sorted(members)
    check_paths([relpath for relpath, _ in pairs], writing=True)
    digits = "".join([oid for _, oid in pairs])
    if len(digits) != 32 * len(pairs) or not are_digits(digits):
        relpath, oid = next(pair for pair in pairs if len(pair[1]) != 32 or pair[1].strip(HEX))
        raise PointerError(f"{relpath}: {oid!r} is no md5", path=relpath)
    return f"[{_HEAD}{_rows(pairs)}{_TAIL}]".encode("ascii") if pairs else b"[]"


def _rows(pairs: Sequence[tuple[str, str]]) -> str:
    """What stands in a listing between its beginning and its end."""
    joined = "".join([relpath for relpath, _ in pairs])
    if joined.isascii() and joined.isprintable() and '"' not in joined and "\\" not in joined:
        rows = [f"{oid}{_MIDDLE}{relpath}" for relpath, oid in pairs]  # nothing to be escaped
    else:
        try:
            from _json import encode_basestring_ascii as quoted  # written in C
        except ImportError:
            from json.encoder import encode_basestring_ascii as quoted
        rows = [f"{oid}{_MIDDLE}{quoted(relpath)[1:-1]}" for relpath, oid in pairs]
    return f"{_TAIL}, {_HEAD}".join(rows)


def listing_oid(data: bytes) -> str:
    """The oid of a folder whose listing is ``data``."""
    return digest.md5(data) + ".dir"
