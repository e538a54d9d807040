"""Models that are pickles, or have one inside: PyTorch, scikit-learn, joblib; and NumPy's .npz."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from mlrepro.models import arrays
from mlrepro.models.opcodes import Made, Opcodes, Pairs
from mlrepro.models.reading import MAX_NAME, Reader, Unreadable, tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlrepro.models import Model

MAX_DIRECTORY = 4 << 20  # bytes of the list of files in a zip archive
MAX_ARRAYS = 20_000  # of an .npz
# Bytes of a packed pickle that are passed over, at most: so many, or so many times its own.
MAX_UNPACKED, MAX_RATIO = 1 << 30, 20

_MAGIC = 0x1950A86A20F9469CFC6C  # what torch.save wrote first, before it made zip archives
_BROKEN = (
    EOFError, OSError, RuntimeError, ValueError, lzma.LZMAError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def fill(model: Model, reader: Reader) -> None:
    """Complete ``model`` from its file. Raises Unreadable; what was found before that stays."""
    try:
        if model.format == "zip":
            _zip(model, reader)
        elif model.format == "pickle":
            with open(model.path, "rb") as file:
                _pickle(model, file)
        else:
            with _unpacked(model.path, reader.at(0, 8)) as inside:
                _pickle(model, inside)
    except _BROKEN as error:
        raise Unreadable(str(error)[:200] or type(error).__name__) from error


def _zip(model: Model, reader: Reader) -> None:
    _check_directory(reader)
    with zipfile.ZipFile(model.path) as archive:
        members = {about.filename: about for about in archive.infolist()}
        pickles = [name for name in members if name.endswith("/data.pkl") or name == "data.pkl"]
        if pickles:
            model.format = "pytorch"
            base = pickles[0].removesuffix("data.pkl")

            def mark(key: str) -> str:
                about = members.get(f"{base}data/{key}")
                return f"{about.CRC:08x} {about.file_size}" if about is not None else ""

            with archive.open(pickles[0]) as file:
                _follow(model, Opcodes(file), mark)
        elif members and all(name.endswith(".npy") for name in members):
            model.format = "npz"
            _npz(model, archive, list(members.values()))
        else:
            raise Unreadable("it is a zip archive of another kind")


def _npz(model: Model, archive: zipfile.ZipFile, members: list[zipfile.ZipInfo]) -> None:
    for about in members[:MAX_ARRAYS]:
        with archive.open(about) as file:
            start = file.read(12)
            wide = 2 if start[6:7] == b"\1" else 4
            length = int.from_bytes(start[8 : 8 + wide], "little")
            if not start.startswith(b"\x93NUMPY") or length > arrays.MAX_NPY_HEADER:
                raise Unreadable("it holds something that is no NumPy array")
            known = arrays.literal(start[8 + wide :] + file.read(length - (4 - wide)))
        made = tensor(
            arrays.dtype_of(known.get("descr")), known.get("shape"),
            mark=f"{about.CRC:08x} {about.file_size}",
        )  # fmt: skip
        model.tensors[about.filename.removesuffix(".npy")[:MAX_NAME]] = made
    if len(members) > MAX_ARRAYS:
        raise Unreadable(f"only its first {MAX_ARRAYS:,} arrays were read")


def _check_directory(reader: Reader) -> None:
    """Refuse an archive whose list of files is itself enormous: all of it would be read."""
    length = min(reader.size, (1 << 16) + 22)
    end = reader.at(reader.size - length, length)
    at = end.rfind(b"PK\5\6")
    if at < 0 or at + 22 > len(end):
        raise Unreadable("it is no whole zip archive")
    size = int.from_bytes(end[at + 12 : at + 16], "little")
    if end[max(at - 20, 0) : at].startswith(b"PK\6\7"):
        # Of zip64: whatever is said here, what is read is what the record before that says.
        record = reader.at(reader.size - length + at - 76, 56)
        size = int.from_bytes(record[40:48], "little")
    if size > MAX_DIRECTORY:
        raise Unreadable("it is a zip archive with far too many files")


@contextmanager
def _unpacked(path: str, start: bytes) -> Iterator[IO[bytes]]:
    """A pickle that joblib packed, unpacked on the way."""
    openers: dict[bytes, Callable[[IO[bytes]], Any]] = {
        b"\x1f\x8b": gzip.open,
        b"BZh": bz2.open,
        b"\xfd7zXZ": lzma.open,
        b"\x5d\0": lzma.open,
    }
    opener = next((call for magic, call in openers.items() if start.startswith(magic)), _zlib)
    with open(path, "rb") as file, opener(file) as inside:
        yield inside


def _zlib(file: IO[bytes]) -> io.BufferedReader:
    return io.BufferedReader(_Zlib(file))


class _Zlib(io.RawIOBase):
    """A zlib stream, unpacked as it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._zlib = zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        data = b""
        while not data and not self._zlib.eof:
            packed = self._zlib.unconsumed_tail or self._file.read(1 << 16)
            if not packed:
                break
            data = self._zlib.decompress(packed, len(target))
        target[: len(data)] = data
        return len(data)


class _Bounded:
    """A pickle's bytes, as many as anyone would want to pass over."""

    def __init__(self, file: IO[bytes], most: int) -> None:
        self._file = file
        self._left = most

    def read(self, count: int, /) -> bytes:
        self._left -= count
        if self._left < 0:
            raise Unreadable("it is too large when unpacked")
        return self._file.read(count)

    def readline(self, count: int, /) -> bytes:
        line = self._file.readline(count)
        self._left -= len(line)
        return line


def _pickle(model: Model, file: IO[bytes]) -> None:
    most = max(MAX_UNPACKED, MAX_RATIO * model.size)
    opcodes = Opcodes(_Bounded(file, most), lambda made: _pass_array(opcodes, made))
    _follow(model, opcodes, lambda _: "")


def _follow(model: Model, opcodes: Opcodes, mark: Any) -> None:
    """Complete ``model`` from one pickle; of the old format of PyTorch the fourth is the model."""
    root: object = None
    try:
        root = opcodes.follow()
        if root == _MAGIC:
            model.format = "pytorch (before 1.6)"
            opcodes.follow()
            opcodes.follow()
            root = opcodes.follow()
    finally:
        model.classes = tuple(opcodes.classes)
    tensors, settings, whole = arrays.find(root, mark)
    model.tensors, model.settings = tensors, settings
    if whole:
        model.classes = (whole, *(name for name in model.classes if name != whole))
    by_joblib = any("joblib." in name for name in model.classes)
    if model.format == "packed pickle" or (model.format == "pickle" and by_joblib):
        model.format = "joblib"


def _pass_array(opcodes: Opcodes, made: Made) -> None:
    """Pass over the numbers of an array, which joblib writes between the opcodes.

    As in NumpyArrayWrapper.read_array of joblib/numpy_pickle.py.
    """
    if not made.name.endswith("numpy_pickle.NumpyArrayWrapper"):
        return
    state = made.state
    if not isinstance(state, Pairs):
        raise Unreadable("an array in it has no description")
    dtype = state.get("dtype")
    code = dtype.args[0] if isinstance(dtype, Made) and dtype.args else None
    shape = state.get("shape")
    if not isinstance(code, str) or not isinstance(shape, tuple):
        raise Unreadable("an array in it has no type or no shape")
    if code.startswith("O"):
        raise Unreadable("an array in it holds objects: what follows was not read")
    width = {"U": 4}.get(code[:1], 1) * int(code[1:]) if code[1:].isdigit() else 0
    if not width:
        raise Unreadable("an array in it has a type that is not read")
    if state.get("numpy_array_alignment_bytes") is not None:
        opcodes.skip(opcodes.read(1)[0])
    opcodes.skip(width * tensor("", shape).count)
