"""pre-push: nothing leaves for a remote that somebody else could not restore."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from building import blob_path
from hooked import DATA, POINTER, Hooked
from mlrepro.commands import pre_push

AUTHOR = "Ada Tester"


def _remote(repo: Hooked, tmp_path: Path) -> Path:
    """A remote that has the first commit."""
    origin = tmp_path / "origin.git"
    repo.git("init", "--quiet", "--bare", str(origin))
    repo.git("remote", "add", "origin", str(origin))
    repo.git("push", "--quiet", "origin", "main")
    return origin


def _version(repo: Hooked, content: str) -> tuple[str, str]:
    """A commit of changed data: its hash, and the data's."""
    oid = repo.edit(content)
    repo.commits("--allow-empty", "-m", content)
    return repo.head, oid


def _lose(repo: Hooked, oid: str, *, cache: bool = True) -> None:
    """The blob is gone from the store, and from the cache too."""
    blob_path(repo.store, oid).unlink()
    if cache:
        blob_path(repo.path(".dvc/cache"), oid).unlink()


def _push(repo: Hooked, *args: str) -> tuple[int, str]:
    done = repo.git("push", *args, check=False)
    assert "Traceback" not in done.stderr and "this is a bug" not in done.stderr, done.stderr
    return done.returncode, done.stderr


def test_two_refs_and_a_tag_with_a_blob_missing_in_between(hooked: Hooked, tmp_path: Path) -> None:
    origin = _remote(hooked, tmp_path)
    if hooked.way != "plain":  # beneath these, ours is called with all refs; their own are not
        program = Path(sys.executable).parent / hooked.way
        install = [program, "install", "--hook-type", "pre-push"]
        subprocess.run(install, cwd=hooked.root, check=True, capture_output=True)
        assert hooked.path(".git/hooks/pre-push.legacy").exists()
    hooked.git("switch", "--quiet", "-c", "branch")
    commit, oid = _version(hooked, "lost")
    _version(hooked, "kept")
    hooked.git("tag", "-a", "-m", "tagged", "v1")
    _lose(hooked, oid)
    code, said = _push(hooked, "origin", "main", "branch", "v1")
    assert code == 1
    for part in ("refs/heads/branch", DATA, oid, commit[:10], AUTHOR):
        assert part in said, said
    assert hooked.git("ls-remote", str(origin)).stdout.count("\n") == 2  # HEAD and main
    blob_path(hooked.store, oid).write_bytes(b"id,value\n1,one\n2,lost\n")
    hooked.git("push", "--quiet", "origin", "main", "branch", "v1")


def test_a_tag_alone_is_named_itself(plain: Hooked, tmp_path: Path) -> None:
    _remote(plain, tmp_path)
    _, oid = _version(plain, "lost")
    plain.git("tag", "-a", "-m", "tagged", "v1")
    plain.edit("on")
    _lose(plain, oid)
    code, said = _push(plain, "origin", "v1")
    assert code == 1 and "refs/tags/v1" in said and oid in said


def test_what_only_the_cache_has_is_stored(plain: Hooked, tmp_path: Path) -> None:
    _remote(plain, tmp_path)
    oids = [_version(plain, content)[1] for content in ("one", "two", "three")]
    for oid in oids:
        _lose(plain, oid, cache=False)
    code, said = _push(plain, "origin", "main")
    assert code == 0
    assert "stored what the cache alone had: 3 blobs" in said
    assert all(plain.has_blob(oid) for oid in oids)


def test_a_folder_whose_member_is_missing(plain: Hooked, tmp_path: Path) -> None:
    _remote(plain, tmp_path)
    plain.write("images/a.png", b"a")
    plain.write("images/b.png", b"b")
    assert plain.mlrepro("track", "images").exit_code == 0
    plain.commits("-m", "images")
    oid = plain.md5("images/b.png")
    plain.path("images/b.png").unlink()
    _lose(plain, oid)
    code, said = _push(plain, "origin", "main")
    assert code == 1 and "images/b.png" in said and oid in said


def test_a_commit_made_without_the_hook(plain: Hooked, tmp_path: Path) -> None:
    """DVC's own ``dvc add`` fills only the cache; the push makes up for it."""
    _remote(plain, tmp_path)
    oid = plain.edit("by dvc")
    plain.dvc("add", "--quiet", DATA)
    plain.unhooked("commit", "--quiet", "-am", "by dvc")
    assert not plain.has_blob(oid)
    assert _push(plain, "origin", "main")[0] == 0
    assert plain.has_blob(oid)


def test_what_the_remote_has_already_is_not_asked_for(plain: Hooked, tmp_path: Path) -> None:
    """Neither what another branch of it has, nor what a forced push gives up."""
    _remote(plain, tmp_path)
    _, oid = _version(plain, "pushed")
    plain.git("push", "--quiet", "origin", "main")
    _lose(plain, oid)
    plain.git("switch", "--quiet", "-c", "branch", "HEAD~")
    plain.stage()
    plain.commits("-m", "readme")
    assert _push(plain, "origin", "branch")[0] == 0
    assert _push(plain, "--force", "origin", "branch:main")[0] == 0


def test_deleting_a_ref_needs_nothing(plain: Hooked, tmp_path: Path) -> None:
    _remote(plain, tmp_path)
    plain.git("push", "--quiet", "origin", "main:gone")
    _lose(plain, plain.md5(DATA))
    code, said = _push(plain, "origin", "--delete", "gone")
    assert code == 0, said


def test_a_push_to_an_address_instead_of_a_name(plain: Hooked, tmp_path: Path) -> None:
    origin = _remote(plain, tmp_path)
    _, oid = _version(plain, "lost")
    _lose(plain, oid)
    assert _push(plain, str(origin), "main")[0] == 1
    assert _push(plain, f"file://{origin}", "main:other")[0] == 1


@pytest.mark.parametrize("kind", ["blob", "tree"])
def test_a_tag_of_something_that_is_no_commit(plain: Hooked, tmp_path: Path, kind: str) -> None:
    _remote(plain, tmp_path)
    plain.git("tag", "odd", "HEAD:README.md" if kind == "blob" else "HEAD:data")
    code, said = _push(plain, "origin", "odd")
    assert code == 0, said


def test_nothing_to_push(plain: Hooked, tmp_path: Path) -> None:
    _remote(plain, tmp_path)
    assert _push(plain, "--quiet", "origin", "main") == (0, "")
    assert plain.mlrepro("hook", "pre-push", "origin", "somewhere").exit_code == 0
    odd = "not four fields\n\n refs/heads/x  \n"
    assert plain.mlrepro("hook", "pre-push", "origin", "somewhere", input=odd).exit_code == 0


def test_a_bad_pointer_in_between_is_named_with_its_commit(plain: Hooked, tmp_path: Path) -> None:
    _remote(plain, tmp_path)
    plain.write("data/bad.csv.dvc", "outs:\n- md5: nonsense\n  path: bad.csv\n")
    plain.git("add", "data/bad.csv.dvc")
    plain.unhooked("commit", "--quiet", "-m", "bad")
    bad = plain.head
    plain.git("rm", "--quiet", "data/bad.csv.dvc")
    plain.commits("-m", "mended")
    code, said = _push(plain, "origin", "main")
    assert code == 1
    assert "data/bad.csv.dvc" in said and bad[:10] in said and "refs/heads/main" in said


def test_a_store_that_is_away(plain: Hooked, tmp_path: Path) -> None:
    _remote(plain, tmp_path)
    _version(plain, "new")
    plain.store.rename(tmp_path / "unmounted")
    code, said = _push(plain, "origin", "main")
    assert code == 1 and str(plain.store) in said
    plain.git("push", "--quiet", "--no-verify", "origin", "main")


def test_a_commit_without_data_is_not_held_up(plain: Hooked, tmp_path: Path) -> None:
    """The store is away, but none of what is pushed needs it."""
    _remote(plain, tmp_path)
    plain.stage()
    plain.commits("-m", "readme")
    plain.store.rename(tmp_path / "unmounted")
    assert _push(plain, "origin", "main")[0] == 0


def test_a_repository_without_data(plain: Hooked, tmp_path: Path) -> None:
    """A branch from before all this; and a push by hand from one."""
    _remote(plain, tmp_path)
    plain.git("switch", "--quiet", "--orphan", "empty")
    plain.git("commit", "--quiet", "--allow-empty", "-m", "nothing here")
    assert _push(plain, "origin", "empty")[0] == 0
    assert not plain.path(POINTER).exists()


def test_a_shallow_clone_can_push(plain: Hooked, tmp_path: Path) -> None:
    origin = _remote(plain, tmp_path)
    _, oid = _version(plain, "old")
    _version(plain, "new")
    plain.git("push", "--quiet", "origin", "main")
    _lose(plain, oid)
    plain.git("clone", "--quiet", "--depth", "1", f"file://{origin}", str(tmp_path / "shallow"))
    shallow = Hooked(tmp_path / "shallow")
    shallow.write(".dvc/config.local", f"['remote \"storage\"']\n    url = {plain.store}\n")
    assert shallow.mlrepro("init", "--hooks", "git").exit_code == 0
    assert shallow.mlrepro("pull").exit_code == 0
    shallow.edit("shallow")
    shallow.commits("--allow-empty", "-m", "shallow")
    code, said = _push(shallow, "origin", "main")
    assert code == 0, said


@pytest.mark.parametrize("name", ["a\u2028b", "a\u0085b", "plain"])
def test_every_line_of_git_is_a_ref(name: str) -> None:
    line = f"refs/heads/{name} {'1' * 40} refs/heads/{name} {'0' * 40}\n"
    assert [ref.local for ref in pre_push.parse(line.encode())] == [f"refs/heads/{name}"]
