"""Holds the code to its plan: who imports whom, and what a commit without changed data loads."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "mlrepro"
RINGS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["mlrepro"]["rings"]
FAST: list[str] = RINGS["fast"]
HOT: list[str] = RINGS["hot"]

# Imports modules and tells what that did: modules loaded, and all that the interpreter reports of
# processes, threads, sockets and files opened for writing.
PROBE = """
import os, sys
sys.path.insert(0, sys.argv[1])
WATCHED = ("os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system",
           "pty.spawn", "socket.", "subprocess.Popen", "_thread.start_new_thread")
done = []
def watch(event, arguments):
    if event.startswith(WATCHED):
        done.append(event)
    elif event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        done.append(f"open {arguments[0]} for writing")
sys.addaudithook(watch)
before = set(sys.modules)
for name in sys.argv[2:]:
    __import__(name)
loaded = sorted(set(sys.modules) - before)
import json
print(json.dumps({"loaded": loaded, "done": done}))
"""


def test_import_contracts() -> None:
    """What pyproject.toml says under ``tool.importlinter``."""
    pytest.importorskip("importlinter", reason="import-linter is not in this environment")
    program = "import sys; from importlinter.cli import lint_imports_command as run; run()"
    done = subprocess.run(
        [sys.executable, "-c", program, "--no-cache", "--no-logo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", FAST)
def test_fast_ring_imports_standard_library_only(name: str) -> None:
    allowed = sys.stdlib_module_names | {"mlrepro"}
    path = SOURCE / (name.replace(".", "/") + ".py")
    foreign = {module for module in _imported(path) if module.partition(".")[0] not in allowed}
    assert not foreign


def test_a_commit_without_changed_data_loads_almost_nothing() -> None:
    """Each one more costs every commit. -S: what else the environment loads is not ours."""
    seen = _probe("mlrepro.hook", options=("-I", "-S", "-B"))
    python = _probe("__future__", *RINGS["hot-imports"], options=("-I", "-S", "-B"))
    allowed = {f"mlrepro.{name}" for name in HOT} | {"mlrepro"} | set(python["loaded"])
    assert [module for module in seen["loaded"] if module not in allowed] == []
    assert "mlrepro.hook" in seen["loaded"]
    assert not seen["done"]


def test_a_seal_that_holds_needs_nothing_that_python_has_not_loaded_by_then() -> None:
    """As the hook reads it; not even ``os`` is there."""
    text = (
        "import sys; before = set(sys.modules)\n"
        "from _frozen_importlib_external import SourceFileLoader\n"
        "exec(SourceFileLoader('seal', sys.argv[1]).get_code('seal'))\n"
        "unbroken(); print(sorted(set(sys.modules) - before), 'os' in before)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", text, str(SOURCE / "seal.py")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "[] False\n", done.stdout + done.stderr


@pytest.mark.parametrize("name", FAST)
def test_importing_does_nothing(name: str) -> None:
    """No process, no thread, no socket, no file written, merely because of an import."""
    seen = _probe(f"mlrepro.{name}", options=("-I", "-B"))
    assert seen["done"] == []
    ours = sys.stdlib_module_names | {"mlrepro"}
    assert [module for module in seen["loaded"] if module.partition(".")[0] not in ours] == []


def test_dvc_is_imported_only_once_it_is_asked() -> None:
    seen = _probe("mlrepro.cli", "mlrepro.dvc", options=("-I", "-B"))
    assert [module for module in seen["loaded"] if module.partition(".")[0] == "dvc"] == []


def test_rings_name_modules_that_exist() -> None:
    for name in (*FAST, *HOT):
        assert (SOURCE / (name.replace(".", "/") + ".py")).is_file(), name
    assert set(HOT) <= set(FAST)


def _probe(*modules: str, options: tuple[str, ...]) -> dict[str, list[str]]:
    done = subprocess.run(
        [sys.executable, *options, "-c", PROBE, str(SOURCE.parent), *modules],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen: dict[str, list[str]] = json.loads(done.stdout)
    return seen


def _imported(path: Path) -> Iterator[str]:
    """Every module that a file imports anywhere in it, except for types alone."""
    pending: list[ast.AST] = [ast.parse(path.read_text("utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            pending.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or ""
        pending.extend(ast.iter_child_nodes(node))
