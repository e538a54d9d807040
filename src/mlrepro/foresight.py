"""What saving would do: everything is hashed, and nothing is written."""

from __future__ import annotations

from mlrepro import capture, members, pointer, walking, worktree
from mlrepro.dataclass import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlrepro import index
    from mlrepro.project import Project
    from mlrepro.remote import Remote
    from mlrepro.result import Options
    from mlrepro.worktree import Data


def save(
    project: Project,
    target: Remote,
    wanted: Sequence[capture.Target],
    record: index.Record,
    options: Options,
) -> capture.Capture:
    """What ``capture.save`` would come to: how many blobs the store, or the cache, lacks."""
    result = capture.Capture()
    place = target.store or target.cache
    items = [item.item for item in wanted if item.item is not None]
    found = worktree.examine(project, [item.path for item in wanted], record, options, items)
    lacking: dict[str, int] = {}
    for item in wanted:
        data = found[item.path]
        if data.error is not None:
            result.errors.append(data.error)
        elif data.is_missing:
            result.errors.append(capture.missing(item.path))
        elif data.nfiles == 0 and item.item is None:
            result.errors.append(members.empty(item.path))
        else:
            as_was = item.item is not None and item.item.oid == data.oid
            result.saved.append(capture.Saved(item, data, stored=True, as_was=as_was))
            lacking.update((oid, size) for oid, size in _blobs(data) if not place.has(oid, size))
    result.count, result.bytes = len(lacking), sum(lacking.values())
    return result


def _blobs(data: Data) -> Iterator[tuple[str, int]]:
    """Every blob that the data comes to, with its size in bytes."""
    if data.tree is None:
        yield data.oid, data.size
        return
    members = {name: oid for name, oid in data.tree.members().items() if oid != "0" * 32}
    for name, size in zip(data.tree.names, data.tree.numbers[:: walking.NUMBERS], strict=True):
        if name in members:
            yield members[name], size
    named = [pointer.Member(name, members[name]) for name in sorted(members)]
    yield data.oid, len(pointer.render_listing(named))
