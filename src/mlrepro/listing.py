"""DVC's folder listings: the ``.dir`` blobs that name the files of a tracked folder.

The format is that of ``as_list`` and ``as_bytes`` in ``dvc_data/hashfile/tree.py`` (DVC 3.67.1):
``json.dumps`` of ``{"md5", "relpath"}`` objects sorted by relpath, with sorted keys.
"""

from __future__ import annotations

from mlrepro import digest
from mlrepro.dataclass import dataclass
from mlrepro.errors import PointerError, PointerUnknown
from mlrepro.safepath import HEX, check_paths, named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_LISTING_BYTES = 256 << 20
# A listing that is not in DVC's exact form goes through json, which can turn each byte of a
# hostile one into some twenty of memory.
MAX_FOREIGN_BYTES = 4 << 20

_HEAD, _MIDDLE, _TAIL = '{"md5": "', '", "relpath": "', '"}'


@dataclass(frozen=True, slots=True)
class Member:
    """A file of a tracked folder: its posix path relative to the folder, and its md5."""

    relpath: str
    oid: str


def parse_listing(data: bytes, name: str) -> list[Member]:
    """Read a folder listing; ``name`` is its oid or path, for messages.

    The members come in the order of the file. Raises PointerError (``pointer-empty``,
    ``pointer-invalid``) for anything but a JSON list of ``{"md5", "relpath"}`` with safe paths of
    which none is another or lies in another, and PointerUnknown for further keys.
    """
    try:
        if len(data) > MAX_LISTING_BYTES:
            raise PointerError(f"it is larger than {MAX_LISTING_BYTES} bytes")
        if not data.strip():
            raise PointerError("it is empty", code="pointer-empty")
        pairs = _split_listing(data)
        if pairs is None:
            pairs = _load_listing(data)
        for _, oid in pairs:
            if len(oid) != 32 or oid.strip(HEX):
                raise PointerError(f"{oid[:40]!r} is no md5")
        check_paths([relpath for relpath, _ in pairs])
    except PointerError as error:
        raise named(error, name) from None
    return [Member(relpath, oid) for relpath, oid in pairs]


def _split_listing(data: bytes) -> list[tuple[str, str]] | None:
    """Each member's path and oid, if the listing is in the form in which DVC writes it; else None.

    No quotation mark stands unescaped in a JSON string, so what is split at cannot be in a name.
    """
    text = data.decode("latin-1")
    if text == "[]":
        return []
    start = "[" + _HEAD
    if not (text.startswith(start) and text.endswith(_TAIL + "]") and text.isascii()):
        return None
    if not text.isprintable():
        return None
    if "\\" in text:
        from json import JSONDecoder  # only names with escapes need it

        decode = JSONDecoder().raw_decode
    pairs = []
    name_at = 32 + len(_MIDDLE)
    for piece in text[len(start) : -3].split(f"{_TAIL}, {_HEAD}"):
        relpath = piece[name_at:]
        if piece[32:name_at] != _MIDDLE:
            return None
        if "\\" in relpath:
            try:
                relpath, end = decode(piece + '"', name_at - 1)
            except ValueError:
                return None
            if end <= len(piece):
                return None
        elif '"' in relpath:
            return None
        pairs.append((relpath, piece[:32]))
    return pairs


def _load_listing(data: bytes) -> list[tuple[str, str]]:
    """Each member's path and oid, from a listing in any JSON form."""
    from json import loads  # DVC's own listings never get here

    if len(data) > MAX_FOREIGN_BYTES:
        raise PointerUnknown("it is large, and not as DVC writes it")
    try:
        members = loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        raise PointerError("it is not JSON text") from None
    if not isinstance(members, list):
        raise PointerError("it is no list")
    pairs = []
    for member in members:
        if not isinstance(member, dict):
            raise PointerError("a member is no object")
        relpath, oid = member.get("relpath"), member.get("md5")
        if not isinstance(relpath, str) or not isinstance(oid, str):
            raise PointerError("a member has no 'md5' or no 'relpath'")
        if len(member) > 2:
            raise PointerUnknown("a member has more keys than 'md5' and 'relpath'")
        pairs.append((relpath, oid))
    return pairs


def render_listing(members: Iterable[Member]) -> bytes:
    """The bytes of a folder's listing as DVC writes them, whatever the order of ``members``.

    Raises PointerError (``path-not-utf8``, ``path-invalid``, ``pointer-invalid``).
    """
    return render_pairs([(member.relpath, member.oid) for member in members])


def render_pairs(members: Iterable[tuple[str, str]]) -> bytes:
    """The same of paths and oids."""
    pairs = sorted(members)
    check_paths([relpath for relpath, _ in pairs], writing=True)
    digits = "".join([oid for _, oid in pairs])
    if len(digits) != 32 * len(pairs) or digits.strip(HEX):
        relpath, oid = next(pair for pair in pairs if len(pair[1]) != 32 or pair[1].strip(HEX))
        raise PointerError(f"{relpath}: {oid!r} is no md5", path=relpath)
    try:
        from _json import encode_basestring_ascii as quoted  # written in C
    except ImportError:
        from json.encoder import encode_basestring_ascii as quoted
    head, middle, tail = _HEAD, _MIDDLE[:-1], _TAIL[1:]
    rows = [f"{head}{oid}{middle}{quoted(relpath)}{tail}" for relpath, oid in pairs]
    return f"[{', '.join(rows)}]".encode("ascii")


def listing_oid(data: bytes) -> str:
    """The oid of a folder whose listing is ``data``."""
    return digest.md5(data) + ".dir"
