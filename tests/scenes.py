"""Small repositories in which one command has much to do, and what has to hold whatever befalls it.

For programs of their own, run by test_kill.py and test_disk.py: a command runs in a child that is
forked from an interpreter which has imported everything, so that hundreds of runs are affordable.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import tracer
from mlrepro import cli, gitlock

LARGE = 1 << 20  # up to this size a file is read whole, above it is streamed
_WORDS = {
    "track": ("-j1", "track", "data/x.csv", "data/large.bin", "data/new.csv", "data/folder"),
    "push": ("-j1", "push"),
    "pull": ("-j1", "pull"),
    "restore": ("-j1", "restore", "data/x.csv", "data/large.bin", "data/folder", "--rev", "HEAD~1"),
    "repair": ("-j1", "verify", "--all", "--deep", "--repair"),
    "checkout": ("-j1", "checkout", "first"),
}  # fmt: skip
for _verb in ("track", "push", "pull", "restore", "verify", "checkout", "init", "pre_commit"):
    importlib.import_module(f"mlrepro.commands.{_verb}")

# The names of git's objects, and so which folders it makes for them, are to be the same every time.
_DATES = dict.fromkeys(("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"), "2024-01-02T03:04:05+00:00")

# Git's own, which it makes and clears away by its own rules.
_GITS = re.compile(r"work/\.git/(objects/|logs/|COMMIT_EDITMSG|ORIG_HEAD|gc\.|refs/|AUTO_MERGE)")
_TEMP = re.compile(r"(^|/)\.mlrepro-|/staging/|\.mlrepro/tmp/|\.dvc/tmp/mlrepro/|\.new$")


def oid_of(data: bytes, name: str = "") -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest() + name[30:]


@dataclass(frozen=True)
class State:
    """All that matters in a scene: files of the user's, pointers, settings, git's index, blobs."""

    data: dict[str, bytes]
    written: dict[str, bytes]  # what commands write whole: pointers, ignore files, DVC's settings
    index: str
    tree: str
    blobs: dict[str, set[str]]
    names: set[str]


_SEAL = "work/.git/mlrepro/seal"  # a note that a commit found nothing to do


class Scene:
    """A repository ``work`` and its ``store`` in one folder, ready for one command."""

    def __init__(self, folder: Path, command: str) -> None:
        os.environ.update(_DATES)
        gitlock.PATIENCE = 0.1  # who was killed does not come back
        self.command = command
        self.root = folder / command
        self.work, self.store = self.root / "work", self.root / "store"
        self._template = folder / f"{command}.template"
        self._said = folder / f"{command}.said"
        self.work.mkdir(parents=True)
        (self.root / "tmp").mkdir()  # what is left there counts as well
        _BUILD[command](self)
        subprocess.run(["cp", "-a", self.root, self._template], check=True)
        self.before = self.state()
        ended = self.run(lambda call: None)
        assert ended.exit_code == 0, self.said()
        self.calls = ended.calls
        self.by_others = [call.number for call in ended.calls if call.pid != ended.pid]
        self.after = self.state()

    # what is run

    def run(self, decide: Callable[[tracer.Call], tracer.Decision]) -> tracer.Ended:
        """The command, traced."""
        return tracer.run(self._start, decide, str(self.root))

    def again(self) -> int:
        """The command once more, with nothing in its way; its exit code."""
        child = os.fork()
        if child == 0:
            self._start()
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def killed_after(self, seconds: float) -> bool:
        """The command, with all that it starts killed after so long; False where it ended."""
        child = os.fork()
        if child == 0:
            os.setpgid(0, 0)
            self._start()
        try:
            os.setpgid(child, child)
        except OSError:
            pass  # it has done so itself
        signal.sigtimedwait([signal.SIGCHLD], seconds)
        os.killpg(child, signal.SIGKILL)
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])

    def said(self) -> str:
        """What the last run said."""
        return self._said.read_text(errors="surrogateescape")

    def _start(self) -> None:
        os.chdir(self.work)
        os.environ["TMPDIR"] = str(self.root / "tmp")
        tempfile.tempdir = None
        out = os.open(self._said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        none = os.open(os.devnull, os.O_RDONLY)
        for fd, to in ((none, 0), (out, 1), (out, 2)):
            os.dup2(fd, to)
        if self.command == "commit":
            os.execvp("git", ["git", "commit", "-m", "second"])
        try:
            code = cli.main(list(_WORDS[self.command]))
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)

    # what is looked at

    def fresh(self) -> None:
        """The scene as it was before the command, in its own place."""
        shutil.rmtree(self.root)
        subprocess.run(["cp", "-a", self._template, self.root], check=True)

    def state(self) -> State:
        """All that matters, read from the disk."""
        data, written, names = self._files()
        return State(data, written, self._git("ls-files", "--stage"),
                     self._git("rev-parse", "HEAD^{tree}"),
                     {place.name: {*self._blobs(place)} for place in (self.cache, self.store)},
                     {name for name in names if not _GITS.match(name)})  # fmt: skip

    def _files(self) -> tuple[dict[str, bytes], dict[str, bytes], set[str]]:
        """Files of the user's, what commands write whole, and the names of all there are."""
        data: dict[str, bytes] = {}
        written: dict[str, bytes] = {}
        names = set()
        top = f"{self.root}/"
        for folder, folders, files in os.walk(self.root):
            lead = f"{folder}/"[len(top) :]
            if not folders and not files and lead != "tmp/":
                names.add(lead)
            for name in files:
                place = f"{lead}{name}"
                names.add(place)
                inside = place.removeprefix("work/")
                if name.endswith(".dvc") or name == ".gitignore" or ".dvc/config" in place:
                    written[place] = _read(top + place)
                elif inside != place and not inside.startswith((".git/", ".dvc/")):
                    data[inside] = _read(top + place)
        return data, written, names

    @property
    def cache(self) -> Path:
        return self.work / ".dvc" / "cache"

    def _blobs(self, place: Path) -> dict[str, str]:
        """The oid and the path of each blob that lies there."""
        found, base = {}, f"{place}/files/md5"
        for folder in os.listdir(base) if os.path.isdir(base) else ():
            for name in os.listdir(f"{base}/{folder}"):
                found[folder + name] = f"{base}/{folder}/{name}"
        return found

    def _git(self, *args: str) -> str:
        done = subprocess.run(["git", *args], cwd=self.work, capture_output=True, check=True)
        return os.fsdecode(done.stdout)

    # what has to hold

    def check_meanwhile(self) -> None:
        """At any moment: each file is the old one or the new one, whole; every blob is right."""
        now = self._files()
        for name in {*self.before.data, *now[0]}:
            if _TEMP.search(name):
                continue
            allowed = [self.before.data.get(name), self.after.data.get(name)]
            good = now[0].get(name) in allowed or self._is_gits(name, now[0].get(name), allowed)
            assert good, f"{name} is neither as it was nor as it is to be"
        for name in {*self.before.written, *now[1]}:
            allowed = [self.before.written.get(name), self.after.written.get(name)]
            good = now[1].get(name) in allowed or self._is_gits(name, now[1].get(name), allowed)
            assert good, f"{name} is not whole"
        self.check_blobs()

    def _is_gits(self, name: str, now: bytes | None, allowed: list[bytes | None]) -> bool:
        """Whether git was bringing this file: it takes the old one away, then writes in place."""
        by_git = name.endswith((".dvc", ".gitignore", "README.md"))
        is_part = now is None or any(one and one.startswith(now) for one in allowed)
        return self.command == "checkout" and by_git and is_part

    def check_blobs(self) -> None:
        """Every blob has the bytes of its name, but for those damaged beforehand."""
        for place in (self.cache, self.store):
            for oid, path in self._blobs(place).items():
                data = _read(path)
                right = oid_of(data, oid[2:]) == oid
                assert right or data == DAMAGED, f"{path} is not what its name says"

    def check_done(self, code: int) -> None:
        """After the same command again: all is as if nothing had ever been in its way."""
        found = self.check_result(code)
        wanted, now = ({_plain(name) for name in state.names} for state in (self.after, found))
        stray = {name for name in now - wanted if "/files/md5/" not in name and name != _SEAL}
        assert not stray, f"left behind: {sorted(stray)}"

    def check_result(self, code: int) -> State:
        """The command has done all of its work; returns what there is now."""
        assert code == 0, f"exit {code}: {self.said()}"
        now, wanted = self.state(), self.after
        data = {name: content for name, content in now.data.items() if not _TEMP.search(name)}
        assert data == wanted.data, _differing(data, wanted.data)
        assert now.written == wanted.written, _differing(now.written, wanted.written)
        assert now.index == wanted.index, f"{now.index}\nshould be\n{wanted.index}"
        assert now.tree == wanted.tree, self.said()
        for place, blobs in wanted.blobs.items():
            lacking = blobs - now.blobs[place]
            # What the store has need not be in the cache as well, to go back to it.
            back = self.command in ("pull", "restore", "checkout") and place == "cache"
            assert not lacking or back, f"{place} lacks {lacking}"
        self.check_blobs()
        return now

    def check_recovers(self) -> None:
        """The same command again does all that is left, and leaves nothing behind."""
        code = self.again()
        done = self.is_committed(code)
        locks = self.gits_locks() if code else []
        if locks:
            # Git's own rule: who finds the lock of one that was killed is told so, and removes it.
            assert done or any(lock.name in self.said() for lock in locks), self.said()
            for lock in locks:
                lock.unlink()
            self.check_meanwhile()
            code = self.again()
            done = self.is_committed(code)
        if done:
            self.check_result(0)  # a hook that has nothing to do does not sweep
        else:
            self.check_done(code)

    def is_committed(self, code: int) -> bool:
        """Whether a commit was refused since the one before had been made, and was whole."""
        return self.command == "commit" and code == 1 and "nothing to commit" in self.said()

    def gits_locks(self) -> list[Path]:
        """Locks that git left when it was killed; it names them, and asks to remove them."""
        found = self.work.glob(".git/**/*.lock")
        return [path for path in found if path.parent.name != "mlrepro"]


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _differing(now: dict[str, bytes], wanted: dict[str, bytes]) -> str:
    names = sorted(name for name in {*now, *wanted} if now.get(name) != wanted.get(name))
    return f"not as it should be: {names}"


def _plain(name: str) -> str:
    """A file's name without what differs from run to run."""
    return re.sub(r"(\.quarantine/[0-9a-f]{32}(\.dir)?)\.[-\d]+$", r"\1", name)


# the scenes

DAMAGED = b"damaged beforehand\n"
X1, X2 = b"id,name\n1,one\n", b"id,name\n1,one\n2,two\n"
L1, L2 = b"\x00\x01" * (LARGE // 2) + b"first", b"\x02\x03" * (LARGE // 2) + b"second"


def _put(scene: Scene, files: dict[str, bytes | None]) -> None:
    for name, data in files.items():
        path = scene.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if data is None:
            path.unlink()
        else:
            path.write_bytes(data)


FIRST: dict[str, bytes | None] = {
    "data/x.csv": X1,
    "data/large.bin": L1,
    "data/folder/a.txt": b"alpha\n",
    "data/folder/b.txt": b"beta\n",
    "data/folder/sub/c.txt": b"gamma\n",
}
SECOND: dict[str, bytes | None] = {
    "data/x.csv": X2,
    "data/large.bin": L2,
    "data/folder/a.txt": b"alpha, changed\n",
    "data/folder/b.txt": None,
    "data/folder/d.txt": b"delta\n",
}
_TRACKED = ("data/x.csv", "data/large.bin", "data/folder")


def _call(scene: Scene, *words: str) -> None:
    child = os.fork()
    if child == 0:
        os.chdir(scene.work)
        out = os.open(scene._said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(out, 1)
        os.dup2(out, 2)
        code = cli.main(list(words))
        sys.stdout.flush()
        os._exit(code)
    status = os.waitpid(child, 0)[1]
    assert status == 0, f"{words}: {scene.said()}"


def _shell(scene: Scene, *words: Sequence[str]) -> None:
    for line in words:
        subprocess.run(["git", *line], cwd=scene.work, check=True, capture_output=True)


def _committed(scene: Scene) -> None:
    """The first version, committed; with our hooks."""
    _shell(scene, ["init", "--quiet", "--template="])
    _call(scene, "init", "--hooks", "git", "--store", "../store")
    _put(scene, FIRST)
    (scene.work / "README.md").write_bytes(b"first\n")
    _call(scene, "track", *_TRACKED)
    _shell(scene, ["add", "--all"], ["commit", "--quiet", "-m", "first", "--no-verify"])


def _edited(scene: Scene) -> None:
    _committed(scene)
    _put(scene, SECOND)


def _track(scene: Scene) -> None:
    _edited(scene)
    _put(scene, {"data/new.csv": b"id\n1\n"})


def _commit(scene: Scene) -> None:
    _edited(scene)
    (scene.work / "README.md").write_bytes(b"second\n")
    _shell(scene, ["add", "README.md"])


def _twice(scene: Scene) -> None:
    """Two versions, both committed and stored; the second is in the worktree."""
    _edited(scene)
    _call(scene, "track")
    _shell(scene, ["commit", "--quiet", "-am", "second", "--no-verify"])


def _empty(place: Path) -> None:
    for path in place.glob("files/md5/??/*"):
        path.unlink()


def _push(scene: Scene) -> None:
    _twice(scene)
    _empty(scene.store)


def _pull(scene: Scene) -> None:
    """The first version in the worktree, pointers of the second, a cache that has nothing."""
    _twice(scene)
    _call(scene, "restore", *_TRACKED, "--rev", "HEAD~1")
    _shell(scene, ["-c", "core.hooksPath=/dev/null", "checkout", "--force", "HEAD", "--", "."])
    _empty(scene.cache)


def _restore(scene: Scene) -> None:
    _twice(scene)


def _checkout(scene: Scene) -> None:
    """Back from the second version, which has one file more, to the first; code changes too."""
    _track(scene)
    (scene.work / "README.md").write_bytes(b"second\n")
    _call(scene, "track", *_TRACKED, "data/new.csv")
    _shell(scene, ["tag", "first"], ["commit", "--quiet", "-am", "second", "--no-verify"])


def _repair(scene: Scene) -> None:
    """One blob missing in the store, two damaged there; good copies are in cache and worktree."""
    _twice(scene)
    for data, how in ((X1, None), (X2, DAMAGED), (L1, DAMAGED)):
        for place in (scene.store, scene.cache) if data == X2 else (scene.store,):
            oid = oid_of(data)
            path = place / "files/md5" / oid[:2] / oid[2:]
            path.unlink()
            if how is not None:
                path.write_bytes(how)
                path.chmod(0o444)


_BUILD = {
    "track": _track,
    "commit": _commit,
    "push": _push,
    "pull": _pull,
    "restore": _restore,
    "checkout": _checkout,
    "repair": _repair,
}
