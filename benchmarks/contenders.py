"""Who is measured: each makes a repository, saves data in it, and brings it back in a clone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

BIN = Path(sys.executable).parent


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


@dataclass
class Contender:
    """One way to keep data with git. ``env``: what its commands run in."""

    name: str
    env: dict[str, str]
    hooks: bool = field(default=True)

    def run(self, where: Path, *argv: str | Path, ok: bool = True) -> float:
        """Run one command in ``where``; returns its wall time in seconds."""
        began = time.perf_counter()
        done = subprocess.run(
            [str(arg) for arg in argv], cwd=where, env=self.env, capture_output=True, check=False
        )
        took = time.perf_counter() - began
        if ok and done.returncode:
            words = " ".join(str(arg) for arg in argv[:4])
            raise RuntimeError(f"{self.name}: {words} … in {where}\n{done.stderr.decode()[-2000:]}")
        return took

    def all(self, where: Path, *commands: Sequence[str | Path]) -> float:
        """Run commands one after the other; returns their wall time together."""
        return sum(self.run(where, *command) for command in commands)

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

    def save(self, where: Path, paths: Sequence[str]) -> float:
        """Save new paths and commit them: seconds."""
        raise NotImplementedError

    def commit(self, where: Path, changed: Sequence[str]) -> float:
        """Commit a staged README, with tracked data that was edited: seconds."""
        raise NotImplementedError

    def pull(self, origin: Path, clone: Path) -> float:
        """Bring the data into a fresh clone, made before the clock starts: seconds."""
        raise NotImplementedError

    def status(self, where: Path) -> float | None:
        """Ask for the state of the data: seconds."""
        return None


class Ours(Contender):
    """mlrepro with its plain hooks: an edit is saved by ``git commit`` itself."""

    def set_up(self, where: Path) -> None:
        self.run(where, "mlrepro", "-q", "init", "--hooks", "git")

    def save(self, where: Path, paths: Sequence[str]) -> float:
        return self.all(
            where, ["mlrepro", "-q", "track", *paths], ["git", "commit", "-q", "-m", "data"]
        )

    def commit(self, where: Path, changed: Sequence[str]) -> float:
        return self.run(where, "git", "commit", "-q", "-m", "work")

    def pull(self, origin: Path, clone: Path) -> float:
        self.run(origin.parent, "git", "clone", "-q", origin, clone)
        return self.run(clone, "mlrepro", "-q", "pull")

    def status(self, where: Path) -> float | None:
        return self.run(where, "mlrepro", "-q", "status", ok=False)


class Dvc(Contender):
    """DVC used well: one ``dvc add`` for all targets, one ``dvc push``."""

    def set_up(self, where: Path) -> None:
        self.run(where, "dvc", "init", "-q")
        self.run(where, "dvc", "remote", "add", "-q", "-d", "storage", "stores/blob")
        (where / ".gitignore").write_text("/stores\n")

    def save(self, where: Path, paths: Sequence[str]) -> float:
        return self.all(
            where,
            ["dvc", "add", "-q", *paths],
            ["dvc", "push", "-q"],
            ["git", "add", "-A"],
            ["git", "commit", "-q", "-m", "data"],
        )

    def commit(self, where: Path, changed: Sequence[str]) -> float:
        if not changed:  # what `dvc install` puts into the pre-commit hook
            return self.all(where, ["dvc", "status", "-q"], ["git", "commit", "-q", "-m", "work"])
        return self.save(where, changed)

    def pull(self, origin: Path, clone: Path) -> float:
        self.run(origin.parent, "git", "clone", "-q", origin, clone)
        store = origin / "stores" / "blob"
        self.run(clone, "dvc", "remote", "modify", "-q", "--local", "storage", "url", store)
        return self.run(clone, "dvc", "pull", "-q")

    def status(self, where: Path) -> float | None:
        return self.run(where, "dvc", "status", "-q", ok=False)


class Lfs(Contender):
    """git-lfs with a bare repository on the same disk: saved means pushed there."""

    def set_up(self, where: Path) -> None:
        bare = where.with_name(where.name + "-bare.git")
        self.run(where, "git", "lfs", "install", "--local")
        self.run(where, "git", "init", "-q", "--bare", bare)
        self.run(where, "git", "remote", "add", "origin", bare)
        self.run(where, "git", "lfs", "track", "data/**")

    def save(self, where: Path, paths: Sequence[str]) -> float:
        return self.all(
            where,
            ["git", "add", "data"],
            ["git", "commit", "-q", "-m", "data"],
            ["git", "push", "-q", "origin", "main"],
        )

    def commit(self, where: Path, changed: Sequence[str]) -> float:
        if not changed:
            return self.run(where, "git", "commit", "-q", "-m", "work")
        return self.all(
            where,
            ["git", "commit", "-q", "-a", "-m", "work"],
            ["git", "push", "-q", "origin", "main"],
        )

    def pull(self, origin: Path, clone: Path) -> float:
        bare = origin.with_name(origin.name + "-bare.git")
        skip = {**self.env, "GIT_LFS_SKIP_SMUDGE": "1"}
        subprocess.run(
            ["git", "clone", "-q", str(bare), str(clone)], env=skip, check=True,
            capture_output=True,
        )  # fmt: skip
        self.run(clone, "git", "lfs", "install", "--local")
        return self.run(clone, "git", "lfs", "pull")

    def status(self, where: Path) -> float | None:
        return self.run(where, "git", "lfs", "status")


class Floor(Contender):
    """What the bytes cost at least: md5sum, cp, sync, and a bare ``git commit``."""

    def save(self, where: Path, paths: Sequence[str]) -> float:
        store = where.with_name(where.name + "-copy")
        shutil.rmtree(store, ignore_errors=True)
        store.mkdir()
        return self.run(
            where, "sh", "-c",
            'store="$1"; shift; find "$@" -type f -print0 | xargs -0 md5sum >"$store/sums" && '
            'cp -r "$@" "$store" && sync -f "$store" && git commit -q --allow-empty -m data',
            "sh", store, *paths,
        )  # fmt: skip

    def commit(self, where: Path, changed: Sequence[str]) -> float:
        if changed:
            return self.save(where, changed)
        return self.run(where, "git", "commit", "-q", "-m", "work")

    def pull(self, origin: Path, clone: Path) -> float:
        copy = origin.with_name(origin.name + "-copy")
        clone.mkdir()
        return self.run(
            clone, "sh", "-c",
            'cp -r "$1"/. . && find . -type f ! -name sums -print0 | xargs -0 md5sum >../sums.new',
            "sh", copy,
        )  # fmt: skip
