"""Pointers that are broken, hostile or more than the strict grammar knows: each is named."""

from __future__ import annotations

import json

import pytest
from hypothesis import assume, given, strategies as st

from mlrepro import pointer
from mlrepro.errors import PointerError, PointerUnknown
from mlrepro.pointer import Member, Out, Pointer
from pointer_cases import OID, OTHER, loads, names, odd_oids


@pytest.mark.parametrize(
    "text",
    [
        "# note\nouts:\n- path: a\n",
        "outs:\n- path: a # note\n",
        "outs:\n- path: a\n  cache: false\n",
        "outs:\n- path: a\n  desc: x\n",
        "outs:\n- path: a\n  remote: r\n",
        "outs:\n- path: a\n  push: false\n",
        "outs:\n- path: a\n  cloud:\n    r:\n      etag: x\n",
        "outs:\n- path: a\nmeta:\n  x: 1\n",
        "outs:\n- path: a\nfrozen: true\n",
        "md5: 401b30e3b8b5d629635a5c613cdb7919\nouts:\n- path: a\n",
        "deps:\n- path: b\nouts:\n- path: a\n",
        "outs: [{path: a}]\n",
        "outs:\n- {path: a}\n",
        "outs:\n- &x\n  path: a\n",
        "outs:\n- path: &x a\n",
        "outs:\n- path: *x\n",
        "outs:\n- path: !!str a\n",
        "outs:\n- path: |\n    a\n",
        "---\nouts:\n- path: a\n",
        "outs:\n\n- path: a\n",
        "outs:\n- path: a\n\n",
        "outs:\n- path: 'a\x85    b'\n",
        "outs:\n- path: a\tb\n",
        "outs:\n- path: s3://bucket/a\n",
        f"outs:\n- md5: {OID.upper()}\n  path: a\n",
        f"outs:\n- md5: {OID}.DIR\n  path: a\n",
        f"outs:\n- md5: {'1' * 32}\n  path: a\n",  # DVC takes it for a number
        "outs:\n- hash: sha256\n  path: a\n",
        "outs:\n- isexec: yes\n  path: a\n",
        f"outs:\n- md5: {OID}\n  nfiles: 1\n  path: a\n",
        "\ufeffouts:\n- path: a\n",
        "outs:\n- path: a",
        "outs:\n- path: a\r- path: b\n",
        "? outs\n: - path: a\n",
        "'outs':\n- path: a\n",
    ],
)
def test_what_only_dvc_understands_is_left_to_it(text):
    with pytest.raises(PointerUnknown) as caught:
        pointer.parse(text.encode(), "data/x.dvc")
    assert caught.value.code == "pointer-unknown"
    assert caught.value.path == "data/x.dvc"


# ------------------------------------------------------------------ what is refused

WHOLE = f"outs:\n- md5: {OID}\n  size: 2\n  hash: md5\n  path: data\n"


@pytest.mark.parametrize("text", ["", "\n", " \r\n\t\n"])
def test_empty_pointer_is_named(text):
    with pytest.raises(PointerError) as caught:
        pointer.parse(text.encode(), "data.dvc")
    assert caught.value.code == "pointer-empty"
    assert caught.value.hint == "git checkout HEAD -- data.dvc"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "lines",
    [
        ["outs:", "<<<<<<< HEAD", f"- md5: {OID}", "=======", f"- md5: {OTHER}", ">>>>>>> b"],
        ["<<<<<<< HEAD", *WHOLE.splitlines(), "||||||| base", "=======", ">>>>>>> b"],
        ["outs:", f"- md5: {OID}", "=======", "  path: data"],
    ],
)
def test_unfinished_merge_is_named(lines, end):
    with pytest.raises(PointerError) as caught:
        pointer.parse(end.join([*lines, ""]).encode(), "my data.dvc")
    assert caught.value.code == "pointer-conflict"
    assert "mlrepro resolve --ours 'my data'" in caught.value.hint


@pytest.mark.parametrize("length", range(1, len(WHOLE)))
def test_truncated_pointer_is_never_taken_for_a_whole_one(length):
    with pytest.raises(PointerError) as caught:
        pointer.parse(WHOLE[:length].encode(), "data.dvc")
    # Once the path has begun, only the missing line end tells: DVC would take that for whole.
    expected = "pointer-unknown" if "path: d" in WHOLE[:length] else "pointer-invalid"
    assert caught.value.code == expected
    assert caught.value.message.startswith("data.dvc: ")


@pytest.mark.parametrize(
    "text",
    [
        "outs:\n",
        "wdir: a\n",
        "outs:\n- md5: 401b\n  path: a\n",
        f"outs:\n- md5: ../{OID[3:]}\n  path: a\n",
        f"outs:\n- md5: {OID}.dir.dir\n  path: a\n",
        "outs:\n- path: a\n  size: -1\n",
        "outs:\n- path: a\n  size: 9223372036854775808\n",
        f"outs:\n- path: a\n  size: {'9' * 5000}\n",
        "outs:\n- path: a\n  size: 1.5\n",
        "outs:\n- path: a\n  size: '5'\n",
        "outs:\n- path: a\n  size:\n",
        "outs:\n- path: a\n  nfiles: many\n",
        "outs:\n- path: a\n- path: a\n",
        "outs:\n- path: a\n- path: a/b\n",
        "outs:\n- path: a\n  path: b\n",
        "outs:\n- path: a\nouts:\n- path: b\n",
        "outs:\n- path: a: b\n",
        "outs:\n- path: 'a\n",
        "outs:\n- path: 'a' b\n",
        'outs:\n- path: "a\\q"\n',
        'outs:\n- path: "a\\UFFFFFFFF"\n',
        "outs:\n- path: 5\n",
        "outs:\n- path: ''\n",
        "outs:\n- path:\n",
        "outs:\n- path: a\n  hash\n",
        "outs:\n- path: a\x00\n",
        "\0" * 100,
        "wdir: /tmp\nouts:\n- path: a\n",
        "wdir: ../.git\nouts:\n- path: a\n",
        "wdir: ''\nouts:\n- path: a\n",
    ],
    ids=lambda text: ascii(text[:60]),
)
def test_broken_or_hostile_pointer_is_refused(text):
    with pytest.raises(PointerError) as caught:
        pointer.parse(text.encode(), "data.dvc")
    assert caught.value.code == "pointer-invalid"
    assert len(caught.value.message) < 1000


UNSAFE = [
    *("", "/etc/passwd", "/", "a//b", "a/", "..", ".", "./a", "a/.", "../a", "a/../../b", "a/.."),
    *(
        ".git/hooks/pre-commit",
        "a/.GIT/x",
        ".dvc/config",
        "A/.Dvc",
        "git~1/x",
        ".git./x",
        ".git /x",
    ),
    *(".g\u200cit/x", ".git::$INDEX_ALLOCATION/x", "a\nb", "a\0b", "x" * 5000, "\ud800", "\udce9"),
]


@pytest.mark.parametrize("path", UNSAFE, ids=lambda path: ascii(path[:30]))
def test_unsafe_path_is_refused_wherever_it_stands(path):
    quoted = json.dumps(path)
    with pytest.raises(PointerError) as caught:
        pointer.parse(f"outs:\n- path: {quoted}\n".encode(), "x.dvc")
    assert caught.value.code == "pointer-invalid"
    listing = json.dumps([{"md5": OID, "relpath": "a"}, {"md5": OID, "relpath": path}])
    for text in (listing, listing.replace(": ", " : ")):
        with pytest.raises(PointerError) as caught:
            pointer.parse_listing(text.encode(), "x")
        assert caught.value.code == "pointer-invalid"
    code = "path-not-utf8" if path in ("\ud800", "\udce9") else "path-invalid"
    with pytest.raises(PointerError) as caught:
        pointer.render(Pointer((Out(path, OID),)))
    assert caught.value.code == code
    with pytest.raises(PointerError) as caught:
        pointer.render_listing([Member(path, OID)])
    assert caught.value.code == code


@pytest.mark.parametrize("path", ["a/.gitignore", ".dvcignore", "..a", "a..", "a/.git2/b", "a~1"])
def test_paths_that_only_look_unsafe_are_taken(path):
    assert pointer.path_problem(path) == ""
    text = pointer.render_listing([Member(path, OID)])
    assert pointer.parse_listing(text, "x") == [Member(path, OID)]


def test_render_refuses_what_could_not_be_read_back():
    for wrong in (
        Pointer(()),
        Pointer((Out("a", "12"),)),
        Pointer((Out("a", OID, -1),)),
        Pointer((Out("a", OID), Out("a", OTHER))),
        Pointer((Out("a", OID),), "/tmp"),
        Pointer((Out("a", OID),), ""),
    ):
        with pytest.raises(PointerError):
            pointer.render(wrong)
    with pytest.raises(PointerError):
        pointer.render_listing([Member("a", OID + ".dir")])


def test_only_a_blobs_name_is_an_oid():
    assert pointer.is_oid(OID)
    assert pointer.is_oid(OID + ".dir")
    for text in (
        "",
        OID[1:],
        OID + "0",
        OID.upper(),
        OID[:-1] + "/",
        OID[:-1] + "\n",
        OID + ".DIR",
    ):
        assert not pointer.is_oid(text)


@pytest.mark.parametrize(
    ("name", "wdir", "path", "expected"),
    [
        ("data.dvc", ".", "data", "data"),
        ("a/b/data.dvc", ".", "c/data", "a/b/c/data"),
        ("a/b/data.dvc", "..", "data", "a/data"),
        ("a/b/data.dvc", "../../x/./y", "data", "x/y/data"),
        ("a/data.dvc", "../..", "data", None),
        ("data.dvc", "..", "root/data", None),
        ("a/data.dvc", "b/../../..", "data", None),
        ("a/data.dvc", "../.dvc", "cache", None),
    ],
)
def test_out_path_stays_in_the_repository(name, wdir, path, expected):
    out = Out(path, OID)
    if expected is not None:
        assert pointer.out_path(name, Pointer((out,), wdir), out) == expected
        return
    with pytest.raises(PointerError) as caught:
        pointer.out_path(name, Pointer((out,), wdir), out)
    assert caught.value.code == "pointer-invalid"


# ------------------------------------------------------------------ anything at all

pieces = st.lists(
    st.sampled_from(
        [
            *(
                "outs:\n",
                "- ",
                "  ",
                "\n",
                "wdir: ",
                "path: ",
                "md5: ",
                "size: ",
                "hash: md5\n",
                OID,
            ),
            *(
                "    ",
                "a",
                "b\n",
                "5\n",
                "'",
                '"',
                "\\",
                "#",
                ": ",
                "{",
                "[",
                "&x",
                "*x",
                "<<",
                "-",
            ),
            *(
                "\u2028",
                "\x85",
                "\t",
                "é",
                "\r\n",
                "../",
                "true\n",
                "isexec: ",
                "path: a\n",
                "- path: ",
            ),
        ]
    ),
    max_size=25,
).map("".join)


@given(
    st.one_of(
        st.binary(max_size=200),
        pieces.map(str.encode),
        pieces.map(lambda p: ("outs:\n- path: " + p).encode()),
    )
)
def test_anything_is_parsed_as_dvc_does_or_refused(text):
    try:
        parsed = pointer.parse(text, "x")
    except PointerError:
        return
    data = loads(text.decode())
    assert data is not None
    assert data.get("wdir", ".") == parsed.wdir
    assert len(data["outs"]) == len(parsed.outs)
    for theirs, ours in zip(data["outs"], parsed.outs, strict=True):
        assert theirs["path"] == ours.path
        assert (theirs.get("md5") or "") == ours.oid
        assert theirs.get("size") == ours.size
        assert theirs.get("isexec", False) == ours.isexec
    assert pointer.parse(pointer.render(parsed), "x") == parsed


@given(st.data())
def test_a_damaged_pointer_is_read_as_dvc_does_or_refused(data):
    whole = pointer.render(Pointer((Out("some name", OID, 123456), Out("é'#", OTHER, 1)), "sub"))
    at = data.draw(st.integers(0, len(whole) - 1))
    cut = data.draw(st.integers(0, 3))
    damaged = whole[:at] + data.draw(pieces).encode()[:20] + whole[at + cut :]
    assume(damaged != whole)
    try:
        parsed = pointer.parse(damaged, "x")
    except PointerError:
        return
    theirs = loads(damaged.decode())
    assert [out["path"] for out in theirs["outs"]] == [out.path for out in parsed.outs]
    assert [out.get("md5") or "" for out in theirs["outs"]] == [out.oid for out in parsed.outs]
    assert [out.get("size") for out in theirs["outs"]] == [out.size for out in parsed.outs]


@pytest.mark.parametrize(
    "text",
    [
        b"outs:\n- path: '" + b"a " * 500_000,
        b"outs:\n- path: " + b"a\n    " * 150_000 + b"\n",
        b'outs:\n- path: "' + "\u2028".encode() * 300_000,
        b"outs:\n" + b"- path: a\n" * 80_000,
        b"outs:\n- path: " + b"a/" * 400_000 + b"b\n",
        b"outs:\n" + b" " * 500_000 + b"- path: a\n",
        b"[" * (1 << 20),
        b"outs:\n- path: " + b"[" * 500_000 + b"\n",
        b"x" * ((1 << 20) + 1),
    ],
    ids=lambda text: ascii(text[:30]),
)
def test_a_bomb_is_refused(text):
    with pytest.raises(PointerError) as caught:
        pointer.parse(text, "x")
    assert len(caught.value.message) < 1000


def outcome(text: bytes) -> tuple[object, ...]:
    """What becomes of a pointer: all that was read, or what is wrong with it."""
    try:
        found = pointer.parse(text, "x.dvc")
    except PointerError as error:
        return type(error), error.code, error.message, error.hint
    return found, found.exact, [out.order for out in found.outs]


USUAL = pointer.render(Pointer((Out("data-1/set_2.csv", OID, 1234),)))


@given(
    name=names | st.sampled_from(["1e5", "0x1f", "No", "null", "a/../b", ".git/x", "a//b", "/a"]),
    oid=odd_oids | st.just(OID),
    size=st.integers(0, 1 << 70).map(str) | st.sampled_from(["", "007", "-1", "1_0", "\u0663"]),
    cut=st.none() | st.tuples(st.integers(0, 120), st.integers(0, 120), st.binary(max_size=3)),
)
def test_the_usual_one_is_read_as_any_other(name, oid, size, cut):
    """The short way says what the grammar says, or nothing: of right ones and of damaged ones."""
    text = f"outs:\n- md5: {oid}\n  size: {size}\n  hash: md5\n  path: {name}\n".encode()
    texts = [text, USUAL]
    if cut is not None:
        first, last, between = cut
        texts += [one[:first] + between + one[last:] for one in texts]
    for one in texts:
        short = outcome(one)
        with pytest.MonkeyPatch.context() as longer:
            longer.setattr(pointer, "_usual", lambda text: None)
            assert short == outcome(one)


def test_the_usual_one_is_read_the_short_way():
    assert pointer._usual(USUAL) == pointer.parse(USUAL, "x.dvc")
    assert pointer._usual(USUAL.replace(b"1234", b"01234")) is None
