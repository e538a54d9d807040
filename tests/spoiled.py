"""A repository in which one blob is damaged, a command run on it, and what has to hold after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from blobs import damage
from building import blob_path
from mlrepro.commands import pre_commit
from mlrepro.result import Result
from mlrepro.store import Store
from past import FIRST, FOURTH, Past
from working import oid_of

KINDS = ("file", "listing", "member")
PLACES = ("cache", "store")
# What is done to a blob, and the mode it has afterwards; the last three have none to choose.
DAMAGES = [(how, mode) for how in ("truncated", "flipped", "empty", "longer")
           for mode in (0o444, 0o644)]  # fmt: skip
DAMAGES += [("folder", 0o755), ("deleted", 0), ("unreadable", 0)]
# The size tells: such a blob is found without being read.
BY_SIZE = ("truncated", "empty", "longer", "folder", "deleted")
GOES_BACK = ("commit", "restore")  # these need the blobs of an earlier commit


@dataclass(frozen=True)
class Case:
    """One blob, where it is damaged, how, and the command that meets it."""

    command: str
    kind: str
    place: str
    how: str
    mode: int


class Scene:
    """The repository of a case: what is damaged in it, and how it was before."""

    def __init__(self, work: Past, case: Case) -> None:
        self.work, self.case = work, case
        self.wanted = FIRST if case.command in GOES_BACK else FOURTH
        revision = "one" if case.command in GOES_BACK else "four"
        self.oid = {
            "file": oid_of(self.wanted["data/x.csv"]),
            "member": oid_of(self.wanted["models/b.bin"]),
            "listing": work.oid("models.dvc", revision),
        }[case.kind]
        self.stores = {"cache": Store(str(work.cache)), "store": Store(str(work.store))}
        self.bad_store = self.stores[case.place]
        self.path = blob_path(self.bad_store.root, self.oid)
        self.good = self.path.read_bytes()
        damage(self.bad_store, self.oid, case.how, work.root, case.mode)
        # An unreadable blob has the right bytes: only who may not read it can tell.
        self.bad = None if case.how in ("deleted", "folder") else _bytes(self.path)

    def run(self) -> Result:
        """What the command comes to, in the repository as it is by then."""
        work = self.work
        if self.case.command == "pull":
            for name in FOURTH:
                work.path(name).unlink()
        if self.case.command == "commit":
            for name in FOURTH:
                work.path(name).unlink()
            for name, text in FIRST.items():
                work.write(name, text)
        commands: dict[str, Callable[[], Result]] = {
            "track": work.track,
            "commit": lambda: pre_commit.run(work.project(), work.options()),
            "status": work.status_of,
            "push": work.push,
            "pull": work.pull,
            "restore": lambda: work.restore("data/x.csv", "models", rev="one"),
            "verify": work.verify,
            "verify --deep": lambda: work.verify(deep=True),
            "verify --repair": lambda: work.verify(deep=True, repair=True),
        }
        return commands[self.case.command]()

    # what is there now

    @property
    def is_mended(self) -> bool:
        return self.path.is_file() and _bytes(self.path) == self.good and self._is_open()

    @property
    def is_as_it_was(self) -> bool:
        if self.case.how == "deleted":
            return not self.path.exists()
        if self.case.how == "folder":
            return self.path.is_dir()
        return self.path.is_file() and _bytes(self.path) == self.bad

    def _is_open(self) -> bool:
        return self.path.stat().st_mode & 0o777 == 0o444

    @property
    def aside(self) -> list[Path]:
        """What lies in the quarantine of the place that was damaged."""
        return sorted(Path(self.bad_store.root, ".quarantine").glob("*"))

    def wrong(self, place: str) -> list[str]:
        """The blobs of a place whose bytes are not right."""
        store = self.stores[place]
        found = []
        for oid in store.list_oids():
            path = blob_path(store.root, oid)
            if path.stat().st_mode & 0o444 and oid_of(path.read_bytes()) != oid[:32]:
                found.append(oid)
        return found

    def check(self, result: Result) -> None:
        """Nothing bad installed, spread or deleted; what was found is said."""
        case, work = self.case, self.work
        other = next(place for place in PLACES if place != case.place)
        assert self.wrong(other) == []
        assert [oid for oid in self.wrong(case.place) if oid != self.oid] == []
        for name, data in work.found().items():
            right = {self.wanted.get(name), FOURTH.get(name)}
            assert data.decode() in right, (name, data)
        if case.command not in ("pull", "commit", "restore"):
            assert work.has(FOURTH)
        told = [one for one in result.damaged if (one.oid, one.place) == (self.oid, case.place)]
        notes = " ".join(getattr(result, "notes", ()))
        if self.aside:
            [aside] = self.aside
            assert aside.name.startswith(self.oid) and case.how != "deleted"
            assert aside.is_dir() if case.how == "folder" else _bytes(aside) == self.bad
            if case.command == "commit":
                assert self.oid in notes
            else:
                [one] = told
                assert (one.aside, one.mended) == (str(aside), self.is_mended)
        else:
            assert self.is_as_it_was or case.how == "deleted", "it is gone"
            assert not told
        for error in result.errors:
            assert error.hint and "\n" not in error.message

    def is_found(self, result: Result) -> bool:
        """Whether the result tells of the blob that is damaged."""
        told = {error.oid for error in result.errors} | {one.oid for one in result.damaged}
        return self.oid in told


def _bytes(path: Path) -> bytes:
    mode = path.stat().st_mode & 0o777
    if mode & 0o444:
        return path.read_bytes()
    path.chmod(0o444)  # ours, only closed
    try:
        return path.read_bytes()
    finally:
        path.chmod(mode)
