"""Whether commits can be restored: what they need, held against what the store has."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

from mlrepro import git, history, lineage, outputs, pointer
from mlrepro.dataclass import TYPE_CHECKING, dataclass, field
from mlrepro.errors import MlreproError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from mlrepro.lineage import Lineage
    from mlrepro.project import Project
    from mlrepro.store import Store

MISSING, SIZE, CORRUPT, BAD = "missing", "size", "corrupt", "bad-pointer"
FIRST, AT_ONCE = 500, 10_000  # texts of pointers that are read from git together
_AHEAD = 2  # so many such groups are read while another is looked at


@dataclass(frozen=True, slots=True)
class Problem:
    """One gap: the first commit that needs the blob, and why it cannot be had (``reason``).

    ``oid``: "" for a pointer that cannot be read at all; ``why``: more, where there is more to say.
    """

    commit: git.Commit
    path: str
    oid: str
    reason: str
    why: str = ""


@dataclass(slots=True)
class Proof:
    """What the versions of pointers come to.

    ``needed``: every blob by its oid, with a version that needs it; ``bytes``: of all that are
    there; ``bad``: the versions that cannot be restored; ``gaps``: (oid, reason) → (the oldest
    version that needs it, path seen from its pointer, what else there is to say); ``unreadable``:
    version → why; ``unlisted``: the folders whose listing cannot be read, with such a version;
    ``suspects``: blobs of folders whose files do not have the bytes that a pointer says, together.
    """

    needed: dict[str, int] = field(default_factory=dict)
    bytes: int = 0
    bad: set[int] = field(default_factory=set)
    gaps: dict[tuple[str, str], tuple[int, str, str]] = field(default_factory=dict)
    unreadable: dict[int, str] = field(default_factory=dict)
    unlisted: dict[str, int] = field(default_factory=dict)
    suspects: set[str] = field(default_factory=set)


def is_shallow(project: Project) -> bool:
    """Whether this clone has only a part of its history."""
    return os.path.exists(os.path.join(project.common_dir, "shallow"))


def everything(project: Project) -> Lineage:
    """All versions in any commit of branches, tags, stashes, worktrees, and reflogs."""
    return lineage.read(project, "--all", "--reflog")


def standing(project: Project, commits: Sequence[str]) -> Lineage:
    """The versions that are in these commits, each for itself."""
    found = lineage.Lineage()
    names: dict[str, int] = {}
    known: dict[tuple[str, str], int] = {}
    for at, commit in enumerate(commits):
        found.commits.append(commit.encode())
        found.parents.append(b"")
        for name, blob, _ in git.tree(project, commit):
            if not outputs.is_pointer(name):
                continue
            number = names.setdefault(name, len(found.names))
            if number == len(found.names):
                found.names.append(name)
            version = known.setdefault((name, blob), len(found))
            if version == len(found):
                found.blob_of.append(blob.encode())
                found.name_of.append(number)
                found.commit_of.append(at)
            found.changes.extend((at, number, version))
    return found


def prove(
    project: Project,
    every: Lineage,
    present: Mapping[str, int],
    store: Store | None,
    cache: Store,
    corrupt: Collection[str] = (),
) -> Proof:
    """Hold what the versions need against ``present`` (oid → bytes of every blob of the store).

    The listings of folders are read from ``store`` (None: a network store), else from ``cache``;
    ``corrupt`` are blobs whose bytes are known to be wrong. Nothing is changed.
    """
    prover = _Prover(project, every, present, store, cache, frozenset(corrupt))
    pipelines = _pipelines(project, every)
    for group, data in _batches(project, every):
        if not prover.look_plainly(group, data):
            texts = git.contents_in(data, len(group), outputs.MAX_LOCK_BYTES)
            for version, text in zip(group, texts, strict=True):
                prover.look(version, text, pipelines.get(version, b""))
    return prover.proof


def _batches(project: Project, every: Lineage) -> Iterator[tuple[Sequence[int], bytes]]:
    """The versions in groups, the newest last, with what git says of each group's texts."""

    def read(group: Sequence[int]) -> bytes:
        return git.batch(project, [every.blob_of[version] for version in group])

    order = range(len(every) - 1, -1, -1)
    # The first is small: it has to be read text by text, since it is where new paths are met.
    starts = [0, *range(FIRST, len(order), AT_ONCE)]
    waiting: deque[tuple[Sequence[int], Future[bytes]]] = deque()
    with ThreadPoolExecutor(_AHEAD) as pool:
        for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
            waiting.append((order[start:end], pool.submit(read, order[start:end])))
            if len(waiting) > _AHEAD:
                group, data = waiting.popleft()
                yield group, data.result()
        for group, data in waiting:
            yield group, data.result()


def _pipelines(project: Project, every: Lineage) -> dict[int, bytes]:
    """The ``dvc.yaml`` that went with each version of a ``dvc.lock``."""
    locks = {at for at, name in enumerate(every.names) if outputs.is_lock(name)}
    if not locks:
        return {}
    names = {
        version: f"{every.commit(version)}:{outputs.pipeline_of(every.name(version))}"
        for version in range(len(every))
        if every.name_of[version] in locks
    }
    texts = git.blobs(project, names.values(), outputs.MAX_LOCK_BYTES)
    return {version: texts.get(name, b"") for version, name in names.items()}


class _Prover:
    """One call of ``prove``."""

    def __init__(
        self,
        project: Project,
        every: Lineage,
        present: Mapping[str, int],
        store: Store | None,
        cache: Store,
        corrupt: frozenset[str],
    ) -> None:
        self.proof = Proof()
        self._every = every
        self._present = present
        self._store = store
        self._cache = cache
        self._corrupt = corrupt
        self._reader = history.Reader(project)
        self._folders: dict[str, bool] = {}  # whether the folder with this listing is whole
        self._sums: dict[str, int] = {}  # and the bytes of its files, where all are known

    def look_plainly(self, versions: Sequence[int], data: bytes) -> bool:
        """Hold a group of versions against what is there, if all are as DVC writes nearly all."""
        rows = self._reader.plain(data, len(versions))
        needed, present, total = self.proof.needed, self._present, 0
        for version, (_, md5, kind, size, written) in zip(versions, rows, strict=False):
            there = present.get(md5)
            if kind or self._corrupt or there is None or there != int(size):
                self._out(version, self._reader.paths[written], md5 + kind, int(size))
            elif md5 not in needed:
                needed[md5] = version
                total += there
        self.proof.bytes += total
        return bool(rows)

    def look(self, version: int, text: bytes | None, pipeline: bytes) -> None:
        """Hold one version against what is there."""
        every, proof = self._every, self.proof
        name = every.name(version)
        try:
            if text is None:
                raise MlreproError("git does not have it, or it is too large for a pointer")
            outs = self._reader.outs(name, every.blob_of[version].decode(), text, pipeline)
        except MlreproError as error:
            proof.bad.add(version)
            proof.unreadable[version] = error.message
            return
        for path, oid, size in outs:
            self._out(version, path, oid, size)

    def _out(self, version: int, path: str, oid: str, size: int | None) -> None:
        proof = self.proof
        is_dir = oid.endswith(".dir")
        there = self._present.get(oid)
        if there is None or self._corrupt:
            self._is_sound(version, oid, path)
        elif size is not None and not is_dir and there not in (size, -1):
            self._gap(version, oid, SIZE, path, f"{there:,} bytes instead of {size:,}")
        if oid not in proof.needed:
            proof.needed[oid] = version
            proof.bytes += max(there or 0, 0)
        if is_dir and not self._is_whole(version, oid, path):
            proof.bad.add(version)
        elif is_dir and size is not None and self._sums.get(oid, size) != size:
            proof.suspects.update(member.oid for member in self._members(oid)[0] or ())

    def _is_sound(self, version: int, oid: str, path: str) -> bool:
        """Whether a blob is there and not known to be bad; else that is noted."""
        if oid in self._corrupt:
            self._gap(version, oid, CORRUPT, path)
        elif oid not in self._present:
            self._gap(version, oid, MISSING, path)
        else:
            return True
        return False

    def _gap(self, version: int, oid: str, reason: str, path: str, why: str = "") -> None:
        self.proof.bad.add(version)
        known = self.proof.gaps.get((oid, reason))
        if known is None or self._every.commit_of[known[0]] < self._every.commit_of[version]:
            self.proof.gaps[oid, reason] = (version, path, why)

    def _is_whole(self, version: int, oid: str, path: str) -> bool:
        """Whether all that the listing of a folder names is there; each listing is read once."""
        known = self._folders.get(oid)
        if known is not None:
            return known
        listed, reason, why = self._members(oid)
        members = listed or ()
        if listed is None:
            self.proof.unlisted[oid] = version
        if reason:
            self._gap(version, oid, reason, path, why)
        whole = not reason and oid in self._present and oid not in self._corrupt
        needed, present = self.proof.needed, self._present
        total = 0
        for member in members:
            there = present.get(member.oid)
            total += there or 0
            if there is None or self._corrupt:
                whole = self._is_sound(version, member.oid, f"{path}/{member.relpath}") and whole
            if member.oid not in needed:
                needed[member.oid] = version
                self.proof.bytes += max(there or 0, 0)
        self._folders[oid] = whole
        if whole and self._store is not None:
            self._sums[oid] = total
        return whole

    def _members(self, oid: str) -> tuple[pointer.Members | None, str, str]:
        """What a listing names; why, if so, it cannot be read from the store, and more of it."""
        reason = ""
        for place in (self._store, self._cache):
            try:
                data = _read(place, oid) if place is not None else None
                if data is None:
                    continue
                if pointer.listing_oid(data) != oid:
                    reason = CORRUPT if place is self._store else reason
                    continue
                return pointer.parse_listing(data, oid), reason, ""
            except MlreproError as error:
                return None, BAD, error.message
        return None, reason, ""


def _read(place: Store, oid: str) -> bytes | None:
    """The bytes of a listing. Raises PointerError for one that is too large to be read."""
    found = place.find(oid)
    try:
        return pointer.read_listing(found[0], oid) if found is not None else None
    except OSError:
        return b""  # there, but nothing can be restored by it


def problems(project: Project, every: Lineage, proof: Proof, *, named: bool) -> list[Problem]:
    """The gaps with the commit that brought each, the oldest first.

    ``named``: ``every`` is what stands in commits that were named, so that who brought it is yet to
    be found.
    """
    rows = [(version, path, oid, reason, why)
            for (oid, reason), (version, path, why) in proof.gaps.items()]  # fmt: skip
    rows += [(version, "", "", BAD, why) for version, why in proof.unreadable.items()]
    if not rows:
        return []
    commits = {row[0]: every.commit(row[0]) for row in rows}
    if named:
        whole = lineage.read(project, *(oid.decode() for oid in every.commits))
        first = {(whole.name(at), whole.blob_of[at]): whole.commit(at) for at in range(len(whole))}
        for version, commit in commits.items():
            commits[version] = first.get((every.name(version), every.blob_of[version]), commit)
    about = git.about(project, commits.values())
    found = []
    for version, path, oid, reason, why in rows:
        name, commit = every.name(version), commits[version]
        placed = os.path.normpath(os.path.join(os.path.dirname(name), path)) if oid else name
        found.append(
            Problem(about.get(commit) or git.Commit(commit, "", "", ""), placed, oid, reason, why)
        )
    found.sort(key=lambda problem: (problem.commit.date, problem.path, problem.oid))
    return found
