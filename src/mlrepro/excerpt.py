"""Long texts cut to the part that matters: where two of them differ."""

from __future__ import annotations

_LEAD = 100  # characters shown before the first that differs


def excerpts(old: str | None, new: str | None, most: int) -> tuple[str | None, str | None]:
    """Two texts cut to ``most`` characters where they differ, with ... for what is left out."""
    if all(one is None or len(one) <= most for one in (old, new)):
        return old, new
    both = enumerate(zip(old or "", new or "", strict=False))
    common = next((at for at, (a, b) in both if a != b), min(len(old or ""), len(new or "")))
    start = 0 if old == new else max(0, common - min(_LEAD, most // 4))
    return _cut(old, start, most), _cut(new, start, most)


def _cut(text: str | None, start: int, most: int) -> str | None:
    if text is None:
        return None
    rest = text[start:]
    return ("..." if start else "") + (rest if len(rest) <= most else rest[:most] + "...")
