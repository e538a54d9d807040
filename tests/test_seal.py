"""What a seal and one question to git prove is what a whole look finds, in whatever state."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, strategies as st

from building import Repo, blob_path
from hooked import DATA, POINTER, UNHOOKED, Hooked
from mlrepro import gitindex, index, seal

# What the hook and ``status`` say by the seal, and what they say when they look at everything. The
# seal is asked first, since the whole look may write another one.
PROBE = """
import contextlib, io, json, os, sys
from mlrepro import cli, project, seal, standing, unchanged
held = seal.unbroken()
asked = [["status"], ["--json", "status"], ["status", "-q"]]
told = [standing.told(words) for words in asked]
whole = []
for words in asked:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
        code = cli.main(words)
    whole.append([code, said.getvalue()])
try:
    nothing = unchanged.nothing_to_do(project.find(os.getcwd(), os.environ))
except Exception:
    nothing = False
print(json.dumps({"held": held, "nothing": nothing, "told": told, "whole": whole}))
"""


def _probe(repo: Repo, cwd: str = ".", **env: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        cwd=repo.path(cwd),
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    for text, (code, said) in zip(seen["told"], seen["whole"], strict=True):
        assert text is None or (text, 0) == (said, code)
    assert seen["nothing"] or not seen["held"]
    return seen


def _sealed(repo: Repo) -> None:
    """Have a ``status`` find all in order, late enough for that to be vouched for."""
    time.sleep(0.05)
    assert repo.mlrepro("status").exit_code == 0


def _is_told(seen: dict[str, Any]) -> bool:
    return None not in seen["told"]


@pytest.fixture
def sealed(plain: Hooked) -> Hooked:
    """A file and a folder that are tracked, committed, and known to be in order."""
    for name in ("a.png", "sub/b.png", "ü \u202e.png"):
        plain.write(f"images/{name}", name)
    assert plain.mlrepro("track", "images").exit_code == 0
    plain.commits("-m", "images")
    _sealed(plain)
    return plain


Change = Callable[[Hooked], object]


def _blob(repo: Hooked) -> Path:
    return blob_path(repo.store, repo.md5(DATA))


def _member(repo: Hooked) -> Path:
    return blob_path(repo.store, repo.md5("images/a.png"))


def _replace(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


def _raw(repo: Hooked) -> None:
    repo.git("add", "--force", DATA)


def _damaged_record(repo: Hooked) -> None:
    path = repo.state / "index"
    path.write_bytes(path.read_bytes()[:-3] + b"???")


def _damaged_seal(repo: Hooked) -> None:
    path = repo.state / "seal"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _other_store(repo: Hooked) -> None:
    repo.store.rename(repo.store.with_name("gone"))
    assert repo.mlrepro("init", "--hooks", "none").exit_code in (0, 1)


def _conflict(repo: Hooked) -> None:
    oid = repo.git("rev-parse", f":{POINTER}").stdout.strip()
    lines = "".join(f"100644 {oid} {stage}\t{POINTER}\n" for stage in (1, 2, 3))
    repo.git("update-index", "--index-info", input=f"0 {'0' * 40}\t{POINTER}\n{lines}")


# What takes away the proof of both, of ``status`` alone, and of neither.
BOTH: dict[str, Change] = {
    "edited": lambda repo: repo.edit("again"),
    "edited, of the same size and date": lambda repo: repo.edit_unseen(DATA),
    "replaced by its like": lambda repo: shutil.copy2(
        repo.path(DATA).rename(repo.path("data/kept")), repo.path(DATA)
    ),
    "deleted": lambda repo: repo.path(DATA).unlink(),
    "executable": lambda repo: repo.path(DATA).chmod(0o755),
    "a member edited": lambda repo: repo.edit_unseen("images/sub/b.png"),
    "a member more": lambda repo: repo.write("images/c.png", "c"),
    "a member less": lambda repo: repo.path("images/a.png").unlink(),
    "a link in the folder": lambda repo: repo.path("images/link").symlink_to("a.png"),
    "a rule of .dvcignore": lambda repo: repo.write(".dvcignore", "*.png\n"),
    "data behind a link": Hooked.put_data_behind_a_link,
    "raw data staged": _raw,
    "blob gone": lambda repo: _blob(repo).unlink(),
    "blob of another size": lambda repo: _replace(_blob(repo), b""),
    "store gone": lambda repo: repo.store.rename(repo.store.with_name("gone")),
    "store emptied": lambda repo: [shutil.rmtree(repo.store), repo.store.mkdir()],
    "store without its marker": lambda repo: (repo.store / ".mlrepro" / "store").unlink(),
    "another store": _other_store,
    "config written": lambda repo: repo.write(".dvc/config", repo.read(".dvc/config") + b"\n"),
    "local config gone": lambda repo: repo.path(".dvc/config.local").unlink(),
    "pointer staged anew": lambda repo: [
        repo.write(POINTER, repo.read(POINTER) + b"# x\n"), repo.git("add", POINTER),
    ],
    "pointer in conflict": _conflict,
    "another pointer": lambda repo: [
        repo.write("more.dvc", repo.read(POINTER).replace(b"x.csv", b"more")),
        repo.git("add", "more.dvc"),
    ],
    "large file staged": lambda repo: [
        repo.write("large.bin", b"\0" * 5_000_001), repo.git("add", "large.bin"),
    ],
    "local config staged": lambda repo: repo.git("add", "--force", ".dvc/config.local"),
    "record gone": lambda repo: (repo.state / "index").unlink(),
    "record damaged": _damaged_record,
    "seal gone": lambda repo: (repo.state / "seal").unlink(),
    "seal damaged": _damaged_seal,
    "seal cut short": lambda repo: os.truncate(repo.state / "seal", 400),
    "split index": lambda repo: repo.git("update-index", "--split-index"),
    "index of version 4": lambda repo: repo.git("update-index", "--index-version", "4"),
    "index cut short": lambda repo: os.truncate(repo.root / ".git" / "index", 100),
}  # fmt: skip
STATUS: dict[str, Change] = {
    "pointer edited": lambda repo: repo.write(POINTER, repo.read(POINTER) + b"# x\n"),
    "pointer written anew": lambda repo: repo.write(POINTER, repo.read(POINTER)),
    "pointer deleted": lambda repo: repo.path(POINTER).unlink(),
    "pointer deleted and staged": lambda repo: repo.git("rm", "--quiet", POINTER),
    "pointer moved": lambda repo: repo.git("mv", POINTER, "y.dvc"),
    "pointer unstaged": lambda repo: repo.git("rm", "--quiet", "--cached", POINTER),
    "new pointer": lambda repo: repo.write("data/new.dvc", "outs: []\n"),
    "new pipeline": lambda repo: repo.write("sub/dvc.lock", "schema: '2.0'\n"),
    "member's blob gone": lambda repo: _member(repo).unlink(),
    "HEAD of another pointer": lambda repo: repo.git("reset", "--quiet", "--soft", "HEAD~1"),
    "unborn": lambda repo: repo.git("switch", "--quiet", "--orphan", "empty"),
    "no commit yet": lambda repo: repo.git("symbolic-ref", "HEAD", "refs/heads/unborn"),
    "HEAD broken": lambda repo: repo.write(".git/HEAD", "ref: refs/heads/\n"),
    "HEAD of no commit": lambda repo: repo.write(".git/HEAD", "1" * 40 + "\n"),
    "owed": lambda repo: repo.write(".git/mlrepro/owed", "0" * 32 + "\n"),
    "blob of another in its folder": lambda repo: repo.write(
        f"stores/blob/files/md5/{repo.md5('images/a.png')[:2]}/{'0' * 30}", "x"
    ),
}
NEITHER: dict[str, Change] = {
    "nothing": lambda repo: None,
    "code edited": lambda repo: repo.write("a.py", "one = 7\n"),
    "code staged": lambda repo: repo.stage("a.py", "one = 8\n"),
    "code committed": lambda repo: [
        repo.stage("a.py", "one = 9\n"), repo.unhooked("commit", "--quiet", "-m", "code"),
    ],
    "another branch": lambda repo: repo.unhooked("switch", "--quiet", "-c", "other"),
    "detached": lambda repo: repo.unhooked("switch", "--quiet", "--detach"),
    "packed": lambda repo: [repo.git("pack-refs", "--all"), repo.git("gc", "--quiet")],
    "untracked": lambda repo: repo.write("sub/deep/notes.txt", "x"),
    "ignored pointer": lambda repo: [
        repo.write(".git/info/exclude", "/junk/\n"), repo.write("junk/x.dvc", "no pointer"),
    ],
    "a folder that is a repository": lambda repo: repo.git("init", "--quiet", "inner"),
}  # fmt: skip
QUICK = (
    "edited", "edited, of the same size and date", "a member more", "blob gone", "store gone",
    "pointer in conflict", "large file staged", "seal damaged", "pointer edited", "new pointer",
    "member's blob gone", "HEAD of another pointer", "nothing", "code committed", "packed",
)  # fmt: skip


def _cases(changes: dict[str, Change]) -> list[Any]:
    slow = {name: () if name in QUICK else (pytest.mark.slow,) for name in changes}
    return [pytest.param(name, marks=slow[name]) for name in changes]


@pytest.mark.parametrize("name", _cases(BOTH))
def test_what_takes_the_proof_away(sealed: Hooked, name: str) -> None:
    BOTH[name](sealed)
    seen = _probe(sealed)
    assert not seen["held"] and seen["told"] == [None] * 3


@pytest.mark.parametrize("name", _cases(STATUS))
def test_what_is_in_order_for_a_commit_and_not_for_status(sealed: Hooked, name: str) -> None:
    STATUS[name](sealed)
    assert _probe(sealed)["told"] == [None] * 3


@pytest.mark.parametrize("name", _cases(NEITHER))
def test_what_has_nothing_to_do_with_data(sealed: Hooked, name: str) -> None:
    NEITHER[name](sealed)
    seen = _probe(sealed)
    assert seen["held"] and _is_told(seen)
    assert seen["told"][0].splitlines()[-1] == "2 tracked, all in order; HEAD can be restored"


def test_where_one_stands_and_what_the_environment_says(sealed: Hooked) -> None:
    for cwd in ("data", "images/sub"):  # a hook is always started at the top
        seen = _probe(sealed, cwd)
        assert _is_told(seen) and not seen["held"]
    for name in ("HOME", "XDG_CONFIG_HOME", "DVC_GLOBAL_CONFIG_DIR"):
        seen = _probe(sealed, **{name: str(sealed.root)})
        assert not seen["held"] and seen["told"] == [None] * 3
        _sealed(sealed)
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        named = {"GIT_DIR": ".git", "GIT_INDEX_FILE": ".git/index"}.get(name, ".")
        assert _probe(sealed, **{name: named})["told"] == [None] * 3


def test_what_is_not_tracked_any_more_is_no_hindrance(sealed: Hooked) -> None:
    sealed.git("rm", "--quiet", POINTER)
    sealed.commits("--quiet", "-m", "without it")
    _sealed(sealed)
    seen = _probe(sealed)
    assert _is_told(seen) and "x.csv" not in seen["told"][0]


def test_odd_words_are_left_to_the_full_parser(sealed: Hooked) -> None:
    program = (
        "import json, sys; from mlrepro import standing\n"
        "print(json.dumps([standing.told(json.loads(word)) is None for word in sys.argv[1:]]))"
    )
    lines = (
        ["status"], ["status", "--quiet", "--json"], [], ["status", "x"], ["status", "status"],
        ["status", "-v"], ["-C", ".", "status"], ["status", "--help"], ["--", "status"],
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", program, *map(json.dumps, lines)],
        cwd=sealed.root, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == [False, False, *[True] * 7]


def test_secrets_are_taken_out_of_names(sealed: Hooked) -> None:
    assert _is_told(_probe(sealed, MY_TOKEN="x.csv-is-secret"))
    seen = _probe(sealed, MY_TOKEN="data/x.csv")
    assert _is_told(seen) and "data/x.csv" not in seen["told"][0] + seen["told"][1]


def test_in_a_linked_worktree(sealed: Hooked, tmp_path: Path) -> None:
    sealed.git("worktree", "add", "--quiet", str(tmp_path / "linked"))
    linked = Repo(tmp_path / "linked")
    assert not _is_told(_probe(linked))
    assert linked.mlrepro("pull").exit_code == 0
    linked.write("README.md", "linked\n")
    linked.commit("a first commit, for which all is looked at")
    _sealed(linked)
    _sealed(sealed)  # its note of the store is shared, and was written
    assert _is_told(_probe(linked)) and _is_told(_probe(sealed))
    linked.write(DATA, "edited\n")
    assert not _is_told(_probe(linked)) and _is_told(_probe(sealed))


def test_data_that_was_never_here_is_no_change(sealed: Hooked) -> None:
    """The hook's seal holds without it, and no longer once there is something in its place."""
    sealed.path(DATA).unlink()
    for _ in range(2):
        sealed.stage("README.md", f"{time.time_ns()}\n")
        sealed.commits("-m", "without data")
        time.sleep(0.05)
    assert _probe(sealed)["held"]
    sealed.write(DATA, "new\n")
    assert not _probe(sealed)["held"]


def test_in_a_repository_of_sha256(tmp_path: Path) -> None:
    """Its index has another layout: nothing is sealed by it, and all is looked at."""
    root = tmp_path / "repo"
    root.mkdir()
    repo = Repo(root)
    if "unknown" in repo.git("init", "--object-format=sha256", check=False).stderr:
        pytest.skip("this git knows SHA-1 only")
    assert repo.mlrepro("init", "--hooks", "git").exit_code == 0
    repo.write("x.bin", "x")
    repo.mlrepro("track", "x.bin")
    repo.git("add", "--all")
    repo.git(*UNHOOKED, "commit", "--quiet", "-m", "x")
    repo.mlrepro("status")
    time.sleep(0.05)
    repo.mlrepro("status")
    seen = _probe(repo)
    assert not seen["held"] and seen["told"] == [None] * 3


def test_what_was_written_a_moment_ago_is_not_sealed(sealed: Hooked) -> None:
    """A write within one tick of the file system's clock could not be told from it."""
    (sealed.state / "seal").unlink()
    ahead = time.time_ns() + 3600 * 10**9
    os.utime(sealed.path(POINTER), ns=(ahead, ahead))
    assert sealed.mlrepro("status").exit_code == 0
    assert not (sealed.state / "seal").exists()


def test_a_seal_that_cannot_be_written_is_done_without(sealed: Hooked) -> None:
    (sealed.state / "seal").unlink()
    (sealed.state / "seal").mkdir()
    seen = _probe(sealed)
    assert seen["whole"][0][0] == 0 and not _is_told(seen)
    sealed.stage()
    sealed.commits("-m", "without a seal")


def test_status_notes_what_it_found_stored(sealed: Hooked) -> None:
    """Where the record does not know it, as after a pull: a commit need not find it out again."""
    state = str(sealed.state)
    record = index.load(state)
    for entry in record.entries.values():
        entry.stored, entry.seen = False, ""
    index.save(state, record.entries.values())
    assert sealed.mlrepro("status").exit_code == 0
    found = index.load(state).entries
    assert all(entry.stored and entry.named == entry.oid for entry in found.values())
    assert found[DATA].seen == sealed.git("rev-parse", f"HEAD:{POINTER}").stdout.strip()
    _sealed(sealed)
    assert _probe(sealed)["held"]


NAMES = ("a.py", "data/x.csv.dvc", "data/y.csv.dvc", "images.dvc", "sub/dvc.lock", "z")


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An index with some pointers in it."""
    repo = Repo.make(tmp_path_factory.mktemp("staged") / "repo")
    for name in NAMES:
        repo.write(name, name)
    repo.git("add", "--all", "--force")
    return repo.path(".git/index").read_bytes()


def _seal_of(entries: gitindex.Entries) -> seal.Seal:
    made = seal.Seal(b"/top", b"/top/.git", b"")
    for at, name in enumerate(entries.names):
        if name.endswith((b".dvc", b"dvc.lock")):
            made.pointers[name] = entries.oid(at).encode()
            made.entries.append((name, name[:-4], seal.MISSING, b"", b""))
    return made


@given(place=st.integers(0, 700), byte=st.integers(0, 255), cut=st.none() | st.integers(0, 700))
def test_an_index_that_is_damaged_is_no_proof(
    staged: bytes, tmp_path_factory: pytest.TempPathFactory, place: int, byte: int, cut: int | None
) -> None:
    """What is read of it by a seal is what is read of it in full, or nothing."""
    data = bytearray(staged[:cut])
    if place < len(data):
        data[place] = byte
    path = tmp_path_factory.getbasetemp() / f"index-{os.getpid()}"
    whole = gitindex.read(str(path)) if path.write_bytes(staged) else None
    assert whole is not None
    made = _seal_of(whole)
    assert seal._pointers_in(staged, made) == set(made.pointers)
    path.write_bytes(data)
    now = gitindex.read(str(path))
    try:
        seen = seal._pointers_in(bytes(data), made)
    except (ValueError, IndexError):
        return
    if seen is not None:
        assert now is not None
        named = {n for n in now.names if n.endswith((b".dvc", b"dvc.lock"))}
        assert seen == named and not any(now.stages)
        assert all(made.pointers[n].decode() == now.oid(now.find(n)) for n in named)


@example([b"a"] * 6 + [b"1 1 1 1"] + [b"a"] * 5)  # it ends before what it says it has does
@given(st.lists(st.sampled_from([b"a", b"0 0 0 0", b"1 1 1 1", b"2 0 1 0", b"-1 0 0 0"])))
def test_a_seal_is_read_as_it_was_written_or_not_at_all(fields: list[bytes]) -> None:
    try:
        found = seal.parsed(fields)
    except (ValueError, IndexError):
        return
    _, _, body = seal.rendered(found).partition(seal.END)
    twice = len(found.pointers) < int(fields[6].split()[2])
    assert twice or body == seal.END.join(fields)
