"""Files that a run which was killed had in its hands: told of, unless their content is stored."""

from __future__ import annotations

import os

from mlrepro import durable, engine
from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.errors import MlreproError, StoreError
from mlrepro.safepath import quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlrepro.remote import Remote


def told(target: Remote, paths: Sequence[str]) -> list[MlreproError]:
    """A finding for each of these files, which were set aside, that is not stored.

    They had been taken out of their places by a swap that a kill cut short. Nearly always that was
    the old version of what had just been put there, and cache or store has it: such a file goes.
    """
    if not paths:
        return []
    oids = {one.path: one.oid for one in engine.hash_files(list(paths)).saved}
    left = []
    for path in paths:
        if path in oids and _is_stored(target, oids[path]):
            durable.discard(path)
        else:
            left.append(_kept(path))
    if not left:
        _remove_empty({os.path.dirname(path) for path in paths})
    return left


def _is_stored(target: Remote, oid: str) -> bool:
    """Whether cache or store has exactly these bytes."""
    places = [target.cache] + ([target.store] if target.store is not None else [])
    for place in places:
        try:
            if place.has(oid) and engine.verify_blob(place, oid) == "ok":
                return True
        except StoreError:
            continue
    return False


def _remove_empty(folders: set[str]) -> None:
    for folder in folders:
        try:
            os.rmdir(folder)
        except OSError:
            pass  # there is something else in it


def _kept(path: str) -> MlreproError:
    return MlreproError(
        f"A run that was killed left a file of yours in {path}; it was kept there.",
        f"compare it with the data, then remove it: rm {quoted(path)}",
        code="file-recovered",
        path=path,
    )
