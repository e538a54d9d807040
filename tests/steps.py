"""A person's steps in one clone: edits, commits, data brought back; each knows what must be."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import modelled
from mlrepro.errors import Refused
from modelled import BOTH, REFRESH, Snapshot
from worlds import FOLDER, Clone, World

FILES = ["data/x.csv", "data/y.csv", FOLDER, "data/n.csv", "data/o.csv", FOLDER]


class Steps:
    """A step returns False where there was nothing to do."""

    root: Path
    world: World
    late = 0  # kills that came after the end

    def who(self, number: int) -> Clone:
        return self.world.clones[number % len(self.world.clones)]

    def edit(self, who: int, which: int, how: str, n: int) -> bool | None:
        clone, path = self.who(who), FILES[which % len(FILES)]
        token = f"{clone.root.name} {next(self.world.counter)}\n".encode()
        now = clone.seen.get(path)
        if path == FOLDER:
            return self._edit_folder(clone, how, n, token)
        if how == "gone":
            if now is None:
                return False
            clone.put(path, None)
        elif how == "old":
            clone.put(path, [b"x\n", b"y\n", b"old\n"][n % 3])
        elif how == "sly" and isinstance(now, bytes):
            about = clone.path(path).stat()
            clone.put(path, bytes([now[0] ^ 1]) + now[1:])
            os.utime(clone.path(path), ns=(about.st_atime_ns, about.st_mtime_ns))
        else:
            clone.put(path, token)
        return None

    @staticmethod
    def _edit_folder(clone: Clone, how: str, n: int, token: bytes) -> bool | None:
        inside = modelled.members(clone.seen.get(FOLDER))
        name = ["a.bin", "b.bin", "deep/c.bin", f"d{n}.bin"][n % 4]
        if how == "gone":
            if name not in inside or len(inside) == 1:
                return False
            del inside[name]
        else:
            inside[name] = b"old" if how == "old" else token
        clone.put(FOLDER, modelled.folder(inside))
        return None

    def track(self, who: int, which: int) -> bool | None:
        clone = self.who(who)
        path = FILES[which] if which < len(FILES) else ""
        if path and path not in clone.seen:
            return False
        return self._track(clone, path)

    def _track(self, clone: Clone, path: str) -> None:
        named, index = clone.pointer_files(), clone.pointers()
        chosen = [path] if path else [p for p in named if p in clone.seen]
        clone.accept(clone.track(path) if path else clone.track())
        for path in chosen:
            data, tie = clone.seen[path], clone.tie(path)
            if named.get(path) != data or not modelled.is_alike(data, tie.base):
                tie.wait(data, data)
            tie.meet(data, data)
        wanted = {**index, **{path: clone.seen[path] for path in chosen}}
        self.world.compare("index", clone.pointers(), wanted)
        clone.observe()

    def pull(self, who: int, force: bool) -> None:
        self._pull(self.who(who), force)

    def _pull(self, clone: Clone, force: bool) -> None:
        before, named = dict(clone.seen), clone.pointer_files()
        wanted = clone.followed(named)
        if force:
            clone.joining = dict(named)
            wanted = {**clone.seen, **named}
        clone.accept(clone.pull(force=force), "unsaved-change")
        clone.observe(wanted)
        self._is_kept(clone, before)

    def _is_kept(self, clone: Clone, before: Snapshot) -> None:
        """What a force replaced can be had again."""
        for path, content in before.items():
            if clone.seen.get(path) != content and self.world.look():
                now = modelled.blobs_of(clone.seen.get(path, b""))
                files = [d for o, d in modelled.blobs_of(content).items() if not o.endswith("dir")]
                lost = [d for d in files if d not in now.values() and not clone.is_saved(d)]
                assert not lost, f"{path} was replaced, and is nowhere: {lost}"

    def restore(self, who: int, which: int, n: int, force: bool) -> bool | None:
        clone, path = self.who(who), FILES[which % len(FILES)]
        commit = clone.commits[n % len(clone.commits)]
        if path not in self.world.snaps[commit]:
            return False
        return self._restore(clone, path, commit, force)

    def _restore(self, clone: Clone, path: str, commit: str, force: bool) -> None:
        content, before, index = self.world.snaps[commit][path], dict(clone.seen), clone.pointers()
        after = clone.followed({path: content})
        if force:
            after[path], clone.joining = content, {path: content}
        elif path not in clone.joining:
            after = before
        done = clone.restore(path, rev=commit, force=force)
        clone.accept(done, "unsaved-change")
        clone.observe(after)
        if modelled.is_alike(clone.seen[path], content):
            self.world.compare("index", clone.pointers(), {**index, path: content})
        self._is_kept(clone, before)

    def mv(self, who: int, which: int, n: int) -> bool | None:
        """A file, its pointer and its ignore line go to another name."""
        clone, names = self.who(who), [path for path in FILES if path != FOLDER]
        named, index = clone.pointer_files(), clone.pointers()
        old, new = names[which % len(names)], names[(which + 1 + n % 3) % len(names)]
        if old not in named or old not in index or new in {*named, *index, *clone.seen}:
            return False
        clone.mv(old, new)
        if old in clone.seen:
            clone.seen[new] = clone.seen.pop(old)
        if old in clone.ties:
            clone.ties[new] = clone.ties.pop(old)
        clone.loose.add(old)  # once git has its pointer back
        del index[old]
        self.world.compare("index", clone.pointers(), {**index, new: named[old]})
        clone.observe()
        return None

    def flip(self, who: int, which: int, later: bool = False) -> bool | None:
        """A file may be executed, or may not any more: the commit that follows says so.

        ``later``: which is any that comes, and until then the bit stays, whatever comes before.
        """
        clone, path = self.who(who), FILES[which % len(FILES)]
        now, index = clone.seen.get(path), clone.pointers()
        then = [clone.tie(path).base, index.get(path), clone.pointer_files().get(path)]
        if not isinstance(now, bytes) or then != [now] * 3 or clone.tie(path).pending:
            return False
        flipped = modelled.like(now, not isinstance(now, modelled.Program))
        clone.path(path).chmod(0o755 if isinstance(flipped, modelled.Program) else 0o644)
        clone.seen[path] = flipped
        self.world.know(flipped)
        if later:
            return None
        command = ["commit", "--quiet", "--allow-empty", "-m", f"c{next(self.world.counter)}"]
        head = clone.head
        done = self._commit(clone, index, command)
        assert clone.head == head or clone.pointers()[path] == flipped
        return done

    def untrack(self, who: int, which: int) -> bool | None:
        clone, path = self.who(who), FILES[which % len(FILES)]
        named, index = clone.pointer_files(), clone.pointers()
        if path not in named or path not in index or len(index) < 3:
            return False
        clone.accept(clone.untrack(path))
        clone.loose.add(path)
        clone.ties.pop(path, None)
        del index[path]
        self.world.compare("index", clone.pointers(), index)
        clone.observe()
        return None

    # Commits

    def commit(self, who: int, how: str) -> bool | None:
        return self._commit_as(self.who(who), how)

    def _commit_as(self, clone: Clone, how: str) -> bool | None:
        name = f"c{next(self.world.counter)}"
        if how in ("code", "store down"):
            clone.write(f"code/{name}.py", f"{name}\n")
            clone.git("add", f"code/{name}.py")
        index = clone.pointers()
        if how == "am":
            files = clone.pointer_files()
            index = {path: files[path] for path in index if path in files}  # as git does
        if how == "unhooked":
            clone.git("commit", "--quiet", "--no-verify", "--allow-empty", "-m", name)
            clone.is_committed(clone.head, index)
            for path, content in index.items():
                clone.tie(path).settle(content)
            clone.observe()
            return None
        more = {"am": ["-a"], "empty": ["--allow-empty"], "amend": ["--amend"]}.get(how, [])
        if how == "store down":
            self._refused_without_store(clone, index, name)
        return self._commit(clone, index, ["commit", "--quiet", *more, "-m", name])

    def _refused_without_store(self, clone: Clone, index: Snapshot, name: str) -> None:
        refreshed, _ = self._judged(clone, index)
        if refreshed == index:
            return
        away = self.world.store.rename(self.root / "away")
        head = clone.head
        done = clone.git("commit", "-m", name, check=False)
        away.rename(self.world.store)
        assert done.returncode == 1 and clone.head == head, done.stderr
        self.world.compare("index", clone.pointers(), index)

    @staticmethod
    def _judged(clone: Clone, index: Snapshot) -> tuple[Snapshot, bool]:
        """What a commit is to name, and whether it is to be refused."""
        judged = {
            p: clone.tie(p).judge(clone.seen.get(p), named, partial(clone.was_named, p))
            for p, named in index.items()
        }
        wanted = dict(index)
        for p in index:
            if judged[p] == REFRESH:
                wanted[p] = clone.tie(p).refreshed(clone.seen[p], index[p])
                clone.world.know(wanted[p])
        return wanted, BOTH in judged.values()

    def _commit(self, clone: Clone, index: Snapshot, command: list[str]) -> bool | None:
        """A commit through the hook; returns False where there was nothing to commit."""
        head = clone.head
        wanted, refused = self._judged(clone, index)
        done = clone.git(*command, check=False)
        assert "bug" not in done.stderr, done.stderr
        if done.returncode and not refused and (wanted != self.world.snaps[head]):
            for path in wanted:
                if wanted[path] != index[path]:
                    clone.tie(path).wait(wanted[path], clone.seen[path])
            if self.world.suspect:
                self.world.repair()
            done = clone.git(*command, check=False)
            emptied = "--amend" in command and "make\nit empty" in done.stdout + done.stderr
            assert done.returncode == 0 or emptied, done.stdout + done.stderr
        if done.returncode:
            assert clone.head == head
            if refused:
                assert "changed too" in done.stderr, done.stdout + done.stderr
            clone.observe()
            return None if refused else False
        assert not refused, "a commit that should have been refused"
        self._committed(clone, wanted)
        return None

    @staticmethod
    def _committed(clone: Clone, wanted: Snapshot) -> None:
        clone.is_committed(clone.head, wanted)
        for path, content in wanted.items():
            if modelled.is_alike(clone.seen.get(path), content):
                clone.tie(path).join(content, clone.seen[path])
        clone.observe()

    def checkout(self, who: int, n: int, force: bool) -> bool | None:
        clone = self.who(who)
        names = clone.git("for-each-ref", "--format=%(refname:short)", "refs/heads").stdout.split()
        revision = names[n % len(names)] if n < 50 else clone.commits[n % len(clone.commits)]
        return self._checkout(clone, revision, force)

    def _checkout(self, clone: Clone, revision: str, force: bool) -> bool | None:
        commit = clone.git("rev-parse", revision).stdout.strip()
        before, seen, head = clone.pointer_files(), dict(clone.seen), clone.head
        then = self.world.snaps[commit]
        wanted = clone.followed(then)
        for path in (before.keys() & self.world.snaps[head].keys()) - then.keys():
            if force or path not in wanted or not clone.tie(path).is_edited(wanted[path]):
                wanted.pop(path, None)
        kept = {p for p in then if not modelled.is_alike(seen.get(p), then[p])}
        kept -= clone.joining.keys()
        alike = {path for path in kept if before.get(path) == then[path]}
        if force:
            clone.joining = dict(then)
            wanted |= then
        try:
            done = clone.checkout(revision, force=force)
        except Refused:
            assert clone.head == head
            clone.joining = {}
            clone.observe()
            return False
        clone.accept(done, "unsaved-change")
        if done.kept:
            assert not force or self.world.suspect, done.kept
            clone.joining = {}
            assert clone.head == head
            clone.observe()
            return None
        assert force or kept == alike, f"replaced {kept - alike}"
        for path in then.keys() - clone.pointer_files().keys():  # moved before, which goes along
            clone.joining.pop(path, None)
            wanted.pop(path, None)
            wanted |= {path: seen[path]} if path in seen else {}
        assert clone.head == commit
        clone.observe(wanted)
        self._is_kept(clone, seen)
        return None
