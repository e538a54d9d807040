"""Where things are: the worktree, its git folders, its DVC folder, and where one was started."""

from __future__ import annotations

import os

from mlrepro.errors import RepositoryError

# On the hook's no-change path: no process, only a handful of stat calls and small reads.

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class Project:
    """The places of one git worktree; every path is absolute, with symlinks resolved.

    ``root`` is the top of the worktree, ``git_dir`` its own git folder, ``common_dir`` the one that
    linked worktrees share, ``cwd`` the folder the user stands in, ``state_dir`` where what is known
    of this worktree is kept (inside ``git_dir``, so it is never tracked and never cleaned away).
    """

    __slots__ = ("_lead", "common_dir", "cwd", "dvc_dir", "git_dir", "root", "state_dir")

    def __init__(self, root: str, git_dir: str, cwd: str) -> None:
        self.root = root
        self._lead = os.path.join(root, "")
        self.git_dir = git_dir
        self.common_dir = _common_dir(git_dir)
        self.cwd = cwd
        self.dvc_dir = os.path.join(root, ".dvc")
        self.state_dir = os.path.join(git_dir, "mlrepro")

    def absolute(self, relpath: str) -> str:
        """The absolute path of a path relative to ``root``."""
        return relpath if relpath.startswith("/") else self._lead + relpath

    def show(self, relpath: str) -> str:
        """A path relative to ``root`` as the user, standing in ``cwd``, would type it."""
        return os.path.relpath(os.path.join(self.root, relpath), self.cwd)

    @property
    def main_root(self) -> str:
        """The top of the main worktree; equal to ``root`` where this is not a linked one."""
        if self.common_dir != self.git_dir and os.path.basename(self.common_dir) == ".git":
            return os.path.dirname(self.common_dir)
        return self.root


def find(start: str, environ: Mapping[str, str]) -> Project:
    """Find the worktree that ``start`` lies in, as git would.

    Inside a hook git says where its folder is (``GIT_DIR``) and starts at the top of the worktree.
    Raises RepositoryError outside a repository and in a bare one.
    """
    cwd = os.path.realpath(start)
    named = environ.get("GIT_DIR")
    if named:
        git_dir = os.path.realpath(os.path.join(cwd, named))
        root = environ.get("GIT_WORK_TREE") or (
            os.path.dirname(git_dir) if os.path.basename(git_dir) == ".git" else cwd
        )
        if os.path.exists(os.path.join(git_dir, "HEAD")) and not _bare(git_dir, cwd):
            return Project(os.path.realpath(os.path.join(cwd, root)), git_dir, cwd)
    folder = cwd
    while True:
        found = _git_dir_of(folder)
        if found:
            return Project(folder, found, cwd)
        parent = os.path.dirname(folder)
        if parent == folder:
            break
        folder = parent
    if _bare(cwd, cwd):
        raise RepositoryError(
            "This is a bare git repository: it has no files to track.",
            "cd to a clone of it",
            code="bare-repository",
        )
    raise RepositoryError(
        f"No git repository here: {cwd}", "git init && mlrepro init", code="not-a-repository"
    )


def _git_dir_of(folder: str) -> str:
    """The git folder of the worktree whose top is ``folder``, or "" where it is none."""
    dot_git = os.path.join(folder, ".git")
    if os.path.isfile(os.path.join(dot_git, "HEAD")):
        return os.path.realpath(dot_git)
    try:
        with open(dot_git, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read(8192)
    except OSError:
        return ""
    if not text.startswith("gitdir: "):
        return ""
    target = os.path.realpath(os.path.join(folder, text[8:].rstrip("\r\n")))
    return target if os.path.isfile(os.path.join(target, "HEAD")) else ""


def _common_dir(git_dir: str) -> str:
    """The folder that all worktrees share: git names it in a file ``commondir``."""
    try:
        with open(
            os.path.join(git_dir, "commondir"), encoding="utf-8", errors="surrogateescape"
        ) as file:
            return os.path.realpath(os.path.join(git_dir, file.read(8192).rstrip("\r\n")))
    except OSError:
        return git_dir


def _bare(git_dir: str, cwd: str) -> bool:
    """Whether ``git_dir`` is a repository of its own around which there is no worktree."""
    return (
        os.path.isfile(os.path.join(git_dir, "HEAD"))
        and os.path.isdir(os.path.join(git_dir, "objects"))
        and os.path.isdir(os.path.join(git_dir, "refs"))
        and os.path.basename(git_dir) != ".git"
        and not os.path.exists(os.path.join(git_dir, "commondir"))
        and (cwd == git_dir or cwd.startswith(git_dir + os.sep))
    )


def require_dvc(project: Project) -> None:
    """Raise RepositoryError where the repository has not been set up."""
    if not os.path.isdir(project.dvc_dir):
        raise RepositoryError(
            "This repository is not set up for mlrepro: it has no .dvc folder.",
            "mlrepro init",
            code="not-initialised",
        )
