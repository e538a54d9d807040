"""Reading a Python file that is broken, or made to do harm: bounded work, and a plain error."""

from __future__ import annotations

import pytest

from mlrepro import literal
from mlrepro.errors import ConfigError
from mlrepro.literal import Names, decode, read_names


def read(source: str) -> Names:
    return read_names(source, "/home/me/project/config/config.py", {})


BOMBS = {
    "text times": "A = 'a' * 10**9",
    "list times": "A = [1] * 10**9",
    "power": "A = 10 ** 10 ** 10",
    "power of a power": "A = 9 ** 60\nB = A ** 60",
    "long number": f"A = 0x{'f' * 100_000}",
    "shift": "A = 1 << 10**9",
    "doubling text": "A = 'aaaa'\n" + "A = A + A\n" * 60,
    "doubling list": "A = ['aaaa']\n" + "A = A + A\n" * 60,
    "doubling in place": "A = ['aaaa']\n" + "A += A\n" * 60,
    "doubling nested": "A = ['aaaa']\n" + "A = [A, A]\n" * 60,
    "doubling tuple key": "A = ('a',)\n" + "A = (A, A)\n" * 60 + "B = {A: 1}\n",
    "doubling f-string": "A = 'aaaa'\n" + "A = f'{A}{A}'\n" * 60,
    "doubling format": "A = 'aaaa'\n" + "A = '{0}{0}'.format(A)\n" * 60,
    "doubling percent": "A = 'aaaa'\n" + "A = '%s%s' % (A, A)\n" * 60,
    "doubling join": "A = 'aaaa'\n" + "A = A.join([A, A])\n" * 60,
    "doubling replace": "A = 'aaaa'\n" + "A = A.replace('a', A)\n" * 60,
    "doubling path": "from pathlib import Path\nA = Path('aaaa')\n" + "A = A / A\n" * 60,
    "width in f-string": "A = f'{1:1000000000}'",
    "width in a name": "W = '9' * 1\nA = f'{1:{999999999}}'",
    "width in percent": "A = '%1000000000s' % 1",
    "width in format": "A = '{:1000000000}'.format(1)",
    "itself inside": "A = []\nA += [A]\nA.append(A)\n",
    "nested lists": "A = []\n" + "A = [A]\n" * 20_000,
    "nested parents": "from pathlib import Path\nA = Path('" + "a/" * 30_000 + "').parents",
    "long text": f"A = '{'a' * 70_000}'",
    "many values": "A = [" + "1," * 20_000 + "]",
}


@pytest.mark.parametrize("source", BOMBS.values(), ids=list(BOMBS))
def test_a_bomb_is_given_up(source: str) -> None:
    found = read(source)
    assert "A" in found.unreadable or len(str(found.values["A"])) < 100_000


BROKEN = {
    "syntax": ("A = 1\nB = = 2\n", "line 2"),
    "NUL": ("A = 1\0\n", ""),
    "undecodable": ("A = 1\nB = '\udcff'\n", "line 2"),
    "too large": ("#" * (literal.MAX_SOURCE + 1), "256 KiB"),
    "conflict": ("A = 1\n<<<<<<< ours\nA = 2\n", "line 2"),
    "long decimal": (f"A = {'9' * 100_000}", "line 1"),
    "brackets": ("A = " + "(" * 100_000, ""),
    "lists": ("A = " + "[" * 5_000 + "]" * 5_000, ""),
    "signs": ("A = " + "-" * 100_000 + "1", ""),
    "work": ("A = [" + "1," * 9_000 + "]\n" + "A = A + []\n" * 2_000, ""),
}


@pytest.mark.parametrize(("source", "where"), BROKEN.values(), ids=list(BROKEN))
def test_a_file_that_cannot_be_read_is_an_error(source: str, where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(source)
    assert caught.value.code == "config-syntax"
    assert caught.value.path == "config/config.py"
    assert where in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "source",
    [
        "A = " + "+".join(["'a'"] * 50_000),
        "A = x" + ".a" * 50_000,
        "A = x" + "()" * 20_000,
        "if a:\n  A = 1\n" + "elif a:\n  A = 2\n" * 5_000,
        "".join("  " * n + f"if 1:\n{'  ' * n}  A{n} = 1\n" for n in range(90)),
        "A = " + "not " * 3_000 + "1",
        "A = " + "[" * 90 + "]" * 90,
        "A = f'" + "{f'" * 1 + "'}" * 1 + "'",
    ],
    ids=["sum", "attributes", "calls", "elif", "blocks", "not", "lists", "f-strings"],
)
def test_depth_is_bounded(source: str) -> None:
    try:
        found = read(source)
    except ConfigError as error:
        code = error.code
    else:
        code = "config-syntax" if found.values or "A" in found.unreadable else ""
    assert code == "config-syntax"


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"\xef\xbb\xbfA = 'caf\xc3\xa9'", "café"),
        (b"# -*- coding: latin-1 -*-\nA = 'caf\xe9'", "café"),
        (b"#!/usr/bin/python\n# vim: set fileencoding=utf-8 :\nA = 'caf\xc3\xa9'", "café"),
        (b"A = 'x'\r\n", "x"),
    ],
)
def test_a_file_is_decoded_as_it_declares(data: bytes, value: str) -> None:
    assert read(decode(data)).values == {"A": value}


@pytest.mark.parametrize(
    ("data", "where"),
    [
        (b"# coding: no-such-thing\n", "line 1"),
        (b"# coding: punycode\nA = 1\n", "line 1"),
        (b"# coding: utf-7\nA = 1\n", "line 1"),
        (b"\xef\xbb\xbf# coding: latin-1\n", "line 1"),
        (b"A = 1\nB = '\xff'\n", "line 2"),
        (b"#\n#\n#\nB = '\xff'\n", "line 4"),
        (b"A" * (literal.MAX_SOURCE + 1), "256 KiB"),
    ],
)
def test_an_encoding_that_is_not_kept_is_an_error(data: bytes, where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decode(data)
    assert caught.value.code == "config-syntax"
    assert where in caught.value.message
