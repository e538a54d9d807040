"""Makes another store the one in use: in DVC's settings, in config/config.py, and in this clone."""

from __future__ import annotations

import os

from mlrepro import dvcconfig, ignore, localconfig, locating, rebinding, remote
from mlrepro.config import CONFIG_FILE
from mlrepro.dataclass import TYPE_CHECKING, dataclass
from mlrepro.errors import ConfigError, MlreproError
from mlrepro.scaffold import Scaffold

if TYPE_CHECKING:
    from mlrepro.project import Project
    from mlrepro.storeurl import Address

SETTINGS = ".dvc/config"


@dataclass(frozen=True, slots=True)
class Switched:
    """The files of the repository that were changed, what is to be known, what is left to do."""

    changed: tuple[str, ...]
    notes: tuple[str, ...]
    errors: tuple[MlreproError, ...]


def switch(project: Project, name: str, address: Address, *, dry_run: bool) -> Switched:
    """Have the remote ``name`` be the default one, at ``address``; secrets go to config.local.

    First ``.dvc/config.local``, which is written in one step and counts before all others, gets all
    of it; then the tracked files say it; then only what is a secret, or this clone's own, stays
    there. Cut short anywhere, the same again completes it. Options of a store elsewhere are
    dropped. Raises ConfigError for settings that are not understood.
    """
    work = Scaffold(project, dry_run=dry_run)
    text = work.read(SETTINGS) or ""
    before = dvcconfig.load_text(text).get(dvcconfig.remote_section(name), {})
    local = _local(project)
    mine = dvcconfig.load_text(local, ".dvc/config.local").get(dvcconfig.remote_section(name), {})
    written = remote.portable(project, address.url)
    same = mine.get("url", before.get("url", "")) in (written, address.url)
    dropped: dict[str, str | None] = {} if same else dict.fromkeys({*before, *mine})
    whole = {**dropped, **address.options, **address.secrets, "url": address.url}
    if not dry_run:
        localconfig.set_local(project, name, whole)
    tracked = {**(dropped if not same else {}), **address.options, "url": written}
    tracked = {key: value for key, value in tracked.items() if value is not None or key in before}
    text = dvcconfig.set_values(text, dvcconfig.remote_section(name), tracked)
    text = dvcconfig.set_values(text, "core", {"remote": name})
    if "type" not in dvcconfig.load_text(text).get("cache", {}):
        text = dvcconfig.set_values(text, "cache", {"type": "copy"})
    work.write(SETTINGS, text)
    errors = _rebind(work, address.url)
    _keep_out(work, address.url)
    if not dry_run:
        localconfig.set_local(project, name, {"url": None, **dict.fromkeys(address.options)})
        locating.located(project, os.environ)
    work.stage()
    changed = tuple(sorted({*work.created, *work.changed}))
    return Switched(changed, tuple(work.advice), tuple(errors))


def _local(project: Project) -> str:
    path = os.path.join(project.dvc_dir, "config.local")
    return dvcconfig.text_of("local", path, ".dvc/config.local")


def _rebind(work: Scaffold, url: str) -> list[MlreproError]:
    """BLOB_STORE in config/config.py: changed where that is one plain value, else named."""
    text = work.read(CONFIG_FILE)
    if text is None:
        return []
    found = rebinding.rebind(work.project.root, text, url, os.environ)
    if found is None:
        return []
    at = f"{CONFIG_FILE} line {found.line}" if found.line else CONFIG_FILE
    if found.text:
        work.write(CONFIG_FILE, found.text)
        work.advice.append(f"{at}: BLOB_STORE was {found.was} and is {found.now}")
        return []
    return [
        ConfigError(
            f"{at} says of BLOB_STORE something else, and was not changed: {found.why}.",
            f"make it mean {found.now}",
            code="blob-store-disagrees",
            path=CONFIG_FILE,
        )
    ]


def _keep_out(work: Scaffold, url: str) -> None:
    """A store inside the repository stays out of git."""
    project = work.project
    if "://" in url or not url.startswith(project.root + os.sep):
        return
    for change in ignore.keep_out(project, [os.path.relpath(url, project.root)], top=True):
        work.write(change.file, change.after)
