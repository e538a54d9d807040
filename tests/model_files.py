"""Model files of each kind, made by hand: no package that could make them is needed."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections import OrderedDict
from typing import Any


def safetensors(tensors: dict[str, tuple[str, list[int], bytes]], **metadata: str) -> bytes:
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    body = b""
    for name, (dtype, shape, data) in tensors.items():
        place = [len(body), len(body) + len(data)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": place}
        body += data
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def npy(descr: str, shape: tuple[int, ...], data: bytes) -> bytes:
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + data


def field(number: int, content: bytes | int) -> bytes:
    """One field of a protocol buffer."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    found = bytearray()
    while True:
        value, low = value >> 7, value & 127
        found.append(low | (128 if value else 0))
        if not value:
            return bytes(found)


def onnx(weights: dict[str, tuple[list[int], bytes]], packed: bool = False) -> bytes:
    graph = b""
    for name, (shape, data) in weights.items():
        dims = (
            field(1, b"".join(map(varint, shape)))
            if packed
            else b"".join(field(1, s) for s in shape)
        )
        graph += field(5, dims + field(2, 1) + field(8, name.encode()) + field(9, data))
    graph += field(1, field(4, b"Gemm")) + field(1, field(4, b"Relu")) + field(1, field(4, b"Relu"))
    return field(1, 9) + field(2, b"maker") + field(7, graph) + field(8, field(2, 17))


class Named:
    """Pickled as a class or function of this name, which need not be there."""

    def __init__(self, module: str, name: str) -> None:
        self.text = f"c{module}\n{name}\n".encode()

    def __call__(self) -> None:
        raise AssertionError


class Made:
    """Pickled as what calling ``what`` makes, with a state."""

    def __init__(self, what: Named, *args: object, state: object = None) -> None:
        self.what, self.args, self.state = what, args, state


class Storage:
    def __init__(self, key: str) -> None:
        self.key = key


REBUILD = Named("torch._utils", "_rebuild_tensor_v2")
FLOATS = Named("torch", "FloatStorage")
WRAPPER = Named("joblib.numpy_pickle", "NumpyArrayWrapper")
# Behind an array's description; some of it would end a pickle.
NUMBERS = b"\x80\x02." * 16


class Pickler(pickle._Pickler):  # type: ignore[name-defined,misc]
    """Writes names, what PyTorch keeps beside a pickle, and what joblib writes into one."""

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, Named):
            self.write(obj.text)
        elif isinstance(obj, Made):
            self.save_reduce(obj.what, obj.args, obj.state, obj=obj)
            if obj.what is WRAPPER:
                aligned = obj.state["numpy_array_alignment_bytes"] is not None  # type: ignore[index]
                self.write(b"\3..." * aligned + NUMBERS)
        else:
            super().save(obj, save_persistent_id)

    def persistent_id(self, obj: object) -> Any:
        return ("storage", FLOATS, obj.key, "cpu", 6) if isinstance(obj, Storage) else None


def pickled(root: object, protocol: int = 2) -> bytes:
    file = io.BytesIO()
    Pickler(file, protocol).dump(root)
    return file.getvalue()


def tensor(key: str, shape: tuple[int, ...]) -> Made:
    """As PyTorch pickles one."""
    return Made(REBUILD, Storage(key), 0, shape, (1,) * len(shape), False, OrderedDict())


def torch_zip(state: object, storages: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model/data.pkl", pickled(state))
        for key, data in storages.items():
            archive.writestr(f"model/data/{key}", data)
    return file.getvalue()


def array(shape: tuple[int, ...], aligned: bool) -> Made:
    """As joblib pickles one."""
    dtype = Made(Named("numpy", "dtype"), "f4", False, True, state=(3, "<", None))
    state = {
        "shape": shape, "order": "C", "dtype": dtype, "allow_mmap": True,
        "numpy_array_alignment_bytes": 16 if aligned else None,
    }  # fmt: skip
    return Made(WRAPPER, state=state)
