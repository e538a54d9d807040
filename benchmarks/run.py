"""Measures mlrepro against DVC, git-lfs and the least that the bytes cost, side by side."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from contenders import Contender, Dvc, Floor, Lfs, Ours, environment
from report import picture, table

KIB, MIB = 1 << 10, 1 << 20


@dataclass(frozen=True)
class Size:
    """One shape of data: ``count`` files of ``size`` bytes, each tracked itself or as a folder."""

    name: str
    count: int
    size: int
    folder: bool

    def make(self, where: Path) -> list[str]:
        """Write fresh random files below ``where``/data; returns what is to be tracked."""
        inner = where / "data" / ("set" if self.folder else ".")
        inner.mkdir(parents=True, exist_ok=True)
        for at in range(self.count):
            with (inner / f"file{at:06}.bin").open("wb") as file:
                left = self.size
                while left > 0:
                    file.write(os.urandom(min(left, 8 * MIB)))
                    left -= 8 * MIB
        if self.folder:
            return ["data/set"]
        return [f"data/file{at:06}.bin" for at in range(self.count)]


def sizes(quick: bool) -> list[Size]:
    """The shapes that are measured; the quick ones are smaller."""
    few = 10 if quick else 1
    return [
        Size(f"{500 // few} files of 4 KiB", 500 // few, 4 * KIB, False),
        Size(f"a folder of {10_000 // few:,} x 4 KiB", 10_000 // few, 4 * KIB, True),
        Size("1 file of 64 MiB" if quick else "1 file of 1 GiB", 1, (64 if quick else 1024) * MIB,
             False),
        Size(f"a folder of {1000 // few:,} x 1 MiB", 1000 // few, MIB, True),
    ]  # fmt: skip


Times = dict[str, dict[str, list[float]]]  # work → contender → seconds of each run


class Bench:
    """All measurements of one session; contenders take turns, so that a slow moment hits all."""

    def __init__(self, top: Path, rounds: int, quick: bool) -> None:
        self.top = top
        self.rounds = rounds
        self.quick = quick
        env = environment(top / "home")
        self.contenders: list[Contender] = [Ours("mlrepro", env), Dvc("DVC", env)]
        if shutil.which("git-lfs"):
            self.contenders.append(Lfs("git-lfs", env))
        self.contenders.append(Floor("floor", env))
        self.times: Times = {}
        self._made = 0

    def place(self, name: str) -> Path:
        """A folder that was not used yet."""
        self._made += 1
        return self.top / f"{self._made:04}-{name}"

    def note(self, work: str, who: Contender, seconds: float | None) -> None:
        """Keep one measurement."""
        if seconds is not None:
            self.times.setdefault(work, {}).setdefault(who.name, []).append(seconds)
            print(f"  {work}: {who.name} {seconds:.3f} s", file=sys.stderr, flush=True)

    def commits(self) -> None:
        """Commits with three files tracked: nothing changed, and one of them edited."""
        repos = {}
        three = Size("3 files", 3, 150 * KIB, False)
        for who in self.contenders:
            repos[who.name] = self.place(who.name)
            who.create(repos[who.name])
            who.save(repos[who.name], three.make(repos[who.name]))
            self._settle(who, repos[who.name])
        for turn in range(self.rounds * 3):
            for who in self.contenders:
                where = repos[who.name]
                self._touch(who, where, turn)
                self.note("commit, nothing changed, 3 files", who, who.commit(where, []))
        for turn in range(self.rounds):
            for who in self.contenders:
                where = repos[who.name]
                self._touch(who, where, 1000 + turn)
                (where / "data" / "file000001.bin").write_bytes(os.urandom(150 * KIB))
                took = who.commit(where, ["data/file000001.bin"])
                self.note("commit, one of 3 files edited, stored", who, took)

    def _touch(self, who: Contender, where: Path, turn: int) -> None:
        (where / "README").write_text(f"{turn}\n")
        who.run(where, "git", "add", "README")

    def _settle(self, who: Contender, where: Path) -> None:
        """A first commit in which each may do what it does only once."""
        self._touch(who, where, -1)
        who.commit(where, [])

    def shapes(self) -> None:
        """Save, bring back and look at each shape of data."""
        for size in sizes(self.quick):
            for _ in range(self.rounds):
                for who in self.contenders:
                    where = self.place(who.name)
                    who.create(where)
                    paths = size.make(where)
                    subprocess.run(["sync"], check=False)
                    self.note(f"track + commit, {size.name}", who, who.save(where, paths))
                    clone = self.place(f"{who.name}-clone")
                    self.note(f"pull, {size.name}", who, who.pull(where, clone))
                    who.status(where)
                    self.note(f"status, {size.name}", who, who.status(where))
                    for folder in self.top.glob(f"{where.name}*"):
                        shutil.rmtree(folder)
                    shutil.rmtree(clone)

    def growth(self) -> None:
        """One edit in a large folder against none; one more file beside a thousand, and alone."""
        ours, dvc = self.contenders[0], self.contenders[1]
        large = Size("large", 1000 if self.quick else 10_000, 4 * KIB, True)
        many = Size("many", 100 if self.quick else 1000, KIB, False)
        where = self.place("large")
        ours.create(where)
        ours.save(where, large.make(where))
        for turn in range(-1, self.rounds):
            self._touch(ours, where, turn)
            quiet = ours.commit(where, [])
            self._touch(ours, where, 1000 + turn)
            (where / "data" / "set" / "file000007.bin").write_bytes(os.urandom(4 * KIB))
            edited = ours.commit(where, ["data/set"])
            self._touch(ours, where, 2000 + turn)
            ours.commit(where, [])
            if turn >= 0:
                name = f"commit, one of the {large.count:,} files of a folder edited"
                self.note(name, ours, edited)
                self.note(name, Contender("nothing edited", {}), quiet)
        for who in (ours, dvc):
            full, empty = self.place(who.name), self.place(who.name)
            for place, shape in ((full, many), (empty, None)):
                who.create(place)
                if shape is not None:
                    who.save(place, shape.make(place))
            for turn in range(self.rounds):
                for place, kind in ((full, who.name), (empty, f"{who.name}, empty repository")):
                    (place / "data").mkdir(exist_ok=True)
                    (place / "data" / f"more{turn}.bin").write_bytes(os.urandom(4 * KIB))
                    took = who.save(place, [f"data/more{turn}.bin"])
                    name = f"add one file beside {many.count:,} pointers"
                    self.note(name, Contender(kind, {}), took)

    def remote(self) -> None:
        """The same on a store on the network; needs the extras of ``dev``."""
        import remote

        few = 10 if self.quick else 1
        shapes = [
            (f"a folder of {10_000 // few:,} x 4 KiB", 10_000 // few, 4 * KIB),
            ("1 file of 102 MiB" if self.quick else "1 file of 1 GiB", 1, 1024 // few * MIB),
        ]
        env = environment(self.top / "home")
        remote.measure(self.top, self.rounds, env, self.note, shapes)


def main() -> int:
    """Measure, print the table, and write JSON and the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller data, fewer rounds")
    parser.add_argument("--rounds", type=int, default=0, help="interleaved runs of each")
    parser.add_argument("--only", default="", help="commits, shapes, growth or remote")
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="where results go")
    parser.add_argument("--keep-picture", type=Path, help="write the picture here too")
    options = parser.parse_args()
    rounds = options.rounds or (2 if options.quick else 5)
    top = Path(tempfile.mkdtemp(prefix="mlrepro-bench-"))
    parts: dict[str, Callable[[Bench], None]] = {
        "commits": Bench.commits, "shapes": Bench.shapes, "growth": Bench.growth,
        "remote": Bench.remote,
    }  # fmt: skip
    try:
        bench = Bench(top, rounds, options.quick)
        for name, part in parts.items():
            # What is far away takes as long as all the rest, so the quick round leaves it out.
            if options.only == name or not (options.only or (options.quick and name == "remote")):
                part(bench)
    finally:
        shutil.rmtree(top, ignore_errors=True)
    medians = {
        work: {who: statistics.median(runs) for who, runs in by_who.items()}
        for work, by_who in bench.times.items()
    }
    print("\n".join(table(medians)))
    options.out.mkdir(parents=True, exist_ok=True)
    about = {"machine": platform.machine(), "system": platform.system(), "cores": os.cpu_count(),
             "python": platform.python_version(), "rounds": rounds}  # fmt: skip
    (options.out / "bench.json").write_text(
        json.dumps({"about": about, "median_seconds": medians, "seconds": bench.times}, indent=1)
    )
    svg = picture(medians)
    (options.out / "bench.svg").write_text(svg)
    if options.keep_picture:
        options.keep_picture.write_text(svg)
    print(f"\nwritten: {options.out}/bench.json and bench.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
