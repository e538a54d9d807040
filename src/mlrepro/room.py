"""Whether there is room for what a network store is asked for: known before a long download."""

from __future__ import annotations

import os

from mlrepro import durable, kernel, scratch
from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlrepro.project import Project
    from mlrepro.remote import Remote
    from mlrepro.result import Options
    from mlrepro.transfer import Need


def require(
    project: Project,
    target: Remote,
    needs: Sequence[Need],
    lacking: Sequence[Need],
    options: Options,
) -> None:
    """Raise StoreError ``disk-full`` where the disks certainly cannot take the blobs ``lacking``.

    Each goes into the cache, and from there, where its file is not there yet, to the worktree.
    ``needs``: what they were found by; the store is asked for sizes only where the pointers say
    that they may not fit.
    """
    cache = _existing(target.cache.root)
    free, free_here = durable.free_bytes(cache), durable.free_bytes(project.root)
    claimed = [need.size if need.files is None else need.files for need in needs]
    if None not in claimed and 2 * sum(size or 0 for size in claimed) <= min(free, free_here):
        return
    sizes = _sizes(project, target, lacking, options)
    needed = sum(sizes.values())
    if needed <= free and 2 * needed <= min(free, free_here):
        return
    placed = sum(
        sizes.get(need.oid, 0)
        for need in lacking
        if need.path and not need.oid.endswith(".dir")
        and not os.path.lexists(project.absolute(need.path))
    )  # fmt: skip
    if os.stat(cache).st_dev == os.stat(project.root).st_dev:
        needed += 0 if placed and _shares_blocks(project) else placed
    elif placed > free_here:
        raise _full(project.root, placed, free_here)
    if needed > free:
        raise _full(cache, needed, free)


def _full(folder: str, needed: int, free: int) -> StoreError:
    return StoreError(
        f"{needed} bytes are needed at {folder}, {free} are free.",
        "Free some space, then run this again",
        code="disk-full",
        path=folder,
    )


def _existing(folder: str) -> str:
    while not os.path.isdir(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    return folder


def _sizes(
    project: Project, target: Remote, lacking: Sequence[Need], options: Options
) -> Mapping[str, int]:
    """The bytes of each blob in the store; of what it does not tell, or does not have, none."""
    from mlrepro import dvc

    try:
        found = dvc.exists(
            project.root, target.name, [need.oid for need in lacking], jobs=options.jobs
        )
    except StoreError:
        return {}  # the download says so, better
    told = {need.oid: need.size or 0 for need in lacking}
    return {oid: size if size >= 0 else told[oid] for oid, size in found.items()}


def _shares_blocks(project: Project) -> bool:
    """Whether a copy takes no space there, by trying."""
    base = os.path.join(project.state_dir, "scratch")
    with (
        scratch.room(base, project.git_dir) as own,
        open(own.new(), "wb+", buffering=0) as one,
        open(own.new(), "wb") as other,
    ):
        one.write(bytes(1 << 16))
        return kernel.reflink(one.fileno(), other.fileno())
