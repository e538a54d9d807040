"""All that is asked of DVC, in this process: one session, and the calls that open one."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, NoReturn

from mlrepro import writing
from mlrepro.dvc import bounds, s3, sending, transfer
from mlrepro.dvc.bucket import Bucket
from mlrepro.dvc.failures import (
    is_foreign as is_foreign,
    missing_extra as missing_extra,
    translate as translate,
)
from mlrepro.dvc.ignoring import left_out as left_out
from mlrepro.dvc.inprocess import (
    calling,
    opened,
    require_version as require_version,
    version as version,
)
from mlrepro.dvc.lane import Session as Session
from mlrepro.dvc.pointers import (
    LockOut as LockOut,
    Sizes,
    parse_lock,
    parse_pointer as parse_pointer,
)
from mlrepro.dvc.remote import Remote
from mlrepro.dvc.stages import Added as Added, State as State
from mlrepro.dvc.transfer import Blob, Failures
from mlrepro.errors import MlreproError, RepositoryError
from mlrepro.parallel import Crew
from mlrepro.result import Reporter
from mlrepro.store import Store

# Only the modules of this package import DVC, and only inside functions: that takes half a second,
# wraps the streams and starts a thread. Whatever DVC, a file system or the network does, what
# is raised here is a MlreproError.

_open: list[Session] = []
_added: list[Mapping[str, Mapping[str, str]]] = []  # the remotes that each of them has besides


def init(root: str) -> list[str]:
    """Make the root of a git worktree a DVC repository; returns the files made, relative to it.

    What is there is left as it is, so that a run that was cut short is completed. Nothing is staged
    in git, and no setting of the user's is changed. Raises RepositoryError where git ignores
    ``.dvc``, or there is no git repository.
    """
    names = (".dvc/config", ".dvc/.gitignore", ".dvcignore")
    before = {name for name in names if os.path.lexists(os.path.join(root, name))}
    folder = os.path.join(root, ".dvc")
    with calling(path=".dvc"):
        from dvc.ignore import init as init_ignore
        from dvc.scm import SCM

        scm = SCM(root, search_parent_directories=False)
        try:
            ignored = scm.is_ignored(folder)
        finally:
            scm.close()
        if ignored:
            raise RepositoryError(
                "Git ignores .dvc, so a clone would know nothing of its data.",
                "Add the line !/.dvc to .gitignore",
                code="dvc-ignored",
            )
        os.makedirs(folder, exist_ok=True)
        if ".dvc/config" not in before:
            writing.write_atomic(os.path.join(folder, "config"), b"")
        init_ignore(root)
    with opened(root):  # which writes .dvc/.gitignore
        made = [name for name in names if name not in before]
    return [name for name in made if os.path.lexists(os.path.join(root, name))]


def read_yaml(text: bytes, refuse: Callable[[str], NoReturn], most: int = 1 << 20) -> Any:
    """What a YAML text holds, of at most ``most`` characters; ``refuse(why)`` raises for a bad one.

    DVC itself is neither needed nor imported.
    """
    return bounds.load(text, most, refuse, aliases=True)


@contextmanager
def session(root: str, remotes: Mapping[str, Mapping[str, str]] | None = None) -> Iterator[Session]:
    """One DVC repository, opened once for all that is done within; for one thread.

    Within another session of the same root it is that one. ``remotes``: more of them than its
    config has, name → options, for as long as it lasts. Raises RepositoryError where there is no
    DVC repository at ``root``, ConfigError for options that DVC does not have.
    """
    for outer in reversed(_open):
        if outer.root == root and not remotes:
            yield outer
            return
    with opened(root, remotes) as repo:
        _open.append(Session(root, repo))
        _added.append(remotes or {})
        try:
            yield _open[-1]
        finally:
            _open.pop()
            _added.pop()


def lock_outs(lock: bytes, name: str = "dvc.lock", pipeline: bytes = b"") -> list[LockOut]:
    """The outputs with a blob that a ``dvc.lock`` names: see pointers.parse_lock."""
    return parse_lock(lock, name, pipeline)


def write_pointer(root: str, name: str, updates: Mapping[str, Sizes]) -> bytes:
    """The text of the pointer ``name`` with new content for some of its outputs; writes nothing.

    ``updates``: oid, size, nfiles and isexec by path as the pointer writes it. Comments, order,
    ``meta`` and ``desc`` stay, by DVC's own way of dumping a stage. Raises PointerError.
    """
    with session(root) as found:
        return found.refreshed(name, updates)


def refresh_lock(
    root: str, name: str, stages: Sequence[str]
) -> tuple[list[Added], list[MlreproError]]:
    """Note outputs of stages as they stand in the lock file ``name``: see Session.commit."""
    pipeline = os.path.join(os.path.dirname(name), "dvc.yaml")
    with session(root) as found:
        return found.commit([f"{pipeline}:{stage}" for stage in stages])


@contextmanager
def _asked(root: str, remote: str) -> Iterator[Remote | Bucket]:
    """A network store, by the shortest way that there is: DVC is imported only where it must be."""
    known = next((one for one in reversed(_added) if remote in one), {})
    place = s3.settings(os.path.join(root, ".dvc"), remote, os.environ, known.get(remote))
    if place is None:
        with session(root) as found, calling(remote=remote or "in use"):
            yield Remote(found.repo, remote)
        return
    try:
        yield Bucket(place)
    except MlreproError:
        raise
    except Exception as error:
        if not is_foreign(error):
            raise
        raise translate(error, remote=remote or place.remote) from error


def upload(
    root: str, remote: str, blobs: Iterable[Blob], cache_root: str, *,
    jobs: int = 0, reporter: Reporter | None = None, known: Container[str] = (),
    fresh: list[str] | None = None, replace: Container[str] = (),
) -> tuple[list[str], Failures]:  # fmt: skip
    """Put blobs of a cache into a network store: see sending.upload.

    ``remote`` is a name of DVC's, "" the default one. Raises StoreError ``remote-unreachable``,
    ``remote-forbidden``, ``remote-missing``, ``remote-extra-missing``, ``remote-versioned``,
    ``remote-asks`` or ``no-remote``.
    """
    with _asked(root, remote) as store:
        return sending.upload(
            store,
            list(blobs),
            Store(cache_root),
            jobs,
            reporter or Reporter(),
            known,
            fresh,
            replace,
        )


def download(
    root: str, remote: str, blobs: Iterable[Blob], cache_root: str, *,
    jobs: int = 0, reporter: Reporter | None = None,
    proven: dict[str, tuple[int, int, int, int, int]] | None = None,
) -> tuple[list[str], Failures]:  # fmt: skip
    """Bring blobs from a network store into a cache: see transfer.download; raises as upload.

    ``proven``: a Store's, which gets what the new files are known by.
    """
    cache = Store(cache_root)
    if proven is not None:
        cache.proven = proven
    with _asked(root, remote) as store:
        return transfer.download(store, list(blobs), cache, jobs, reporter or Reporter())


def check(
    root: str, remote: str, blobs: Iterable[Blob], cache_root: str, *,
    right: Callable[[str], None], jobs: int = 0, reporter: Reporter | None = None,
) -> Failures:  # fmt: skip
    """Read and hash blobs of a network store: see transfer.check; raises as upload."""
    with _asked(root, remote) as store:
        return transfer.check(
            store, list(blobs), Store(cache_root), jobs, reporter or Reporter(), right
        )


def exists(root: str, remote: str, oids: Iterable[str], *, jobs: int = 0) -> dict[str, int]:
    """Of these blobs, those that are in a network store, with their sizes in bytes (-1: not told).

    Raises as upload does.
    """
    with _asked(root, remote) as store:
        return transfer.present(store, list(oids), Crew(jobs or store.jobs, transfer.PATIENCE_S))


def missing_in_remote(root: str, remote: str, blobs: Iterable[Blob], *, jobs: int = 0) -> set[str]:
    """Of these blobs, those that a network store lacks, or has with a wrong size.

    Raises as upload does.
    """
    wanted = list(blobs)
    sizes = exists(root, remote, [oid for oid, _ in wanted], jobs=jobs)
    return {oid for oid, size in wanted if not transfer.agree(sizes.get(oid), oid, size)}


def require_extra(scheme: str) -> None:
    """Raise StoreError ``remote-extra-missing`` where what this kind of store needs is not there.

    Nothing is imported.
    """
    name = {"webdavs": "webdav", "https": "http"}.get(scheme, scheme)
    if find_spec(f"dvc_{name}") is None:
        raise missing_extra(scheme)


def probe(
    root: str, remote: str, *, create: bool = False, told: Callable[[str], None] | None = None
) -> None:
    """Write, read, list and remove a small file in a network store; ``create`` makes its folder.

    ``told`` hears of each step that worked. Raises StoreError where one does not, as upload does.
    """
    with session(root) as found, calling(remote=remote or "in use"):
        Remote(found.repo, remote).probe(create, told or (lambda _: None))
