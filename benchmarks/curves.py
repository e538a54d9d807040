"""How time and memory grow: with the number of files, the length of history, the size of a file."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from contenders import Contender
from launching import Cost
from measuring import Bench
from shapes import GIB, KIB, MIB, Shape

# Curve → what is on its x axis → work → the cost of each run.
Curves = dict[str, dict[int, dict[str, list[Cost]]]]
FILES = (1000, 5000, 20_000, 50_000, 200_000)
COMMITS = (10, 100, 1000, 10_000)
POINTERS = (100, 1000, 5000)
MANY = 20_000  # from here on, three rounds are enough


class Growth:
    """The curves of mlrepro alone: what DVC takes for 200,000 files nobody would wait for."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.curves: Curves = {}

    def note(self, curve: str, at: int, work: str, cost: Cost) -> None:
        """Keep one measurement."""
        self.curves.setdefault(curve, {}).setdefault(at, {}).setdefault(work, []).append(cost)

    def files(self) -> None:
        """One folder of more and more files of 4 KiB."""
        for count in (500, 2000) if self.bench.quick else FILES:
            shape = Shape(f"{count}", count, 4 * KIB, True)
            rounds = 1 if self.bench.quick else self.bench.rounds
            for _ in range(rounds if count < MANY else min(3, rounds)):
                self._files(shape)
            self.bench.drop(shape)

    def _files(self, shape: Shape) -> None:
        bench, who = self.bench, self.bench.ours
        where, clone = bench.place("large"), bench.place("large-clone")
        who.create(where)
        paths = bench.put(shape, where)
        os.sync()
        self.note("files", shape.count, "track + commit", who.save(where, paths))
        bench.settle(who, where)
        for _ in range(3):
            quiet = bench.commit(who, where, [])
            self.note("files", shape.count, "commit, nothing changed", quiet)
            found = who.status(where)
            assert found is not None
            self.note("files", shape.count, "status", found)
        edited = bench.commit(who, where, paths, "data/set/file000007.bin")
        self.note("files", shape.count, "commit, one file edited", edited)
        who.clone(where, clone)
        os.sync()
        self.note("files", shape.count, "pull", who.pull(clone))
        for folder in (where, clone):
            shutil.rmtree(folder)

    def pointers(self) -> None:
        """More and more files with a pointer each, of which one is edited, or one is new."""
        bench, who = self.bench, self.bench.ours
        for count in POINTERS[:1] if bench.quick else POINTERS:
            where = bench.place("pointers")
            who.create(where)
            paths = bench.put(Shape("pointers", count, KIB), where)
            who.save(where, ["data/*"])
            bench.settle(who, where)
            for turn in range(-1, bench.rounds):
                quiet = bench.commit(who, where, [])
                edited = bench.commit(who, where, paths[7:8], paths[7])
                (where / "data" / f"more{turn}").write_bytes(os.urandom(KIB))
                os.sync()
                more = who.save(where, [f"data/more{turn}"])
                if turn >= 0:
                    self.note("pointers", count, "commit, nothing changed", quiet)
                    self.note("pointers", count, "commit, one file edited", edited)
                    self.note("pointers", count, "track + commit, one file more", more)
            shutil.rmtree(where)

    def history(self) -> None:
        """One pointer with a longer and longer history, each version of it stored."""
        bench, who = self.bench, self.bench.ours
        bare = Contender("bare git", bench.launcher)
        where = bench.place("history")
        who.create(where)
        path = "data/model.bin"
        (where / "data").mkdir()
        (where / path).write_bytes(b"0")
        who.save(where, [path])
        have = 0
        for count in COMMITS[:3] if bench.quick else COMMITS:
            _lengthen(where, path, have, count)
            have = count
            who.pull(where)
            for turn in range(-1, bench.rounds):
                bench.touch(who, where, f"bare {count} {turn}")
                os.sync()
                argv = ["git", "commit", "-q", "--no-verify", "-m", "bare"]
                costs = {
                    "bare git commit": bare.run(where, *argv),
                    "commit, nothing changed": bench.commit(who, where, []),
                    "commit, file edited": bench.commit(who, where, [path], path),
                }
                for work, cost in costs.items():
                    if turn >= 0:
                        self.note("history", count, work, cost)
        shutil.rmtree(where)

    def memory(self) -> None:
        """One file, and one that is many times as large: the same memory."""
        bench, who = self.bench, self.bench.ours
        for size in (32 * MIB, 256 * MIB) if bench.quick else (GIB, 8 * GIB):
            where, clone = bench.place("memory"), bench.place("memory-clone")
            who.create(where)
            path = "data/large.bin"
            (where / "data").mkdir()
            with (where / path).open("wb") as file:  # what is never written takes no room
                for at in range(0, size, 16 * MIB):
                    file.seek(at)
                    file.write(os.urandom(64))
                file.truncate(size)
            self.note("memory", size, "track + commit", who.save(where, [path]))
            bench.settle(who, where)
            self.note("memory", size, "commit, nothing changed", bench.commit(who, where, []))
            found = who.status(where)
            assert found is not None
            self.note("memory", size, "status", found)
            who.clone(where, clone)
            self.note("memory", size, "pull", who.pull(clone))
            with (where / path).open("r+b") as file:
                file.write(os.urandom(64))
            self.note("memory", size, "commit, edited", bench.commit(who, where, [path]))
            for folder in (where, clone):
                shutil.rmtree(folder)


def _lengthen(where: Path, path: str, have: int, wanted: int) -> None:
    """Give a pointer's history ``wanted`` versions, each stored; it has ``have`` of them."""
    store = where / "stores" / "blob" / "files" / "md5"
    for number in range(have + 1, wanted + 1):
        oid = _oid(number)
        blob = store / oid[:2] / oid[2:]
        blob.parent.mkdir(exist_ok=True)
        blob.write_bytes(b"%d" % number)
        blob.chmod(0o444)
    done = subprocess.run(
        ["git", "fast-import", "--quiet", "--force"],
        cwd=where, input=b"".join(_commits(path, have, wanted)), check=True, capture_output=True,
    )  # fmt: skip
    assert not done.stderr, done.stderr
    subprocess.run(["git", "reset", "-q", "--hard"], cwd=where, check=True, capture_output=True)


def _oid(number: int) -> str:
    return hashlib.md5(b"%d" % number, usedforsecurity=False).hexdigest()


def _commits(path: str, have: int, wanted: int) -> Iterator[bytes]:
    """What git-fast-import(1) reads: one commit for each version."""
    yield b"reset refs/heads/main\nfrom refs/heads/main^0\n\n"
    for number in range(have + 1, wanted + 1):
        pointer = (
            f"outs:\n- md5: {_oid(number)}\n  size: {len(str(number))}\n  hash: md5\n"
            f"  path: {path.rpartition('/')[2]}\n"
        ).encode()
        yield (
            b"commit refs/heads/main\ncommitter Bench <bench@example.org> %d +0000\n"
            b"data 8\nversion\n\nM 100644 inline %s.dvc\ndata %d\n%s\n"
            % (1_700_000_000 + number, path.encode(), len(pointer), pointer)
        )
