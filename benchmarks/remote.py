"""The same work on one S3 server, by mlrepro and by DVC: run in pairs, with and without latency."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from contenders import STORAGE, Contender, Dvc, Ours
from launching import Cost
from measuring import Bench

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from proxying import Proxy
from servers import S3, Cluster

LATENCY_S = 0.05


class Far:
    """A contender's repositories whose store is a bucket of their own."""

    def __init__(self, s3: S3, endpoint: str) -> None:
        self.s3, self.endpoint = s3, endpoint

    def point(self, where: Path, bucket: str) -> None:
        """Make the bucket the store."""
        settings = self.s3.settings(bucket, "data") | {"endpointurl": self.endpoint}
        (where / ".dvc" / "config").write_text(STORAGE.format(url=settings.pop("url")))
        lines = [f"    {name} = {value}" for name, value in settings.items()]
        (where / ".dvc" / "config.local").write_text(
            "\n".join(["['remote \"storage\"']", *lines, ""])
        )

    def clone(self, who: Contender, origin: Path, clone: Path) -> None:
        """Make a clone that knows the keys."""
        who.run(origin.parent, "git", "clone", "-q", origin, clone)
        shutil.copy(origin / ".dvc" / "config.local", clone / ".dvc" / "config.local")


class FarOurs(Ours):
    """mlrepro with a bucket."""

    far: Far

    def set_up(self, where: Path) -> None:
        super().set_up(where)
        self.far.point(where, self.far.s3.make_bucket(f"b{os.urandom(6).hex()}"))
        shutil.rmtree(where / "stores", ignore_errors=True)

    def clone(self, origin: Path, clone: Path) -> None:
        self.far.clone(self, origin, clone)


class FarDvc(Dvc):
    """DVC with a bucket."""

    far: Far

    def create(self, where: Path) -> None:
        Contender.create(self, where)  # each with a bucket of its own

    def set_up(self, where: Path) -> None:
        self.run(where, "dvc", "init", "-q")
        self.far.point(where, self.far.s3.make_bucket(f"b{os.urandom(6).hex()}"))

    def clone(self, origin: Path, clone: Path) -> None:
        self.far.clone(self, origin, clone)


def measure(bench: Bench, shapes: Sequence[tuple[str, int, int]]) -> None:
    """Measure all of it; ``shapes``: name, number and size in bytes of the files of a folder."""
    server = bench.place("server")
    with Cluster(server) as cluster, Proxy(cluster.s3.endpoint, LATENCY_S) as slow:
        for endpoint, where in ((cluster.s3.endpoint, ""), (slow.url, ", 50 ms away")):
            ours, dvc = FarOurs("mlrepro", bench.launcher), FarDvc("DVC", bench.launcher)
            ours.far = dvc.far = Far(cluster.s3, endpoint)
            few = shapes if not where else shapes[:1]
            for shape in few:
                for _ in range(bench.rounds):
                    for who in (ours, dvc):
                        _one(bench, who, shape, where)


def _one(bench: Bench, who: Contender, shape: tuple[str, int, int], where: str) -> None:
    title, count, size = shape
    top = bench.place(f"{who.name}-far")
    repo, clone = top / "repo", top / "clone"
    who.create(repo)
    folder = repo / "data" / "set"
    folder.mkdir(parents=True)
    for number in range(count):
        with (folder / f"{number:06}").open("wb") as file:
            for _ in range(max(1, size >> 23)):
                file.write(os.urandom(min(size, 1 << 23)))
    title = f"{title}, S3{where}"

    def timed(what: str, work: Callable[[], Cost]) -> None:
        bench.note(f"remote/{what}/{title}", f"{what}, {title}", who.name, work())

    timed("track + commit", lambda: who.save(repo, ["data/set"]))
    who.clone(repo, clone)
    timed("pull", lambda: who.pull(clone))
    for turn in range(2):  # in the first, each may do what it does only once
        bench.touch(who, repo, turn)
        (folder / "000000").write_bytes(os.urandom(min(size, 4096)))
        if turn:
            timed("commit, one file edited", lambda: who.commit(repo, ["data/set"]))
        else:
            who.commit(repo, ["data/set"])
    bench.touch(who, repo, "last")
    timed("commit, nothing changed", lambda: who.commit(repo, []))
    shutil.rmtree(top)
