"""Names that are one name to some file systems: nothing takes the place of another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from building import blob_path
from mlrepro import collisions
from working import Work, cloned, codes, made, oid_of

BOTH = {"case": (True, False), "accents": (False, True), "both": (True, True)}
NAMES = {
    "case": ("Data.csv", "data.csv"),
    "accents": ("caf\u00e9", "cafe\u0301"),
    "both": ("CAF\u00c9", "cafe\u0301"),
}


def test_what_this_file_system_does_is_found_out(tmp_path: Path) -> None:
    (tmp_path / "Caf\u00e9").write_text("")
    case = (tmp_path / "caf\u00e9").exists()
    form = (tmp_path / "Cafe\u0301").exists()
    assert collisions.one_name(str(tmp_path)) == (case, form)
    assert [path.name for path in tmp_path.iterdir()] == ["Caf\u00e9"]


@pytest.mark.parametrize("kind", BOTH)
def test_names_that_are_one_are_told(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = NAMES[kind]
    monkeypatch.setattr(collisions, "one_name", lambda _: BOTH[kind])
    found = collisions.clashes([one, "x", other, "y/z"], str(tmp_path))
    assert found == {one: other, other: one}
    found = collisions.clashes([f"{one}/a", f"{other}/b"], str(tmp_path))
    for path in (f"{one}/a", f"{other}/b"):
        refused = collisions.refusal(found, path)
        assert refused is not None and refused.code == "path-collision" and refused.hint
    assert collisions.refusal(found, "x") is None
    monkeypatch.setattr(collisions, "one_name", lambda _: (False, False))
    assert collisions.clashes([one, other], str(tmp_path)) == {}


def test_nothing_of_them_is_brought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a repository comes from where they are two; here it is made up of its parts."""
    work: Work = made(tmp_path / "repo")
    rows = []
    for name in ("data/A.csv", "data/a.csv", "data/good.csv", "set/x"):
        text = f"{name}\n"
        path = blob_path(work.store, oid_of(text))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        rows.append({"md5": oid_of(text), "relpath": name[-1:]})
    members = [{**rows[0], "relpath": "X/1"}, {**rows[1], "relpath": "x/2"}]
    text = json.dumps(members, sort_keys=True)
    path = blob_path(work.store, oid_of(text) + ".dir")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    for pointer, name, oid in (
        ("data/one.dvc", "A.csv", oid_of("data/A.csv\n")),
        ("data/two.dvc", "a.csv", oid_of("data/a.csv\n")),
        ("data/good.csv.dvc", "good.csv", oid_of("data/good.csv\n")),
        ("set.dvc", "set", oid_of(text) + ".dir"),
    ):
        work.write(pointer, f"outs:\n- md5: {oid}\n  hash: md5\n  path: {name}\n")
    work.git("add", "--force", "*.dvc")
    work.save("from elsewhere")
    monkeypatch.setattr(collisions, "one_name", lambda _: (True, False))
    done = work.pull()
    assert codes(done) == ["path-collision"] * 3
    assert done.restored == ("data/good.csv",)
    assert not work.path("data/a.csv").exists() and not work.path("data/A.csv").exists()
    assert not work.path("set").exists()


def test_where_they_are_two_both_come_back(tmp_path: Path) -> None:
    if True in collisions.one_name(str(tmp_path)):
        pytest.skip("they are one here")
    work = made(tmp_path / "repo")
    names = [f"data/{name}" for pair in NAMES.values() for name in pair]
    for name in names:
        work.write(name, name)
    assert codes(work.track("data")) == []
    work.save("data")
    clone = cloned(work, tmp_path / "clone")
    assert codes(clone.pull()) == []
    assert [clone.read(name).decode() for name in names] == names
