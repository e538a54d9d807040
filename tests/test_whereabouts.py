"""Which paths are tracked, as git's index and the record tell it, is what the pointers say."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from building import Repo
from hooked import POINTER, Hooked
from mlrepro import index, outputs, project, whereabouts


def _both(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What is told is what all pointers say; returns the pointers that had to be read for it."""
    here = project.find(str(repo.root), os.environ)
    every = {item.path: item.pointer for item in outputs.in_worktree(here).outs}
    read: set[str] = set()
    reading = outputs.in_worktree

    def watched(where: project.Project, names: list[str]) -> outputs.Listing:
        read.update(names)
        return reading(where, names)

    with monkeypatch.context() as patched:
        patched.setattr(outputs, "in_worktree", watched)
        assert whereabouts.pointers_by_path(here, index.load(here.state_dir)) == every
    return read


def _multiple(repo: Hooked) -> None:
    """A second output in a pointer of which the record knows one."""
    text = repo.read(POINTER).decode()
    more = text.partition("outs:\n")[2].replace("x.csv", "b.csv")
    repo.write(POINTER, text + more)
    repo.git("add", POINTER)


CHANGES: dict[str, tuple[Callable[[Hooked], object], set[str]]] = {
    "nothing": (lambda repo: None, set()),
    "data edited": (lambda repo: repo.edit("much longer than it was before"), set()),
    "pointer edited": (
        lambda repo: repo.write(POINTER, repo.read(POINTER) + b"# x\n"), {POINTER},
    ),
    "pointer gone": (lambda repo: repo.path(POINTER).unlink(), {POINTER}),
    "another": (
        lambda repo: repo.write("o.dvc", repo.read(POINTER).replace(b"x.csv", b"o")), {"o.dvc"},
    ),
    "two outputs": (_multiple, {POINTER}),
    "record gone": (lambda repo: (repo.state / "index").unlink(), {POINTER, "images.dvc"}),
    "pointer bad": (lambda repo: repo.write(POINTER, "outs:\n- path: ../x\n"), {POINTER}),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_told_is_what_they_say(
    plain: Hooked, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain.write("images/a.png", "a")
    plain.mlrepro("track", "images")
    old = plain.path(POINTER).stat().st_mtime_ns - 10**10
    for pointer in (POINTER, "images.dvc"):
        os.utime(plain.path(pointer), ns=(old, old))
    plain.git("update-index", "--refresh")
    plain.commits("-m", "images")
    change, read = CHANGES[name]
    change(plain)
    assert _both(plain, monkeypatch) == read
