"""Every verb's own arguments and flags, as Typer reads them, and the table of all verbs."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlrepro.call import Call
from mlrepro.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable


def _name(metavar: str, meaning: str) -> Any:
    """An argument that is text: ``parser=str``, since Typer refuses names that are not UTF-8."""
    return typer.Argument(parser=str, metavar=metavar, help=meaning)


def _value(flag: str, metavar: str, meaning: str) -> Any:
    """An option followed by text."""
    return typer.Option(flag, parser=str, metavar=metavar, help=meaning)


def _switch(flag: str, meaning: str) -> Any:
    """An option that is there or not."""
    return typer.Option(flag, help=meaning)


Some = list[str] | None
Paths = Annotated[Some, _name("PATH", "Files or folders, or globs.")]
Revisions = Annotated[Some, _name("REV", "Commits, branches or tags.")]
AllCommits = Annotated[bool, _switch("--all", "Every commit of every branch and tag.")]


class Hooks(enum.Enum):
    """Who calls mlrepro when git commits."""

    PRE_COMMIT = "pre-commit"
    GIT = "git"
    NONE = "none"


class RemoteAction(enum.Enum):
    """What to do with the remote."""

    SHOW = "show"
    SET = "set"
    TEST = "test"


def init(
    store: Annotated[
        str | None, _value("--store", "PATH-or-URL", "Where the content is kept.")
    ] = None,
    hooks: Annotated[
        Hooks | None, typer.Option(help="Who calls mlrepro on a commit (pre-commit).")
    ] = None,
) -> Call:
    """Set a git repository up; running it again changes nothing."""
    return Call("init", {"store": store, "hooks": hooks.value if hooks else None})


def track(paths: Paths = None) -> Call:
    """Save data: its content into the store, its pointers into git.

    Without PATH: all that is tracked already, and new files that TRACK in config/config.py names.
    """
    return Call("track", {"paths": paths or []})


def status() -> Call:
    """Show the state of each tracked path, and whether HEAD can be restored."""
    return Call("status")


def push(revisions: Revisions = None, all_commits: AllCommits = False) -> Call:
    """Put into the store all content that the workspace, or the commits named, need."""
    return Call("push", {"revisions": revisions or [], "all_commits": all_commits})


def pull(
    paths: Paths = None,
    force: Annotated[
        bool, _switch("--force", "Replace edited files, once the cache has their content.")
    ] = False,
) -> Call:
    """Bring the workspace's data to what its pointers say."""
    return Call("pull", {"paths": paths or [], "force": force})


def resolve(
    paths: Annotated[list[str], _name("PATH", "What is in conflict.")],
    ours: Annotated[bool, _switch("--ours", "Keep our version.")] = False,
    theirs: Annotated[bool, _switch("--theirs", "Take theirs.")] = False,
    union: Annotated[bool, _switch("--union", "For folders: files of both.")] = False,
) -> Call:
    """End a merge conflict in pointers."""
    sides = {"ours": ours, "theirs": theirs, "union": union}
    chosen = [side for side, asked in sides.items() if asked]
    if len(chosen) != 1:
        raise UsageError(
            "resolve takes one of --ours, --theirs and --union.", "mlrepro resolve --ours PATH"
        )
    return Call("resolve", {"side": chosen[0], "paths": paths})


def hook(
    name: Annotated[Some, _name("NAME [ARG]", "The hook, with what git gave it.")] = None,
    explain: Annotated[
        bool, _switch("--explain", "Show what is installed, and what each would do now.")
    ] = False,
) -> Call:
    """Do what a git hook has to do (git calls this)."""
    if explain == bool(name):
        raise UsageError(
            "hook takes the name of a git hook, or --explain.", "mlrepro hook --explain"
        )
    return Call("hook", module="explain", hook=tuple(name or ()))


def log(
    path: Annotated[str | None, _name("PATH", "Only this path.")] = None,
) -> Call:
    """List the versions of the data, newest first."""
    return Call("log", {"path": path})


def diff(
    names: Annotated[Some, _name("[A [B]] PATH", "Commits (HEAD, the workspace), paths.")] = None,
    rows: Annotated[bool, _switch("--rows", "Compare tables row by row.")] = False,
    key: Annotated[str | None, _value("--key", "COL", "The column that names a row.")] = None,
    markdown: Annotated[bool, _switch("--md", "As a pull-request comment wants it.")] = False,
) -> Call:
    """Show what changed between two commits in config, data, models and code."""
    chosen = {"rows": rows, "key": key, "markdown": markdown}
    return Call("diff", {"names": names or [], **chosen})


def config(
    revision: Annotated[str | None, _name("REV", "As they stood then.")] = None,
) -> Call:
    """Show the values of config/ and params files, without running any of it."""
    return Call("config", {"revision": revision})


def restore(
    paths: Annotated[list[str], _name("PATH", "Data files or folders.")],
    revision: Annotated[str, _value("--rev", "REV", "As they stood then.")],
    force: Annotated[bool, _switch("--force", "Save edits in the cache, then replace.")] = False,
) -> Call:
    """Bring data paths, pointer and content, back to a commit."""
    return Call("restore", {"paths": paths, "revision": revision, "force": force})


def checkout(
    revision: Annotated[str, _name("REV", "The commit to bring back.")],
    into: Annotated[
        str | None, _value("--into", "DIR", "Beside the present one, in a new worktree.")
    ] = None,
    force: Annotated[bool, _switch("--force", "Save edits in the cache, then replace.")] = False,
    link: Annotated[
        bool, _switch("--link", "With --into: read-only hard links instead of copies.")
    ] = False,
) -> Call:
    """Bring a whole snapshot back: code, config, data and models."""
    if link and into is None:
        raise UsageError("--link goes with --into.", "mlrepro checkout REV --into DIR --link")
    return Call("checkout", {"revision": revision, "into": into, "force": force, "link": link})


def verify(
    revisions: Revisions = None,
    all_commits: AllCommits = False,
    deep: Annotated[bool, _switch("--deep", "Read every byte.")] = False,
    repair: Annotated[bool, _switch("--repair", "Mend from good copies.")] = False,
) -> Call:
    """Prove that commits can be restored."""
    chosen = {"revisions": revisions or [], "all_commits": all_commits}
    return Call("verify", {**chosen, "deep": deep, "repair": repair})


def remote(
    action: Annotated[RemoteAction, typer.Argument(help="What to do.")],
    url: Annotated[str | None, _name("URL", "Where to move to: a folder, or a URL.")] = None,
    endpoint_url: Annotated[
        str | None, _value("--endpoint-url", "URL", "The server that speaks S3 (or GCS).")
    ] = None,
    region: Annotated[str | None, _value("--region", "NAME", "Where the bucket is.")] = None,
    profile: Annotated[str | None, _value("--profile", "NAME", "The AWS profile to use.")] = None,
    settings: Annotated[
        Some, _value("--option", "KEY=VALUE", "What else DVC is to know of it, by DVC's names.")
    ] = None,
    secrets: Annotated[
        Some, _value("--secret", "KEY", "Read its value, a line, from standard input.")
    ] = None,
) -> Call:
    """Show, test or move the store in use.

    Secrets go to .dvc/config.local, which git never sees; a command line is no place for them.
    """
    flags = {"endpoint_url": endpoint_url, "region": region, "profile": profile}
    given: dict[str, Any] = {"flags": flags, "settings": settings or [], "secrets": secrets or []}
    if (action is RemoteAction.SET) != (url is not None):
        raise UsageError("`remote set` takes a URL, the others none.", "mlrepro remote set URL")
    if action is not RemoteAction.SET and (settings or secrets or any(flags.values())):
        raise UsageError(f"`remote {action.value}` takes no such flag.", "mlrepro remote --help")
    return Call("remote", {"action": action.value, "url": url, **given})


def gc(
    keep_last: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Keep the last N commits' data.")
    ] = None,
    empty_trash: Annotated[bool, _switch("--empty-trash", "Clear the trash.")] = False,
) -> Call:
    """Free space that no branch, tag, stash, worktree or reflog entry needs."""
    return Call("gc", {"keep_last": keep_last, "empty_trash": empty_trash})


def mv(
    old: Annotated[str, _name("OLD", "A tracked path.")],
    new: Annotated[str, _name("NEW", "Its new name.")],
) -> Call:
    """Move tracked data: pointer, ignore line and content together."""
    return Call("mv", {"old": old, "new": new})


def untrack(
    paths: Annotated[list[str], _name("PATH", "Tracked paths.")],
) -> Call:
    """Stop tracking data; the files stay."""
    return Call("untrack", {"paths": paths})


def doctor(
    fix: Annotated[bool, _switch("--fix", "Mend what can be mended.")] = False,
) -> Call:
    """Find everything that would make a commit unrestorable or a user wait."""
    return Call("doctor", {"fix": fix})


# verb: (its function, whether it writes). The order is that of the help.
VERBS: dict[str, tuple[Callable[..., Call], bool]] = {
    "init": (init, True),
    "track": (track, True),
    "status": (status, False),
    "push": (push, True),
    "pull": (pull, True),
    "resolve": (resolve, True),
    "log": (log, False),
    "diff": (diff, False),
    "config": (config, False),
    "restore": (restore, True),
    "checkout": (checkout, True),
    "verify": (verify, True),
    "remote": (remote, True),
    "gc": (gc, True),
    "mv": (mv, True),
    "untrack": (untrack, True),
    "doctor": (doctor, True),
    "hook": (hook, False),
}
