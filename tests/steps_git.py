"""Steps of git's: branches, merges, rebases, stashes, and what goes from clone to clone."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import modelled
from mlrepro.commands import resolve
from mlrepro.result import Options
from modelled import Snapshot
from steps import Steps
from worlds import Clone

UNRESOLVED = (
    "both-changed", "deleted-on-side", "not-a-folder", "pointer-conflict", "unsaved-change",
)  # fmt: skip


class GitSteps(Steps):
    """What is expected of a merge is worked out from the snapshots of its sides."""

    def branch(self, who: int, n: int) -> bool | None:
        clone = self.who(who)
        names = clone.git("for-each-ref", "--format=%(refname:short)", "refs/heads").stdout.split()
        before = self.world.snaps[clone.head]
        if n < 4:
            clone.git("switch", "--quiet", "--create", f"b{next(self.world.counter)}")
        elif clone.git("switch", "--quiet", names[n % len(names)], check=False).returncode:
            clone.observe()
            return False
        clone.observe(clone.followed(clone.pointers(), before))
        return None

    def merge(self, who: int, n: int, side: str) -> bool | None:
        clone = self.who(who)
        return self._merge(clone, self._apart(clone, n), side)

    def _ready(self, clone: Clone) -> bool:
        """Whether git would merge here; what is staged is committed first."""
        if clone.git("status", "--porcelain", "-uno").stdout:
            self._commit_as(clone, "am")
        return not clone.git("status", "--porcelain", "-uno").stdout

    def _apart(self, clone: Clone, n: int) -> str:
        """A branch with something that ours has not, and the other way round; "" if there is none.

        Where all have gone the same way, a new one is made, with an edit of its own.
        """
        if not self._ready(clone):
            return ""
        refs = clone.git("for-each-ref", "--format=%(refname)", "refs/heads", "refs/remotes")
        names = [name for name in refs.stdout.split() if not name.endswith("/HEAD")]
        apart = [one for one in names if self._is_apart(clone, one)]
        if apart:
            return apart[n % len(apart)]
        before, parents = self.world.snaps[clone.head], clone.parents("HEAD")
        if not parents:
            return ""
        name = f"b{next(self.world.counter)}"
        if clone.git("switch", "--quiet", "-c", name, parents[0], check=False).returncode:
            return ""
        clone.observe(clone.followed(clone.pointers(), before))
        self.edit(self.world.clones.index(clone), n, "new", n)
        self._commit_as(clone, "am")
        self._commit_as(clone, "code")
        before = self.world.snaps[clone.head]
        if clone.git("checkout", "--quiet", "-", check=False).returncode:
            clone.observe()
            return ""
        clone.observe(clone.followed(clone.pointers(), before))
        return f"refs/heads/{name}"

    def _is_apart(self, clone: Clone, name: str) -> bool:
        bases = clone.git("merge-base", "--all", "HEAD", name, check=False).stdout.split()
        tips = {clone.head, clone.git("rev-parse", name).stdout.strip()}
        return bool(bases) and not tips & set(bases)

    def _merge(self, clone: Clone, name: str, side: str) -> bool | None:
        if not name:
            return False
        bases = self._bases(clone, name)
        head, theirs = clone.head, clone.git("rev-parse", name).stdout.strip()
        if not bases or bases[0] == theirs:
            return False
        snaps = self.world.snaps
        base, unsure = self._virtual(clone, bases)
        wanted, conflicts = self.world.merge(base, snaps[head], snaps[theirs])
        unsure = {path for path in unsure if snaps[head].get(path) != snaps[theirs].get(path)}
        unsure |= modelled.moved(base, snaps[head], snaps[theirs])
        message = f"c{next(self.world.counter)}"
        done = clone.git("merge", "--quiet", "-m", message, name, check=False)
        if not done.returncode:
            left = conflicts - unsure
            assert not left, f"merged, though both sides changed {left}"
            self._take_one(clone, unsure, wanted, [snaps[head], snaps[theirs]])
            if clone.head not in snaps:
                clone.is_committed(clone.head, wanted)
            clone.observe(clone.followed(clone.pointers(), snaps[head]))
            return None
        if "overwritten by merge" in done.stdout + done.stderr:
            clone.observe()
            return False
        said = done.stdout + done.stderr
        if not self._resolve(clone, conflicts - unsure, side, said, unsure):
            clone.git("merge", "--abort")
            self.world.compare("index", clone.pointers(), snaps[head])
            clone.observe()
            return None
        wanted, refused = self._judged(clone, clone.pointers())
        done = clone.git("commit", "--quiet", "--no-edit", check=False)
        assert bool(done.returncode) == refused or self.world.suspect, done.stdout + done.stderr
        if done.returncode:
            clone.git("merge", "--abort")
            clone.observe()
        else:
            self._committed(clone, wanted)
        return None

    def _virtual(self, clone: Clone, bases: list[str]) -> tuple[Snapshot, set[str]]:
        """What the sides of a merge have in common; of several bases their own merge, as git has
        it, and the paths at which that takes a person, or more than two bases.
        """
        snaps = self.world.snaps
        if len(bases) == 1:
            return snaps[bases[0]], set()
        below = clone.git("merge-base", "--all", *bases[:2], check=False).stdout.split()
        if len(bases) == 2 and len(below) == 1:
            three = snaps[below[0]], snaps[bases[0]], snaps[bases[1]]
            base, conflicts = self.world.merge(*three)
            return base, conflicts | modelled.moved(*three)
        self.world.is_followed = False
        first, paths = snaps[bases[0]], {path for base in bases for path in snaps[base]}
        differing = {p for p in paths if any(snaps[one].get(p) != first.get(p) for one in bases)}
        return first, differing

    def _take_one(
        self,
        clone: Clone,
        unsure: set[str],
        wanted: Snapshot,
        sides: list[Snapshot],
        commit: str = "HEAD",
    ) -> None:
        """Where what both had in common is not sure, either side may be taken, under any of these
        names; of a folder, each file from either.
        """
        now = clone.pointers(commit)
        for path in unsure:
            found, either = now.get(path), [None, *(s.get(p) for s in sides for p in unsure)]
            inside = {item for one in either if isinstance(one, tuple) for item in one}
            mixed = isinstance(found, tuple) and set(found) <= inside
            # Of a bit, which goes with what either side made of the content, no more is known.
            is_one = any(modelled.is_alike(found, one) for one in either)
            assert is_one or mixed, f"{path} is {found!r}, of {either!r}"
            wanted.pop(path, None)
            if found is not None:
                wanted[path] = found

    def criss_cross(self, who: int, n: int, side: str) -> bool | None:
        """Two branches that are merged into each other, and go on: they have two bases then."""
        clone = self.who(who)
        name = self._apart(clone, n)
        theirs = clone.git("rev-parse", name).stdout.strip() if name else ""
        ours = clone.head
        if not name or self._merge(clone, name, side) is False or clone.head == ours:
            return False
        if not self._ready(clone):
            return False
        before, branch = self.world.snaps[clone.head], f"b{next(self.world.counter)}"
        if clone.git("switch", "--quiet", "-c", branch, theirs, check=False).returncode:
            clone.observe()
            return False
        clone.observe(clone.followed(clone.pointers(), before))
        self._merge(clone, ours, side)
        for _ in range(1 + n % 2):
            self.edit(self.world.clones.index(clone), n, "new", n)
            self._commit_as(clone, "am")
        before = self.world.snaps[clone.head]
        if not clone.git("switch", "--quiet", "-", check=False).returncode:
            clone.observe(clone.followed(clone.pointers(), before))
            self._merge(clone, branch, side)
        else:
            clone.observe()
        return None

    def _bases(self, clone: Clone, name: str) -> list[str]:
        """Where a branch left ours; nothing where the worktree is not fit for a merge."""
        if not name or not self._ready(clone):
            return []
        return clone.git("merge-base", "--all", "HEAD", name, check=False).stdout.split()

    def _resolve(
        self,
        clone: Clone,
        conflicts: set[str],
        side: str,
        said: str,
        unsure: Set[str] = frozenset(),
    ) -> bool:
        """End the conflicts of a merge; False where it is to be given up.

        ``unsure``: paths that may, but need not be in conflict.
        """
        listed = clone.git("diff", "--name-only", "--diff-filter=U", "-z").stdout.split("\0")
        left = {name for name in listed if name}
        found = {name.removesuffix(".dvc") for name in left if name.endswith(".dvc")}
        extra = found - conflicts <= unsure
        assert found >= conflicts and (extra or self.world.suspect), (
            f"in conflict are {found}, should be {conflicts}\n{said}"
        )
        if side == "abort":
            return False
        for path in sorted(found):
            sides = [side, "theirs", "ours"]
            while sides:
                done = resolve.run(clone.project(), sides.pop(0), [path], Options())
                clone.accept(done, *UNRESOLVED)
                if done.resolved:
                    break
        for name in left:
            if not name.endswith(".dvc"):
                lines = clone.path(name).read_text().splitlines()
                kept = [line for line in lines if line[:7] not in ("<<<<<<<", "=======", ">>>>>>>")]
                clone.write(name, "".join(f"{line}\n" for line in dict.fromkeys(kept)))
                clone.git("add", name)
        named = clone.pointers()
        clone.observe(clone.followed({path: named[path] for path in found}))
        return True

    def rebase(self, who: int, n: int, side: str) -> bool | None:
        clone = self.who(who)
        return self._rebase(clone, self._apart(clone, n), side)

    def _rebase(self, clone: Clone, name: str, side: str) -> bool | None:
        if len(self._bases(clone, name)) != 1:
            return False
        head = clone.head
        made: dict[str, list[Snapshot]] = {}
        done = clone.git("rebase", "--quiet", name, check=False)
        for _ in range(20):
            if not (clone.git_dir / "rebase-merge").exists():
                break
            done = self._go_on(clone, side, made, done.stdout + done.stderr)
        assert not (clone.git_dir / "rebase-merge").exists(), done.stdout + done.stderr
        if clone.head == head:
            clone.observe()
            return None
        self._note_replayed(clone, made, name, head)
        clone.observe(clone.followed(clone.pointers(), self.world.snaps[head]))
        return None

    def _replayed(self, clone: Clone, commit: str, originals: list[str]) -> list[Snapshot]:
        """What a commit can be that one of these was made into."""
        found = []
        onto = self.world.snaps[clone.git("rev-parse", f"{commit}^").stdout.strip()]
        for original in originals:
            parent = clone.git("rev-parse", f"{original}^").stdout.strip()
            three = self.world.snaps[parent], onto, self.world.snaps[original]
            wanted, conflicts = self.world.merge(*three)
            unsure = modelled.moved(*three)
            if not conflicts - unsure:
                self._take_one(clone, unsure, wanted, list(three), commit)
                found.append(wanted)
        return found or [{}]

    def _note_replayed(
        self, clone: Clone, made: dict[str, list[Snapshot]], onto: str = "", left: str = ""
    ) -> None:
        """Check the commits that a rebase has made so far, upon ``onto``, of those of ``left``."""
        room = clone.git_dir / "rebase-merge"
        onto = onto or (room / "onto").read_text().strip()
        left = left or (room / "orig-head").read_text().strip()
        originals = clone.subjects(f"{onto}..{left}")
        for commit in clone.git("rev-list", "--reverse", f"{onto}..HEAD").stdout.split():
            if commit in self.world.snaps:
                continue
            subject = clone.git("log", "-1", "--format=%s", commit).stdout.strip()
            told = made.get(subject) or self._replayed(clone, commit, originals[subject])
            now = clone.pointers(commit)
            clone.is_committed(commit, next((one for one in told if one == now), told[0]))

    def _go_on(self, clone: Clone, side: str, made: dict[str, list[Snapshot]], said: str) -> Any:
        """One stop of a rebase: end its conflicts, and continue; or give it up."""
        stopped = clone.git("rev-parse", "REBASE_HEAD").stdout.strip()
        parent = clone.git("rev-parse", f"{stopped}^").stdout.strip()
        snaps = self.world.snaps
        self._note_replayed(clone, made)
        three = snaps[parent], snaps[clone.head], snaps[stopped]
        _, conflicts = self.world.merge(*three)
        unsure = modelled.moved(*three)
        if not self._resolve(clone, conflicts - unsure, side, said, unsure):
            return clone.git("rebase", "--abort")
        wanted = clone.pointers()  # git calls no hook before this commit
        subject = clone.git("log", "-1", "--format=%s", stopped).stdout.strip()
        made.setdefault(subject, []).append(wanted)
        before = clone.head
        done = clone.git("rebase", "--continue", check=False)
        if done.returncode and clone.head == before and (clone.git_dir / "rebase-merge").exists():
            return clone.git("rebase", "--skip", check=False)
        return done

    def cherry_pick(self, who: int, n: int) -> bool | None:
        clone = self.who(who)
        name = self._apart(clone, n)
        commit = clone.git("rev-parse", name or "HEAD").stdout.strip()
        parents = clone.parents(commit)
        if not name or len(parents) != 1:
            return False
        snaps = self.world.snaps
        three = snaps[parents[0]], snaps[clone.head], snaps[commit]
        wanted, conflicts = self.world.merge(*three)
        unsure = modelled.moved(*three)
        done = clone.git("cherry-pick", commit, check=False)
        if done.returncode:
            if (clone.git_dir / "CHERRY_PICK_HEAD").exists():
                clone.git("cherry-pick", "--abort")
            clone.observe()
            return None if conflicts else False
        assert not conflicts - unsure
        self._take_one(clone, unsure, wanted, list(three))
        clone.is_committed(clone.head, wanted)
        for path, content in wanted.items():
            clone.tie(path).settle(content)
        clone.observe()
        return None

    def stash(self, who: int, n: int) -> bool | None:
        clone = self.who(who)
        if n < 5:
            if not clone.git("status", "--porcelain", "-uno").stdout:
                self.edit(who, 0, "new", n)
                self._track(clone, "")
            if not clone.git("status", "--porcelain", "-uno").stdout:
                return False
            index, files = clone.pointers(), clone.pointer_files()
            clone.git("stash", "push", "--quiet")
            clone.is_committed(clone.git("rev-parse", "refs/stash^2").stdout.strip(), index)
            shown = {path: files[path] for path in index if path in files}
            clone.is_committed(clone.git("rev-parse", "refs/stash").stdout.strip(), shown)
        else:
            if not clone.git("stash", "list").stdout:
                return False
            base, shown = clone.git("rev-parse", "stash^", "stash").stdout.split()
            here, files = clone.pointers(), clone.pointer_files()
            three = self.world.snaps[base], here, self.world.snaps[shown]
            wanted, conflicts = self.world.merge(*three)
            if clone.git("stash", "pop", "--quiet", check=False).returncode:
                clone.git("reset", "--quiet", "--hard")
            elif here == files and not modelled.moved(*three):
                assert not conflicts
                self.world.compare("stash", clone.pointer_files(), wanted)
        clone.observe()
        return None

    def reset(self, who: int, n: int) -> None:
        clone = self.who(who)
        recent = clone.git("rev-list", "--first-parent", "-4", "HEAD").stdout.split()
        clone.git("reset", "--quiet", "--hard", recent[n % len(recent)])
        clone.observe()

    def git_push(self, who: int) -> bool | None:
        clone = self.who(who)
        done = clone.git("push", "--quiet", "origin", "HEAD:refs/heads/main", check=False)
        refused = "rejected" in done.stderr or self.world.suspect
        assert not done.returncode or refused, done.stderr
        clone.observe()
        return None if not done.returncode else False

    def git_pull(self, who: int, rebase: bool, side: str) -> bool | None:
        clone = self.who(who)
        clone.git("fetch", "--quiet", "origin")
        act = self._rebase if rebase else self._merge
        return act(clone, "refs/remotes/origin/main", side)
