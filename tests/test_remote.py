"""The store in use: shown, tried out, and moved to another, with all that history needs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from building import blob_path
from mlrepro.commands import remote as command
from mlrepro.errors import MlreproError, PathError, Refused, UsageError
from working import Work, cloned, codes, copied, made, oid_of, only, snapshot

ONE, TWO, THREE = "id\n1\n", "id\n1\n2\n", "id\n1\n2\n3\n"


def remote(work: Work, action: str = "show", url: str | None = None, **given: object):
    options = work.options(**{key: given.pop(key) for key in ("dry_run", "yes") if key in given})
    return command.run(work.project(), action, url, options, **given)


@pytest.fixture
def work(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Work:
    """Three versions of a file, a folder, and one more version that is not committed."""
    work = copied("moves", build, tmp_path / "repo", tmp_path_factory.getbasetemp())
    work.status_of()
    return work


def build(root: Path) -> Work:
    root.parent.mkdir()
    work = made(root)
    for text in (ONE, TWO):
        work.write("data/a.csv", text)
        work.track("data/a.csv")
        work.save()
    work.write("data/many/x.txt", "x")
    work.write("data/many/y.txt", "y")
    work.track("data/many")
    work.save()
    work.write("data/a.csv", THREE)
    work.track("data/a.csv")
    return work


def everything(store: Path) -> set[str]:
    names = store.glob("files/md5/*/*")
    return {path.parent.name + path.name for path in names}


def test_show(work: Work) -> None:
    found = remote(work)
    assert found.exit_code == 0
    assert found.data() == {
        "name": "storage", "url": str(work.store), "kind": "folder", "options": {}, "secrets": [],
        "owed": 0,
    }  # fmt: skip
    shutil.move(work.store, work.root / "away")
    found = remote(work)
    assert (only(found).code, found.url) == ("store-missing", str(work.store))


def test_test(work: Work) -> None:
    before = snapshot(work.root)
    found = remote(work, "test")
    assert (found.exit_code, found.steps) == (0, ("write", "read", "list", "remove"))
    assert snapshot(work.root) == before
    (work.store / ".mlrepro/tmp").rmdir()
    (work.store / ".mlrepro/tmp").write_text("in the way")
    found = remote(work, "test")
    assert only(found).code.startswith("store-") and found.steps == ()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_test_of_a_store_that_is_read_only(work: Work) -> None:
    room = work.store / ".mlrepro/tmp"
    room.chmod(0o555)
    try:
        assert only(remote(work, "test")).code == "store-denied"
    finally:
        room.chmod(0o755)


def test_a_move_brings_all_that_history_needs(work: Work, tmp_path: Path) -> None:
    before = everything(work.store)
    assert len(before) == 6
    new = tmp_path / "elsewhere"
    found = remote(work, "set", str(new))
    assert codes(found) == []
    assert everything(new) == before == everything(work.store)
    assert (found.copied.count, found.was, found.url) == (6, str(work.store), str(new))
    assert set(found.changed) == {".dvc/config", "config/config.py"}
    assert work.staged >= {".dvc/config", "config/config.py"}
    assert f'BLOB_STORE = Path("{new}")\n' in work.path("config/config.py").read_text()
    assert 'BLOB_STORE was Path(STORES_DIR, "blob")' in found.notes[0]
    # init agrees, and everything works with the new store alone.
    again = work.init()
    assert (again.store, again.created, again.changed, again.advice) == (str(new), (), (), ())
    shutil.rmtree(work.store)
    work.forget()
    work.path("data/a.csv").unlink()
    work.path("data/many/x.txt").unlink()
    assert sorted(work.pull().restored) == ["data/a.csv", "data/many"]
    told = work.dvc("status", "-c").stdout
    assert "new:" not in told and "missing:" not in told  # from the store, that is
    work.save()
    other = cloned(work, tmp_path / "other")
    other.pull()
    assert other.read("data/a.csv") == THREE.encode()


def test_other_clones_follow(work: Work, tmp_path: Path) -> None:
    """What a clone noted for itself of the old place does not outlast that place."""
    work.save()
    other = cloned(work, tmp_path / "other")
    other.pull()
    assert str(work.store) in other.path(".dvc/config.local").read_text()
    new = tmp_path / "new"
    remote(work, "set", str(new))
    work.save("moved")
    other.git("pull", "--quiet")
    assert remote(other).url == str(new)
    other.path("data/a.csv").unlink()
    other.forget()
    assert other.pull().restored == ("data/a.csv",)
    assert other.path(".dvc/config.local").read_text().strip() == ""
    # A place that somebody chose for this clone alone stays.
    other.dvc("remote", "modify", "--local", "storage", "url", str(work.store))
    assert remote(other).url == str(work.store)
    other.pull()
    assert remote(other).url == str(work.store)


def test_a_move_within_the_repository(work: Work) -> None:
    found = remote(work, "set", "stores/second")
    assert codes(found) == []
    assert "url = ../stores/second\n" in work.path(".dvc/config").read_text()
    assert 'BLOB_STORE = Path(BASE_DIR, "stores/second")' in work.path(
        "config/config.py"
    ).read_text()  # fmt: skip
    assert work.raw == []
    assert work.init().changed == ()


def test_dry_run(work: Work, tmp_path: Path) -> None:
    before = snapshot(tmp_path)
    found = remote(work, "set", str(tmp_path / "new"), dry_run=True)
    assert (found.copied.count, found.moved, found.url) == (6, True, str(tmp_path / "new"))
    assert set(found.changed) == {".dvc/config", "config/config.py"}
    assert snapshot(tmp_path) == before


def test_again_goes_on_and_then_changes_nothing(work: Work, tmp_path: Path) -> None:
    new = tmp_path / "new"
    remote(work, "set", str(new), dry_run=False)
    before = snapshot(work.root)
    found = remote(work, "set", str(new))
    assert (codes(found), found.moved, found.copied.count, found.changed) == ([], False, 0, ())
    assert snapshot(work.root) == before


@pytest.mark.parametrize("at", range(1, 5))
def test_interrupted_anywhere_the_same_again_completes_it(
    work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Each write of a setting is one that may not come about any more."""
    from mlrepro import writing

    new, real, count = tmp_path / "new", writing.write_atomic, [0]

    def failing(path: str, *args: object, **more: object) -> None:
        if path.startswith(str(work.root)) and "/.git/" not in path:
            count[0] += 1
            if count[0] == at:
                raise KeyboardInterrupt
        real(path, *args, **more)

    monkeypatch.setattr(writing, "write_atomic", failing)
    if at:
        with pytest.raises(KeyboardInterrupt):
            remote(work, "set", str(new))
    monkeypatch.undo()
    # Whatever was cut short, the store in use is one that has everything.
    work.forget()
    work.path("data/a.csv").unlink()
    assert work.pull().restored == ("data/a.csv",)
    found = remote(work, "set", str(new))
    assert codes(found) == []
    assert remote(work).url == str(new)
    assert "url" not in work.path(".dvc/config.local").read_text()
    assert work.init().changed == ()
    assert everything(new) == everything(work.store)
    assert work.staged >= {".dvc/config", "config/config.py"}


def test_what_is_damaged_in_the_old_store_comes_from_the_cache(work: Work, tmp_path: Path) -> None:
    spoilt = blob_path(work.store, oid_of(TWO))
    spoilt.chmod(0o644)
    spoilt.write_bytes(b"i" * len(TWO))
    new = tmp_path / "new"
    # The cache is a hard link to the store: give it a copy of its own that is good.
    held = blob_path(work.root / ".dvc/cache", oid_of(TWO))
    held.unlink()
    held.write_bytes(TWO.encode())
    assert codes(remote(work, "set", str(new))) == []
    assert blob_path(new, oid_of(TWO)).read_bytes() == TWO.encode()


def test_what_is_nowhere_needs_a_yes(work: Work, tmp_path: Path) -> None:
    blob_path(work.store, oid_of(ONE)).unlink()
    blob_path(work.root / ".dvc/cache", oid_of(ONE)).unlink()
    new = str(tmp_path / "new")
    before = snapshot(work.root)
    with pytest.raises(Refused) as caught:
        remote(work, "set", new)
    assert caught.value.code == "needs-yes"
    assert snapshot(work.root) == before and not os.path.exists(new)
    found = remote(work, "set", new, yes=True)
    assert codes(found) == ["blob-missing"] and found.missing[0][1] == oid_of(ONE)
    assert remote(work).url == new


def test_from_a_store_that_is_gone(work: Work, tmp_path: Path) -> None:
    shutil.rmtree(work.store)
    found = remote(work, "set", str(tmp_path / "new"))  # the cache has all of it
    assert codes(found) == [] and found.copied.count == 6


def test_damaged_on_the_way(work: Work, tmp_path: Path) -> None:
    """Only in the store, and not what its name says: the old store stays the one in use."""
    work.forget()
    spoilt = blob_path(work.store, oid_of(ONE))
    spoilt.chmod(0o644)
    spoilt.write_bytes(b"i" * len(ONE))
    with pytest.raises(MlreproError) as caught:
        remote(work, "set", str(tmp_path / "new"))
    assert caught.value.code == "blob-corrupt"
    assert remote(work).url == str(work.store)


@pytest.mark.parametrize(
    ("source", "after"),
    [
        ('BLOB_STORE = "/old"  # shared\n', 'BLOB_STORE = "{new}"  # shared\n'),
        (
            "from pathlib import Path\nBLOB_STORE: Path = (\n    Path('/old')\n)\nTRACK = []\n",
            'from pathlib import Path\nBLOB_STORE: Path = (\n    Path("{new}")\n)\nTRACK = []\n',
        ),
        ('X = "é"; BLOB_STORE = "/old"; Y = 2\n', 'X = "é"; BLOB_STORE = "{new}"; Y = 2\n'),
    ],
)
def test_blob_store_in_the_config(work: Work, tmp_path: Path, source: str, after: str) -> None:
    work.write("config/config.py", source)
    new = tmp_path / "new"
    found = remote(work, "set", str(new))
    assert codes(found) == [] and found.notes[-1].startswith("config/config.py line ")
    assert work.path("config/config.py").read_text() == after.replace("{new}", str(new))


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ('import os\nBLOB_STORE = os.environ.get("BLOB", "/old")\n', "line 2"),
        ('BLOB_STORE = "/a"\nif True:\n    BLOB_STORE = "/b"\n', "line 1"),
        ("A, BLOB_STORE = 1, '/old'\n", "line 1"),
        ("TRACK = []\n", "config/config.py says"),
        ("BLOB_STORE = (\n", "config/config.py says"),
    ],
)
def test_blob_store_that_is_to_be_changed_by_hand(
    work: Work, tmp_path: Path, source: str, line: str
) -> None:
    work.write("config/config.py", source)
    found = remote(work, "set", str(tmp_path / "new"))
    wrong = only(found)
    assert wrong.code == "blob-store-disagrees" and line in wrong.message
    assert str(tmp_path / "new") in wrong.hint
    assert work.path("config/config.py").read_text() == source
    assert remote(work).url == str(tmp_path / "new")


@pytest.mark.parametrize("url", [".", "..", ".git/x", ".dvc/cache", "", "nope://x", "s3://"])
def test_no_place_for_a_store(work: Work, url: str) -> None:
    before = snapshot(work.root)
    with pytest.raises(UsageError):
        remote(work, "set", url)
    assert snapshot(work.root) == before


def test_a_file_in_the_way(work: Work) -> None:
    with pytest.raises(PathError):
        remote(work, "set", "data/a.csv")


def test_a_shallow_clone(work: Work, tmp_path: Path) -> None:
    other = cloned(work, tmp_path / "other", "--depth=1", "--no-local")
    with pytest.raises(Refused) as caught:
        remote(other, "set", str(tmp_path / "new"))
    assert caught.value.code == "shallow-clone"


def test_the_command_line(work: Work, tmp_path: Path) -> None:
    run = work.mlrepro("remote", "show", "--json")
    assert (run.exit_code, run.json["data"]["url"]) == (0, str(work.store))
    run = work.mlrepro("remote", "test")
    assert (run.exit_code, run.stdout.splitlines()[-1]) == (
        0, "the store works: write, read, list, remove",
    )  # fmt: skip
    run = work.mlrepro("remote", "set", "../new", "--dry-run")
    assert run.stdout.startswith(f"would move the store from {work.store} to {tmp_path}/new, ")
    run = work.mlrepro("remote", "set", "../new", cwd="data")
    assert (run.exit_code, run.stderr) == (0, "")
    assert f"the store is {work.root}/new, 6 blobs" in run.stdout
    run = work.mlrepro("remote", "set", "--json", "x", "--region", "r")
    assert (run.exit_code, run.json["errors"][0]["code"]) == (2, "usage")
    assert work.mlrepro("remote", "show", "x").exit_code == 2


@pytest.mark.slow
def test_killed_while_it_copies(work: Work, tmp_path: Path) -> None:
    """The old store stays the one in use, and the same command goes on from there."""
    for number in range(600):
        work.write(f"data/more/{number}", os.urandom(4096))
    work.track("data/more")
    needed, new = everything(work.store), tmp_path / "new"
    started = subprocess.Popen(
        [sys.executable, "-m", "mlrepro", "remote", "set", str(new)],
        cwd=work.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while started.poll() is None and not (new / ".mlrepro/tmp").is_dir():
        time.sleep(0.001)
    time.sleep(0.05)
    started.kill()
    started.wait()
    assert remote(work).exit_code == 0
    work.forget()
    shutil.rmtree(work.path("data/more"))
    assert work.pull().restored == ("data/more",)
    assert codes(remote(work, "set", str(new))) == []
    assert everything(new) == needed == everything(work.store)
    assert remote(work).url == str(new)
