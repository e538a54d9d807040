"""Pointers: byte for byte DVC's, and never fooled by a hostile one."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from mlrepro import pointer
from mlrepro.dataclass import replace
from mlrepro.pointer import Out, Pointer
from pointer_cases import ODD_NAMES, OID, OTHER, dumps, loads, names, oids


@given(
    outs=st.lists(
        st.tuples(
            names,
            oids | st.just(""),
            st.none() | st.integers(0, pointer.MAX_COUNT),
            st.booleans(),
            st.booleans(),
        ),
        min_size=1,
        max_size=3,
        unique_by=lambda fields: fields[0],
    ),
    wdir=st.just(".") | names.map(lambda name: f"../{name}"),
)
def test_pointer_is_written_as_dvc_writes_it(outs, wdir):
    made, data = [], []
    for path, oid, size, isexec, legacy in outs:
        nfiles = 3 if oid.endswith(".dir") else None
        legacy = legacy and bool(oid)  # noqa: PLW2901
        made.append(Out(path, oid, size, nfiles, isexec, legacy))
        entries = {"md5": oid or None, "size": size, "nfiles": nfiles, "isexec": isexec or None}
        entries |= {"hash": None if legacy else "md5", "path": path}
        data.append({key: value for key, value in entries.items() if value is not None})
    whole = {"outs": data} if wdir == "." else {"wdir": wdir, "outs": data}
    ours = pointer.render(Pointer(tuple(made), wdir))
    theirs = dumps(whole)
    assert loads(ours.decode()) == whole
    if loads(theirs) == whole:
        assert ours == theirs.encode()
    parsed = pointer.parse(ours, "x.dvc")
    assert parsed == Pointer(tuple(made), wdir)
    assert parsed.exact
    assert pointer.render(parsed) == ours


def test_odd_names_as_a_real_dvc_add_writes_them(dvc_repo):
    repo = dvc_repo.root
    taken = []
    for number, name in enumerate(ODD_NAMES):
        folder = repo / str(number)
        folder.mkdir()
        try:
            (folder / name).write_bytes(b"x\n")
            (folder / f"{name}.dvc").write_bytes(b"")  # a Mac takes no name that is no Unicode text
            (folder / f"{name}.dvc").unlink()
        except OSError:
            continue
        taken.append((f"{number}/{name}", name))
    assert len(taken) > len(ODD_NAMES) / 2
    dvc_repo.dvc("add", "-q", *(path for path, _ in taken))
    for path, name in taken:
        text = (repo / f"{path}.dvc").read_bytes()
        out = Out(name, OID, 2)
        assert pointer.render(Pointer((out,))) == text
        assert pointer.parse(text, path) == Pointer((out,))
        assert pointer.parse(text, path).exact


def test_names_that_dvc_cannot_read_back_are_written_so_that_it_can(dvc_repo):
    repo = dvc_repo.root
    blob = repo / ".dvc/cache/files/md5" / OID[:2] / OID[2:]
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"x\n")
    names = ["a  b " * 16 + "c", "n\x85l"]
    for name in names:
        (repo / f"{name}.dvc").write_bytes(pointer.render(Pointer((Out(name, OID, 2),))))
    dvc_repo.dvc("checkout", "-q")
    assert [(repo / name).read_bytes() for name in names] == [b"x\n", b"x\n"]
    assert "up to date" in dvc_repo.dvc("status").stdout


@pytest.mark.oracle
def test_kinds_of_data_and_their_changes_as_dvc_writes_them(dvc_repo):
    repo = dvc_repo.root
    (repo / "plain").write_bytes(b"x\n")
    (repo / "tool").write_bytes(b"x\n")
    (repo / "tool").chmod(0o755)
    (repo / "empty").mkdir()
    (repo / "folder/sub").mkdir(parents=True)
    members = {"sub/a": b"1\n", 'q"b\\😀': b"2\n", "é": b"3\n", ".gitignore": b"", "sub-b": b"\n"}
    for name, content in members.items():
        (repo / "folder" / name).write_bytes(content)
    (repo / "old").write_bytes(b"x\n")
    (repo / "old.dvc").write_text(f"outs:\n- md5: {OTHER}\n  size: 1\n  path: old\n")
    (repo / "away").mkdir()
    (repo / "away/file").write_bytes(b"x\n")
    (repo / "away.dvc").write_text("wdir: away\nouts:\n- path: file\n")
    before = pointer.parse((repo / "old.dvc").read_bytes(), "old.dvc")
    assert before.exact
    assert before.outs[0].legacy
    unsaved = pointer.parse((repo / "away.dvc").read_bytes(), "away.dvc")
    assert unsaved == Pointer((Out("file", ""),), "away")

    dvc_repo.dvc("add", "-q", "plain", "tool", "empty", "folder", "old")
    dvc_repo.dvc("commit", "-q", "-f", "away.dvc")
    found = {}
    for name in ("plain", "tool", "empty", "folder", "old", "away"):
        text = (repo / f"{name}.dvc").read_bytes()
        found[name] = pointer.parse(text, name)
        assert found[name].exact
    assert found["plain"].outs == (Out("plain", OID, 2),)
    assert found["tool"].outs == (Out("tool", OID, 2, isexec=True),)
    assert found["empty"].outs == (Out("empty", pointer.listing_oid(b"[]"), 0, 0),)
    assert found["away"] == Pointer((Out("file", OID, 2),), "away")
    for name in ("plain", "tool", "empty", "folder"):
        assert pointer.render(Pointer(found[name].outs)) == (repo / f"{name}.dvc").read_bytes()
    # An existing pointer keeps the order of its keys, new ones go behind.
    renewed = replace(before.outs[0], oid=OID, size=2, legacy=False)
    assert pointer.render(Pointer((renewed,))) == (repo / "old.dvc").read_bytes()
    renewed = replace(unsaved.outs[0], oid=OID, size=2)
    assert pointer.render(Pointer((renewed,), "away")) == (repo / "away.dvc").read_bytes()

    folder = found["folder"].outs[0]
    listing = (repo / ".dvc/cache/files/md5" / folder.oid[:2] / folder.oid[2:]).read_bytes()
    parsed = pointer.parse_listing(listing, folder.oid)
    assert {member.relpath for member in parsed} == set(members)
    assert pointer.render_listing(reversed(list(parsed))) == listing
    assert pointer.listing_oid(listing) == folder.oid
    assert (folder.nfiles, folder.size) == (5, 7)

    (repo / "plain").chmod(0o755)
    (repo / "tool").chmod(0o644)
    (repo / "empty").rmdir()
    (repo / "empty").write_bytes(b"x\n")
    dvc_repo.dvc("add", "-q", "plain", "tool", "empty")
    for name, changes in {
        "plain": {"isexec": True},
        "tool": {"isexec": False},
        "empty": {"oid": OID, "size": 2, "nfiles": None},
    }.items():
        out = replace(found[name].outs[0], **changes)
        assert pointer.render(Pointer((out,))) == (repo / f"{name}.dvc").read_bytes()


def test_line_ends_of_windows_and_other_layouts_are_read_but_not_exact():
    good = pointer.render(Pointer((Out("a b", OID, 5), Out("c " * 90, OTHER, 6)), "sub"))
    crlf = pointer.parse(good.replace(b"\n", b"\r\n"), "x")
    assert crlf == pointer.parse(good, "x")
    assert not crlf.exact
    indented = f"outs:\n  - md5: {OID}\n    path: 'a'\n    hash: md5\n    isexec: false\nwdir: ..\n"
    parsed = pointer.parse(indented.encode(), "x")
    assert parsed == Pointer((Out("a", OID),), "..")
    assert not parsed.exact
    assert pointer.parse(b"outs:\n- path: a/b/c\n", "x").outs == (Out("a/b/c", ""),)
