"""init: set a git repository up, or bring its set-up in order; nothing of the user's is changed."""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlrepro import (
    config,
    durable,
    dvc,
    dvcconfig,
    git,
    ignore,
    install,
    process,
    project as places,
    remote,
    setting,
    worktree,
)
from mlrepro.errors import ConfigError, ProcessError, StoreError, UsageError
from mlrepro.result import Options, Result

if TYPE_CHECKING:
    from mlrepro.project import Project
    from mlrepro.remote import Remote

SETTINGS = (".dvc/config", ".dvc/.gitignore", ".dvcignore")  # belong into git, whoever made them
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


@dataclass(slots=True)
class _Work:
    """The files to write, gathered first, so that a dry run knows them and nothing is half done."""

    project: Project
    dry_run: bool
    created: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)

    def read(self, name: str) -> str | None:
        """The text of a file of the repository, None where it is absent."""
        path = self.project.absolute(name)
        if not os.path.lexists(path):
            return None
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read()

    def write(self, name: str, text: str) -> None:
        """Give a file this text, and remember whether it was made or changed."""
        before = self.read(name)
        if before == text:
            return
        if name not in self.created:
            (self.created if before is None else self.changed).append(name)
        if not self.dry_run:
            path = self.project.absolute(name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            durable.write_atomic(path, text.encode("utf-8", "surrogateescape"))


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
    work = _Work(project, options.dry_run)
    if hooks == "none" and os.path.isdir(project.dvc_dir):
        removed = install.uninstall(project, dry_run=options.dry_run)
        work.changed += [_shown(project, path) for path in removed]
        if not options.dry_run:
            install.uninstall_driver(project)
    url = _url(work, store)
    _dvc(work)
    target = _remote(work, url, explicit=store is not None)
    _store(work, target, explicit=store is not None)
    _ignore_files(work, target)
    _project_files(work, kind)
    _stage(work)
    names = () if kind == "none" else _hooks(work, kind)
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


def _url(work: _Work, store: str | None) -> str:
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
            "leave it out of the URL; dvc remote modify --local storage … keeps it out of git",
            code="secret-in-url",
        )


def _dvc(work: _Work) -> None:
    """DVC's own folder, where there is none."""
    project = work.project
    if os.path.isdir(project.dvc_dir):
        return
    if work.dry_run:
        work.created += [".dvc/.gitignore", ".dvc/config", ".dvcignore"]
        return
    hidden = ignore.bring_back(project, [".dvc/config", ".dvcignore"], siblings=False)
    work.created += dvc.init(project.root)
    _apply(work, hidden)


def _apply(work: _Work, changes: list[ignore.Change]) -> None:
    for change in changes:
        work.write(change.file, change.after)


def _remote(work: _Work, url: str, *, explicit: bool) -> Remote:
    """The default remote: the one that is there, or ``storage`` registered now."""
    project = work.project
    text = work.read(".dvc/config") or ""
    present = remote.of(project, os.environ) if os.path.isdir(project.dvc_dir) else None
    values: dict[str, dict[str, str | None]] = {}
    if present is None or not present.url:
        values["core"] = {"remote": remote.NAME}
        values[dvcconfig.remote_section(remote.NAME)] = {"url": _portable(project, url)}
    elif not _same_place(project, present, url):
        if explicit:
            values[dvcconfig.remote_section(present.name)] = {"url": _portable(project, url)}
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
    if explicit and "://" not in url and os.path.isdir(url):
        remote.set_local(project, remote.of(project, os.environ).name, {"url": url})
    return remote.located(project, os.environ)


def _planned(project: Project, url: str) -> Remote:
    return remote.Remote(remote.NAME, url, os.path.join(project.dvc_dir, "cache"))


def _same_place(project: Project, present: Remote, url: str) -> bool:
    if present.url == url:
        return True
    if not present.relative:
        return False
    here = os.path.normpath(os.path.join(project.dvc_dir, present.relative))
    return here == url


def _portable(project: Project, url: str) -> str:
    """A url as the tracked config has it: relative to ``.dvc`` inside the repository."""
    if "://" in url or not (url + os.sep).startswith(project.root + os.sep):
        return url
    return os.path.relpath(url, project.dvc_dir)


def _store(work: _Work, target: Remote, *, explicit: bool) -> None:
    """The store's folder and marker. One that was there before and is gone is not made anew."""
    if target.store is None or work.dry_run:
        return
    project = work.project
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
    remote.remember(project, target.store, target.store.create())
    remote.located(project, os.environ)
    if fresh and git.head(project) and worktree.in_worktree(project).outs:
        work.advice.append(
            "the store is new and empty, but this repository has data: copy the store from where "
            "it is, or name it: mlrepro init --store PATH"
        )


def _ignore_files(work: _Work, target: Remote) -> None:
    """The store out of git, and no rule that hides pointers or settings from it."""
    project = work.project
    wanted = ["config/config.py", ".dvc/config", ".dvc/.gitignore", ".dvcignore"]
    pointers = []
    if os.path.isdir(project.dvc_dir):
        pointers = [item.pointer for item in worktree.in_worktree(project).outs]
    probe = _data_probe(project)
    changes = ignore.bring_back(project, [*pointers, *probe])
    changes = ignore.bring_back(project, wanted, changes, siblings=False)
    store = target.store.root if target.store is not None else ""
    if store.startswith(project.root + os.sep):
        name = os.path.relpath(store, project.root)
        if not git.listed(project, [name]):
            changes = ignore.keep_out(project, [name], changes, top=True)
    _apply(work, changes)


def _data_probe(project: Project) -> list[str]:
    """A pointer as it would be called in ``DATA_DIR``, to see whether a rule would hide it."""
    try:
        folder = config.load(project.root, os.environ).data_dir
    except ConfigError:
        return []
    inside = os.path.relpath(os.path.join(project.root, folder), project.root) if folder else ".."
    return [] if inside.startswith("..") else [os.path.normpath(f"{inside}/data.csv.dvc")]


def _project_files(work: _Work, kind: str) -> None:
    text, advice = setting.makefile(work.read("Makefile") or "")
    work.write("Makefile", text)
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


def _stage(work: _Work) -> None:
    """Stage what was made; a file of the user's that was changed only where it was staged as is."""
    project = work.project
    if work.dry_run:
        return
    entries = git.entries(project)
    made = [*work.created, *(name for name in SETTINGS if name not in work.created)]
    hidden = git.ignored(project, made)
    names = [
        name
        for name in made
        if name not in hidden and os.path.isfile(project.absolute(name))
    ]
    names += [name for name in work.changed if entries.find(os.fsencode(name)) >= 0]
    git.stage(project, names)


def _hooks(work: _Work, kind: str) -> tuple[str, ...]:
    """Our plain hooks, and with ``pre-commit`` the framework above them."""
    project = work.project
    install.install(project, dry_run=work.dry_run)
    install.install_driver(project, dry_run=work.dry_run)
    if kind == "pre-commit" and not any(place.under for place in install.places(project)):
        _framework(work)
    return install.HOOKS


def _framework(work: _Work) -> None:
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
