"""What ``status`` says where all is in order: proven by a seal, and by one question to git."""

from __future__ import annotations

import os
import posix

from mlrepro import process, seal
from mlrepro.dataclass import TYPE_CHECKING

# Loads next to nothing. Where anything is not as it was sealed, or is asked for in another way,
# nothing is said here, and ``commands.status`` looks at everything; the words are the same, since
# they are made by the same functions from what is known to be true of all of it.

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlrepro.seal import Seal

_FLAGS = {"--json": "json", "-q": "quiet", "--quiet": "quiet"}
_ELSEWHERE = ("GIT_COMMON_DIR", "GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "MLREPRO_LANE")
# Of pointers: what is staged, what in the worktree is not as it was staged, and what is new.
_QUESTION = (
    "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all",
    "--ignore-submodules=all", "--", "*.dvc", ":(glob)**/dvc.lock",
)  # fmt: skip
_ENVIRONMENT = {"GIT_LITERAL_PATHSPECS": "0", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}


class _Known:
    """What is true of a tracked path, or of all of them, where all is in order."""

    state, note, stored, asked, clean, restorable = "unchanged", "", True, True, True, True
    errors: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __init__(self, path: str = "", pointer: str = "") -> None:
        self.path = path
        self.pointer = pointer
        self.files: list[_Known] = []


def told(arguments: list[str]) -> str | None:
    """What this command line is answered with, if it is ``status`` and all is clean; else None."""
    asked = {_FLAGS[word] for word in arguments if word in _FLAGS}
    if [word for word in arguments if word not in _FLAGS] != ["status"]:
        return None
    if any(name in os.environ for name in _ELSEWHERE):
        return None
    try:
        cwd = posix.getcwdb()
        top = _top(cwd)
        git_dir = seal.git_dir_of(top)
        found = seal.read(git_dir)
        if found is None or not found.clean or found.root != top:
            return None
        environment = {**os.environ, **_ENVIRONMENT}
        asking = process.Started(["git", "-C", os.fsdecode(top), *_QUESTION], env=environment)
        try:
            holds = seal.holds(found, git_dir + b"/index", whole=True)
        except BaseException:
            asking.ended()
            raise
        code, answer, _ = asking.ended()
    except (OSError, ValueError, IndexError):
        return None
    if code or answer or not holds:
        return None
    return _said(found, os.fsdecode(cwd), asked)


def _top(cwd: bytes) -> bytes:
    """The top of the worktree. Raises FileNotFoundError outside of one."""
    folder = cwd
    while True:
        try:
            posix.lstat(folder + b"/.git")
            return folder
        except (FileNotFoundError, NotADirectoryError):
            if folder == b"/":
                raise
            folder = folder.rpartition(b"/")[0] or b"/"


def _said(found: Seal, cwd: str, asked: set[str]) -> str | None:
    if asked == {"quiet"}:
        return ""
    root = os.fsdecode(found.root)
    result = _Known()
    names = sorted((os.fsdecode(entry[1]), os.fsdecode(entry[0])) for entry in found.entries)
    result.files = [_Known(path, pointer) for path, pointer in names]

    def show(path: str) -> str:
        return path if cwd == root else os.path.relpath(f"{root}/{path}", cwd)

    from mlrepro import redaction

    if "json" in asked:
        text = _envelope(result, show) + "\n"
    else:
        from mlrepro.layout import Paths
        from mlrepro.render_status import status

        text = "".join([line + "\n" for line in status(result, Paths(show), False)])
    return redaction.shown(text)


def _envelope(result: _Known, show: Callable[[str], str]) -> str:
    """As ``outcome.Outcome.envelope``, which loads what takes longer than all of this."""
    try:
        from _json import encode_basestring_ascii as quoted
    except ImportError:  # a Python without it
        from json.encoder import encode_basestring_ascii as quoted

    files = ", ".join(
        [
            f'{{"path": {quoted(show(file.path))}, "pointer": {quoted(show(file.pointer))}, '
            '"state": "unchanged", "stored": true}'
            for file in result.files
        ]
    )
    return (
        '{"version": 1, "command": "status", "status": "ok", "exit_code": 0, "data": '
        f'{{"clean": true, "restorable": true, "files": [{files}]}}, "errors": []}}'
    )
