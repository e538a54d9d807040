"""What a person says of a store, sorted: what git may track of it, and what is a secret."""

from __future__ import annotations

import os
import re
from urllib.parse import unquote

from mlrepro import dvcini, redaction
from mlrepro.dataclass import TYPE_CHECKING, dataclass, field
from mlrepro.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SCHEMES = (
    "s3", "gs", "azure", "ssh", "webdav", "webdavs", "http", "https", "hdfs", "webhdfs", "oss",
    "gdrive",
)  # fmt: skip
# Which kinds of store have an option of that name, and what DVC calls it (dvc.config_schema).
_FLAGS = {
    "endpoint_url": ("endpointurl", ("s3", "gs")),
    "region": ("region", ("s3",)),
    "profile": ("profile", ("s3", "gdrive")),
}
_USER_IN_URL = ("ssh", "hdfs")
_USER_AS_OPTION = ("webdav", "webdavs", "http", "https", "webhdfs")
_CONNECTION_STRING = re.compile(r"(AccountKey|SharedAccessSignature|AccountName)=", re.IGNORECASE)
_PORT = re.compile(r"\d+(/|$)")


@dataclass(frozen=True)
class Address:
    """Where a store is.

    ``url``: an absolute path, or a URL without secrets; ``options``: more that DVC is to know of
    it, by DVC's names; ``secrets``: the same, but for ``.dvc/config.local`` alone; ``exposed``:
    one of them was part of the URL that was typed.
    """

    url: str
    options: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    exposed: bool = False

    @property
    def scheme(self) -> str:
        """The kind of store; "" for a folder."""
        return scheme_of(self.url)


def scheme_of(url: str) -> str:
    """The scheme of a URL, "" for a path."""
    scheme, colon, _ = url.partition("://")
    return scheme.lower() if colon else ""


def parse(
    text: str,
    cwd: str,
    *,
    flags: Mapping[str, str | None] | None = None,
    options: Sequence[str] = (),
    secrets: Mapping[str, str] | None = None,
) -> Address:
    """Sort what was said: ``text`` is the URL or path, seen from ``cwd``.

    ``flags``: endpoint_url, region, profile; ``options``: KEY=VALUE, by DVC's names; ``secrets``:
    by key. Raises UsageError for what makes no sense, ConfigError ``secret-in-url`` for a secret
    that has no place of its own, which is then written nowhere.
    """
    if "://" not in text and _CONNECTION_STRING.search(text):
        raise _refused("An Azure connection string holds a key", "connection_string")
    if not text.strip() or not text.isprintable():
        raise UsageError("The store's URL is empty, or not printable.", "mlrepro remote set URL")
    scheme = scheme_of(text)
    if scheme in ("", "file"):
        path = unquote(text[7:]) if scheme else os.path.expanduser(text)
        address = Address(os.path.normpath(os.path.join(cwd, path)))
    elif scheme not in SCHEMES:
        raise UsageError(
            f"No store is of the kind {scheme}://.", f"a folder, or one of {', '.join(SCHEMES)}"
        )
    else:
        address = _without_secrets(scheme, text.partition("://")[2].rstrip("/"))
    known = dict(address.options)
    known.update(_of_flags(address.scheme, flags or {}))
    known.update(_of_options(options))
    kept = {**address.secrets, **_checked(secrets or {})}
    if not address.scheme and (known or kept):
        raise UsageError("A folder takes no such options.", "mlrepro remote set PATH")
    return Address(address.url, known, kept, address.exposed)


def _without_secrets(scheme: str, rest: str) -> Address:
    url, options, secrets = f"{scheme}://{rest}", dict[str, str](), dict[str, str]()
    place, question, query = rest.partition("?")
    if question and dvcini.find_secrets(f"url = x://x?{query}".encode()):
        if scheme != "azure":
            redaction.know(*(part.partition("=")[2] for part in query.split("&")))
            raise _refused("The URL is signed", "")
        secrets["sas_token"] = f"?{query}"
        rest, url = place, f"{scheme}://{place}"
    # A secret key of S3 may have slashes, a bucket's name no colon; elsewhere a path begins there.
    pattern = r"([^/@:]*):([^@]+)@(.*)" if scheme == "s3" else r"([^/@:]*):([^/]*)@(.*)"
    login = re.fullmatch(pattern, rest)
    if login is not None and not (scheme == "s3" and _PORT.match(login[2])):
        user, password, place = login.groups()
        redaction.know(password, unquote(password))
        if scheme == "s3":
            secrets["access_key_id"] = unquote(user)
            secrets["secret_access_key"] = unquote(password)
            url = f"{scheme}://{place}"
        elif scheme in _USER_IN_URL or scheme in _USER_AS_OPTION:
            secrets["password"] = unquote(password)
            url = f"{scheme}://{user}@{place}"
            if scheme in _USER_AS_OPTION:
                url, options["user"] = f"{scheme}://{place}", unquote(user)
            if scheme in ("http", "https"):
                options["auth"] = "basic"
        else:
            raise _refused("The URL holds a password", "")
    if not url.partition("://")[2].strip("/"):
        raise UsageError(f"{scheme}:// names no bucket or host.", "mlrepro remote set URL")
    redaction.know(*secrets.values())
    return Address(url, options, secrets, bool(secrets))


def _refused(what: str, key: str) -> ConfigError:
    read = f"mlrepro remote set URL --secret {key or 'KEY'}"
    return ConfigError(
        f"{what}, and others can read a command line; nothing was changed.",
        f"{read} reads it from standard input; or set it in the environment",
        code="secret-in-url",
    )


def _of_flags(scheme: str, flags: Mapping[str, str | None]) -> dict[str, str]:
    found = {}
    for flag, value in flags.items():
        if value is None:
            continue
        key, kinds = _FLAGS[flag]
        if scheme not in kinds:
            said = flag.replace("_", "-")
            raise UsageError(f"--{said} is for {', '.join(kinds)} only.", "mlrepro remote --help")
        found[key] = _harmless(key, value)
    return found


def _of_options(options: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in options:
        key, equals, value = text.partition("=")
        key = key.strip().lower()
        if not equals or not key.replace("_", "a").isalnum() or key == "url":
            raise UsageError("--option takes KEY=VALUE.", "mlrepro remote --help")
        found[key] = _harmless(key, value)
    return found


def _harmless(key: str, value: str) -> str:
    if dvcini.find_secrets(f"{key} = {value}".encode()):
        redaction.know(value)
        raise _refused(f"{key} is a secret" if is_secret(key) else f"{key} holds a secret", key)
    return value


def _checked(secrets: Mapping[str, str]) -> dict[str, str]:
    redaction.know(*secrets.values())
    for key, value in secrets.items():
        if not is_secret(key):
            raise UsageError(f"{key} is no secret.", f"mlrepro remote set URL --option {key}=VALUE")
        if not value:
            raise UsageError(
                f"Standard input has no line for {key}.", "one line for each --secret, in its order"
            )
    return dict(secrets)


def is_secret(key: str) -> bool:
    """Whether DVC's option of that name holds a secret itself."""
    return bool(dvcini.find_secrets(f"{key} = x".encode()))
