"""Names that are different in a repository, and one and the same to the file system here."""

from __future__ import annotations

import os

from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.durable import discard
from mlrepro.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Collection

_PROBE = "mlrepro-Aé-"


def clashes(paths: Collection[str], folder: str) -> dict[str, str]:
    """Of these paths, and the folders on their way, those that are one here: each with another.

    As on macOS, where ``A`` and ``a``, and the two spellings of ``é``, are one name. ``folder``:
    where to try it, on the same file system; that is done only where two are alike at all.
    """
    if all(path.isascii() and path == path.lower() for path in paths):
        return {}  # as most are, and then nothing has to be kept
    names: dict[str, None] = {}
    for path in paths:
        name = path
        while name and name not in names:
            names[name] = None
            name = os.path.dirname(name)
    if len(set(map(_folded, names))) == len(names):
        return {}
    case, form = one_name(folder)
    if not case and not form:
        return {}
    import unicodedata

    first: dict[str, str] = {}
    found: dict[str, str] = {}
    for name in names:
        key = unicodedata.normalize("NFC", name) if form else name
        other = first.setdefault(_folded(key) if case else key, name)
        if other != name:
            found[name], found[other] = other, name
    return found


def refusal(found: dict[str, str], path: str) -> Refused | None:
    """Why ``path`` is not brought, where it or a folder on its way is among the clashes."""
    name = path
    while name:
        if name in found:
            return Refused(
                f"{name!r} and {found[name]!r} are one name to the file system here: one would "
                "take the place of the other.",
                "bring them back on a file system that tells them apart, and rename one there",
                code="path-collision",
                path=path,
            )
        name = os.path.dirname(name)
    return None


def _folded(name: str) -> str:
    if name.isascii():
        return name.lower()
    import unicodedata  # a library of its own, for names that are not plain

    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def one_name(folder: str) -> tuple[bool, bool]:
    """Whether names that differ in case alone are one here, and whether those in the form of
    their accents are: found out by a file that is made and removed. Raises OSError.
    """
    os.makedirs(folder, exist_ok=True)
    name = f"{_PROBE}{os.getpid()}-{os.urandom(4).hex()}"
    path = os.path.join(folder, name)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    import unicodedata

    try:
        case = os.path.lexists(os.path.join(folder, name.lower()))
        form = os.path.lexists(os.path.join(folder, unicodedata.normalize("NFD", name)))
    finally:
        discard(path)
    return case, form
