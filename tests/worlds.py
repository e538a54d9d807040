"""Several clones, one store, and beside them a model of what the data of each commit are."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import building
import modelled
from mlrepro.result import Result
from modelled import Content, Snapshot, Tie, blobs_of, oid_of
from past import Past

HERE = Path(__file__).parent
FOLDER = "models"
# What may be said while a blob is damaged: nothing else, and nothing of it when all is whole.
LOSSES = {"blob-missing", "blob-corrupt", "listing-unreadable"}


class World:
    """A bare repository, clones of it, the store they share, and every content ever seen."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = root / "store"
        self.origin = root / "origin.git"
        self.contents: dict[str, Content] = {}  # by oid
        self.blobs: dict[str, bytes] = {}  # by oid, listings too
        self.snaps: dict[str, Snapshot] = {}  # by commit
        self.named: dict[str, str] = {}  # pointer's git object → oid
        self.is_followed = True  # whether the model has worked out every merge that git made
        self.suspect = False  # whether blobs have been damaged since all was last known whole
        self.clones: list[Clone] = []
        self.counter = itertools.count()
        root.mkdir()
        building.git(root, "init", "--quiet", "--bare", str(self.origin))
        first = Clone(self, root / "ada")
        first.git("init", "--quiet")
        first.git("remote", "add", "origin", str(self.origin))
        done = first.init(store=str(self.store), hooks="git")
        assert not done.errors
        self.clones.append(first)
        first.put("data/x.csv", b"x\n")
        first.put("data/y.csv", b"y\n")
        first.put(FOLDER, modelled.folder({"a.bin": b"a", "b.bin": b"b", "deep/c.bin": b"c"}))
        done_ = first.track("data/x.csv", "data/y.csv", FOLDER)
        assert not done_.errors
        first.git("add", "--all")
        first.git("commit", "--quiet", "--message", "c0")
        first.is_committed(first.head, dict(first.seen))
        first.joining = dict(first.seen)
        first.observe()
        first.git("push", "--quiet", "--set-upstream", "origin", "main")
        self.clone("bob")

    def clone(self, name: str) -> Clone:
        """Another clone, set up and with its data."""
        building.git(self.root, "clone", "--quiet", str(self.origin), str(self.root / name))
        clone = Clone(self, self.root / name)
        assert not clone.init(hooks="git").errors
        done = clone.pull()
        clone.accept(done)
        self.clones.append(clone)
        clone.observe(clone.followed(self.snaps[clone.head]))
        return clone

    def worktree(self, clone: Clone, name: str) -> None:
        """A linked worktree of a clone, on a branch of its own, with its data."""
        clone.git("worktree", "add", "--quiet", "-b", f"of-{name}", str(self.root / name))
        linked = Clone(self, self.root / name)
        self.clones.append(linked)
        linked.observe(linked.followed(self.snaps[linked.head]))

    def know(self, content: Content) -> None:
        """Take note of a content that may come to be named."""
        if self.contents.setdefault(oid_of(content), content) is content:
            self.blobs.update(blobs_of(content))

    def merge(self, base: Snapshot, ours: Snapshot, theirs: Snapshot) -> tuple[Snapshot, set[str]]:
        """The merge of all paths, and those that take a person."""
        merged, conflicts = modelled.merge_all(base, ours, theirs)
        for content in merged.values():
            self.know(content)
        return merged, conflicts

    def needed(self) -> dict[str, bytes]:
        """Every blob that a commit of any clone needs, with its bytes."""
        found: dict[str, bytes] = {}
        for commit in {commit for clone in self.clones for commit in clone.commits}:
            for content in self.snaps[commit].values():
                found.update(blobs_of(content))
        return found

    def lacking(self, snapshot: Snapshot | None = None) -> dict[str, bytes]:
        """The needed blobs (or those of a snapshot) that the store does not have as they are."""
        needed = self.needed()
        if snapshot is not None:
            needed = {o: d for one in snapshot.values() for o, d in blobs_of(one).items()}
        return {
            oid: data
            for oid, data in needed.items()
            if not is_blob(building.blob_path(self.store, oid), data)
        }

    def look(self) -> bool:
        """Whether the store has all that is needed; looked at where blobs were damaged."""
        if self.suspect and not self.lacking():
            self.suspect = False
        return not self.suspect

    def copies(self, oid: str, data: bytes) -> list[Path]:
        """Where there are good copies of a blob: store, caches, trash."""
        places = [self.store, *(clone.cache for clone in self.clones)]
        places += [part for place in places for part in place.glob(".mlrepro/trash/*")]
        found = (building.blob_path(place, oid) for place in places)
        return [path for path in found if is_blob(path, data)]

    def repair(self) -> None:
        """Mend the store from every clone; then it has all that is needed."""
        for clone in self.clones:
            clone.verify(all_commits=True, deep=True, repair=True)
        lacking = self.lacking()
        assert not lacking, f"not repaired: {lacking}"
        self.suspect = False

    def prove(self) -> int:
        """Check every commit of every clone out afresh, and compare; returns how many."""
        if self.suspect:
            self.repair()
        for clone in self.clones:
            proof = clone.verify(all_commits=True, deep=True)
            assert not proof.errors, [error.message for error in proof.errors]
            assert proof.restorable == proof.commits
        fresh = Clone(self, self.root / f"fresh-{next(self.counter)}")
        building.git(self.root, "clone", "--quiet", str(self.origin), str(fresh.root))
        commits: dict[str, None] = {}
        for clone in self.clones:
            more = [commit for commit in clone.commits if commit not in commits]
            commits.update(dict.fromkeys(more))
            clone.git("config", "uploadpack.allowAnySHA1InWant", "true")
            fresh.git("fetch", "--quiet", str(clone.root), *more)
        assert not fresh.init(hooks="none").errors
        for commit in commits:
            done = fresh.checkout(commit)
            assert not done.errors, [error.message for error in done.errors]
            self.compare(f"commit {commit}", fresh.data(), self.snaps[commit])
        return len(commits)

    @staticmethod
    def compare(what: str, found: Snapshot, wanted: Snapshot) -> None:
        for path in sorted({*found, *wanted}):
            assert found.get(path) == wanted.get(path), (
                f"{what}: {path} is {found.get(path)!r}, should be {wanted.get(path)!r}"
            )


def is_blob(path: Path, data: bytes) -> bool:
    return path.is_file() and path.read_bytes() == data


class Clone(Past):
    """A clone, and what the model knows of it.

    ``seen``: its data as they were last; ``ties``: how each path stands to its pointer.
    """

    def __init__(self, world: World, root: Path) -> None:
        root.mkdir(exist_ok=True)
        super().__init__(root)
        self.world = world
        self.ties: dict[str, Tie] = {}
        self.seen: Snapshot = {}
        self.commits: list[str] = []
        self.joining: Snapshot = {}
        self.loose: set[str] = set()  # untracked or moved at some time: its data may stay, or come

    def tie(self, path: str) -> Tie:
        return self.ties.setdefault(path, Tie())

    # What is there

    def data(self) -> Snapshot:
        """The data that lies in the worktree."""
        found: dict[str, bytes] = {
            name: data
            for name, data in self.found().items()
            if "/" in name  # models.dvc lies beside the folder
        }
        inside = {n[len(FOLDER) + 1 :]: d for n, d in found.items() if n.startswith(FOLDER + "/")}
        files: Snapshot = {
            name: modelled.like(data, self.isexec(name))
            for name, data in found.items()
            if not name.startswith(FOLDER + "/")
        }
        if (self.root / FOLDER).is_dir():
            files[FOLDER] = modelled.folder(inside)
        return files

    def isexec(self, path: str) -> bool:
        """Whether a file is there that may be executed."""
        return self.path(path).is_file() and bool(self.path(path).stat().st_mode & 0o111)

    def pointers(self, revision: str = "") -> Snapshot:
        """What the pointers of a commit say; of the index where none is named."""
        if revision:
            listed = self.git("ls-tree", "-r", "-z", revision).stdout
        else:
            listed = self.git("ls-files", "--stage", "-z").stdout
        rows = [line.split("\t") for line in listed.split("\0") if line.endswith(".dvc")]
        assert revision or all(row[0].endswith(" 0") for row in rows), f"unmerged: {rows}"
        at = 2 if revision else 1
        named = {row[1].removesuffix(".dvc"): row[0].split()[at] for row in rows}
        return {path: self._content(path, blob) for path, blob in named.items()}

    def _content(self, path: str, blob: str) -> Content:
        if blob not in self.world.named:
            text = self.git("cat-file", "blob", blob).stdout
            [oid] = [line[7:] for line in text.splitlines() if line.startswith("- md5: ")]
            is_program = "\n  isexec: true\n" in text
            self.world.named[blob] = oid + (modelled.ISEXEC if is_program else "")
        oid = self.world.named[blob]
        known = oid in self.world.contents
        if not known and not self.world.is_followed:
            known = self._is_united(oid)
        assert known, f"{path}.dvc names {oid}, which nobody wrote"
        return self.world.contents[oid]

    def _is_united(self, oid: str) -> bool:
        """Whether it is a folder of known files; whoever asks has to judge these files."""
        places = [building.blob_path(place, oid) for place in (self.world.store, self.cache)]
        for path in places if oid.endswith(".dir") else []:
            if path.is_file() and modelled.md5(path.read_bytes()) == oid[:-4]:
                rows = json.loads(path.read_bytes())
                if all(row["md5"] in self.world.blobs for row in rows):
                    united = {row["relpath"]: self.world.blobs[row["md5"]] for row in rows}
                    self.world.know(modelled.folder(united))
                    return oid in self.world.contents
        return False

    def pointer_files(self) -> Snapshot:
        """What the pointers in the worktree say."""
        found: Snapshot = {}
        for file in [*self.root.glob("*.dvc"), *self.root.glob("data/*.dvc")]:
            if file.is_file():
                path = os.path.relpath(file, self.root)
                blob = self.git("hash-object", "--no-filters", path).stdout.strip()
                if blob not in self.world.named:
                    self.git("hash-object", "-w", "--no-filters", path)
                found[path.removesuffix(".dvc")] = self._content(path, blob)
        return found

    def is_saved(self, data: bytes) -> bool:
        """Whether cache or store has a file's content under its name."""
        oid = modelled.md5(data)
        places = (self.cache, self.world.store)
        return any(building.blob_path(place, oid).exists() for place in places)

    def was_named(self, path: str, content: Content) -> bool:
        """Whether the pointer of any commit that a branch or tag has names this content."""
        commits = self.git("rev-list", "--all").stdout.split()
        then = [self.world.snaps[commit].get(path) for commit in commits]
        return any(modelled.is_alike(one, content) for one in then)

    @property
    def git_dir(self) -> Path:
        """Where git keeps what is this worktree's own."""
        return Path(self.git("rev-parse", "--absolute-git-dir").stdout.strip())

    def subjects(self, revisions: str) -> dict[str, list[str]]:
        """The commits by their subjects; merges are none."""
        listed = self.git("log", "--no-merges", "--format=%H %s", revisions).stdout
        found: dict[str, list[str]] = {}
        for line in listed.splitlines():
            commit, subject = line.split(" ", 1)  # that of a stash has several words
            found.setdefault(subject, []).append(commit)
        return found

    def parents(self, commit: str) -> list[str]:
        return self.git("log", "-1", "--format=%P", commit).stdout.split()

    # What a person does

    def put(self, path: str, content: Content | None) -> None:
        """Write data as a person would, and note what it is."""
        if isinstance(content, tuple):
            before = modelled.members(self.seen.get(path))
            for name in before.keys() - dict(content).keys():
                self.path(f"{path}/{name}").unlink()
            for name, data in content:
                if before.get(name) != data:
                    self.write(f"{path}/{name}", data)
        elif content is None:
            self.path(path).unlink()
        else:
            content = modelled.like(content, self.isexec(path))
            self.write(path, content)
        if content is None:
            self.seen.pop(path)
        else:
            self.world.know(content)
            self.seen[path] = content

    # What must hold

    def accept(self, result: Result, *codes: str) -> None:
        """Only these errors may have come up, and what a damaged blob brings about."""
        allowed = {*codes, *(LOSSES if self.world.suspect else ())}
        wrong = [f"{e.code}: {e.message}" for e in result.errors if e.code not in allowed]
        assert not wrong, wrong

    def followed(self, named: Snapshot, before: Snapshot | None = None) -> Snapshot:
        """The data once they follow these pointers.

        ``before``: those of the commit that was left, where that matters: what is not named any
        more goes away with its pointer, and data that were taken away stay away.
        """
        after = dict(self.seen)
        self.joining = {}
        for path, content in named.items():
            data = self.seen.get(path)
            stays = before is not None and before.get(path) == content
            if stays and (data is None or modelled.is_alike(self.tie(path).base, content)):
                continue
            after[path], kept = modelled.brought(self.tie(path), data, content, self.is_saved)
            if not kept:
                self.joining[path] = content
        for path in (before or {}).keys() - named.keys():
            if path in after and not self.tie(path).is_edited(after[path]):
                del after[path]
        return after

    def observe(self, wanted: Snapshot | None = None) -> None:
        """Compare with what should be there, and find the commits that came into being.

        While blobs are damaged, data that is not there may stay as it was; edits stay always.
        """
        wanted = dict(self.seen if wanted is None else wanted)
        found = self.data()
        stay = [path for path in self.loose & found.keys() if path not in wanted]
        may_be = (self.seen, self.pointer_files() if stay else {})
        wanted |= {p: found[p] for p in stay if found[p] in [one.get(p) for one in may_be]}
        if self.world.look():
            self.world.compare(f"worktree of {self.root.name}", found, wanted)
        for path in {*found, *wanted, *self.seen}:
            three = self.seen.get(path), wanted.get(path), found.get(path)
            assert _may_be(*three), f"{path}: was {three[0]!r}, or {three[1]!r}; is {three[2]!r}"
        for content in found.values():
            self.world.know(content)
        gone = self.seen.keys() - found.keys()
        for path in gone - self.joining.keys():
            self.ties.pop(path, None)
        is_exact = found == wanted
        self.seen = found
        for path, content in self.joining.items():
            if modelled.is_alike(found.get(path), content):
                self.tie(path).join(content, found[path])
        self.joining = {}
        self.commits = self.git("rev-list", "--all", "--reflog", "HEAD").stdout.split()
        strange = [commit for commit in self.commits if commit not in self.world.snaps]
        assert not strange, f"commits nobody made: {strange}"
        if not is_exact:
            self.recover()

    def recover(self) -> None:
        """Mend the store, and bring what could not be brought."""
        self.world.repair()
        self.accept(self.pull(), "unsaved-change")
        self.observe(self.followed(self.pointer_files()))

    def is_committed(self, commit: str, wanted: Snapshot) -> None:
        """A commit came into being: it has to name just this, and that has to be stored."""
        self.world.compare(f"commit {commit[:10]}", self.pointers(commit), wanted)
        self.world.snaps[commit] = wanted
        if not self.world.suspect:
            lacking = self.world.lacking(wanted)
            assert not lacking, f"commit {commit[:10]} needs what is not stored: {lacking}"

    # How it is interrupted

    def survived(self, target: Snapshot) -> None:
        """After a kill: data are as they were, on their way to ``target``, or moved out of it.

        An edit that nobody saved is there, whatever happened.
        """
        found = self.data()
        for path in {*found, *self.seen}:
            was, now, base = self.seen.get(path), found.get(path), self.tie(path).base
            if isinstance(was, bytes) and not modelled.is_alike(was, base):
                assert now == was, f"{path} was edited: {was!r}; after the kill it is {now!r}"
            elif isinstance(was, tuple):
                edits = was if base is None else set(was) - set(modelled.members(base).items())
                lost = set(edits) - set(modelled.members(now).items())
                assert not lost, f"{path} lost {lost} to a kill"
            else:
                may_be = (was, target.get(path), None)
                assert any(modelled.is_alike(now, one) for one in may_be), f"{path} is {now!r}"
                stays = now is None or not self.tie(path).is_bit_edited(was)
                assert stays or now == modelled.with_bit(now, was), f"{path} lost its bit to a kill"
        self.seen = found

    def killed(self, call: int, *arguments: str) -> bool:
        """Run a command that is killed before its ``call``-th system call; whether it was."""
        program = [sys.executable, str(HERE / "killed.py"), str(call), *arguments]
        done = subprocess.run(program, cwd=self.root, capture_output=True, text=True, check=False)
        assert done.returncode in (0, 1, -signal.SIGKILL), done.stderr
        return done.returncode < 0

    def killed_git(self, seconds: float, *arguments: str) -> bool:
        """Run git, and kill it and its hooks after so many seconds; whether it was at work."""
        child = subprocess.Popen(
            ["git", *arguments], cwd=self.root, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        time.sleep(seconds)
        at_work = child.poll() is None
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            at_work = False
        child.communicate()  # until the last of them is gone
        for lock in self._git_locks():  # as git says what is to be done then
            lock.unlink(missing_ok=True)
        return at_work

    def _git_locks(self) -> list[Path]:
        """Git's own locks: of this worktree, and of the branches, which all worktrees share."""
        told = self.git_dir / "commondir"
        refs = self.git_dir / (told.read_text().strip() if told.exists() else "") / "refs"
        places = {self.git_dir, refs.parent}
        return [*refs.glob("**/*.lock"), *(lock for at in places for lock in at.glob("*.lock"))]


def _may_be(was: Content | None, wanted: Content | None, found: Content | None) -> bool:
    """Whether data are as they were or as they should be; of a folder, each file of it."""
    if found in (was, wanted):
        return True
    if not isinstance(found, tuple):
        return False
    mine, yours, now = (modelled.members(one) for one in (was, wanted, found))
    return all(now.get(n) in (mine.get(n), yours.get(n)) for n in {*mine, *yours, *now})
