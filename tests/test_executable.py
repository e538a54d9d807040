"""The executable bit of data: a change of it is an edit, and comes through whatever git does."""

from __future__ import annotations

from pathlib import Path

import pytest

from hooked import DATA, POINTER, Hooked

WAYS = ["switch", "checkout", "pull", "fast-forward", "restore"]


def is_executable(repo: Hooked, name: str = DATA) -> bool:
    return bool(repo.path(name).stat().st_mode & 0o111)


def flip(repo: Hooked, isexec: bool, name: str = DATA) -> None:
    repo.path(name).chmod(0o755 if isexec else 0o644)


def says(repo: Hooked, revision: str = "HEAD", pointer: str = POINTER) -> bool:
    """Whether the pointer of a commit says that its data may be executed."""
    return "isexec: true" in repo.git("show", f"{revision}:{pointer}").stdout


def newer(repo: Hooked, *, isexec: bool) -> str:
    """A branch with other content; main is checked out again. ``isexec``: both have that bit."""
    if isexec:
        flip(repo, True)
        repo.commits("--allow-empty", "-m", "executable")
    repo.git("switch", "--quiet", "-c", "branch")
    oid = repo.edit("on the branch")
    repo.commits("--allow-empty", "-m", "on the branch")
    repo.git("switch", "--quiet", "main")
    assert says(repo) == says(repo, "branch") == is_executable(repo) == isexec
    return oid


def bring(repo: Hooked, way: str) -> None:
    if way == "switch":
        repo.git("switch", "--quiet", "branch")
    elif way == "checkout":
        assert repo.mlrepro("checkout", "branch").exit_code == 0
    elif way == "restore":
        assert repo.mlrepro("restore", DATA, "--rev", "branch").exit_code == 0
    elif way == "fast-forward":
        repo.git("merge", "--quiet", "--ff-only", "branch")
    else:
        repo.unhooked("merge", "--quiet", "--ff-only", "branch")
        assert repo.mlrepro("pull").exit_code == 0


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "isexec", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["set", "taken away"]
)
def test_a_bit_that_no_commit_has_stays_when_the_content_is_replaced(
    plain: Hooked, way: str, isexec: bool
) -> None:
    """Git would refuse to replace such a file; here nothing of the bit is in the content's way."""
    oid = newer(plain, isexec=not isexec)
    flip(plain, isexec)
    bring(plain, way)
    assert plain.md5(DATA) == oid and is_executable(plain) == isexec
    shown = plain.mlrepro("status").stdout
    assert f"it is {'' if isexec else 'not '}executable here" in shown
    plain.stage()
    plain.commits("-m", "with the bit")
    assert says(plain) == isexec and plain.is_good(), plain.explain()
    assert plain.mlrepro("status").exit_code == 0


@pytest.mark.parametrize("way", ["pull", "checkout", "restore"])
def test_force_takes_the_bit_of_the_commit(plain: Hooked, way: str) -> None:
    newer(plain, isexec=False)
    flip(plain, True)
    if way == "pull":
        plain.unhooked("merge", "--quiet", "--ff-only", "branch")
    line = {"pull": [], "checkout": ["branch"], "restore": [DATA, "--rev", "branch"]}[way]
    assert plain.mlrepro(way, *line, "--force").exit_code == 0
    assert not is_executable(plain)
    plain.stage()
    plain.commits("-m", "readme")
    assert not says(plain) and plain.mlrepro("status").exit_code == 0


@pytest.mark.parametrize("way", ["switch", "checkout"])
def test_data_with_a_bit_that_no_commit_has_is_not_taken_away(plain: Hooked, way: str) -> None:
    plain.git("switch", "--quiet", "-c", "without")
    plain.git("rm", "--quiet", POINTER)
    plain.commits("-m", "without")
    plain.git("switch", "--quiet", "main")
    flip(plain, True)
    if way == "switch":
        assert f"{DATA} has changes" in plain.git("switch", "without").stderr
    else:
        done = plain.mlrepro("checkout", "without")
        assert done.exit_code == 1 and f"{DATA} has changes" in done.stderr
    assert is_executable(plain)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_bit_that_was_changed_before_or_after_a_move(plain: Hooked, when: str) -> None:
    for step in ("chmod", "mv") if when == "before" else ("mv", "chmod"):
        if step == "mv":
            assert plain.mlrepro("mv", DATA, "data/n.csv").exit_code == 0
        else:
            flip(plain, True, DATA if plain.path(DATA).exists() else "data/n.csv")
    plain.commits("-m", "moved")
    assert says(plain, pointer="data/n.csv.dvc")
    assert is_executable(plain, "data/n.csv")


@pytest.mark.parametrize("looks", [["status"], ["pull", "--dry-run"], ["status", "--json"]])
def test_to_look_at_data_does_not_undo_a_teammates_bit(
    plain: Hooked, tmp_path: Path, looks: list[str]
) -> None:
    bob = plain.teammate(tmp_path / "bob")
    flip(bob, True)
    bob.commits("--allow-empty", "-m", "executable")
    plain.unhooked("pull", "--quiet", "--ff-only", str(bob.root), "main")
    plain.edit("mine")  # so that it has to be hashed
    plain.mlrepro(*looks)
    plain.write(DATA, (bob.root / DATA).read_bytes())
    plain.mlrepro(*looks)
    plain.stage()
    plain.commits("-m", "readme")
    assert says(plain)
    assert plain.mlrepro("pull").exit_code == 0 and is_executable(plain)


@pytest.mark.parametrize("flipper", ["ours", "theirs"])
@pytest.mark.parametrize("isexec", [True, False], ids=["set", "taken away"])
def test_a_merge_of_a_bit_and_a_content(plain: Hooked, flipper: str, isexec: bool) -> None:
    """As of code: git takes the mode of the side that changed it, and the text of the other."""
    if not isexec:
        flip(plain, True)
        plain.commits("--allow-empty", "-m", "executable")
    plain.git("switch", "--quiet", "-c", "theirs")
    oid = ""
    for side in ("theirs", "ours"):
        if side == "ours":
            plain.git("switch", "--quiet", "main")
        if side == flipper:
            flip(plain, isexec)
        else:
            oid = plain.edit(f"by {side}")
        plain.commits("--allow-empty", "-m", side)
    merged = plain.git("merge", "--no-edit", "theirs", check=False)
    assert merged.returncode == 0, merged.stdout + merged.stderr
    assert says(plain) == isexec and plain.oid(POINTER, "HEAD") == oid
    assert is_executable(plain) == isexec and plain.is_good(), plain.explain()
    assert plain.mlrepro("status").exit_code == 0


def test_a_union_of_a_bit_and_a_content(plain: Hooked) -> None:
    """Where the merge was made by a git that does not know our driver."""
    base = plain.git("rev-parse", f"HEAD:{POINTER}").stdout.strip()
    plain.git("switch", "--quiet", "-c", "theirs")
    flip(plain, True)
    plain.commits("--allow-empty", "-m", "theirs")
    plain.git("switch", "--quiet", "main")
    oid = plain.edit("ours")
    plain.commits("--allow-empty", "-m", "ours")
    sides = [plain.git("rev-parse", f"{at}:{POINTER}").stdout.strip() for at in ("main", "theirs")]
    rows = zip((base, *sides), "123", strict=True)
    plain.git("rm", "--quiet", "--cached", POINTER)
    text = "".join(f"100644 {blob} {stage}\t{POINTER}\n" for blob, stage in rows)
    plain.git("update-index", "--index-info", input=text)
    assert plain.mlrepro("resolve", "--union", DATA).exit_code == 0
    assert is_executable(plain) and plain.md5(DATA) == oid
    plain.commits("-m", "merged")
    assert says(plain) and plain.is_good(), plain.explain()


def test_a_teammates_bit_and_an_edit_of_ones_own(plain: Hooked, tmp_path: Path) -> None:
    """The commit has both: the pointer's bit is newer, the content is that of the worktree."""
    bob = plain.teammate(tmp_path / "bob")
    flip(bob, True)
    bob.commits("--allow-empty", "-m", "executable")
    plain.unhooked("pull", "--quiet", "--ff-only", str(bob.root), "main")
    oid = plain.edit("mine")
    for content in ("once", "twice"):
        plain.stage("README.md", content)
        plain.commits("-m", content)
        assert says(plain) and plain.oid(POINTER, "HEAD") == oid
    assert plain.mlrepro("pull").exit_code == 0
    assert is_executable(plain) and plain.is_good(), plain.explain()
    flip(plain, False)
    plain.stage("README.md", "thrice")
    plain.commits("-m", "thrice")
    assert not says(plain)


def test_status_says_which_way_to_go(plain: Hooked, tmp_path: Path) -> None:
    """What is older here is to be pulled: to track it would undo what a teammate did."""
    bob = plain.teammate(tmp_path / "bob")
    flip(bob, True)
    bob.commits("--allow-empty", "-m", "executable")
    plain.unhooked("pull", "--quiet", "--ff-only", str(bob.root), "main")
    said = plain.mlrepro("status").stdout
    assert "it is not executable here, its pointer says otherwise: mlrepro pull" in said
    assert "hint: mlrepro pull" in said and "hint: mlrepro track" not in said
    bob.edit("by bob")
    bob.commits("--allow-empty", "-m", "newer")
    plain.unhooked("pull", "--quiet", "--ff-only", str(bob.root), "main")
    said = plain.mlrepro("status").stdout
    assert "hint: mlrepro pull" in said and "hint: mlrepro track" not in said
    assert plain.mlrepro("pull").exit_code == 0
    flip(plain, False)
    said = plain.mlrepro("status").stdout
    assert "hint: mlrepro track" in said and "mlrepro pull" not in said


def test_an_edit_where_nothing_is_known_of_the_bit(plain: Hooked) -> None:
    """As in a clone whose record was lost: then the file says how it is."""
    plain.path(".git/mlrepro/index").unlink()
    oid = plain.edit("mine")
    flip(plain, True)
    plain.stage()
    plain.commits("-m", "both")
    assert says(plain) and plain.oid(POINTER, "HEAD") == oid
    assert plain.mlrepro("status").exit_code == 0
