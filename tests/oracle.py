"""Two like repositories: mlrepro works on one, DVC itself, through its API, on the other."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import stat
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import building
from working import Work

Content = bytes | dict[str, Any]  # of a file, or of a folder by name

# What git is to see beside pointers.
GIT_FILES = (".gitignore", ".dvcignore", "dvc.lock", "dvc.yaml")

# Relative, as `dvc remote add` notes it: a copy of the repository has a store of its own.
CONFIG = """\
[core]
    remote = storage
    analytics = false
    check_update = false
['remote "storage"']
    url = ../../store
"""


@contextlib.contextmanager
def dvc(root: Path) -> Iterator[Any]:
    """DVC's own repository object, opened as its command line opens it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from dvc.repo import Repo

        logging.getLogger("dvc").setLevel(logging.ERROR)
        for name in ("dvc.progress", "dvc_data.callbacks"):  # no bars
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        with contextlib.chdir(root), Repo() as repo:
            yield repo


class Side:
    """A repository with the store beside it in one folder, which can be copied as a whole."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.root = base / "repo"
        self.work = Work(self.root)

    @classmethod
    def make(cls, base: Path) -> Side:
        """A git repository, set up for DVC by its files, with a commit."""
        side = cls(base)
        side.root.mkdir(parents=True)
        building.git(side.root, "init", "--quiet")
        building.build_file_tree(
            side.root,
            {
                ".dvc/config": CONFIG,
                ".dvc/.gitignore": "/config.local\n/tmp\n/cache\n",
                ".dvcignore": "",
            },
        )
        (base / "store").mkdir()
        side.work.commit("set up")
        return side

    def copy(self, base: Path) -> Side:
        shutil.copytree(self.base, base, symlinks=True)
        return Side(base)

    def clone(self, base: Path) -> Side:
        """A git clone with no cache, and the same store."""
        other = Side(base)
        base.mkdir()
        building.git(base, "clone", "--quiet", str(self.root), str(other.root))
        (base / "store").symlink_to(self.base / "store")
        return other

    # what DVC does

    def dvc_add(self, *paths: str) -> None:
        with dvc(self.root) as repo:
            repo.add([str(self.root / path) for path in paths])

    def dvc_commit(self, *targets: str) -> None:
        """``dvc commit --force``, of pointers or pipelines; all of them where none is named."""
        with dvc(self.root) as repo:
            for target in targets or (None,):
                repo.commit(target and str(self.root / target), force=True)

    def dvc_push(self) -> None:
        with dvc(self.root) as repo:
            repo.push()

    def dvc_pull(self) -> None:
        with dvc(self.root) as repo:
            repo.pull()

    def dvc_status(self) -> dict[str, Any]:
        """What ``dvc status`` and ``dvc status -c`` have to say; {} is clean."""
        with dvc(self.root) as repo:
            here = repo.status()
            there = repo.status(cloud=True)
        return {**here, **{f"store: {name}": state for name, state in there.items()}}

    # what is there

    def pointers(self) -> dict[str, bytes]:
        found = {}
        for folder, folders, files in os.walk(self.root):
            folders[:] = [name for name in folders if name not in (".git", ".dvc")]
            for name in files:
                if is_ours(name):
                    path = os.path.join(folder, name)
                    found[os.path.relpath(path, self.root)] = Path(path).read_bytes()
        return found

    def cache(self) -> dict[str, tuple[int, bytes]]:
        return blobs(self.root / ".dvc" / "cache")

    def store(self) -> dict[str, tuple[int, bytes]]:
        return blobs(self.base / "store")


def is_ours(name: str) -> bool:
    """Whether a file is one that git is to see."""
    return name.endswith(".dvc") or os.path.basename(name) in GIT_FILES


def blobs(place: Path) -> dict[str, tuple[int, bytes]]:
    """Everything below ``files/md5``: mode and bytes by relative path."""
    found = {}
    top = place / "files" / "md5"
    for folder, _, files in os.walk(top):
        for name in files:
            path = Path(folder, name)
            mode = stat.S_IMODE(path.lstat().st_mode)
            found[str(path.relative_to(top))] = (mode, path.read_bytes())
    return found


def put(root: Path, tree: Mapping[str, Content], executable: frozenset[str] = frozenset()) -> None:
    """Write a tree; what was at each of its names is replaced."""
    for name, content in tree.items():
        path = root / name
        if path.is_dir():
            shutil.rmtree(path)
        elif path.exists():
            path.unlink()
        _write(path, content)
        if name in executable and path.is_file():
            path.chmod(0o755)


def _write(path: Path, content: Content) -> None:
    if isinstance(content, bytes):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return
    path.mkdir(parents=True, exist_ok=True)
    for name, below in content.items():
        _write(path / name, below)


def flat(root: Path, names: Mapping[str, Any]) -> dict[str, bytes]:
    """Every file at or below each name, by its path."""
    found: dict[str, bytes] = {}
    for name in names:
        path = root / name
        if path.is_file():
            found[name] = path.read_bytes()
        for folder, _, files in os.walk(path):
            for file in files:
                one = Path(folder, file)
                found[str(one.relative_to(root))] = one.read_bytes()
    return found


@dataclass
class Pair:
    """Both sides, and where more of the like can be made."""

    ours: Side
    theirs: Side
    base: Path

    def put(self, tree: Mapping[str, Content], executable: frozenset[str] = frozenset()) -> None:
        """The same files on both sides."""
        for side in (self.ours, self.theirs):
            put(side.root, tree, executable)

    def track(self, *paths: str) -> None:
        """Ours by mlrepro, theirs by ``dvc add`` and ``dvc push``."""
        result = self.ours.work.track(*paths)
        assert not result.errors, [error.message for error in result.errors]
        self.theirs.dvc_add(*paths)
        self.theirs.dvc_push()

    def assert_alike(self) -> None:
        """What both wrote is the same, byte for byte."""
        ours, theirs = self.ours.pointers(), self.theirs.pointers()
        for name in [name for name in theirs if name.endswith(".gitignore")]:
            if b" \n" in theirs[name]:  # DVC's rule for such a name hides nothing
                del ours[name], theirs[name]
        assert ours == theirs
        assert [name for name in self.ours.work.raw if not is_ours(name)] == []
        assert self.ours.cache() == self.theirs.cache()
        assert self.ours.store() == self.theirs.store()
        assert all(mode == 0o444 for mode, _ in self.ours.cache().values())
        assert all(mode == 0o444 for mode, _ in self.ours.store().values())

    def assert_dvc_content(self, tree: Mapping[str, Content]) -> None:
        """DVC finds our side clean, and pulls the very bytes in a clone of it."""
        assert self.ours.dvc_status() == {}
        self.ours.work.commit("data", "--allow-empty")
        clone = self.ours.clone(self.base / "clone-by-dvc")
        clone.dvc_pull()
        assert flat(clone.root, tree) == flat(self.ours.root, tree)

    def assert_we_are_content(self, tree: Mapping[str, Content]) -> None:
        """We find DVC's side clean, tracking it again changes nothing, and a clone pulls all."""
        if b" \n" in self.theirs.pointers().get(".gitignore", b""):
            return  # the data is not hidden from git, and we would mend that
        self.theirs.work.commit("data", "--allow-empty")
        before = self.theirs.pointers(), self.theirs.cache(), self.theirs.store()
        found = self.theirs.work.status_of()
        assert found.clean, [(file.path, file.state, file.stored) for file in found.files]
        result = self.theirs.work.track()
        assert not result.errors
        assert {one.state for one in result.tracked} <= {"unchanged"}
        assert (self.theirs.pointers(), self.theirs.cache(), self.theirs.store()) == before
        assert self.theirs.work.status == ""
        clone = self.theirs.clone(self.base / "clone-by-us")
        assert not clone.work.pull().errors
        assert flat(clone.root, tree) == flat(self.theirs.root, tree)
