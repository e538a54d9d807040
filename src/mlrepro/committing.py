"""The commit that git is about to make: its index files, how it was asked for, what was stashed."""

from __future__ import annotations

import os
import stat

from mlrepro import git, gitadd, outputs, pointer, process, wording, writing
from mlrepro.dataclass import TYPE_CHECKING, dataclass, replace
from mlrepro.errors import MlreproError, PointerError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlrepro.capture import Saved
    from mlrepro.project import Project

MAX_PATCH_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Commit:
    """``index``: the file that will become the commit; ``indexes``: all to be kept alike.

    ``is_foreign``: the user named an index of their own.
    """

    index: str
    indexes: tuple[str, ...]
    is_foreign: bool


def current(project: Project, environ: Mapping[str, str]) -> Commit:
    """The commit of the hook we run in, by what git says in the environment."""
    named = environ.get("GIT_INDEX_FILE", "")
    own = os.path.join(project.git_dir, "index")
    index = os.path.realpath(os.path.join(project.cwd, named)) if named else own
    folder, name = os.path.split(index)
    if folder != project.git_dir or not (
        name in ("index", "index.lock") or name.startswith("next-index-")
    ):
        return Commit(index, (index,), True)
    indexes = [index]
    if name.startswith("next-index-"):  # a partial commit: the real index waits in index.lock
        lock = own + ".lock"
        if os.path.exists(lock):
            indexes.append(lock)
    return Commit(index, tuple(indexes), False)


def is_by_hand(environ: Mapping[str, str]) -> bool:
    """Whether a hook framework runs us outside of a commit (``pre-commit run``).

    It hands on what git tells a hook, and git names the index to every hook that precedes a commit.
    """
    return environ.get("PRE_COMMIT") == "1" and not environ.get("GIT_INDEX_FILE")


def is_in_hook(project: Project, environ: Mapping[str, str]) -> bool:
    """Whether a person's command was started by a commit: through a framework, or a plain hook."""
    if environ.get("PRE_COMMIT") == "1":
        return True
    return bool(environ.get("GIT_INDEX_FILE")) and not current(project, environ).is_foreign


def would_be_empty(project: Project, index: str, *, staged: bool) -> bool:
    """Whether git has decided that there is nothing to commit, and will not look again after us.

    It decides by the index as it was before the hook; ``staged``: that index differs from HEAD.
    """
    if os.path.exists(os.path.join(project.git_dir, "MERGE_HEAD")):
        return False
    asked = asked_for(project)
    if "--allow-empty" in asked:
        return False
    if "--amend" in asked:  # the commit is made anew upon its parent
        parents = git.text(project, "rev-parse", "--quiet", "HEAD^@", ok=(0, 1, 128)).split()
        if len(parents) > 1:
            return False  # git lets a merge be empty
        return not git.staged_against(project, parents[0] if parents else "", index)
    return not staged


def asked_for(project: Project) -> list[str]:
    """The arguments of the ``git commit`` that we run under, abbreviations spelled out.

    Empty where it cannot be found out; an alias is looked up as git would.
    """
    for arguments in _ancestors():
        if not arguments or os.path.basename(arguments[0]) not in ("git", "git.exe"):
            continue
        rest = arguments[1:]
        at = 0
        while at < len(rest) and rest[at].startswith("-"):
            at += 2 if rest[at] in ("-C", "-c", "--git-dir", "--work-tree") else 1
        if at >= len(rest):
            continue
        verb, given = rest[at], rest[at + 1 :]
        if verb != "commit":
            words = git.setting(project, f"alias.{verb}").split()
            if not words or words[0] != "commit":
                continue
            given = words[1:] + given
        return [_spelled(word) for word in given]
    return []


def _spelled(word: str) -> str:
    for long in ("--amend", "--allow-empty"):
        # git takes any beginning that is not shared by another option.
        if len(word) >= (4 if long == "--amend" else 9) and long.startswith(word):
            return long
    return word


def _ancestors(most: int = 12) -> list[list[str]]:
    """The argument lists of the processes that we run under, nearest first."""
    found: list[list[str]] = []
    pid = os.getppid()
    while pid > 1 and len(found) < most:
        parent, arguments = _process(pid)
        found.append(arguments)
        pid = parent
    return found


def _process(pid: int) -> tuple[int, list[str]]:
    """The parent and the arguments of a process; (0, []) where it cannot be seen."""
    if os.path.isdir("/proc/self"):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                arguments = [os.fsdecode(part) for part in file.read().split(b"\0")[:-1]]
            with open(f"/proc/{pid}/stat", "rb") as file:
                parent = int(file.read().rpartition(b")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            return 0, []
        return parent, arguments
    try:
        out = process.run(["ps", "-o", "ppid=,command=", "-p", str(pid)], cwd="/")
    except MlreproError:
        return 0, []
    fields = os.fsdecode(out).split()
    return (int(fields[0]), fields[1:]) if fields else (0, [])


def ancestor_pids(most: int = 12) -> set[int]:
    """The processes that we run under."""
    found: set[int] = set()
    pid = os.getppid()
    while pid > 1 and len(found) < most:
        found.add(pid)
        pid = _process(pid)[0]
    return found


def stashed_names(environ: Mapping[str, str]) -> set[str]:
    """The files of whose unstaged changes a hook framework keeps a patch while it runs us.

    pre-commit (``staged_files_only.py``) and prek write one for the time of the run, and put it
    back when it ends; a file that was changed meanwhile makes that fail.
    """
    if environ.get("PRE_COMMIT") != "1":
        return set()
    import re

    names: set[str] = set()
    for path in _patches(environ):
        try:
            if os.stat(path).st_size > MAX_PATCH_BYTES:
                continue
            with open(path, "rb") as file:
                text = file.read()
        except OSError:
            continue
        heads = re.findall(rb"^diff --git (.*)$", text, re.MULTILINE)
        names.update(os.fsdecode(_name_in_patch(head)) for head in heads)
    return names


def _name_in_patch(head: bytes) -> bytes:
    """The file of ``a/NAME b/NAME``, as git writes it: in quotes where a byte of it is unusual."""
    if not head.startswith(b'"'):
        return head[2 : (len(head) - 1) // 2]  # the same name twice, so that blanks do not matter
    quoted = head[1 : (len(head) - 1) // 2 - 1]
    return quoted.decode("unicode_escape").encode("latin-1")[2:]


def _patches(environ: Mapping[str, str]) -> list[str]:
    caches = environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    places = [
        environ.get("PRE_COMMIT_HOME") or os.path.join(caches, "pre-commit"),
        environ.get("PREK_HOME") or os.path.join(caches, "prek"),
    ]
    places += [os.path.join(place, "patches") for place in places]
    import re

    pids = ancestor_pids()
    found = []
    for place in places:
        try:
            names = os.listdir(place)
        except OSError:
            continue
        for name in names:
            match = re.search(r"patch.*-(\d+)(?:\.patch)?$|-(\d+)\.patch$", name)
            if match and int(match.group(1) or match.group(2)) in pids:
                found.append(os.path.join(place, name))
    return found


def write_and_stage(project: Project, commit: Commit, saved: Sequence[Saved]) -> list[str]:
    """Write the pointers into the worktree and into every index of the commit; returns their names.

    Where the pointer in the worktree is not the one that is staged (it was edited too, or is gone),
    each gets the new hash and keeps what else it says.
    """
    alike: dict[str, bytes] = {}
    apart: dict[str, bytes] = {}
    fresh: dict[str, bytes] = {}
    entries = git.entries(project, commit.index)
    for item in saved:
        name = item.target.pointer
        if item.text is None or name in alike or name in apart:
            continue
        at = entries.find(os.fsencode(name))
        staged = entries.oid(at) if at >= 0 else ""
        path = project.absolute(name)
        present = _read(path)
        if present is None or (staged and outputs.git_oid(present) != staged):
            apart[name] = _restated(project, name, staged, saved) or item.text
        else:
            alike[name] = item.text
        if present is not None:
            fresh[path] = item.text
    writing.write_many(fresh)
    gitadd.stage(project, alike, commit.indexes, texts=alike)
    if apart:
        _stage_texts(project, apart, commit.indexes)
    return [*alike, *apart]


def _read(path: str) -> bytes | None:
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return None
        with open(path, "rb") as file:
            return file.read(pointer.MAX_POINTER_BYTES)
    except OSError:
        return None


def _restated(project: Project, name: str, staged: str, saved: Sequence[Saved]) -> bytes | None:
    """The staged text of a pointer with the new hashes; None where it is not a plain one."""
    text = git.blobs(project, [staged]).get(staged)
    if text is None:
        return None
    try:
        now = pointer.parse(text, name)
    except PointerError:
        return None
    fresh = {
        wording.posix_name(item.target): item.data for item in saved if item.target.pointer == name
    }
    outs = tuple(
        wording.restated(out, fresh[out.path]) if out.path in fresh else out for out in now.outs
    )
    return pointer.render(replace(now, outs=outs))


def _stage_texts(project: Project, texts: Mapping[str, bytes], indexes: Sequence[str]) -> None:
    lines = []
    for name, text in texts.items():
        oid = git.run(project, "hash-object", "-w", "--stdin", input=text).decode().strip()
        lines.append(f"100644 {oid}\t".encode() + os.fsencode(name) + b"\0")
    for index in indexes:
        git.run(project, "update-index", "-z", "--index-info", input=b"".join(lines), index=index)
