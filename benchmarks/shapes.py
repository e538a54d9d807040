"""The data: how many files of which size, each tracked by itself or all as a folder."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


@dataclass(frozen=True)
class Shape:
    """``count`` files of ``size`` bytes; ``kind`` is what its targets are found by."""

    kind: str
    count: int
    size: int
    folder: bool = False

    @property
    def title(self) -> str:
        """In words."""
        size, unit = self.size // KIB, "KiB"
        if size >= MIB:
            size, unit = size // MIB, "GiB"
        elif size >= KIB:
            size, unit = size // KIB, "MiB"
        if self.folder:
            return f"a folder of {self.count:,} × {size} {unit}"
        files = "1 file" if self.count == 1 else f"{self.count:,} files"
        return f"{files} of {size} {unit}"

    @property
    def paths(self) -> list[str]:
        """What is tracked, relative to the repository."""
        if self.folder:
            return ["data/set"]
        return [f"data/file{at:06}.bin" for at in range(self.count)]

    def make(self, where: Path) -> None:
        """Write fresh random files below ``where``/data."""
        inner = where / "data" / ("set" if self.folder else ".")
        inner.mkdir(parents=True, exist_ok=True)
        for at in range(self.count):
            with (inner / f"file{at:06}.bin").open("wb") as file:
                left = self.size
                while left > 0:
                    file.write(os.urandom(min(left, 8 * MIB)))
                    left -= 8 * MIB

    def copy(self, made: Path, where: Path) -> list[str]:
        """Put a copy of what was made into a repository; returns what is to be tracked."""
        shutil.copytree(made / "data", where / "data", copy_function=shutil.copyfile)
        return self.paths


THREE = Shape("three", 3, 150 * KIB)


def shapes(quick: bool) -> list[Shape]:
    """All shapes that are tracked, pulled and looked at; the quick ones are smaller."""
    if quick:
        return [
            Shape("pointers", 50, 4 * KIB),
            Shape("folder", 1000, 4 * KIB, True),
            Shape("large", 1, 64 * MIB),
            Shape("megabytes", 50, MIB, True),
        ]
    return [
        THREE,
        Shape("pointers", 500, 4 * KIB),
        Shape("folder", 10_000, 4 * KIB, True),
        Shape("large", 1, GIB),
        Shape("megabytes", 1000, MIB, True),
    ]
