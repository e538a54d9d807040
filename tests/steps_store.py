"""Steps that concern store and machine: blobs are damaged, commands killed, all is mended."""

from __future__ import annotations

from collections.abc import Callable

import building
import modelled
from modelled import Snapshot
from steps_git import GitSteps
from worlds import Clone


class StoreSteps(GitSteps):
    """Of a blob that a commit needs, one good copy is always left somewhere."""

    def push(self, who: int) -> None:
        clone = self.who(who)
        clone.accept(clone.push(all_commits=True))
        clone.observe()

    def worktree(self, who: int) -> bool | None:
        """A linked worktree of a clone: from then on it is one of those who work."""
        if len(self.world.clones) > 3 or self.world.suspect:
            return False
        self.world.worktree(self.who(who), f"linked-{next(self.world.counter)}")
        return None

    def clone(self) -> bool | None:
        if len(self.world.clones) > 2 or self.world.suspect:
            return False
        self.world.clone("cyd")
        return None

    # The store

    def gc(self, who: int, empty: bool) -> bool | None:
        if empty and not self.world.look():
            return False
        clone = self.who(who)
        lacking = self.world.lacking()
        done = clone.gc(empty_trash=empty)
        clone.accept(done)
        assert self.world.lacking().keys() <= lacking.keys(), "gc took what is needed"
        clone.observe()
        return None

    def forget(self, who: int) -> bool | None:
        if not self.world.look():
            return False
        self.who(who).forget()
        return None

    def corrupt(self, n: int, where: int, how: str) -> bool | None:
        """Damage a copy of a blob, where there is another that is good."""
        places = [self.world.store, *(clone.cache for clone in self.world.clones)]
        needed = sorted(self.world.needed().items())
        oid, data = needed[n % len(needed)]
        path = building.blob_path(places[where % len(places)], oid)
        copies = self.world.copies(oid, data)
        if path not in copies or len(copies) == 1:
            return False
        path.unlink()  # a hard link's other names stay as they are
        if how == "folder":
            path.mkdir()
        elif how != "gone":
            worse = {"flipped": bytes([data[0] ^ 1]) + data[1:], "truncated": data[:-1],
                     "empty": b"", "longer": data + b"x"}[how]  # fmt: skip
            path.write_bytes(worse)
            path.chmod(0o444)
        self.world.suspect = True
        return None

    def repair(self, who: int) -> None:
        clone = self.who(who)
        clone.verify(all_commits=True, deep=True, repair=True)
        mine = [c for commit in clone.commits for c in self.world.snaps[commit].values()]
        needed = {oid for content in mine for oid in modelled.blobs_of(content)}
        assert not needed & self.world.lacking().keys(), "not repaired"
        clone.observe()

    # The machine

    def kill(self, who: int, n: int, call: int, what: str) -> bool | None:
        """A command is killed; then it is run again."""
        clone = self.who(who)
        if not self.world.look():
            self.world.repair()
        if what == "commit":
            return self._kill_commit(clone, call / 2000)
        commit = clone.commits[n % len(clone.commits)]
        if what == "restore" and "data/x.csv" not in self.world.snaps[commit]:
            return False
        lines: dict[str, tuple[list[str], Snapshot, Callable[[], object]]] = {
            "track": (["track"], {}, lambda: self._track(clone, "")),
            "pull": (["pull"], clone.pointer_files(), lambda: self._pull(clone, False)),
            "push": (["push", "--all"], {}, lambda: clone.accept(clone.push(all_commits=True))),
            "restore": (
                ["restore", "data/x.csv", "--rev", commit],
                self.world.snaps[commit],
                lambda: self._restore(clone, "data/x.csv", commit, False),
            ),
            "checkout": (
                ["checkout", commit],
                self.world.snaps[commit],
                lambda: self._checkout(clone, commit, False),
            ),
            "gc": (["gc", "-y"], {}, lambda: clone.accept(clone.gc())),
            "repair": (["verify", "--all", "--deep", "--repair"], {}, self.world.repair),
        }
        line, target, again = lines[what]
        if not clone.killed(call, *line):
            self.late += 1
        clone.survived(target)
        again()
        lacking = self.world.lacking()
        assert not lacking, f"the store lacks {lacking}"
        clone.observe()
        return None

    def _kill_commit(self, clone: Clone, seconds: float) -> None:
        line = ["commit", "--quiet", "--allow-empty", "-m", f"c{next(self.world.counter)}"]
        head, index = clone.head, clone.pointers()
        wanted, refused = self._judged(clone, index)
        clone.killed_git(seconds, *line)
        clone.survived({})
        if clone.head != head:
            assert not refused
            clone.is_committed(clone.head, wanted)
        index = clone.pointers()
        for path, content in index.items():
            tie = clone.tie(path)
            if modelled.is_alike(content, clone.seen.get(path)) and clone.head != head:
                tie.join(content, clone.seen[path])
            elif content == clone.seen.get(path) and tie.is_edited(content):
                tie.wait(content, content)
        self._commit(clone, index, line)
