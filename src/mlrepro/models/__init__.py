"""What can be read of a model file without running any of it: format, tensors, classes, settings.

No pickle is ever loaded: its opcodes are followed with inert stand-ins for what they would make.
Every reader is bounded, since a model comes from whoever made the commit.
"""

from __future__ import annotations

import os
from typing import Any

from mlrepro.dataclass import dataclass, field
from mlrepro.models.reading import Reader, Tensor, Unreadable

ENDINGS = (
    ".bin", ".ckpt", ".joblib", ".npy", ".npz", ".onnx", ".pickle", ".pkl", ".pt", ".pth",
    ".safetensors",
)  # fmt: skip
MAX_COMPARED = 512 << 20  # bytes of all tensors of a model whose values are compared

_PACKED = (b"\x78", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x5d\x00")  # how joblib packs pickles


@dataclass(slots=True)
class Model:
    """A model file as far as it was read.

    ``format``: as people call it; ``size``: bytes; ``tensors``: by name; ``classes``: what a pickle
    names, in its order, the one of the whole first; ``settings``: names and plain values;
    ``problem``: a clause that says why no more was read, "" where all was.
    """

    path: str
    format: str
    size: int
    tensors: dict[str, Tensor] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    problem: str = ""

    @property
    def parameters(self) -> int:
        """How many numbers all tensors have together."""
        return sum(tensor.count for tensor in self.tensors.values())


def is_model(name: str) -> bool:
    """Whether a file of this name may be a model."""
    return name.lower().endswith(ENDINGS)


def read(path: str, name: str) -> Model | None:
    """Read the file at ``path``, which goes by ``name``; None where it is no model after all.

    Raises OSError where it cannot be opened; anything wrong with its bytes is ``problem``.
    """
    with Reader(path) as reader:
        kind = _kind(reader, name.lower())
        if kind is None:
            return None
        model = Model(path, kind, reader.size)
        try:
            _fill(model, reader)
        except Unreadable as error:
            model.problem = str(error)
        return model


def _kind(reader: Reader, name: str) -> str | None:
    """The format, by the first bytes where these tell, else by the name."""
    start = reader.at(0, 8)
    ending = os.path.splitext(name)[1]
    if ending in (".safetensors", ".onnx"):
        return ending[1:]
    if start.startswith(b"\x93NUMPY"):
        return "npy"
    if start.startswith(b"PK\x03\x04"):
        return "zip"
    if start[:1] == b"\x80" and 2 <= start[1] <= 5:
        return "pickle"
    if ending in (".joblib", ".pkl", ".pickle"):
        return "packed pickle" if start.startswith(_PACKED) else "pickle"
    return None


def _fill(model: Model, reader: Reader) -> None:
    if model.format == "safetensors":
        from mlrepro.models import safetensors

        model.tensors, model.settings = safetensors.read(reader)
    elif model.format == "onnx":
        from mlrepro.models import onnx

        model.tensors, model.settings = onnx.read(reader)
    elif model.format == "npy":
        from mlrepro.models import arrays

        model.tensors = {"": arrays.header(reader)}
    else:
        from mlrepro.models import pickled

        pickled.fill(model, reader)


@dataclass(slots=True)
class ModelChange:
    """What became of a model; ``changed``: (name, old, new) of tensors of another shape or type.

    ``values``: tensors with the same shape and other values, None where that was not compared;
    ``settings``: name → (old, new). Old or new is None where there is no such file.
    """

    old: Model | None
    new: Model | None
    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    changed: list[tuple[str, Tensor, Tensor]] = field(default_factory=list)
    values: list[str] | None = None
    settings: dict[str, tuple[Any, Any]] = field(default_factory=dict)

    def data(self) -> dict[str, Any]:
        """As the JSON envelope carries it."""
        old, new = _classes(self.old), _classes(self.new)
        return {
            "old": _data(self.old),
            "new": _data(self.new),
            "tensors": {
                "added": [_tensor(name, self.new) for name in self.added],
                "removed": [_tensor(name, self.old) for name in self.removed],
                "changed": [
                    {"name": name, "old": was.data(), "new": now.data()}
                    for name, was, now in self.changed
                ],
                "values": self.values,
            },
            "classes": {
                "added": [name for name in new if name not in old],
                "removed": [name for name in old if name not in new],
            },
            "settings": {
                name: {"old": old, "new": new} for name, (old, new) in self.settings.items()
            },
        }


def _classes(model: Model | None) -> tuple[str, ...]:
    return model.classes if model is not None else ()


def _data(model: Model | None) -> dict[str, Any] | None:
    if model is None:
        return None
    return {
        "format": model.format,
        "size": model.size,
        "tensors": len(model.tensors),
        "parameters": model.parameters,
        "class": model.classes[0] if model.classes else None,
        "problem": model.problem or None,
    }


def _tensor(name: str, model: Model | None) -> dict[str, Any]:
    assert model is not None
    return {"name": name, **model.tensors[name].data()}


def compare(old: Model | None, new: Model | None) -> ModelChange:
    """Hold two readings against each other; values only where they can be had without much work."""
    change = ModelChange(old, new)
    was, now = (one.tensors if one is not None else {} for one in (old, new))
    change.added = [name for name in now if name not in was]
    change.removed = [name for name in was if name not in now]
    both = [name for name in now if name in was]
    change.changed = [(n, was[n], now[n]) for n in both if was[n].data() != now[n].data()]
    if old is not None and new is not None:
        alike = [name for name in both if was[name].data() == now[name].data()]
        change.values = _other_values(old, new, alike)
        settings = {**old.settings, **new.settings}
        change.settings = {
            name: (old.settings.get(name), new.settings.get(name))
            for name in settings
            if repr(old.settings.get(name)) != repr(new.settings.get(name))
        }
    return change


def _other_values(old: Model, new: Model, names: list[str]) -> list[str] | None:
    """The tensors, of those named, whose bytes differ; None where their bytes cannot be told."""
    found, to_read = [], []
    for name in names:
        was, now = old.tensors[name], new.tensors[name]
        if was.mark and now.mark:
            if was.mark != now.mark:
                found.append(name)
        elif was.where and now.where and was.where[1] == now.where[1]:
            to_read.append((name, was.where, now.where))
        else:
            return None
    if sum(where[1] for _, where, _ in to_read) > MAX_COMPARED:
        return None
    try:
        with Reader(old.path) as left, Reader(new.path) as right:
            for name, (at, length), (other, _) in to_read:
                if not left.is_same(at, right, other, length):
                    found.append(name)
    except (Unreadable, OSError):  # one of them was changed meanwhile
        return None
    return found
