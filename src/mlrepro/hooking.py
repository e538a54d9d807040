"""The hooks that have something to do: each is handed to its command, and its outcome is told."""

from __future__ import annotations

import os
import sys

from mlrepro import progress, redaction
from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.errors import UsageError
from mlrepro.result import Options, Reporter, lane_of

if TYPE_CHECKING:
    from mlrepro.project import Project
    from mlrepro.result import HookResult


class _InstalledPackages:
    """Has the interpreter look for installed packages once a module that knows any is imported.

    Git's hooks start it without them: most never need one, and looking for them takes longer than
    all that a commit without changed data does.
    """

    def find_spec(self, name: str, *_: object) -> None:
        if name in ("mlrepro.config", "mlrepro.dvc"):
            sys.meta_path.remove(self)
            import site

            site.main()


def serve(project: Project, name: str, args: list[str]) -> int:
    """Run the hook ``name`` and print what it has to say; returns the exit code for git."""
    if sys.flags.no_site:
        sys.meta_path.insert(0, _InstalledPackages())
    if name == "merge-pointer":
        return _merge(project, args)
    with progress.StreamReporter(sys.stderr) as reporter:
        result = _run(project, name, args, reporter)
    for line in (*result.notes, result.again):
        if line:
            _tell(f"mlrepro: {line}")
    for error in result.errors:
        _tell(f"error: {error.message}")
        if error.hint:
            _tell(f"  hint: {error.hint}")
    return result.exit_code


def _tell(line: str) -> None:
    print(redaction.shown(line), file=sys.stderr)


def _run(project: Project, name: str, args: list[str], reporter: Reporter) -> HookResult:
    options = Options(lane=_lane(), reporter=reporter)
    if name == "pre-commit":
        from mlrepro.commands import pre_commit

        return pre_commit.run(project, options)
    if name == "pre-push":
        from mlrepro.commands import pre_push

        return pre_push.run(project, args, _given(), options)
    from mlrepro.commands import follow

    return follow.run(project, name, args, options)


def _lane() -> str:
    """The lane that is asked for; one that there is not stops nobody's commit."""
    try:
        return lane_of(os.environ)
    except UsageError as error:
        _tell(f"mlrepro: {error.message} It was not heeded.")
        return ""


def _given() -> bytes:
    """What git says on standard input; nothing where a person started the hook."""
    if sys.stdin is None or sys.stdin.isatty():
        return b""
    return sys.stdin.buffer.read()


def _merge(project: Project, args: list[str]) -> int:
    """Git's merge driver: base, ours and theirs as files, and the pointer's name."""
    from mlrepro import locating, merging

    if len(args) != 4:
        print("error: a merge driver takes four arguments: %O %A %B %P", file=sys.stderr)
        return 2
    target = locating.located(project, os.environ, write=False)
    files = [os.path.join(project.cwd, name) for name in args[:3]]
    left = merging.drive(project, target, files, args[3], Options())
    if left is None:
        return 0
    _tell(f"mlrepro: {left.message}")
    _tell(f"  hint: {left.hint}")
    return 1
