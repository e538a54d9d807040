"""Who is measured: each makes a repository, saves data in it, and brings it back in a clone."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from launching import Cost, Launcher

BIN = Path(sys.executable).parent
STORAGE = "[core]\n    remote = storage\n['remote \"storage\"']\n    url = {url}\n"


def environment(home: Path) -> dict[str, str]:
    """An environment in which nothing of the user's has a part; ``home`` is made."""
    home.mkdir(parents=True, exist_ok=True)
    config = home / "gitconfig"
    config.write_text(
        "[user]\n\tname = Bench\n\temail = bench@example.org\n[init]\n\tdefaultBranch = main\n"
        '[advice]\n\tdetachedHead = false\n[protocol "file"]\n\tallow = always\n'
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {
        **kept,
        "HOME": str(home),
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "GIT_CONFIG_GLOBAL": str(config),
        "GIT_CONFIG_NOSYSTEM": "1",
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "DVC_SITE_CACHE_DIR": str(home / "dvc-site"),
        "DVC_NO_ANALYTICS": "1",
        "PYTHONDONTWRITEBYTECODE": "",
    }


class Contender:
    """One way to keep data with git. ``launcher``: runs its commands, and measures them."""

    def __init__(self, name: str, launcher: Launcher) -> None:
        self.name = name
        self.launcher = launcher

    def run(self, where: Path, *argv: str | Path, ok: bool = True) -> Cost:
        """Run one command in ``where``: what it cost."""
        return self.launcher.run(where, argv, ok)

    def all(self, where: Path, *commands: Sequence[str | Path]) -> Cost:
        """Run commands one after the other: what they cost together."""
        return sum((self.run(where, *command) for command in commands), Cost())

    def create(self, where: Path) -> None:
        """Make a repository that is set up, with one commit."""
        where.mkdir(parents=True)
        self.run(where, "git", "init", "-q")
        self.set_up(where)
        (where / "README").write_text("bench\n")
        self.run(where, "git", "add", "-A")
        self.run(where, "git", "commit", "-q", "-m", "set up", "--no-verify")

    def set_up(self, where: Path) -> None:
        """What the tool wants done once."""

    def save(self, where: Path, paths: Sequence[str]) -> Cost:
        """Save new paths and commit them."""
        raise NotImplementedError

    def commit(self, where: Path, changed: Sequence[str]) -> Cost:
        """Commit a staged README, with tracked data that was edited."""
        raise NotImplementedError

    def clone(self, origin: Path, clone: Path) -> None:
        """Make a fresh clone, ready for its data: before the clock starts."""
        self.run(origin.parent, "git", "clone", "-q", origin, clone)

    def pull(self, clone: Path) -> Cost:
        """Bring the data into a fresh clone."""
        raise NotImplementedError

    def status(self, where: Path) -> Cost | None:
        """Ask for the state of the data."""
        return None


class Ours(Contender):
    """mlrepro with its plain hooks: an edit is saved by ``git commit`` itself."""

    def set_up(self, where: Path) -> None:
        self.run(where, "mlrepro", "-q", "init", "--hooks", "git")

    def save(self, where: Path, paths: Sequence[str]) -> Cost:
        return self.all(
            where, ["mlrepro", "-q", "track", *paths], ["git", "commit", "-q", "-m", "data"]
        )

    def commit(self, where: Path, changed: Sequence[str]) -> Cost:
        return self.run(where, "git", "commit", "-q", "-m", "work")

    def pull(self, clone: Path) -> Cost:
        return self.run(clone, "mlrepro", "-q", "pull")

    def status(self, where: Path) -> Cost | None:
        return self.run(where, "mlrepro", "-q", "status", ok=False)


class Dvc(Contender):
    """DVC used well: one ``dvc add`` for all targets, one ``dvc push``."""

    fresh: Path | None = None  # a repository that is set up, which the others are copies of

    def create(self, where: Path) -> None:
        if self.fresh is None:
            self.fresh = where.with_name(f"fresh-{self.name}")
            super().create(self.fresh)
        shutil.copytree(self.fresh, where, symlinks=True)

    def set_up(self, where: Path) -> None:
        self.run(where, "dvc", "init", "-q")
        (where / ".dvc" / "config").write_text(STORAGE.format(url="../stores/blob"))
        (where / ".gitignore").write_text("/stores\n")

    def save(self, where: Path, paths: Sequence[str]) -> Cost:
        return self.all(
            where,
            ["dvc", "add", "-q", *paths],
            ["dvc", "push", "-q"],
            ["git", "add", "-A"],
            ["git", "commit", "-q", "-m", "data"],
        )

    def commit(self, where: Path, changed: Sequence[str]) -> Cost:
        if not changed:  # what `dvc install` puts into the pre-commit hook
            return self.all(where, ["dvc", "status", "-q"], ["git", "commit", "-q", "-m", "work"])
        return self.save(where, changed)

    def clone(self, origin: Path, clone: Path) -> None:
        super().clone(origin, clone)
        url = origin / "stores" / "blob"
        (clone / ".dvc" / "config.local").write_text(STORAGE.format(url=url))

    def pull(self, clone: Path) -> Cost:
        return self.run(clone, "dvc", "pull", "-q")

    def status(self, where: Path) -> Cost | None:
        return self.run(where, "dvc", "status", "-q", ok=False)


class Lfs(Contender):
    """git-lfs with a bare repository on the same disk: saved means pushed there."""

    def set_up(self, where: Path) -> None:
        bare = where.with_name(where.name + "-bare.git")
        self.run(where, "git", "lfs", "install", "--local")
        self.run(where, "git", "init", "-q", "--bare", bare)
        self.run(where, "git", "remote", "add", "origin", bare)
        self.run(where, "git", "lfs", "track", "data/**")

    def save(self, where: Path, paths: Sequence[str]) -> Cost:
        return self.all(
            where,
            ["git", "add", "data"],
            ["git", "commit", "-q", "-m", "data"],
            ["git", "push", "-q", "origin", "main"],
        )

    def commit(self, where: Path, changed: Sequence[str]) -> Cost:
        if not changed:
            return self.run(where, "git", "commit", "-q", "-m", "work")
        return self.all(
            where,
            ["git", "commit", "-q", "-a", "-m", "work"],
            ["git", "push", "-q", "origin", "main"],
        )

    def clone(self, origin: Path, clone: Path) -> None:
        bare = origin.with_name(origin.name + "-bare.git")
        later = {"GIT_LFS_SKIP_SMUDGE": "1"}
        self.launcher.run(origin.parent, ["git", "clone", "-q", bare, clone], env=later)
        self.run(clone, "git", "lfs", "install", "--local")

    def pull(self, clone: Path) -> Cost:
        return self.run(clone, "git", "lfs", "pull")

    def status(self, where: Path) -> Cost | None:
        return self.run(where, "git", "lfs", "status")


class Floor(Contender):
    """What the bytes cost at least: md5sum, cp, sync, and a bare ``git commit``."""

    def save(self, where: Path, paths: Sequence[str]) -> Cost:
        store = where.with_name(where.name + "-copy")
        shutil.rmtree(store, ignore_errors=True)
        (store / "data").mkdir(parents=True)
        return self.run(
            where, "sh", "-c",
            'copy="$1"; shift; find "$@" -type f -print0 | xargs -0 md5sum >"$copy/sums" && '
            'cp -r "$@" "$copy/data" && sync -f "$copy" && git commit -q --allow-empty -m data',
            "sh", store, *paths,
        )  # fmt: skip

    def commit(self, where: Path, changed: Sequence[str]) -> Cost:
        if changed:
            return self.save(where, changed)
        return self.run(where, "git", "commit", "-q", "-m", "work")

    def clone(self, origin: Path, clone: Path) -> None:
        clone.mkdir()
        (clone / "from").symlink_to(origin.with_name(origin.name + "-copy"))

    def pull(self, clone: Path) -> Cost:
        return self.run(
            clone, "sh", "-c",
            "cp -r from/data . && find data -type f -print0 | xargs -0 md5sum >sums",
        )  # fmt: skip
