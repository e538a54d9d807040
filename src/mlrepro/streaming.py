"""Copies an open file to others while it is hashed, in two threads and little memory."""

from __future__ import annotations

import os

from mlrepro.dataclass import TYPE_CHECKING, dataclass
from mlrepro.digest import md5
from mlrepro.durable import write_all
from mlrepro.errors import MlreproError
from mlrepro.kernel import begin_writeback

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from queue import SimpleQueue

# `hashlib`, `queue` and `threading` take longer to load than to save a small file.

SMALL = 1 << 20  # bytes; files up to this size are read whole into memory
_CHUNK = 1 << 20  # bytes read at once from a larger one
_BUFFERS = 4  # chunks between the thread that reads and hashes and the one that writes
_LOOK_EVERY = 1 << 26  # bytes after which a long read looks whether it is in vain
_BEGIN_EVERY = 1 << 24  # bytes after which the disk is asked to begin with them
_TEXT_BLOCK = 512
_TEXT = bytes(range(32, 127)) + b"\n\r\t\f\b"


class Moved(Exception):
    """Raised inside a read when the file is seen to have changed: this try is in vain."""


@dataclass(slots=True)
class Sink:
    """An open file that a stream is copied to, and what an OSError in writing it means."""

    fd: int
    explain: Callable[[OSError], MlreproError]


def md5_of(data: bytes) -> str:
    """The md5 of bytes in memory, in hex."""
    return md5(data)


def read_whole(fd: int, size: int) -> bytes:
    """The ``size`` bytes of an open file; raises Moved where it has fewer or more, OSError."""
    data = os.read(fd, size + 1)
    while len(data) < size:
        more = os.read(fd, size + 1 - len(data))
        if not more:
            raise Moved
        data += more
    if len(data) != size:
        raise Moved
    return data


def stream(
    fd: int, sinks: Sequence[Sink], look: Callable[[], None], advance: Callable[[int], None]
) -> str:
    """The md5 of an open file from here to its end, copied to every sink on the way.

    The bytes hashed are the bytes written. One thread reads and writes, this one hashes, and the
    few chunks between them bound the memory. Raises what a sink explains, OSError where reading
    fails, and what ``look`` raises; the sinks then hold a part.
    """
    from hashlib import md5 as large

    digest, unseen = large(usedforsecurity=False), 0
    with _Reader(fd, sinks) as reader:
        while True:
            view, count = reader.take()
            if not count:
                return digest.hexdigest()
            digest.update(view[:count])
            reader.give_back(view)
            advance(count)
            unseen += count
            if unseen >= _LOOK_EVERY:
                unseen = 0
                look()


def pour(
    fd: int,
    size: int,
    sinks: Sequence[Sink],
    look: Callable[[], None],
    advance: Callable[[int], None],
) -> str:
    """The same for a blob of ``size`` bytes, a small one without a thread; "" if it has others."""
    if size > SMALL:
        return stream(fd, sinks, look, advance)
    try:
        data = read_whole(fd, size)
    except Moved:
        return ""
    for sink in sinks:
        try:
            write_all(sink.fd, data)
        except OSError as error:
            raise sink.explain(error) from error
    advance(size)
    return md5(data)


def copy_over(
    fd: int, size: int, target: int, look: Callable[[], None], advance: Callable[[int], None]
) -> bool:
    """Copy an open file's first ``size`` bytes to another, empty one, within the kernel.

    False where it cannot do that, or not all of it; ``target`` then holds a part. Raises what
    ``look`` raises.
    """
    done = 0
    while done < size:
        try:
            count = os.sendfile(target, fd, done, min(size - done, _BEGIN_EVERY))
        except OSError:
            return False
        if not count:
            return False
        begin_writeback(target, done, count)
        advance(count)
        done += count
        look()
    return True


def nothing(_: int = 0) -> None:
    """For ``look`` or ``advance``, where there is nothing to look at or to tell."""


class _Reader:
    """The thread that reads chunks, hands each over to be hashed, and writes it meanwhile.

    A chunk that was given back is read into again only by that thread, and so once it is written.
    """

    def __init__(self, fd: int, sinks: Sequence[Sink]) -> None:
        import threading
        from queue import SimpleQueue

        self._fd = fd
        self._sinks = sinks
        self._free: SimpleQueue[memoryview] = SimpleQueue()
        self._full: SimpleQueue[tuple[memoryview, int]] = SimpleQueue()
        self._error: BaseException | None = None
        self._over = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        for _ in range(_BUFFERS):
            self._free.put(memoryview(bytearray(_CHUNK)))

    def take(self) -> tuple[memoryview, int]:
        """The next chunk and how many bytes it has, 0 at the end, when all is written."""
        view, count = self._full.get()
        if self._error is not None:
            raise self._error
        return view, count

    def give_back(self, view: memoryview) -> None:
        """Let a chunk be used again."""
        self._free.put(view)

    def __enter__(self) -> _Reader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._free.put(memoryview(b""))  # it may wait for one
        self._thread.join()

    def _run(self) -> None:
        try:
            self._copy()
        except BaseException as error:  # noqa: BLE001 (raised where the chunks are taken)
            self._error = error
        self._full.put((memoryview(b""), 0))

    def _copy(self) -> None:
        done = begun = 0
        while True:
            view = self._free.get()
            if self._over:
                return
            count = os.readv(self._fd, [view])
            if not count:
                return
            self._full.put((view, count))
            for sink in self._sinks:
                try:
                    write_all(sink.fd, view[:count])
                except OSError as error:
                    raise sink.explain(error) from error
            done += count
            if done - begun >= _BEGIN_EVERY:
                for sink in self._sinks:
                    begin_writeback(sink.fd, begun, done - begun)
                begun = done


def text_md5(fd: int) -> str:
    """The md5 that DVC 2 gave an open file: of text with CRLF turned into LF, chunk by chunk.

    As dvc_data.hashfile.hash has it, with its rule for what is text (dvc_data.hashfile.istextfile),
    and blind to a CRLF that lies across two chunks of 1 MiB.
    """
    from hashlib import md5 as large

    digest = large(usedforsecurity=False)
    with open(fd, "rb", closefd=False) as file:
        file.seek(0)
        while chunk := file.read(1 << 20):
            block = chunk[:_TEXT_BLOCK]
            odd = len(block.translate(None, _TEXT)) / len(block)
            if b"\x00" not in block and odd <= 0.30:
                chunk = chunk.replace(b"\r\n", b"\n")
            digest.update(chunk)
    return digest.hexdigest()
