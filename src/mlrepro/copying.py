"""Blobs from one store to another: every one hashed on the way, so that a bad one never spreads."""

from __future__ import annotations

import os
import stat

from mlrepro.dataclass import TYPE_CHECKING, dataclass, field
from mlrepro.durable import discard, free_bytes, hard_link
from mlrepro.errors import MlreproError, StoreError
from mlrepro.landing import Landed, Landing, Target
from mlrepro.parallel import Crew
from mlrepro.reading import Blob, open_blobs, set_aside
from mlrepro.result import Reporter
from mlrepro.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass
class CopyReport:
    """What became of each oid.

    ``copied``; ``present``: the target had it; ``missing``: the source does not have it, or cannot
    read it (then ``failed`` says why, too); ``corrupt``: the source's bytes are wrong, and were set
    aside where that is possible; ``repaired``: copied, and something else that had the name in the
    target set aside.
    """

    copied: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)
    failed: list[tuple[str, MlreproError]] = field(default_factory=list)


def copy_blobs(
    oids: Iterable[tuple[str, int | None]],
    source: Store,
    target: Store,
    *,
    jobs: int = 0,
    reporter: Reporter | None = None,
    link_shared: bool = True,
    check_existing: bool = False,
) -> CopyReport:
    """Copy blobs (oid, and size where known) that ``target`` lacks, by hard link where that works.

    A blob keeps its layout: DVC looks the pointers of version 2 up in their own. A blob that is in
    the target with the source's size counts as present; ``check_existing`` has it hashed. Without
    ``link_shared`` a blob that already has other names is copied, not linked: one of them may be a
    workspace file, which DVC can be set to link. Raises StoreError where the target, or the whole
    source, cannot be used.
    """
    wanted = dict(oids)
    if not wanted:
        return CopyReport()
    source.require()
    target.require()
    reporter = reporter or Reporter()
    crew = Crew(jobs)
    with Landing([target], check_existing) as landing:
        copier = _Copier(source, landing, crew, reporter, link_shared)
        copier.check_space(wanted)
        reporter.begin("copy", sum(size or 0 for size in wanted.values()))
        try:
            crew.each(copier.copy, list(wanted.items()))
            landing.land()
        finally:
            reporter.end()
        copier.report.repaired = landing.repaired
        return copier.report


class _Copier:
    """One call of copy_blobs."""

    def __init__(
        self, source: Store, landing: Landing, crew: Crew, reporter: Reporter, link_shared: bool
    ) -> None:
        self.source = source
        self.landing = landing
        self.target: Target = landing.targets[0]
        self.crew = crew
        self.reporter = reporter
        self.link_shared = link_shared
        self.report = CopyReport()

    def check_space(self, wanted: Mapping[str, int | None]) -> None:
        """Raise StoreError where the target certainly has too little space for what it lacks."""
        free = free_bytes(self.target.store.root)
        near = os.stat(self.source.root).st_dev == os.stat(self.target.store.root).st_dev
        needed = 0
        for oid in wanted:
            found = self.source.find(oid)
            if found is None or (near and (self.link_shared or found[1].st_nlink == 1)):
                continue  # a link takes no space
            needed += found[1].st_size
        if needed > free:
            there = self.target.store.list_oids()
            needed -= sum(there[oid] for oid in wanted if oid in there)
        if needed > free:
            raise StoreError(
                f"The folder {self.target.store.root} has {free} bytes free; {needed} are needed.",
                "Free some space, then run this again",
                code="store-full",
                path=self.target.store.root,
            )

    def copy(self, wanted: tuple[str, int | None]) -> None:
        """Bring one blob over, and say what became of it."""
        oid, size = wanted
        report, bad = self.report, list[str]()
        try:
            for blob in open_blobs(self.source, oid, bad):
                if self._is_present(blob):
                    report.present.append(oid)
                    self.reporter.advance(blob.stat.st_size)
                    return
                temp = self._take(blob)
                if temp is not None:
                    landed = Landed(oid, blob.stat.st_size, (temp,), legacy=blob.legacy)
                    self.landing.add(landed)
                    report.copied.append(oid)
                    return
                bad.append(oid)
                set_aside(self.source, oid, blob.path, blob.stat)
        except StoreError as error:
            if error.path != self.source.root:
                raise
            report.failed.append((oid, error))
        if self.target.store.has(oid, size):
            report.present.append(oid)
        else:
            (report.corrupt if bad else report.missing).append(oid)

    def _is_present(self, blob: Blob) -> bool:
        store, oid, size = self.target.store, blob.oid, blob.stat.st_size
        try:
            about = os.lstat(store.legacy_path(oid)) if blob.legacy else store.stat(oid)
        except (FileNotFoundError, NotADirectoryError):
            return False
        if about is None:
            return False
        right = stat.S_ISREG(about.st_mode) and about.st_size == size
        if blob.legacy or (right and not self.landing.check_existing):
            return right
        return not self.landing.lacking(oid, size)

    def _take(self, blob: Blob) -> str | None:
        """A temporary file in the target with the blob's bytes; None where they are not right."""
        temp = self._link(blob)
        if temp is not None:
            right = blob.pour(None, None, self.crew.check, self.reporter.advance)
        else:
            temp, fd = self.target.create()
            try:
                right = blob.pour(fd, self.target.explain, self.crew.check, self.reporter.advance)
            finally:
                os.close(fd)
        if right:
            return temp
        discard(temp)
        return None

    def _link(self, blob: Blob) -> str | None:
        """The source's own file under a temporary name in the target, where that may be."""
        if blob.stat.st_nlink > 1 and not self.link_shared:
            return None
        temp = self.target.staging.new()
        try:
            if not hard_link(blob.path, temp):
                return None
            now = os.lstat(temp)
        except OSError:
            return None
        if (now.st_ino, now.st_dev) != (blob.stat.st_ino, blob.stat.st_dev):
            discard(temp)
            return None
        return temp
