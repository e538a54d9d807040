"""track: whatever a path may be called or hold, its content is stored, and git sees the pointer."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from building import blob_path
from mlrepro.errors import MlreproError
from working import Heard, Work, cloned, codes, made, oid_of, only, snapshot

LANES = ("", "dvc")


@pytest.fixture(params=LANES)
def lane(request: pytest.FixtureRequest) -> str:
    """Which lane serves: the same has to be true in both."""
    return str(request.param)


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return made(tmp_path / "repo")


@pytest.fixture
def laned(tmp_path: Path, lane: str) -> Work:
    """As ``work``, once for each lane."""
    return made(tmp_path / "repo", lane)


@pytest.mark.parametrize("typed", [["data/*.csv"], ["./data/a.csv", "data//b.csv"], ["data/?.csv"]])
def test_files_and_globs(laned: Work, typed: list[str]) -> None:
    for name in ("a", "b"):
        laned.write(f"data/{name}.csv", name)
    laned.write("data/notes.txt", "not data")
    done = laned.track(*typed)
    assert [(item.path, item.pointer, item.oid, item.size) for item in done.tracked] == [
        ("data/a.csv", "data/a.csv.dvc", oid_of("a"), 1),
        ("data/b.csv", "data/b.csv.dvc", oid_of("b"), 1),
    ]
    assert (done.stored.count, done.stored.bytes) == (2, 2)
    assert laned.raw == ["data/notes.txt"]
    assert blob_path(laned.store, oid_of("a")).read_bytes() == b"a"
    assert blob_path(laned.path(".dvc/cache"), oid_of("a")).read_bytes() == b"a"
    again = laned.track(*typed)
    assert [item.state for item in again.tracked] == ["unchanged", "unchanged"]
    assert (again.stored.count, again.stored.bytes) == (0, 0)


def test_a_glob_that_matches_folders_and_what_is_in_them(work: Work) -> None:
    for name in ("data/a.csv", "data/deep/b.csv", "data/deep/er/c.csv"):
        work.write(name, name)
    done = work.track("data/**")
    assert {item.path for item in done.tracked} == {
        "data/a.csv", "data/deep/b.csv", "data/deep/er/c.csv"
    }  # fmt: skip
    assert not done.errors
    work.write("models/m/w.bin", "w")
    work.write("models/x.bin", "x")
    both = work.track("models/*")
    assert {item.path for item in both.tracked} == {"models/m", "models/x.bin"}
    nothing = work.track("data/*.nope")
    assert only(nothing).code == "path-missing"


def test_a_folder_and_what_is_in_it_named_together(work: Work) -> None:
    work.write("data/a.csv", "a")
    done = work.track("data/a.csv", "data")
    assert only(done).code == "path-inside-tracked"
    assert [item.path for item in done.tracked] == ["data"]
    assert not work.path("data/a.csv.dvc").exists()


def test_a_folder(laned: Work) -> None:
    for name in ("a.csv", "b/c.csv", "b/\u00e9 \U0001f600"):
        laned.write(f"data/set/{name}", name)
    done = laned.track("data/set")
    tracked = done.tracked[0]
    assert (tracked.path, tracked.pointer, tracked.state) == ("data/set", "data/set.dvc", "new")
    assert tracked.oid.endswith(".dir")
    assert tracked.size == sum(
        len(os.fsencode(n)) for n in ("a.csv", "b/c.csv", "b/\u00e9 \U0001f600")
    )
    assert "nfiles: 3" in laned.read("data/set.dvc").decode()
    assert done.stored.count == 4 if not laned.lane else done.stored.count >= 3
    assert laned.staged == {"data/set.dvc", "data/.gitignore"}
    laned.write("data/set/new.csv", "new")
    laned.path("data/set/a.csv").unlink()
    changed = laned.track("data/set")
    assert changed.tracked[0].state == "changed"
    assert changed.tracked[0].oid != tracked.oid
    assert laned.track("data/set/").tracked[0].state == "unchanged"
    assert laned.dvc("status", "--json").json == {}


@pytest.mark.parametrize("count", [2000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_a_folder_of_many_files(work: Work, tmp_path: Path, count: int) -> None:
    for number in range(count):
        work.write(f"data/many/{number % 97}/{number}.txt", f"{number}\n")
    done = work.track("data/many")
    assert (done.exit_code, done.stored.count) == (0, count + 1)
    work.save("many")
    work.write("data/many/5/5.txt", "edited\n")
    changed = work.track("data/many")
    assert (changed.tracked[0].state, changed.stored.count) == ("changed", 2)
    work.save("edited")
    clone = cloned(work, tmp_path / "clone")
    assert clone.pull().restored == ("data/many",)
    assert clone.read("data/many/5/5.txt") == b"edited\n"
    assert clone.read(f"data/many/{(count - 1) % 97}/{count - 1}.txt") == b"%d\n" % (count - 1)
    assert clone.status_of().clean


def test_many_pointers_at_once(work: Work) -> None:
    for number in range(300):
        work.write(f"data/{number}.txt", f"{number}\n")
    work.path("config/config.py").write_text("BLOB_STORE = 'stores/blob'\nTRACK = ['data/*.txt']\n")
    done = work.track()
    assert (len(done.tracked), done.stored.count) == (300, 300)
    assert work.raw == []


def test_an_edit_that_keeps_size_and_date(laned: Work) -> None:
    path = laned.write("data/x.csv", "aaaa")
    laned.track("data/x.csv")
    was = path.stat()
    path.write_text("bbbb")
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    done = laned.track("data/x.csv")
    assert (done.tracked[0].state, done.tracked[0].oid) == ("changed", oid_of("bbbb"))
    assert path.read_text() == "bbbb"


def test_no_path_takes_what_is_tracked_and_what_the_config_asks_for(laned: Work) -> None:
    laned.write("data/old.csv", "1")
    laned.write("models/m.pt", "1")
    laned.track("data/old.csv")
    laned.save("first")
    laned.write("data/old.csv", "2")
    laned.write("data/new.csv", "1")
    laned.write("data/in_git.csv", "1")
    laned.git("add", "data/in_git.csv")
    config = laned.read("config/config.py").decode()
    config = config.replace('# "data/*.csv",', '"data/*.csv", "models/**",')
    laned.write("config/config.py", config)
    done = laned.track()
    assert not done.errors, [error.message for error in done.errors]
    assert {(item.path, item.state) for item in done.tracked} == {
        ("data/old.csv", "changed"), ("data/new.csv", "new"), ("models/m.pt", "new"),
    }  # fmt: skip
    assert laned.staged >= {"data/old.csv.dvc", "data/new.csv.dvc", "models/m.pt.dvc"}
    assert "config/config.py" not in laned.staged
    laned.path("data/old.csv").unlink()  # missing data is no change
    again = laned.track()
    assert not again.errors
    assert {item.path for item in again.tracked} == {"data/new.csv", "models/m.pt"}


def test_nothing_to_track(work: Work) -> None:
    done = work.track()
    assert (done.tracked, done.errors, done.exit_code) == ((), (), 0)
    empty = made(work.root.parent / "empty").mlrepro("track", "--json")
    assert empty.json["data"] == {"tracked": [], "stored": {"count": 0, "bytes": 0}}


def test_make_dvc(work: Work) -> None:
    work.write("data/x.csv", "1")
    work.track("data/x.csv")
    work.write("data/x.csv", "2")
    assert "changed  data/x.csv" in work.make_dvc()
    assert work.oid("data/x.csv.dvc", ":0") == oid_of("2")


def test_the_executable_bit(laned: Work, tmp_path: Path) -> None:
    laned.write("models/run.sh", "#!/bin/sh\n").chmod(0o755)
    laned.track("models/run.sh")
    assert "isexec: true" in laned.read("models/run.sh.dvc").decode()
    laned.save("run")
    clone = cloned(laned, tmp_path / "clone")
    clone.pull()
    assert os.access(clone.path("models/run.sh"), os.X_OK)
    laned.path("models/run.sh").chmod(0o644)
    assert laned.states() == {"models/run.sh": "modified"}
    done = laned.track()
    assert done.tracked[0].state == "changed"
    assert "isexec" not in laned.read("models/run.sh.dvc").decode()


def test_the_users_file_is_never_touched(laned: Work) -> None:
    path = laned.write("data/x.csv", "1")
    path.chmod(0o600)
    before = path.stat()
    laned.track("data/x.csv")
    after = path.stat()
    assert (before.st_ino, before.st_mtime_ns, before.st_mode) == (
        after.st_ino, after.st_mtime_ns, after.st_mode
    )  # fmt: skip
    assert path.stat().st_nlink == 1


HIDDEN = {
    "data/": ["!/data/", "/data/*", "!/data/*.dvc", "!/data/.gitignore"],
    "data/*": ["!/data/*.dvc", "!/data/.gitignore"],
    "*.dvc": ["!/data/*.dvc"],
    "*.csv*": ["!/data/*.dvc"],
}


@pytest.mark.parametrize("rule", HIDDEN)
def test_the_rules_that_hide_a_pointer(laned: Work, rule: str) -> None:
    before = laned.path(".gitignore").read_text() if laned.path(".gitignore").exists() else ""
    laned.write(".gitignore", f"{before}{rule}\n")
    laned.write("data/x.csv", "1")
    laned.write("data/secret.csv", "1")
    laned.git("add", ".gitignore")
    done = laned.track("data/x.csv")
    assert not done.errors, [error.message for error in done.errors]
    shown = {line for line in done.ignore_changes if line.startswith(".gitignore: ")}
    assert shown == {f".gitignore: {line}" for line in HIDDEN[rule]}
    assert laned.path(".gitignore").read_text() == f"{before}{rule}\n" + "".join(
        f"{line}\n" for line in HIDDEN[rule]
    )
    assert {"data/x.csv.dvc", ".gitignore"} <= laned.staged
    assert [name for name in laned.raw if "secret" in name] == (
        ["data/secret.csv"] if rule == "*.dvc" else []
    )
    assert "data/x.csv" not in laned.raw
    again = laned.track("data/x.csv")
    assert again.ignore_changes == ()


def test_a_rule_of_this_user_alone_does_not_keep_data_out(work: Work, tmp_path: Path) -> None:
    work.write(".git/info/exclude", "*.csv\n")
    work.write("data/x.csv", "1")
    work.track("data/x.csv")
    work.save("x")
    clone = cloned(work, tmp_path / "clone")
    clone.pull()
    assert clone.raw == []


def test_a_rule_that_is_undone_later_in_the_file(work: Work) -> None:
    work.write("data/.gitignore", "/x.csv\n!*.csv\n")
    work.write("data/x.csv", "1")
    work.track("data/x.csv")
    assert work.raw == []


def test_paths_are_relative_to_where_one_stands(work: Work) -> None:
    work.write("data/x.csv", "1")
    work.write("data/sub/y.csv", "1")
    done = work.mlrepro("track", "../x.csv", "y.csv", "--json", cwd="data/sub")
    assert done.exit_code == 0, done.stderr
    told = done.json
    assert set(told["data"]) == {"tracked", "stored"}
    assert set(told["data"]["stored"]) == {"count", "bytes"}
    assert [item["path"] for item in told["data"]["tracked"]] == ["y.csv", "../x.csv"]
    keys = {"path", "pointer", "oid", "size", "state"}
    assert all(set(item) == keys for item in told["data"]["tracked"])
    other = work.mlrepro("-C", "data", "track", "x.csv", "-v")
    assert (other.exit_code, other.stdout) == (0, "1 tracked, all unchanged\n")
    quiet = work.mlrepro("track", "data/x.csv", "-q", "-j", "1")
    assert (quiet.exit_code, quiet.stdout, quiet.stderr) == (0, "", "")


def test_a_dash_in_front_and_a_glob_that_the_shell_left(work: Work) -> None:
    work.write("-x.csv", "1")
    done = work.mlrepro("track", "--", "-x.csv")
    assert done.exit_code == 0, done.stderr
    assert "new  -x.csv" in done.stdout
    assert work.raw == []


def test_a_dry_run_says_what_would_be(work: Work) -> None:
    work.write("data/a.csv", "aa")
    work.write("data/set/b.csv", "bbb")
    work.write(".gitignore", "data/\n")
    work.track("data/a.csv")
    work.write("data/a.csv", "aaaa")
    before = snapshot(work.root)
    done = work.track("data/a.csv", "data/set", dry_run=True)
    assert [(item.path, item.state) for item in done.tracked] == [
        ("data/a.csv", "changed"), ("data/set", "new")
    ]  # fmt: skip
    assert snapshot(work.root) == before
    real = work.track("data/a.csv", "data/set")
    assert (done.stored, done.tracked, done.ignore_changes) == (
        real.stored, real.tracked, real.ignore_changes
    )  # fmt: skip


def test_the_store_itself_is_not_data(work: Work) -> None:
    for path in ("stores", "stores/blob", "stores/blob/files", ".dvc", ".dvc/cache"):
        done = work.track(path)
        assert only(done).code == "path-reserved", path
        assert only(done).hint or path.startswith(".dvc")


def test_an_empty_folder_and_an_empty_file(laned: Work) -> None:
    laned.write("data/empty", None)
    assert only(laned.track("data/empty")).code == "folder-empty"
    laned.write("data/nothing.csv", "")
    assert laned.track("data/nothing.csv").tracked[0].oid == oid_of("")


def test_the_environment_forces_the_lane(work: Work) -> None:
    work.write("data/x.csv", "1")
    done = work.mlrepro("track", "data/x.csv", "-v", env={"MLREPRO_LANE": "dvc"})
    assert done.exit_code == 0, done.stderr
    assert work.path(".dvc/tmp/lock").exists()  # DVC was at work
    assert work.oid("data/x.csv.dvc") == oid_of("1")


def test_a_lane_that_there_is_not(work: Work) -> None:
    work.write("data/x.csv", "1")
    done = work.mlrepro("track", "data/x.csv", "--json", env={"MLREPRO_LANE": "fats"})
    assert done.exit_code == 2 and done.json["errors"][0]["code"] == "lane-unknown"
    assert (
        "auto" in done.json["errors"][0]["message"] and "dvc" in done.json["errors"][0]["message"]
    )
    assert not work.path("data/x.csv.dvc").exists()
    assert work.mlrepro("track", "data/x.csv", env={"MLREPRO_LANE": "auto"}).exit_code == 0


def test_another_files_failure_does_not_stop_the_others(laned: Work) -> None:
    laned.write("data/x.csv", "1")
    os.mkfifo(laned.path("data/pipe"))
    done = laned.track("data/pipe", "data/x.csv", "data/gone")
    assert [item.path for item in done.tracked] == ["data/x.csv"]
    assert sorted(codes(done)) == ["path-missing", "path-not-regular"]


def test_progress_is_told(work: Work) -> None:
    class Counted(Heard):
        total = 0

        def advance(self, count: int) -> None:
            self.total += count

    heard = Counted()
    work.write("data/x.bin", os.urandom(3 << 20))
    work.track("data/x.bin", reporter=heard)
    assert heard.total >= 3 << 20
    assert sys.getrefcount(heard)  # the reporter is only lent
    assert isinstance(only(work.track("nope")), MlreproError)


@pytest.mark.parametrize("fails", [False, True])
def test_many_pointers_are_staged_as_one_pack(work: Work, fails: bool) -> None:
    """And one by one, as git does it by itself, where it can make no pack."""
    names = [f"data/many{at:03}.csv" for at in range(80)]
    for name in names:
        work.write(name, name)
    packs = work.path(".git/objects/pack")
    if fails:
        packs.rmdir()
        packs.write_text("in the way")
    assert work.track(*names).exit_code == 0
    if fails:
        packs.unlink()
    assert {f"{name}.dvc" for name in names} <= work.staged
    assert bool(list(packs.glob("*.pack"))) == (not fails)
    work.save("many")
    for name in names[::40]:
        shown = work.git("show", f"HEAD:{name}.dvc").stdout
        assert shown.encode() == work.read(f"{name}.dvc")
    assert work.git("fsck", "--strict").returncode == 0
    assert work.status == ""


def test_a_name_that_was_left_out_is_checked_once_it_no_longer_is(work: Work) -> None:
    """Though the folder has just the files that it had when its listing was made."""
    work.write(".dvcignore", "git~1\n")
    for name in ("a.csv", "b.csv", "git~1"):
        work.write(f"data/set/{name}", name)
    assert work.track("data/set").exit_code == 0
    work.path(".dvcignore").unlink()
    work.write("data/set/a.csv", "edited")
    refused = only(work.track("data/set"))
    assert (refused.code, refused.path) == ("path-invalid", "git~1")
