"""What a command gives back, and how it tells of progress, without printing either."""

from __future__ import annotations

from mlrepro.dataclass import TYPE_CHECKING, dataclass, field
from mlrepro.errors import MlreproError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_LANES = {"": "", "auto": "", "dvc": "dvc"}


class Reporter:
    """Receives progress; this one is silent. The doors have subclasses that show it.

    May be called from several threads at once, so subclasses lock what they change.
    """

    def step(self, text: str) -> None:
        """One step that was taken, shown with ``-v``."""

    def note(self, text: str) -> None:
        """One line that a person should see unless ``-q`` was given."""

    def begin(self, label: str, total: int) -> None:
        """A transfer or hash of ``total`` bytes begins (0: not known)."""

    def advance(self, count: int) -> None:
        """``count`` more bytes of it are done."""

    def end(self) -> None:
        """It has ended."""


def lane_of(environ: Mapping[str, str]) -> str:
    """The lane that ``MLREPRO_LANE`` asks for, as in ``Options``. Raises UsageError."""
    named = environ.get("MLREPRO_LANE", "")
    if named not in _LANES:
        raise UsageError(
            f"MLREPRO_LANE is {named!r}; it can be auto (each lane for what it serves) or dvc "
            "(the DVC lane for everything).",
            "unset MLREPRO_LANE",
            code="lane-unknown",
        )
    return _LANES[named]


@dataclass(frozen=True)
class Options:
    """What holds for every command: see "Everywhere" in the command-line contract."""

    jobs: int = 0  # transfers or hashes at once; 0: chosen by the number of cores
    dry_run: bool = False
    yes: bool = False
    lane: str = ""  # "": each lane for what it serves; "dvc": the DVC lane for everything
    reporter: Reporter = field(default_factory=Reporter)


@dataclass(frozen=True)
class Damage:
    """A blob whose bytes were not those that its name promises.

    ``place``: "cache" or "store"; ``aside``: where it was put ("" where it may not be moved);
    ``mended``: a good copy has its name now.
    """

    oid: str
    place: str
    aside: str
    mended: bool


@dataclass(frozen=True)
class Result:
    """The outcome of one command.

    ``errors`` are the findings and failures that did not stop the others from being served; with
    any of them the command ends with exit code 1. ``damaged``: the blobs that were found to be so
    on the way. Subclasses add fields and ``data``.
    """

    errors: tuple[MlreproError, ...] = ()
    damaged: tuple[Damage, ...] = field(default=(), kw_only=True)

    @property
    def exit_code(self) -> int:
        return 1 if self.errors else 0

    def data(self) -> dict[str, Any]:
        """The ``data`` object of the JSON envelope."""
        return {}


@dataclass(frozen=True)
class HookResult(Result):
    """What a git hook has to say: ``notes`` never stop git, ``errors`` and ``again`` do.

    ``again``: all is done, but git will see it only when the same command is run again.
    """

    notes: tuple[str, ...] = ()
    again: str = ""
    never_fails: bool = False

    @property
    def exit_code(self) -> int:
        return 0 if self.never_fails else 1 if self.errors or self.again else 0
