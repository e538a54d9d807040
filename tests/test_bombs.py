"""Data files that are made to exhaust whoever looks inside: time and memory stay bounded."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import bombs
import confined
import model_files
from working import Work, made

# DuckDB loads and needs more than our own readers do, and uses all cores.
TABLE_SECONDS, TABLE_MEMORY, TABLE_ADDRESSES = 12, 400 << 20, 4096 << 20
QUICK = ("a header of 60 MB of lists", "dicts and nothing else", "an archive that hides its list")
PLAIN = {
    "m.safetensors": model_files.safetensors({"w": ("F32", [1], bytes(4))}),
    "m.npy": model_files.npy("<f4", (1,), bytes(4)),
    "m.onnx": model_files.onnx({"w": ([1], bytes(4))}),
    "t.csv": b"id,x\n1,2\n",
    "t.csv.gz": b"",
    "t.jsonl": b'{"id": 1}\n',
}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """One small file of each kind, tracked and committed."""
    work = made(tmp_path_factory.mktemp("template") / "repo")
    names = {name for name, _ in (bombs.MODELS | bombs.TABLES).values()}
    for name in names:
        work.path(name).write_bytes(PLAIN.get(name, b"nothing yet"))
    assert work.track(*sorted(names)).exit_code == 0
    work.save("data")
    return work


@pytest.fixture
def work(template: Work, tmp_path: Path) -> Work:
    return Work(shutil.copytree(template.root, tmp_path / "repo", symlinks=True))


def look(work: Work, name: str, make: bombs.Make, *flags: str, **limits: int) -> confined.Confined:
    """``diff`` of the small file against the bomb in its place."""
    make(work.path(name))
    return confined.run(work.root, "diff", *flags, **limits)


def check_model(work: Work, case: str, record: Any) -> None:
    done = look(work, *bombs.MODELS[case])
    done.check()
    assert bombs.MODELS[case][0] in done.stdout
    assert len(done.said) < 100_000
    confined.tried(record, "model files made to exhaust, looked into", 1)


@pytest.mark.parametrize("case", QUICK)
def test_models(work: Work, case: str, record_property: Any) -> None:
    check_model(work, case, record_property)


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in bombs.MODELS if case not in QUICK])
def test_all_models(work: Work, case: str, record_property: Any) -> None:
    check_model(work, case, record_property)


@pytest.mark.slow
@pytest.mark.parametrize("case", bombs.TABLES)
def test_tables(work: Work, case: str, record_property: Any) -> None:
    done = look(
        work, *bombs.TABLES[case], "--rows", seconds=TABLE_SECONDS, addresses=TABLE_ADDRESSES
    )
    done.check(memory=TABLE_MEMORY)
    assert bombs.TABLES[case][0] in done.said
    assert len(done.said) < 100_000
    confined.tried(record_property, "tables made to exhaust, compared", 1)
