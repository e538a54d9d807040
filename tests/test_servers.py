"""The same blobs on real stores of several kinds: S3, SSH and WebDAV."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import servers
from dvc_place import Place, blob, oid_of, spoil
from mlrepro import dvc


@pytest.fixture(params=["s3", "ssh", pytest.param("webdav", marks=pytest.mark.slow)])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Mapping[str, str]:
    """What DVC has to know of a new, empty store, for each kind of them."""
    found: Any = request.getfixturevalue(request.param)
    if request.param == "s3":
        return found.settings(request.getfixturevalue("bucket"), "a/prefix")  # type: ignore[no-any-return]
    if request.param == "ssh":
        (tmp_path / "far").mkdir()
        return found.settings(tmp_path / "far")  # type: ignore[no-any-return]
    return {"url": found}


def test_there_and_back(tmp_path: Path, settings: Mapping[str, str]) -> None:
    place = Place.at(tmp_path / "repo")
    place.remote_of(settings)
    place.write("folder/one.txt", "1\n")
    place.write("folder/two.bin", os.urandom(6 << 20))
    with dvc.session(place.top) as session:
        dvc.probe(place.top, "", create=True)
        (item,), errors = session.add(["folder"])
        sent, errors = session.push([item.pointer])
        assert errors == [] and len(sent) == 3
        oids = [oid_of("1\n"), item.oid, oid_of("none")]
        sizes = dvc.exists(place.top, "", oids)
        assert sizes.keys() == set(oids[:2]) and sizes[oids[0]] == 2
        assert session.push([item.pointer])[1] == []
        for oid in sent:
            blob(place.cache, oid).unlink()
        assert session.fetch([item.pointer]) == ([item.oid], [])
        assert session.checkout([item.pointer]) == (["folder"], [])


def test_the_back_door_of_the_s3_server(s3: servers.S3, bucket: str) -> None:
    s3.write(bucket, "a/b/c", b"bytes")
    s3.write(bucket, "d", b"")
    assert s3.objects(bucket) == {"a/b/c": 5, "d": 0}
    assert s3.read(bucket, "a/b/c") == b"bytes"
    s3.remove(bucket, "d")
    assert list(s3.objects(bucket)) == ["a/b/c"]


@pytest.mark.slow
def test_many_at_once_to_a_new_folder(tmp_path: Path, webdav: str, s3: servers.S3) -> None:
    """A WebDAV server locks a folder while somebody makes it: others wait, and none fails."""
    for turn in range(2):
        (tmp_path / str(turn)).mkdir()
        place = Place.at(tmp_path / str(turn) / "repo")
        folder = f"{webdav}/{turn}"
        s3.ask("POST", f"/{webdav.rpartition('/')[2]}/{turn}/")
        place.remote_of({"url": folder})
        data = [f"{turn} {number}\n".encode() for number in range(48)]
        for one in data:
            spoil(blob(place.cache, oid_of(one)), one)
        wanted = [(oid_of(one), len(one)) for one in data]
        sent, failed = dvc.upload(place.top, "", wanted, str(place.cache), jobs=16)
        assert failed == {}, next(iter(failed.values())).message
        assert len(sent) == len(data)
