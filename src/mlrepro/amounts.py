"""How numbers are written for people: thousands apart, sizes in binary units."""

from __future__ import annotations

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")


def size(count: float) -> str:
    """A number of bytes: "512 B", "155.9 KiB", "1,023.9 PiB"."""
    if round(count) < 1024:
        return f"{round(count)} B"
    for unit in _UNITS:
        count /= 1024
        if round(count, 1) < 1024 or unit == _UNITS[-1]:
            break
    return f"{count:,.1f} {unit}"


def many(count: int, one: str, several: str = "") -> str:
    """A number and what it counts: "1 file", "1,200 files"."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"
