"""What comes from afar is hashed as it comes, and again only where it may have changed since."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import servers
from far import Far, use
from mlrepro import durable, kernel, transfer
from mlrepro.dvc import bucket as buckets, ranges, transfer as far_transfer, vouching
from mlrepro.dvc.vouching import Vouching, row_of
from working import Work, codes, made, oid_of

MIB = 1 << 20
LARGE, MEDIUM = 20 * MIB, 3 * MIB  # in parts, and in one piece
LITTLE = MIB // 4  # what else is hashed: pointers, records
KINDS = [
    "s3",
    *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("ssh", "webdav", "gs", "azure")),
]


def cannot() -> bool:
    """Whether this system vouches for nothing: no leases, or times that are not our clock's."""
    if not hasattr(fcntl, "F_SETLEASE"):
        return True
    return not kernel.dates_by_our_clock(os.stat(tempfile.gettempdir()).st_dev)


vouches = pytest.mark.skipif(cannot(), reason="every blob is hashed again here")


@pytest.fixture
def far(tmp_path: Path, s3: servers.S3, bucket: str) -> Far:
    return Far.at(tmp_path / "repo", s3, bucket)


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The settings of a store of each kind."""
    server: Any = request.getfixturevalue(request.param)
    if request.param == "ssh":
        (tmp_path / "far").mkdir()
        return dict(server.settings(tmp_path / "far"))
    if request.param == "webdav":
        return {"url": server}
    return dict(server.settings(server.make_bucket(f"test-{os.urandom(6).hex()}"), "data"))


class Hashed:
    """Counts the bytes of all that is hashed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bytes, real = 0, hashlib.md5
        counter = self

        class Counting:
            def __init__(self, data: Any = b"", **given: Any) -> None:
                self._real = real(**given)
                self.digest, self.hexdigest = self._real.digest, self._real.hexdigest
                self.update(data)

            def update(self, data: Any) -> None:
                counter.bytes += memoryview(data).nbytes
                self._real.update(data)

        monkeypatch.setattr(hashlib, "md5", Counting)
        for module in (buckets, ranges, far_transfer):
            monkeypatch.setattr(module, "md5", Counting)


def stored(work: Work, *contents: bytes) -> list[str]:
    """Track these, and have them in the store only."""
    names = [f"data/{at}.bin" for at in range(len(contents))]
    for name, content in zip(names, contents, strict=True):
        work.write(name, content)
    done = work.track(*names)
    assert done.errors == () and not done.notes, (done.errors, done.notes)
    work.save()
    work.forget()
    for name in names:
        (work.root / name).unlink()
    return names


@vouches
def test_hashed_once(
    place: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = made(tmp_path / "repo")
    use(work, place)
    contents = [os.urandom(LARGE), os.urandom(MEDIUM), os.urandom(MEDIUM)]
    names, hashed = stored(work, *contents), Hashed(monkeypatch)
    assert work.pull().errors == ()
    assert [work.read(name) for name in names] == contents
    size = LARGE + 2 * MEDIUM
    assert size <= hashed.bytes < size + LITTLE, hashed.bytes / MIB
    assert work.status_of().clean
    for oid in map(oid_of, contents):  # each lies in the cache, right and protected
        blob = work.root / ".dvc" / "cache" / "files" / "md5" / oid[:2] / oid[2:]
        assert oid_of(blob.read_bytes()) == oid and blob.stat().st_mode & 0o777 == 0o444


@vouches
def test_members_whose_size_is_not_known(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    """As large as what is asked for first, a little larger, much larger."""
    sizes = [ranges.PART - 1, ranges.PART, ranges.PART + 1, LARGE]
    contents = {f"data/{size}": os.urandom(size) for size in sizes}
    for name, content in contents.items():
        far.write(name, content)
    assert far.track("data").errors == ()
    far.save()
    far.forget()
    for name in contents:
        (far.root / name).unlink()
    hashed = Hashed(monkeypatch)
    assert far.pull().errors == ()
    assert {name: far.read(name) for name in contents} == contents
    assert sum(sizes) <= hashed.bytes < sum(sizes) + LITTLE, hashed.bytes / MIB


Change = Callable[[Path], None]


def overwrite(blob: Path) -> None:
    """Other bytes in the middle, and all put back that can be: size, mtime, mode."""
    was = blob.stat()
    blob.chmod(0o644)
    with blob.open("r+b") as file:
        file.seek(was.st_size // 2)
        file.write(b"damaged")
    blob.chmod(0o444)
    os.utime(blob, ns=(was.st_atime_ns, was.st_mtime_ns))


def map_and_write(blob: Path) -> None:
    was = blob.stat()
    blob.chmod(0o644)
    with blob.open("r+b") as file, mmap.mmap(file.fileno(), 0) as view:
        view[5:12] = b"damaged"
        view.flush()
    blob.chmod(0o444)
    os.utime(blob, ns=(was.st_atime_ns, was.st_mtime_ns))


def another(blob: Path) -> None:
    """Another file of the same size and times in its place."""
    was, other = blob.stat(), blob.with_name("other")
    other.write_bytes(b"x" * was.st_size)
    os.utime(other, ns=(was.st_atime_ns, was.st_mtime_ns))
    other.chmod(0o444)
    other.replace(blob)


def shorten(blob: Path) -> None:
    was = blob.stat()
    blob.chmod(0o644)
    os.truncate(blob, was.st_size - 16)
    os.truncate(blob, was.st_size)
    os.utime(blob, ns=(was.st_atime_ns, was.st_mtime_ns))


CHANGES = [overwrite, map_and_write, another, shorten]


def refused(work: Work) -> None:
    """The pull says so, sets it aside, and puts nothing in place; the next one brings it."""
    done = work.pull()
    assert "blob-missing" in codes(done) or "blob-corrupt" in codes(done), done
    assert not (work.root / "data/0.bin").exists()
    assert list((work.root / ".dvc" / "cache" / ".quarantine").iterdir())


@pytest.mark.parametrize("size", [LARGE, pytest.param(MEDIUM, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "change",
    [*CHANGES[:2], *(pytest.param(one, marks=pytest.mark.slow) for one in CHANGES[2:])],
)
def test_changed_since_it_came(
    far: Far, monkeypatch: pytest.MonkeyPatch, change: Change, size: int
) -> None:
    content = os.urandom(size)
    (name,) = stored(far, content)
    oid, get = oid_of(content), transfer.get

    def then_changed(project: Any, target: Any, wanted: Any, options: Any) -> Any:
        found = get(project, target, wanted, options)
        change(Path(target.cache.path(oid)))
        return found

    with monkeypatch.context() as changed:
        changed.setattr(transfer, "get", then_changed)
        refused(far)
    assert far.pull().errors == () and far.read(name) == content


@vouches
@pytest.mark.parametrize("change", CHANGES[:2])
def test_changed_while_it_is_copied(
    far: Far, monkeypatch: pytest.MonkeyPatch, change: Change
) -> None:
    content = os.urandom(LARGE)
    (name,) = stored(far, content)
    real, sent = os.sendfile, list[int]()

    def send(target: int, source: int, offset: int, count: int) -> int:
        if not sent:
            change(Path(os.readlink(f"/proc/self/fd/{source}")))
        sent.append(count)
        return real(target, source, offset, count)

    with monkeypatch.context() as changed:
        changed.setattr(os, "sendfile", send)
        changed.setattr("mlrepro.reading.reflink", lambda source, target: False)
        refused(far)
    assert sent
    assert far.pull().errors == () and far.read(name) == content


@pytest.mark.parametrize("size", [LARGE, MEDIUM])
def test_open_for_writing_while_it_gets_its_name(
    far: Far, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Who had it open by then may write to it later, though it is protected."""
    content = os.urandom(size)
    (name,) = stored(far, content)
    oid, get, sync, held = oid_of(content), transfer.get, durable.sync_files, list[int]()

    def opened(paths: Any) -> None:
        held.extend(os.open(path, os.O_RDWR) for path in paths if os.stat(path).st_size == size)
        sync(paths)

    def written(project: Any, target: Any, wanted: Any, options: Any) -> Any:
        found = get(project, target, wanted, options)
        was = os.fstat(held[0])
        os.pwrite(held[0], b"damaged", 9)
        os.utime(target.cache.path(oid), ns=(was.st_atime_ns, was.st_mtime_ns))
        assert not target.cache.proven
        return found

    with monkeypatch.context() as changed:
        changed.setattr(durable, "sync_files", opened)
        changed.setattr(transfer, "get", written)
        refused(far)
    os.close(held[0])
    assert far.pull().errors == () and far.read(name) == content


@vouches
def test_nobody_writes_within_the_tick_of_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who does not wait is told to come later, and who tried is reason enough to hash again."""
    blob, proven = tmp_path / "blob", dict[str, Any]()
    blob.write_bytes(b"x" * MEDIUM)
    pass_by = vouching.pass_by

    def try_to_write(newest_ns: int, device: int) -> int:
        with pytest.raises(BlockingIOError) as refused:
            os.open(blob, os.O_WRONLY | os.O_NONBLOCK)
        assert refused.value.errno == errno.EWOULDBLOCK
        return pass_by(newest_ns, device)

    with Vouching(proven) as one:
        one.hold("quiet", str(blob), row_of(str(blob)))
        one.vouch()
    assert proven == {"quiet": row_of(str(blob))}
    monkeypatch.setattr(vouching, "pass_by", try_to_write)
    with Vouching(proven) as one:
        one.hold("tried", str(blob), row_of(str(blob)))
        one.vouch()
    assert list(proven) == ["quiet"]
    os.close(os.open(blob, os.O_WRONLY | os.O_NONBLOCK))  # which now nobody forbids


@vouches
def test_written_to_before_it_is_held(tmp_path: Path) -> None:
    blob, proven = tmp_path / "blob", dict[str, Any]()
    blob.write_bytes(b"x" * MEDIUM)
    written = row_of(str(blob))
    vouching.pass_by(written[2], written[4])
    blob.write_bytes(b"y" * MEDIUM)
    with Vouching(proven) as one:
        one.hold("a", str(blob), written)
        one.vouch()
    assert proven == {}


def test_where_it_cannot_be_told(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system with another's clock all is hashed again."""
    contents = [os.urandom(LARGE), os.urandom(MEDIUM)]
    names = stored(far, *contents)
    monkeypatch.setattr(vouching, "pass_by", lambda newest_ns, device: 0)
    hashed = Hashed(monkeypatch)
    assert far.pull().errors == () and [far.read(name) for name in names] == contents
    assert hashed.bytes >= 2 * (LARGE + MEDIUM)


@vouches
def test_where_the_kernel_cannot_copy(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    content = os.urandom(LARGE)
    (name,) = stored(far, content)

    def half(target: int, source: int, offset: int, count: int) -> int:
        if offset:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return os.pwrite(target, b"z" * 100, 0)

    monkeypatch.setattr(os, "sendfile", half)
    monkeypatch.setattr("mlrepro.reading.reflink", lambda source, target: False)
    assert far.pull().errors == () and far.read(name) == content
