"""Feeds a reader of hostile bytes with what reaches ever more of its code.

A program of its own, run by test_fuzzing.py where atheris is installed:
``fuzzing.py pointer|listing|settings|code RUNS SECONDS``. It ends with a traceback, and the bytes
that did it, where anything but an error of ours comes out, or what is read is not what is written.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import atheris

with atheris.instrument_imports(include=["mlrepro"]):
    from mlrepro import dvcini, listing, literal, pointer, safepath, scalar  # noqa: F401
    from mlrepro.errors import MlreproError

OID = b"d3b07384d113edec49eaa6238ad5ff00"


def _pointer(data: bytes) -> None:
    found = pointer.parse(data, "x.dvc")
    assert pointer.parse(pointer.render(found), "x.dvc") == found
    for out in found.outs:
        assert not pointer.path_problem(out.path)


def _listing(data: bytes) -> None:
    found = pointer.parse_listing(data, "x")
    assert sorted(pointer.parse_listing(pointer.render_listing(found), "x"), key=str) == sorted(
        found, key=str
    )


def _settings(data: bytes) -> None:
    dvcini.find_secrets(data)
    text = data.decode("utf-8", "surrogateescape")
    found = dvcini.load_text(text)
    changed = dvcini.set_values(text, "core", {"remote": "storage"})
    assert dvcini.load_text(changed) == {**found, "core": {**found.get("core", {}),
                                                           "remote": "storage"}}  # fmt: skip


def _code(data: bytes) -> None:
    literal.read_names(literal.decode(data), "/x/config/config.py", {})


READERS: dict[str, tuple[Callable[[bytes], None], list[bytes]]] = {
    "pointer": (
        _pointer,
        [b"outs:\n- md5: " + OID + b"\n  size: 2\n  hash: md5\n  path: 'a b'\nwdir: ..\n"],
    ),
    "listing": (_listing, [b'[{"md5": "' + OID + b'", "relpath": "a/\\u00e9"}]']),
    "settings": (
        _settings,
        [b"[core]\n    remote = storage # x\n['remote \"storage\"']\n    url = 'a b'\n"],
    ),
    "code": (
        _code,
        [b"from pathlib import Path\nA = Path('a', 'b') / 'c'\nB = [1, 'x' * 3]\nB += [f'{A}']\n"],
    ),
}


def main() -> None:
    name, runs, seconds = sys.argv[1:4]
    read, seeds = READERS[name]
    tokens = sorted({part for seed in seeds for part in seed.split()})

    def one(data: bytes) -> None:
        try:
            read(data)
        except MlreproError as error:
            if len(error.message) >= 2000 or not error.code:
                raise AssertionError(data) from error

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        """Now and then a word of the format, in the middle of what there is."""
        if seed % 3:
            return atheris.Mutate(data, most)
        base = seeds[seed % len(seeds)] if not data or seed % 7 == 0 else data
        at = seed % (len(base) + 1)
        return (base[:at] + tokens[seed % len(tokens)] + base[at + seed % 4 :])[:most]

    options = [f"-atheris_runs={runs}", f"-max_total_time={seconds}", "-max_len=4096"]
    atheris.Setup([sys.argv[0], *options, "-rss_limit_mb=500", "-timeout=5"], one,
                  custom_mutator=mutate)  # fmt: skip
    atheris.Fuzz()


if __name__ == "__main__":
    main()
