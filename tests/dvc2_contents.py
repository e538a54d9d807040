"""Files whose hash DVC 2 and DVC 3 may see differently: text, binary, and what is hard to tell.

As a program, writes them into a folder, for DVC 2.10.2 to be asked what it makes of them:
``dvc2_contents.py FOLDER``; what it then wrote is in ``tests/dvc2.json``.
"""

from __future__ import annotations

import sys
from pathlib import Path

CONTENTS = {
    "crlf.csv": b"id,value\r\n1,one\r\n2,two\r\n",
    "lf.csv": b"id;value\n1;one\n",
    "mixed.txt": b"a\r\nb\nc\r\n",
    "lone.txt": b"a\rb\r\r\nc\r",
    "nothing.csv": b"",
    "ends.txt": b"\r\n",
    "nul.csv": b"a\r\nb\0\r\n",
    "model.bin": bytes(range(256)),
    "high.bin": bytes(0x80 + n % 128 for n in range(300)) + b"\r\n",
    "late.bin": b"x\r\n" * 400 + b"\0\r\n",
    "latin.txt": "caf\xe9 au lait, s'il vous pla\xeet\r\n".encode("latin-1"),
    "utf8.txt": "\xe9t\xe9\r\n\u65e5\u672c\r\n".encode(),
    "utf16.txt": "a\r\nb\r\n".encode("utf-16-le"),
    "third.bin": b"\x01\x02\x03" * 30 + b"abcdef" * 20 + b"\r\n",
    "escape.txt": b"\x1b[31mred\x1b[0m\r\n" * 4,
    "split.txt": b"y" * (1 << 20) + b"\r\n" + b"z" * 10,
    "split2.txt": b"y" * ((1 << 20) - 1) + b"\r\n" + b"z" * 10,
    "name with space.csv": b"s\r\n",
    "run.sh": b"#!/bin/sh\r\n",
    "data/b.txt": b"x\r\ny\r\n",
    "data/sub/a": b"plain\n",
    "data/sub/z.bin": b"\0\r\n\0",
    "data/caf\xe9": b"e\r\n",
}
EXECUTABLE = "run.sh"


def write(root: Path) -> None:
    for name, content in CONTENTS.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o755 if name == EXECUTABLE else 0o644)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
