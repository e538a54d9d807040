"""A repository that is not to be trusted, and what DVC itself would do to it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from dvc_place import MINE, Place, blob, bomb, codes, oid_of, spoil
from mlrepro import dvc
from mlrepro.errors import (
    BlobMissing,
    PointerError,
    Refused,
    RepositoryError,
)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.at(tmp_path / "repo")


def test_a_pointer_cannot_name_files_outside(place: Place, tmp_path: Path) -> None:
    """With its md5 as a path, DVC's status, fetch, pull and push delete that file."""
    mine = tmp_path / "mine"
    mine.write_text(MINE)
    evil = os.path.relpath(mine, place.cache / "files/md5/xx")
    place.write("x.dvc", f"outs:\n- md5: xx{evil}\n  hash: md5\n  path: x\n")
    place.write("x", "x\n")
    with dvc.session(place.top) as session:
        for act in (session.fetch, session.push, session.checkout):
            done, errors = act(["x.dvc"])
            assert done == [] and [type(error) for error in errors] == [PointerError]
        session.status()
        assert [type(error) for error in session.add(["x"])[1]] == [PointerError]
    assert mine.read_text() == MINE


def test_a_listing_cannot_name_files_outside(place: Place, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text(MINE)
    spoil(blob(place.store, oid_of("evil")), b"evil")
    listing = json.dumps([{"md5": oid_of("evil"), "relpath": "../../mine"}]).encode()
    oid = oid_of(listing) + ".dir"
    spoil(blob(place.store, oid), listing)
    place.write("data.dvc", f"outs:\n- md5: {oid}\n  nfiles: 1\n  hash: md5\n  path: data\n")
    with dvc.session(place.top) as session:
        done, errors = session.pull(["data.dvc"])
    assert done == [] and [type(error) for error in errors] == [PointerError]
    assert mine.read_text() == MINE and not place.path("data").exists()


def test_one_hostile_pointer_does_not_hang_the_others(place: Place) -> None:
    place.write("a/bomb.dvc", bomb())
    place.write("a/deep.dvc", "meta: " + "[" * 100_000)
    place.write("data.csv", "a\n")
    with dvc.session(place.top) as session:
        added, errors = session.add(["data.csv"])
        assert [item.path for item in added] == ["data.csv"] and errors == []
        _, errors = session.status()
    assert {error.path for error in errors} == {"a/bomb.dvc", "a/deep.dvc"}
    assert set(codes(errors)) == {"pointer-invalid"}


def test_a_link_for_a_folder_of_dvcs(place: Place, tmp_path: Path) -> None:
    (place.root / ".dvc/tmp").rename(tmp_path / "elsewhere")
    (place.root / ".dvc/tmp").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RepositoryError) as caught, dvc.session(place.top):
        pass
    assert caught.value.code == "dvc-folder-link"


def test_checkout_keeps_what_is_not_saved(place: Place) -> None:
    place.write("data.csv", "saved\n")
    place.write("kept.csv", "kept\n")
    with dvc.session(place.top) as session:
        session.add(["data.csv", "kept.csv"])
        place.write("data.csv", "not saved\n")
        done, errors = session.checkout(["data.csv.dvc"])
        assert done == [] and [type(error) for error in errors] == [Refused]
        blob(place.cache, oid_of("kept\n")).unlink()
        place.write("kept.csv", "newer\n")
        session.add(["kept.csv"])
        place.write("kept.csv.dvc", place.read("kept.csv.dvc").replace(
            oid_of("newer\n").encode(), oid_of("kept\n").encode()
        ))  # fmt: skip
        done, errors = session.checkout(["kept.csv.dvc"])
        assert done == [] and [type(error) for error in errors] == [BlobMissing]
    assert place.read("data.csv") == b"not saved\n"
    assert place.read("kept.csv") == b"newer\n"
