"""What would make a commit unrestorable or a user wait is found, and what is safe mended."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from building import Run, blob_path
from mlrepro import debts, index
from mlrepro.commands import doctor
from mlrepro.errors import RepositoryError
from working import Work, cloned, copied, made, oid_of, snapshot

SECRET = "hunter2-hunter2"
KEY = f"    secret_access_key = {SECRET}\n"


@pytest.fixture
def work(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Work:
    return copied("sound", build, tmp_path / "repo", tmp_path_factory.getbasetemp())


def build(root: Path) -> Work:
    root.parent.mkdir()
    work = made(root)
    work.write("data/a.csv", "id\n1\n")
    work.write("data/b/c.txt", "c")
    work.track("data/a.csv", "data/b")
    work.save()
    return work


def looked(work: Work, fix: bool = False, **given: object) -> doctor.DoctorResult:
    return doctor.run(work.project(), fix, work.options(**given))


def found(work: Work) -> list[str]:
    return [one.code for one in looked(work).findings]


def mended(work: Work, *expected: str) -> None:
    """These and nothing else are found; --fix mends them, and then all is in order."""
    before = snapshot(work.root)
    result = looked(work)
    assert tuple(one.code for one in result.findings) == expected
    assert result.exit_code == 1 and len(result.errors) == len(expected)
    would = looked(work, fix=True, dry_run=True)
    assert tuple(one.code for one in would.fixed) == expected
    assert snapshot(work.root) == before
    result = looked(work, fix=True)
    assert tuple(one.code for one in result.fixed) == expected
    assert (result.findings, result.exit_code) == ((), 0)
    assert found(work) == []


def test_a_sound_repository(work: Work) -> None:
    before = snapshot(work.root)
    result = looked(work, fix=True)
    assert (result.findings, result.fixed, result.exit_code) == ((), (), 0)
    assert snapshot(work.root) == before


def test_one_that_is_not_set_up(repo) -> None:
    work = Work(repo.root)
    with pytest.raises(RepositoryError):
        looked(work)


def test_hooks_that_were_chosen_away(work: Work) -> None:
    work.init(hooks="none")
    result = looked(work)
    assert result.findings == () and "as was chosen" in result.notes[0]
    work.init(hooks="git")
    assert looked(work).notes == ()


def test_hooks(work: Work) -> None:
    hook = work.path(".git/hooks/pre-commit")
    text = hook.read_text()
    hook.unlink()
    mended(work, "hook-missing")
    hook.write_text(text.replace(f"python={sys.executable}", "python=/no/such/python"))
    mended(work, "hook-interpreter-gone")
    hook.write_text(text + "# of an earlier version\n")
    mended(work, "hook-outdated")
    hook.chmod(0o644)
    mended(work, "hook-outdated")
    shutil.rmtree(work.path(".git/hooks"))
    mended(work, "hooks-missing")


def test_what_pre_commit_removed(work: Work) -> None:
    work.init(hooks="pre-commit")
    subprocess.run(
        [sys.executable, "-m", "pre_commit", "install", "-f"],
        cwd=work.root, check=True, capture_output=True,
    )  # fmt: skip
    mended(work, "hook-removed")


def test_a_fresh_clone(work: Work, tmp_path: Path) -> None:
    clone = cloned(work, tmp_path / "clone")
    codes = found(clone)
    assert codes == ["hooks-missing", "merge-driver-missing"]
    assert [one.code for one in looked(clone, fix=True).findings] == []


def test_settings_of_dvc(work: Work) -> None:
    text = work.path(".dvc/config").read_text()
    work.write(".dvc/config", text.replace("    type = copy\n", "").replace("[cache]\n", ""))
    mended(work, "cache-type")
    work.dvc("config", "cache.type", "hardlink")
    work.dvc("config", "core.autostage", "true")
    assert found(work) == ["cache-type", "autostage"]
    for one in looked(work).findings:
        work.dvc(*one.hint.split()[1:])
    assert found(work) == []


def test_pointers_that_a_rule_hides(work: Work) -> None:
    work.write(".gitignore", work.path(".gitignore").read_text() + "*.dvc\n")
    mended(work, "pointers-ignored")


def test_data_that_git_would_take(work: Work) -> None:
    work.write("data/.gitignore", "/b\n")
    mended(work, "data-not-ignored")
    work.git("add", "--force", "data/a.csv")
    assert found(work) == ["data-in-git"]
    subprocess.run(looked(work).findings[0].hint, shell=True, cwd=work.root, check=True)
    assert found(work) == []


def test_a_record_that_is_damaged(work: Work) -> None:
    record = work.path(".git/mlrepro/index")
    record.write_bytes(b"x" + record.read_bytes()[1:])
    mended(work, "record-damaged")
    record.write_bytes(index.render(index.Record()))
    assert found(work) == []


def test_a_store_that_is_gone_or_empty(work: Work) -> None:
    away = work.root.parent / "away"
    work.store.rename(away)
    assert found(work) == ["store-missing"]
    work.store.mkdir()
    assert found(work)[0] == "store-emptied"
    work.store.rmdir()
    away.rename(work.store)
    assert found(work) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_store_that_is_read_only(work: Work) -> None:
    work.store.chmod(0o555)
    try:
        assert found(work) == ["store-read-only"]
    finally:
        work.store.chmod(0o755)


def test_content_that_is_not_stored(work: Work) -> None:
    oid = oid_of("id\n1\n")
    blob_path(work.store, oid).unlink()
    assert found(work) == ["blobs-not-stored"]
    blob_path(work.root / ".dvc/cache", oid).unlink()
    assert found(work) == ["blob-missing"]
    assert looked(work).findings[0].path == "data/a.csv"
    debts.owe(work.project(), [oid])
    assert found(work) == ["blobs-owed", "blob-missing"]


def test_an_old_place_of_the_store(work: Work) -> None:
    place = work.path(".dvc/config.local")
    place.write_text(place.read_text().replace(str(work.store), "/no/such/folder"))
    mended(work, "store-url-stale")


def test_two_that_disagree(work: Work, tmp_path: Path) -> None:
    text = work.path("config/config.py").read_text()
    work.write("config/config.py", text.replace('"blob")', '"other")'))
    assert found(work) == ["blob-store-disagrees"]
    work.write("config/config.py", "BLOB_STORE = (\n")
    assert found(work) == ["config-syntax"]


def test_what_dead_runs_left(work: Work) -> None:
    room = work.store / ".mlrepro/tmp"
    (room / "123-abc").mkdir(parents=True)
    (room / "123-abc/0").write_text("half")
    (room / "123-abc.lock").touch()
    mended(work, "stray-files")
    assert list(room.iterdir()) == []
    (room / "kept").mkdir()
    (room / "kept/1").write_text("mine")
    assert found(work) == ["files-set-aside"]


def published(work: Work) -> str:
    """A key beside the url of the store; what the file said before."""
    text = work.path(".dvc/config").read_text()
    url = next(line for line in text.splitlines(keepends=True) if "url = " in line)
    work.write(".dvc/config", text.replace(url, url + KEY))
    return text


def test_a_secret_that_git_tracks(work: Work) -> None:
    published(work)
    mended(work, "secret-in-config")
    assert SECRET not in work.path(".dvc/config").read_text()
    local = work.path(".dvc/config.local")
    assert SECRET in local.read_text() and local.stat().st_mode & 0o777 == 0o600
    local.chmod(0o644)
    mended(work, "local-config-open")
    work.git("add", "--force", ".dvc/config.local")
    assert found(work) == ["local-config-in-git"]
    assert work.git("commit", "--quiet", "-m", "x", check=False).returncode == 1
    work.git("rm", "--quiet", "--cached", ".dvc/config.local")
    assert found(work) == []


def test_a_secret_in_the_history(work: Work) -> None:
    text = published(work)
    work.git("add", ".dvc/config")
    bad = work.save("publishes it")
    work.write(".dvc/config", text)
    assert found(work) == ["secret-staged", "secret-in-history"]
    work.git("add", ".dvc/config")
    work.save("too late")
    (one,) = looked(work).findings
    assert bad[:10] in one.message and "revoke" in one.hint and SECRET not in one.message
    work.git("config", "--add", "mlrepro.revoked", bad[:10])
    assert found(work) == []


def test_a_secret_is_rotated_and_purged_as_is_told(work: Work) -> None:
    """What is said names what tells it, and what that tells leaves nothing of it here."""
    published(work)
    work.git("add", ".dvc/config")
    work.git("commit", "--quiet", "--no-verify", "-m", "publishes it")
    told = work.mlrepro("doctor").stderr
    assert "mlrepro doctor --fix; revoke" in told and "docs/secrets.md" in told
    blob = work.git("rev-parse", "HEAD:.dvc/config").stdout.strip()
    text = (Path(__file__).parent.parent / "docs/secrets.md").read_text()
    script = text.split("<!-- run by the tests: amended -->\n```sh\n")[1].split("```")[0]
    first, *others = script.splitlines()
    assert first == "mlrepro doctor --fix"
    assert "secret-in-history" in work.mlrepro("doctor", "--fix", "--json").stdout
    subprocess.run("\n".join(["set -e", *others]), shell=True, cwd=work.root, check=True)
    assert work.git("cat-file", "-e", blob, check=False).returncode != 0
    assert found(work) == [] and SECRET in work.path(".dvc/config.local").read_text()


def test_a_secret_in_the_config_file(work: Work) -> None:
    work.write("config/config.py", f'BLOB_STORE = "https://me:{SECRET}@host/x"\n')
    assert found(work) == ["blob-store-disagrees", "secret-in-config"]
    run = work.mlrepro("doctor", "--json")
    assert run.exit_code == 1 and SECRET not in run.stdout + run.stderr


def test_packages_that_are_compiled_each_time(work: Work, tmp_path: Path) -> None:
    env = {"PYTHONPYCACHEPREFIX": str(tmp_path / "none"), "PYTHONDONTWRITEBYTECODE": "1"}
    run = work.mlrepro("doctor", "--json", env=env)
    (one,) = run.json["data"]["findings"]
    assert (one["code"], one["fixable"]) == ("no-bytecode", False)
    assert "compileall" in one["hint"]


def test_the_command_line(work: Work) -> None:
    run: Run = work.mlrepro("doctor")
    assert (run.exit_code, run.stdout, run.stderr) == (0, "all is in order\n", "")
    work.path(".git/hooks/pre-push").unlink()
    run = work.mlrepro("doctor", "--json")
    assert (run.exit_code, run.json["status"]) == (1, "findings")
    assert run.json["data"]["findings"] == [
        {
            "code": "hook-missing",
            "message": "mlrepro's pre-push hook is not there.",
            "hint": "mlrepro init",
            "path": ".git/hooks/pre-push",
            "fixable": True,
        }
    ]
    assert run.json["errors"][0]["hint"] == "mlrepro doctor --fix"
    run = work.mlrepro("doctor", "--fix", "--dry-run")
    assert run.stdout.startswith("would mend 1 finding, leaving 0 findings\n")
    run = work.mlrepro("doctor", "--fix")
    assert run.exit_code == 0 and run.stdout.endswith("all is in order\n")
