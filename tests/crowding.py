"""One of many writers to one bucket: ``crowding.py REPOSITORY NAME ROUNDS``.

In each round it stores a blob of its own and one that all others store in that round, too.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

from mlrepro import locating, project as places, transfer
from mlrepro.engine import save_files
from mlrepro.result import Options


def blobs(name: str, number: int) -> list[bytes]:
    """What the writer ``name`` stores in a round."""
    return [f"{name} {number}\n".encode(), f"all {number}\n".encode() * 100]


def main(root: str, name: str, rounds: int) -> None:
    project = places.find(root, os.environ)
    target = locating.located(project, os.environ)
    target.cache.create()
    for number in range(rounds):
        needs = []
        for at, data in enumerate(blobs(name, number)):
            path = Path(root, f"{name}-{at}")
            path.write_bytes(data)
            report = save_files([str(path)], target.cache, None)
            assert not report.failed, report.failed
            needs.append(transfer.Need(path.name, hashlib.md5(data).hexdigest(), len(data)))
        done = transfer.push(project, target, needs, Options())
        assert not done.errors and not done.owed and not done.missing, done


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
