"""Through the hooks: folders, pointers with several outputs or a user's own words, pipelines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from building import blob_path
from hooked import MOSTLY_PLAIN, POINTER, Hooked

FOLDER = "images"
IMAGES = f"{FOLDER}.dvc"


def _with_folder(repo: Hooked) -> Hooked:
    for name in ("a", "b", "sub/c"):
        repo.write(f"{FOLDER}/{name}.png", name)
    assert repo.mlrepro("track", FOLDER).exit_code == 0
    repo.commits("-m", "images")
    return repo


def _listed(repo: Hooked, revision: str = "HEAD") -> dict[str, str]:
    """The members that a commit's pointer names: relative path → hash."""
    listing = blob_path(repo.store, repo.oid(IMAGES, revision)).read_bytes()
    return {member["relpath"]: member["md5"] for member in json.loads(listing)}


def _is_good(repo: Hooked) -> bool:
    """HEAD names every file of the folder as it is, and all of them are stored."""
    here = {
        str(path.relative_to(repo.path(FOLDER))): repo.md5(str(path.relative_to(repo.root)))
        for path in repo.path(FOLDER).rglob("*")
        if path.is_file()
    }
    alike = repo.oid(IMAGES) == repo.oid(IMAGES, ":0") == repo.oid(IMAGES, "HEAD")
    return alike and _listed(repo) == here and all(repo.has_blob(oid) for oid in here.values())


@pytest.mark.parametrize("hooked", MOSTLY_PLAIN, indirect=True)
def test_a_folder(hooked: Hooked) -> None:
    """A member edited, one more, one fewer: one commit."""
    _with_folder(hooked)
    hooked.write("images/a.png", "edited")
    hooked.write("images/new/d.png", "d")
    hooked.path("images/b.png").unlink()
    hooked.stage()
    hooked.write("a.py", "one = 2\n")
    hooked.commits("-m", "readme")
    assert _is_good(hooked)
    assert set(_listed(hooked)) == {"a.png", "sub/c.png", "new/d.png"}
    assert hooked.status == " M a.py\n"


def test_a_folder_alone_says_again(plain: Hooked) -> None:
    _with_folder(plain)
    plain.write("images/d.png", "d")
    assert "run the same command again" in plain.refused("-am", "more")
    plain.commits("-am", "more")
    assert _is_good(plain)


def test_a_folder_that_did_not_change(plain: Hooked) -> None:
    _with_folder(plain)
    plain.stage("README.md", "settled")
    plain.commits("-m", "settled")
    before = plain.untouched(IMAGES)
    plain.stage()
    said = plain.commits("-m", "readme")
    assert plain.untouched(IMAGES) == before
    assert plain.changed_in() == ["README.md"]
    assert "mlrepro" not in said.stderr


def test_a_folder_follows(plain: Hooked) -> None:
    """Members come, change and go with the commit; nothing is left but what was there."""
    _with_folder(plain)
    plain.git("switch", "--quiet", "-c", "branch")
    plain.write("images/a.png", "edited")
    plain.write("images/new/d.png", "d")
    plain.path("images/b.png").unlink()
    plain.commits("--allow-empty", "-m", "changed")
    plain.git("switch", "--quiet", "main")
    assert _is_good(plain)
    assert not plain.path("images/new").exists()
    plain.git("switch", "--quiet", "branch")
    assert _is_good(plain)
    assert not plain.path("images/b.png").exists()


def test_an_edited_member_is_kept_and_the_others_follow(plain: Hooked) -> None:
    _with_folder(plain)
    plain.git("switch", "--quiet", "-c", "branch")
    plain.write("images/a.png", "theirs")
    plain.write("images/b.png", "theirs too")
    plain.commits("--allow-empty", "-m", "changed")
    plain.git("switch", "--quiet", "main")
    plain.write("images/a.png", "mine")
    plain.write("images/z.png", "mine, and new")
    said = plain.git("switch", "branch").stderr
    assert "images/a.png" in said and "kept" in said
    assert plain.read("images/a.png") == b"mine"
    assert plain.read("images/b.png") == b"theirs too"
    assert plain.read("images/z.png") == b"mine, and new"


def test_a_folder_that_the_commit_does_not_have(plain: Hooked) -> None:
    plain.git("switch", "--quiet", "-c", "branch")
    _with_folder(plain)
    plain.git("switch", "--quiet", "main")
    assert not plain.path(FOLDER).exists()
    plain.git("switch", "--quiet", "branch")
    assert _is_good(plain)


def test_a_folder_with_something_of_ones_own_stays_as_far_as_that(plain: Hooked) -> None:
    plain.git("switch", "--quiet", "-c", "branch")
    _with_folder(plain)
    plain.write("images/mine.png", "mine")
    said = plain.git("switch", "main").stderr
    assert plain.read("images/mine.png") == b"mine"
    assert FOLDER in said and "kept" in said


def test_a_workspace_folder_that_is_behind(plain: Hooked, tmp_path: Path) -> None:
    _with_folder(plain)
    plain.git("switch", "--quiet", "-c", "branch")
    plain.write("images/a.png", "theirs")
    plain.commits("--allow-empty", "-m", "changed")
    theirs = plain.oid(IMAGES)
    plain.git("switch", "--quiet", "main")
    plain.unhooked("merge", "--quiet", "--ff-only", "branch")
    plain.stage()
    plain.commits("-m", "readme")
    assert plain.oid(IMAGES, "HEAD") == plain.oid(IMAGES) == theirs
    assert plain.read("images/a.png") == b"a"


def test_several_outputs_in_one_pointer(plain: Hooked) -> None:
    outs = ""
    for name in ("one.csv", "two.csv"):
        path = plain.write(f"data/{name}", name)
        outs += f"- md5: {plain.md5(f'data/{name}')}\n  size: {path.stat().st_size}\n"
        outs += f"  hash: md5\n  path: {name}\n"
    plain.write("data/both.dvc", f"outs:\n{outs}")
    plain.write(".gitignore", plain.read(".gitignore") + b"/data/one.csv\n/data/two.csv\n")
    plain.git("add", "data/both.dvc", ".gitignore")
    plain.commits("-m", "both")
    assert all(plain.has_blob(plain.md5(f"data/{name}")) for name in ("one.csv", "two.csv"))
    before = plain.md5("data/two.csv")
    plain.write("data/one.csv", "edited")
    plain.stage()
    plain.commits("-m", "one")
    text = plain.git("show", "HEAD:data/both.dvc").stdout
    assert plain.md5("data/one.csv") in text and before in text
    assert plain.has_blob(plain.md5("data/one.csv"))
    assert plain.status == ""


def test_a_pointer_with_a_users_own_words(plain: Hooked) -> None:
    """What is said beside the outputs stays: DVC itself rewrites such a pointer."""
    pointer = "data/x.csv.dvc"
    words = "# mine\ndesc: the training set\nmeta:\n  source: field trip\n"
    plain.write(pointer, plain.read(pointer) + words.encode())
    plain.git("add", pointer)
    plain.commits("-m", "described")
    plain.edit()
    plain.stage()
    plain.commits("-m", "edited")
    assert plain.is_good(), plain.explain()
    for word in ("# mine", "the training set", "field trip"):
        assert word in plain.git("show", f"HEAD:{pointer}").stdout


def test_an_unstaged_pointer_with_ones_own_words_keeps_them_apart(plain: Hooked) -> None:
    """The words are committed when they are staged; the hash at once, in both."""
    pointer = "data/x.csv.dvc"
    plain.write(pointer, plain.read(pointer) + b"desc: not staged\n")
    plain.edit()
    plain.stage()
    plain.commits("-m", "readme")
    assert plain.is_good(), plain.explain()
    assert "not staged" not in plain.git("show", f"HEAD:{pointer}").stdout
    assert b"not staged" in plain.read(pointer)
    assert plain.status == f" M {pointer}\n"


STAGE = """\
stages:
  train:
    cmd: cp data/x.csv model.bin
    deps:
    - data/x.csv
    outs:
    - model.bin
"""


@pytest.fixture
def pipeline(plain: Hooked) -> Hooked:
    plain.write("dvc.yaml", STAGE)
    plain.dvc("repro", "--quiet")
    plain.git("add", "dvc.yaml", "dvc.lock", ".gitignore")
    plain.commits("-m", "pipeline")
    assert plain.has_blob(plain.md5("model.bin"))
    return plain


@pytest.mark.parametrize("flag", ["-m", "-am"])
def test_the_output_of_a_pipeline(pipeline: Hooked, flag: str) -> None:
    pipeline.write("model.bin", "trained by hand")
    pipeline.write("README.md", "changed\n")
    if flag == "-m":
        pipeline.git("add", "README.md")
    pipeline.commits(flag, "readme")
    oid = pipeline.md5("model.bin")
    assert oid in pipeline.git("show", "HEAD:dvc.lock").stdout
    assert oid in pipeline.git("show", ":dvc.lock").stdout
    assert pipeline.has_blob(oid)
    assert pipeline.status == ""


def test_the_output_of_a_pipeline_alone_says_again(pipeline: Hooked) -> None:
    pipeline.write("model.bin", "trained by hand")
    assert "run the same command again" in pipeline.refused("-am", "model")
    pipeline.commits("-am", "model")
    oid = pipeline.md5("model.bin")
    assert oid in pipeline.git("show", "HEAD:dvc.lock").stdout
    assert pipeline.has_blob(oid)


def test_the_output_of_a_pipeline_follows(pipeline: Hooked) -> None:
    first = pipeline.read("model.bin")
    pipeline.git("switch", "--quiet", "-c", "branch")
    pipeline.write("model.bin", "trained by hand")
    pipeline.commits("--allow-empty", "-m", "model")
    pipeline.git("switch", "--quiet", "main")
    assert pipeline.read("model.bin") == first
    pipeline.git("switch", "--quiet", "branch")
    assert pipeline.read("model.bin") == b"trained by hand"


def test_a_pipeline_whose_store_is_away(pipeline: Hooked, tmp_path: Path) -> None:
    before = pipeline.read("dvc.lock")
    pipeline.write("model.bin", "trained by hand")
    pipeline.stage()
    pipeline.store.rename(tmp_path / "unmounted")
    assert str(pipeline.store) in pipeline.refused("-m", "readme")
    assert pipeline.read("dvc.lock") == before


def test_a_second_pointer_to_what_one_in_order_names(plain: Hooked) -> None:
    """Pointers of which all is known are not read again, and yet what they name is taken."""
    plain.write("data/more.csv", "more\n")
    assert plain.mlrepro("track", "data/more.csv").exit_code == 0
    plain.commits("-m", "more")
    text = plain.read(POINTER).decode().replace("path: ", "path: data/")
    plain.write("second.dvc", text)
    plain.git("add", "second.dvc")
    plain.write("data/more.csv", "edited\n")
    said = plain.refused("-m", "second")
    assert "two pointers" in said and POINTER in said


def test_one_edit_among_others_that_are_in_order_or_not(plain: Hooked) -> None:
    for name in "bcd":
        plain.write(f"data/{name}.csv", name)
    names = [f"data/{name}.csv" for name in "bcd"]
    assert plain.mlrepro("track", *names).exit_code == 0
    plain.commits("-m", "more")
    oid = plain.edit("edited", "data/b.csv")
    plain.write("data/c.csv", "changed")
    plain.mlrepro("track", "data/c.csv")
    plain.stage()
    plain.commits("-m", "both")
    assert plain.oid("data/b.csv.dvc", "HEAD") == oid and plain.is_good("data/b.csv")
    assert plain.is_good("data/c.csv") and plain.is_good("data/d.csv")
