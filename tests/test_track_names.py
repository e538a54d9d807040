"""track: whatever a path may be called, its content comes back, and git never sees the raw data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from working import Work, cloned, made

LONG = "é" * 127 + "x"  # 255 bytes: no room for .dvc behind it
NAMES = [
    "plain.csv", "with space.csv", "  two  spaces.csv", "trailing space ", "tab\there.csv",
    "caf\u00e9.csv", "cafe\u0301.csv", "#comment.csv", "!important.csv", "a[1].csv", "[abc]",
    "star*.csv", "what?.csv", "-dash.csv", "--help", "emoji \U0001f600.csv", "back\\slash.csv",
    "quote'\".csv", "colon: x.csv", "- item", "{a: b}", "yes", "null", "1.5", "0x1F", "~",
    "a&b|c;d",
    "$(touch x)", "%s.csv", "\u202eright.csv", "\u200b.csv", "\u4e2d\u6587.csv", "a" * 251,
    "b" * 252, LONG, ".hidden", "no-extension", "x.dvc.csv", "esc\x1b[0m.csv", "trailing\\ ",
    ":(top)magic", ":!x", "@", "x\u2028y.csv", "x\u0085y.csv", "&anchor", "*alias", "? key", "# ",
]  # fmt: skip


@pytest.fixture(params=["", "dvc"])
def laned(request: pytest.FixtureRequest, tmp_path: Path) -> Work:
    """A repository, once for each lane."""
    return made(tmp_path / "repo", str(request.param))


def test_every_name_goes_there_and_back(laned: Work, tmp_path: Path) -> None:
    content = {f"data/{name}": f"content of {name}" for name in NAMES}
    for name, text in content.items():
        laned.write(name, text)
    done = laned.track(*(f"./{name}" for name in NAMES), cwd="data")
    assert not done.errors, [error.message for error in done.errors]
    assert {item.path for item in done.tracked} == set(content)
    assert {item.state for item in done.tracked} == {"new"}
    assert laned.raw == []
    pointers = {item.pointer for item in done.tracked}
    assert len(pointers) == len(NAMES)
    assert laned.staged == {*pointers, "data/.gitignore"}
    laned.git("add", "--all")
    assert laned.staged == {*pointers, "data/.gitignore"}  # no raw data
    laned.save("data")
    assert laned.status == ""
    assert set(laned.states().values()) == {"unchanged"}
    clone = cloned(laned, tmp_path / "clone")
    clone.lane = ""
    back = clone.pull()
    assert set(back.restored) == set(content)
    for name, text in content.items():
        assert clone.read(name) == text.encode()
    assert clone.status == ""


def test_what_dvc_says_of_such_names(tmp_path: Path) -> None:
    work = made(tmp_path / "repo")
    for name in NAMES:
        work.write(f"data/{name}", f"content of {name}")
    assert work.track("data/*", "data/.hidden").exit_code == 0
    assert work.dvc("status", "--json").json == {}
    assert work.dvc("status", "--cloud", "--json").json == {}


def test_names_that_are_folders(laned: Work) -> None:
    names = [name for name in NAMES if len(os.fsencode(name)) < 200][:30]
    for name in names:
        laned.write(f"data/{name}/{name}", f"content of {name}")
    done = laned.track(*(f"data/{name}" for name in names))
    assert not done.errors, [error.message for error in done.errors]
    assert {item.path for item in done.tracked} == {f"data/{name}" for name in names}
    assert laned.raw == []
    assert set(laned.states().values()) == {"unchanged"}
