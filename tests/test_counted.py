"""What each path asks of the system, counted: programs, files opened, bytes, flushes, looks.

No time is asserted anywhere. What is counted is the same on every machine and at every load, so the
bounds in counted.txt are what was measured, with little to spare. `python tests/test_counted.py`
writes them anew when a path has become cheaper.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import counting
from building import Repo
from counting import Counts

pytestmark = pytest.mark.skipif(bool(counting.why_not()), reason=counting.why_not())

TABLE = Path(__file__).with_name("counted.txt")
SIZE = 1000  # bytes of each file
FEW = 20  # files; and twice as many, so that what each of them costs is known
LARGE = 8 << 20
# What is bounded: of anything in this list that a path has no line for, it must do nothing.
COUNTED = (
    "programs", "modules", "fsync", "syncfs", "names", "looks", "opened data", "opened pointer",
    "opened blobs", "opened config", "opened folder", "opened git", "opened staged",
    "created data", "created blobs", "created staged", "created git", "read data", "read blobs",
    "read git", "written blobs", "written staged",
)  # fmt: skip
# Here the fixed part says nothing: it has what Python looks at to find its modules, or the length
# of folders' names in what is read. And what each line may be more than what was measured.
EACH_ONLY = ("looks", "read git")
SPARE = {
    "modules": 2, "opened blobs": 1, "opened config": 1, "opened folder": 1, "opened git": 2,
    "read blobs": 64, "read git": 64, "written blobs": 64, "written staged": 64,
}  # fmt: skip
LINE = re.compile(r"    (\w[\w ]*?)  +(?:(\d+)(?: \+ |$))?(?:(\d+) a file)?$")
Bounds = dict[str, dict[str, tuple[int | None, int]]]
Found = dict[str, Counts]


class Place:
    """Where repositories are made, and what is run in them is counted."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self._made = 0

    def repo(self, count: int, size: int = SIZE) -> Repo:
        """A repository that is set up, with files that are not tracked yet."""
        self._made += 1
        repo = Repo.make(self.top / f"repo{self._made}")
        done = repo.mlrepro("-q", "init", "--hooks", "git")
        assert done.exit_code == 0, done.stderr
        for at in range(count):
            repo.write(name(at), (b"%d " % at * size)[:size])
        self.stage(repo)
        repo.git("add", "--", ".dvc", ".dvcignore", ".gitignore")
        repo.git("commit", "--quiet", "--no-verify", "--message", "set up")
        return repo

    def stage(self, repo: Repo) -> None:
        """A change of code, staged."""
        self._made += 1
        repo.write("README", f"{self._made}\n")
        repo.git("add", "README")

    def commit(self, repo: Repo) -> Counts:
        """Count what the commit of that costs."""
        self.stage(repo)
        return self.count(repo, "git", "commit", "--quiet", "--message", "work")

    def count(self, repo: Repo, *argv: str) -> Counts:
        """Run a command at the top of a repository, and count."""
        self._made += 1
        return counting.count(argv, repo.root, self.top, self.top / f"record{self._made}")

    def track(self, repo: Repo, *paths: str) -> Counts:
        return self.count(repo, sys.executable, "-m", "mlrepro", "-q", "track", *paths)

    def status(self, repo: Repo) -> Counts:
        return self.count(repo, sys.executable, "-m", "mlrepro", "-q", "status")

    def pull(self, repo: Repo) -> Counts:
        """Count what brings the data into a fresh clone."""
        clone = repo.clone(self.top / f"{repo.root.name}-clone")
        return self.count(clone, sys.executable, "-m", "mlrepro", "-q", "pull")


def name(at: int) -> str:
    return f"data/set/file{at:04}"


def life(place: Place, count: int, paths: list[str], size: int = SIZE) -> Found:
    """Each path in a repository's life, counted."""
    repo, found = place.repo(count, size), {}
    found["track"] = place.track(repo, *paths)
    found["track, the same again"] = place.track(repo, *paths)
    found["commit of what is new"] = place.commit(repo)
    # What is in order is sealed once, late enough to be vouched for, and then known by the seal.
    for when in (", for the first time", ""):
        time.sleep(0.05)
        found["commit, nothing changed" + when] = place.commit(repo)
    for when in (", for the first time", ""):
        found["status" + when] = place.status(repo)
        time.sleep(0.05)
    found["pull"] = place.pull(repo)
    repo.write(name(0), b"x" * size)
    found["commit, one file edited"] = place.commit(repo)
    repo.write("data/more", b"m" * SIZE)
    found["track, one file more"] = place.track(repo, "data/more")
    return found


# Kind of data → its life, with so many files of it.
LIVES: dict[str, Callable[[Place, int], Found]] = {
    "files with a pointer each": lambda place, count: life(
        place, count, [*map(name, range(count))]
    ),
    "a folder": lambda place, count: life(place, count, ["data/set"]),
}


def large(place: Place) -> Found:
    """One file of 8 MiB."""
    found = life(place, 1, [name(0)], LARGE)
    del found["track, one file more"], found["commit of what is new"]
    return found


def read(table: Path) -> Bounds:
    """The bounds, by path and by what is counted: the fixed part, and that for each file."""
    bounds: Bounds = {}
    path = ""
    for line in table.read_text("utf-8").splitlines():
        found = LINE.match(line)
        if found:
            fixed = int(found[2]) if found[2] else None
            bounds[path][found[1]] = (fixed, int(found[3] or 0))
        elif line and not line.startswith("#"):
            path = line.rstrip(":")
            bounds[path] = {}
    return bounds


def exceeded(path: str, bounds: Bounds, few: Counts, many: Counts | None = None) -> list[str]:
    """A line for each bound that is exceeded; ``many``: with twice the files."""
    lines = []
    for what in COUNTED:
        fixed, each = bounds.get(path, {}).get(what, (0, 0))
        if many is not None and many[what] - few[what] > each * FEW + SPARE.get(what, 0):
            grown = (many[what] - few[what]) / FEW
            lines.append(f"{path}: {what}: {grown:g} for each file, at most {each}")
        for counts, count in ((few, FEW), (many, 2 * FEW)):
            if counts is None or fixed is None or what in EACH_ONLY:
                continue
            limit = fixed + each * (count if many is not None else 0)
            if counts[what] > limit:
                lines.append(f"{path}: {what}: {counts[what]}, at most {limit}")
    return lines


@pytest.mark.parametrize(
    "kind", ["files with a pointer each", pytest.param("a folder", marks=pytest.mark.slow)]
)
def test_what_files_cost(kind: str, tmp_path: Path) -> None:
    """A fixed number, and a fixed number for each file: of programs none, of flushes few."""
    place, bounds = Place(tmp_path), read(TABLE)
    for _ in range(2):  # what was only late, since others had the machine, is not so twice
        few, many = (LIVES[kind](place, count) for count in (FEW, 2 * FEW))
        lines = []
        for path, counts in few.items():
            lines += exceeded(f"{kind}: {path}", bounds, counts, many[path])
        if not lines:
            break
    assert not lines, "\n".join(lines)
    for found, count in ((few, FEW), (many, 2 * FEW)):
        # Once read, and written once for the cache and the store together.
        assert found["track"]["read data"] == count * SIZE
        assert found["pull"]["written staged"] >= count * SIZE


def test_what_a_large_file_costs(tmp_path: Path) -> None:
    bounds, found = read(TABLE), large(Place(tmp_path))
    lines = []
    for path, counts in found.items():
        lines += exceeded(f"a large file: {path}", bounds, counts)
    assert not lines, "\n".join(lines)
    assert found["track"]["read data"] == LARGE


def test_one_among_300_pointers(tmp_path: Path) -> None:
    """Where one is edited, or one more is tracked, the others are not gone through."""
    bounds, place = read(TABLE), Place(tmp_path)
    repo = place.repo(300)
    done = repo.mlrepro("-q", "track", *map(name, range(300)))
    assert done.exit_code == 0, done.stderr
    repo.commit()
    place.commit(repo)
    repo.write(name(0), "edited")
    edited = place.commit(repo)
    repo.write("data/more", "more")
    more = place.track(repo, "data/more")
    for path, counts in (("commit, one file edited", edited), ("track, one file more", more)):
        _, each = bounds[f"files with a pointer each: {path}"].get("opened pointer", (0, 0))
        others = [one for one in counts.opened if re.search(r"/file0*[1-9]\d*\.dvc$", one)]
        assert len(others) <= each * 299, f"{path}: opened {len(others)} of the 299 others"
        data = [one for one in counts.opened if re.search(r"/file0*[1-9]\d*$", one)]
        assert data == [], f"{path}: opened data that was not touched"


@pytest.mark.slow
def test_history_costs_nothing(tmp_path: Path) -> None:
    """After 203 commits of the pointer each path does just what it does after 3."""
    found = []
    for length in (3, 203):
        place = Place(tmp_path / f"after-{length:03}")  # as long a path, or more bytes are read
        place.top.mkdir()
        repo = place.repo(1)
        done = repo.mlrepro("-q", "track", name(0))
        assert done.exit_code == 0, done.stderr
        repo.commit()
        _commit_often(repo, f"{name(0)}.dvc", length)
        place.commit(repo)
        quiet, status = place.commit(repo), place.status(repo)
        repo.write(name(0), b"x" * SIZE)
        edited = place.commit(repo)
        found.append([
            {what: counts[what] for what in COUNTED if what not in EACH_ONLY}
            for counts in (quiet, status, edited)
        ])  # fmt: skip
    assert found[0] == found[1]


def _commit_often(repo: Repo, pointer: str, times: int) -> None:
    """So many commits that change a pointer, and in the end leave it as it was."""
    right = repo.read(pointer)
    lines = [b"reset refs/heads/main\nfrom refs/heads/main^0\n\n"]
    for number in range(times):
        text = right if number == times - 1 else b"# %d\n%s" % (number, right)
        lines.append(
            b"commit refs/heads/main\ncommitter A <a@example.org> %d +0000\ndata 2\nx\n"
            b"M 100644 inline %s\ndata %d\n%s\n"
            % (1_700_000_000 + number, pointer.encode(), len(text), text)
        )
    subprocess.run(
        ["git", "fast-import", "--quiet", "--force"],
        cwd=repo.root, input=b"".join(lines), check=True, capture_output=True,
    )  # fmt: skip


def measured(top: Path) -> str:
    """The table, as it is measured."""
    place = Place(top)
    lines = [
        "# What each path may ask of the system: see test_counted.py, which also writes this file.",
        '# "3 + 2 a file": at most 3, and 2 more for each file of the data. No line: nothing.',
    ]
    for kind, lived in LIVES.items():
        few, many = lived(place, FEW), lived(place, 2 * FEW)
        for path, counts in few.items():
            lines += ["", f"{kind}: {path}:"]
            for what in COUNTED:
                each = -((counts[what] - many[path][what]) // FEW)
                fixed = max(counts[what] - each * FEW, many[path][what] - each * 2 * FEW)
                lines += _line(what, fixed, max(0, each))
    for path, counts in large(place).items():
        lines += ["", f"a large file: {path}:"]
        for what in COUNTED:
            lines += _line(what, counts[what], 0)
    return "\n".join([*lines, ""])


def _line(what: str, fixed: int, each: int) -> list[str]:
    """One line of the table; none where nothing is done."""
    parts = []
    if fixed > 0 and what not in EACH_ONLY:
        parts.append(f"{fixed + SPARE.get(what, 0)}")
    if each:
        parts.append(f"{each + (each // 30 if what == 'read git' else 0)} a file")
    return [f"    {what:<16}{' + '.join(parts)}"] if parts else []


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder, "home")
        home.mkdir()
        config = "[user]\nname = A\nemail = a@example.org\n[init]\ndefaultBranch = main\n"
        (home / "gitconfig").write_text(f"{config}[maintenance]\nauto = false\n")
        os.environ |= {
            "HOME": str(home), "XDG_CONFIG_HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(home / "gitconfig"), "DVC_NO_ANALYTICS": "1",
        }  # fmt: skip
        TABLE.write_text(measured(Path(folder)), "utf-8")
