"""Which store this worktree uses: where it lies, and whether it is still there and the same."""

from __future__ import annotations

import os

from mlrepro import dvcconfig, plainfile
from mlrepro.errors import StoreError
from mlrepro.store import Store

# On the hook's no-change path: a few small reads. What is known of the store, beside DVC's own
# settings, is one file of two lines in the git folder that all worktrees of a clone share.

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlrepro.project import Project

NAME = "storage"


class Remote:
    """DVC's default remote of a worktree.

    ``name``: as DVC knows it ("" where there is none); ``url``: absolute path or URL; ``store``:
    the folder, where it is one (else None: a network store, reached through DVC); ``relative``: the
    url as the tracked ``.dvc/config`` has it, "" where it is not relative; ``found_in``: "config"
    (as written), "main" (the main worktree's), "origin" (the parent repository's); ``cache``: the
    worktree's own blobs; ``endpoint``: the server that an object store is asked at, where said.
    """

    __slots__ = ("cache", "endpoint", "found_in", "name", "relative", "store", "url")

    def __init__(self, name: str, url: str, cache: str) -> None:
        self.name = name
        self.url = url
        self.endpoint = ""
        self.relative = ""
        self.found_in = "config"
        self.cache = Store(cache)
        self.store: Store | None = None if "://" in url or not url else Store(url)

    @property
    def place(self) -> str:
        """What tells one network store from another, without its secrets; "" for a folder."""
        if not self.is_network:
            return ""
        scheme, _, rest = self.url.partition("://")
        host, slash, path = rest.partition("/")
        path = path.partition("?")[0]
        return f"{self.endpoint} {scheme}://{host.rpartition('@')[2]}{slash}{path}".strip()

    def read_id(self) -> str:
        """What is noted with all that is stored: the folder's own id, or the network's place."""
        return self.place if self.store is None else self.store.read_id()

    @property
    def is_network(self) -> bool:
        """Whether blobs travel through DVC rather than by plain files."""
        return bool(self.url) and self.store is None

    def sweep(self) -> None:
        """Clear away what runs that were killed left in cache and store; raises nothing."""
        self.cache.sweep()
        if self.store is not None:
            self.store.sweep()


def of(project: Project, environ: Mapping[str, str]) -> Remote:
    """The remote of this worktree, nothing checked and nothing written.

    A relative store folder that this clone does not have is looked for in the main worktree.
    Raises ConfigError where ``.dvc/config`` cannot be read, and StoreError where a folder for blobs
    lies behind a link that is in git.
    """
    settings = dvcconfig.load(project.dvc_dir, environ)
    name = settings.remote_name
    section = dvcconfig.remote_section(name)
    url = settings.sections.get(section, {}).get("url", "") if name else ""
    url = url.removeprefix("file://")
    remote = Remote(name, url, settings.cache_dir)
    if remote.is_network:
        remote.endpoint = settings.sections.get(section, {}).get("endpointurl", "")
        remote.endpoint = remote.endpoint or environ.get("AWS_ENDPOINT_URL", "")
    refuse_link(project, remote.cache.root)
    if settings.level_of("cache", "dir") == "repo":
        refuse_foreign(project, remote.cache, "dvc config --local cache.dir PATH")
    if remote.store is not None:
        refuse_link(project, remote.store.root)
    if remote.store is None or settings.level_of(section, "url") != "repo":
        return remote
    written = written_url(project, "config", name)
    if not is_relative(written):
        return remote
    remote.relative = written
    if not os.path.isdir(url) and project.main_root != project.root:
        theirs = os.path.normpath(os.path.join(project.main_root, ".dvc", written))
        if os.path.isdir(theirs):
            remote.url, remote.store, remote.found_in = theirs, Store(theirs), "main"
    return remote


def refuse_link(project: Project, place: str) -> None:
    """Raise StoreError where a folder for blobs lies behind a link that came with the repository.

    A link that the user made, as to a larger disk, is not in git.
    """
    top = f"{project.root}/"
    if not place.startswith(top):
        return
    link = plainfile.linked_parent(project.root, f"{place[len(top) :]}/")
    if not link:
        return
    from mlrepro import git
    from mlrepro.safepath import quoted

    if git.listed(project, [link]):
        raise StoreError(
            f"{link} is a symbolic link that is in git: no data is stored behind it.",
            f"git rm --cached {quoted(link)}, if it is yours; else git rm {quoted(link)}",
            "store-symlink",
            path=link,
        )


def refuse_foreign(project: Project, place: Store, hint: str) -> None:
    """Raise StoreError for a folder outside the repository that has never held a blob.

    A repository that is not trusted may name any folder of the user's. A folder that is empty is
    not refused as a store: somebody made it for that.
    """
    if place.root.startswith(f"{project.root}/") or place.read_id():
        return
    if os.path.isdir(place.base) or place.has_any():
        return
    raise StoreError(
        f"The folder {place.root} is named by .dvc/config, but has never held a blob.",
        f"{hint}, if that is where data is to be stored",
        code="store-foreign",
        path=place.root,
    )


def written_url(project: Project, file: str, name: str) -> str:
    """The url of a remote as one of the files in ``.dvc`` has it, nothing resolved."""
    sections = dvcconfig.load_text(_text(project, file), f".dvc/{file}")
    return sections.get(dvcconfig.remote_section(name), {}).get("url", "")


def _text(project: Project, file: str) -> str:
    """The text of one of the two config files in ``.dvc``, "" where it is absent."""
    return dvcconfig.text_of("repo", os.path.join(project.dvc_dir, file), f".dvc/{file}")


def is_relative(url: str) -> bool:
    """Whether a url is a folder's, named from where the file lies that says it."""
    return bool(url) and "://" not in url and not url.startswith(("/", "~"))


def portable(project: Project, url: str) -> str:
    """A url as the tracked config has it: relative to ``.dvc`` inside the repository."""
    if "://" in url or not (url + os.sep).startswith(project.root + os.sep):
        return url
    return os.path.relpath(url, project.dvc_dir)


def known(project: Project) -> tuple[str, str]:
    """The place and the id of the store as it was last seen; empty where none was."""
    try:
        with open(_known_file(project), encoding="utf-8", errors="surrogateescape") as file:
            place, _, rest = file.read(65536).partition("\n")
    except OSError:
        return "", ""
    return place, rest.strip()


def remember(project: Project, store: Store, store_id: str) -> None:
    """Note the place and id of the store, so that a missing one is told from a new one."""
    if known(project) == (store.root, store_id):
        return
    target = _known_file(project)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    temp = f"{target}.{os.getpid()}.new"
    with open(temp, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(f"{store.root}\n{store_id}\n")
    os.replace(temp, target)


def _known_file(project: Project) -> str:
    return os.path.join(project.common_dir, "mlrepro", "store")


def problem(project: Project, remote: Remote) -> StoreError | None:
    """Why the store cannot be used now, or None where it can."""
    if not remote.name or not remote.url:
        return StoreError(
            "No store is set up: DVC has no default remote here.", "mlrepro init", code="no-store"
        )
    store = remote.store
    if store is None:
        return None
    place, was = known(project)
    if not os.path.isdir(store.root):
        if os.path.lexists(store.root):
            return StoreError(
                f"The store is not a folder: {store.root}",
                "mlrepro init --store PATH names another place",
                code="store-not-a-folder",
                path=store.root,
            )
        if was and place == store.root:
            return StoreError(
                f"The store was here before and is gone: {store.root}",
                "mount its disk, or put the folder back; a new store: mlrepro init --store PATH",
                code="store-missing",
                path=store.root,
            )
        from mlrepro import git

        origin = git.setting(project, "remote.origin.url")
        if origin:
            return StoreError(
                f"This clone has no store at {store.root}, and found none where it came from: "
                f"{origin}",
                "mlrepro init --store PATH, with the place of the store (mounted or copied first)",
                code="store-missing",
                path=store.root,
            )
        return StoreError(
            f"The store does not exist: {store.root}",
            "mlrepro init makes it; or mount its disk, or copy it here from where it is",
            code="store-missing",
            path=store.root,
        )
    if was and place == store.root and not store.read_id() and not os.listdir(store.root):
        return StoreError(
            f"The store's folder is empty, though it held data before: {store.root}",
            "mount its disk; if the store is really to be new: mlrepro init --store PATH",
            code="store-emptied",
            path=store.root,
        )
    return None


def usable(project: Project, remote: Remote, *, write: bool = True) -> Store | None:
    """The store folder, ready to be written to; None for a network store. Raises StoreError.

    A folder that DVC made gets our marker the first time, so that it is known again, and what runs
    that were killed left in it and in the cache is cleared away; not so without ``write``.
    """
    wrong = problem(project, remote)
    if wrong is not None:
        raise wrong
    if write:
        remote.sweep()
    if remote.store is None or not write:
        return remote.store
    if os.listdir(remote.store.root):
        from mlrepro.safepath import quoted

        refuse_foreign(project, remote.store, f"mlrepro init --store {quoted(remote.store.root)}")
    store_id = remote.store.read_id() or remote.store.create()
    remember(project, remote.store, store_id)
    register(project, remote.store)
    return remote.store


def register(project: Project, store: Store) -> None:
    """Leave this clone's name in the store, so that ``gc`` in another one asks what it needs."""
    from mlrepro import clones

    if not store.read_id():
        return  # nobody has said yet that this folder is one for blobs
    try:
        clones.register(project, store)
    except OSError:
        pass  # a store that we may only read from: its owner sees to it
