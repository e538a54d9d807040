"""init: set a git repository up, or bring its set-up in order; nothing of the user's is changed."""

from __future__ import annotations

import importlib.util
import os
import sys

from mlrepro import (
    config,
    dvc,
    dvcconfig,
    git,
    ignore,
    install,
    localconfig,
    locating,
    outputs,
    process,
    project as places,
    remote,
    setting,
    writing,
)
from mlrepro.dataclass import TYPE_CHECKING, dataclass
from mlrepro.errors import ConfigError, ProcessError, StoreError, UsageError
from mlrepro.result import Options, Result
from mlrepro.safepath import quoted
from mlrepro.scaffold import SETTINGS, Scaffold, in_the_way
from mlrepro.store import Store

if TYPE_CHECKING:
    from collections.abc import Container
    from typing import Any

    from mlrepro.project import Project
    from mlrepro.remote import Remote

MAKEFILES = ("GNUmakefile", "makefile", "Makefile")  # the first of these is what make reads
SHARED_HOOKS: dict[str, list[str]] = {
    "": [],
    "clones": ["core.hooksPath is a folder of the repository: git add the hooks that are there"],
    "repositories": ["core.hooksPath is outside of the repository: other repositories share it"],
}
KINDS = ("pre-commit", "git", "none")


@dataclass(frozen=True)
class InitResult(Result):
    """What was set up: ``created`` and ``changed`` files, the ``hooks`` in place, and advice."""

    root: str = ""
    store: str = ""
    remote: str = ""
    created: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()

    def data(self) -> dict[str, Any]:
        return {
            "root": self.root,
            "store": self.store,
            "remote": self.remote,
            "created": list(self.created),
            "changed": list(self.changed),
            "hooks": list(self.hooks),
        }


def run(start: str, *, store: str | None, hooks: str | None, options: Options) -> InitResult:
    """Set up the repository that ``start`` lies in.

    ``store``: a path or URL in place of ``BLOB_STORE``; ``hooks``: pre-commit (default), git, none.
    Raises RepositoryError outside git, ConfigError for a ``config/config.py`` that cannot be read,
    StoreError where the store cannot be made.
    """
    kind = hooks or "pre-commit"
    if kind not in KINDS:
        raise UsageError(f"--hooks takes one of {', '.join(KINDS)}, not {kind}.")
    project = places.find(start, os.environ)
    work = Scaffold(project, dry_run=options.dry_run)
    if hooks == "none" and os.path.isdir(project.dvc_dir):
        removed = install.uninstall(project, dry_run=options.dry_run)
        work.changed += [_shown(project, path) for path in removed]
        if not options.dry_run:
            install.uninstall_driver(project)
    ignore.read(project, ".gitignore")  # refused now, before anything is made, if it is no file
    url = _url(work, store)
    _dvc(work)
    target = _remote(work, url, explicit=store is not None)
    _store(work, target, explicit=store is not None)
    fresh = not options.dry_run and ".dvc/config" in work.created
    if fresh and os.path.dirname(target.cache.root) == project.dvc_dir:
        target.cache.create(whole=True)
    _project_files(work, kind)
    _ignore_files(work, target)
    work.stage()
    names = () if kind == "none" else _hooks(work, kind)
    if not options.dry_run:
        install.choose(project, hooks=kind != "none")
    return InitResult(
        root=project.root,
        store=target.url,
        remote=target.name,
        created=tuple(work.created),
        changed=tuple(work.changed),
        hooks=names,
        advice=tuple(work.advice),
    )


def _shown(project: Project, path: str) -> str:
    return os.path.relpath(path, project.root)


def _url(work: Scaffold, store: str | None) -> str:
    """Where the store is to be: as asked for, as the config says, or as the template has it."""
    project = work.project
    present = work.read("config/config.py")
    if store is not None:
        url = store if "://" in store else os.path.abspath(os.path.join(project.cwd, store))
        _refuse_secret(url)
        if present is None:
            work.write("config/config.py", _template(project, url))
        elif _configured(project) not in ("", url):
            work.advice.append(f"set BLOB_STORE in config/config.py to {store}: it says otherwise")
        return url
    if present is not None:
        url = config.load(project.root, os.environ).blob_store
        _refuse_secret(url)
        return url
    there = _present_remote(project)
    work.write("config/config.py", _template(project, there))
    return there or os.path.join(project.root, "stores", "blob")


def _configured(project: Project) -> str:
    try:
        return config.load(project.root, os.environ).blob_store
    except ConfigError:
        return ""


def _present_remote(project: Project) -> str:
    """The url of the default remote of a DVC repository that is there already, or ""."""
    if not os.path.isdir(project.dvc_dir):
        return ""
    return remote.of(project, os.environ).url


def _template(project: Project, url: str) -> str:
    """The commented config file, for a store elsewhere with that place in it."""
    line = 'BLOB_STORE = Path(STORES_DIR, "blob")'
    if not url or url == os.path.join(project.root, "stores", "blob"):
        return config.TEMPLATE
    inside = url.startswith(project.root + os.sep)
    value = f"Path(BASE_DIR, {os.path.relpath(url, project.root)!r})" if inside else repr(url)
    return config.TEMPLATE.replace(line, f"BLOB_STORE = {value}")


def _refuse_secret(url: str) -> None:
    if dvcconfig.find_secrets(f"[remote]\nurl = {url}\n".encode()):
        raise ConfigError(
            "The store's URL holds a password, which must not be in a file that git tracks.",
            "leave it out of the URL; then: mlrepro remote set URL --secret KEY",
            code="secret-in-url",
        )


def _dvc(work: Scaffold) -> None:
    """DVC's own folder, where there is none, or where an earlier run did not get to its end."""
    project = work.project
    here = [name for name in SETTINGS if os.path.lexists(project.absolute(name))]
    if ".dvc/config" in here and ".dvc/.gitignore" in here:
        return
    _apply(work, ignore.bring_back(project, list(SETTINGS), siblings=False))
    if work.dry_run:
        work.created += [name for name in SETTINGS if name not in here and name not in work.created]
        return
    if os.path.lexists(project.dvc_dir) and not os.path.isdir(project.dvc_dir):
        raise in_the_way(".dvc")
    os.makedirs(project.dvc_dir, exist_ok=True)  # DVC takes rules for folders as for what is there
    dvc.init(project.root)
    if not os.path.lexists(project.absolute(".dvc/.gitignore")):  # DVC thought it not necessary
        work.write(".dvc/.gitignore", "/config.local\n/tmp\n/cache\n")
    made = (name for name in SETTINGS if name not in (*here, *work.created))
    work.created += [name for name in made if os.path.lexists(project.absolute(name))]


def _apply(work: Scaffold, changes: list[ignore.Change]) -> None:
    for change in changes:
        work.write(change.file, change.after)


def _remote(work: Scaffold, url: str, *, explicit: bool) -> Remote:
    """The default remote: the one that is there, or ``storage`` registered now."""
    project = work.project
    text = work.read(".dvc/config") or ""
    present = remote.of(project, os.environ) if os.path.isdir(project.dvc_dir) else None
    values: dict[str, dict[str, str | None]] = {}
    if present is None or not present.url:
        values["core"] = {"remote": remote.NAME}
        values[dvcconfig.remote_section(remote.NAME)] = {"url": remote.portable(project, url)}
    elif not _same_place(project, present, url, dvcconfig.load_text(text)):
        if explicit:
            values[dvcconfig.remote_section(present.name)] = {"url": remote.portable(project, url)}
        else:
            work.advice.append(
                f"DVC's default remote is {present.name} ({present.url}), BLOB_STORE is {url}: the "
                "remote was kept; make the two agree"
            )
    sections = dvcconfig.load_text(text)
    if "type" not in sections.get("cache", {}):
        values["cache"] = {"type": "copy"}
    for section, items in values.items():
        text = dvcconfig.set_values(text, section, items)
    if values:
        work.write(".dvc/config", text)
    if work.dry_run:
        return present if present is not None and present.url else _planned(project, url)
    now = remote.of(project, os.environ)
    if explicit and now.url != url.removeprefix("file://"):  # what this clone had noted for itself
        localconfig.set_local(project, now.name, {"url": url})
    return locating.located(project, os.environ)


def _planned(project: Project, url: str) -> Remote:
    return remote.Remote(remote.NAME, url, os.path.join(project.dvc_dir, "cache"))


def _same_place(
    project: Project, present: Remote, url: str, tracked: dict[str, dict[str, str]]
) -> bool:
    """Whether a remote means ``url``: as it stands, or by what git tracks of it.

    A clone that was moved has its old place in ``.dvc/config.local`` until the store is used.
    """
    written = tracked.get(dvcconfig.remote_section(present.name), {}).get("url", "")
    return url in (present.url, os.path.normpath(os.path.join(project.dvc_dir, written)))


def _store(work: Scaffold, target: Remote, *, explicit: bool) -> None:
    """The store's folder and marker. One that was there before and is gone is not made anew."""
    project = work.project
    if target.store is not None and not os.path.lexists(target.url):
        _with_the_main_worktree(project, target)
    if target.store is None or work.dry_run:
        return
    if not explicit:
        place, was = remote.known(project)
        if was and place == target.store.root:
            remote.usable(project, target)
    if os.path.lexists(target.store.root) and not os.path.isdir(target.store.root):
        raise StoreError(
            f"The store is not a folder: {target.store.root}",
            "mlrepro init --store PATH names another place",
            code="store-not-a-folder",
        )
    fresh = not os.path.isdir(target.store.root)
    if not explicit and not fresh and os.listdir(target.store.root):
        place = quoted(target.store.root)
        remote.refuse_foreign(project, target.store, f"mlrepro init --store {place}")
    remote.remember(project, target.store, target.store.create(whole=True))
    remote.register(project, target.store)
    locating.located(project, os.environ)
    if target.found_in == "main":
        _exclude(project, os.path.relpath(target.store.root, project.main_root))
    if fresh and git.head(project) and outputs.in_worktree(project).outs:
        work.advice.append(
            "the store is new and empty, but this repository has data: copy the store from where "
            "it is, or name it: mlrepro init --store PATH"
        )


def _with_the_main_worktree(project: Project, target: Remote) -> None:
    """Have a store inside the repository made in its main worktree: a linked one may be removed."""
    if target.relative and project.main_root != project.root:
        place = os.path.normpath(os.path.join(project.main_root, ".dvc", target.relative))
        target.url, target.store, target.found_in = place, Store(place), "main"


def _exclude(project: Project, name: str) -> None:
    """Keep the store out of git in the main worktree, whatever commit that has checked out."""
    line = ignore.top_rule(name)
    path = os.path.join(project.common_dir, "info", "exclude")
    text = ignore.text_of(path)
    if line not in text.splitlines():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        gap = "" if not text or text.endswith("\n") else "\n"
        writing.write_atomic(path, f"{text}{gap}{line}\n".encode("utf-8", "surrogateescape"))


def _ignore_files(work: Scaffold, target: Remote) -> None:
    """The store out of git, and no rule that hides from it pointers, settings or what was made."""
    project = work.project
    outs = outputs.in_worktree(project).outs if os.path.isdir(project.dvc_dir) else []
    tracked = {item.path for item in outs}
    named = [item.pointer for item in outs]
    changes = ignore.bring_back(project, [*named, *_data_probe(project, tracked)])
    wanted = list(dict.fromkeys(["config/config.py", *SETTINGS, *work.created]))
    changes = ignore.bring_back(project, wanted, changes, siblings=False)
    store = target.store.root if target.store is not None else ""
    if target.found_in == "main":  # as seen from where this commit is checked out in the main one
        store = os.path.normpath(os.path.join(project.dvc_dir, target.relative))
    if store.startswith(project.root + os.sep):
        name = os.path.relpath(store, project.root)
        if not git.listed(project, [name]):
            changes = ignore.keep_out(project, [name], changes, top=True)
    _apply(work, changes)


def _data_probe(project: Project, tracked: Container[str]) -> list[str]:
    """A pointer as it would be called in ``DATA_DIR``, to see whether a rule would hide it.

    None where that folder, or one above it, is ``tracked`` as data: there will be none in it.
    """
    try:
        folder = config.load(project.root, os.environ).data_dir
    except ConfigError:
        return []
    inside = os.path.relpath(os.path.join(project.root, folder), project.root) if folder else ".."
    if inside.startswith(".."):
        return []
    probe = os.path.normpath(f"{inside}/data.csv.dvc")
    parts = probe.split("/")
    above = ["/".join(parts[:depth]) for depth in range(1, len(parts))]
    return [] if any(folder in tracked for folder in above) else [probe]


def _project_files(work: Scaffold, kind: str) -> None:
    makefile = next((name for name in MAKEFILES if work.read(name) is not None), "Makefile")
    text, advice = setting.makefile(work.read(makefile) or "")
    work.write(makefile, text)
    work.advice += [advice] if advice else []
    present = work.read("requirements.txt")
    if present is not None:
        work.write("requirements.txt", setting.requirements(present, dvc.version()))
    if kind != "none":
        text = setting.attributes(work.read(".gitattributes") or "", install.ATTRIBUTE)
        work.write(".gitattributes", text)
    if kind == "pre-commit":
        text, advice = setting.pre_commit_config(work.read(".pre-commit-config.yaml") or "")
        work.write(".pre-commit-config.yaml", text)
        work.advice += [advice] if advice else []


def _hooks(work: Scaffold, kind: str) -> tuple[str, ...]:
    """Our plain hooks, and with ``pre-commit`` the framework above them."""
    project = work.project
    install.install(project, dry_run=work.dry_run)
    install.install_driver(project, dry_run=work.dry_run)
    work.advice += SHARED_HOOKS[install.sharing(project)]
    if kind == "pre-commit" and not any(place.under for place in install.places(project)):
        _framework(work)
    return install.HOOKS


def _framework(work: Scaffold) -> None:
    """``pre-commit install``: it finds our hook and calls it first, as its ``.legacy`` one."""
    project = work.project
    if git.setting(project, "core.hooksPath"):
        work.advice.append(
            "core.hooksPath is set: pre-commit does not install; our hooks are there"
        )
        return
    if importlib.util.find_spec("pre_commit") is None:
        work.advice.append("pre-commit is not installed: only the plain git hooks are in place")
        return
    if work.dry_run:
        return
    try:
        process.run(
            [sys.executable, "-m", "pre_commit", "install", "--hook-type", "pre-commit"],
            cwd=project.root,
        )
    except ProcessError as error:
        work.advice.append(f"pre-commit could not install its hook: {error.stderr.strip()[-200:]}")
