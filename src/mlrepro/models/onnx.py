"""The weights that an ONNX file lists, from the bytes of its protocol buffer.

Field numbers are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, the encoding that
of https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from mlrepro.models.reading import (
    MAX_DIMENSIONS,
    MAX_NAME,
    MAX_TENSORS,
    Reader,
    Tensor,
    Unreadable,
    tensor,
)

MAX_FIELDS = 2_000_000  # of the whole file
MAX_TEXT = 1 << 16

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# ModelProto
_IR_VERSION, _PRODUCER, _PRODUCER_VERSION, _MODEL_VERSION, _GRAPH, _OPSET = 1, 2, 3, 5, 7, 8
_NODE, _INITIALIZER = 1, 5  # GraphProto
_OP_TYPE = 4  # NodeProto
_DIMS, _DATA_TYPE, _NAME, _RAW = 1, 2, 8, 9  # TensorProto
_DOMAIN, _VERSION = 1, 2  # OperatorSetIdProto
# TensorProto.DataType
_TYPES = (
    "undefined", "float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "string", "bool",
    "float16", "float64", "uint32", "uint64", "complex64", "complex128", "bfloat16", "float8e4m3fn",
    "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz", "uint4", "int4", "float4e2m1",
)  # fmt: skip

# A number, or where bytes are: offset and length.
_Field = tuple[int, int, int, int]  # number, wire type, value or offset, length


def read(reader: Reader) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The initializers of the graph by name, and what the model says of itself.

    Raises Unreadable.
    """
    message = _Message(reader)
    tensors: dict[str, Tensor] = {}
    settings: dict[str, Any] = {}
    nodes: Counter[str] = Counter()
    texts = {_PRODUCER: "producer", _PRODUCER_VERSION: "producer version"}
    numbers = {_IR_VERSION: "ir version", _MODEL_VERSION: "model version"}
    for number, kind, value, length in message.fields(0, reader.size):
        if number in texts and kind == _BYTES:
            settings[texts[number]] = message.text(value, length)
        elif number in numbers and kind == _VARINT:
            settings[numbers[number]] = value
        elif number == _OPSET and kind == _BYTES:
            domain, version = _opset(message, value, length)
            settings[f"opset {domain}".strip()] = version
        elif number == _GRAPH and kind == _BYTES:
            _graph(message, value, length, tensors, nodes)
    if not settings and not tensors and not nodes:
        raise Unreadable("it has no graph")
    if nodes:
        settings["nodes"] = nodes.total()
        settings.update({f"nodes {name}": count for name, count in sorted(nodes.items())})
    return tensors, settings


def _opset(message: _Message, start: int, length: int) -> tuple[str, int]:
    domain, version = "", 0
    for number, kind, value, size in message.fields(start, length):
        if number == _DOMAIN and kind == _BYTES:
            domain = message.text(value, size)
        elif number == _VERSION and kind == _VARINT:
            version = value
    return domain, version


def _graph(
    message: _Message, start: int, length: int, tensors: dict[str, Tensor], nodes: Counter[str]
) -> None:
    for number, kind, value, size in message.fields(start, length):
        if kind != _BYTES:
            continue
        if number == _INITIALIZER:
            name, found = _tensor(message, value, size)
            tensors[name] = found
            if len(tensors) > MAX_TENSORS:
                raise Unreadable(f"it has more than {MAX_TENSORS:,} tensors")
        elif number == _NODE:
            for inner, its, at, long in message.fields(value, size):
                if inner == _OP_TYPE and its == _BYTES and len(nodes) < MAX_NAME:
                    nodes[message.text(at, long)] += 1


def _tensor(message: _Message, start: int, length: int) -> tuple[str, Tensor]:
    name, shape, kind_of, where = "", list[int](), 0, None
    for number, kind, value, size in message.fields(start, length):
        if number == _DIMS and kind == _VARINT:
            shape.append(value)
        elif number == _DIMS and kind == _BYTES:
            shape += message.packed(value, size)
        elif number == _DATA_TYPE and kind == _VARINT:
            kind_of = value
        elif number == _NAME and kind == _BYTES:
            name = message.text(value, size)
        elif number == _RAW and kind == _BYTES:
            where = (value, size)
        if len(shape) > MAX_DIMENSIONS:
            raise Unreadable("a tensor has too many dimensions")
    dtype = _TYPES[kind_of] if kind_of < len(_TYPES) else f"type {kind_of}"
    return name, tensor(dtype, shape, where)


class _Message:
    """Protocol buffers in a file; bytes are told by their place, and read only when asked for."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._left = MAX_FIELDS

    def fields(self, start: int, length: int) -> Iterator[_Field]:
        """Each field of the message in these bytes. Raises Unreadable where they are none."""
        at, end = start, start + length
        while at < end:
            self._left -= 1
            if self._left < 0:
                raise Unreadable("it has too many parts")
            tag, at = self._varint(at, end)
            number, kind = tag >> 3, tag & 7
            if kind == _VARINT:
                value, at = self._varint(at, end)
                yield number, kind, value, 0
                continue
            size = {_FIXED64: 8, _FIXED32: 4}.get(kind)
            if kind == _BYTES:
                size, at = self._varint(at, end)
            if size is None or size > end - at:
                raise Unreadable("it is no protocol buffer, or ends too early")
            yield number, kind, at, size
            at += size

    def packed(self, start: int, length: int) -> list[int]:
        """The numbers that are packed into these bytes."""
        if length > MAX_TEXT:
            raise Unreadable("a tensor has too many dimensions")
        found, at = [], start
        while at < start + length:
            value, at = self._varint(at, start + length)
            found.append(value)
        return found

    def text(self, start: int, length: int) -> str:
        """The text in these bytes, the beginning of a long one."""
        data = self._reader.exactly(start, min(length, 4 * MAX_NAME))
        return data.decode("utf-8", "replace")[:MAX_NAME]

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        data = self._reader.at(at, min(10, end - at))
        value = 0
        for place, byte in enumerate(data):
            value |= (byte & 127) << (7 * place)
            if byte < 128:
                return value & ((1 << 64) - 1), at + place + 1
        raise Unreadable("it is no protocol buffer, or ends too early")
