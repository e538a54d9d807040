"""init: every kind of repository it may meet, and what it must leave as it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from building import git
from mlrepro.errors import ConfigError, MlreproError, PathError, RepositoryError
from working import NEW, Work, made, snapshot


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work.make(tmp_path / "repo")


def test_an_empty_repository_in_a_process(work: Work) -> None:
    done = work.mlrepro("init", "--json")
    assert done.exit_code == 0, done.stderr
    told = done.json
    assert set(told["data"]) == {"root", "store", "remote", "created", "changed", "hooks"}
    assert set(told["data"]["created"]) == NEW
    assert told["data"]["changed"] == []
    assert told["data"]["remote"] == "storage"
    assert told["data"]["store"] == str(work.store)
    hooks = {"pre-commit", "pre-push", "post-merge", "post-checkout", "post-rewrite"}
    assert set(told["data"]["hooks"]) == hooks
    assert work.staged == NEW
    assert work.raw == []
    assert work.store.is_dir()
    assert "    remote = storage\n" in work.read(".dvc/config").decode()
    assert "    url = ../stores/blob\n" in work.read(".dvc/config").decode()
    assert str(work.root) not in work.read(".dvc/config").decode()
    assert b"pre-commit" in work.path(".git/hooks/pre-commit").read_bytes()
    assert os.access(work.path(".git/hooks/pre-commit.legacy"), os.X_OK)
    assert "- id: dvc" in work.read(".pre-commit-config.yaml").decode()
    work.git("commit", "--quiet", "-m", "set up")  # through pre-commit and make
    assert work.status == ""
    before = snapshot(work.root)
    again = work.mlrepro("init")
    assert (again.exit_code, again.stderr) == (0, "")
    assert "all is set up" in again.stdout
    assert snapshot(work.root) == before


@pytest.mark.parametrize("hooks", ["git", "none", None])
def test_a_second_run_changes_nothing(work: Work, hooks: str | None) -> None:
    for _ in range(2):
        work.init(hooks=hooks)
        before = snapshot(work.root)
        done = work.init(hooks=hooks)
        assert (done.created, done.changed, done.advice) == ((), (), ())
        assert snapshot(work.root) == before
        work.save()


def test_the_data_folder_itself_is_tracked(work: Work) -> None:
    work.init()
    work.write("data/raw/a.csv", "1\n")
    assert work.track("data").errors == ()
    work.save()
    before = snapshot(work.root)
    assert work.init().changed == ()
    assert snapshot(work.root) == before


@pytest.mark.parametrize("hooks", ["git", "none", None])
def test_a_dry_run_changes_nothing(work: Work, hooks: str | None) -> None:
    work.write(".gitignore", "data/\n")
    work.write("Makefile", "all:\n\ttrue\n")
    before = snapshot(work.root)
    done = work.init(hooks=hooks, dry_run=True)
    assert {".dvc/config", "config/config.py"} <= set(done.created)
    assert set(done.changed) == {".gitignore", "Makefile"}
    assert snapshot(work.root) == before
    real = work.init(hooks=hooks)
    assert set(real.created) == set(done.created)
    assert set(real.changed) == set(done.changed)
    before = snapshot(work.root)
    assert work.init(hooks="git", store=str(work.root / "other"), dry_run=True)
    assert work.init(hooks="none", dry_run=True)
    assert snapshot(work.root) == before


def test_from_a_sub_folder(work: Work) -> None:
    work.write("a/b/c.txt", "c")
    done = work.mlrepro("init", "--hooks", "git", cwd="a/b")
    assert done.exit_code == 0, done.stderr
    assert "../../config/config.py" in done.stdout
    assert work.path(".dvc/config").is_file()
    assert not work.path("a/b/config").exists()
    assert work.init(store="../../blobs", cwd="a/b").store == str(work.root / "blobs")


def test_a_linked_worktree_keeps_its_content_with_the_main_one(work: Work, tmp_path: Path) -> None:
    work.save("first")
    work.git("worktree", "add", "--quiet", str(tmp_path / "linked"))
    linked = Work(tmp_path / "linked")
    linked.init()
    linked.write("data/x.csv", "1\n")
    assert linked.track("data/x.csv").exit_code == 0
    linked.save("data")
    assert linked.raw == []
    work.git("worktree", "remove", "--force", str(linked.root))
    work.git("merge", "--quiet", "linked")
    assert work.status == ""
    assert work.pull().exit_code == 0
    assert work.read("data/x.csv") == b"1\n"


def test_a_linked_worktree_of_a_repository_that_is_set_up(tmp_path: Path) -> None:
    work = made(tmp_path / "repo")
    work.git("worktree", "add", "--quiet", str(tmp_path / "linked"))
    linked = Work(tmp_path / "linked")
    before = snapshot(linked.root)
    done = linked.init()
    assert (done.created, done.changed, done.store) == ((), (), str(work.store))
    changed = {name for name, what in snapshot(linked.root).items() if before.get(name) != what}
    assert changed <= {".dvc/config.local", ".dvc"}


BASE = "from pathlib import Path\nimport os\nBASE_DIR = Path(__file__).parent.parent.absolute()\n"
FORMS = [
    'BLOB_STORE = Path(BASE_DIR, "stores", "blob")',
    'STORES_DIR = BASE_DIR / "stores"\nBLOB_STORE = STORES_DIR / "blob"',
    'BLOB_STORE = Path(__file__).resolve().parents[1].joinpath("stores", "blob")',
    (
        "HERE = os.path.dirname(os.path.abspath(__file__))\n"
        'BLOB_STORE = os.path.join(os.path.dirname(HERE), "stores/blob")'
    ),
    'BLOB_STORE = f"{BASE_DIR}/stores/blob"',
    'BLOB_STORE = str(BASE_DIR) + "/stores/" + "blob"',
    'BLOB_STORE = os.environ.get("NOT_SET_HERE", "stores/blob")',
    'BLOB_STORE = os.getenv("NOT_SET_HERE", Path(BASE_DIR, "stores/blob"))',
    'BLOB_STORE: Path = Path(BASE_DIR, "stores/blob")',
    'BLOB_STORE = "stores/blob"',
]


@pytest.mark.parametrize("line", FORMS)
def test_a_config_of_the_users_own(work: Work, line: str) -> None:
    text = (
        '"""Ours."""\nimport logging\nimport sys\nimport mlflow\nfrom rich.logging import Nothing\n'
        f"{BASE}mlflow.set_tracking_uri('file://' + str(BASE_DIR))\n{line}\n"
        "logging.config.dictConfig({'version': 1, 'handlers': {'a': {'stream': sys.stdout}}})\n"
        "Path('made').mkdir(exist_ok=True)\nraise SystemExit(3)\n"
    )
    work.write("config/config.py", text)
    done = work.init()
    assert done.store == str(work.store)
    assert work.read("config/config.py").decode() == text
    assert "config/config.py" not in (*done.created, *done.changed)
    assert "config/config.py" not in work.staged  # the user's, to be staged by them
    assert not work.path("made").exists()


def test_a_store_elsewhere_by_config_and_by_url(work: Work, tmp_path: Path) -> None:
    work.write("config/config.py", f"BLOB_STORE = {str(tmp_path / 'mnt/shared')!r}\n")
    assert work.init().store == str(tmp_path / "mnt/shared")
    assert (tmp_path / "mnt/shared/files/md5").is_dir()
    assert not work.path(".gitignore").exists()
    other = Work.make(tmp_path / "other")
    other.write("config/config.py", "BLOB_STORE = 's3://bucket/some/where'\n")
    done = other.init()
    assert (done.store, done.remote) == ("s3://bucket/some/where", "storage")
    assert "url = s3://bucket/some/where" in other.read(".dvc/config").decode()
    assert not (other.root / "s3:").exists()


def test_the_store_option(work: Work, tmp_path: Path) -> None:
    done = work.init(store=str(tmp_path / "one"))
    assert done.store == str(tmp_path / "one")
    assert repr(str(tmp_path / "one")) in work.read("config/config.py").decode()
    before = snapshot(work.root)
    assert work.init(store=str(tmp_path / "one")).changed == ()
    assert snapshot(work.root) == before
    assert work.init().store == str(tmp_path / "one")
    config = work.read("config/config.py")
    moved = work.init(store=str(tmp_path / "two"))
    assert moved.store == str(tmp_path / "two")
    assert moved.changed == (".dvc/config",)
    assert work.read("config/config.py") == config  # a user's line by now
    assert any("BLOB_STORE" in line for line in moved.advice)
    work.write("data/x.csv", "1")
    work.track("data/x.csv")
    assert list((tmp_path / "two" / "files").rglob("*/*/*"))
    url = Work.make(tmp_path / "url").init(store="s3://bucket/place")
    assert url.store == "s3://bucket/place"
    assert "BLOB_STORE = 's3://bucket/place'" in (tmp_path / "url/config/config.py").read_text()


@pytest.mark.parametrize("url", ["https://me:secret@host/x", "webdav://user:pw@host/x"])
def test_a_secret_in_the_url_is_refused(work: Work, url: str) -> None:
    before = snapshot(work.root)
    with pytest.raises(ConfigError) as caught:
        work.init(store=url)
    assert caught.value.code == "secret-in-url"
    assert caught.value.hint
    assert snapshot(work.root) == before


def test_dvc_with_a_remote_of_its_own(work: Work, tmp_path: Path) -> None:
    work.dvc("init", "--quiet")
    work.dvc("remote", "add", "--quiet", "--default", "ours", str(tmp_path / "theirs"))
    work.dvc("config", "core.analytics", "false")
    work.write("data/x.csv", "1\n")
    work.dvc("add", "--quiet", "data/x.csv")
    work.dvc("push", "--quiet")
    work.commit("as DVC has it")
    text = work.read(".dvc/config").decode()
    pointer = work.read("data/x.csv.dvc")
    done = work.init()
    assert (done.remote, done.store) == ("ours", str(tmp_path / "theirs"))
    after = work.read(".dvc/config").decode()
    lines = iter(after.splitlines())
    assert all(line in lines for line in text.splitlines())
    assert work.read("data/x.csv.dvc") == pointer
    assert repr(str(tmp_path / "theirs")) in work.read("config/config.py").decode()
    assert work.status_of().files[0].stored
    assert work.dvc("status", "--json").json == {}
    assert work.dvc("status", "--cloud", "--json").json == {}


def test_dvc_with_a_remote_that_the_config_contradicts(work: Work, tmp_path: Path) -> None:
    work.dvc("init", "--quiet")
    (tmp_path / "theirs").mkdir()
    work.dvc("remote", "add", "--quiet", "--default", "ours", str(tmp_path / "theirs"))
    work.write("config/config.py", "BLOB_STORE = 'stores/blob'\n")
    done = work.init()
    assert (done.remote, done.store) == ("ours", str(tmp_path / "theirs"))
    assert any("BLOB_STORE" in line for line in done.advice)
    assert work.init(store="stores/blob").store == str(work.store)
    assert work.init().advice == ()


MOMENTS = [at if at % 2 else pytest.param(at, marks=pytest.mark.slow) for at in range(1, 16)]


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_init_that_was_killed_is_completed(work: Work, moment: int) -> None:
    work.write("Makefile", "all: ;\n")
    work.write("README.md", "x")
    work.commit("first")
    work.write("notes.txt", "mine, not staged")
    script = (
        "import os, sys\n"
        "from mlrepro import durable, writing\n"
        "from mlrepro.commands import init\n"
        "from mlrepro.result import Options\n"
        f"left = [{moment}]\n"
        "whole = writing.write_atomic\n"
        "def write(*args, **given):\n"
        "    whole(*args, **given)\n"
        "    left[0] -= 1\n"
        "    if not left[0]: os._exit(9)\n"
        "writing.write_atomic = write\n"
        "init.run(sys.argv[1], store=None, hooks='git', options=Options())\n"
    )
    argv = [sys.executable, "-c", script, str(work.root)]
    code = subprocess.run(argv, check=False).returncode
    assert code in (0, 9)
    if code == 0 and moment < 12:
        pytest.fail("the test no longer interrupts anything")
    work.init()
    assert work.staged == NEW - {".pre-commit-config.yaml"}
    assert work.git("status", "--porcelain").stdout.count("?? notes.txt") == 1
    assert work.raw == ["notes.txt"]
    assert work.git("check-ignore", ".dvc/cache", ".dvc/tmp", ".dvc/config.local").stdout


def test_staging_leaves_a_users_unfinished_edit_alone(work: Work) -> None:
    work.write("Makefile", "all: ;\n")
    work.write(".gitattributes", "*.png binary\n")
    work.commit("first")
    work.write("Makefile", "all: ;\nmore: ;\n")
    done = work.init()
    assert {"Makefile", ".gitattributes"} <= set(done.changed)
    assert "Makefile" not in work.staged
    assert ".gitattributes" in work.staged
    assert "more" not in work.git("show", ":Makefile").stdout


ODD = {
    "config is a file": ("config", "text"),
    "Makefile is a folder": ("Makefile/x", "text"),
    ".gitignore is a folder": (".gitignore/x", "text"),
    ".dvc is a file": (".dvc", "text"),
    "stores is a file": ("stores", "text"),
    "the store is a file": ("stores/blob", "text"),
}


@pytest.mark.parametrize("case", ODD)
def test_what_is_in_the_way_is_named(work: Work, case: str) -> None:
    work.write(*ODD[case])
    done = work.mlrepro("init", "--hooks", "git")
    assert done.exit_code == 1, done
    error, hint = done.stderr.splitlines()
    assert len(done.stdout.splitlines()) == 0
    assert ODD[case][0].split("/")[0] in error
    assert hint.startswith("  hint: ")
    assert work.read(ODD[case][0]) == b"text"


def test_a_link_is_not_written_through(work: Work, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("all: ;\n")
    work.path("Makefile").symlink_to(tmp_path / "outside")
    with pytest.raises(PathError) as caught:
        work.init()
    assert caught.value.hint
    assert (tmp_path / "outside").read_text() == "all: ;\n"


def test_no_repository_and_a_bare_one(tmp_path: Path) -> None:
    place = Work(tmp_path)
    with pytest.raises(RepositoryError) as caught:
        place.init()
    assert caught.value.hint.startswith("git init")
    git(tmp_path, "init", "--quiet", "--bare", "bare.git")
    with pytest.raises(MlreproError) as bare:
        place.init(cwd="bare.git")
    assert bare.value.code == "bare-repository"
    assert sorted(os.listdir(tmp_path)) == ["bare.git"]


def test_hooks_none_takes_only_ours_away(work: Work) -> None:
    own = work.path(".git/hooks/pre-commit")
    own.parent.mkdir(exist_ok=True)
    own.write_text("#!/bin/sh\nexit 0\n")
    own.chmod(0o755)
    work.init()
    assert b"mlrepro" in own.read_bytes()
    work.init(hooks="none")
    assert own.read_text() == "#!/bin/sh\nexit 0\n"
    assert work.git("config", "--get-regexp", "merge", check=False).stdout == ""
