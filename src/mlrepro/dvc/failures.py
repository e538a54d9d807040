"""Says in one plain line what went wrong in DVC, or in what carries its bytes."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator

from mlrepro.dvc import answers
from mlrepro.dvc.answers import is_of, missing_remote as missing_remote, plain as plain
from mlrepro.errors import (
    BlobCorrupt,
    BlobMissing,
    ConfigError,
    MlreproError,
    PathError,
    PointerError,
    Refused,
    RepositoryError,
    StoreError,
)

# Classes are told by name, so that nothing has to be imported in order to ask: what carries the
# bytes (aiohttp, botocore, asyncssh, azure, google) is there only with its extra.

_Meaning = tuple[type[MlreproError], str, str, str]  # class, code, message ("": DVC's), hint

_OF_DVC: dict[str, _Meaning] = {
    "LockError": (
        RepositoryError, "dvc-locked", "Another DVC command is at work in this repository.",
        "Wait until it has ended, then run this again",
    ),
    "NotDvcRepoError": (
        RepositoryError, "not-a-dvc-repository", "There is no DVC repository here.", "mlrepro init",
    ),
    "RWLockFileCorruptedError": (
        RepositoryError, "dvc-lock-damaged", "DVC's lock file .dvc/tmp/rwlock is damaged.",
        "rm .dvc/tmp/rwlock",
    ),
    "RWLockFileFormatError": (
        RepositoryError, "dvc-lock-damaged", "DVC's lock file .dvc/tmp/rwlock is damaged.",
        "rm .dvc/tmp/rwlock",
    ),
    "NoRemoteError": (
        StoreError, "no-remote", "No store is set for this repository.", "mlrepro remote set URL",
    ),
    "RemoteNotFoundError": (StoreError, "no-remote", "", "mlrepro remote set URL"),
    "RemoteConfigError": (ConfigError, "dvc-config-invalid", "", "mlrepro remote show"),
    "ConfigError": (ConfigError, "dvc-config-invalid", "", "Mend .dvc/config"),
    "OutputAlreadyTrackedError": (
        PathError, "path-in-git", "It is in git already, so it cannot be tracked as data.",
        "git rm -r --cached PATH, then run this again",
    ),
    "OverlappingOutputPathsError": (
        PathError, "path-overlaps", "It overlaps with a path that is tracked already.",
        "Track one of the two",
    ),
    "OutputDuplicationError": (
        PathError, "path-tracked-twice", "Two pointers name it.", "Remove one of them",
    ),
    "StagePathAsOutputError": (
        PathError, "path-overlaps", "It lies within a path that is tracked already.",
        "Track one of the two",
    ),
    "OutputIsIgnoredError": (
        PathError, "path-ignored", "A .dvcignore file leaves it out.", "Change .dvcignore",
    ),
    "IgnoreInCollectedDirError": (
        PathError, "path-ignore-file", "A .dvcignore file lies inside the folder.",
        "Move that file to a folder above",
    ),
    "FileIsGitIgnored": (
        PathError, "pointer-ignored", "Git ignores its pointer file.",
        "Change the .gitignore file that leaves it out",
    ),
    "OutputDoesNotExistError": (PathError, "path-missing", "It is not there.", "mlrepro pull"),
    "OutputIsNotFileOrDirError": (
        PathError, "path-not-regular", "It is neither a file nor a folder.", "Leave it out",
    ),
    "OutputIsStageFileError": (
        PathError, "path-reserved", "A name that ends in .dvc is a pointer's.", "Rename it",
    ),
    "StageFileDoesNotExistError": (PointerError, "pointer-missing", "", "git checkout -- POINTER"),
    "StageNotFound": (PointerError, "stage-missing", "", "Look into dvc.yaml"),
    "YAMLValidationError": (PointerError, "pointer-invalid", "", "Restore it from git"),
    "YAMLSyntaxError": (PointerError, "pointer-invalid", "", "Restore it from git"),
    "YAMLFileCorruptedError": (PointerError, "pointer-invalid", "", "Restore it from git"),
    "EncodingError": (PointerError, "pointer-invalid", "", "Restore it from git"),
    "CheckoutError": (
        BlobMissing, "blob-missing", "Its content could not be put in place.", "mlrepro pull",
    ),
    "ObjectFormatError": (
        BlobCorrupt, "blob-corrupt", "A blob is damaged.", "mlrepro verify --repair",
    ),
}  # fmt: skip


def translate(error: BaseException, *, remote: str = "", path: str = "") -> MlreproError:
    """The error of ours that says what ``error`` means.

    ``remote`` names the store that was being asked, so that an OSError is the store's; ``path``
    is what it is about.
    """
    if isinstance(error, MlreproError):
        return error
    links = list(_chain(error))
    found: MlreproError | None = _missing_extra(links)
    if found is None and remote:
        found = answers.meaning(links, remote)
    if found is None:
        found = _of_dvc(links) or _of_system(links, remote)
    if found is None:
        about = plain(error)
        if not is_of(error, "DvcException"):
            about = f"DVC failed: {about}"
        found = MlreproError(about, "Run it with -v to see more", code="dvc-failed")
    found.path = found.path or path
    return found


def is_foreign(error: BaseException) -> bool:
    """Whether an exception comes from DVC or what it stands on, and not from a bug of ours."""
    if isinstance(error, OSError | ImportError) or _root(type(error).__module__) == "obstore":
        return True  # the latter's own code leaves no trace
    names = [type(error).__module__]
    step = error.__traceback__
    while step is not None:
        name = str(step.tb_frame.f_globals.get("__name__", ""))
        names = [] if _root(name) == "mlrepro" else [*names, name]
        step = step.tb_next
    return any(_root(name) not in sys.stdlib_module_names for name in names)


def _root(module: str) -> str:
    return module.partition(".")[0]


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and what it was raised from, outermost first."""
    for _ in range(12):
        if error is None:
            return
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _missing_extra(links: list[BaseException]) -> StoreError | None:
    for error in links:
        extra = ""
        if is_of(error, "RemoteMissingDepsError"):
            extra = str(getattr(error, "protocol", ""))
        elif isinstance(error, ImportError):
            # dvc_objects.fs.Registry: "s3 is supported, but requires 'dvc-s3' to be installed"
            extra = str(error).partition(" is supported, but requires ")[0]
            extra = extra if extra.isalnum() else ""
        if extra:
            return missing_extra(extra)
    return None


def _of_dvc(links: list[BaseException]) -> MlreproError | None:
    for error in links:
        for base in type(error).__mro__:
            if base.__name__ not in _OF_DVC or _root(base.__module__) in sys.stdlib_module_names:
                continue
            kind, code, message, hint = _OF_DVC[base.__name__]
            return kind(message or plain(error), hint, code=code)
        if "Can't remove the following unsaved files" in str(error):
            names = ", ".join(str(error).splitlines()[1:])
            return Refused(
                f"These hold changes that are not saved: {names}", "mlrepro track", code="unsaved"
            )
    return None


def missing_extra(scheme: str) -> StoreError:
    """The error for a kind of store whose libraries are not installed."""
    extra = {"webdavs": "webdav", "https": "http", "gcs": "gs", "sftp": "ssh"}.get(scheme, scheme)
    package = "mlrepro" if extra in _EXTRAS else "dvc"
    return StoreError(
        f"What {extra} stores need is not installed.",
        f'pip install "{package}[{extra}]"',
        code="remote-extra-missing",
    )


_EXTRAS = ("s3", "gs", "azure", "ssh", "webdav")  # of mlrepro's own; others are only DVC's
_OF_ERRNO = {
    errno.ENOSPC: ("store-full", "No space is left"),
    errno.EDQUOT: ("store-full", "The quota is used up"),
    errno.EROFS: ("store-read-only", "It is read-only"),
}


def _of_system(links: list[BaseException], remote: str) -> MlreproError | None:
    for error in links:
        if not isinstance(error, OSError):
            continue
        where = f"store {remote}" if remote else str(error.filename or "disk")
        if error.errno in _OF_ERRNO:
            code, says = _OF_ERRNO[error.errno]
            return StoreError(
                f"{says}: {where}", "Make room or choose another, then run this again", code=code
            )
        if remote:
            return StoreError(f"The store {remote} failed: {plain(error)}", "mlrepro remote test")
        if isinstance(error, PermissionError):
            return PathError(f"Access is denied: {where}", "Check its rights", code="path-denied")
        if isinstance(error, FileNotFoundError):
            return PathError(f"It is not there: {where}", "mlrepro pull", code="path-missing")
        return MlreproError(f"The system says: {plain(error)}", code="system")
    return None
