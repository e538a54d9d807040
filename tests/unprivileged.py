"""Work done as a user without rights: where the tests are root's, in a child that gives them up."""

from __future__ import annotations

import codecs
import ctypes  # noqa: F401 (a child may find Python's own files closed to it)
import graphlib  # noqa: F401
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65534  # the user and the group that own nothing


def is_root() -> bool:
    return os.geteuid() == 0


@contextmanager
def open_folder() -> Iterator[Path]:
    """A new folder that every user can get to, with a home and git's settings in it."""
    root = Path(tempfile.mkdtemp(prefix="mlrepro-test-"))
    try:
        root.chmod(0o755)
        home = root / "home"
        home.mkdir()
        shutil.copy(os.environ["GIT_CONFIG_GLOBAL"], home / ".gitconfig")
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


def give(root: Path, user: int = NOBODY, group: int = NOBODY) -> None:
    """Make everything below ``root`` a user's own, where that is in our power."""
    if not is_root():
        return
    for folder, folders, files in os.walk(root):
        for name in (".", *folders, *files):
            os.chown(os.path.join(folder, name), user, group, follow_symlinks=False)


def start(
    work: Callable[[], None], home: Path, user: int = NOBODY, group: int = NOBODY, umask: int = 0o22
) -> int:
    """Do ``work`` in a child, as a user without rights where we are root; returns its pid."""
    for encoding in ("ascii", "latin-1", "utf-8"):
        codecs.lookup(encoding)  # Python's own files may be closed to them
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.umask(umask)
        if is_root() and user:
            os.setgroups([])
            os.setresgid(group, group, group)
            os.setresuid(user, user, user)
        old = os.environ["HOME"]
        for name, value in os.environ.items():
            if value == old or value.startswith(old + os.sep):
                os.environ[name] = str(home) + value[len(old) :]
        work()
        code = 0
    except BaseException:  # noqa: BLE001 (shown, and told by the exit code)
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        sys.stdout.flush()
        os._exit(code)


def wait(*children: int) -> None:
    """Raise AssertionError where one of these children failed; what it said is on stderr."""
    ended = {child: os.waitpid(child, 0)[1] for child in children}
    assert not any(ended.values()), ended


def run(work: Callable[[], None], home: Path) -> None:
    """``start`` and ``wait``."""
    wait(start(work, home))
