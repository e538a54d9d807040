"""What pointers name: each output, as the worktree, git's index or a commit has its pointer."""

from __future__ import annotations

import os

from mlrepro import digest, git, plainfile, pointer, remote
from mlrepro.dataclass import TYPE_CHECKING, dataclass, field
from mlrepro.errors import MlreproError, PathError, PointerError, PointerUnknown
from mlrepro.pointer import Out
from mlrepro.safepath import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mlrepro.gitindex import Entries
    from mlrepro.process import Started
    from mlrepro.project import Project

LOCK_FILE = "dvc.lock"
MAX_LOCK_BYTES = 1 << 22
_ENDS = (b".dvc", LOCK_FILE.encode())
_EVERY = ("*.dvc", f":(glob)**/{LOCK_FILE}")  # as pathspecs


@dataclass(frozen=True, slots=True)
class Tracked:
    """One output that a pointer names.

    ``path``, ``pointer``: relative to the root; ``out``: what the pointer says of it; ``seen``: the
    git object of the pointer's text; ``plain``: the fast lane may rewrite the pointer.
    """

    path: str
    pointer: str
    out: Out
    seen: str
    plain: bool

    @property
    def oid(self) -> str:
        return self.out.oid

    @property
    def in_lock(self) -> bool:
        """Whether a pipeline's ``dvc.lock`` names it rather than a pointer of its own."""
        return is_lock(self.pointer)


@dataclass(slots=True)
class Listing:
    """The tracked outputs that were found, and the pointers that could not be read."""

    outs: list[Tracked] = field(default_factory=list)
    errors: list[MlreproError] = field(default_factory=list)

    def by_path(self) -> dict[str, Tracked]:
        return {item.path: item for item in self.outs}


def is_pointer(name: str) -> bool:
    """Whether a file of this name is one that names outputs."""
    base = os.path.basename(name)
    if base == LOCK_FILE:
        return True
    return base.endswith(".dvc") and base != ".dvc" and not name.startswith(".dvc/")


def is_lock(name: str) -> bool:
    """Whether it is the file in which a pipeline names its outputs."""
    return os.path.basename(name) == LOCK_FILE


def git_oid(content: bytes) -> str:
    """The name git gives a file with this content (SHA-1 repositories)."""
    return digest.sha1(b"blob %d\0" % len(content) + content)


def read_pointers(
    project: Project,
    texts: Iterable[tuple[str, str, bytes]],
    pipelines: Mapping[str, bytes] | None = None,
    others: Mapping[str, str] | None = None,
    own: Sequence[str] | None = None,
) -> Listing:
    """Parse pointers: (name, git object or "", text) each. One that is bad is named, not raised.

    ``pipelines``: the ``dvc.yaml`` that goes with each ``dvc.lock``, if not the worktree's;
    ``others``: what other pointers are known to name (path → pointer); ``own``: ``own_folders``,
    where these are known.
    """
    listing = Listing()
    taken = dict(others or {})
    for name, seen, content in texts:
        try:
            found = list(_outs_of(project, name, seen or git_oid(content), content, pipelines))
            own = own_folders(project) if own is None else own
            for item in found:
                _refuse_own(item.path, name, own)
        except MlreproError as error:
            error.path = error.path or name
            error.hint = error.hint or f"git checkout -- {quoted(name)}"
            listing.errors.append(error)
            continue
        for item in found:
            if item.path in taken:
                listing.errors.append(
                    PointerError(
                        f"{item.path} is named by two pointers: {taken[item.path]} and {name}",
                        f"git rm {quoted(name)}",
                        path=name,
                    )
                )
                continue
            taken[item.path] = name
            listing.outs.append(item)
    return listing


def own_folders(project: Project, used: remote.Remote | None = None) -> list[str]:
    """The folders of blobs that lie in the worktree, relative to the root.

    ``used``: the remote, where it was read already.
    """
    try:
        target = used or remote.of(project, os.environ)
    except MlreproError:
        return []  # whoever uses them says so
    places = [target.cache.root] + ([target.store.root] if target.store is not None else [])
    top = f"{project.root}/"
    return [f"{place[len(top) :]}/" for place in places if place.startswith(top)]


def _refuse_own(path: str, name: str, own: Sequence[str]) -> None:
    """Refuse data that would lie among blobs, or around them."""
    for place in own:
        if f"{path}/".startswith(place) or place.startswith(f"{path}/"):
            raise PointerError(f"{name}: the path {path!r} leads into a folder of blobs", path=name)


def _outs_of(
    project: Project,
    name: str,
    seen: str,
    content: bytes,
    pipelines: Mapping[str, bytes] | None,
) -> Iterable[Tracked]:
    if is_lock(name):
        from mlrepro import dvc

        base = os.path.dirname(name)
        text = _pipeline(project, base) if pipelines is None else pipelines.get(name, b"")
        for one in dvc.lock_outs(content, name, text):
            found = Out(one.path, one.oid, one.size, one.nfiles, one.isexec, one.legacy)
            yield Tracked(os.path.normpath(os.path.join(base, one.path)), name, found, seen, False)
        return
    try:
        parsed = pointer.parse(content, name)
    except PointerUnknown:
        from mlrepro import dvc

        parsed = dvc.parse_pointer(content, name)
    for out in parsed.outs:
        yield Tracked(pointer.out_path(name, parsed, out), name, out, seen, parsed.exact)


def pipeline_of(lock: str) -> str:
    """The file that says which outputs of a lock file have blobs at all."""
    return os.path.join(os.path.dirname(lock), "dvc.yaml")


def _pipeline(project: Project, folder_: str) -> bytes:
    """The text of the ``dvc.yaml`` that says which outputs of a lock file have blobs at all."""
    try:
        return plainfile.read(project.root, os.path.join(folder_, "dvc.yaml"), MAX_LOCK_BYTES)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise PointerError(f"Cannot read {folder_ or '.'}/dvc.yaml: {error.strerror}") from error


def ask_for_new(project: Project) -> Started | None:
    """Begin to ask git which pointer files it does not know yet; None where that cannot be."""
    return git.begin_untracked(project, *_EVERY)


def new_pointers(project: Project, asked: Started | None = None) -> list[str]:
    """The pointer files that git neither knows nor ignores; ``asked``: by ``ask_for_new``."""
    fresh = git.told_untracked(asked) if asked is not None else None
    if fresh is None:
        fresh = git.untracked(project, *_EVERY)
    return [name for name in fresh if is_pointer(name)]


def in_worktree(
    project: Project,
    names: Sequence[str] | None = None,
    own: Sequence[str] | None = None,
    asked: Started | None = None,
) -> Listing:
    """What the pointer files of the worktree say: all of them, or those named.

    ``own``: as for ``read_pointers``; ``asked``: what ``ask_for_new`` began.
    """
    if names is None:
        listed = [name for name in git.entries(project).names if name.endswith(_ENDS)]
        every = [name for name in map(os.fsdecode, listed) if is_pointer(name)]
        names = sorted(dict.fromkeys([*every, *new_pointers(project, asked)]))
    texts = []
    errors: list[MlreproError] = []
    for name in names:
        most = MAX_LOCK_BYTES if is_lock(name) else pointer.MAX_POINTER_BYTES
        try:
            texts.append((name, "", plainfile.read(project.root, name, most + 1)))
        except (FileNotFoundError, NotADirectoryError):
            continue  # removed in the worktree: no longer tracked here
        except OSError as error:
            errors.append(
                PointerError(
                    f"Cannot read {name}: {error.strerror}",
                    f"ls -ld {quoted(name)}",
                    code="pointer-unreadable",
                    path=name,
                )
            )
        except PathError as error:
            errors.append(PointerError(error.message, error.hint, error.code, path=name))
    listing = read_pointers(project, texts, own=own)
    listing.errors += errors
    return listing


def in_index(project: Project, entries: Entries, known: Mapping[str, str] | None = None) -> Listing:
    """What the pointers say as they are staged; ``known`` ones (path → pointer) are not read."""
    named: dict[str, str] = {}
    skipped = set((known or {}).values())
    errors: list[MlreproError] = []
    for at, raw in enumerate(entries.names):
        if not raw.endswith((b".dvc", b".lock")):
            continue
        name = os.fsdecode(raw)
        if not is_pointer(name) or name in skipped:
            continue
        if entries.stages[at]:
            if name not in {error.path for error in errors}:
                errors.append(conflict(name))
            continue
        named[name] = entries.oid(at)
    contents = _contents(project, named)
    listing = read_pointers(
        project,
        ((name, oid, contents.get(oid, b"")) for name, oid in named.items()),
        others=known,
    )
    listing.errors += errors
    return listing


def _contents(project: Project, named: dict[str, str]) -> dict[str, bytes]:
    """The texts of pointers by git object: from the worktree where they are just those.

    That is nearly always so, and saves a git process.
    """
    contents: dict[str, bytes] = {}
    for name, oid in named.items():
        try:
            text = plainfile.read(project.root, name, MAX_LOCK_BYTES)
        except (OSError, PathError):
            continue
        if git_oid(text) == oid:
            contents[oid] = text
    missing = [oid for oid in named.values() if oid not in contents]
    return contents | git.blobs(project, missing, pointer.MAX_POINTER_BYTES)


def at_revision(
    project: Project, revision: str, tree: Iterable[tuple[str, str, int]] | None = None
) -> Listing:
    """What the pointers say in a commit; ``tree``: what ``git.tree`` said of it, where known."""
    every = {name: oid for name, oid, _ in tree or git.tree(project, revision)}
    named = {name: oid for name, oid in every.items() if is_pointer(name)}
    stages = {name: every.get(pipeline_of(name), "") for name in named if is_lock(name)}
    wanted = [*named.values(), *(oid for oid in stages.values() if oid)]
    contents = git.blobs(project, wanted, MAX_LOCK_BYTES)
    return read_pointers(
        project,
        ((name, oid, contents.get(oid, b"")) for name, oid in named.items()),
        {name: contents.get(oid, b"") for name, oid in stages.items()},
    )


def conflict(name: str) -> PointerError:
    """The error for a pointer that a merge left unresolved."""
    return PointerError(
        f"The pointer has a merge conflict: {name}",
        f"mlrepro resolve --ours {quoted(name)}   (or --theirs, or --union for a folder)",
        code="pointer-conflict",
        path=name,
    )
