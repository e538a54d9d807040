"""The store looked over and mended: what it has, what of it is damaged, where good copies are."""

from __future__ import annotations

import os
import threading

from mlrepro import (
    capture,
    clones,
    durable,
    engine,
    git,
    index,
    outputs,
    project as places,
    proof,
    transfer,
    trash,
    worktree,
    writing,
)
from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.errors import MlreproError, StoreError
from mlrepro.parallel import Crew
from mlrepro.receipts import Receipts
from mlrepro.remote import of as remote_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from mlrepro.lineage import Lineage
    from mlrepro.outputs import Tracked
    from mlrepro.project import Project
    from mlrepro.remote import Remote
    from mlrepro.result import Options
    from mlrepro.store import Store

SAVE_EVERY_BYTES = 1 << 30


def present(project: Project, target: Remote, every: Lineage, options: Options) -> dict[str, int]:
    """Every blob of the store and its size in bytes: a folder listed once, a network store asked
    for what is needed (-1: it does not tell the size).
    """
    if target.store is not None:
        return target.store.list_oids()
    from mlrepro import dvc

    wanted = proof.prove(project, every, {}, None, target.cache).needed
    if not options.dry_run:
        folders = [transfer.Need("", oid) for oid in wanted if oid.endswith(".dir")]
        transfer.fetch_listings(project, target, folders, options)
        wanted = proof.prove(project, every, {}, None, target.cache).needed
    found = dvc.exists(project.root, target.name, list(wanted), jobs=options.jobs)
    notes = Receipts(project.common_dir, target.place)
    lost = [oid for oid in wanted if oid not in found]
    if lost:
        notes.retract(lost)
        record = index.load(project.state_dir)
        for entry in record.entries.values():  # the next commit proves them anew
            entry.stored = False
        index.save(project.state_dir, record.entries.values())
    notes.add(list(found))
    return found


def read_all(
    project: Project, target: Remote, present: Mapping[str, int], options: Options
) -> tuple[dict[str, str], set[str]]:
    """Hash these blobs of the store (and their sizes, as far as they are told); returns those whose
    bytes are wrong, and what is known of it; and those that went since they were listed.

    What was found right is written down as it goes, with the blob's stat, so that a run that was
    interrupted goes on; a run that came to its end starts anew the next time.
    """
    reading = _Reading(project)
    try:
        if target.store is not None:
            _read_folder(target.store, present, reading, options)
        else:
            _read_network(project, target, present, reading, options)
    except BaseException:
        reading.save()
        raise
    reading.forget()
    return reading.wrong, reading.gone


def _read_folder(store: Store, oids: Collection[str], reading: _Reading, options: Options) -> None:
    found = {oid: store.find(oid) for oid in oids}
    # Another process may set it aside at this moment: whether what comes is right is not known yet.
    reading.gone.update(oid for oid, one in found.items() if one is None)
    todo = [(oid, one[1]) for oid, one in found.items() if one is not None]

    def read(oid: str, about: os.stat_result) -> None:
        mark = f"{about.st_size} {about.st_mtime_ns} {about.st_ctime_ns} {about.st_ino}"
        if not reading.is_known(oid, mark):
            why = ""
            try:
                state = engine.verify_blob(store, oid)
            except StoreError as error:
                state, why = "corrupt", error.message
            if state == "ok":
                reading.right(oid, mark, about.st_size)
            elif state == "missing":
                reading.gone.add(oid)
            else:
                reading.wrong[oid] = why
        options.reporter.advance(about.st_size)

    options.reporter.begin("verify", sum(about.st_size for _, about in todo))
    try:
        Crew(options.jobs).each(lambda item: read(*item), todo)
    finally:
        options.reporter.end()


def _read_network(
    project: Project,
    target: Remote,
    present: Mapping[str, int],
    reading: _Reading,
    options: Options,
) -> None:
    """All of it has to come here; nothing of it stays."""
    from mlrepro import dvc

    marks = {oid: f"{size} {target.url}" for oid, size in present.items()}
    todo = [(oid, max(size, 0)) for oid, size in present.items()
            if not reading.is_known(oid, marks[oid])]  # fmt: skip
    bad = dvc.check(
        project.root, target.name, todo, target.cache.root,
        right=lambda oid: reading.right(oid, marks[oid], max(present[oid], 0)),
        jobs=options.jobs, reporter=options.reporter,
    )  # fmt: skip
    reading.wrong.update((oid, "") for oid in bad)


class _Reading:
    """One call of ``read_all``, and the notes that outlast it; for any thread."""

    def __init__(self, project: Project) -> None:
        self.wrong: dict[str, str] = {}
        self.gone: set[str] = set()
        self._file = os.path.join(project.state_dir, "verified")
        self._known = self._load()
        self._unsaved = 0
        self._guard = threading.Lock()

    def is_known(self, oid: str, mark: str) -> bool:
        """Whether an earlier run found the blob right, as it is now."""
        return self._known.get(oid) == mark

    def right(self, oid: str, mark: str, size: int) -> None:
        """Note that a blob of ``size`` bytes is right."""
        with self._guard:
            self._known[oid] = mark
            self._unsaved += size
            if self._unsaved > SAVE_EVERY_BYTES:
                self._save()

    def save(self) -> None:
        """Write down what was found right."""
        with self._guard:
            self._save()

    def _save(self) -> None:
        self._unsaved = 0
        os.makedirs(os.path.dirname(self._file), exist_ok=True)
        text = "".join(f"{oid} {mark}\n" for oid, mark in self._known.items())
        writing.write_atomic(self._file, text.encode(), durable=False)

    def forget(self) -> None:
        """The work is done: the next run is to read everything."""
        durable.discard(self._file)

    def _load(self) -> dict[str, str]:
        try:
            with open(self._file, encoding="ascii") as file:
                lines = file.read().splitlines()
        except (OSError, UnicodeDecodeError):
            return {}
        return {oid: mark for line in lines for oid, _, mark in [line.partition(" ")]}


def sources(project: Project, target: Remote) -> list[Store]:
    """The folders that may have a copy: our cache, what gc moved to the trash, and the caches and
    stores of other worktrees, of the repository this one was cloned from, and of other clones.
    """
    found = [target.cache, *trash.stores(target.cache)]
    roots = [root for root in git.worktrees(project) if root != project.root]
    origin = git.origin(project.root)
    roots += [origin] if origin else []
    if target.store is not None:
        found += trash.stores(target.store)
        roots += _clones(target.store)
    for root in dict.fromkeys(roots):
        try:
            other = remote_of(places.find(root, {}), os.environ)
        except MlreproError:
            continue
        found += [other.cache] + ([other.store] if other.store is not None else [])
    kept: dict[str, Store] = {}
    own = os.path.realpath(target.store.root) if target.store is not None else ""
    for store in found:
        place = os.path.realpath(store.root)
        if place != own and os.path.isdir(place):
            kept.setdefault(place, store)
    return list(kept.values())


def _clones(store: Store) -> list[str]:
    try:
        every = clones.registered(store)
    except OSError:
        return []
    here = [clone.git_dir for clone in every if clone.git_dir and not clone.is_elsewhere]
    return [os.path.dirname(path) for path in here if os.path.basename(path) == ".git"]


def copies(project: Project, target: Remote, oids: Iterable[str]) -> dict[str, str]:
    """A folder at hand that has a blob of that name, for each of which there is one."""
    wanted = set(oids)
    found: dict[str, str] = {}
    for source in sources(project, target) if wanted else ():
        here = [oid for oid in wanted if source.has(oid, None)]
        found.update((oid, source.root) for oid in here)
        wanted.difference_update(here)
    return found


def mend(
    project: Project,
    target: Remote,
    oids: Collection[str],
    options: Options,
    corrupt: Collection[str] = (),
) -> tuple[list[str], set[str]]:
    """Put good copies of what is missing or bad into the store; returns what is whole since then,
    and what was right when it was looked at, as after another process has mended it.

    A blob that is bad is set aside, never deleted, and only when it was hashed and found wrong, or
    cannot be read; of a network store ``corrupt`` says which are.
    """
    wanted = list(dict.fromkeys(oids))
    if not wanted:
        return [], set()
    store = target.store
    if store is None:
        return _mend_network(project, target, wanted, options, corrupt), set()
    right = {oid for oid in wanted if engine.is_right(store, oid)}
    # Bad and not for us to set aside, or put there by another process since.
    held = {oid for oid in wanted if oid not in right and store.has(oid, None)}
    for source in sources(project, target):
        left = [(oid, None) for oid in wanted if not store.has(oid, None)]
        # Hashed on the way: a copy that is bad as well is set aside where it is, and not spread.
        try:
            engine.copy_blobs(
                left, source, store,
                jobs=options.jobs, reporter=options.reporter, link_shared=False,
            )  # fmt: skip
        except StoreError as error:
            if error.path == store.root:
                raise
            continue  # another's place, gone or closed to us since it was listed
    _from_worktree(project, target, {oid for oid in wanted if not store.has(oid, None)}, options)
    right |= {oid for oid in held if engine.is_right(store, oid)}
    return [oid for oid in wanted if oid not in held | right and store.has(oid, None)], right


def _mend_network(
    project: Project,
    target: Remote,
    wanted: Sequence[str],
    options: Options,
    corrupt: Collection[str],
) -> list[str]:
    """The same for a network store; copies from elsewhere go through our cache."""
    from mlrepro import dvc

    target.cache.create()
    for source in sources(project, target):
        left = [(oid, None) for oid in wanted if not target.cache.has(oid, None)]
        if source.root != target.cache.root and left:
            engine.copy_blobs(left, source, target.cache, jobs=options.jobs)
    _from_worktree(project, target, {o for o in wanted if not target.cache.has(o, None)}, options)
    bad = [oid for oid in wanted if oid in corrupt and target.cache.has(oid, None)]
    missing = [oid for oid in wanted if oid not in corrupt]
    done = transfer.push(project, target, [transfer.Need("", oid) for oid in missing], options)
    lost = {need.oid for need in (*done.missing, *done.owed)}
    sent: list[str] = []
    if bad:
        sent, _ = dvc.upload(
            project.root, target.name, [(oid, None) for oid in bad], target.cache.root,
            jobs=options.jobs, reporter=options.reporter, replace=bad,
        )  # fmt: skip
    return [oid for oid in missing if oid not in lost] + [oid for oid in bad if oid in sent]


def _from_worktree(project: Project, target: Remote, wanted: set[str], options: Options) -> None:
    """Save what is wanted from data in the worktree whose pointer names just that."""
    if not wanted:
        return
    holders = [target.cache] + ([target.store] if target.store is not None else [])
    paths = []
    items = outputs.in_worktree(project).outs
    _folders(project, target, [one for one in items if one.oid in wanted], options)
    for item in items:
        path = project.absolute(item.path)
        if item.oid in wanted:
            paths.append(path)
        if item.out.is_dir and os.path.isdir(path) and not os.path.islink(path):
            try:
                members = transfer.listing_of(item.oid, holders) or ()
            except MlreproError:
                continue  # verify tells of it; the others are mended
            paths += [os.path.join(path, m.relpath) for m in members if m.oid in wanted]
    regular = [path for path in paths if os.path.isfile(path) and not os.path.islink(path)]
    hashed = engine.hash_files(regular, jobs=options.jobs, reporter=options.reporter)
    right = [one.path for one in hashed.saved if one.oid in wanted]
    if right:
        target.cache.create()
        engine.save_files(right, target.cache, target.store, jobs=options.jobs)


def _folders(project: Project, target: Remote, items: Sequence[Tracked], options: Options) -> None:
    """Save anew the folders that are just what their pointers name: a listing is lost otherwise."""
    folders = [item for item in items if item.out.is_dir and not item.out.legacy]
    if not folders:
        return
    record = index.load(project.state_dir)
    found = worktree.examine(project, [item.path for item in folders], record, options, folders)
    same = [item for item in folders if found[item.path].oid == item.oid]
    wanted = [capture.Target(item.path, item.pointer, item) for item in same]
    if wanted:
        capture.save(project, target, wanted, index.Record(), options)
