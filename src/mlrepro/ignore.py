"""The .gitignore files: data is kept out of git, and pointers are never hidden."""

from __future__ import annotations

import os

from mlrepro import durable, git, scratch, staging, writing
from mlrepro.dataclass import TYPE_CHECKING, dataclass, replace
from mlrepro.errors import PathError
from mlrepro.lock import Lock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlrepro.project import Project

# What gitignore(5) reads as more than a letter; DVC escapes the same ones (dvc/ignore.py).
SPECIAL = frozenset("*?[]!#\\")


@dataclass(frozen=True, slots=True)
class Change:
    """Lines to add to one ignore file (``file`` relative to the root), and what it said before.

    ``removed``: lines of our own that go, since the data that they named is no longer there.
    """

    file: str
    before: str
    added: tuple[str, ...]
    removed: tuple[str, ...] = ()

    @property
    def after(self) -> str:
        """The whole new text: the other lines that were there stay as they are."""
        lines = self.before.split("\n")  # where git breaks them, and nowhere else
        text = "\n".join(line for line in lines if line.rstrip("\r") not in self.removed)
        if text and not text.endswith("\n"):
            text += "\n"
        return text + "".join(line + "\n" for line in self.added)


def lock(project: Project) -> Lock:
    """Held from the reading of ignore files to their writing, so that two at once lose no line."""
    os.makedirs(project.state_dir, exist_ok=True)
    return Lock(os.path.join(project.state_dir, "ignore.lock"))


def rule(name: str) -> str:
    """The rule that names exactly the file or folder ``name`` beside the ignore file."""
    escaped = "".join("\\" + letter if letter in SPECIAL else letter for letter in name)
    if escaped.endswith(" "):  # git drops a bare space at the end of a line
        escaped = escaped.rstrip(" ") + "\\ " * (len(escaped) - len(escaped.rstrip(" ")))
    return "/" + escaped


def top_rule(path: str) -> str:
    """The rule that names exactly ``path`` from the top of the repository."""
    return "".join(rule(part) for part in path.split("/"))


def set_right(project: Project, pointers: Sequence[str], outs: Sequence[str]) -> list[Change]:
    """What to add so that git sees these pointers, and not the data that they name.

    As ``bring_back`` and then ``keep_out``; git is asked once where the pointers are seen already.
    """
    staging.sweep(_scratch(project))
    named = _with_siblings(pointers)
    hidden = git.ignored(project, [*named, *outs])
    if not any(name in hidden for name in named):
        return _keep_out(project, outs, {}, hidden)
    return keep_out(project, outs, bring_back(project, pointers))


def keep_out(
    project: Project, outs: Sequence[str], known: Sequence[Change] = (), *, top: bool = False
) -> list[Change]:
    """What to add so that git ignores the data at ``outs`` (relative to the root).

    As DVC does: one rule for each, in the ``.gitignore`` beside it, where no rule of the repository
    hides it yet; a rule of this clone or this user alone does not count, since others lack it.
    ``known`` are changes already planned, which this goes on from; with ``top`` the rules go into
    the ``.gitignore`` at the root.
    """
    planned = {change.file: change for change in known}
    hidden = _hidden(project, outs, planned) if planned else git.ignored(project, outs)
    return _keep_out(project, outs, planned, hidden, top=top)


def _keep_out(
    project: Project,
    outs: Sequence[str],
    planned: dict[str, Change],
    hidden: Mapping[str, tuple[str, str]],
    *,
    top: bool = False,
) -> list[Change]:
    lines: dict[str, dict[str, None]] = {}
    for out in outs:
        if out in hidden and _is_own(hidden[out][0]):
            continue
        folder, _, name = out.rpartition("/")
        file = folder + "/.gitignore" if folder and not top else ".gitignore"
        lines.setdefault(file, {})[top_rule(out) if top else rule(name)] = None
    for file, rules in lines.items():
        _add(project, planned, file, [*rules])
    return list(planned.values())


def _with_siblings(pointers: Sequence[str]) -> list[str]:
    """These pointers, and the ignore files beside them."""
    beside = {pointer.rpartition("/")[0] for pointer in pointers}
    return list(dict.fromkeys([*pointers, *sorted(os.path.join(f, ".gitignore") for f in beside)]))


def without(project: Project, out: str, known: Sequence[Change] = ()) -> list[Change]:
    """What to change so that the rule that ``keep_out`` made for ``out`` is gone."""
    planned = {change.file: change for change in known}
    folder, _, name = out.rpartition("/")
    file = folder + "/.gitignore" if folder else ".gitignore"
    change = planned.get(file) or Change(file, read(project, file), ())
    if rule(name) in (line.rstrip("\r") for line in change.before.split("\n")):
        planned[file] = replace(change, removed=(*change.removed, rule(name)))
    return list(planned.values())


def write(project: Project, changes: Sequence[Change]) -> list[str]:
    """Write the ignore files as planned; one that says nothing any more is removed, as DVC does.

    Returns their names, for git to be told.
    """
    for change in changes:
        path, text = project.absolute(change.file), change.after
        if text or not change.removed:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            writing.write_atomic(path, bytes_of(change))
        else:
            durable.discard(path)
    return [change.file for change in changes]


def bytes_of(change: Change) -> bytes:
    """The whole new text, as it is written."""
    return change.after.encode("utf-8", "surrogateescape")


def note(project: Project, changes: Sequence[Change]) -> None:
    """Note which ignore files are about to be written and then staged: a kill may come between."""
    if changes:
        names = dict.fromkeys([*noted(project), *(change.file for change in changes)])
        os.makedirs(project.state_dir, exist_ok=True)
        text = "".join(name + "\0" for name in names)
        writing.write_atomic(_note(project), os.fsencode(text), durable=False)


def noted(project: Project) -> list[str]:
    """The ignore files that a run which was killed may have written and not staged."""
    try:
        with open(_note(project), "rb") as file:
            names = os.fsdecode(file.read()).split("\0")[:-1]
    except OSError:
        return []
    return [name for name in names if os.path.isfile(project.absolute(name))]


def forget(project: Project) -> None:
    """What was noted is staged."""
    durable.discard(_note(project))


def _note(project: Project) -> str:
    return os.path.join(project.state_dir, "ignore-files")


def bring_back(
    project: Project,
    pointers: Sequence[str],
    known: Sequence[Change] = (),
    *,
    siblings: bool = True,
) -> list[Change]:
    """What to add so that git no longer ignores these pointers and the ignore files beside them.

    Without ``siblings`` the files themselves only, each by its own name. An ignore file that is
    changed is itself brought back.
    Where a folder is hidden, it is opened just so far that the pointers in it can be seen: its
    other contents stay hidden. A rule of the user's is never changed.
    """
    staging.sweep(_scratch(project))
    named = _with_siblings(pointers) if siblings else list(dict.fromkeys(pointers))
    planned = {change.file: change for change in known}
    if not git.ignored(project, named) and not planned:
        return []
    while True:
        wanted = list(dict.fromkeys([*named, *planned]))
        levels = dict.fromkeys(level for name in wanted for level in _levels(name))
        # A folder that is hidden hides all below it, whatever they say: open from the top down. A
        # rule in a folder counts only once that is open, so each step is looked at anew.
        hidden = _hidden(project, [*levels, *wanted], planned)
        shut = [level for level in levels if level in hidden]
        if shut:
            highest = min(level.count("/") for level in shut)
            for level in shut:
                if level.count("/") == highest:
                    file = _file_for(hidden[level][0])
                    where = _within(file, level)
                    _add(project, planned, file, [f"!/{where}/", f"/{where}/*"])
            continue
        hidden_names = [name for name in wanted if name in hidden]
        if not hidden_names:
            return list(planned.values())
        answers: dict[tuple[str, str], None] = {}  # one line may bring several pointers back
        for name in hidden_names:
            file = _file_for(hidden[name][0])
            where = _within(file, name)
            if siblings and name.endswith(".dvc"):
                inner = _within(file, os.path.dirname(name)) if "/" in where else ""
                where = f"{inner}/*.dvc" if inner else "*.dvc"
            answers[file, f"!/{where}"] = None
        for file, line in answers:
            _add(project, planned, file, [line])


def _levels(name: str) -> list[str]:
    """Every folder above ``name``, from the top down."""
    parts = name.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]


def _hidden(
    project: Project, names: Sequence[str], planned: dict[str, Change]
) -> dict[str, tuple[str, str]]:
    """Which of these git would ignore, were the planned changes made: as ``git.ignored``.

    Git answers for a worktree of nothing but the ignore files that have a say, as they would be,
    and the folders on the way, since many rules are for folders only.
    """
    levels = dict.fromkeys(level for name in names for level in _levels(name))
    files = dict.fromkeys(os.path.join(level, ".gitignore") for level in ("", *levels))
    with scratch.room(_scratch(project), project.git_dir) as own:
        room = own.folder
        for folder in (*levels, *(os.path.dirname(file) for file in planned)):
            os.makedirs(os.path.join(room, folder), exist_ok=True)
        for name in names:
            if os.path.isdir(project.absolute(name)):
                os.makedirs(os.path.join(room, name), exist_ok=True)
        for file in (*files, *planned):
            text = planned[file].after if file in planned else text_of(project.absolute(file))
            if text:
                with open(os.path.join(room, file), "wb") as copy:
                    copy.write(text.encode("utf-8", "surrogateescape"))
        return git.ignored(project, names, worktree=room)


def _scratch(project: Project) -> str:
    return os.path.join(project.state_dir, "scratch")


def _is_own(source: str) -> bool:
    """Whether a rule's file is one of the repository's, which a clone has too."""
    inside = not os.path.isabs(source) and not source.startswith("..")
    return inside and os.path.basename(source) == ".gitignore"


def _file_for(source: str) -> str:
    """The ignore file in which to answer a rule: the same where it is the repository's own."""
    return source if _is_own(source) else ".gitignore"  # outranks info/exclude, the user's own file


def _within(file: str, name: str) -> str:
    """``name`` as a rule in ``file`` writes it."""
    folder = os.path.dirname(file)
    inner = name[len(folder) + 1 :] if folder else name
    return "/".join(rule(part)[1:] for part in inner.split("/"))


def _add(project: Project, planned: dict[str, Change], file: str, lines: list[str]) -> None:
    """Plan lines at the end of an ignore file, where they have its last word."""
    change = planned.get(file) or Change(file, read(project, file), ())
    if lines[0] in change.added:
        raise PathError(
            f"The line {lines[0]} in {file} does not do what it should.",
            f"look at the rules in {file}",
            code="ignore-failed",
            path=file,
        )
    planned[file] = replace(change, added=(*change.added, *lines))


def text_of(path: str) -> str:
    """The text of an ignore file as git takes it: "" for one that is absent or a link."""
    if os.path.islink(path) or not os.path.isfile(path):
        return ""
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return file.read()


def read(project: Project, file: str) -> str:
    """The text of an ignore file, "" where it is absent. Raises PathError for a link."""
    path = project.absolute(file)
    if os.path.islink(path):
        raise PathError(
            f"{file} is a symbolic link: it is not written through.",
            "replace it by a file of its own",
            code="path-symlink",
            path=file,
        )
    if os.path.isdir(path):
        raise PathError(
            f"{file} is a folder, where git has its rules.",
            f"mv {file} {file}.away",
            code="path-not-regular",
            path=file,
        )
    return text_of(path)
