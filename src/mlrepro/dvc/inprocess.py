"""Calls DVC inside this process so that nothing but the outcome is left of it."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from mlrepro import durable
from mlrepro.dvc import overrides
from mlrepro.dvc.failures import is_foreign, translate
from mlrepro.errors import MlreproError, RepositoryError
from mlrepro.lock import Lock

OLDEST, TOO_NEW = (3, 50), (4, 0)
_LOGGERS = ("dvc", "dvc_objects", "dvc_data", "asyncio", "aiohttp")
_BARS = ("dvc.progress", "dvc_data.callbacks")  # loggers by whose level progress bars are shown
# Set by git for its hooks: DVC reads the repository at the root, and never its index.
_GIT_NAMES = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX",
    "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_NAMESPACE",
)  # fmt: skip
_ENVIRON = {"DVC_NO_ANALYTICS": "1", "DVC_STUDIO_OFFLINE": "1", "DVC_IGNORE_ISATTY": ""}
# Else gcsfs asks first, by another protocol, for kinds of buckets that matter little to blobs: with
# a server of one's own that takes a minute. Who has such a bucket sets it to true.
_UNLESS_SAID = {"GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}
_SITE = "mlrepro-site"


def version() -> str:
    """The installed DVC's version, without importing it. Raises MlreproError ``dvc-missing``."""
    from importlib.metadata import PackageNotFoundError, version as of

    try:
        return of("dvc")
    except PackageNotFoundError:
        raise MlreproError(
            "DVC is not installed.", 'pip install "dvc>=3.50,<4"', code="dvc-missing"
        ) from None


@contextmanager
def calling(*, remote: str = "", path: str = "") -> Iterator[list[logging.LogRecord]]:
    """Within it, DVC may be imported and called; yields what it logs as warning or worse.

    Afterwards streams, loggers, environment and threads are as they were: DVC wraps the streams,
    adds four log handlers, and starts a thread for its progress bars. Nothing is printed, nobody is
    asked, and every exception that is DVC's comes out as a MlreproError (``remote`` and ``path``
    say what it is about). Not for two threads at once.
    """
    records: list[logging.LogRecord] = []
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # its own and its libraries'; nothing a user can act on
        said = {name: os.environ.get(name, value) for name, value in _UNLESS_SAID.items()}
        stack.enter_context(_environ({**_ENVIRON, **said, **dict.fromkeys(_GIT_NAMES, "")}))
        stack.enter_context(_loggers_kept())
        try:
            _import()
            _collect(records)
            stack.callback(_uncollect, records)
            stack.enter_context(overrides.quiet())
            stack.enter_context(overrides.without_prompts())
            stack.enter_context(overrides.whole_files())
            stack.enter_context(overrides.bounded_yaml())
            stack.enter_context(overrides.bounded_rules())
            yield records
        except MlreproError:
            raise
        except Exception as error:
            if not is_foreign(error):
                raise
            raise translate(error, remote=remote, path=path) from error


@contextmanager
def opened(root: str, remotes: Mapping[str, Mapping[str, str]] | None = None) -> Iterator[Any]:
    """DVC's ``Repo`` at ``root``, for one thread: it stages nothing in git and trusts no memory.

    What DVC remembers of earlier runs (which files were hashed, what a store holds) is what makes
    it skip a store that was wiped, so each session begins with an empty one, which ends with it.
    Raises RepositoryError and what ``calling`` does.
    """
    dvc_dir = os.path.join(root, ".dvc")
    for folder in (dvc_dir, os.path.join(dvc_dir, "tmp")):
        if os.path.islink(folder):  # it could lead anywhere, and is written to
            raise RepositoryError(
                f"A symbolic link stands for a folder of DVC's: {folder}",
                f"Replace it by a folder: rm {folder}",
                code="dvc-folder-link",
            )
    if not os.path.isdir(dvc_dir):  # DVC would climb to a repository around this one
        raise RepositoryError(
            f"No DVC repository here: {root}", "mlrepro init", code="not-a-dvc-repository"
        )
    with _site_cache(os.path.join(dvc_dir, "tmp", _SITE)) as site:
        with calling(), _environ({"DVC_SITE_CACHE_DIR": site, **_user()}):
            from dvc.repo import Repo

            more = {name: dict(options) for name, options in (remotes or {}).items()}
            core = {"autostage": False, "site_cache_dir": site}
            repo = Repo(root, config={"core": core, "remote": more})
        try:
            yield repo
        finally:
            with calling():
                repo.close()
                if "dvc.repo.open_repo" in sys.modules:
                    sys.modules["dvc.repo.open_repo"].clean_repos()  # clones, made for imports


def require_version() -> None:
    """Raise MlreproError ``dvc-missing``, or ``dvc-version`` where DVC does not fit."""
    number = version()
    parts = tuple(int(part) for part in number.split(".")[:2] if part.isdigit())
    if not OLDEST <= parts < TOO_NEW:
        raise MlreproError(
            f"DVC {number} does not fit: mlrepro works with 3.50 and newer, below 4.",
            'pip install "dvc>=3.50,<4"',
            code="dvc-version",
        )


def _import() -> None:
    if "dvc" in sys.modules:
        return
    require_version()
    from colorama import initialise  # type: ignore[import-untyped]

    streams, wrapped = (sys.stdout, sys.stderr), initialise.atexit_done
    try:
        import dvc.logger  # noqa: F401
    finally:
        sys.stdout, sys.stderr = streams
    if not wrapped:  # colorama would write an escape code to the terminal at the end
        atexit.unregister(initialise.reset_all)


@contextmanager
def _environ(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    try:
        for name, value in values.items():
            if value:
                os.environ[name] = value
            else:
                os.environ.pop(name, None)
        yield
    finally:
        for name, old in before.items():
            if old is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = old


def _user() -> dict[str, str]:
    """A name for a user who has none (as in a container): DVC asks for one and fails without."""
    import getpass

    try:
        getpass.getuser()
    except (KeyError, OSError, ImportError):
        return {"LOGNAME": f"uid{os.getuid()}"}
    return {}


class _Collector(logging.Handler):
    """Keeps records instead of showing them."""

    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__(logging.WARNING)
        self.records = records

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextmanager
def _loggers_kept() -> Iterator[None]:
    """Leave the loggers that DVC changes, already by being imported, as they were."""
    loggers = [logging.getLogger(name) for name in (*_LOGGERS, *_BARS)]
    before = [(one, one.handlers[:], one.level, one.propagate) for one in loggers]
    try:
        yield
    finally:
        for logger, handlers, level, propagate in before:
            logger.handlers[:], logger.propagate = handlers, propagate
            logger.setLevel(level)


def _collect(records: list[logging.LogRecord]) -> None:
    """Collect what DVC logs, and what its libraries would print for want of a handler."""
    collector = _Collector(records)
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers[:], logger.propagate = [collector], False
        logger.setLevel(logging.WARNING)
    for name in _BARS:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    logging.getLogger().addHandler(collector)


def _uncollect(records: list[logging.LogRecord]) -> None:
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, _Collector) and handler.records is records:
            root.removeHandler(handler)


@contextmanager
def _site_cache(base: str) -> Iterator[str]:
    """A folder for what DVC remembers within one session; clears away those of dead ones."""
    os.makedirs(base, exist_ok=True)
    for name in os.listdir(base):
        if name.endswith(".lock"):
            try:
                with Lock(os.path.join(base, name), wait=0) as lock:
                    if lock.real:
                        _remove_site(base, name.removesuffix(".lock"))
            except OSError:
                continue  # its session is alive
    name = f"{os.getpid()}-{os.urandom(4).hex()}"
    with Lock(os.path.join(base, name + ".lock"), wait=-1):
        try:
            yield os.path.join(base, name)
        finally:
            _remove_site(base, name)


def _remove_site(base: str, name: str) -> None:
    shutil.rmtree(os.path.join(base, name), ignore_errors=True)
    durable.discard(os.path.join(base, name + ".lock"))
