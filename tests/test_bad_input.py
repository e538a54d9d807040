"""Bad input: one plain error that says what to type, nothing lost, and the other files served."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mlrepro.errors import ConfigError, RepositoryError, StoreError
from working import Work, cloned, codes, made, oid_of, only, snapshot

COMMANDS = ("track", "status", "push", "pull")


@pytest.fixture
def work(tmp_path: Path) -> Work:
    """Two files tracked and committed."""
    found = made(tmp_path / "repo")
    for name in ("a", "b"):
        found.write(f"data/{name}.csv", f"{name}\n")
    assert found.track("data/*.csv").exit_code == 0
    found.save("data")
    return found


def says(work: Work, *args: str, cwd: str = ".", code: int = 1) -> tuple[str, str]:
    """The error and the hint that a real run prints; and that is all it prints on stderr."""
    done = work.mlrepro(*args, cwd=cwd)
    assert done.exit_code == code, done
    lines = done.stderr.splitlines()
    assert len(lines) == 2, done.stderr
    assert lines[0].startswith("error: ")
    assert lines[1].startswith("  hint: ")
    assert "Traceback" not in done.stderr
    return lines[0][7:], lines[1][8:]


# where one stands


@pytest.mark.parametrize("command", COMMANDS)
def test_not_a_git_repository(tmp_path: Path, command: str) -> None:
    error, hint = says(Work(tmp_path), command)
    assert str(tmp_path) in error
    assert hint == "git init && mlrepro init"
    told = Work(tmp_path).mlrepro(command, "--json").json
    assert (told["status"], told["errors"][0]["code"]) == ("error", "not-a-repository")


@pytest.mark.parametrize("command", COMMANDS)
def test_no_dvc(tmp_path: Path, command: str) -> None:
    work = Work.make(tmp_path / "repo")
    run = {"track": work.track, "status": work.status_of, "push": work.push, "pull": work.pull}
    with pytest.raises(RepositoryError) as caught:
        run[command]()
    assert (caught.value.code, caught.value.hint) == ("not-initialised", "mlrepro init")
    assert os.listdir(work.root) == [".git"]


def test_no_default_remote(work: Work) -> None:
    work.write(".dvc/config", "[core]\n    analytics = false\n")
    work.path(".dvc/config.local").unlink(missing_ok=True)
    for run in (work.track, work.push):
        with pytest.raises(StoreError) as caught:
            run()
        assert (caught.value.code, caught.value.hint) == ("no-store", "mlrepro init")
    assert codes(work.status_of()) == ["no-store"]
    assert work.read("data/a.csv") == b"a\n"


def test_a_dvc_config_that_cannot_be_read(work: Work) -> None:
    work.write(".dvc/config", "[core\nremote = x\n")
    for command in COMMANDS:
        error, _ = says(work, command)
        assert ".dvc/config" in error


# config/config.py

CONFIGS = {
    "BLOB_STORE = (": ("config-syntax", "line 1"),
    "import os\nx = 1\n": ("config-no-blob-store", "blob store"),
    "BLOB_STORE = make_store()\n": ("config-unreadable", "line 1: BLOB_STORE = make_store()"),
    "import x\nBLOB_STORE = x.STORE\n": ("config-unreadable", "line 2"),
    "BLOB_STORE = ''\n": ("config-invalid", "empty"),
    "BLOB_STORE = 5\n": ("config-invalid", "path or a URL"),
    "BLOB_STORE = '.'\n": ("config-invalid", "not the repository"),
    "BLOB_STORE = 'a\\nb'\n": ("config-invalid", "line end"),
    "\x00": ("config-syntax", "config/config.py"),
    "BLOB_STORE = 'x'\n\tindent\n": ("config-syntax", "line 2"),
    "BLOB_STORE = 's3:/' + '/me:secret@bucket/x'\n": ("secret-in-url", "password"),
}


@pytest.mark.parametrize("text", CONFIGS)
def test_a_config_that_says_no_store(tmp_path: Path, text: str) -> None:
    code, part = CONFIGS[text]
    work = Work.make(tmp_path / "repo")
    work.write("config/config.py", text)
    before = snapshot(work.root)
    with pytest.raises(ConfigError) as caught:
        work.init()
    assert caught.value.code == code
    assert part in caught.value.message
    assert caught.value.hint
    assert "\n" not in caught.value.message
    assert snapshot(work.root) == before


def test_once_set_up_a_broken_config_stops_only_what_needs_it(work: Work) -> None:
    work.write("config/config.py", "BLOB_STORE = (\nTRACK = ['data/*']\n")
    work.write("data/a.csv", "changed\n")
    assert work.track("data/a.csv").exit_code == 0
    assert work.status_of().exit_code == 1  # not committed yet
    with pytest.raises(ConfigError) as caught:
        work.track()  # what TRACK asks for cannot be known
    assert caught.value.code == "config-syntax"


# the store


def test_a_store_that_was_there_and_is_gone(work: Work) -> None:
    aside = work.store.rename(work.root / "unmounted")
    work.write("data/a.csv", "changed\n")
    for args in (["track"], ["track", "data/a.csv"], ["push"], ["init", "--hooks", "git"]):
        error, hint = says(work, *args)
        assert "stores/blob" in error
        assert "mount" in hint
    assert work.states() == {"data/a.csv": "modified", "data/b.csv": "unchanged"}
    work.path("data/b.csv").unlink()
    assert work.pull("data/b.csv").restored == ("data/b.csv",)  # the cache has it
    work.path("data/b.csv").unlink()
    work.forget()
    error = only(work.pull("data/b.csv"))
    assert (error.code, error.path) == ("store-missing", "data/b.csv")
    assert not work.store.exists()
    assert work.oid("data/a.csv.dvc") == oid_of("a\n")  # no pointer to what is not stored
    aside.rename(work.store)
    assert work.pull("data/b.csv").restored == ("data/b.csv",)
    assert work.track().exit_code == 0


def test_a_store_folder_that_was_emptied(work: Work) -> None:
    aside = work.store.rename(work.root / "unmounted")
    work.store.mkdir()  # what is left of a mount point
    work.write("data/a.csv", "changed\n")
    for args in (["track"], ["push"], ["init", "--hooks", "git"]):
        error, hint = says(work, *args)
        assert "stores/blob" in error
        assert "mount" in hint
    assert os.listdir(work.store) == []
    assert work.init(store=str(work.store)).store == str(work.store)  # meant to be new
    assert work.push(all_commits=True).stored.count == 2
    assert len(os.listdir(aside)) > 0


def test_a_store_that_is_a_file(work: Work) -> None:
    work.store.rename(work.root / "aside")
    work.store.write_text("not a folder")
    for args in (["track"], ["push"], ["init", "--hooks", "git"]):
        error, _ = says(work, *args)
        assert "not a folder" in error
    assert codes(work.status_of()) == ["store-not-a-folder"]
    assert work.store.read_text() == "not a folder"


def unprivileged(argv: list[str]) -> list[str]:
    """The command, in such a way that file modes count for it even if the tests run as root."""
    if os.geteuid() != 0:
        return argv
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("setpriv, which gives up root's power over file modes, is not installed")
    dropped = "-dac_override,-dac_read_search,-fowner"
    whole = [setpriv, "--bounding-set", dropped, "--inh-caps", dropped]
    if subprocess.run([*whole, "true"], check=False, capture_output=True).returncode:
        pytest.skip("the power over file modes cannot be given up here")
    return [*whole, *argv]


def test_a_store_that_is_read_only(work: Work) -> None:
    work.write("data/a.csv", "changed\n")
    work.write("data/b.csv", "b\n")  # of another date, no more
    for folder, _, _ in os.walk(work.store):
        os.chmod(folder, 0o555)
    try:
        argv = unprivileged([sys.executable, "-m", "mlrepro", "track"])
        done = subprocess.run(argv, cwd=work.root, capture_output=True, text=True, check=False)
        pulled = unprivileged([sys.executable, "-m", "mlrepro", "pull", "--force"])
        back = subprocess.run(pulled, cwd=work.root, capture_output=True, text=True, check=False)
    finally:
        for folder, _, _ in os.walk(work.store):
            os.chmod(folder, 0o755)
    assert done.returncode == 1, done
    error, hint = done.stderr.splitlines()
    assert "stores/blob" in error
    assert hint.startswith("  hint: ")
    assert work.oid("data/a.csv.dvc") == oid_of("a\n")
    assert (back.returncode, back.stdout.count("restored  data/a.csv")) == (0, 1), back
    assert work.read("data/a.csv") == b"a\n"  # reading such a store is no problem
    assert work.track().exit_code == 0


def test_data_that_may_not_be_read(work: Work) -> None:
    work.write("data/a.csv", "secret\n").chmod(0)
    work.write("data/b.csv", "changed\n")
    argv = unprivileged([sys.executable, "-m", "mlrepro", "track"])
    done = subprocess.run(argv, cwd=work.root, capture_output=True, text=True, check=False)
    work.path("data/a.csv").chmod(0o644)
    assert done.returncode == 1, done
    assert "data/a.csv" in done.stderr
    assert len(done.stderr.splitlines()) <= 2
    assert work.oid("data/b.csv.dvc") == oid_of("changed\n")
    assert work.oid("data/a.csv.dvc") == oid_of("a\n")


def test_a_cache_that_is_a_file(work: Work, tmp_path: Path) -> None:
    clone = cloned(work, tmp_path / "clone")
    clone.write(".dvc/cache", "a file")
    clone.write("data/new.csv", "new")
    for args in (["pull"], ["track", "data/new.csv"]):
        done = clone.mlrepro(*args)
        assert (done.exit_code, ".dvc/cache" in done.stderr) == (1, True), done
    assert clone.read(".dvc/cache") == b"a file"
