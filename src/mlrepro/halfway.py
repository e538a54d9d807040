"""A checkout in which git was broken off: noted before git begins, undone before the next one."""

from __future__ import annotations

import os
import stat

from mlrepro import durable, git, outputs, plainfile, writing
from mlrepro.dataclass import TYPE_CHECKING, dataclass
from mlrepro.errors import MlreproError, Refused
from mlrepro.lock import Lock
from mlrepro.safepath import quoted

if TYPE_CHECKING:
    from mlrepro.project import Project

# Git brings file by file, then writes its index, then HEAD. Killed in between it leaves a worktree
# of two commits, and refuses to go on, since it takes what it brought itself for edits.

LOCKS = ("index.lock", "HEAD.lock")


@dataclass(frozen=True, slots=True)
class Halfway:
    """``left``: the commit that HEAD is still at; ``commit``: the one that was to come;
    ``revision``: as a person named it; ``brought``: the files that are not as in ``left``.
    """

    left: str
    commit: str
    revision: str
    brought: tuple[str, ...]

    @property
    def note(self) -> str:
        """What a person is told of it."""
        return (
            f"git was broken off in a checkout of {self.revision}: mlrepro checkout "
            f"{self.revision} finishes it"
        )


class Noted:
    """While git brings a commit: a note of it, and a lock by which others see that it is at work.

    The note stays until ``end``, which has to follow where git has brought all.
    """

    def __init__(self, project: Project, revision: str, commit: str) -> None:
        os.makedirs(project.state_dir, exist_ok=True)
        self._place = _note(project)
        self._text = "\0".join((git.head(project), commit, revision))
        self._lock = Lock(self._place + ".lock")

    def __enter__(self) -> Noted:
        self._lock.__enter__()
        writing.write_atomic(self._place, self._text.encode("utf-8", "surrogateescape"))
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.__exit__()


def end(project: Project) -> None:
    """Take the note away: git has brought all, or nothing."""
    durable.discard(_note(project))


def _note(project: Project) -> str:
    return os.path.join(project.state_dir, "checkout")


def of(project: Project) -> Halfway | None:
    """The checkout that was broken off here, if one was, and if any of it is to be seen.

    Where HEAD is elsewhere by now, a person has gone on without us.
    """
    if not os.path.lexists(_note(project)):
        return None
    try:
        with Lock(_note(project) + ".lock", wait=0):
            with open(_note(project), "rb") as file:
                parts = file.read(1 << 16).decode("utf-8", "surrogateescape").split("\0")
            brought = []
            if len(parts) == 3 and parts[0] == git.head(project):
                brought = _brought(project, parts[0], parts[1])
            if not brought:
                end(project)
    except (OSError, MlreproError):  # it is at work; or the commit is no longer there
        return None
    return Halfway(parts[0], parts[1], parts[2], tuple(brought)) if brought else None


def _brought(project: Project, left: str, commit: str) -> list[str]:
    """The files in which two commits differ, and which are not as in the first any more, but as in
    the second, or a beginning of that.
    """
    data = git.run(project, "diff-tree", "-r", "-z", "--no-renames", left, commit)
    parts = os.fsdecode(data).split("\0")
    pairs = zip(parts[::2], parts[1::2], strict=False)  # about a file, and its name
    oids = {name: about.split(" ")[2:4] for about, name in pairs}
    here = [name for name in oids if os.path.lexists(project.absolute(name))]
    found = [name for name in oids if name not in here and oids[name][0] != git.NULL_OID]
    now = _hashed(project, here)
    found += [name for name, oid in now.items() if oid == oids[name][1]]
    other = {name: oids[name][1] for name, oid in now.items() if oid not in oids[name]}
    contents = git.blobs(project, [oid for oid in other.values() if oid != git.NULL_OID])
    found += [name for name in other if _is_part(project, name, contents.get(other[name], b""))]
    return found


def _is_part(project: Project, name: str, whole: bytes) -> bool:
    """Whether a file is a beginning of this: git was killed while it wrote it."""
    about = os.lstat(project.absolute(name))
    if not stat.S_ISREG(about.st_mode) or about.st_size >= len(whole):
        return False
    return whole.startswith(plainfile.read(project.root, name, len(whole)))


def _hashed(project: Project, names: list[str]) -> dict[str, str]:
    """What git would name each file that lies there, its filters applied."""
    links = [name for name in names if os.path.islink(project.absolute(name))]
    found = {n: outputs.git_oid(os.fsencode(os.readlink(project.absolute(n)))) for n in links}
    files = [n for n in names if n not in found and os.path.isfile(project.absolute(n))]
    files = [name for name in files if "\n" not in name]
    text = os.fsencode("".join(f"{name}\n" for name in files))
    hashed = git.run(project, "hash-object", "--stdin-paths", input=text) if files else b""
    return found | dict(zip(files, hashed.decode().split(), strict=True))


def undo(project: Project, broken: Halfway) -> None:
    """Bring the files that git had brought back to what its index says, which is as before.

    Each of them is as some commit has it. What is in the index already is left alone: it is
    what git itself goes on from.
    """
    entries = git.entries(project)
    rows = {name: oid for name, oid, _ in git.tree(project, broken.left)}
    again = []
    for name in broken.brought:
        at = entries.find(os.fsencode(name))
        if at >= 0 and entries.oid(at) == rows.get(name):
            again.append(name)
        elif at < 0 and name not in rows:
            durable.discard(project.absolute(name))
    if again:
        git.run(project, "checkout-index", "-q", "-f", "-u", "-z", "--stdin",
                input=git.joined(again))  # fmt: skip


def locks(project: Project) -> list[str]:
    """The locks of git's that a checkout takes, where they are there."""
    places = [os.path.join(project.git_dir, name) for name in LOCKS]
    return [place for place in places if os.path.lexists(place)]


def broken_off(project: Project, revision: str, why: MlreproError) -> Refused:
    """The error for a checkout that git left half done."""
    held = locks(project)
    again = f"mlrepro checkout {revision} finishes it"
    if held:
        shown = " ".join(map(quoted, held))
        again = f"when no git runs here any more: rm -f {shown}; then {again}"
    return Refused(
        f"Git was broken off in a checkout of {revision}: {why.message}",
        again,
        code="checkout-broken-off",
        path=held[0] if held else "",
    )
