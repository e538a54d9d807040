"""The one tree of errors: what went wrong, what to type next, and a stable code."""

from __future__ import annotations

# Only builtins here: the hook imports this module on its no-change path.

HOLDS, STALE = 17, 18  # what a seal has a shell end with, which the hook has to know: see `sealing`


class MlreproError(Exception):
    """Something a person can act on.

    ``message`` says what happened in one line, ``hint`` the command that mends it, ``code`` is a
    stable kebab-case word for programs. ``path``, ``oid``, ``commit``, ``author`` and ``date``
    name what it is about, where known. Constructing one never prints.
    """

    exit_code = 1
    default_code = "error"

    def __init__(
        self,
        message: str,
        hint: str = "",
        code: str = "",
        *,
        path: str = "",
        oid: str = "",
        commit: str = "",
        author: str = "",
        date: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code or self.default_code
        self.path = path
        self.oid = oid
        self.commit = commit
        self.author = author
        self.date = date

    def as_dict(self) -> dict[str, str]:
        """The error as the JSON envelope carries it: empty details are left out."""
        about = {"code": self.code, "message": self.message, "hint": self.hint}
        for name in ("path", "oid", "commit", "author", "date"):
            value = getattr(self, name)
            if value:
                about[name] = value
        return about


class UsageError(MlreproError):
    """The command line is wrong (exit 2)."""

    exit_code = 2
    default_code = "usage"


class RepositoryError(MlreproError):
    """Not a git or DVC repository, or one in a state that does not allow the command."""

    default_code = "not-a-repository"


class ConfigError(MlreproError):
    """``config/config.py`` or ``.dvc/config`` cannot be read or says something impossible."""

    default_code = "config-invalid"


class PathError(MlreproError):
    """A path that cannot be tracked, or is not what the command expects."""

    default_code = "path-invalid"


class PointerError(MlreproError):
    """A pointer file or folder listing that cannot be read."""

    default_code = "pointer-invalid"


class PointerUnknown(PointerError):
    """A pointer that may be valid, but says more than the fast lane's strict grammar knows."""

    default_code = "pointer-unknown"


class StoreError(MlreproError):
    """The store cannot be used: missing, read-only, full, not a folder, out of reach."""

    default_code = "store-failed"


class BlobMissing(MlreproError):
    """A blob that is needed is in neither cache nor store."""

    default_code = "blob-missing"


class BlobCorrupt(MlreproError):
    """The bytes under a blob's name are not the bytes that its name promises."""

    default_code = "blob-corrupt"


class FileChanging(MlreproError):
    """A file kept changing while it was read, so no version of it could be saved."""

    default_code = "file-changing"


class Refused(MlreproError):
    """An action that would lose or mix something, and was therefore not begun."""

    default_code = "refused"


class ProcessError(MlreproError):
    """A program that was started failed; carries ``argv``, ``returncode`` and ``stderr``."""

    default_code = "process-failed"

    def __init__(
        self, argv: list[str], returncode: int, stderr: str, *, hint: str = "", code: str = ""
    ) -> None:
        last = stderr.strip().splitlines()[-1:] or [f"exit code {returncode}"]
        super().__init__(f"{' '.join(argv[:2])} failed: {last[0]}", hint, code)
        self.argv = argv
        self.returncode = returncode
        self.stderr = stderr
