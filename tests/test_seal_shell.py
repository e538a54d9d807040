"""What a seal lets the shell answer is what a whole look finds: asked first, and never wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from building import blob_path
from hooked import DATA, POINTER, Hooked
from mlrepro import seal, sealing
from mlrepro.errors import HOLDS as HELD, STALE

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="elsewhere stat says something else"
)
NOTHING = """
import json, os
from mlrepro import project, unchanged
print(json.dumps(unchanged.nothing_to_do(project.find(os.getcwd(), os.environ))))
"""
ODD = "data/it's ü [x]*.bin"


def _asked(repo: Hooked, shell: str = "sh", **env: str) -> int:
    """What the seal makes a shell say, as the hook asks it; held only where all is in order."""
    around = {**os.environ, **env}
    words = [shell, "-c", '(. "$1") 2>/dev/null', shell, ".git/mlrepro/seal"]
    code = subprocess.run(words, cwd=repo.root, env=around, check=False).returncode
    if code == HELD:
        argv = [sys.executable, "-c", NOTHING]
        done = subprocess.run(argv, cwd=repo.root, env=around, capture_output=True, check=True)
        assert json.loads(done.stdout) is True, "the shell says so, and it is not"
    return code


@pytest.fixture
def sealed(plain: Hooked) -> Hooked:
    """Two files that are tracked, committed, and sealed by the commit after that."""
    plain.write(ODD, "odd")
    assert plain.mlrepro("track", ODD).exit_code == 0
    plain.commits("-m", "odd")
    _seal(plain)
    return plain


def _seal(repo: Hooked) -> None:
    time.sleep(0.05)
    repo.stage(content=f"{time.time_ns()}\n")
    repo.commits("-m", "sealed")


def _store_behind_a_link(repo: Hooked) -> None:
    repo.store.rename(repo.root / "moved")
    repo.store.symlink_to(repo.root / "moved")


def _emptied(repo: Hooked, content: bytes) -> None:
    blob = blob_path(repo.store, repo.md5(DATA))
    blob.chmod(0o644)
    blob.write_bytes(content)


Change = Callable[[Hooked], object]
NOT_HELD: dict[str, Change] = {
    "edited": lambda repo: repo.edit("again"),
    "edited, of the same size and date": lambda repo: repo.edit_unseen(DATA),
    "the odd one edited": lambda repo: repo.edit("again", ODD),
    "replaced by its like": lambda repo: shutil.copy2(
        repo.path(DATA).rename(repo.path("kept")), repo.path(DATA)
    ),
    "deleted": lambda repo: repo.path(DATA).unlink(),
    "a folder in its place": lambda repo: [repo.path(DATA).unlink(), repo.path(DATA).mkdir()],
    "executable": lambda repo: repo.path(DATA).chmod(0o755),
    "data behind a link": Hooked.put_data_behind_a_link,
    "store behind a link": _store_behind_a_link,
    "raw data staged": lambda repo: repo.git("add", "--force", DATA),
    "odd raw data staged": lambda repo: repo.git("add", "--force", ODD),
    "blob gone": lambda repo: blob_path(repo.store, repo.md5(DATA)).unlink(),
    "blob emptied": lambda repo: _emptied(repo, b""),
    "store gone": lambda repo: repo.store.rename(repo.store.with_name("gone")),
    "store without its marker": lambda repo: (repo.store / ".mlrepro" / "store").unlink(),
    "another marker": lambda repo: (repo.store / ".mlrepro" / "store").write_text(
        f"mlrepro store 1\nid {'0' * 32}\n"
    ),
    "config written": lambda repo: repo.write(".dvc/config", repo.read(".dvc/config") + b"\n"),
    "local config gone": lambda repo: repo.path(".dvc/config.local").unlink(),
    "config staged": lambda repo: [
        repo.write(".dvc/config", repo.read(".dvc/config")), repo.git("add", ".dvc/config"),
    ],
    "local config staged": lambda repo: repo.git("add", "--force", ".dvc/config.local"),
    "pointer staged anew": lambda repo: repo.stage(POINTER, "outs: []\n"),
    "pointer deleted": lambda repo: repo.git("rm", "--quiet", POINTER),
    "another pointer": lambda repo: repo.stage("more.dvc", "outs: []\n"),
    "a pipeline": lambda repo: repo.stage("sub/dvc.lock", "schema: '2.0'\n"),
    "a name that git quotes": lambda repo: repo.stage('"x".dvc', "outs: []\n"),
    "a large file staged": lambda repo: repo.stage("large.bin", "x" * 5_000_001),
    "a linked repository": lambda repo: repo.git(
        "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},inner"
    ),
    "record gone": lambda repo: (repo.state / "index").unlink(),
    "seal gone": lambda repo: (repo.state / "seal").unlink(),
    "seal cut short": lambda repo: os.truncate(repo.state / "seal", 1500),
    "index cut short": lambda repo: os.truncate(repo.root / ".git" / "index", 100),
    "the tree is gone": lambda repo: shutil.rmtree(repo.root / ".git" / "objects"),
}  # fmt: skip
CODE: dict[str, Change] = {
    "nothing": lambda repo: None,
    "code edited": lambda repo: repo.write("a.py", "one = 7\n"),
    "code staged": lambda repo: repo.stage("a.py", "one = 8\n"),
    "much code": lambda repo: repo.stage("b.py", "x = 1\n" * 500_000),
    "code deleted": lambda repo: repo.git("rm", "--quiet", "a.py"),
    "odd names": lambda repo: [repo.stage("b'.py"), repo.stage("* x.py"), repo.stage("-n")],
    "committed and packed": lambda repo: [
        repo.stage("a.py", "one = 9\n"), repo.commits("-m", "code"), repo.git("gc", "--quiet"),
    ],
    "another branch": lambda repo: repo.unhooked("switch", "--quiet", "-c", "other"),
}  # fmt: skip


SOME = [
    pytest.param(name, marks=pytest.mark.slow) if at % 3 else name
    for at, name in enumerate(NOT_HELD)
]


@pytest.mark.parametrize("name", SOME)
def test_what_takes_the_proof_away(sealed: Hooked, name: str) -> None:
    assert _asked(sealed) == HELD
    NOT_HELD[name](sealed)
    assert _asked(sealed) not in (HELD, STALE)


@pytest.mark.parametrize("name", CODE)
def test_what_has_nothing_to_do_with_data(sealed: Hooked, name: str) -> None:
    CODE[name](sealed)
    assert _asked(sealed) == HELD


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
def test_in_other_shells(sealed: Hooked, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not here")
    if shell != "busybox":
        assert _asked(sealed, shell) == HELD
    sealed.edit("again")
    assert _asked(sealed, shell) not in (HELD, STALE)


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not here")
def test_bash_and_many_files(sealed: Hooked) -> None:
    """It takes a file for a program that has more than 256 NULs, and is ``sh`` on many systems."""
    names = [f"data/{number}.bin" for number in range(40)]
    for name in names:
        sealed.write(name, name)
    assert sealed.mlrepro("track", *names).exit_code == 0
    sealed.commits("-m", "many")
    _seal(sealed)
    assert _asked(sealed, "bash") == HELD
    fields = (sealed.state / "seal").read_bytes().count(seal.END)
    assert fields > 256  # so many NULs there would be


def test_a_name_that_would_end_early_is_not_sealed(sealed: Hooked) -> None:
    name = "data/a\x1eb.bin"
    sealed.write(name, "odd")
    assert sealed.mlrepro("track", name).exit_code == 0
    sealed.commits("-m", "very odd")
    _seal(sealed)
    assert _asked(sealed) not in (HELD, STALE)
    assert sealed.git("status", "--porcelain").stdout == ""


def test_a_tree_that_git_is_told_to_take_for_another(sealed: Hooked) -> None:
    """``git replace`` hides no pointer that changed."""
    proven = sealed.git("rev-parse", "HEAD^{tree}").stdout.strip()
    sealed.stage(POINTER, "outs: []\n")
    sealed.git("replace", proven, sealed.git("write-tree").stdout.strip())
    assert _asked(sealed) not in (HELD, STALE)


def test_what_the_environment_says(sealed: Hooked, tmp_path: Path) -> None:
    for name in ("HOME", "XDG_CONFIG_HOME", "DVC_GLOBAL_CONFIG_DIR", "AWS_ENDPOINT_URL"):
        assert _asked(sealed, **{name: str(sealed.root)}) not in (HELD, STALE)
    for name in ("GIT_DIR", "GIT_WORK_TREE", "MLREPRO_LANE", "MLREPRO_NO_HOOKS"):
        assert _asked(sealed, **{name: ""}) not in (HELD, STALE)
        assert _asked(sealed, **{name: str(tmp_path)}) not in (HELD, STALE)
    assert _asked(sealed, GIT_DIR=".git", LC_ALL="C.UTF-8", TZ="Asia/Kolkata") == HELD
    other = tmp_path / "index"
    shutil.copy(sealed.root / ".git" / "index", other)
    sealed.git("update-index", "--add", "--cacheinfo", f"100644,{'1' * 40},x.dvc")
    assert _asked(sealed) not in (HELD, STALE)
    assert _asked(sealed, GIT_INDEX_FILE=str(other)) == HELD  # what is about to be committed


def test_a_damaged_seal_says_nothing_wrong(sealed: Hooked) -> None:
    """Whatever byte of it is lost, it does not say of edited data that all is in order."""
    sealed.edit("again")
    path = sealed.state / "seal"
    whole = path.read_bytes()
    for at in range(0, whole.index(seal.END), 41):
        for bad in (whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]):
            path.write_bytes(bad)
            assert _asked(sealed) != HELD, at


def test_after_much_code_it_is_sealed_anew(sealed: Hooked) -> None:
    for at in range(sealing._MOST_CHANGES + 1):
        sealed.write(f"code/{at}.py", f"{at}\n")
    sealed.git("add", "code")
    assert _asked(sealed) == STALE
    time.sleep(0.05)
    sealed.commits("-m", "much code")
    assert _asked(sealed) == HELD


def test_a_folder_and_very_many_files_are_left_to_python(
    sealed: Hooked, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed.write("images/a.png", "a")
    assert sealed.mlrepro("track", "images").exit_code == 0
    sealed.commits("-m", "images")
    _seal(sealed)
    text = (sealed.state / "seal").read_bytes()
    assert text.split(b"\n", 1)[1].startswith(b"exit 1\n" + seal.END)
    assert _asked(sealed) == 1


def test_the_hook_starts_no_python_while_it_holds(sealed: Hooked, tmp_path: Path) -> None:
    """As is seen where there is none, but for a file that only looks like one."""
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\necho started >&2\nexit 1\n")
    fake.chmod(0o755)
    hook = sealed.root / ".git" / "hooks" / "pre-commit"
    lines = hook.read_text().split("\n")
    hook.write_text(
        "\n".join([
            line.split("=")[0] + f"={fake}" if line.startswith(("python=", "base=")) else line
            for line in lines
        ])
    )  # fmt: skip
    sealed.stage(content="again\n")
    sealed.commits("-m", "code alone")
    sealed.edit("again")
    sealed.stage(content="and again\n")
    assert "started" in sealed.refused("-m", "data")
