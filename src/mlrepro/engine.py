"""Files to blobs: each read once, hashed while it is copied, and stored before it is reported."""

from __future__ import annotations

import os

from mlrepro.copying import CopyReport, copy_blobs
from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.hashing import HashReport, hash_files, sizes, total
from mlrepro.landing import Landing
from mlrepro.parallel import Crew
from mlrepro.reading import is_right, set_aside, verify_blob
from mlrepro.result import Reporter
from mlrepro.saving import Saved, Saver, SaveReport, land
from mlrepro.store import Store
from mlrepro.streaming import md5_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mlrepro.hashing import Note, Paths

__all__ = [
    "CopyReport", "HashReport", "SaveReport", "Saved",
    "copy_blobs", "hash_files", "is_right", "save_bytes", "save_files", "set_aside", "verify_blob",
]  # fmt: skip


def save_files(
    paths: Paths,
    cache: Store,
    store: Store | None = None,
    *,
    jobs: int = 0,
    reporter: Reporter | None = None,
    digest_known: Mapping[str, str] | None = None,
    bytes_known: Sequence[int] | None = None,
    closing: Callable[[SaveReport], tuple[bytes, str] | None] | None = None,
    note: Note | None = None,
    meanwhile: Callable[[SaveReport], None] | None = None,
    check_existing: bool = False,
) -> SaveReport:
    """Put the content of files into the cache and, where given, the store.

    The files themselves are only read. What is reported as saved is on the disk under its name in
    both. ``jobs``: files at once (0: one a core, at most 8). ``digest_known``: the oid a path
    probably has; where that is stored already the file is hashed before it is copied, which saves
    the writing if it is right and a second reading costs if it is not. ``bytes_known``: how large
    the files were when they were listed a moment ago. ``closing``: told what was read, returns what
    else is to be stored with it, and its oid, or None. ``note``: told of each file once it was
    read, some time before it is stored; it then is not in the report, since of many that is much
    memory. ``meanwhile``: called with the report once all is read, and while what was last written
    comes to the disk: only when this returns is it stored. ``check_existing``: hash blobs that are
    there already whatever their size.

    Raises StoreError when cache or store cannot take it (``store-missing``, ``-full``,
    ``-read-only``, ``-denied``, ``-io``); what was stored by then stays.
    """
    if not len(paths):
        return SaveReport()
    reporter = reporter or Reporter()
    with _open(cache, store, check_existing, jobs) as landing:
        every = bytes_known if bytes_known is not None else sizes(paths)
        saver = Saver(paths, every, landing, Crew(jobs), reporter, digest_known or {}, note)
        reporter.begin("save", total(saver.sizes))
        try:
            saver.run()
            done = [saver.saved[at] for at in sorted(saver.saved)]
            report = SaveReport(done, saver.failed, landing.repaired)
            last = closing(report) if closing is not None else None
            if last is not None:
                land(landing, last[1], last[0])
            landing.land((lambda: meanwhile(report)) if meanwhile is not None else None)
        finally:
            reporter.end()
        return report


def save_bytes(
    data: bytes, suffix: str, cache: Store, store: Store | None = None, *, oid: str = ""
) -> str:
    """Put bytes, such as a folder's listing (``suffix`` ``.dir``), into cache and store.

    ``oid``: where these very bytes were hashed already. Returns it. Raises StoreError as
    save_files does.
    """
    oid = oid or md5_of(data) + suffix
    with _open(cache, store, False, 1) as landing:
        land(landing, oid, data)
        landing.land()
    return oid


def _open(cache: Store, store: Store | None, check_existing: bool, jobs: int) -> Landing:
    stores = [cache]
    if store is not None:
        store.require()
        if os.path.realpath(store.root) != os.path.realpath(cache.root):
            stores = [store, cache]
    cache.prepare()
    return Landing(stores, check_existing, jobs)
