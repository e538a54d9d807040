"""The header of a safetensors file: https://github.com/huggingface/safetensors#format."""

from __future__ import annotations

import json
from typing import Any

from mlrepro.models.reading import MAX_NAME, MAX_TENSORS, Reader, Tensor, Unreadable, tensor

# Bytes: room for all tensors that are read. The format allows more; JSON can take 25 times that.
MAX_HEADER = 5 << 20


def read(reader: Reader) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors by name, in the order of the file, and its metadata. Raises Unreadable."""
    length = int.from_bytes(reader.exactly(0, 8), "little")
    if length > reader.size - 8:
        raise Unreadable("its header is longer than the file")
    if length > MAX_HEADER:
        raise Unreadable(f"its header has more than {MAX_HEADER >> 20} MiB")
    try:
        header = json.loads(reader.exactly(8, length).decode("utf-8"))
    except (ValueError, RecursionError):
        raise Unreadable("its header is not JSON") from None
    if not isinstance(header, dict):
        raise Unreadable("its header is no JSON object")
    metadata = header.pop("__metadata__", {})
    if len(header) > MAX_TENSORS:
        raise Unreadable(f"it has more than {MAX_TENSORS:,} tensors")
    start = 8 + length
    found: dict[str, Tensor] = {}
    for name, about in header.items():
        if not isinstance(about, dict):
            raise Unreadable("a tensor is described by no JSON object")
        place = about.get("data_offsets")
        where = None
        if (
            isinstance(place, list)
            and len(place) == 2
            and all(type(one) is int for one in place)
            and 0 <= place[0] <= place[1] <= reader.size - start
        ):
            where = (start + place[0], place[1] - place[0])
        found[name[:MAX_NAME]] = tensor(about.get("dtype"), about.get("shape"), where)
    texts = metadata.items() if isinstance(metadata, dict) else ()
    settings = {str(name)[:MAX_NAME]: str(value)[:MAX_NAME] for name, value in texts}
    return found, settings
