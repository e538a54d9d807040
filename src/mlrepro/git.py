"""Questions to git, and the few changes that are asked of it."""

from __future__ import annotations

import os

from mlrepro import gitindex, loose, process
from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.errors import MlreproError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mlrepro.project import Project

# A path is a path: without this, git reads "[", "*" and ":" in one as a pattern.
LITERAL = {"GIT_LITERAL_PATHSPECS": "1", "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}
QUIET = "MLREPRO_NO_HOOKS"  # set while we run git ourselves and do what the hooks would
_PATTERNS = {**LITERAL, "GIT_LITERAL_PATHSPECS": "0"}
_UNTRACKED = ("git", "ls-files", "-z", "--others", "--exclude-standard", "--")
NULL_OID = "0" * 40
_FEW = 64  # objects that are looked for as files before git is asked for them


def run(
    project: Project,
    *args: str,
    input: bytes = b"",
    index: str = "",
    ok: Sequence[int] = (0,),
    quiet_hooks: bool = False,
) -> bytes:
    """Run one git command at the top of the worktree; ``index`` names another index file.

    With ``quiet_hooks`` our own hooks do nothing in it; those of others run as ever.
    """
    env = {**LITERAL, "GIT_INDEX_FILE": index} if index else LITERAL
    if quiet_hooks:
        env = {**env, QUIET: "1"}
    return process.run(["git", *args], cwd=project.root, input=input, env=env, ok=ok)


def text(project: Project, *args: str, ok: Sequence[int] = (0,)) -> str:
    """As ``run``, for an answer of one line."""
    return os.fsdecode(run(project, *args, ok=ok)).rstrip("\n")


def paths(data: bytes) -> list[str]:
    """The paths in a list that git wrote with ``-z``."""
    return [os.fsdecode(item) for item in data.split(b"\0") if item]


def joined(names: Iterable[str]) -> bytes:
    """Paths as git reads them with ``-z --stdin``."""
    return b"".join(os.fsencode(name) + b"\0" for name in names)


def resolve(project: Project, revision: str) -> str:
    """The commit that ``revision`` names, as 40 (or 64) hex digits. Raises UsageError."""
    code, out = process.run_code(
        ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", revision + "^{commit}"],
        cwd=project.root,
        env=LITERAL,
        ok=(0, 1, 128),
    )
    if code:
        raise MlreproError(
            f"No such commit: {revision}",
            "git log --oneline --all shows the commits; a branch, a tag or HEAD~1 will do too",
            code="unknown-revision",
            commit=revision,
        )
    return out.decode().strip()


def head(project: Project) -> str:
    """The commit that is checked out, or "" before the first one."""
    asked = ("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    return _loose_head(project) or text(project, *asked, ok=(0, 1, 128))


def _loose_head(project: Project) -> str:
    """HEAD where two small files say it (gitrepository-layout(5)), without a process; else ""."""
    try:
        with open(os.path.join(project.git_dir, "HEAD"), encoding="ascii") as file:
            name = file.read(4096).strip()
        if name.startswith("ref: refs/heads/"):
            with open(os.path.join(project.common_dir, name[5:]), encoding="ascii") as file:
                name = file.read(4096).strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return name if len(name) == len(NULL_OID) and name.isalnum() else ""


def entries(project: Project, index: str = "") -> gitindex.Entries:
    """What the index holds, read directly where its kind allows, else asked of git."""
    found = gitindex.read(index or os.path.join(project.git_dir, "index"))
    if found is not None and not _sha256(project):
        return found
    answer = gitindex.Entries()
    listing = run(project, "ls-files", "-z", "--stage", "--full-name", index=index)
    for line in listing.split(b"\0"):
        if line:
            about, name = line.split(b"\t", 1)
            _, oid, stage = about.split(b" ")
            answer.names.append(name)
            answer.oids.append(bytes.fromhex(oid.decode()))
            answer.sizes.append(_size(os.path.join(os.fsencode(project.root), name)))
            answer.stages.append(int(stage))
    return answer


def _sha256(project: Project) -> bool:
    try:
        with open(os.path.join(project.common_dir, "config"), "rb") as file:
            return any(b"sha256" in line.lower() for line in file)
    except OSError:
        return False


def _size(path: bytes) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0


def blobs(project: Project, oids: Iterable[str], limit: int = 64 << 20) -> dict[str, bytes]:
    """The contents of git objects, through one ``cat-file --batch``.

    ``oids`` may also be ``REV:PATH`` names. What git does not have, what is larger than ``limit``
    bytes, and a path with a line break, for which there is no way to ask, is left out.
    """
    wanted = [name for name in dict.fromkeys(oids) if "\n" not in name]
    if not wanted:
        return {}
    contents = loose.blobs(_loose(project), wanted, limit) if len(wanted) <= _FEW else {}
    wanted = [name for name in wanted if name not in contents]
    if not wanted:
        return contents
    data = run(project, "cat-file", "--batch", input=os.fsencode("\n".join(wanted)) + b"\n")
    found = zip(wanted, contents_in(data, len(wanted), limit), strict=True)
    return contents | {name: content for name, content in found if content is not None}


def _loose(project: Project) -> str:
    """Where loose objects lie, or a folder without any where they may not be what git would say."""
    if os.path.isdir(os.path.join(project.common_dir, "refs", "replace")):
        return os.devnull
    return os.environ.get("GIT_OBJECT_DIRECTORY") or os.path.join(project.common_dir, "objects")


def batch(project: Project, oids: Sequence[bytes]) -> bytes:
    """What ``git cat-file --batch`` says of these git objects: see ``contents_in``."""
    return process.run(
        ["git", "cat-file", "--batch", "--buffer"],
        cwd=project.root,
        input=b"\n".join(oids) + b"\n",
        env=LITERAL,
        spooled=True,
    )


def contents_in(data: bytes, count: int, limit: int = 64 << 20) -> list[bytes | None]:
    """The contents of ``count`` objects in what ``batch`` returned, in the order asked for.

    None for what git does not have, and for what is larger than ``limit`` bytes.
    """
    found: list[bytes | None] = []
    at = 0
    for _ in range(count):
        end = data.index(b"\n", at)
        size = data[at:end].rpartition(b" ")[2]
        at = end + 1
        if not size.isdigit():
            found.append(None)
            continue
        end = at + int(size)
        found.append(data[at:end] if end - at <= limit else None)
        at = end + 1
    return found


def sizes(project: Project, oids: Iterable[str]) -> dict[str, int]:
    """The size in bytes of each git object that there is."""
    wanted = "\n".join(dict.fromkeys(oids)).encode() + b"\n"
    found = {}
    for line in run(project, "cat-file", "--batch-check", input=wanted).splitlines():
        fields = line.split(b" ")
        if len(fields) == 3 and fields[2].isdigit():
            found[fields[0].decode()] = int(fields[2])
    return found


def names(project: Project, wanted: Iterable[str]) -> dict[str, str]:
    """The git object that each ``REV:PATH`` stands for; what there is not is left out."""
    asked = [name for name in dict.fromkeys(wanted) if "\n" not in name]
    if not asked:
        return {}
    data = run(
        project,
        "cat-file",
        "--batch-check=%(objectname)",
        input=os.fsencode("\n".join(asked)) + b"\n",
    )
    answers = data.decode("utf-8", "replace").removesuffix("\n").split("\n")
    return {
        name: answer
        for name, answer in zip(asked, answers, strict=True)
        if " " not in answer and answer
    }


def tree(project: Project, revision: str) -> list[tuple[str, str, int]]:
    """Every file of a commit: its path, git object and size in bytes."""
    data = run(project, "ls-tree", "-r", "-z", "-l", "--full-tree", revision)
    found = []
    for line in data.split(b"\0"):
        if line:
            about, name = line.split(b"\t", 1)
            _, kind, oid, size = about.split()
            if kind == b"blob":
                found.append((os.fsdecode(name), oid.decode(), int(size)))
    return found


def staged_against(
    project: Project, revision: str, index: str = ""
) -> list[tuple[str, str, str, str]]:
    """What the index changes against a commit: (status letter, old oid, new oid, path)."""
    base = revision or run(project, "hash-object", "-t", "tree", "--stdin").decode().strip()
    data = run(project, "diff-index", "--cached", "--raw", "-z", "--no-renames", base, index=index)
    fields = data.split(b"\0")
    return [
        (about[4].decode()[:1], about[2].decode(), about[3].decode(), os.fsdecode(name))
        for head_, name in zip(fields[::2], fields[1::2], strict=False)
        if (about := head_.split(b" "))
    ]


def is_as_staged(project: Project, name: str) -> bool:
    """Whether git tracks this file and it is as it was staged."""
    if not listed(project, [name]):
        return False
    code, _ = process.run_code(
        ["git", "diff", "--quiet", "--no-ext-diff", "--", name],
        cwd=project.root,
        env=LITERAL,
        ok=(0, 1),
    )
    return code == 0


def listed(project: Project, names: Sequence[str]) -> set[str]:
    """Which of these paths git tracks; a folder counts where git tracks any file in it."""
    if not names:
        return set()
    held = entries(project)
    raw = {name: os.fsencode(name) for name in names}
    return {name for name in names if held.find(raw[name]) >= 0 or held.within(raw[name])}


def untracked(project: Project, *patterns: str) -> list[str]:
    """Files that git neither tracks nor ignores, whose path matches a pathspec."""
    argv = [*_UNTRACKED, *patterns]
    return paths(process.run(argv, cwd=project.root, env=_PATTERNS))


def begin_untracked(project: Project, *patterns: str) -> process.Started | None:
    """Begin to ask that, while something else is done; None where it cannot be begun."""
    argv = ["git", "-C", project.root, *_UNTRACKED[1:], *patterns]
    try:
        return process.Started(argv, env={**os.environ, **_PATTERNS})
    except OSError:
        return None


def told_untracked(begun: process.Started) -> list[str] | None:
    """What git answered to that; None where it could not."""
    code, data, _ = begun.ended()
    return paths(data) if code == 0 else None


def ignored(
    project: Project, names: Sequence[str], *, worktree: str = ""
) -> dict[str, tuple[str, str]]:
    """Which of these paths git's rules hide: path → (the file of the rule, the rule).

    A path that a ``!`` rule brings back is not hidden and not in the answer. ``worktree`` is
    another folder whose ignore files are to count.
    """
    if not names:
        return {}
    place = [f"--git-dir={project.git_dir}", f"--work-tree={worktree}"] if worktree else []
    # check-ignore knows no literal pathspecs; behind "./" nothing in a path is magic to it.
    code, data = process.run_code(
        ["git", *place, "check-ignore", "-z", "-v", "--no-index", "--stdin"],
        cwd=worktree or project.root,
        input=joined("./" + name for name in names),
        env=_PATTERNS,
        ok=(0, 1),
    )
    fields = data.split(b"\0") if code == 0 else []
    hidden = {}
    for source, _, rule, name in zip(*[iter(fields)] * 4, strict=False):
        if not rule.startswith(b"!"):
            hidden[os.fsdecode(name)[2:]] = (os.fsdecode(source), os.fsdecode(rule))
    return hidden


def setting(project: Project, name: str) -> str:
    """One value of git's configuration, or "" where it is not set."""
    return text(project, "config", "--get", name, ok=(0, 1))


def origin(root: str) -> str:
    """The path of the repository that the one at ``root`` was cloned from, if it is on this disk.

    ``root``: the top of a worktree, or a bare repository.
    """
    _, data = process.run_code(
        ["git", "config", "--get", "remote.origin.url"], cwd=root, env=LITERAL, ok=(0, 1, 128)
    )
    url = os.fsdecode(data).rstrip("\n").removeprefix("file://")
    if not url or ("://" in url) or (":" in url.split("/")[0]):
        return ""
    folder = os.path.realpath(os.path.join(root, url))
    return folder if os.path.isdir(folder) else ""


def worktrees(project: Project) -> list[str]:
    """The top folder of each worktree of this clone, the main one first."""
    lines = run(project, "worktree", "list", "--porcelain").split(b"\n")
    return [os.fsdecode(line[9:]) for line in lines if line.startswith(b"worktree ")]


def git_path(project: Project, name: str) -> str:
    """Where git keeps ``name`` ("hooks" respects ``core.hooksPath``), as an absolute path."""
    return os.path.join(project.root, text(project, "rev-parse", "--git-path", name))
