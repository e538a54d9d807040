"""What a command line came to: exit code, data and errors, and both as the JSON envelope."""

from __future__ import annotations

import os

from mlrepro import redaction
from mlrepro.dataclass import TYPE_CHECKING, dataclass, field

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from mlrepro.errors import MlreproError
    from mlrepro.project import Project

    Show = Callable[[str], str]

ENVELOPE_VERSION = 1
EXIT_BUG, EXIT_INTERRUPTED = 3, 130


_PATHS = frozenset({"path", "pointer", "file", "before"})
_PATH_LISTS = frozenset(
    {"restored", "kept", "unchanged", "created", "changed", "resolved", "conflicts"}
)
# What a file says, rather than where it is, is passed on as it stands.
_CONTENT = frozenset({"value", "old", "new", "rows", "model", "members"})


@dataclass(frozen=True)
class Outcome:
    """How a command ended; ``lines`` say it to a person, ``show`` writes paths as they would.

    ``failed`` tells a command that broke off from one that ran and found something.
    """

    command: str
    exit_code: int = 0
    data: dict[str, Any] = field(default_factory=dict)
    errors: tuple[MlreproError, ...] = ()
    lines: tuple[str, ...] = ()
    show: Show = str
    failed: bool = False

    @property
    def status(self) -> str:
        """One word for it: ok, findings or error."""
        if self.failed:
            return "error"
        return "findings" if self.exit_code else "ok"

    def envelope(self) -> str:
        """The one line of JSON that a program reads: ASCII, so that no name can spoil it."""
        import json

        return json.dumps(
            {
                "version": ENVELOPE_VERSION,
                "command": self.command,
                "status": self.status,
                "exit_code": self.exit_code,
                "data": localized(self.data, self.show),
                "errors": self.told(),
            }
        )

    def told(self) -> list[dict[str, str]]:
        """The errors as the envelope carries them, every path in them written by ``show``.

        No secret is in them, whoever wrote the words.
        """
        if not self.errors:
            return []
        import json

        told = [_told(error, self.show) for error in self.errors]
        without: list[dict[str, str]] = json.loads(redaction.shown(json.dumps(told)))
        return without


def _told(error: MlreproError, show: Show) -> dict[str, str]:
    about = error.as_dict()
    if not error.path:
        return about
    import re  # only on the way to a message

    # In its words, an error names its path, or the pointer of it, relative to the top, too.
    path = re.escape(error.path.removesuffix(".dvc"))
    named = re.compile(rf"(?<![\w./-]){path}(?:\.dvc)?(?!\.?[\w/-])")
    for part in ("message", "hint"):
        about[part] = named.sub(lambda found: show(found[0]), about[part])
    about["path"] = show(error.path)
    return about


def shower(project: Project | None) -> Show:
    """How paths, which commands give relative to the top, are written relative to ``cwd``.

    Absolute ones inside the worktree are, too; outside of it, and without a project, they stay.
    """
    if project is None:
        return str
    inside = project

    def show(path: str) -> str:
        if not path or (os.path.isabs(path) and not path.startswith(inside.root + os.sep)):
            return path
        return inside.show(path)

    return show


def localized(data: Any, show: Show) -> Any:
    """``data`` of the envelope with every path in it written by ``show``."""
    if isinstance(data, dict):
        return {key: _localized_value(key, value, show) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [localized(item, show) for item in data]
    return data


def _localized_value(key: str, value: Any, show: Show) -> Any:
    if key in _CONTENT:
        return value
    if key in _PATHS and isinstance(value, str):
        return show(value)
    if key in _PATH_LISTS and isinstance(value, list | tuple):
        return [show(item) if isinstance(item, str) else localized(item, show) for item in value]
    return localized(value, show)
