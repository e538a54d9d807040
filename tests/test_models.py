"""Model files, read without running any of it: formats, tensors, settings, and hostile ones."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import struct
import zipfile
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

import looking
from mlrepro import models, render
from mlrepro.models import Model, ModelChange
from mlrepro.render_diff import model_of
from model_files import (
    array,
    field,
    npy,
    onnx,
    pickled,
    safetensors,
    tensor,
    torch_zip,
)
from working import oid_of

Shapes = dict[str, tuple[str, tuple[int, ...]]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def read(folder: Path, data: bytes, name: str) -> Model:
    path = folder / f"{len(list(folder.iterdir()))}-{name}"
    path.write_bytes(data)
    model = models.read(str(path), name)
    assert model is not None
    return model


def shapes(model: Model) -> Shapes:
    return {name: (tensor.dtype, tensor.shape) for name, tensor in model.tensors.items()}


# what is read


def test_safetensors(folder: Path) -> None:
    tensors = {"w": ("F32", [2, 2], bytes(16)), "b": ("I64", [], bytes(8))}
    model = read(folder, safetensors(tensors, format="pt"), "m.safetensors")
    assert shapes(model) == {"w": ("F32", (2, 2)), "b": ("I64", ())}
    assert (model.format, model.parameters, model.settings) == ("safetensors", 5, {"format": "pt"})
    assert not model.problem


@pytest.mark.parametrize("packed", [False, True])
def test_onnx(folder: Path, packed: bool) -> None:
    model = read(folder, onnx({"w": ([4, 300], bytes(4800)), "b": ([], b"")}, packed), "m.onnx")
    assert shapes(model) == {"w": ("float32", (4, 300)), "b": ("float32", ())}
    assert model.settings == {
        "ir version": 9, "producer": "maker", "opset": 17, "nodes": 3, "nodes Gemm": 1,
        "nodes Relu": 2,
    }  # fmt: skip


def test_numpy(folder: Path) -> None:
    array = npy("<f8", (2, 3), bytes(48))
    assert shapes(read(folder, array, "a.npy")) == {"": ("float64", (2, 3))}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", array)
        archive.writestr("y.npy", npy("|b1", (), b"\0"))
    model = read(folder, file.getvalue(), "a.npz")
    assert model.format == "npz"
    assert shapes(model) == {"x": ("float64", (2, 3)), "y": ("bool", ())}


def test_pytorch(folder: Path) -> None:
    state = OrderedDict({"fc.weight": tensor("0", (2, 3)), "fc.bias": tensor("1", (2,))})
    model = read(folder, torch_zip(state, {"0": bytes(24), "1": bytes(8)}), "m.pt")
    assert (model.format, model.problem) == ("pytorch", "")
    assert shapes(model) == {"fc.weight": ("float32", (2, 3)), "fc.bias": ("float32", (2,))}
    checkpoint = {"epoch": 3, "model": state, "layers": [tensor("0", (1,))]}
    nested = read(folder, torch_zip(checkpoint, {}), "m.ckpt")
    assert list(nested.tensors) == ["model.fc.weight", "model.fc.bias", "layers.0"]
    assert nested.settings == {"epoch": 3}
    old = b"".join(pickled(part) for part in (0x1950A86A20F9469CFC6C, 1001, {}, state, []))
    legacy = read(folder, old + bytes(100), "m.pth")
    assert legacy.format == "pytorch (before 1.6)"
    assert shapes(legacy) == shapes(model)


class Estimator:
    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize(
    "pack", [bytes, zlib.compress, gzip.compress, bz2.compress, lzma.compress]
)  # fmt: skip
def test_joblib(folder: Path, pack: Any, aligned: bool) -> None:
    """The bytes of the arrays are passed over, though they look like pickles."""
    inner = Estimator(coef_=array((3, 4), aligned), C=0.5)
    root = Estimator(steps=[("clf", inner)], idf_=array((12,), aligned), name="x", deep={})
    model = read(folder, pack(pickled(root, 3)), "m.joblib")
    assert (model.format, model.problem) == ("joblib", "")
    assert model.classes[0] == f"{__name__}.Estimator"
    assert shapes(model) == {"steps.0.1.coef_": ("float32", (3, 4)), "idf_": ("float32", (12,))}
    assert model.settings == {"name": "x", "steps.0.1.C": 0.5}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_and_opcode(folder: Path, protocol: int) -> None:
    shared = [1]
    root = Estimator(
        a=1, b="é", c=b"x", d=2.5, e=None, f=True, g=10**30, h=(1, 2, 3, 4), i={1, 2},
        j=frozenset({3}), k=bytearray(b"y"), l=shared, m=[shared, shared], n={"x": ()}, o=-5,
        p="long" * 100, q=Path("x"), r=range(3), s=1 << 2100,
    )  # fmt: skip
    model = read(folder, pickle.dumps(root, protocol), "m.pkl")
    assert (model.format, model.problem) == ("pickle", "")
    told = {name: model.settings.get(name) for name in ("a", "b", "d", "e", "f", "g", "o")}
    assert told == {"a": 1, "b": "é", "d": 2.5, "e": None, "f": True, "g": 10**30, "o": -5}
    assert model.classes[0] == f"{__name__}.Estimator"


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("m.pt", True), ("M.ONNX", True), ("a_model.bin", True), ("x.csv", False), ("pt", False)],
)  # fmt: skip
def test_what_may_be_a_model(name: str, is_one: bool) -> None:
    assert models.is_model(name) is is_one


def test_what_is_no_model_after_all(tmp_path: Path) -> None:
    for content in (b"", b"just some bytes", b"MZ\x90"):
        path = tmp_path / "x.bin"
        path.write_bytes(content)
        assert models.read(str(path), "x.bin") is None


# hostile ones


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("pack", [bytes, zlib.compress])
def test_nothing_is_ever_run(folder: Path, tmp_path: Path, pack: Any) -> None:
    target = tmp_path / "made"
    model = read(folder, pack(pickle.dumps(Bomb(target))), "m.pkl")
    assert not target.exists()
    assert model.classes[0] == "posix.mkdir"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/data.pkl", pickle.dumps({"x": Bomb(target)}))
    assert "posix.mkdir" in read(folder, file.getvalue(), "m.pt").classes
    assert not target.exists()


def doubling(levels: int) -> bytes:
    """A list of the same list twice, and so on: as many ways to its end as 2 to the levels."""
    return (
        b"\x80\x02]q\0"
        + b"".join(
            b"](h" + bytes([n]) + b"h" + bytes([n]) + b"eq" + bytes([n + 1]) for n in range(levels)
        )
        + b"."
    )


HOSTILE: dict[str, tuple[str, bytes]] = {
    "header too long": ("x.safetensors", struct.pack("<Q", 1 << 60) + b"{}"),
    "header no JSON": ("x.safetensors", struct.pack("<Q", 4) + b"{{{{"),
    "header deep": ("x.safetensors", struct.pack("<Q", 100_000) + b"[" * 100_000),
    "header a list": ("x.safetensors", struct.pack("<Q", 2) + b"[]"),
    "shape below zero": ("x.safetensors", safetensors({"w": ("F32", [-1], b"")})),
    "shape of text": ("x.safetensors", safetensors({"w": ("F32", ["x"], b"")})),  # type: ignore[list-item]
    "dimensions": ("x.safetensors", safetensors({"w": ("F32", [1] * 1000, b"")})),
    "no protocol buffer": ("x.onnx", b"\xff" * 100),
    "field beyond the end": ("x.onnx", b"\x3a\xff\xff\xff\x7f"),
    "no graph": ("x.onnx", field(99, b"x")),
    "dims beyond all": ("x.onnx", onnx({"w": ([(1 << 64) - 1], b"")})),
    "no opcode": ("x.pkl", b"\x80\x04\xff"),
    "no end": ("x.pkl", b"\x80\x04]"),
    "stack empty": ("x.pkl", b"\x80\x040."),
    "mark missing": ("x.pkl", b"\x80\x04t."),
    "memo missing": ("x.pkl", b"\x80\x04h\x05."),
    "bytes beyond the end": ("x.pkl", b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62)),
    "text beyond the end": ("x.pkl", b"\x80\x04X\xff\xff\xff\xff"),
    "line without end": ("x.pkl", b"\x80\x02c" + b"a" * 100_000),
    "number too long": ("x.pkl", b"\x80\x02L" + b"9" * 60_000 + b"L\n."),
    "array without shape": ("x.npy", npy("<f4", "x", b"")),  # type: ignore[arg-type]
    "header that is code": ("x.npy", b"\x93NUMPY\1\0\x10\0__import__('os')"),
    "header beyond the end": ("x.npy", b"\x93NUMPY\2\0\xff\xff\xff\xff"),
    "half a zip": ("x.pt", b"PK\3\4" + b"x" * 50),
    "packed, broken": ("x.joblib", zlib.compress(b"x" * 1000)[:20]),
    "packed, no pickle": ("x.joblib", zlib.compress(b"x" * 1000)),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_wrong_is_told(folder: Path, case: str) -> None:
    name, data = HOSTILE[case]
    model = read(folder, data, name)
    assert model.problem
    assert "\n" not in model.problem
    assert len(model.problem) < 300


def test_what_grows_stays_bounded(folder: Path) -> None:
    model = read(folder, doubling(100), "x.pkl")
    assert not model.problem
    many = read(folder, b"\x80\x02]" + b"N0" * 1_500_000 + b".", "x.pkl")
    assert "steps were followed" in many.problem
    deep = read(folder, b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b".", "x.pkl")
    assert not deep.problem
    itself = read(folder, b"\x80\x02]q\0h\0a.", "x.pkl")
    assert not itself.problem
    large = read(folder, pickle.dumps({"x": b"x" * 3_000_000, "y": "é" * 200_000}), "x.pkl")
    assert not large.problem
    assert large.settings == {}


def test_an_archive_with_an_enormous_list_of_files(folder: Path) -> None:
    end = b"PK\5\6" + bytes(6) + struct.pack("<H", 1) + struct.pack("<II", 1 << 30, 0) + bytes(2)
    model = read(folder, b"PK\3\4" + bytes(100) + end, "x.pt")
    assert "far too many files" in model.problem


GOOD = [
    ("m.safetensors", safetensors({"w": ("F32", [2], bytes(8))}, a="b")),
    ("m.onnx", onnx({"w": ([2], bytes(8))})),
    ("m.npy", npy("<f4", (2,), bytes(8))),
    ("m.pkl", pickle.dumps(Estimator(a=1, b=[{"c": (1, "x")}]), 4)),
    ("m.pkl", pickle.dumps(Estimator(a=1, b=[{"c": (1, "x")}]), 0)),
    ("m.joblib", zlib.compress(pickle.dumps({"a": [1, 2.5]}))),
]


@settings(max_examples=100)
@given(
    good=st.sampled_from(GOOD),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, 400),
)
def test_no_bytes_are_a_bug(
    tmp_path_factory: pytest.TempPathFactory, good: tuple[str, bytes],
    changes: list[tuple[int, int]], cut: int,
) -> None:  # fmt: skip
    """Whatever is done to a model, reading and comparing it ends, with what there is to say."""
    name, data = good
    broken = bytearray(data)
    for place, value in changes:
        broken[place % len(broken)] = value
    path = tmp_path_factory.getbasetemp() / f"hostile-{os.getpid()}"
    path.write_bytes(bytes(broken[: max(8, len(broken) - cut % len(broken))]))
    model = models.read(str(path), name)
    if model is not None:
        change = models.compare(model, model)
        json.dumps(change.data())
        list(model_of(change))


# what changed


def change(folder: Path, old: bytes, new: bytes, name: str) -> ModelChange:
    return models.compare(read(folder, old, name), read(folder, new, name))


def test_tensors_that_came_went_and_changed(folder: Path) -> None:
    old = {"a": ("F32", [1], b"aaaa"), "b": ("F32", [2], bytes(8)), "c": ("F32", [1], b"cccc"),
           "d": ("F32", [1], b"dddd")}  # fmt: skip
    new = {"d": ("F32", [1], b"DDDD"), "b": ("F16", [4], bytes(8)), "c": ("F32", [1], b"cccc"),
           "e": ("F32", [1], b"eeee")}  # fmt: skip
    found = change(folder, safetensors(old, v="1"), safetensors(new, v="2"), "m.safetensors")
    told = found.data()
    assert told["tensors"] == {
        "added": [{"name": "e", "dtype": "F32", "shape": [1]}],
        "removed": [{"name": "a", "dtype": "F32", "shape": [1]}],
        "changed": [
            {
                "name": "b",
                "old": {"dtype": "F32", "shape": [2]},
                "new": {"dtype": "F16", "shape": [4]},
            }
        ],
        "values": ["d"],
    }
    assert told["settings"] == {"v": {"old": "1", "new": "2"}}
    assert list(model_of(found)) == [
        "safetensors, 4 tensors with 5 numbers -> safetensors, 4 tensors with 7 numbers",
        "1 tensor added: e F32 1",
        "1 tensor removed: a F32 1",
        "tensor b: F32 2 -> F16 4",
        "1 tensor with other values: d",
        'v: "1" -> "2"',
    ]


def test_values_of_pytorch_are_told_by_the_archive(folder: Path) -> None:
    state = OrderedDict({"w": tensor("0", (2, 3)), "b": tensor("1", (2,))})
    old, new = (torch_zip(state, {"0": bytes(24), "1": data}) for data in (b"old", b"new"))
    assert change(folder, old, new, "m.pt").values == ["b"]
    assert change(folder, old, old, "m.pt").values == []


def test_a_class_that_is_new(folder: Path) -> None:
    old, new = (pickle.dumps(Estimator(a=value)) for value in (1, Path("x")))
    told = change(folder, old, new, "m.pkl").data()
    assert told["classes"]["added"] == ["pathlib.PosixPath"]
    assert told["new"]["class"] == f"{__name__}.Estimator"


def test_in_a_diff(tmp_path: Path) -> None:
    work = looking.make(tmp_path / "repo")
    old, new = (safetensors({"w": ("F32", [n], bytes(4 * n))}) for n in (1, 2))
    work.has({"data/m.safetensors": old, "data/new.onnx": onnx({"w": ([1], bytes(4))})})
    work.has({"data/m.safetensors": new, "data/more.onnx": onnx({"v": ([2], bytes(8))})})
    for name, content in (("a.safetensors", old), ("b.safetensors", old)):
        work.write(f"weights/{name}", content)
    work.track("weights")
    work.git("add", "--all")
    work.save()
    work.write("weights/b.safetensors", new)
    result = work.diff("HEAD~1", "--", "data", "weights")
    told = {one["path"]: one for one in work.diff("HEAD~2").data()["data"]}
    assert told["data/m.safetensors"]["model"]["tensors"]["changed"][0]["name"] == "w"
    assert told["data/more.onnx"]["model"]["old"] is None
    assert told["data/more.onnx"]["model"]["new"]["parameters"] == 2
    (inside,) = work.diff("--", "weights").data()["data"][0]["members"]["inside"]
    assert (inside["name"], inside["model"]["new"]["parameters"]) == ("b.safetensors", 2)
    text = "\n".join(render.render("diff", work.diff("HEAD~2"), str, work.options()))
    assert "tensor w: F32 1 -> F32 2" in text
    assert result.exit_code == 0
    work.forget()
    (work.store / "files" / "md5" / oid_of(old)[:2] / oid_of(old)[2:]).unlink()
    bare = work.diff("HEAD~2", "HEAD~1")
    assert bare.notes == ("data/m.safetensors: not all of its content is on this machine",)
    assert "model" not in bare.data()["data"][0]
    run = work.mlrepro("diff", "HEAD~1", "--json", "--", "weights")
    assert run.exit_code == 0
    (work.root / "data" / "m.safetensors").write_bytes(old)
    run = work.mlrepro("diff", "HEAD", "--json", cwd="data")
    assert run.json["data"]["data"][0]["model"]["tensors"]["changed"][0]["name"] == "w"
