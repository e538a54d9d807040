"""Data files made to exhaust whoever looks inside them: small, or cheap to make, and endless."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import model_files

Make = Callable[[Path], None]
MEBI = 1 << 20


def header(length: int, text: bytes = b"", size: int = 0) -> Make:
    """A safetensors file with a header that is said to be so long, in a file of ``size`` bytes."""

    def make(path: Path) -> None:
        with path.open("wb") as file:
            file.write(struct.pack("<Q", length) + text)
            file.truncate(max(size, 8 + len(text)))

    return make


def _header_of_lists(path: Path) -> None:
    text = b'{"a":[' + b"[]," * (20 * MEBI) + b"[]]}"
    header(len(text), text)(path)


def _header_of_tensors(path: Path) -> None:
    about = '"%x":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    text = ("{" + ",".join(about % at for at in range(1_500_000)) + "}").encode()
    header(len(text), text)(path)


def _deep_header(path: Path) -> None:
    text = b'{"a":' * 5_000_000
    header(len(text), text)(path)


def write(data: bytes) -> Make:
    return lambda path: (path.write_bytes(data), None)[1]


def _npy(path: Path) -> None:
    path.write_bytes(model_files.npy("<f8", (1 << 61, 1 << 61), b""))


def _npy_header(path: Path) -> None:
    text = b"{'descr': '<f4', 'shape': (" + b"(" * 60_000 + b"\n"
    path.write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text)


def _npy_number(path: Path) -> None:
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"9" * 65_000 + b",)}\n"
    path.write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text)


def _npz(path: Path) -> None:
    """Very many members, all of them the same few bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        data = model_files.npy("<f4", (2,), bytes(8))
        for at in range(150_000):
            archive.writestr(f"{at}.npy", data)


def _npz_of_zeros(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        start = b"\x93NUMPY\2\0" + struct.pack("<I", 1 << 31)
        with archive.open("a.npy", "w", force_zip64=True) as file:
            file.write(start)
            for _ in range(64):
                file.write(bytes(8 * MEBI))


def _torch_of_zeros(path: Path) -> None:
    """A pickle of PyTorch's that goes on and on when it is unpacked."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("m/data.pkl", "w", force_zip64=True) as file,
    ):
        file.write(b"\x80\2]")
        for _ in range(256):
            file.write(b"]" * (4 * MEBI))


TEXT = b"\x80\4B\xff\xff\xff\x7f"  # of two gigabytes


def _zeros_packed(pack: Callable[[bytes], bytes], start: bytes = TEXT) -> Make:
    """A pickle that is packed: gigabytes of one text."""
    return lambda path: (path.write_bytes(pack(start + bytes(512 * MEBI))), None)[1]


def opcodes(start: bytes, again: bytes, times: int, end: bytes = b".") -> Make:
    return lambda path: (path.write_bytes(b"\x80\4" + start + again * times + end), None)[1]


def _numbers(path: Path) -> None:
    path.write_bytes(b"\x80\2I" + b"9" * (20 * MEBI) + b"\n.")


def _onnx_packed(path: Path) -> None:
    dims = model_files.field(1, b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f" * 7000)
    tensor = model_files.field(5, dims)
    path.write_bytes(model_files.field(1, 9) + model_files.field(7, tensor * 2000))


def _onnx_nested(path: Path) -> None:
    data = b"\x08\x01"
    for _ in range(2000):
        data = model_files.field(7, data)
    path.write_bytes(model_files.field(1, 9) + data)


def _onnx_dims(path: Path) -> None:
    """One tensor with millions of dimensions, one field each."""
    path.write_bytes(model_files.field(7, model_files.field(5, b"\x08\x01" * 4_000_000)))


def _onnx_nodes(path: Path) -> None:
    nodes = b"".join(
        model_files.field(1, model_files.field(4, b"%07d" % at)) for at in range(400_000)
    )
    path.write_bytes(model_files.field(7, nodes))


def _onnx_tensors(path: Path) -> None:
    tensors = b"".join(
        model_files.field(5, model_files.field(8, b"%07d" % at)) for at in range(400_000)
    )
    path.write_bytes(model_files.field(7, tensors))


def _many_memos(path: Path) -> None:
    """Two million texts that are all kept."""
    with path.open("wb") as file:
        file.write(b"\x80\4](")
        for at in range(600_000):
            file.write(b"\x8c\x40" + b"%064d" % at + b"\x94")
        file.write(b"e.")


def _long_texts(path: Path) -> None:
    """Texts of the most that is kept, thousands of them."""
    with path.open("wb") as file:
        file.write(b"\x80\4](")
        for at in range(4000):
            file.write(b"X" + struct.pack("<I", 1 << 16) + b"%065536d" % at)
        file.write(b"e.")


def _laughs(path: Path) -> None:
    """A tuple of two of a tuple of two …, fifty times."""
    path.write_bytes(b"\x80\4)" + b"2\x86" * 60 + b".")


def _wide_laughs(path: Path) -> None:
    """Lists of a thousand names of one and the same list of a thousand, 900 deep."""
    path.write_bytes(b"\x80\4])\x94" + (b"(" + b"h\0" * 1000 + b"l\x94") * 900 + b".")


def _lines_of_text(path: Path) -> None:
    """Texts of the first protocol, each a line, of characters that take four bytes in memory."""
    line = b"V\\U0001F600" + b"\xe9" * 65_000 + b"\n"
    path.write_bytes(b"(" + line * 2000 + b"l.")


def _long_way(path: Path) -> None:
    """Very many things at a place that has a long name."""
    path.write_bytes(b"\x80\4}X\x84\3\0\0" + b"n" * 900 + b"](" + b"]" * 900_000 + b"es.")


def _hidden_directory(path: Path) -> None:
    """An archive with a list of files that is far longer than its last record says."""
    entry = b"PK\1\2" + bytes(24) + struct.pack("<H", 4) + bytes(16)
    count = 1_500_000
    with path.open("wb") as file:
        file.write(b"PK\3\4" + bytes(26))
        start = file.tell()
        for at in range(count):
            file.write(entry + b"%04x" % (at & 0xFFFF))
        size, record = file.tell() - start, file.tell()
        numbers = (44, 45, 45, 0, 0, count, count, size, start)
        file.write(b"PK\6\6" + struct.pack("<QHHLLQQQQ", *numbers))
        file.write(b"PK\6\7" + struct.pack("<LQL", 0, record, 1))
        file.write(b"PK\5\6" + struct.pack("<4H2LH", 0, 0, 1, 1, 50, 30, 0))


def _joblib_shape(path: Path) -> None:
    path.write_bytes(
        b"\x80\4cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}"
        b"(X\5\0\0\0shape(I4611686018427387903\nI4611686018427387903\nt"
        b"X\5\0\0\0dtypecnumpy\ndtype\n(X\2\0\0\0f8tRu"
        b"X\2\0\0\0xxNsb."
    )


MODELS: dict[str, tuple[str, Make]] = {
    "a header of 100 MB that is not there": ("m.safetensors", header(100_000_000)),
    "a header of 100 MB of nothing": ("m.safetensors", header(99_999_000, b"{}", 100 * MEBI)),
    "a header of 60 MB of lists": ("m.safetensors", _header_of_lists),
    "a header of 1.5 million tensors": ("m.safetensors", _header_of_tensors),
    "a header that is deep": ("m.safetensors", _deep_header),
    "a header of all bytes": ("m.safetensors", write(b"\xff" * 1000)),
    "an array larger than all": ("m.npy", _npy),
    "an array with a deep header": ("m.npy", _npy_header),
    "an array with a long number": ("m.npy", _npy_number),
    "an archive of very many arrays": ("m.npz", _npz),
    "an archive of zeros": ("m.npz", _npz_of_zeros),
    "an archive with an endless pickle": ("m.pt", _torch_of_zeros),
    "a gzip bomb": ("m.pkl", _zeros_packed(lambda data: gzip.compress(data, 1))),
    "a zlib bomb": ("m.joblib", _zeros_packed(lambda data: zlib.compress(data, 1))),
    "a bz2 bomb": ("m.joblib", _zeros_packed(lambda data: bz2.compress(data[: 64 * MEBI], 1) * 8)),
    "an xz bomb": ("m.joblib", _zeros_packed(lambda data: lzma.compress(data, preset=0))),
    "an endless line": ("m.pkl", _numbers),
    "an endless line, packed": (
        "m.joblib", _zeros_packed(lambda data: gzip.compress(data, 1), b"\x80\2I"),
    ),
    "marks and nothing else": ("m.pkl", opcodes(b"", b"(", 30 * MEBI)),
    "lists and nothing else": ("m.pkl", opcodes(b"", b"]", 30 * MEBI)),
    "dicts and nothing else": ("m.pkl", opcodes(b"", b"}", 30 * MEBI)),
    "deep tuples": ("m.pkl", opcodes(b")", b"\x85", 1_900_000)),
    "deep lists": ("m.pkl", opcodes(b"", b"]", 900_000, b"a" * 899_999 + b".")),
    "calls of calls": ("m.pkl", opcodes(b"cos\nsystem\n", b")R", 900_000)),
    "persistent ids": ("m.pkl", opcodes(b"N", b"Q", 1_900_000)),
    "names": ("m.pkl", opcodes(b"", b"ca\nb\n", 1_900_000)),
    "numbers on the stack": ("m.pkl", opcodes(b"", b"\x8a\xff" + b"\x7f" * 255, 400_000)),
    "memory of many": ("m.pkl", _many_memos),
    "long texts": ("m.pkl", _long_texts),
    "twice and twice again": ("m.pkl", _laughs),
    "a thousand times a thousand": ("m.pkl", _wide_laughs),
    "lines of text": ("m.pkl", _lines_of_text),
    "a long way to very much": ("m.pkl", _long_way),
    "an archive that hides its list": ("m.npz", _hidden_directory),
    "an array of joblib larger than all": ("m.joblib", _joblib_shape),
    "a graph of packed dimensions": ("m.onnx", _onnx_packed),
    "a graph in a graph": ("m.onnx", _onnx_nested),
    "a tensor of very many dimensions": ("m.onnx", _onnx_dims),
    "very many nodes": ("m.onnx", _onnx_nodes),
    "very many tensors": ("m.onnx", _onnx_tensors),
    "a length beyond the end": ("m.onnx", write(b"\x3a" + b"\xff" * 8 + b"\x7f")),
}  # fmt: skip


def _columns(path: Path) -> None:
    path.write_text(",".join(f"c{at}" for at in range(1_000_000)) + "\n")


def _columns_and_rows(path: Path) -> None:
    names = ",".join(f"c{at}" for at in range(9_000))
    path.write_text(names + "\n" + ("1," * 8_999 + "1\n") * 20)


def _line(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b"id,x\n1,")
        for _ in range(500):
            file.write(b"a" * MEBI)
        file.write(b"\n")


def _quoted_line(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b'id,x\n1,"')
        for _ in range(300):
            file.write(b"a\n" * (MEBI // 2))


def _first_line(path: Path) -> None:
    with path.open("wb") as file:
        for _ in range(300):
            file.write(b"a" * MEBI)


def _gzip_table(path: Path) -> None:
    path.write_bytes(gzip.compress(b"id,x\n" + b"1,1\n" * (128 * MEBI), 1))


def _gzip_line(path: Path) -> None:
    path.write_bytes(gzip.compress(b"id,x\n1," + b"a" * (900 * MEBI), 1))


def _keys(path: Path) -> None:
    path.write_text("{" + ",".join(f'"k{at}": 1' for at in range(300_000)) + "}\n")


def _deep_json(path: Path) -> None:
    path.write_text('{"a":' * 500_000 + "1" + "}" * 500_000 + "\n")


def _long_json(path: Path) -> None:
    path.write_text('{"a": "' + "x" * (100 * MEBI) + '"}\n')


def parquet(change: Callable[[bytearray], None]) -> Make:
    def make(path: Path) -> None:
        import duckdb

        duckdb.sql("SELECT range AS id, range * 2 AS x FROM range(1000)").write_parquet(str(path))
        data = bytearray(path.read_bytes())
        change(data)
        path.write_bytes(data)

    return make


def _long_footer(data: bytearray) -> None:
    data[-8:-4] = struct.pack("<I", 0x7FFFFFFF)


def _numbers_of_the_footer(data: bytearray) -> None:
    """Every number of the footer that is written with more than one byte says very much more."""
    length = struct.unpack("<I", data[-8:-4])[0]
    start = len(data) - 8 - length
    for at in range(start, len(data) - 8):
        if data[at] & 0x80 and at + 1 < len(data) - 8 and data[at + 1] < 0x80:
            data[at + 1] = 0x7F


def _pages(data: bytearray) -> None:
    for at in range(4, 60):
        data[at] |= 0x7F


TABLES: dict[str, tuple[str, Make]] = {
    "a million columns": ("t.csv", _columns),
    "thousands of columns": ("t.csv", _columns_and_rows),
    "a line of 500 MB": ("t.csv", _line),
    "a cell that never ends": ("t.csv", _quoted_line),
    "a first line of 300 MB": ("t.csv", _first_line),
    "a packed table of gigabytes": ("t.csv.gz", _gzip_table),
    "a packed line of 900 MB": ("t.csv.gz", _gzip_line),
    "an object of very many keys": ("t.jsonl", _keys),
    "an object that is deep": ("t.jsonl", _deep_json),
    "an object of 100 MB": ("t.jsonl", _long_json),
    "a footer beyond the start": ("t.parquet", parquet(_long_footer)),
    "a footer of lies": ("t.parquet", parquet(_numbers_of_the_footer)),
    "pages of lies": ("t.parquet", parquet(_pages)),
}
