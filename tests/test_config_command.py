"""config: the values of config and params files, now and at a commit, read without running them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import looking
from looking import Looking
from mlrepro import values
from mlrepro.errors import MlreproError
from mlrepro.layout import Paths
from mlrepro.render_history import config as rendered

FILES = {
    "config/config.py": """\
import os
from pathlib import Path
import mlflow

BASE = Path(__file__).parent.parent
SEED = 1
PARAMS = {"lr": 0.1, "layers": [1, 2], "deep": {"er": None}}
TOKEN = os.environ.get("TOKEN", "none")
HOST = os.environ["HOST"]
LATER = mlflow.start()

def helper(): return 1
""",
    "config/args.json": '{"embedding": 128, "dropout": 0.5, "tags": ["a"]}',
    "config/deep/more.toml": 'name = "x"\n[run]\nwhen = 2024-02-01\nlimit = inf\n',
    "config/more.yml": "a: &x {b: true}\nc: *x\n",
    "config/notes.txt": "not a config",
    "params.yaml": "train:\n  lr: 0.1\nseed: 7\n",
    "nested/params.yaml": "not: meant",
}


@pytest.fixture
def work(tmp_path: Path) -> Looking:
    return looking.make(tmp_path / "repo")


def named(result: Any) -> dict[tuple[str, str], Any]:
    return {(v["file"], v["name"]): v["value"] for v in result.data()["values"]}


def test_every_format(work: Looking, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment is never asked: it may hold secrets, and is not part of any commit."""
    monkeypatch.setenv("TOKEN", "secret")
    monkeypatch.setenv("HOST", "secret")
    work.has(FILES)
    result = work.config()
    assert not result.errors
    assert named(result) == {
        ("config/args.json", "embedding"): 128,
        ("config/args.json", "dropout"): 0.5,
        ("config/args.json", "tags"): ["a"],
        ("config/config.py", "BASE"): str(work.root),
        ("config/config.py", "SEED"): 1,
        ("config/config.py", "PARAMS.lr"): 0.1,
        ("config/config.py", "PARAMS.layers"): [1, 2],
        ("config/config.py", "PARAMS.deep.er"): None,
        ("config/config.py", "TOKEN"): "none",
        ("config/deep/more.toml", "name"): "x",
        ("config/deep/more.toml", "run.when"): "2024-02-01",
        ("config/deep/more.toml", "run.limit"): "inf",
        ("config/more.yml", "a.b"): True,
        ("config/more.yml", "c.b"): True,
        ("params.yaml", "train.lr"): 0.1,
        ("params.yaml", "seed"): 7,
    }
    assert [(one.name, one.line) for one in result.unread] == [("HOST", 9), ("LATER", 10)]
    assert "HOST" in result.unread[0].reason
    assert "secret" not in json.dumps(result.data())


def test_at_a_commit(work: Looking) -> None:
    first = work.has({"config/config.py": "LR = 0.1\n", "params.yaml": "a: 1\n"})
    work.has({"config/config.py": "LR = 0.2\n"})
    work.write("config/config.py", "LR = 0.3\n")
    work.write("config/new.json", '{"x": 1}')
    assert named(work.config()) == {
        ("config/config.py", "LR"): 0.3, ("config/new.json", "x"): 1, ("params.yaml", "a"): 1,
    }  # fmt: skip
    assert named(work.config("HEAD"))["config/config.py", "LR"] == 0.2
    assert named(work.config(first)) == {("config/config.py", "LR"): 0.1, ("params.yaml", "a"): 1}
    assert work.config(first[:8]).data()["commit"] == first
    with pytest.raises(MlreproError) as caught:
        work.config("nope")
    assert caught.value.code == "unknown-revision"


def test_params_files_of_pipelines(work: Looking) -> None:
    pipeline = """\
params: [top.toml]
vars: [more.json:lr, {x: 1}]
stages:
  train:
    cmd: a
    wdir: sub
    params: [lr, {hyper.yaml: [lr]}, {../../outside.yaml: }]
    metrics: [{scores.json: {cache: false}}]
  each:
    foreach: [a]
    do: {cmd: x, params: [{do.yaml: }]}
"""
    work.has({
        "p/dvc.yaml": pipeline, "p/params.yaml": "a: 1", "p/top.toml": "b = 1",
        "p/more.json": '{"c": 1}', "p/sub/hyper.yaml": "d: 1", "p/sub/params.yaml": "e: 1",
        "p/sub/scores.json": '{"f": 1}', "p/do.yaml": "g: 1", "p/other.yaml": "h: 1",
        "broken/dvc.yaml": "stages: [",
    })  # fmt: skip
    result = work.config()
    assert sorted(one.name for one in result.values) == ["a", "b", "c", "d", "e", "g"]
    assert not result.errors


BROKEN = {
    "config/a.json": '{"a": ',
    "config/b.yaml": "a: [",
    "config/c.toml": "a = ",
    "config/d.py": "a = (",
    "config/e.json": b"\xff\xfe",
    "config/f.yaml": "a: &x [1,1,1]\n" + "".join(f"b{n}: *x\n" for n in range(40)),
    "config/g.json": "[" * 5000 + "]" * 5000,
    "config/h.json": '{"a": ' + "1" * 5000 + "}",
    "config/i.json": json.dumps({"a": "x" * (1 << 20)}),
    "config/j.json": json.dumps({str(n): n for n in range(20_000)}),
    "config/k.json": '{"a": ' * 60 + "1" + "}" * 60,
    "config/l.yaml": 'x: &x "' + "a" * 900_000 + '"\ny: [*x, *x, *x, *x, *x, *x]\n',
}


def test_each_bad_file_is_named_and_the_others_are_read(work: Looking) -> None:
    work.has({**BROKEN, "config/ok.json": '{"a": 1}'})
    for revision in (None, "HEAD"):
        result = work.config(revision)
        assert named(result) == {("config/ok.json", "a"): 1}
        assert {error.path for error in result.errors} == set(BROKEN)
        assert result.exit_code == 1
        for error in result.errors:
            assert error.path in error.message
            assert "\n" not in error.message


def test_no_link_is_followed(work: Looking, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x.json").write_text('{"secret": 1}')
    work.has({"config/ok.json": '{"a": 1}'})
    work.path("config/link.json").symlink_to(tmp_path / "outside" / "x.json")
    work.git("add", "--all")
    work.save()
    for revision in (None, "HEAD"):
        assert named(work.config(revision)) == {("config/ok.json", "a"): 1}
    work.path("config/ok.json").unlink()
    work.path("config/link.json").unlink()
    work.path("config").rmdir()
    work.path("config").symlink_to(tmp_path / "outside")
    assert named(work.config()) == {}


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1, "0.1"), ("a b", "a b"), ("1", '"1"'), ("", '""'), (" x", '" x"'), (None, "null"),
     ([1, "é"], '[1, "é"]'), ("a\nb\x1b", r"a\x0ab\x1b"), ("x" * 300, "x" * 197 + "...")],
)  # fmt: skip
def test_how_values_are_written(value: Any, text: str) -> None:
    from mlrepro.render_history import value_text

    assert value_text(value) == text


def test_what_a_person_reads(work: Looking) -> None:
    work.has({"config/config.py": "import x\nLR = 0.1\nNAME = x.y()\n", "params.yaml": "seed: 1\n"})
    assert rendered(work.config(), Paths(str), False) == [
        "config/config.py",
        "  LR  0.1",
        "  NAME: not read: NAME = x.y()",
        f"    line 3: {work.config().unread[0].reason}",
        "",
        "params.yaml",
        "  seed  1",
    ]


def test_values_are_compared_with_their_types() -> None:
    texts = ('{"a": 1, "b": true, "c": 1, "d": {"e": 1}}', '{"a": 1.0, "b": 1, "c": 1, "d": {}}')
    old, new = (values.read({"x.json": text.encode()}, "/r") for text in texts)
    changes = [(c.name, c.change, c.old, c.new) for c in values.compare(old, new)]
    assert changes == [
        ("a", "modified", 1, 1.0), ("b", "modified", True, 1), ("d.e", "removed", 1, None),
        ("d", "added", None, {}),
    ]  # fmt: skip


def test_through_the_door(work: Looking) -> None:
    work.has({"config/config.py": "LR = 0.1\n"})
    work.write("sub/x", "")
    run = work.mlrepro("config", "HEAD", "--json", cwd="sub")
    assert run.exit_code == 0
    assert run.json["data"]["values"] == [
        {"file": "../config/config.py", "name": "LR", "value": 0.1}
    ]
