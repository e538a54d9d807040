"""Whether what saves and brings data is in place: hooks, settings, ignore files, programs."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import sys
from collections.abc import Iterator

from mlrepro import (
    durable,
    dvc,
    dvcconfig,
    finding,
    git,
    gitadd,
    ignore,
    index,
    install,
    outputs,
    proof,
    scaffold,
    setting,
)
from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.errors import MlreproError
from mlrepro.finding import Finding

if TYPE_CHECKING:
    from mlrepro.project import Project

OLDEST_GIT = (2, 30)
_TRUE = ("true", "1", "yes", "on")


def findings(project: Project) -> Iterator[Finding]:
    """All that is out of order, each with its mend."""
    yield from _programs(project)
    yield from _hooks(project)
    yield from _driver(project)
    yield from _settings(project)
    yield from _tracked(project)
    yield from _record(project)
    yield from _bytecode()


def notes(project: Project) -> Iterator[str]:
    """What is no fault, but good to know."""
    if git.setting(project, install.CHOICE) == "none":
        yield "no hooks are installed, as was chosen: mlrepro init installs them"
    if proof.is_shallow(project):
        yield "this clone is shallow: verify --all and gc need git fetch --unshallow"


def _programs(project: Project) -> Iterator[Finding]:
    said = git.text(project, "version")
    parts = [int(part) for part in re.findall(r"\d+", said)[:2]]
    if tuple(parts) < OLDEST_GIT:
        yield Finding("git-too-old", f"{said} is too old.", "install git 2.30 or newer")
    try:
        dvc.require_version()
    except MlreproError as error:
        yield finding.of(error)


def _hooks(project: Project) -> Iterator[Finding]:
    if git.setting(project, install.CHOICE) == "none":
        return
    places = install.places(project)
    lacking = [place for place in places if not place.installed]
    if len(lacking) == len(places) and not any(install.is_ours(place.path) for place in places):
        yield Finding(
            "hooks-missing",
            "None of mlrepro's git hooks is installed here: commits do not save data.",
            "mlrepro init",
            mend=lambda: install.install(project),
        )
        return
    for place in lacking:
        code, says = "hook-missing", "is not there"
        if install.is_ours(place.path):
            code, says = "hook-outdated", "is another version's"
            if not _runs(project, place.path):
                code, says = "hook-interpreter-gone", "names a Python that is gone"
        elif place.under:
            code, says = (
                "hook-removed",
                f"is no longer called by {place.under} (install -f does so)",
            )
        yield Finding(
            code,
            f"mlrepro's {place.name} hook {says}.",
            "mlrepro init",
            os.path.relpath(place.path, project.root),
            lambda: install.install(project),
        )


def _runs(project: Project, path: str) -> bool:
    """Whether the interpreter that a hook of ours names is there."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        named = re.search(r"^python=(.*)$", file.read(1 << 16), re.MULTILINE)
    if named is None:
        return False
    text = named[1]
    python = git.setting(project, "mlrepro.python") if "$(" in text else shlex.split(text)[0]
    return os.access(python, os.X_OK)


def _driver(project: Project) -> Iterator[Finding]:
    if git.setting(project, install.CHOICE) == "none":
        return
    if install.install_driver(project, dry_run=True):
        yield Finding(
            "merge-driver-missing",
            "The merge driver for pointers is not registered: folders would not merge by file.",
            "mlrepro init",
            mend=lambda: install.install_driver(project),
        )
    work = scaffold.Scaffold(project, dry_run=True)
    text = work.read(".gitattributes") or ""
    if setting.attributes(text, install.ATTRIBUTE) != text:
        yield Finding(
            "attributes-missing",
            f".gitattributes does not say {install.ATTRIBUTE}: pointers would merge as text.",
            "mlrepro init",
            ".gitattributes",
        )


def _settings(project: Project) -> Iterator[Finding]:
    try:
        settings = dvcconfig.load(project.dvc_dir, os.environ)
    except MlreproError as error:
        yield finding.of(error)
        return
    kind = settings.sections.get("cache", {}).get("type", "")
    if kind != "copy":
        level = settings.level_of("cache", "type")
        where = f"--{level} " if level not in ("", "repo") else ""
        yield Finding(
            "cache-type",
            f"DVC's cache.type is {kind or 'not set'}: DVC may link files of yours to the cache, "
            "where an edit spoils every version.",
            f"dvc config {where}cache.type copy",
            ".dvc/config",
            None if kind else lambda: _set(project, "cache", "type", "copy"),
        )
    if settings.sections.get("core", {}).get("autostage", "").lower() in _TRUE:
        yield Finding(
            "autostage",
            "DVC's core.autostage is on: in a commit hook it stages into the wrong index.",
            "dvc config core.autostage false",
            ".dvc/config",
        )


def _set(project: Project, section: str, key: str, value: str) -> None:
    work = scaffold.Scaffold(project, dry_run=False)
    text = dvcconfig.set_values(work.read(".dvc/config") or "", section, {key: value})
    work.write(".dvc/config", text)
    work.stage()


def _tracked(project: Project) -> Iterator[Finding]:
    listing = outputs.in_worktree(project)
    for error in listing.errors:
        yield finding.of(error)
    own = [item for item in listing.outs if not item.in_lock]
    in_git = git.listed(project, [item.path for item in listing.outs])
    for path in sorted(in_git):
        yield Finding(
            "data-in-git",
            f"{path} is in git, though a pointer tracks it: each version stays there for ever.",
            f"git rm -r --cached {shlex.quote(path)}",
            path,
        )
    hidden = ignore.bring_back(project, [item.pointer for item in own])
    if hidden:
        yield Finding(
            "pointers-ignored",
            f"A rule hides pointers from git, so a clone would lack them: {hidden[0].file}",
            "mlrepro init",
            hidden[0].file,
            lambda: _write(project, hidden),
        )
    bare = ignore.keep_out(project, [item.path for item in own if item.path not in in_git])
    if bare and not hidden:
        yield Finding(
            "data-not-ignored",
            f"Git does not ignore tracked data: git add would take it whole ({bare[0].file}).",
            "mlrepro track",
            bare[0].file,
            lambda: _write(project, bare),
        )


def _write(project: Project, changes: list[ignore.Change]) -> None:
    gitadd.stage(project, ignore.write(project, changes))


def _record(project: Project) -> Iterator[Finding]:
    path = os.path.join(project.state_dir, "index")
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return
    except OSError as error:
        yield Finding(
            "record-unreadable",
            f"The record of what was hashed cannot be read: {error.strerror}",
            f"rm {shlex.quote(path)}",
            path,
        )
        return
    found = index.parse(data)
    whole = found.entries or found.cleared or found.store_id
    if not whole and data != index.render(index.Record()):
        yield Finding(
            "record-damaged",
            "The record of what was hashed is damaged: everything is hashed again each time.",
            f"rm {shlex.quote(path)}",
            path,
            lambda: durable.discard(path),
        )


def _bytecode() -> Iterator[Finding]:
    """Packages that are compiled anew by each process, since that cannot be kept."""
    folders = []
    for name in ("mlrepro", "dvc", "pydantic"):
        spec = importlib.util.find_spec(name)
        if spec is None or not spec.origin:
            continue
        compiled = importlib.util.cache_from_source(spec.origin)
        kept = os.access(os.path.dirname(spec.origin), os.W_OK) and not sys.dont_write_bytecode
        if not os.path.exists(compiled) and not kept:
            folders.append(os.path.dirname(spec.origin))
    if folders:
        yield Finding(
            "no-bytecode",
            f"Python compiles {len(folders)} packages anew in each process, which takes seconds.",
            f"{shlex.quote(sys.executable)} -m compileall -q {' '.join(map(shlex.quote, folders))}",
            folders[0],
        )
