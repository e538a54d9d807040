"""Our hooks in git's hooks folder: beside whatever is there, gone without a trace, explained."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from building import read_file_tree
from hooked import DATA, MAKE_ENTRY, MOSTLY_PLAIN, POINTER, Hooked
from mlrepro import install, project as places
from mlrepro.errors import PathError

LOGS = '#!/bin/sh\necho "{name} $*" >> "$(git rev-parse --git-dir)/log"\n'


def _own_hook(folder: Path, name: str, text: str = LOGS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    hook = folder / name
    hook.write_text(text.replace("{name}", name))
    hook.chmod(0o755)
    return hook


def _install(repo: Hooked) -> list[str]:
    return install.install(places.find(str(repo.root), {}))


def _uninstall(repo: Hooked) -> list[str]:
    return install.uninstall(places.find(str(repo.root), {}))


@pytest.fixture
def bare_hooks(plain: Hooked) -> Hooked:
    """The repository with git's hooks folder empty again."""
    shutil.rmtree(plain.path(".git/hooks"))
    return plain


def test_ours_are_put_there_and_taken_away(bare_hooks: Hooked) -> None:
    assert [Path(path).name for path in _install(bare_hooks)] == list(install.HOOKS)
    assert _install(bare_hooks) == []
    assert [Path(path).name for path in _uninstall(bare_hooks)] == list(install.HOOKS)
    assert os.listdir(bare_hooks.path(".git/hooks")) == []
    assert _uninstall(bare_hooks) == []


def test_a_dry_run_writes_nothing(bare_hooks: Hooked) -> None:
    project = places.find(str(bare_hooks.root), {})
    assert len(install.install(project, dry_run=True)) == len(install.HOOKS)
    assert not bare_hooks.path(".git/hooks").exists()


def test_one_that_lost_its_executable_bit_is_mended(plain: Hooked) -> None:
    plain.path(".git/hooks/pre-push").chmod(0o644)
    assert [Path(path).name for path in _install(plain)] == ["pre-push"]
    assert os.access(plain.path(".git/hooks/pre-push"), os.X_OK)


def test_a_users_own_hooks_go_on_and_come_back(bare_hooks: Hooked, tmp_path: Path) -> None:
    folder = bare_hooks.path(".git/hooks")
    for name in (*install.HOOKS, "commit-msg"):
        _own_hook(folder, name)
    before = read_file_tree(folder)
    _install(bare_hooks)
    bare_hooks.git("init", "--quiet", "--bare", str(tmp_path / "origin.git"))
    bare_hooks.edit()
    bare_hooks.stage()
    bare_hooks.commits("-m", "readme")
    assert bare_hooks.is_good(), bare_hooks.explain()
    bare_hooks.git("push", "--quiet", str(tmp_path / "origin.git"), "main")
    bare_hooks.git("switch", "--quiet", "-c", "branch")
    log = bare_hooks.read(".git/log").decode()
    assert [line.split()[0] for line in log.splitlines()] == [
        "pre-commit", "commit-msg", "pre-push", "post-checkout",
    ]  # fmt: skip
    _uninstall(bare_hooks)
    assert read_file_tree(folder) == before


def test_a_users_own_hook_can_refuse(bare_hooks: Hooked) -> None:
    _own_hook(bare_hooks.path(".git/hooks"), "pre-commit", "#!/bin/sh\necho not today\nexit 7\n")
    _install(bare_hooks)
    bare_hooks.edit()
    before = bare_hooks.read(POINTER)
    bare_hooks.stage()
    assert "not today" in bare_hooks.refused("-m", "readme")
    assert bare_hooks.read(POINTER) == before


def test_a_users_own_hook_that_is_switched_off_stays_off(bare_hooks: Hooked) -> None:
    _own_hook(bare_hooks.path(".git/hooks"), "pre-commit", "#!/bin/sh\nexit 7\n").chmod(0o644)
    _install(bare_hooks)
    bare_hooks.stage()
    bare_hooks.commits("-m", "readme")


def test_a_hook_that_fails_too_late_does_not_keep_the_data_from_following(
    bare_hooks: Hooked,
) -> None:
    """Git makes a failed post-checkout the exit code of the checkout, as it would without ours."""
    _own_hook(bare_hooks.path(".git/hooks"), "post-checkout", "#!/bin/sh\nexit 3\n")
    _install(bare_hooks)
    bare_hooks.git("switch", "--quiet", "-c", "branch", check=False)
    oid = bare_hooks.edit()
    bare_hooks.commits("--allow-empty", "-m", "edited")
    bare_hooks.git("switch", "--quiet", "main", check=False)
    done = bare_hooks.git("switch", "--quiet", "branch", check=False)
    assert done.returncode != 0
    assert bare_hooks.md5(DATA) == oid


def test_all_refs_reach_both_hooks(bare_hooks: Hooked, tmp_path: Path) -> None:
    hook = '#!/bin/sh\ncat >> "$(git rev-parse --git-dir)/refs-seen"\n'
    _own_hook(bare_hooks.path(".git/hooks"), "pre-push", hook)
    _install(bare_hooks)
    bare_hooks.git("init", "--quiet", "--bare", str(tmp_path / "origin.git"))
    bare_hooks.git("push", "--quiet", str(tmp_path / "origin.git"), "main:one", "main:two")
    assert bare_hooks.read(".git/refs-seen").count(b"refs/heads/main") == 2


@pytest.mark.parametrize("framework", ["pre-commit", "prek"])
@pytest.mark.parametrize("order", ["framework first", "framework last"])
def test_a_users_own_hook_beneath_a_framework(
    bare_hooks: Hooked, framework: str, order: str
) -> None:
    """Whoever comes first: theirs, ours and the framework's all run, and theirs runs once."""
    _own_hook(bare_hooks.path(".git/hooks"), "pre-commit")
    bare_hooks.write(".pre-commit-config.yaml", MAKE_ENTRY.replace("make dvc", "git --version"))
    program = Path(sys.executable).parent / framework
    for step in ("framework", "ours") if order == "framework first" else ("ours", "framework"):
        if step == "ours":
            _install(bare_hooks)
        else:
            subprocess.run([program, "install"], cwd=bare_hooks.root, check=True)
    assert _install(bare_hooks) == []
    bare_hooks.edit()
    bare_hooks.git("add", ".pre-commit-config.yaml")
    bare_hooks.commits("-m", "config")
    assert bare_hooks.is_good(), bare_hooks.explain()
    assert bare_hooks.read(".git/log").decode().split() == ["pre-commit"]
    _uninstall(bare_hooks)
    bare_hooks.commits("--allow-empty", "-m", "again")
    assert bare_hooks.read(".git/log").decode().split() == ["pre-commit", "pre-commit"]


def test_two_hooks_in_the_way_are_named(bare_hooks: Hooked) -> None:
    folder = bare_hooks.path(".git/hooks")
    for name in ("pre-commit", "pre-commit.before-mlrepro"):
        _own_hook(folder, name)
    with pytest.raises(PathError) as caught:
        _install(bare_hooks)
    assert caught.value.code == "hook-in-the-way"
    assert "pre-commit.before-mlrepro" in caught.value.hint


def test_hooks_in_a_folder_that_git_tracks(bare_hooks: Hooked, tmp_path: Path) -> None:
    """They name no place of this machine, so that they can be committed; each clone has its own."""
    theirs = _own_hook(bare_hooks.path(".githooks"), "pre-commit")
    bare_hooks.git("config", "core.hooksPath", ".githooks")
    bare_hooks.git("add", ".githooks")
    bare_hooks.unhooked("commit", "--quiet", "-m", "hooks of our own")
    done = bare_hooks.mlrepro("init", "--hooks", "git")
    assert done.exit_code == 0 and "core.hooksPath" in done.stdout, done.stderr
    assert "make the two agree" not in done.stdout
    assert not bare_hooks.path(".git/hooks").exists()
    assert sys.executable not in theirs.read_text()
    bare_hooks.edit()
    bare_hooks.git("add", ".githooks")
    bare_hooks.commits("-m", "hooks of mlrepro")
    assert bare_hooks.is_good(), bare_hooks.explain()
    assert bare_hooks.read(".git/log").decode().split() == ["pre-commit"]
    clone = Hooked(bare_hooks.clone(tmp_path / "clone").root)
    assert clone.mlrepro("init", "--hooks", "git").exit_code == 0
    clone.git("config", "core.hooksPath", ".githooks")
    assert clone.status == ""
    clone.store = bare_hooks.store
    assert clone.mlrepro("pull").exit_code == 0
    clone.edit("in the clone")
    clone.commits("--allow-empty", "-m", "edited")
    assert clone.is_good(), clone.explain()


def test_hooks_in_a_folder_of_the_users(bare_hooks: Hooked, tmp_path: Path) -> None:
    """Shared by all of their repositories, most of which have nothing to do with data."""
    shared = tmp_path / "githooks"
    _own_hook(shared, "pre-commit")
    bare_hooks.git("config", "--global", "core.hooksPath", str(shared))
    assert len(_install(bare_hooks)) == len(install.HOOKS)
    bare_hooks.edit()
    bare_hooks.stage()
    bare_hooks.commits("-m", "readme")
    assert bare_hooks.is_good(), bare_hooks.explain()
    other = Hooked(Hooked.make(tmp_path / "other").root)
    other.stage()
    said = other.commits("-m", "nothing to do with data")
    assert "mlrepro" not in said.stdout + said.stderr
    assert other.read(".git/log") == b"pre-commit \n"
    assert not (other.root / ".git/mlrepro").exists()


def test_a_hooks_folder_that_is_none(bare_hooks: Hooked) -> None:
    bare_hooks.git("config", "core.hooksPath", "/dev/null")
    done = bare_hooks.mlrepro("init", "--hooks", "git")
    assert done.exit_code == 1
    assert "/dev/null" in done.stderr and "Traceback" not in done.stderr


def test_a_linked_worktree_shares_them(plain: Hooked, tmp_path: Path) -> None:
    plain.git("worktree", "add", "--quiet", str(tmp_path / "linked"))
    assert _install(Hooked(tmp_path / "linked")) == []


def test_a_submodule(plain: Hooked, tmp_path: Path) -> None:
    """It has hooks and state of its own, inside the git folder of what it is part of."""
    outer = Hooked(Hooked.make(tmp_path / "outer").root)
    outer.git(
        "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(plain.root), "sub"
    )
    outer.git("commit", "--quiet", "-m", "submodule")
    sub = Hooked(outer.path("sub"))
    sub.store = plain.store
    done = sub.mlrepro("init", "--hooks", "git")
    assert done.exit_code == 0, done.stderr
    assert outer.path(".git/modules/sub/hooks/pre-commit").exists()
    assert sub.mlrepro("pull").exit_code == 0
    sub.edit()
    sub.stage()
    sub.commits("-m", "readme")
    assert sub.is_good(), sub.explain()
    assert outer.git("-C", "sub", "status", "--porcelain").stdout == ""
    outer.git("add", "sub")
    outer.commits("-m", "the submodule moved on")


def test_a_separate_git_folder(plain: Hooked, tmp_path: Path) -> None:
    plain.git("init", "--quiet", "--separate-git-dir", str(tmp_path / "elsewhere.git"))
    plain.edit()
    plain.stage()
    plain.commits("-m", "readme")
    assert plain.is_good(), plain.explain()


def test_where_mlrepro_was_uninstalled(bare_hooks: Hooked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(bare_hooks.root / "no-such-python"))
    _install(bare_hooks)
    bare_hooks.edit()
    bare_hooks.stage()
    bare = {"PATH": "/usr/bin:/bin"}
    if shutil.which("mlrepro-hook", path=bare["PATH"]) is None:
        said = bare_hooks.refused("-m", "readme", env=bare)
        assert "mlrepro is not installed" in said and "mlrepro init" in said
        bare_hooks.git("switch", "--quiet", "-c", "branch", env=bare)


def test_another_mlrepro_on_the_path_stands_in(
    bare_hooks: Hooked, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    python = sys.executable
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-such-python"))
    _install(bare_hooks)
    stand_in = tmp_path / "bin" / "mlrepro-hook"
    _own_hook(stand_in.parent, stand_in.name, f'#!/bin/sh\nexec "{python}" -m mlrepro hook "$@"\n')
    bare_hooks.edit()
    bare_hooks.stage()
    path = os.pathsep.join((str(stand_in.parent), os.environ["PATH"]))
    bare_hooks.commits("-m", "readme", env={"PATH": path})
    assert bare_hooks.is_good(), bare_hooks.explain()


@pytest.mark.parametrize("hooked", MOSTLY_PLAIN, indirect=True)
def test_init_none_and_back(hooked: Hooked) -> None:
    assert hooked.mlrepro("init", "--hooks", "none").exit_code == 0
    assert not list(hooked.path(".git/hooks").glob("*.before-mlrepro"))
    assert not any(install.is_ours(str(path)) for path in hooked.path(".git/hooks").iterdir())
    kind = "pre-commit" if hooked.way == "pre-commit" else "git"
    assert hooked.mlrepro("init", "--hooks", kind).exit_code == 0
    hooked.edit()
    hooked.stage()
    hooked.commits("-m", "readme")
    assert hooked.is_good(), hooked.explain()
    assert hooked.status == ""


def test_explain(hooked: Hooked) -> None:
    hooked.stage("README.md", "settled\n")
    hooked.commits("-m", "settled")
    before = read_file_tree(hooked.root)
    found = {one["name"]: one for one in _explained(hooked)}
    assert list(found) == list(install.HOOKS)
    assert all(one["installed"] for one in found.values())
    first = found["pre-commit"]
    under = [] if hooked.way == "plain" else [hooked.way]
    assert [turn for turn in first["order"] if not turn.startswith("mlrepro:")] == [
        *under, *(f"the hooks of {name}" for name in under),
    ]  # fmt: skip
    assert first["now"] == "nothing: data and pointers agree"
    assert first["path"] == ".git/hooks/pre-commit" + (".legacy" if under else "")
    hooked.edit()
    assert _explained(hooked)[0]["now"] == "compare data and pointers"
    hooked.write(DATA, before[DATA])
    assert {**read_file_tree(hooked.root), DATA: None} == {**before, DATA: None}


def test_explain_where_nothing_is_installed(bare_hooks: Hooked) -> None:
    assert {one["now"] for one in _explained(bare_hooks)} == {"nothing: it is not installed"}
    said = bare_hooks.mlrepro("hook", "--explain")
    assert said.exit_code == 0 and "pre-commit" in said.stdout


def _explained(repo: Hooked) -> list[dict[str, object]]:
    found: list[dict[str, object]] = repo.mlrepro("hook", "--explain", "--json").json["data"][
        "hooks"
    ]
    return found
