"""The rows that have targets: each contender in turn does the same with the same data."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from contenders import Contender, Dvc, Floor, Lfs, Ours, environment
from launching import Cost, Launcher
from shapes import KIB, THREE, Shape, shapes

OURS, ITSELF = "mlrepro", "itself"
Costs = dict[str, dict[str, list[Cost]]]  # row → contender → the cost of each run


class Bench:
    """One session; contenders take turns, so that a slow moment hits all of them.

    ``costs``: by row and contender; a row's key is what was done and to which kind of data, as in
    "track/folder". ``titles``: the same in words.
    """

    def __init__(self, rounds: int, quick: bool) -> None:
        self.rounds = rounds
        self.quick = quick
        self.costs: Costs = {}
        self.titles: dict[str, str] = {}
        self.made: dict[Shape, Path] = {}
        self._places = 0

    def __enter__(self) -> Bench:
        self.top = Path(tempfile.mkdtemp(prefix="mlrepro-bench-"))
        self.env = environment(self.top / "home")
        self.launcher = Launcher(self.env, self.top / "said")
        self.ours = Ours(OURS, self.launcher)
        self.dvc = Dvc("DVC", self.launcher)
        self.floor = Floor("floor", self.launcher)
        self.contenders: list[Contender] = [self.ours, self.dvc, self.floor]
        if shutil.which("git-lfs"):
            self.contenders.insert(2, Lfs("git-lfs", self.launcher))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.launcher.close()
        shutil.rmtree(self.top, ignore_errors=True)

    def place(self, name: str) -> Path:
        """A folder that was not used yet."""
        self._places += 1
        return self.top / f"{self._places:04}-{name}"

    def put(self, shape: Shape, where: Path) -> list[str]:
        """Copy the data of a shape into a repository: the same bytes for everyone."""
        if shape not in self.made:
            self.made[shape] = self.place("data")
            shape.make(self.made[shape])
        return shape.copy(self.made[shape], where)

    def drop(self, shape: Shape) -> None:
        """Remove what was made of a shape."""
        shutil.rmtree(self.made.pop(shape), ignore_errors=True)

    def note(self, row: str, title: str, who: str, cost: Cost | None) -> None:
        """Keep one measurement."""
        if cost is None:
            return
        self.titles[row] = title
        self.costs.setdefault(row, {}).setdefault(who, []).append(cost)
        print(f"  {title}: {who} {cost.seconds:.3f} s", file=sys.stderr, flush=True)

    def touch(self, who: Contender, where: Path, word: object) -> None:
        """Stage a change of code, so that there is something to commit."""
        (where / "README").write_text(f"{word}\n")
        who.run(where, "git", "add", "README")

    def settle(self, who: Contender, where: Path) -> None:
        """A first commit, in which each may do what it does only once."""
        self.touch(who, where, "settled")
        who.commit(where, [])

    def commit(self, who: Contender, where: Path, edited: Sequence[str], path: str = "") -> Cost:
        """Commit a change of code; with ``path``, after its bytes became others."""
        self._places += 1
        self.touch(who, where, self._places)
        if path:
            file = where / path
            file.write_bytes(os.urandom(file.stat().st_size))
        os.sync()
        return who.commit(where, edited)

    def commits(self) -> None:
        """Commits with three files tracked: nothing changed, and one of them edited."""
        repos = {}
        for who in self.contenders:
            repos[who.name] = where = self.place(who.name)
            who.create(where)
            who.save(where, self.put(THREE, where))
            self.settle(who, where)
        title = "commit, nothing changed, 3 files"
        for _ in range(self.rounds * 3):
            for who in self.contenders:
                cost = self.commit(who, repos[who.name], [])
                self.note("commit/three", title, who.name, cost)
        title = "commit, one of 3 files edited, stored"
        path = THREE.paths[1]
        for _ in range(self.rounds):
            for who in self.contenders:
                cost = self.commit(who, repos[who.name], [path], path)
                self.note("edit/three", title, who.name, cost)

    def shapes(self) -> None:
        """Save, bring back and look at each shape of data."""
        for shape in shapes(self.quick):
            for _ in range(self.rounds):
                for who in self.contenders:
                    self._shape(shape, who)
            self.drop(shape)

    def _shape(self, shape: Shape, who: Contender) -> None:
        where, clone = self.place(who.name), self.place(f"{who.name}-clone")
        who.create(where)
        paths = self.put(shape, where)
        os.sync()
        saved = who.save(where, paths)
        if shape is not THREE:
            self.note(f"track/{shape.kind}", f"track + commit, {shape.title}", who.name, saved)
        who.clone(where, clone)
        os.sync()
        self.note(f"pull/{shape.kind}", f"pull, {shape.title}", who.name, who.pull(clone))
        if not self.quick:
            who.status(where)  # in which each may do what it does only once
        os.sync()
        title = f"status, nothing changed, {shape.title}"
        self.note(f"status/{shape.kind}", title, who.name, who.status(where))
        for folder in (*self.top.glob(f"{where.name}*"), clone):
            shutil.rmtree(folder)

    def beside(self) -> None:
        """One edit in a large folder against none; one file more beside many, and alone."""
        self._edits(Shape("folder", 1000 if self.quick else 10_000, 4 * KIB, True))
        self._more(Shape("pointers", 100 if self.quick else 1000, KIB))

    def _edits(self, large: Shape) -> None:
        repos = {}
        contenders = [self.ours, self.floor] if self.quick else self.contenders
        for who in contenders:
            repos[who.name] = where = self.place(who.name)
            who.create(where)
            who.save(where, self.put(large, where))
            self.settle(who, where)
        path = "data/set/file000007.bin"
        quiet = f"commit, nothing changed, {large.title}"
        title = f"commit, one file edited, {large.title}"
        for turn in range(-1, self.rounds):
            for who in contenders:
                where = repos[who.name]
                none = self.commit(who, where, [])
                one = self.commit(who, where, large.paths, path)
                if turn < 0:
                    continue
                self.note("commit/folder", quiet, who.name, none)
                self.note("edit/folder", title, who.name, one)
                if who is self.ours:
                    self.note("edit/folder", title, ITSELF, none)

    def _more(self, many: Shape) -> None:
        title = f"track + commit, one file more beside {many.count:,} pointers"
        repos = {}
        contenders = [self.ours] if self.quick else [self.ours, self.dvc]
        for who in contenders:
            full, empty = self.place(who.name), self.place(who.name)
            who.create(full)
            who.save(full, self.put(many, full))
            who.create(empty)
            repos[who.name] = (full, empty)
        for turn in range(-1, self.rounds):
            for who in contenders:
                costs = []
                for where in repos[who.name]:
                    name = f"data/more{turn}.bin"
                    (where / "data").mkdir(exist_ok=True)
                    (where / name).write_bytes(os.urandom(4 * KIB))
                    os.sync()
                    costs.append(who.save(where, [name]))
                if turn < 0:
                    continue
                self.note("more/pointers", title, who.name, costs[0])
                if who is self.ours:
                    self.note("more/pointers", title, ITSELF, costs[1])
