"""Folder listings: byte for byte DVC's, and never fooled by a hostile one."""

from __future__ import annotations

import json

import pytest
from hypothesis import assume, given, strategies as st

from mlrepro import pointer
from mlrepro.errors import PointerError
from mlrepro.pointer import Member
from pointer_cases import ODD_NAMES, OID, OTHER, names, odd_oids

relpaths = st.lists(names, min_size=1, max_size=3).map("/".join)


@given(st.dictionaries(relpaths, odd_oids, max_size=12))
def test_listing_is_written_as_dvc_writes_it(members):
    assume(not any(a != b and b.startswith(a + "/") for a in members for b in members))
    rows = sorted(
        ({"md5": oid, "relpath": relpath} for relpath, oid in members.items()),
        key=lambda row: row["relpath"],
    )
    theirs = json.dumps(rows, sort_keys=True).encode()
    made = [Member(*member) for member in members.items()]
    assert pointer.render_listing(made) == theirs
    expected = [Member(row["relpath"], row["md5"]) for row in rows]
    assert pointer.parse_listing(theirs, "x") == expected
    other_form = json.dumps(rows, indent=1, ensure_ascii=False).encode()
    assert pointer.parse_listing(other_form, "x") == expected


def test_listing_of_dvc_data_itself():
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.tree import Tree

    tree = Tree()
    made = [Member(f"{name}/f", OID) for name in ODD_NAMES] + [Member("b", OTHER), Member("B", OID)]
    for member in made:
        tree.add(tuple(member.relpath.split("/")), None, HashInfo("md5", member.oid))
    tree.digest()
    text = pointer.render_listing(made)
    assert text == tree.as_bytes()
    assert pointer.listing_oid(text) == tree.hash_info.value


def test_a_long_listing_is_read_and_written():
    made = [Member(f"sub{i % 100:03}/é{i}.csv", f"{i:032x}") for i in range(20_000)]
    text = pointer.render_listing(made)
    assert pointer.parse_listing(text, "x") == sorted(made, key=lambda member: member.relpath)


ONE = '{"md5": "%s", "relpath": "%s"}'


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "pointer-empty"),
        (" \n", "pointer-empty"),
        ("{}", "pointer-invalid"),
        ("null", "pointer-invalid"),
        ("[1]", "pointer-invalid"),
        ('[{"md5": "}]', "pointer-invalid"),
        (f"[{ONE % (OID, 'a')}", "pointer-invalid"),
        (f"[{ONE % (OID, 'a')}, ]", "pointer-invalid"),
        (f"[{ONE % (OID, 'a')}]x", "pointer-invalid"),
        (f"[{ONE % (OID, 'a')}, {ONE % (OID, 'a')}]", "pointer-invalid"),
        (f"[{ONE % (OID, 'a')}, {ONE % (OID, 'a-b')}, {ONE % (OID, 'a/b')}]", "pointer-invalid"),
        (f"[{ONE % (OID + '.dir', 'a')}]", "pointer-invalid"),
        (f"[{ONE % (OID[1:], 'a')}]", "pointer-invalid"),
        (f"[{ONE % ('../' + OID[3:], 'a')}]", "pointer-invalid"),
        (f"[{ONE % (OID, 'a' + chr(92))}]", "pointer-invalid"),
        (f"[{ONE % (OID, 'a' + chr(92) + 'q')}]", "pointer-invalid"),
        (f"[{ONE % (OID, 'a' + chr(34))}]", "pointer-invalid"),
        (f"[{ONE % (OID, chr(1))}]", "pointer-invalid"),
        ('[{"relpath": "a"}]', "pointer-invalid"),
        (f'[{{"md5": "{OID}"}}]', "pointer-invalid"),
        (f'[{{"md5": "{OID}", "relpath": 5}}]', "pointer-invalid"),
        (f'[{{"md5": "{OID}", "relpath": "a", "size": 5}}]', "pointer-unknown"),
        (f'[{{"md5": "{OID}", "relpath": "a\\\\", "size": [[]], "x": "b"}}]', "pointer-unknown"),
        ("[" * 100_000, "pointer-invalid"),
        ('{"a":' * 100_000, "pointer-invalid"),
        (f"[{'9' * 10_000}]", "pointer-invalid"),
        (f"[{ONE % (OID, 'a/' * 1_000_000 + 'b')}]", "pointer-invalid"),
    ],
    ids=lambda value: ascii(value[:60]),
)
def test_bad_listing_is_refused(text, code):
    with pytest.raises(PointerError) as caught:
        pointer.parse_listing(text.encode(), "data")
    assert caught.value.code == code
    assert caught.value.message.startswith("data: ")
    assert len(caught.value.message) < 1000


@given(st.data())
def test_a_damaged_listing_is_read_as_json_does_or_refused(data):
    whole = pointer.render_listing([Member("a/b", OID), Member('c"\\é', OTHER)]).decode()
    at = data.draw(st.integers(0, len(whole)))
    bits = st.sampled_from(
        ['"', "\\", "{", "}", ", ", '"}, {"md5": "', "[", "]", "0", "/", "\\u0041"]
    )
    put = "".join(data.draw(st.lists(bits, max_size=4)))
    damaged = whole[:at] + put + whole[at + data.draw(st.integers(0, 3)) :]
    try:
        parsed = pointer.parse_listing(damaged.encode(), "x")
    except PointerError:
        return
    assert [{"md5": m.oid, "relpath": m.relpath} for m in parsed] == json.loads(damaged)
