"""What was asked for, once parsed: a verb, its arguments, and the flags of every verb."""

from __future__ import annotations

import os

from mlrepro.dataclass import TYPE_CHECKING, dataclass, field
from mlrepro.errors import UsageError

if TYPE_CHECKING:
    from typing import Any


@dataclass(frozen=True)
class Flags:
    """The global flags of one run; "" stands for the current folder, 0 jobs for as many as fit."""

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    directory: str = ""
    jobs: int = 0
    dry_run: bool = False
    yes: bool = False

    def joined(self, later: Flags) -> Flags:
        """These, given before the verb, with those given after it: ``-C a`` then ``-C b`` is a/b.

        Raises UsageError where the two together make no sense.
        """
        there = os.path.join(self.directory, later.directory) if later.directory else ""
        both = Flags(
            json=self.json or later.json,
            quiet=self.quiet or later.quiet,
            verbose=self.verbose or later.verbose,
            directory=there or self.directory,
            jobs=later.jobs or self.jobs,
            dry_run=self.dry_run or later.dry_run,
            yes=self.yes or later.yes,
        )
        if both.quiet and both.verbose:
            raise UsageError("-q and -v exclude each other.", "leave one of them out")
        return both


@dataclass(frozen=True)
class Call:
    """What was asked for: a verb and the arguments for the ``run`` of the module that serves it.

    ``module`` is a name in ``mlrepro.commands``; "" is the verb's own. ``hook`` holds a git hook's
    name and arguments where git's own door is to be opened instead.
    """

    verb: str
    arguments: dict[str, Any] = field(default_factory=dict)
    module: str = ""
    hook: tuple[str, ...] = ()
    flags: Flags = Flags()


# What is typed all day, and what `make dvc` runs at every commit, is understood here: importing
# Typer, and what it imports to read values, costs more than these verbs do.
_BARE_FLAGS = {
    "--json": "json",
    "-q": "quiet",
    "--quiet": "quiet",
    "-v": "verbose",
    "--verbose": "verbose",
    "--dry-run": "dry_run",
    "-y": "yes",
    "--yes": "yes",
}


def parse_plain(arguments: list[str]) -> Call | None:
    """The call that a plain line means: a frequent verb, bare global flags, names; else None.

    Understands only lines that the full parser understands in the same way.
    """
    words = [word for word in arguments if word not in _BARE_FLAGS]
    if not words or any(word.startswith("-") for word in words):
        return None
    given: dict[str, Any] = {_BARE_FLAGS[word]: True for word in arguments if word in _BARE_FLAGS}
    if "quiet" in given and "verbose" in given:
        return None
    verb, names = words[0], words[1:]
    if verb in ("log", "config") and len(names) > 1:
        return None
    first = names[0] if names else None
    known: dict[str, dict[str, Any]] = {
        "log": {"path": first},
        "config": {"revision": first},
        "diff": {"names": names, "rows": False, "key": None, "markdown": False},
        "track": {"paths": names},
        "push": {"revisions": names, "all_commits": False},
        "pull": {"paths": names, "force": False},
    }
    if verb == "status" and not names:
        return Call(verb, flags=Flags(**given))
    return Call(verb, known[verb], flags=Flags(**given)) if verb in known else None
