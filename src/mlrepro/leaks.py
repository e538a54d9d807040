"""Secrets where git sees them: in what is tracked, in what is staged, and in the history."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from mlrepro import dvcconfig, git, gitlog, localconfig, plainfile, scaffold, storeurl
from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.errors import MlreproError
from mlrepro.finding import Finding

if TYPE_CHECKING:
    from mlrepro.project import Project

SETTINGS, LOCAL, CONFIG = ".dvc/config", ".dvc/config.local", "config/config.py"
# What is revoked is no secret any more: git config --add mlrepro.revoked COMMIT
REVOKED = "mlrepro.revoked"


def findings(project: Project) -> Iterator[Finding]:
    """Every place where a secret is, or was, in git's sight."""
    yield from _in_settings(project)
    yield from _local(project)
    yield from _in_config(project)
    yield from _in_history(project)


def _in_settings(project: Project) -> Iterator[Finding]:
    found = dvcconfig.find_secrets(_bytes(project, SETTINGS))
    staged = git.blobs(project, [f":{SETTINGS}"]).get(f":{SETTINGS}", b"")
    if not found and not dvcconfig.find_secrets(staged):
        return
    if not found:
        yield Finding(
            "secret-staged",
            f"{SETTINGS} holds a secret as it is staged: a commit would publish it.",
            f"git add {SETTINGS}",
            SETTINGS,
        )
        return
    line, key = found[0]
    movable = any(_secrets_of_remotes(project).values())
    yield Finding(
        "secret-in-config",
        f"{SETTINGS}, which git tracks, holds a secret ({key}, line {line}).",
        f"move the line to {LOCAL}, then: git add {SETTINGS}; {dvcconfig.ROTATE}",
        SETTINGS,
        (lambda: _move(project)) if movable else None,
        dvcconfig.ROTATE,
    )


def _move(project: Project) -> None:
    """Secrets of remotes from the tracked settings to those of this clone alone."""
    work = scaffold.Scaffold(project, dry_run=False)
    text = work.read(SETTINGS) or ""
    for name, secrets in _secrets_of_remotes(project).items():
        localconfig.set_local(project, name, secrets)
        text = dvcconfig.set_values(text, dvcconfig.remote_section(name), dict.fromkeys(secrets))
    work.write(SETTINGS, text)
    work.stage()


def _secrets_of_remotes(project: Project) -> dict[str, dict[str, str]]:
    """Remote → the options in the tracked settings that are secrets; none of what is not read."""
    try:
        sections = dvcconfig.load_text(_bytes(project, SETTINGS).decode("utf-8", "replace"))
    except MlreproError:
        return {}
    found = {}
    for section, values in sections.items():
        kind, _, name = section.partition(" ")
        secrets = {key: value for key, value in values.items() if storeurl.is_secret(key)}
        if kind == "remote" and secrets:
            found[name.strip('"')] = secrets
    return found


def _local(project: Project) -> Iterator[Finding]:
    path = project.absolute(LOCAL)
    if git.listed(project, [LOCAL]):
        yield Finding(
            "local-config-in-git",
            f"{LOCAL} is tracked by git: it is for this clone alone, and for its secrets.",
            f"git rm --cached {LOCAL}",
            LOCAL,
        )
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)
    except OSError:
        return
    if mode & 0o077 and dvcconfig.find_secrets(_bytes(project, LOCAL)):
        yield Finding(
            "local-config-open",
            f"{LOCAL} holds secrets, and others on this machine may read it (mode {mode:o}).",
            f"chmod 600 {LOCAL}",
            LOCAL,
            lambda: os.chmod(path, 0o600),
        )


def _in_config(project: Project) -> Iterator[Finding]:
    from mlrepro import config

    try:
        url = config.load(project.root, os.environ).blob_store
    except MlreproError:
        return
    if "://" in url and dvcconfig.find_secrets(f"url = {url}".encode()):
        yield Finding(
            "secret-in-config",
            f"BLOB_STORE in {CONFIG} holds a secret.",
            f"mlrepro remote set URL --secret KEY keeps it out of git; {dvcconfig.ROTATE}",
            CONFIG,
        )


def _in_history(project: Project) -> Iterator[Finding]:
    """What was committed once is in every clone, whatever the newest commit says."""
    revoked = git.text(project, "config", "--get-all", REVOKED, ok=(0, 1)).split()
    named = gitlog.commits(project, "--all", "--reflog", "--", SETTINGS)
    texts = git.blobs(project, [f"{commit}:{SETTINGS}" for commit in named])
    for commit in reversed(named):
        found = dvcconfig.find_secrets(texts.get(f"{commit}:{SETTINGS}", b""))
        if not found or any(commit.startswith(known) for known in revoked if len(known) > 6):
            continue
        yield Finding(
            "secret-in-history",
            f"{SETTINGS} held a secret ({found[0][1]}) in commit {commit[:10]}: whoever has a "
            "clone has it.",
            f"{dvcconfig.ROTATE}; or leave it there: git config --add {REVOKED} {commit[:10]}",
            SETTINGS,
        )
        return


def _bytes(project: Project, name: str) -> bytes:
    try:
        return plainfile.read(project.root, name, dvcconfig.MAX_BYTES)
    except (OSError, MlreproError):  # what is no plain file is told of by those who need it
        return b""
