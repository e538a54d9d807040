"""Names that YAML, git or a file system find hard, and what DVC itself makes of a pointer."""

from __future__ import annotations

from hypothesis import strategies as st

from mlrepro import pointer

OID = "401b30e3b8b5d629635a5c613cdb7919"  # of b"x\n"
OTHER = "b026324c6904b2a9cb4b88d6d61c81d1"

# What YAML treats in a special way, so that hypothesis need not find it by chance.
# fmt: off
BITS = [
    "a", "word ", "w" * 45, "é", "e\u0301", "😀", " ", "  ", "'", '"', "\\", "\t", "\x01", "\x7f",
    "\x85", "\u2028", "\u2029", "\xa0", "\ufeff", "\ufffe", "\r", "#", " #", ":", ": ", "-", "?",
    "!", "[", "]", "{", "}", ",", "&", "*", "|", ">", "%", "@", "`", "~", "=", "<", "+", ".", "_",
    "0", "1", "2020-01-01", "e", "x", "T12:30:00", "Z", "null", "true", "inf", "...",
]
# fmt: on
texts = st.one_of(
    st.lists(st.sampled_from(BITS), min_size=1, max_size=40).map("".join),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60),
).filter(lambda text: "\n" not in text)
names = texts.map(lambda text: text.replace("/", "_").replace("\0", "_")).filter(
    lambda text: not pointer.path_problem(text)
)
odd_oids = st.one_of(
    st.text("0123456789", min_size=32, max_size=32),
    st.text("0123456789e", min_size=32, max_size=32),
    st.text("0123456789abcdef", min_size=32, max_size=32),
    st.text("01", min_size=30, max_size=30).map("0b".__add__),
)
oids = odd_oids | odd_oids.map(lambda oid: oid + ".dir")

# fmt: off
ODD_NAMES = [
    "a b.csv", " lead", "trail ", "é.csv", "e\u0301.csv", "#h", "a #h", "!x", "[x", "-x", "-",
    "- x", "😀.csv", "it's", 'q"q', "both'\"", "a:b", "a: b", "x:", ":x", "tab\tx", "\x01c",
    "\x7fd", "cr\rx", "l\u2028s", "p\u2029s", "\ufeffbom", "b\ufeffom", "123", "1.5", "true",
    "null", "~", "2020-01-01", "=", "<<", "0x1f", "1_000", "?", "? x", "?x", "%x", "@x", "`x",
    "&x", "*x", "|x", ">x", ",x", "{x", "x]", "a#b", "...", "---", "--- x", "..x", "nb\xa0sp",
    "a\\b", "'x", "'x y", "x' y", "No", "y", "on", "1e3", ".5", "0o17", "12:30", "1\u2028",
    "n \x85l", "0b1", "+1", "-1", ".inf", ".nan", "a  b", "word " * 20 + "z", "w" * 100,
    "w" * 240, "é" * 120, "'" + "word " * 20 + "z", "'" + "w" * 200, "#" + "word " * 20 + "z",
    "#" + "w" * 200, "\x01" + "word " * 30 + "z", "\x01" + "w" * 100, "😀" * 60,
]
# fmt: on


def dumps(data):
    """What DVC writes for this data."""
    from dvc.utils.serialize import dumps_yaml

    return dumps_yaml(data)


def loads(text):
    """What DVC reads, or None where it cannot."""
    from dvc.utils.serialize import loads_yaml
    from ruamel.yaml import YAMLError

    try:
        return loads_yaml(text)
    except (YAMLError, ValueError):
        return None
