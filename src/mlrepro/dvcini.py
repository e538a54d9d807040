"""The text of a DVC config file: read strictly, edited line by line, searched for secrets."""

from __future__ import annotations

from mlrepro.errors import ConfigError

# On the hook's no-change path: no regular expression, no configobj, no DVC.

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_NAMED = ("remote", "machine", "db")  # sections of which there are many: ['remote "storage"']
_QUOTES = ("'", '"')

# Every key of dvc.config_schema that holds a secret itself, not the path or the name of one.
# What only a person can do about a secret that git has seen.
ROTATE = "revoke that key and make a new one first; docs/secrets.md says how to purge it"
_SECRET_KEYS = (
    "password",
    "passphrase",
    "token",
    "session_token",
    "sas_token",
    "access_key_id",
    "secret_access_key",
    "sse_customer_key",
    "connection_string",
    "account_key",
    "client_secret",
    "oss_key_id",
    "oss_key_secret",
    "ssh_private",
)


def load_text(text: str, name: str = ".dvc/config") -> dict[str, dict[str, str]]:
    """One config file's sections, values as written; ``name`` is used in messages only.

    Reads the part of configobj's grammar (configobj 5, ``_parse``) that DVC writes: sections one
    level deep, ``key = value`` with the value bare or in single or double quotes, comments. What
    it accepts, DVC reads alike. Raises ConfigError ``dvc-config-unknown`` for anything else.
    """
    sections: dict[str, dict[str, str]] = {}
    for line in _lines(text, name):
        if line.section:
            values = sections.setdefault(line.section, {})
            if line.key:
                values[line.key] = line.value
    return sections


def set_values(text: str, section: str, values: Mapping[str, str | None]) -> str:
    """``text`` with these keys of ``section`` set, or taken out where the value is None.

    All other lines and every comment stay as they are. New lines have the form DVC writes. A
    section that is left without a key is taken out too: DVC refuses a remote without one.
    Raises ConfigError ``dvc-config-unknown`` for a text that is not understood, and
    ``dvc-config-value`` for a value that cannot be written.
    """
    wanted = section_name(section)
    todo = {key.lower(): value for key, value in values.items()}
    if not wanted or not all(map(_is_word, todo)):
        raise _unwritable(section)
    end = "\r" if "\r\n" in text else ""
    out: list[str] = []
    header, last, kept, indent = -1, -1, 0, "    "  # positions in out; keys that stay
    for line in _lines(text, ".dvc/config"):
        if line.section == wanted and line.key in todo:
            new = todo.pop(line.key)
            if new is None:
                indent = _indent(line.text)
                continue
            out.extend([line.text] if new == line.value else _changed(line, new, end))
        else:
            out.append(line.text)
        if line.section == wanted and line.key:
            kept, last, indent = kept + 1, len(out), _indent(line.text)
        elif line.section == wanted and line.is_header:
            header, last = len(out) - 1, len(out)
    added = [
        f"{indent}{key} = {_quote(key, new)}{end}" for key, new in todo.items() if new is not None
    ]
    if added and header < 0:
        if out and not out[-1].strip():
            out.pop()
        title = wanted if " " not in wanted else f"'{wanted}'"
        out += [f"[{title}]{end}", *added, ""]
    elif added:
        out[last:last] = added
        if out[-1].strip():
            out.append("")
    elif header >= 0 and not kept:
        del out[header]
    return "\n".join(out)


def remote_section(name: str) -> str:
    """The section of the remote of that name, as this module names sections."""
    return f'remote "{name.lower()}"'


def find_secrets(data: bytes) -> list[tuple[int, str]]:
    """The lines of a config file that hold a secret: line number from 1, and the key.

    Reads bytes of any form, also such as no parser accepts, since what is committed stays in the
    history. A commented-out setting counts; an empty value, or ``<placeholder>``, does not.
    """
    # NUL bytes are dropped so that UTF-16 hides nothing; splitlines() breaks where configobj does.
    data = data.replace(b"\0", b"").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    found = []
    for number, raw in enumerate(data.decode("utf-8", "replace").split("\n"), 1):
        for line in raw.splitlines():
            name, equals, value = line.partition("=")
            key = name.lstrip("#;\ufeff\ufffd \t").strip(" \t'\"").lower()
            if equals and _is_secret_key(key) and not _is_placeholder(value):
                found.append((number, key))
            elif "://" in line and _has_password(line):
                # Inside triple quotes a URL may stand on a line of its own.
                found.append((number, key if equals and "://" not in key else "url"))
    return found


class _Line:
    """One line: its text, the section it lies in, and the parts of ``head value tail``."""

    __slots__ = ("head", "is_header", "key", "section", "tail", "text", "value")

    def __init__(self, text: str, section: str) -> None:
        self.text = text
        self.section = section
        self.is_header = False
        self.key = self.value = self.head = self.tail = ""


def _lines(text: str, name: str) -> Iterator[_Line]:
    """The lines of a config file, split at line feeds, each judged strictly."""
    section = ""
    seen: set[tuple[str, str]] = set()
    for number, raw in enumerate(text.split("\n"), 1):
        bare = raw.removesuffix("\r").replace("\t", " ").strip(" ")
        if not bare.isprintable():
            # Control characters and odd spaces: configobj breaks lines at some of them.
            raise not_read(name, number, "it holds a character that is not printable")
        if bare.startswith(("<<<<<<<", "=======", ">>>>>>>")):
            raise not_read(name, number, "it holds the marks of a merge conflict")
        line = _Line(raw, section)
        if bare and bare[0] != "#":
            if bare[0] == "[":
                section = line.section = _header(bare)
                line.is_header = True
            elif not _entry(line):
                section = ""
            if not section:
                raise not_read(name, number, "the line is in a form that is not known here")
            if (section, line.key) in seen:
                raise not_read(name, number, "the same section or key comes twice")
            seen.add((section, line.key))
        yield line


def _header(text: str) -> str:
    """The section that a line ``[…]`` opens, or "" where it is none that is understood."""
    inner = text[1:].lstrip(" ")
    if inner[:1] in _QUOTES:
        name, _, rest = inner[1:].partition(inner[0])
        rest = rest.lstrip(" ")
    else:
        name = inner.partition("]")[0]
        rest, name = inner[len(name) :], name.rstrip(" ")
    return section_name(name) if rest[:1] == "]" and _is_blank(rest[1:]) else ""


def section_name(name: str) -> str:
    """The one spelling of a section's name, or "" for a name that DVC does not have."""
    name = name.lower()
    for kind in _NAMED:
        label = name.strip(" ").removeprefix(kind).strip(" ")
        if name.strip(" ").startswith(kind) and label[:1] == '"' and len(label) > 2:
            plain = label[1:-1]
            good = label[-1] == '"' and plain.isprintable() and not any(q in plain for q in _QUOTES)
            return f"{kind} {label}" if good else ""
    return name if _is_word(name) and name not in _NAMED else ""


def _entry(line: _Line) -> bool:
    """Fill in ``key = value # comment``; whether the line is such a one."""
    text = line.text.removesuffix("\r")
    body = text.lstrip(" \t")
    if body[:1] in _QUOTES:
        key, _, rest = body[1:].partition(body[0])
        _, equals, value = rest.partition("=")
        equals = equals if rest.lstrip(" \t")[:1] == "=" else ""
    else:
        key, equals, value = body.partition("=")
        key = key.rstrip(" \t")
    if not equals or not _is_word(key):
        return False
    line.key = key.lower()
    line.head = text[: len(text) - len(value)]
    value = value.lstrip(" \t")
    if value[:1] in _QUOTES:
        line.value, closed, line.tail = value[1:].partition(value[0])
        # A quote in the comment would make configobj look for a list.
        if not closed or value[0] in line.tail or not _is_blank(line.tail):
            return False
    else:
        line.value = value.partition("#")[0].rstrip(" \t")
        line.tail = value[len(line.value) :]
        if "," in line.value:
            return False  # a list
    return "%(" not in line.value  # configobj would put another value in


def _changed(line: _Line, new: str, end: str) -> list[str]:
    """A line with another value; its comment moves above it where it could not stay behind."""
    written = _quote(line.key, new)
    if written[0] in _QUOTES and any(quote in line.tail for quote in _QUOTES):
        return [_indent(line.text) + line.tail.strip() + end, f"{line.head} {written}{end}"]
    return [f"{line.head} {written}{line.tail}{end}"]


def _quote(key: str, value: str) -> str:
    """A value as configobj's ``_quote`` writes it, never in triple quotes."""
    if not value.isprintable() or "%(" in value:
        raise _unwritable(key)
    # Bare where no quote, space, list or comment could be seen in it; else in quotes.
    if value and value == value.strip("'\" ") and "," not in value and "#" not in value:
        return value
    for quote in ('"', "'"):
        if quote not in value:
            return quote + value + quote
    raise _unwritable(key)


def _indent(text: str) -> str:
    return text[: len(text) - len(text.lstrip(" \t"))]


def _is_blank(text: str) -> bool:
    return text.strip(" \t\r")[:1] in ("", "#")


def _is_word(text: str) -> bool:
    return text.replace("-", "_").replace(".", "_").replace("_", "a").isalnum()


def _is_placeholder(value: str) -> bool:
    """Whether a raw value says nothing: empty, empty quotes, only a comment, ``<…>``."""
    bare = value.partition("#")[0].strip()
    inner = bare.strip("'\"")
    return bare in ("", '""', "''") or (inner.startswith("<") and inner.endswith(">"))


def _is_secret_key(key: str) -> bool:
    if key.startswith("ask_"):
        return False  # ask_password is a switch
    return key in _SECRET_KEYS or key.endswith(tuple("_" + name for name in _SECRET_KEYS))


def _has_password(text: str) -> bool:
    """Whether a text holds a URL ``scheme://user:password@host``, or one signed in its query."""
    for part in text.split("://")[1:]:
        user, at, _ = part.partition("/")[0].partition("?")[0].rpartition("@")
        if at and not _is_placeholder(user.partition(":")[2]):
            return True
        # A secret key of S3 may have slashes: key:sec/ret@bucket; host:80/a@b is none.
        login, at, _ = part.partition("@")
        head, colon, rest = login.partition(":")
        lead, slash, _ = rest.partition("/")
        if at and colon and slash and "/" not in head and not lead.isdigit():
            return True
        for field in part.partition("?")[2].lower().split("&"):
            name, _, value = field.partition("=")
            signs = name in ("sig", "x-amz-signature") or _is_secret_key(name)
            if signs and not _is_placeholder(value):
                return True
    return False


def not_read(name: str, number: int, why: str) -> ConfigError:
    """The error for a config that only DVC itself may understand; ``number`` 0: no one line."""
    place = f"{name} line {number}" if number else name
    return ConfigError(
        f"{place} cannot be read: {why}.",
        "dvc config --list --show-origin",
        code="dvc-config-unknown",
        path=name,
    )


def _unwritable(name: str) -> ConfigError:
    # Names the key only: the value may be a secret.
    return ConfigError(
        f"The value of {name!r} cannot be written to DVC's config.",
        "use a value without line ends, without %( and with one kind of quotes",
        code="dvc-config-value",
    )
