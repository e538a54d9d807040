"""What each command says to a person."""

from __future__ import annotations

import os
from types import SimpleNamespace as Some
from typing import Any

import pytest

from mlrepro import parser, render
from mlrepro.amounts import many, size
from mlrepro.errors import BlobMissing, Refused, StoreError
from mlrepro.result import Options
from mlrepro.terminal import visible, width


def said(verb: str, *, dry_run: bool = False, **fields: Any) -> list[str]:
    """The lines for a result with these fields, from a folder beside the data."""
    result = Some(**{"errors": (), "notes": (), **fields})
    show = lambda path: os.path.relpath(path, "here") if path else path  # noqa: E731
    return render.render(verb, result, show, Options(dry_run=dry_run))


def item(path: str, state: str, **more: Any) -> Some:
    return Some(
        **{"path": path, "pointer": path + ".dvc", "state": state}
        | {"stored": True, "note": "", "asked": True}
        | more
    )


LOST = Some(
    path="d/x", oid="0123456789abcdef", commit="fedcba9876543210", author="Ada", date="2024"
)


def test_every_verb_has_its_words() -> None:
    assert set(parser.registered()) <= set(render._RENDERERS)


def test_init() -> None:
    fields: dict[str, Any] = {
        "root": "/r",
        "store": "../blob",
        "created": (".dvc/config", "Makefile"),
        "changed": (".gitignore",),
        "hooks": ("pre-commit", "pre-push"),
        "advice": (),
    }
    table = ["created  ../.dvc/config", "created  ../Makefile", "changed  ../.gitignore"]
    summary = "set up /r, store ../blob, hooks pre-commit, pre-push"
    assert said("init", **fields) == [*table, summary, "  hint: mlrepro track PATH"]
    assert said("init", dry_run=True, **fields) == ["would " + summary, *table]
    fields |= {"created": (), "changed": (), "advice": ("add `dvc` to Makefile",)}
    advice = "  hint: add `dvc` to Makefile"
    assert said("init", **fields) == ["all is set up in /r, store ../blob", advice]
    assert said("init", dry_run=True, **fields)[0].startswith("would change nothing")


def test_track() -> None:
    tracked = (
        item("d/x.csv", "new", size=159_642),
        item("d/größe 図.bin", "changed", size=3),
        item("d/same", "unchanged", size=1),
    )
    fields = {
        "tracked": tracked,
        "stored": Some(count=2, bytes=159_645),
        "ignore_changes": ("d/.gitignore: /x.csv",),
        "notes": ("d/x.csv: odd", "elsewhere: d/x.csv"),
    }
    details = [
        "new      ../d/x.csv         155.9 KiB",
        "changed  ../d/größe 図.bin        3 B",
        "ignored  ../d/.gitignore: /x.csv",
        "note: ../d/x.csv: odd",
        "note: elsewhere: d/x.csv",
    ]
    assert said("track", **fields) == [
        *details,
        "3 tracked, 2 stored (155.9 KiB)",
        "  hint: git commit",
    ]
    dry = said("track", dry_run=True, **fields)
    assert dry == ["would track 3, store 2 (155.9 KiB)", *details]
    assert said("track", **fields, errors=(Refused("no"),))[-1] == "3 tracked, 2 stored (155.9 KiB)"
    same = {"tracked": tracked[2:] * 1200, "stored": Some(count=0, bytes=0), "ignore_changes": ()}
    assert said("track", **same) == ["1,200 tracked, all unchanged"]
    assert said("track", dry_run=True, **same)[0].startswith("would change nothing")
    none = {**same, "tracked": ()}
    assert said("track", **none)[-1] == "  hint: mlrepro track PATH"
    assert said("track", dry_run=True, **none)[0].startswith("would track nothing")
    assert said("track", **none, errors=(Refused("no"),)) == []


def test_status() -> None:
    good = {"files": (item("a", "unchanged"),), "clean": True, "restorable": True}
    assert said("status", **good) == [
        "unchanged  ../a",
        "1 tracked, all in order; HEAD can be restored",
    ]
    files = (
        item("a", "modified", note="the pointer is newer", stored=False),
        item("b", "missing"),
        item("c", "unchanged", stored=False),
        item("d", "conflict"),
    )
    assert said("status", files=files, clean=False, restorable=False) == [
        "modified   ../a  the pointer is newer",
        "missing    ../b",
        "unchanged  ../c  not in the store",
        "conflict   ../d",
        "4 tracked: 1 modified, 1 missing, 1 conflict; HEAD cannot be restored",
        "  hint: mlrepro track",
        "  hint: mlrepro pull",
        "  hint: mlrepro resolve --ours PATH (or --theirs, or --union)",
        "  hint: mlrepro push",
    ]
    unknown = StoreError("The store was not asked.", "mlrepro pull", code="store-not-asked")
    far = (item("b", "missing", stored=False, asked=False),)
    assert said("status", files=far, clean=False, restorable=False, errors=(unknown,)) == [
        "missing  ../b  the store was not asked",
        "1 tracked: 1 missing; whether HEAD can be restored is not known here",
    ]
    for note, todo in (
        ("neither staged nor committed", ["  hint: mlrepro track && git commit"]),
        ("staged, not committed", ["  hint: git commit"]),
        ("removed, not committed", ["  hint: git commit -a"]),
        ("owed", []),
    ):
        noted = said("status", **good | {"clean": False, "notes": (f"a.dvc: {note}",)})
        assert noted == [
            "unchanged  ../a",
            f"note: ../a.dvc: {note}",
            "1 tracked, all unchanged; HEAD can be restored",
            *todo,
        ]
    told = said(
        "status",
        files=files[1:2],
        clean=False,
        restorable=True,
        errors=(BlobMissing("x", "mlrepro pull"),),
    )
    assert told[-1] == "1 tracked: 1 missing; HEAD can be restored"
    assert said("status", files=(), clean=True, restorable=True)[0] == "nothing is tracked yet"


def test_push() -> None:
    some, none = Some(count=1, bytes=2048), Some(count=0, bytes=0)
    assert said("push", stored=some, missing=()) == ["1 blob (2.0 KiB) stored"]
    assert said("push", stored=some, missing=(), dry_run=True) == ["would store 1 blob (2.0 KiB)"]
    assert said("push", stored=none, missing=()) == ["all is in the store"]
    lost = ["missing  ../d/x  0123456789  commit fedcba9876 Ada 2024", "nothing stored"]
    assert said("push", stored=none, missing=(LOST,)) == lost
    told = (BlobMissing("gone", path="d/x"),)
    assert said("push", stored=none, missing=(LOST,), errors=told) == ["nothing stored"]


def test_pull() -> None:
    fields = {"restored": ("d/y",), "unchanged": ("a", "b"), "kept": ("d/z",), "missing": (LOST,)}
    assert said("pull", **fields) == [
        "restored  ../d/y",
        "kept      ../d/z  edited here",
        "missing   ../d/x  0123456789   commit fedcba9876 Ada 2024",
        "1 restored, 2 unchanged, 1 kept, 1 missing",
        "  hint: mlrepro track PATH keeps an edit, mlrepro pull --force PATH replaces it",
        "  hint: ask Ada to run: mlrepro push",
    ]
    dry = said("pull", dry_run=True, restored=("a",), unchanged=2000, kept=(), missing=())
    assert dry == ["would restore 1, 2,000 unchanged", "to restore  ../a"]


def test_resolve() -> None:
    assert said("resolve", resolved=("a",), conflicts=()) == [
        "resolved  ../a",
        "1 resolved",
        "  hint: git commit",
    ]
    left = said("resolve", resolved=(), conflicts=("a",))
    assert left[:2] == ["conflict  ../a", "0 resolved, 1 still in conflict"]
    assert said("resolve", resolved=("a",), conflicts=(), dry_run=True)[0] == "would resolve 1"


def test_hooks_explained() -> None:
    path = ".git/hooks/pre-commit"
    order = ("mlrepro: saves", "pre-commit: the rest")
    one = Some(name="pre-commit", installed=True, path=path, order=order, now="nothing")
    two = Some(name="pre-push", installed=False, path="", order=(), now="nothing: not installed")
    assert said("hook", hooks=(one, two)) == [
        "pre-commit  installed  ../.git/hooks/pre-commit",
        "  1. mlrepro: saves",
        "  2. pre-commit: the rest",
        "  now: nothing",
        "pre-push    absent",
        "  now: nothing: not installed",
    ]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (159_642, "155.9 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (1024**3, "1.0 GiB"),
        (5000 * 1024**5, "5,000.0 PiB"),
        (0.4, "0 B"),
    ],
)
def test_sizes(count: float, text: str) -> None:
    assert size(count) == text


def test_counts() -> None:
    assert many(1, "blob") == "1 blob"
    assert many(1200, "entry", "entries") == "1,200 entries"


def test_what_a_terminal_is_shown() -> None:
    assert visible("größe 図 \u200d.csv") == "größe 図 \u200d.csv"
    assert visible("a\nb\x1b[2J\u202e\ud800\udcff") == r"a\x0ab\x1b[2J\u202e\ud800\xff"
    assert (width("ab"), width("図"), width("e\u0301")) == (2, 2, 1)
