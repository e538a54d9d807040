"""The right bytes into an open file, from the first source that has them."""

from __future__ import annotations

import os

from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.errors import StoreError
from mlrepro.placing import disk_error
from mlrepro.reading import Blob, open_blobs, set_aside
from mlrepro.settling import Restore
from mlrepro.smallblobs import keep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlrepro.parallel import Crew
    from mlrepro.result import Reporter
    from mlrepro.settling import RestoreReport
    from mlrepro.store import Store


class Filler:
    """Fills files from ``sources``, of which the first is the cache; ``base``: where they lie.

    What is found to be wrong on the way is set aside, and said in the report.
    """

    def __init__(
        self,
        sources: Sequence[Store],
        base: str,
        crew: Crew,
        reporter: Reporter,
        report: RestoreReport,
    ) -> None:
        self.sources = sources
        self.base = base
        self.crew = crew
        self.reporter = reporter
        self.report = report

    def fill(self, item: Restore, fd: int) -> bool:
        """Copy the right bytes into an open file; else says what is wrong in the report."""
        problem: StoreError | None = None
        other_size = False
        for store in self.sources:
            bad: list[str] = []
            try:
                for blob in open_blobs(store, item.oid, bad):
                    if item.legacy and not blob.legacy:
                        continue  # the same text, maybe with other line ends
                    if self._pour(blob, fd):
                        if item.size is None or blob.stat.st_size == item.size:
                            self._keep(blob)
                            return True
                        other_size = True  # right by DVC 2's hash, which one with CRLF has too
                        continue
                    bad.append(item.oid)
                    set_aside(store, item.oid, blob.path, blob.stat)
            except StoreError as error:
                if error.code.startswith("disk-"):
                    raise
                problem = error  # this source cannot be read: the next one may
            finally:
                self.report.corrupt += bad
        if item.legacy:
            rest = Restore(item.oid, item.dest, item.size, item.isexec, item.expect)
            return self.fill(rest, fd)
        if other_size:
            rest = Restore(item.oid, item.dest, None, item.isexec, item.expect)
            return self.fill(rest, fd)
        if problem is None:
            self.report.missing.append(item)
        else:
            self.report.failed.append((item.dest, problem))
        return False

    def _pour(self, blob: Blob, fd: int) -> bool:
        """Copy a blob into an open file; says whether its bytes are right.

        One that came a moment ago was hashed then, and is not again while it is known to be as it
        was. Where that was in vain, the reporter hears of some bytes twice.
        """
        _empty(fd)
        if blob.copy(fd, self.crew.check, self.reporter.advance):
            return True
        _empty(fd)
        return blob.pour(fd, self._explain, self.crew.check, self.reporter.advance)

    def _keep(self, blob: Blob) -> None:
        """Give the cache a blob whose bytes were just found right."""
        cache = self.sources[0]
        if blob.store is cache or blob.legacy:
            return
        if not keep(cache, blob.path, blob.oid, blob.stat):
            self.report.unkept.append(blob.oid)

    def _explain(self, error: OSError) -> StoreError:
        return disk_error(error, self.base)


def _empty(fd: int) -> None:
    """Take out what an open file got from a source that was not right.

    Only then: ext4 writes a file that was truncated to the disk when it is closed, and waits.
    """
    if os.lseek(fd, 0, os.SEEK_CUR):
        os.ftruncate(fd, 0)
        os.lseek(fd, 0, os.SEEK_SET)
