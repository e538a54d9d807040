"""Makes the virtual environment that the Makefile works with, exactly as the lock file says."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

# The version of pip that comes with an interpreter may be old; this one, and what builds packages
# that come as sources, is the same everywhere, so nothing unlocked takes part.
BUILD_LOCK = Path("requirements/build.lock")
PROJECT = Path("pyproject.toml")


def main(folder: str, lock: str) -> int:
    """Bring the environment in ``folder`` up to ``lock``; both are relative to the current one."""
    venv = Path(folder).absolute()
    if not shutil.which("git"):
        return _complain("git is not installed, or not on the PATH.", "install git")
    with Path(__file__).open() as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)  # whoever comes second finds the work done
        try:
            return _prepare(venv, Path(lock))
        except subprocess.CalledProcessError as error:
            return _complain(
                f"{' '.join(map(str, error.cmd[:5]))} … failed: see above.", "run make again"
            )


def _prepare(venv: Path, lock: Path) -> int:
    """Do what the ready file shows is still to do: packages, the project itself, or nothing."""
    ready = venv / "ready"
    packages = _digest(lock, BUILD_LOCK, Path(__file__))
    interpreter = f"{sys.version_info[:3]} {os.path.realpath(sys.executable)}"
    wanted = [str(venv), f"{packages} {interpreter}", _digest(PROJECT)]
    found = ready.read_text("utf-8").splitlines() if ready.exists() else []
    python = venv / "bin" / "python"
    if found[:2] != wanted[:2] or not python.exists():
        began = time.monotonic()
        print(f"Making {venv.name} from {lock} …", file=sys.stderr, flush=True)
        if _make(venv, python, lock):
            return 1
        took = time.monotonic() - began
        print(f"{venv.name} is ready after {took:.0f} s.", file=sys.stderr, flush=True)
    elif found != wanted:
        _install_project(python)
    ready.write_text("\n".join(wanted) + "\n", "utf-8")
    return 0


def _make(venv: Path, python: Path, lock: Path) -> int:
    try:
        import ensurepip  # noqa: F401 - Debian has it in a package of its own
        import venv as _  # noqa: F401
    except ImportError:
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        return _complain(
            f"{sys.executable} cannot make virtual environments.",
            f"apt install python{version}-venv, or name another: make PYTHON=/path/to/python3",
        )
    shutil.rmtree(venv, ignore_errors=True)
    _run(sys.executable, "-m", "venv", str(venv))
    # Two steps: what builds packages must be there before a package has to be built.
    _install(python, "--require-hashes", "-r", str(BUILD_LOCK))
    _install(python, "--require-hashes", "--no-build-isolation", "-r", str(lock))
    _install_project(python)
    # Without bytecode, DVC's imports take three times as long.
    site = venv / "lib"
    _run(str(python), "-m", "compileall", "-q", "-j", "0", str(site), "src", check=False)
    return 0


def _install_project(python: Path) -> None:
    _install(python, "--no-deps", "--no-build-isolation", "--editable", ".")


def _install(python: Path, *arguments: str) -> None:
    # Only errors: what pip warns of is its configuration on this machine.
    quietly = ("-qq", "--disable-pip-version-check", "--no-input", "--no-compile")
    _run(str(python), "-m", "pip", "install", *quietly, *arguments)


def _run(*argv: str, check: bool = True) -> None:
    # A user's PYTHON… and PIP_REQUIRE_VIRTUALENV do not apply to an environment of our own.
    own = {"PYTHONHOME", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PIP_REQUIRE_VIRTUALENV"}
    clean = {name: value for name, value in os.environ.items() if name not in own | {"PIP_USER"}}
    subprocess.run(argv, check=check, env=clean, stdout=sys.stderr)


def _digest(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _complain(what: str, hint: str) -> int:
    print(f"error: {what}\n  hint: {hint}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
