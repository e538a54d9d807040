"""A DVC repository with a store beside it, and what the tests of the DVC lane ask of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from building import Repo
from mlrepro import dvc
from mlrepro.errors import MlreproError

HASH = "d3b07384d113edec49eaa6238ad5ff00"
MINE = "mine, not to be touched"

_CONFIG = """\
[core]
    remote = storage
    autostage = true
['remote "storage"']
    url = {url}
"""


class Place(Repo):
    """A repository that DVC initialised, with a folder beside it as its default remote."""

    @classmethod
    def at(cls, root: Path) -> Place:
        made = cls(Repo.make(root).root)
        dvc.init(made.top)
        made.store.mkdir()
        made.remote(str(made.store))
        return made

    @property
    def top(self) -> str:
        return str(self.root)

    @property
    def cache(self) -> Path:
        return self.root / ".dvc" / "cache"

    @property
    def store(self) -> Path:
        return self.root.parent / "store"

    def remote(self, url: str) -> None:
        self.write(".dvc/config", _CONFIG.format(url=url))

    def remote_of(self, settings: Mapping[str, str]) -> None:
        """A remote of these settings; secrets go where git does not see them."""
        self.remote(settings["url"])
        lines = [f"    {name} = {value}" for name, value in settings.items() if name != "url"]
        self.write(".dvc/config.local", "\n".join(["['remote \"storage\"']", *lines, ""]))


def oid_of(data: str | bytes) -> str:
    return hashlib.md5(data.encode() if isinstance(data, str) else data).hexdigest()


def blob(root: Path, oid: str) -> Path:
    """Where a cache or store has a blob."""
    return root / "files" / "md5" / oid[:2] / oid[2:]


def spoil(path: Path, data: bytes = b"spoilt", mode: int = 0o444) -> None:
    """Other bytes under a blob's name, with the mode by which DVC takes them for right."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(mode)


def codes(errors: Iterable[MlreproError]) -> list[str]:
    return [error.code for error in errors]


def bomb() -> bytes:
    """A pointer of thirty lists, each of nine times the one before."""
    lines = ["a0: &a0 [x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    return b"meta:\n  " + "\n  ".join(lines).encode() + b"\nouts:\n- path: x\n"
