"""Tensors of NumPy and PyTorch among the stand-ins of a pickle, and in NumPy's own files."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import Any

from mlrepro.models.opcodes import Global, Kept, Made, Pairs
from mlrepro.models.reading import MAX_NAME, MAX_TENSORS, Reader, Tensor, Unreadable, tensor

MAX_NPY_HEADER = 1 << 16
MAX_OBJECTS = 1_000_000
MAX_SETTINGS = 1000
MAX_DEPTH = 10_000

_REBUILD = "torch._utils._rebuild_"
_STORAGES = {
    "Double": "float64", "Float": "float32", "Half": "float16", "BFloat16": "bfloat16",
    "Long": "int64", "Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8",
    "Bool": "bool", "ComplexDouble": "complex128", "ComplexFloat": "complex64",
}  # fmt: skip
_RECONSTRUCT = frozenset(
    {"numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"}
)
_FROM_BUFFER = frozenset({"numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer"})
_KINDS = {"f": "float", "i": "int", "u": "uint", "c": "complex", "b": "bool"}
# Steps on the way to a tensor that nobody would name.
_INNER = frozenset({"_parameters", "_buffers", "_modules"})


def header(reader: Reader, at: int = 0) -> Tensor:
    """The array in a ``.npy`` file: numpy.lib.format. Raises Unreadable."""
    start = reader.exactly(at, 10)
    wide = 2 if start[6] == 1 else 4
    length = int.from_bytes(reader.exactly(at + 8, wide), "little")
    if not start.startswith(b"\x93NUMPY") or length > MAX_NPY_HEADER:
        raise Unreadable("it is no NumPy array")
    begin = at + 8 + wide
    about = literal(reader.exactly(begin, length))
    body = begin + length
    return tensor(dtype_of(about.get("descr")), about.get("shape"), (body, reader.size - body))


def literal(text: bytes) -> dict[Any, Any]:
    """The dict that a ``.npy`` header is. Raises Unreadable."""
    try:
        about = ast.literal_eval(text.decode("utf-8").strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise Unreadable("it is no NumPy array") from None
    if not isinstance(about, dict):
        raise Unreadable("it is no NumPy array")
    return about


def dtype_of(code: object) -> str:
    """What a NumPy type is called: "<f4" is float32; what has fields is "record"."""
    if not isinstance(code, str):
        return "record"
    plain = code.lstrip("<>=|")
    kind, width = plain[:1], plain[1:]
    if kind in _KINDS and width.isdigit():
        return "bool" if kind == "b" else f"{_KINDS[kind]}{8 * int(width[:6])}"
    named = {"O": "object", "?": "bool", "V": "record"}
    return named.get("V" if kind == "V" else plain, plain[:MAX_NAME])


def find(root: object, mark: Callable[[str], str]) -> tuple[dict[str, Tensor], dict[str, Any], str]:
    """Every tensor below ``root``, and the plain values of it and of the objects in it, by the
    names that lead there; and the name of its class ("" where it is no object).

    ``mark`` tells what is equal for equal bytes of a storage of PyTorch's, by its key.
    """
    found: dict[str, Tensor] = {}
    settings: dict[str, Any] = {}
    seen: set[int] = set()
    # What is still to come at each place on the way: millions may lie at one of them.
    way: list[tuple[str, Iterator[tuple[str, object]]]] = [("", iter([("", root)]))]
    while way and len(found) < MAX_TENSORS and len(seen) < MAX_OBJECTS:
        following = next(way[-1][1], None)
        if following is None:
            way.pop()
            continue
        step, item = following
        if not isinstance(item, (Made, Pairs, list, tuple)) or id(item) in seen:
            continue
        seen.add(id(item))
        name = _joined(way[-1][0], step)
        one = _tensor(item, mark) if isinstance(item, Made) else None
        if one is not None:
            found[name[:MAX_NAME]] = one
            continue
        state = item.state if isinstance(item, Made) else item if item is root else None
        for key, value in _plain(state) if len(settings) < MAX_SETTINGS else ():
            settings[_joined(name, key)] = value
        if len(name) < MAX_NAME and len(way) < MAX_DEPTH:
            way.append((name, _parts(item)))
    return found, settings, _class_of(root)


def _class_of(root: object) -> str:
    if not isinstance(root, Made) or (root.pairs and root.state is None):
        return ""
    first = root.args[0] if root.args else None
    by_copyreg = root.name.endswith("._reconstructor") and isinstance(first, Global)
    return first.name if by_copyreg and isinstance(first, Global) else root.name


def _joined(name: str, step: str) -> str:
    return f"{name}.{step}" if name and step else name or step


def _parts(item: Made | Pairs | list[object] | tuple[object, ...]) -> Iterator[tuple[str, object]]:
    if isinstance(item, (list, tuple)):
        for at, part in enumerate(item):
            yield str(at), part
        return
    for key, part in item.pairs:
        yield _step(key), part
    if isinstance(item, Made):
        if item.state is not None:
            # What __setstate__ is given in two parts has its names in one of them.
            halves = item.state if isinstance(item.state, tuple) else (item.state,)
            for half in halves[:2]:
                yield "", half
        for part in item.args:
            yield "", part


def _step(key: object) -> str:
    if isinstance(key, (str, int)) and key not in _INNER:
        return str(key)[:MAX_NAME]
    return ""


def _plain(state: object) -> Iterator[tuple[str, Any]]:
    """The plain values in a state, such as the settings of an estimator."""
    for key, value in state.pairs[:MAX_SETTINGS] if isinstance(state, Pairs) else ():
        if isinstance(key, str) and (value is None or isinstance(value, (bool, int, float, str))):
            yield key[:MAX_NAME], value[:MAX_NAME] if isinstance(value, str) else value


def _tensor(made: Made, mark: Callable[[str], str]) -> Tensor | None:
    """The tensor that this would make; None for anything else."""
    if made.name.startswith(_REBUILD):
        return _torch(made, mark)
    if made.name in _RECONSTRUCT and isinstance(made.state, tuple) and len(made.state) >= 3:
        return _checked(_numpy_dtype(made.state[2]), made.state[1])
    if made.name in _FROM_BUFFER and len(made.args) >= 3:
        return _checked(_numpy_dtype(made.args[1]), made.args[2])
    if made.name.endswith("numpy_pickle.NumpyArrayWrapper") and isinstance(made.state, Pairs):
        return _checked(_numpy_dtype(made.state.get("dtype")), made.state.get("shape"))
    return None


def _torch(made: Made, mark: Callable[[str], str]) -> Tensor | None:
    if made.name.startswith(_REBUILD + "tensor") and len(made.args) >= 3:
        kept, start, shape = made.args[:3]
        about = kept.id if isinstance(kept, Kept) and isinstance(kept.id, tuple) else ()
        kind = (
            about[1].name.rpartition(".")[2]
            if len(about) > 2 and isinstance(about[1], Global)
            else ""
        )
        dtype = _STORAGES.get(kind.removesuffix("Storage"), kind or "unknown")
        if made.name.endswith("_v3") and len(made.args) > 6 and isinstance(made.args[6], Global):
            dtype = made.args[6].name.removeprefix("torch.")
        numbers = mark(about[2]) if len(about) > 2 and isinstance(about[2], str) else ""
        same = f"{numbers} {start!r} {made.args[3:4]!r}" if numbers else ""
        return _checked(dtype, shape, same[:MAX_NAME])
    return None  # such as _rebuild_parameter: the tensor is among its arguments


def _numpy_dtype(made: object) -> str:
    """What ``numpy.dtype`` makes of its arguments, and of the byte order in its state."""
    if isinstance(made, Made) and made.args and made.name.endswith("dtype"):
        return dtype_of(made.args[0])
    return "unknown"


def _checked(dtype: str, shape: object, mark: str = "") -> Tensor | None:
    try:
        return tensor(dtype, shape, mark=mark)
    except Unreadable:
        return None
