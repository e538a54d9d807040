"""Where the store of this clone is: here, moved with it, or where the clone came from."""

from __future__ import annotations

import os

from mlrepro import dvcconfig, remote as remotes
from mlrepro.errors import RepositoryError
from mlrepro.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlrepro.project import Project
    from mlrepro.remote import Remote


def located(project: Project, environ: Mapping[str, str], *, write: bool = True) -> Remote:
    """The remote of this worktree, looked for where its clone came from if it is not here.

    With ``write``, an absolute url that was found, or that has moved with the clone, goes into
    ``.dvc/config.local``, since DVC resolves a relative one wrongly for old revisions. Raises
    ConfigError.
    """
    from mlrepro import localconfig

    outdated = _outdated(project, remotes.of(project, environ).name)
    if write and outdated:
        localconfig.set_local(project, remotes.of(project, environ).name, {"url": None})
        localconfig.note(project, "", "")
    remote = _located(project, environ, outdated)
    if remote.store is None:
        return remote
    remotes.refuse_link(project, remote.store.root)
    tracked = remotes.written_url(project, "config", remote.name)
    if write and remotes.is_relative(tracked) and os.path.isdir(remote.url):
        if remotes.written_url(project, "config.local", remote.name) != remote.url:
            localconfig.set_local(project, remote.name, {"url": remote.url}, is_found=True)
        localconfig.note(project, tracked, remote.url)
    return remote


def _outdated(project: Project, name: str) -> str:
    """The tracked url where another was noted for an earlier one: the store has moved; else ""."""
    from mlrepro import localconfig

    tracked, local = (
        remotes.written_url(project, "config", name),
        remotes.written_url(project, "config.local", name),
    )
    was, place = localconfig.noted(project)
    return tracked if local and local == place and tracked != was else ""


def _located(project: Project, environ: Mapping[str, str], moved_to: str) -> Remote:
    remote = remotes.of(project, environ)
    tracked = remotes.written_url(project, "config", remote.name)
    if moved_to:
        url = moved_to if "://" in moved_to else os.path.join(project.dvc_dir, moved_to)
        _use(remote, url if "://" in url else os.path.normpath(url), "config")
        remote.relative = moved_to if remotes.is_relative(moved_to) else ""
        if remote.is_network:
            settings = dvcconfig.load(project.dvc_dir, environ)
            options = settings.sections.get(dvcconfig.remote_section(remote.name), {})
            remote.endpoint = options.get("endpointurl", "") or environ.get("AWS_ENDPOINT_URL", "")
    if remote.store is None or not remotes.is_relative(tracked):
        return remote
    here = os.path.normpath(os.path.join(project.dvc_dir, tracked))
    local = remotes.written_url(project, "config.local", remote.name)
    if local and local != here and os.path.isdir(here) and not os.path.isdir(local):
        _use(remote, here, "config")  # the clone was moved: what was noted is its old place
    elif not os.path.isdir(remote.url) and not _was_here(project, remote.url):
        parents = _in_origin(project, environ)
        if parents:
            _use(remote, parents, "origin")
    return remote


def _use(remote: Remote, place: str, found_in: str) -> None:
    remote.url, remote.found_in = place, found_in
    remote.store = None if "://" in place else Store(place)


def _was_here(project: Project, place: str) -> bool:
    return remotes.known(project)[0] == place


def _in_origin(project: Project, environ: Mapping[str, str], furthest: int = 5) -> str:
    """The store of the repository on this disk that this one was cloned from, or ""."""
    from mlrepro import git, project as places

    folder = project.root
    for _ in range(furthest):
        folder = git.origin(folder)
        if not folder:
            break
        try:
            parent = places.find(folder, {})
        except RepositoryError:
            continue  # a bare repository: it has no store, but may itself be a clone
        if parent.root == project.root:
            break
        theirs = remotes.of(parent, environ)
        tracked = remotes.written_url(parent, "config", theirs.name)
        places_ = [theirs.url] if theirs.store is not None else []
        if remotes.is_relative(tracked):  # the parent may have been moved since that was last noted
            places_.append(os.path.normpath(os.path.join(parent.dvc_dir, tracked)))
        for place in places_:
            if os.path.isdir(place):
                return place
        folder = parent.root
    return ""
