"""What each row must reach: as a multiple of what the others take, and in memory."""

from __future__ import annotations

MIB = 1 << 20

# Row, or the kind of it → contender → at most so many times as long. "itself" is the same command
# in the same repository with none edited, or in an empty one.
RATIOS: dict[str, dict[str, float]] = {
    "commit/three": {"git-lfs": 1.0, "floor": 3.0},
    "edit/three": {"git-lfs": 0.6, "DVC": 1 / 15},
    "track/pointers": {"floor": 2.5, "DVC": 1 / 30},
    "track/folder": {"floor": 3.0, "DVC": 1 / 6},
    "track/large": {"floor": 1.1, "DVC": 1 / 2.5},
    "track/megabytes": {"floor": 1.1},
    "pull": {"floor": 1.5, "DVC": 1 / 3},
    "edit/folder": {"itself": 1.5},
    "more/pointers": {"itself": 2.0},
    "status": {"DVC": 1 / 10},
}
# Bytes that the largest process may have at once.
PEAK = 64 * MIB
PEAKS = {"commit": 20 * MIB}
# Of a folder of more files than this, memory is told, and not judged.
FILES = 20_000


def ratio(row: str, who: str) -> float | None:
    """What the row may take at most, as a multiple of what ``who`` takes; None: no target."""
    kind = row.partition("/")[0]
    return RATIOS.get(row, RATIOS.get(kind, {})).get(who)


def peak(row: str) -> int | None:
    """How many bytes the largest process of the row may have at once; None: no target."""
    kind = row.partition("/")[0]
    return None if kind == "remote" else PEAKS.get(kind, PEAK)
