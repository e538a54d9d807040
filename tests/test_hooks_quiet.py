"""What a commit costs in which no data changed: a few small reads, and nothing else at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from hooked import DATA, POINTER, Hooked

ROOT = Path(__file__).resolve().parent.parent
RINGS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["mlrepro"]["rings"]
# Started as git's hook starts it; tells what was loaded, begun, read and written.
PROBE = """
import os, sys
sys.path.append(sys.argv[1])
WATCHED = ("os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.system", "pty.spawn", "socket.",
           "subprocess.Popen", "_thread.start_new_thread", "os.rename", "os.remove", "os.mkdir",
           "os.chmod", "os.utime", "os.link", "os.truncate", "shutil.")
done, opened = [], []
def watch(event, arguments):
    if event.startswith(WATCHED):
        done.append(f"{event} {arguments}")
    elif event == "open" and not str(arguments[0]).endswith((".py", ".pyc", "__pycache__")):
        mode, flags = arguments[1] or "", arguments[2] or 0
        writes = set(mode) & set("wax+") or flags & (os.O_WRONLY | os.O_RDWR)
        (done if writes else opened).append(os.fsdecode(arguments[0]))
before = set(sys.modules)
sys.addaudithook(watch)
from _frozen_importlib_external import SourceFileLoader
exec(SourceFileLoader("seal", sys.path[-1] + "/mlrepro/seal.py").get_code("seal"))
held = unbroken()
code = 0
if not held:
    from mlrepro.hook import main
    code = main(["pre-commit"])
seen = {"code": code, "held": held, "loaded": sorted(set(sys.modules) - before),
        "done": list(done), "read": list(opened)}
import json
print(json.dumps(seen))
"""


def _hook(repo: Hooked) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", PROBE, str(ROOT / "src")],
        cwd=repo.root,
        env={**os.environ, "PATH": "/nowhere", "GIT_INDEX_FILE": ".git/index"},
        capture_output=True,
        text=True,
        check=True,
    )
    seen: dict[str, Any] = json.loads(done.stdout)
    inside = f"{repo.root.resolve()}/"
    seen["read"] = [name.removeprefix(inside) for name in seen["read"] if name.startswith(inside)]
    return seen


def _settle(repo: Hooked) -> None:
    """A commit that puts all in order, and one that finds it so, and has it sealed.

    What was written a moment ago is not vouched for yet.
    """
    for _ in range(2):
        repo.stage("README.md", f"settled {time.time_ns()}\n")
        repo.commits("-m", "settled")
        time.sleep(0.05)


@pytest.fixture
def settled(plain: Hooked) -> Hooked:
    """A repository in which a commit through the hook has found all in order."""
    _settle(plain)
    return plain


def test_what_it_reads(settled: Hooked) -> None:
    """Of the data nothing but its stat; whatever is tracked, the number of files is the same."""
    for name in ("data/one.csv", "data/two.csv", "models/m.bin"):
        settled.write(name, name)
        assert settled.mlrepro("track", name).exit_code == 0
    settled.commits("-m", "more")
    _settle(settled)
    seen = _hook(settled)
    assert seen["held"] and seen["done"] == []
    assert seen["read"] == [".git/mlrepro/seal", "stores/blob/.mlrepro/store", ".git/index"]


def test_what_it_reads_without_a_seal(settled: Hooked) -> None:
    """Then it writes one, and nothing else."""
    time.sleep(0.05)
    (settled.state / "seal").unlink()
    seen = _hook(settled)
    assert seen["code"] == 0 and not seen["held"]
    assert all(f"{settled.state.resolve()}/.mlrepro-w-" in one for one in seen["done"])
    assert sorted(name for name in set(seen["read"]) if ".mlrepro-w" not in name) == [
        ".dvc/config", ".dvc/config.local", ".git/commondir", ".git/index",
        ".git/mlrepro/index", ".git/mlrepro/seal", "stores/blob/.mlrepro/store",
    ]  # fmt: skip
    assert _hook(settled)["held"]


def test_what_it_loads(settled: Hooked) -> None:
    """Nothing at all beyond what Python has loaded by then, while its seal holds."""
    assert _hook(settled)["loaded"] == []
    (settled.state / "seal").unlink()
    seen = _hook(settled)
    allowed = {"mlrepro", *(f"mlrepro.{name}" for name in RINGS["hot"]), *RINGS["hot-imports"]}
    python = {name for name in seen["loaded"] if not name.startswith("mlrepro")}
    assert {name for name in seen["loaded"] if name.startswith("mlrepro")} <= allowed
    for heavy in ("subprocess", "re", "json", "typing", "dataclasses", "pathlib", "hashlib"):
        assert heavy not in python


def test_a_folder_is_listed_and_its_files_are_not_read(settled: Hooked) -> None:
    for number in range(5):
        settled.write(f"images/sub/{number}.png", str(number))
    assert settled.mlrepro("track", "images").exit_code == 0
    settled.commits("-m", "images")
    _settle(settled)
    seen = _hook(settled)
    assert seen["held"] and seen["done"] == []
    assert not [name for name in seen["read"] if name.endswith(".png")]


@pytest.mark.parametrize("change", ["edited", "touched", "of another size", "pointer", "blob gone"])
def test_any_doubt_is_looked_into(settled: Hooked, change: str) -> None:
    """Then, and only then, more is loaded; and where nothing had changed, once."""
    if change == "pointer":
        settled.write(POINTER, settled.read(POINTER) + b"# a comment\n")
        settled.git("add", POINTER)
    elif change == "blob gone":
        oid = settled.md5(DATA)
        (settled.store / "files" / "md5" / oid[:2] / oid[2:]).unlink()
    elif change == "touched":
        settled.path(DATA).touch()
    else:
        content = settled.read(DATA)
        settled.write(DATA, content.replace(b"one", b"two") if change == "edited" else content * 2)
    settled.stage()
    settled.commits("-m", "readme")
    assert settled.is_good(), settled.explain()
    _settle(settled)
    settled.stage("README.md", "settled\n")
    seen = _hook(settled)
    assert seen["held"] and seen["done"] == []


def test_after_a_pull_nothing_is_hashed_again(plain: Hooked, tmp_path: Path) -> None:
    bob = plain.teammate(tmp_path / "bob")
    bob.edit("by bob")
    bob.commits("--allow-empty", "-m", "by bob")
    plain.git("pull", "--quiet", "--ff-only", str(bob.root), "main")
    assert "subprocess" not in _hook(plain)["loaded"]
    time.sleep(0.05)
    assert "subprocess" not in _hook(plain)["loaded"]
    assert _hook(plain)["held"]


@pytest.mark.parametrize(
    "command", [("switch", "-c", "new"), ("commit", "--allow-empty", "-m", "x")]
)
def test_what_is_written_where_nothing_changed(settled: Hooked, command: tuple[str, ...]) -> None:
    kept = [settled.untouched(f".git/mlrepro/{name}") for name in ("index", "seal")]
    settled.git(*command)
    assert [settled.untouched(f".git/mlrepro/{name}") for name in ("index", "seal")] == kept
