"""A repository in which data is tracked, to look at with log, diff and config in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlrepro import render
from mlrepro.commands import config, diff, log
from mlrepro.errors import MlreproError
from working import Work

DVC_FILES = {
    ".dvc/config": """[core]
    remote = storage
['remote "storage"']
    url = ../stores/blob
""",
    ".dvc/.gitignore": "/config.local\n/tmp\n/cache\n",
    ".gitignore": "/stores/\n",
}


class Looking(Work):
    """Paths are as typed in ``cwd``; ``names`` are commits and paths."""

    def log(self, path: str | None = None, *, cwd: str = ".") -> log.LogResult:
        return log.run(self.project(cwd), path, self.options())

    def diff(
        self, *names: str, rows: bool = False, key: str | None = None, cwd: str = ".", **given: Any
    ) -> diff.DiffResult:
        return diff.run(self.project(cwd), names, self.options(**given), rows=rows, key=key)

    def config(self, revision: str | None = None) -> config.ConfigResult:
        return config.run(self.project(), revision, self.options())

    def has(self, files: dict[str, str | bytes | None], message: str = "change") -> str:
        """Write files (None removes one), track what lies in ``data``, and commit all of it."""
        tracked = []
        for name, content in files.items():
            if content is None:
                for gone in (self.root / name, self.root / f"{name}.dvc"):
                    gone.unlink(missing_ok=True)
            else:
                self.write(name, content)
                if name.startswith("data/"):
                    tracked.append(name)
        if tracked:
            done = self.track(*tracked)
            assert not done.errors, done.errors
        self.git("add", "--all")
        return self.save(message)


def make(root: Path) -> Looking:
    """A new repository, as init would set it up, without a commit; DVC is not asked for it."""
    work = Looking.make(root)
    for name, content in DVC_FILES.items():
        work.write(name, content)
    (root / "stores" / "blob").mkdir(parents=True)
    return work


def changes(result: Any) -> list[tuple[str, str]]:
    """What a diff says of the data."""
    return [(one.change, one.path) for one in result.files]


def lines(result: Any, work: Looking) -> list[str]:
    """What a person reads of a diff."""
    return render.render("diff", result, str, work.options())


def code_of(work: Looking, *names: str, **given: Any) -> str:
    """The code of the error that ends a diff."""
    with pytest.raises(MlreproError) as caught:
        work.diff(*names, **given)
    assert "\n" not in caught.value.message
    assert caught.value.hint
    return caught.value.code
