"""YAML scalars: the very bytes that ruamel writes, and read as it reads them."""

from __future__ import annotations

import pytest
from hypothesis import example, given, strategies as st

from mlrepro import scalar
from mlrepro.errors import PointerUnknown
from pointer_cases import dumps, loads, texts


@pytest.mark.parametrize(("key", "indent"), [("path", 2), ("wdir", 0)])
@given(text=texts)
@example(text="a  b " * 16 + "c")  # ruamel folds at two spaces and reads back one
@example(text="n\x85l")
@example(text="0o17")
@example(text="\x01" + "word " * 30 + "z")
@example(text="w" * 255)
@example(text="é" * 127)
@example(text="word " * 50)
def test_scalar_is_written_and_read_as_ruamel_does(key, indent, text):
    wrap = (lambda value: {"outs": [{key: value}]}) if indent else (lambda value: {key: value})
    theirs = dumps(wrap(text))
    ours = ("outs:\n- " if indent else "") + scalar.dump(key, text, indent) + "\n"
    if loads(theirs) == wrap(text):
        assert ours == theirs
    assert loads(ours) == wrap(text)
    for written in (ours, theirs):
        lines = written.removesuffix("\n").split("\n")[1 if indent else 0 :]
        try:
            value, plain, after = scalar.read(lines, 0, indent + len(key) + 1, indent)
        except PointerUnknown:
            assert written != ours
            continue
        assert after == len(lines)
        assert not plain or scalar.is_text(value)
        assert loads(written) == wrap(value)


@given(st.text("0123456789_+-.:eExXobBaTtZ \tinfNA~<=", max_size=12))
@example("2020-01-01")
@example("2020-1-1 1:00:00")
@example("2020-01-01T10:00:00.5 +01:30")
@example("0x_")
@example("-.inf")
@example(".NAN")
def test_numbers_times_and_words_are_told_from_text(text):
    from ruamel.yaml.nodes import ScalarNode
    from ruamel.yaml.resolver import VersionedResolver

    tag = str(VersionedResolver().resolve(ScalarNode, text, (True, False)))
    assert scalar.is_text(text) == ("2002:str" in tag)
