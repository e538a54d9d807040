"""Pointers and lock files that say more than the fast lane's grammar knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from building import Repo
from dvc_place import HASH, Place, blob, bomb, codes, oid_of
from mlrepro import dvc
from mlrepro.errors import (
    PointerError,
)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.at(tmp_path / "repo")


RICH = b"""\
# where this came from
outs:
- md5: d3b07384d113edec49eaa6238ad5ff00  # the first
  size: 4
  hash: md5
  path: data.csv
  desc: 'what: it is'
  meta: {a: [1, 2]}
- md5: 1e50210a0202497fb79bc38b6ade6c34.dir
  nfiles: 2
  size: 10
  hash: md5
  path: images
  remote: other
- path: metrics.json
  cache: false
meta:
  note: "* not an alias & not an anchor"
"""


def test_parse_pointer_with_all_that_dvc_allows() -> None:
    parsed = dvc.parse_pointer(RICH, "a/data.csv.dvc")
    assert not parsed.exact
    assert [(out.path, out.oid, out.size, out.nfiles) for out in parsed.outs] == [
        ("data.csv", "d3b07384d113edec49eaa6238ad5ff00", 4, None),
        ("images", "1e50210a0202497fb79bc38b6ade6c34.dir", 10, 2),
    ]


def test_parse_pointer_of_an_import() -> None:
    text = b"""\
md5: 5f0dd3c2e1e1e1e1e1e1e1e1e1e1e1e1
frozen: true
deps:
- path: get-started/data.xml
  repo:
    url: https://github.com/iterative/dataset-registry
    rev_lock: f31f5c4cdae787b4bdeb97a717687d44667d9e62
outs:
- md5: 22a1a2931c8370d3aeedd7183606fd7f
  size: 14445097
  path: data.xml
"""
    (out,) = dvc.parse_pointer(text, "data.xml.dvc").outs
    assert (out.path, out.oid, out.legacy) == ("data.xml", "22a1a2931c8370d3aeedd7183606fd7f", True)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (bomb(), "alias"),
        (b"meta: &a 1\nouts: []\n", "alias"),
        (b"meta: " + b"[" * 200_000, "deeply"),
        (b"meta:\n" + b"".join(b" " * n + b"- \n" for n in range(1, 100)), "deeply"),
        (b"#" * (1 << 20) + b"\nouts: []\n", "larger than 1 MiB"),
        (b"\xff\xfe", "UTF-8"),
        (b"- 1\n", "mapping"),
        (b"outs: [\n", "not YAML"),
        (b"outs: 1\n", "expected"),
        (b"unknown: 1\nouts: []\n", "extra keys"),
        (b"meta: !!python/object/apply:os.system [true]\nouts: []\n", "not YAML"),
        (f"outs:\n- md5: {HASH}\n  path: ../x\n".encode(), ".."),
        (f"outs:\n- md5: {HASH}\n  path: /etc/passwd\n".encode(), "/etc/passwd"),
        (f"outs:\n- md5: {HASH}\n  path: .git/hooks/x\n".encode(), ".git"),
        (f"wdir: ../..\nouts:\n- md5: {HASH}\n  path: x\n".encode(), "out of the repository"),
        (f"wdir: /tmp\nouts:\n- md5: {HASH}\n  path: x\n".encode(), "outside the repository"),
        (b"outs:\n- md5: ../../etc/passwd\n  path: x\n", "hash that is none"),
        (b"outs:\n- md5: 00000000000000000000000000000001\n  path: x\n", "not a valid value"),
        (b"outs:\n- etag: abcdef\n  path: s3://bucket/x\n", "s3://bucket/x"),
        (f"outs:\n- md5: {HASH}\n  hash: sha1\n  path: x\n".encode(), "not known"),
        (b"outs:\n- path: x\n  files:\n  - relpath: a\n    md5: abcd\n", "cloud"),
        (f"outs:\n- md5: {HASH}\n  size: -1\n  path: x\n".encode(), "below zero"),
    ],
)
def test_parse_pointer_refuses(text: bytes, says: str) -> None:
    with pytest.raises(PointerError) as caught:
        dvc.parse_pointer(text, "a/x.dvc")
    assert says in str(caught.value) and "\n" not in str(caught.value)
    assert caught.value.path == "a/x.dvc"


def test_write_pointer_is_what_dvc_writes(place: Place) -> None:
    place.write("data.csv", "a\n")
    before = (
        f"# kept\nmeta:\n  owner: me\nouts:\n- md5: {HASH}\n  size: 4\n"
        "  hash: md5\n  path: data.csv  # the data\n  desc: what it is\n"
    )
    place.write("data.csv.dvc", before)
    update = {"data.csv": (oid_of("a\n"), 2, None, False)}
    text = dvc.write_pointer(place.top, "data.csv.dvc", update)
    assert place.read("data.csv.dvc") == before.encode()
    assert text.decode() == before.replace(HASH, oid_of("a\n")).replace("size: 4", "size: 2")
    with dvc.session(place.top) as session:
        assert session.add(["data.csv"])[1] == []
    assert place.read("data.csv.dvc") == text
    with pytest.raises(PointerError, match="does not name other"):
        dvc.write_pointer(place.top, "data.csv.dvc", {"other": (oid_of("a\n"), 2, None, False)})


def test_write_pointer_of_dvc_2_in_a_folder(place: Place) -> None:
    place.write("sub/x.dvc", f"wdir: ..\nouts:\n- md5: {HASH}\n  path: data  # old\n")
    oid = oid_of("x") + ".dir"
    text = dvc.write_pointer(place.top, "sub/x.dvc", {"data": (oid, 7, 3, False)})
    (out,) = dvc.parse_pointer(text, "sub/x.dvc").outs
    assert (out.path, out.oid, out.size, out.nfiles, out.legacy) == ("data", oid, 7, 3, False)
    assert b"# old" in text and b"wdir: .." in text


LOCK = f"""\
schema: '2.0'
stages:
  prepare:
    cmd: python prepare.py
    outs:
    - path: out/train.csv
      hash: md5
      md5: {HASH}
      size: 4
    - path: metrics.json
      hash: md5
      md5: {oid_of("m")}
      size: 9
  fit@small:
    cmd: python fit.py small
    outs:
    - path: ../models/small
      hash: md5
      md5: {oid_of("s")}.dir
      size: 9
      nfiles: 2
    - path: small-score.json
      md5: {oid_of("c")}
""".encode()

PIPELINE = b"""\
defaults: &defaults
  x: 1
stages:
  prepare:
    cmd: python prepare.py
    outs:
    - out/train.csv
    metrics:
    - metrics.json:
        cache: false
  fit:
    foreach: [small, large]
    do:
      cmd: python fit.py ${item}
      wdir: work/${item}
      outs:
      - ../models/${item}
      - ${item}-score.json:
          cache: false
params: [*defaults]
"""


def test_lock_outs() -> None:
    found = dvc.lock_outs(LOCK, "pipe/dvc.lock", PIPELINE)
    assert [(out.stage, out.path, out.oid, out.nfiles) for out in found] == [
        ("prepare", "out/train.csv", HASH, None),
        ("fit@small", "work/models/small", oid_of("s") + ".dir", 2),
    ]
    blind = dvc.lock_outs(LOCK, "pipe/dvc.lock")
    assert [out.path for out in blind] == [
        "out/train.csv", "metrics.json", "../models/small", "small-score.json",
    ]  # fmt: skip
    with pytest.raises(PointerError, match="out of the repository"):
        dvc.lock_outs(LOCK)
    with pytest.raises(PointerError, match="schema"):
        dvc.lock_outs(b"stages: {}\n")


def test_a_changed_output_of_a_pipeline_is_committed(tmp_path: Path) -> None:
    place = Place(Repo.make(tmp_path / "me@home" / "repo").root)  # "@" means something to DVC
    dvc.init(place.top)
    place.write("raw.csv", "raw\n")
    place.write("out.csv", "first\n")
    place.write("lost.csv", "lost\n")
    place.write("metrics.json", "{}\n")
    pipeline = (
        "stages:\n  make:\n    cmd: make it  # not run here\n    deps: [raw.csv]\n"
        "    outs: [out.csv, lost.csv]\n    metrics:\n    - metrics.json: {cache: false}\n"
    )
    place.write("dvc.yaml", pipeline)
    added, errors = dvc.refresh_lock(place.top, "dvc.lock", ["make"])
    assert errors == []
    assert {(item.path, item.pointer) for item in added} == {
        ("out.csv", "dvc.lock"),
        ("lost.csv", "dvc.lock"),
    }
    place.write("out.csv", "second\n")
    place.path("lost.csv").unlink()
    inode = place.path("out.csv").stat().st_ino
    with dvc.session(place.top) as session:
        states, _ = session.status()
        assert {(one.path, one.state) for one in states} == {
            ("out.csv", "modified"),
            ("lost.csv", "deleted"),
        }
        added, errors = session.commit(["dvc.yaml:make", "dvc.yaml:none"])
    assert codes(errors) == ["stage-missing"]
    found = dvc.lock_outs(place.read("dvc.lock"), "dvc.lock", place.read("dvc.yaml"))
    assert {out.path: out.oid for out in found} == {
        "out.csv": oid_of("second\n"),
        "lost.csv": oid_of("lost\n"),
    }
    assert blob(place.cache, oid_of("second\n")).read_bytes() == b"second\n"
    assert place.path("out.csv").stat().st_ino == inode
    assert place.read("dvc.yaml").decode() == pipeline


def test_an_import_comes_from_where_it_came_from(place: Place, tmp_path: Path) -> None:
    other = Place(Repo.make(tmp_path / "other" / "repo").root)
    dvc.init(other.top)
    other.store.mkdir()
    other.remote(str(other.store))
    other.write("table.csv", "theirs\n")
    with dvc.session(other.top) as session:
        session.add(["table.csv"])
        session.push(["table.csv.dvc"])
    other.commit("data")
    with dvc.session(place.top) as session:
        from mlrepro.dvc.inprocess import calling

        with calling():
            session.repo.imp(other.top, "table.csv", out=str(place.path("table.csv")))
        (out,) = dvc.parse_pointer(place.read("table.csv.dvc"), "table.csv.dvc").outs
        assert out.oid == oid_of("theirs\n")
        blob(place.cache, out.oid).unlink()
        place.path("table.csv").unlink()
        assert session.pull(["table.csv.dvc"]) == (["table.csv"], [])
        assert place.read("table.csv") == b"theirs\n"
        blob(other.store, out.oid).unlink()
        for path in other.cache.rglob(out.oid[2:]):
            path.unlink()
        blob(place.cache, out.oid).unlink()
        assert codes(session.fetch(["table.csv.dvc"])[1]) == ["blob-missing"]
