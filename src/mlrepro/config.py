"""The project's own config, ``config/config.py``, read as text and checked at the border."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, cast
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, ValidationInfo
from pydantic_core import PydanticCustomError

from mlrepro import literal
from mlrepro.dataclass import dataclass
from mlrepro.errors import ConfigError
from mlrepro.literal import Names, Unreadable

CONFIG_FILE = "config/config.py"
MAX_GIT_FILE_BYTES = 5_000_000

_FORMS = (
    "write it with strings, Path(...), /, .parent, os.path.join, os.environ.get or an f-string, "
    'as in BLOB_STORE = Path(__file__).parent.parent / "stores" / "blob"'
)

_SET_IT = 'set it, or give a value to use where it is not: os.environ.get("NAME", "value")'

# What `mlrepro init` writes where there is no config/config.py.
TEMPLATE = '''\
"""Where this project keeps its things. mlrepro reads this file as text and never runs it."""

from pathlib import Path

# Folders. All of them hang on the place of this file, so the project works wherever it lies.
BASE_DIR = Path(__file__).parent.parent.absolute()
CONFIG_DIR = Path(BASE_DIR, "config")
DATA_DIR = Path(BASE_DIR, "data")
STORES_DIR = Path(BASE_DIR, "stores")
LOGS_DIR = Path(BASE_DIR, "logs")

# The blob store: every version of your data and models is kept here.
# A folder, best on another disk or a network drive, or a URL such as "s3://my-bucket/my-project".
BLOB_STORE = Path(STORES_DIR, "blob")

# New files that `mlrepro track` picks up by itself, as patterns from the top of the repository.
TRACK = [
    # "data/*.csv",
    # "models/*.pt",
]

# A larger file is not let into git itself; it belongs into the blob store. In bytes.
# MAX_GIT_FILE_BYTES = 5_000_000
'''


@dataclass(frozen=True)
class Config:
    """What the project wants.

    ``blob_store`` is an absolute path or a URL; ``track`` holds globs relative to the repository;
    ``data_dir`` is relative to it where it lies inside, else absolute; ``max_git_file_bytes`` is
    the largest file that may go into git; ``has_file`` says whether config/config.py is there.
    """

    blob_store: str
    track: tuple[str, ...] = ()
    data_dir: str = "data"
    max_git_file_bytes: int = MAX_GIT_FILE_BYTES
    has_file: bool = True

    @property
    def is_url(self) -> bool:
        """Whether the blob store is a URL, not a folder."""
        return is_url(self.blob_store)


def load(project_root: str, environ: Mapping[str, str], text: str | None = None) -> Config:
    """Read the config of the repository at ``project_root`` (absolute), or ``text`` in its place.

    A relative BLOB_STORE is taken from the top of the repository. Raises ConfigError with code
    ``config-missing`` (no such file), ``config-syntax``, ``config-no-blob-store``,
    ``config-unreadable`` (a name that is used has a form that is not read) or ``config-invalid``.
    """
    has_file = os.path.lexists(os.path.join(project_root, CONFIG_FILE))
    if text is None:
        text = _read(project_root)
    names = _names(text, os.path.join(project_root, CONFIG_FILE), environ)
    given = {}
    for name in _File.model_fields:
        stopped = names.unreadable.get(name)
        if name not in names.values and name == "BLOB_STORE":
            stopped = stopped or names.unreadable.get("*")
        if stopped is not None:
            raise _not_read(name, stopped)
        if name in names.values:
            given[name] = names.values[name]
    if "BLOB_STORE" not in given:
        raise ConfigError(
            f"{CONFIG_FILE} does not say where the blob store is.",
            'add a line such as BLOB_STORE = Path(__file__).parent.parent / "stores" / "blob"',
            code="config-no-blob-store",
            path=CONFIG_FILE,
        )
    try:
        file = _File.model_validate(given, context=_Place(project_root, environ.get("HOME", "~")))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ConfigError(
            f"{first['loc'][0]} in {CONFIG_FILE} {first['msg']}.",
            f"edit {CONFIG_FILE}",
            code="config-invalid",
            path=CONFIG_FILE,
        ) from error
    return Config(
        blob_store=file.BLOB_STORE,
        track=file.TRACK,
        data_dir=file.DATA_DIR,
        max_git_file_bytes=file.MAX_GIT_FILE_BYTES,
        has_file=has_file,
    )


def is_url(text: str) -> bool:
    """Whether a text begins with a scheme such as ``s3://``."""
    scheme, colon, _ = text.partition("://")
    plain = scheme.translate(str.maketrans("", "", "+.-"))
    return bool(colon) and scheme[:1].isalpha() and plain.isascii() and plain.isalnum()


def _names(text: str, filename: str, environ: Mapping[str, str]) -> Names:
    return literal.read_names(text, filename, environ, CONFIG_FILE)


def _read(root: str) -> str:
    """The text of config/config.py; never follows a symlink out of the repository."""
    path = os.path.join(root, CONFIG_FILE)
    try:
        outside = os.path.commonpath([os.path.realpath(path), os.path.realpath(root)])
        if outside != os.path.realpath(root):
            raise _invalid("is a symlink that leads out of the repository")
        # Not blocking: a FIFO in its place must not hang.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise _invalid("is not a regular file")
            with open(handle, "rb", closefd=False) as file:
                data = file.read(literal.MAX_SOURCE + 1)
        finally:
            os.close(handle)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ConfigError(
            f"This project has no {CONFIG_FILE}.",
            "mlrepro init",
            code="config-missing",
            path=CONFIG_FILE,
        ) from error
    except OSError as error:
        raise _invalid(f"cannot be opened: {error.strerror}") from error
    return literal.decode(data, CONFIG_FILE)


def _invalid(what: str) -> ConfigError:
    return ConfigError(
        f"{CONFIG_FILE} {what}.", f"ls -l {CONFIG_FILE}", code="config-invalid", path=CONFIG_FILE
    )


def _not_read(name: str, stopped: Unreadable) -> ConfigError:
    return ConfigError(
        f"{name} cannot be read from {CONFIG_FILE} line {stopped.line}: {stopped.source} "
        f"({stopped.reason}).",
        _SET_IT if stopped.reason.endswith("is not set") else _FORMS,
        code="config-unreadable",
        path=CONFIG_FILE,
    )


def _wrong(what: str) -> PydanticCustomError:
    return PydanticCustomError("config", "{what}", {"what": what})


def _text(value: object, what: str) -> str:
    if not isinstance(value, (str, PurePosixPath)):
        raise _wrong(f"must be {what}")
    text = str(value)
    if not text.strip():
        raise _wrong("is empty")
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise _wrong("holds a line end or another control character")
    return text


@dataclass(frozen=True)
class _Place:
    """Where paths are taken from: the repository's top, and home for ``~``."""

    root: str
    home: str

    def absolute(self, text: str) -> str:
        """The absolute path of a path that may be relative to the repository."""
        if text == "~" or text.startswith("~/"):
            text = self.home + text[1:]
        return os.path.normpath(os.path.join(self.root, os.path.expanduser(text)))

    def inside(self, text: str) -> str:
        """A path or pattern relative to the repository; absolute where it lies outside."""
        path = self.absolute(text)
        within = f"{path}/".startswith(f"{self.root.rstrip('/')}/")
        return os.path.relpath(path, self.root) if within else path


def _place(info: ValidationInfo) -> _Place:
    return cast("_Place", info.context)


def _blob_store(value: object, info: ValidationInfo) -> str:
    text = _text(value, "a path or a URL")
    scheme = text.partition("/")[0]
    if isinstance(value, PurePosixPath) and len(scheme) > 2 and is_url(scheme + "//"):
        raise _wrong(f"is a URL in Path(), which takes a slash away; write {scheme}// as a string")
    if is_url(text) and not text.lower().startswith("file://"):
        scheme, _, rest = text.partition("://")
        return f"{scheme.lower()}://{rest}"
    if is_url(text):
        url = urlsplit(text)
        if url.netloc not in ("", "localhost") or not url.path:
            raise _wrong("is a file:// URL with a host; write file:///path")
        text = _text(unquote(url.path), "a path")
    place = _place(info)
    path = place.absolute(text)
    if place.inside(path) == "." or place.inside(path).partition("/")[0] == ".git":
        raise _wrong("must be a folder of its own, not the repository or its .git")
    return path


def _track(value: object, info: ValidationInfo) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple, set)):
        raise _wrong('must be a list of patterns, such as ["data/*.csv"]')
    found: dict[str, None] = {}
    for item in value if not isinstance(value, set) else sorted(value, key=str):
        pattern = _place(info).inside(_text(item, "a list of strings"))
        if pattern.startswith("/") or pattern == ".":
            raise _wrong(f"has a pattern that is not inside the repository: {item}")
        found[pattern] = None
    return tuple(found)


def _data_dir(value: object, info: ValidationInfo) -> str:
    return _place(info).inside(_text(value, "a path"))


def _bytes(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value // 1:
        raise _wrong("must be a whole number of bytes")
    if not 0 < value < 1 << 63:
        raise _wrong("must be larger than 0")
    return int(value)


class _File(BaseModel):
    """The names of config/config.py that are used, as the file gives them."""

    model_config = ConfigDict(frozen=True, strict=True)

    BLOB_STORE: Annotated[str, BeforeValidator(_blob_store)]
    TRACK: Annotated[tuple[str, ...], BeforeValidator(_track)] = ()
    DATA_DIR: Annotated[str, BeforeValidator(_data_dir)] = "data"
    MAX_GIT_FILE_BYTES: Annotated[int, BeforeValidator(_bytes)] = MAX_GIT_FILE_BYTES
