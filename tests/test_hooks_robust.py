"""Hooks in odd places: never a traceback, no commit stopped that has nothing to do with data."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from building import Repo
from hooked import DATA, FIRST, POINTER, Hooked
from mlrepro import install

CALLS = [
    ("pre-commit",), ("pre-commit", "one", "too", "many"),
    ("pre-push",), ("pre-push", "origin"), ("pre-push", "origin", "url", "more"),
    ("post-merge",), ("post-merge", "2"),
    ("post-checkout",), ("post-checkout", "x"), ("post-checkout", "no", "such", "1"),
    ("post-rewrite",), ("post-rewrite", "rebase"), ("post-rewrite", "somehow"),
]  # fmt: skip


def _hook(repo: Repo, *args: str, env: dict[str, str] | None = None, cwd: str = ".") -> str:
    """A hook, called by hand: it has to pass, in words if in any."""
    done = repo.mlrepro("hook", *args, env=env, cwd=cwd)
    _calm(done.stderr)
    assert done.exit_code == 0, done.stderr
    return done.stderr


def _calm(said: str) -> None:
    for word in ("Traceback", "this is a bug", "itself failed"):
        assert word not in said, said


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_wrong_arguments(plain: Hooked, call: tuple[str, ...]) -> None:
    assert _hook(plain, *call) == ""


@pytest.mark.parametrize("call", [(), ("nonsense",), ("--",), ("pre-commit\n",)], ids=str)
def test_no_such_hook(plain: Hooked, call: tuple[str, ...]) -> None:
    done = plain.mlrepro("hook", *call)
    _calm(done.stderr)
    assert done.exit_code == 2
    assert "hint" in done.stderr


def test_outside_of_a_repository(tmp_path: Path) -> None:
    nowhere = Repo(tmp_path)
    for name in install.HOOKS:
        done = nowhere.mlrepro("hook", name)
        _calm(done.stderr)
        assert done.exit_code == (1 if name == "pre-push" else 0)


def test_in_a_bare_repository(plain: Hooked, tmp_path: Path) -> None:
    """It has commits to push, but no data to look after."""
    plain.git("clone", "--quiet", "--bare", str(plain.root), str(tmp_path / "bare.git"))
    shutil.copytree(plain.path(".git/hooks"), tmp_path / "bare.git/hooks", dirs_exist_ok=True)
    bare = Repo(tmp_path / "bare.git")
    for name in install.HOOKS:
        assert _hook(bare, name) == ""
    bare.git("init", "--quiet", "--bare", str(tmp_path / "origin.git"))
    bare.git("push", "--quiet", str(tmp_path / "origin.git"), "main")


def test_a_repository_that_was_never_set_up(tmp_path: Path) -> None:
    repo = Hooked(Repo.make(tmp_path / "repo").root)
    for name in install.HOOKS:
        assert _hook(repo, name) == ""
    assert not (repo.root / ".git/mlrepro").exists()


def test_a_branch_without_any_of_it(plain: Hooked) -> None:
    """As from before all this: the data goes with its commits, and comes back with them."""
    plain.git("switch", "--quiet", "--orphan", "before")
    assert not plain.path(DATA).exists()
    plain.write("code.py", "two = 2\n")
    plain.git("add", "code.py")
    said = plain.commits("-m", "code alone").stderr
    assert "mlrepro" not in said
    plain.git("switch", "--quiet", "main")
    assert plain.read(DATA) == FIRST.encode()
    assert plain.is_good(), plain.explain()
    assert plain.status == ""


def test_an_index_that_is_damaged(plain: Hooked) -> None:
    """Git says so itself; a hook that is called all the same says it in a line."""
    plain.write(".git/index", b"DIRC\0\0\0\2 and no more")
    for name in install.HOOKS:
        done = plain.mlrepro("hook", name)
        _calm(done.stderr)
        assert done.exit_code == (1 if name == "pre-commit" else 0)


@pytest.mark.parametrize("version", ["4", "split", "untracked cache"])
def test_other_kinds_of_index(plain: Hooked, version: str) -> None:
    if version == "4":
        plain.git("update-index", "--index-version", "4")
    else:
        option = "--split-index" if version == "split" else "--untracked-cache"
        plain.git("update-index", option)
    plain.edit()
    plain.stage()
    plain.write("a.py", "one = 2\n")
    plain.commits("-m", "readme")
    assert plain.is_good(), plain.explain()
    assert plain.status == " M a.py\n"


def _sparse(repo: Hooked, *folders: str) -> None:
    repo.write("far/away.txt", "far")
    repo.git("add", "far")
    repo.commits("-m", "far")
    repo.git("sparse-checkout", "set", "--cone", "--sparse-index", *folders)
    assert not repo.path("far").exists()


def test_a_sparse_checkout(plain: Hooked) -> None:
    _sparse(plain, "data", ".dvc", "config")
    plain.edit()
    plain.stage()
    plain.commits("-m", "readme")
    assert plain.is_good(), plain.explain()
    assert plain.git("show", "HEAD:far/away.txt").stdout == "far"


def test_a_sparse_checkout_that_leaves_out_where_the_store_is(plain: Hooked) -> None:
    """Git removes the whole folder ``.dvc`` then, with all that is ignored in it."""
    _sparse(plain, "data")
    plain.stage("README.md", "no data changed")
    plain.commits("-m", "readme")
    plain.edit()
    plain.stage()
    assert "git sparse-checkout add .dvc config" in plain.refused("-m", "readme")
    plain.git("sparse-checkout", "add", ".dvc", "config")
    plain.commits("-m", "readme")
    assert plain.is_good(), plain.explain()


def test_a_repository_with_sha256_names(tmp_path: Path) -> None:
    repo = Hooked(tmp_path / "repo")
    repo.root.mkdir()
    repo.git("init", "--quiet", "--object-format=sha256")
    repo.write(DATA, FIRST)
    assert repo.mlrepro("init", "--hooks", "git").exit_code == 0
    assert repo.mlrepro("track", DATA).exit_code == 0
    repo.commits("-m", "first")
    assert repo.is_good(), repo.explain()
    repo.edit()
    repo.stage()
    repo.commits("-m", "readme")
    assert repo.is_good(), repo.explain()
    before = repo.untouched(POINTER)
    repo.stage("README.md", "again")
    repo.commits("-m", "readme")
    assert repo.untouched(POINTER) == before


def test_what_git_tells_a_hook_by_its_environment(plain: Hooked) -> None:
    """GIT_DIR and GIT_WORK_TREE as a user may have them set, from any folder."""
    plain.edit()
    plain.stage()
    env = {"GIT_DIR": str(plain.path(".git")), "GIT_WORK_TREE": str(plain.root)}
    plain.commits("-m", "readme", cwd="..", env=env)
    assert plain.is_good(), plain.explain()


def test_a_git_folder_of_another_name(plain: Hooked, tmp_path: Path) -> None:
    """As people keep for their home folder: ``git --git-dir=… --work-tree=…``."""
    plain.path(".git").rename(tmp_path / "dotfiles")
    plain.edit()
    plain.write("README.md", "changed\n")
    both = (f"--git-dir={tmp_path / 'dotfiles'}", f"--work-tree={plain.root}")
    done = subprocess.run(
        ["git", *both, "commit", "-qam", "readme"], cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    shown = subprocess.run(
        ["git", *both, "show", f"HEAD:{POINTER}"], capture_output=True, check=True, text=True
    )
    assert plain.md5(DATA) in shown.stdout
    assert plain.has_blob(plain.md5(DATA))


def test_standard_streams_that_are_closed(plain: Hooked) -> None:
    plain.edit()
    plain.stage()
    script = "exec git commit -m readme <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", script], cwd=plain.root, check=False).returncode == 0
    assert plain.is_good(), plain.explain()
    script = "exec python -m mlrepro hook pre-push origin url <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", script], cwd=plain.root, check=False).returncode == 0


def test_a_terminal_is_not_read(plain: Hooked) -> None:
    """A hook that a person starts has nothing on standard input, and does not wait for it."""
    import pty

    keyboard, screen = pty.openpty()
    try:
        for call in (
            ["sh", ".git/hooks/pre-push"],
            ["python", "-m", "mlrepro", "hook", "pre-push"],
        ):
            done = subprocess.run(
                [*call, "origin", "url"], cwd=plain.root, stdin=screen, timeout=60, check=False
            )
            assert done.returncode == 0
    finally:
        os.close(keyboard)
        os.close(screen)


@pytest.mark.parametrize("broken", ["config", "config.local"])
def test_settings_of_dvc_that_cannot_be_read(plain: Hooked, broken: str) -> None:
    """Refused in words: where the content would go is not known."""
    plain.write(f".dvc/{broken}", "[remote\nnonsense")
    plain.edit()
    plain.stage()
    assert "config" in plain.refused("-m", "readme")
    plain.git("switch", "--quiet", "-c", "branch")


def test_a_config_that_cannot_be_read_is_no_matter_here(plain: Hooked) -> None:
    plain.write("config/config.py", "BLOB_STORE = (\n")
    plain.edit()
    plain.stage()
    plain.commits("-m", "readme")
    assert plain.is_good(), plain.explain()


def test_a_state_folder_that_cannot_be_written(plain: Hooked) -> None:
    """What is known of the worktree is a convenience: the commit is right without it."""
    shutil.rmtree(plain.state)
    plain.write(".git/mlrepro", "in the way")
    plain.edit()
    plain.stage()
    done = plain.commit_with("-m", "readme")
    _calm(done.stderr)
    if done.exit_code == 0:
        assert plain.is_good(), plain.explain()
    else:
        assert ".git/mlrepro" in done.stderr


def test_names_that_need_quoting(plain: Hooked) -> None:
    for name in ("data/ein Größe.csv", "data/-x.csv", "data/a'b\"c$d.csv", "data/*[x].csv"):
        plain.write(name, name)
        done = plain.mlrepro("track", f"./{name}")
        assert done.exit_code == 0, done.stderr
        plain.commits("-m", "one more")
        plain.write(name, "edited")
        plain.stage("README.md", name)
        plain.commits("-m", "edited")
        assert plain.git("show", f"HEAD:{name}.dvc").stdout.count(plain.md5(name)) == 1


def test_ours_can_be_told_to_be_quiet(plain: Hooked) -> None:
    """By whoever runs git and does what the hooks would; a merge driver has to do its work."""
    plain.edit()
    quiet = {"MLREPRO_NO_HOOKS": "1"}
    plain.commits("--allow-empty", "-m", "quiet", env=quiet)
    assert not plain.is_good()
    done = plain.mlrepro("hook", "merge-pointer", env=quiet)
    assert done.exit_code == 2


def test_line_ends_that_git_converts(plain: Hooked) -> None:
    """As on a disk that is shared with Windows: the pointer's text here is not what is staged."""
    plain.git("config", "core.autocrlf", "true")
    plain.path(POINTER).unlink()
    plain.git("checkout", "--", POINTER)
    assert b"\r\n" in plain.read(POINTER)
    plain.edit()
    plain.stage()
    plain.commits("-m", "readme")
    assert plain.oid(POINTER, "HEAD") == plain.oid(POINTER, ":0") == plain.md5(DATA)
    assert "\r" not in plain.git("show", f"HEAD:{POINTER}").stdout
    assert plain.status == ""


@pytest.mark.parametrize("locale", ["C", "POSIX"])
def test_a_locale_that_knows_only_ascii(plain: Hooked, locale: str) -> None:
    name = "data/Größe.csv"
    plain.write(name, name)
    assert plain.mlrepro("track", name).exit_code == 0
    plain.write(name, "edited")
    plain.commits("-m", "edited", env={"LC_ALL": locale, "LANG": locale})
    assert plain.is_good(name), plain.explain(name)


def test_a_lane_that_there_is_not_stops_no_commit(plain: Hooked) -> None:
    plain.edit("lane")
    done = plain.commit_with("--allow-empty", "-m", "edited", env={"MLREPRO_LANE": "fats"})
    assert done.exit_code == 0, done.stderr
    assert "'fats'" in done.stderr and "auto" in done.stderr and "dvc" in done.stderr
    assert plain.is_good(), plain.explain()
