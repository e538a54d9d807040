"""The same work on one S3 server, by mlrepro and by DVC: run in pairs, with and without latency."""

from __future__ import annotations

import os
import resource
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from contenders import Contender, Dvc, Ours

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from proxying import Proxy
from servers import S3, Cluster

LATENCY_S = 0.05
Note = Callable[[str, Contender, float | None], None]


class Far:
    """A contender's repositories whose store is a bucket of their own."""

    def __init__(self, s3: S3, endpoint: str) -> None:
        self.s3, self.endpoint = s3, endpoint

    def point(self, where: Path, bucket: str) -> None:
        """Make the bucket the store."""
        settings = self.s3.settings(bucket, "data") | {"endpointurl": self.endpoint}
        url = settings.pop("url")
        (where / ".dvc" / "config").write_text(
            f"[core]\n    remote = storage\n['remote \"storage\"']\n    url = {url}\n"
        )
        lines = [f"    {name} = {value}" for name, value in settings.items()]
        (where / ".dvc" / "config.local").write_text(
            "\n".join(["['remote \"storage\"']", *lines, ""])
        )


class FarOurs(Ours):
    """mlrepro with a bucket."""

    far: Far

    def set_up(self, where: Path) -> None:
        super().set_up(where)
        self.far.point(where, self.far.s3.make_bucket(f"b{os.urandom(6).hex()}"))
        shutil.rmtree(where / "stores", ignore_errors=True)

    def pull(self, origin: Path, clone: Path) -> float:
        self.run(origin.parent, "git", "clone", "-q", origin, clone)
        shutil.copy(origin / ".dvc" / "config.local", clone / ".dvc" / "config.local")
        return self.run(clone, "mlrepro", "-q", "pull")


class FarDvc(Dvc):
    """DVC with a bucket."""

    far: Far

    def set_up(self, where: Path) -> None:
        self.run(where, "dvc", "init", "-q")
        self.far.point(where, self.far.s3.make_bucket(f"b{os.urandom(6).hex()}"))

    def pull(self, origin: Path, clone: Path) -> float:
        self.run(origin.parent, "git", "clone", "-q", origin, clone)
        shutil.copy(origin / ".dvc" / "config.local", clone / ".dvc" / "config.local")
        return self.run(clone, "dvc", "pull", "-q")


def measure(
    top: Path, rounds: int, env: dict[str, str], note: Note, shapes: Sequence[tuple[str, int, int]]
) -> None:
    """Time all of it; ``shapes``: name, number and size in bytes of the files of a folder."""
    with Cluster(top / "server") as cluster, Proxy(cluster.s3.endpoint, LATENCY_S) as slow:
        for endpoint, where in ((cluster.s3.endpoint, ""), (slow.url, ", 50 ms away")):
            ours, dvc = FarOurs("mlrepro", env), FarDvc("DVC", env)
            ours.far = dvc.far = Far(cluster.s3, endpoint)
            few = shapes if not where else shapes[:1]
            for shape in few:
                for turn in range(rounds):
                    for who in (ours, dvc):
                        _one(top / f"{who.name}{turn}", who, shape, where, note)


def _one(top: Path, who: Contender, shape: tuple[str, int, int], where: str, note: Note) -> None:
    name, count, size = shape
    repo, clone = top / "repo", top / "clone"
    who.create(repo)
    folder = repo / "data" / "set"
    folder.mkdir(parents=True)
    for number in range(count):
        with (folder / f"{number:06}").open("wb") as file:
            for _ in range(max(1, size >> 23)):
                file.write(os.urandom(min(size, 1 << 23)))
    name = f"{name}, S3{where}"

    def timed(what: str, work: Callable[[], float | None]) -> None:
        before = _cpu()
        note(f"{what}, {name}", who, work())
        note(f"{what}, {name}, CPU time", who, _cpu() - before)

    timed("track + commit", lambda: who.save(repo, ["data/set"]))
    timed("pull", lambda: who.pull(repo, clone))
    for turn in range(2):  # in the first, each may do what it does only once
        (repo / "README").write_text(f"{turn}\n")
        who.run(repo, "git", "add", "README")
        (folder / "000000").write_bytes(os.urandom(min(size, 4096)))
        if turn:
            timed("commit, one file edited", lambda: who.commit(repo, ["data/set"]))
        else:
            who.commit(repo, ["data/set"])
    (repo / "README").write_text("last\n")
    who.run(repo, "git", "add", "README")
    timed("commit, nothing changed", lambda: who.commit(repo, []))
    shutil.rmtree(top)


def _cpu() -> float:
    """Seconds of CPU that commands have used that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
