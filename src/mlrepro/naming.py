"""What a user means by a path: files, folders and globs, each fit to be tracked or refused."""

from __future__ import annotations

import glob
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlrepro import capture, dvcignore, git, patterns, remote, worktree
from mlrepro.capture import Target
from mlrepro.errors import MlreproError, PathError, RepositoryError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlrepro.index import Record
    from mlrepro.project import Project
    from mlrepro.worktree import Tracked

_NOT_NEW = frozenset({"path-in-git", "path-holds-tracked", "path-reserved"})
NOT_DATA = frozenset({".gitignore", ".dvcignore", ".gitattributes", ".gitkeep"})


@dataclass(slots=True)
class Chosen:
    """The targets that were meant, outputs of pipelines among them apart, and what was refused."""

    targets: list[Target] = field(default_factory=list)
    pipeline: list[Tracked] = field(default_factory=list)
    errors: list[MlreproError] = field(default_factory=list)


def require_dvc(project: Project) -> None:
    """Raise RepositoryError where the repository has not been set up."""
    if not os.path.isdir(project.dvc_dir):
        raise RepositoryError(
            "This repository is not set up for mlrepro: it has no .dvc folder.",
            "mlrepro init",
            code="not-initialised",
        )


def relative(project: Project, typed: str) -> str:
    """A path as typed in ``cwd``, relative to the root; "" for the root. Raises PathError."""
    absolute = os.path.normpath(os.path.join(project.cwd, typed))
    if absolute == project.root:
        return ""
    if not absolute.startswith(project.root.rstrip(os.sep) + os.sep):
        parent = os.path.realpath(os.path.dirname(absolute))  # a root reached through a link
        absolute = os.path.join(parent, os.path.basename(absolute))
        if not absolute.startswith(project.root.rstrip(os.sep) + os.sep):
            raise PathError(
                f"{typed} is outside the repository {project.root}.",
                "copy the data into the repository first",
                code="path-outside",
                path=typed,
            )
    return os.path.relpath(absolute, project.root)


def expand(project: Project, typed: Sequence[str]) -> tuple[list[str], list[MlreproError]]:
    """The paths (relative to the root) that were typed, globs that the shell left expanded."""
    names: dict[str, None] = {}
    errors: list[MlreproError] = []
    for item in typed:
        try:
            itself = os.path.join(project.cwd, item)
            if patterns.is_pattern(item) and not os.path.lexists(itself):
                found = _globbed(project, os.path.join(glob.escape(project.cwd), item))
                if not found:
                    raise PathError(f"Nothing matches {item}", "ls", code="path-missing", path=item)
                names.update(dict.fromkeys(found))
            else:
                names[relative(project, item)] = None
        except MlreproError as error:
            errors.append(error)
    return list(names), errors


def _globbed(project: Project, pattern: str) -> list[str]:
    """The data that an absolute pattern matches, relative to the root.

    Of a folder and what is in it, the folder counts where it is tracked, else what is in it.
    """
    found = sorted({relative(project, path) for path in glob.glob(pattern, recursive=True)})
    names = dict.fromkeys(
        name
        for name in found
        if name and not worktree.is_pointer(name) and os.path.basename(name) not in NOT_DATA
    )
    holding = {one: None for name in names for one in patterns.folders_above(name) if one in names}
    whole = {one for one in holding if os.path.isfile(project.absolute(capture.pointer_name(one)))}
    return [
        name
        for name in names
        if (name in whole or name not in holding) and not whole & set(patterns.folders_above(name))
    ]


def tracked(
    project: Project, listing: worktree.Listing, typed: Sequence[str]
) -> tuple[list[Tracked], list[MlreproError]]:
    """The tracked outputs that were named: themselves, by pointer, by a folder above, by a glob.

    They need not be on the disk. No name at all means all of them.
    """
    if not typed:
        return listing.outs, list(listing.errors)
    errors: list[MlreproError] = []
    found: dict[str, Tracked] = {}
    for item in typed:
        try:
            name = relative(project, item)
        except MlreproError as error:
            errors.append(error)
            continue
        named = [out for out in listing.outs if _is_itself(out.path, out.pointer, name)]
        named = named or [out for out in listing.outs if means(out.path, out.pointer, name)]
        bad = [error for error in listing.errors if error.path in (name, name + ".dvc")]
        errors += bad
        if not named and not bad:
            errors.append(
                PathError(
                    f"Not tracked: {item}",
                    "mlrepro status lists what is tracked",
                    code="path-not-tracked",
                    path=name,
                )
            )
        found.update((out.path, out) for out in named)
    return list(found.values()), errors


def means(path: str, pointer: str, name: str) -> bool:
    """Whether ``name`` (relative to the root) means a tracked path.

    As itself, by its pointer, by a folder above it, by a file inside it, or by a glob.
    """
    if _is_itself(path, pointer, name):
        return True
    if not patterns.is_pattern(name):
        return False
    every = (*patterns.folders_above(path), path, pointer)
    return any(patterns.matches(one, name) for one in every if one)


def _is_itself(path: str, pointer: str, name: str) -> bool:
    if not name or name in (path, pointer):
        return True
    return path.startswith(name + "/") or name.startswith(path + "/")


def chosen(project: Project, typed: Sequence[str], record: Record) -> Chosen:
    """What the user named, each path with its pointer where it has one; the unfit are refused."""
    names, errors = expand(project, typed)
    result = Chosen(errors=errors)
    fit: dict[str, Target] = {}
    used = remote.of(project, os.environ)
    own = [used.cache.root, *([used.store.root] if used.store is not None else [])]
    for name in names:
        try:
            _refuse_own(project, name, own)
            for target in _targets(project, name, record):
                fit.setdefault(target.path, target)
        except MlreproError as error:
            error.path = error.path or name
            result.errors.append(error)
    for name in list(fit):
        within = [folder for folder in patterns.folders_above(name) if folder in fit]
        if within:
            del fit[name]
            result.errors.append(_inside(project, name, within[0]))
    _settle_elsewhere(project, fit, result)
    fresh = [target.path for target in fit.values() if target.item is None]
    for name in sorted(git.listed(project, fresh)):
        del fit[name]
        result.errors.append(
            PathError(
                f"{name} is in git already; content in git cannot be in the store too.",
                f"git rm -r --cached {quoted(project.show(name))} && "
                f"mlrepro track {quoted(project.show(name))}",
                code="path-in-git",
                path=name,
            )
        )
    result.targets = list(fit.values())
    return result


def _settle_elsewhere(project: Project, fit: dict[str, Target], result: Chosen) -> None:
    """Give what seems new the pointer that names it elsewhere, with others or from a pipeline.

    What overlaps with such an output is refused: DVC could not work with both.
    """
    fresh = [name for name, target in fit.items() if target.item is None]
    if not fresh:
        return
    tracked = worktree.in_worktree(project).by_path()
    holding = {
        folder: item.pointer
        for item in tracked.values()
        for folder in patterns.folders_above(item.path)
    }
    for name in fresh:
        item = tracked.get(name)
        above = [folder for folder in patterns.folders_above(name) if folder in tracked]
        if item is not None and not item.in_lock:
            fit[name] = Target(name, item.pointer, item)
            continue
        if item is not None:
            result.pipeline.append(item)
        elif above:
            result.errors.append(_inside(project, name, above[0]))
        elif name in holding:
            result.errors.append(_holds(project, name, holding[name]))
        else:
            continue
        del fit[name]


def quoted(text: str) -> str:
    """A path as a shell takes it."""
    import shlex

    return shlex.quote(text if not text.startswith("-") else "./" + text)


def _targets(project: Project, name: str, record: Record) -> list[Target]:
    if not name:
        raise PathError(
            "The whole repository cannot be one tracked folder.",
            "name the folder that holds the data",
            code="path-is-root",
            path=".",
        )
    if name.split("/", maxsplit=1)[0] in (".git", ".dvc"):
        raise PathError(
            f"{name} belongs to git or DVC.",
            "name a file or folder of your own",
            code="path-reserved",
            path=name,
        )
    if name.endswith(".dvc") and os.path.lexists(project.absolute(name)):
        return _by_pointer(project, name)
    check_name(name)
    item = existing(project, name, record)
    _check_kind(project, name, item)
    if item is not None:
        return [Target(item.path, item.pointer, item)]
    check_free(project, name, record)
    return [Target(name, capture.pointer_name(name))]


def _refuse_own(project: Project, name: str, own: Sequence[str]) -> None:
    """Refuse the store and the cache, what is in them, and what holds them."""
    path = f"{project.absolute(name)}/" if name else ""
    for place in own:
        if path and (path.startswith(f"{place}/") or f"{place}/".startswith(path)):
            raise PathError(
                f"{name} belongs to the blob store: it is not data to be tracked.",
                "name the folder that holds the data",
                code="path-reserved",
                path=name,
            )


def _by_pointer(project: Project, name: str) -> list[Target]:
    """The outputs of a pointer that was named itself; a data file of such a name is refused."""
    listing = worktree.in_worktree(project, [name])
    for error in listing.errors:
        if error.code in ("pointer-conflict", "pointer-empty") or git.listed(project, [name]):
            raise error
        raise PathError(
            f"{name} is not a pointer, and data cannot be called .dvc: DVC would read it as one.",
            f"mv {quoted(name)} {quoted(name[:-4] + '.data')}",
            code="path-named-dvc",
            path=name,
        )
    return [Target(item.path, item.pointer, item) for item in listing.outs]


def existing(project: Project, name: str, record: Record) -> Tracked | None:
    """What the pointer of ``name`` says, or None where it has none. Raises PointerError."""
    entry = record.entries.get(name)
    candidates = dict.fromkeys(
        ([entry.pointer] if entry is not None else []) + [capture.pointer_name(name)]
    )
    for candidate in candidates:
        listing = worktree.in_worktree(project, [candidate])
        for item in listing.outs:
            if item.path == name:
                return item
        if listing.errors:
            raise listing.errors[0]
    return None


def check_name(name: str) -> None:
    """Raise PathError for a name that pointers or ignore files cannot hold."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise PathError(
            f"The name is not valid UTF-8: {os.fsencode(name)!r}",
            "rename the file",
            code="path-not-utf8",
            path=name,
        ) from error
    if "\n" in name or "\r" in name:
        raise PathError(
            f"The name holds a line break: {name!r}",
            "rename the file: ignore files and pointers are read line by line",
            code="path-newline",
            path=name,
        )
    if os.path.basename(name) in NOT_DATA:
        raise PathError(
            f"{name} is a file of git or DVC: it belongs into git itself.",
            f"git add {quoted(name)}",
            code="path-reserved",
            path=name,
        )


def _check_kind(project: Project, name: str, item: Tracked | None) -> None:
    link = worktree.linked_parent(project, name)
    path = project.absolute(name)
    if link or os.path.islink(path):
        leads = os.path.realpath(path)
        outside = not leads.startswith(project.root + os.sep)
        raise PathError(
            f"{link or name} is a symbolic link{' that leads outside' if outside else ''}: "
            "it is not followed.",
            "track the real file, or copy it here",
            code="path-symlink",
            path=name,
        )
    try:
        mode = os.lstat(path).st_mode
    except OSError as error:
        shown = project.show(name)
        folder = quoted(os.path.dirname(shown) or ".")
        hint = f"mlrepro pull {quoted(shown)}" if item is not None else f"ls {folder}"
        raise PathError(
            f"No such file or folder: {project.show(name)}", hint, code="path-missing", path=name
        ) from error
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise PathError(
            f"{name} is neither a file nor a folder (a pipe, a socket or a device).",
            "track the file that its content is written to",
            code="path-not-regular",
            path=name,
        )


def _holds(project: Project, name: str, inner: str) -> PathError:
    return PathError(
        f"{name} holds what is tracked on its own: {inner}",
        f"mlrepro track '{project.show(name)}/*'",
        code="path-holds-tracked",
        path=name,
    )


def check_free(project: Project, name: str, record: Record) -> None:
    """Refuse what lies in a tracked folder, and a folder in which something is tracked."""
    parent = os.path.dirname(name)
    while parent:
        if existing(project, parent, record) is not None:
            raise _inside(project, name, parent)
        parent = os.path.dirname(parent)
    path = project.absolute(name)
    if not os.path.isdir(path):
        if dvcignore.is_left_out(project, name):
            raise PathError(
                f"{name} is left out by a .dvcignore file.",
                "change the rule in .dvcignore",
                code="path-ignored",
                path=name,
            )
        return
    for place, folders, files in os.walk(path):
        folders[:] = [folder for folder in folders if folder not in (".git", ".dvc")]
        for file in files:
            if file.endswith(".dvc"):
                inner = os.path.relpath(os.path.join(place, file), project.root)
                raise _holds(project, name, inner)


def _inside(project: Project, name: str, folder: str) -> PathError:
    return PathError(
        f"{name} lies in the tracked folder {folder}: it is part of that already.",
        f"mlrepro track {quoted(project.show(folder))}",
        code="path-inside-tracked",
        path=name,
    )


def everything(project: Project, record: Record) -> Chosen:
    """All that is tracked and has its data here, and new files that ``TRACK`` asks for."""
    listing = worktree.in_worktree(project)
    result = Chosen(errors=list(listing.errors))
    known = set()
    for item in listing.outs:
        known.add(item.path)
        if item.in_lock:
            result.pipeline.append(item)
        elif os.path.lexists(project.absolute(item.path)):
            result.targets.append(Target(item.path, item.pointer, item))
    fresh: dict[str, None] = {}
    for pattern in patterns.of_new_data(project):
        for name in _globbed(project, os.path.join(glob.escape(project.root), pattern)):
            if name not in known and not any(one in known for one in patterns.folders_above(name)):
                fresh[name] = None
    new = chosen(project, [project.absolute(name) for name in fresh], record)
    result.targets += new.targets
    # What is in git, or holds what is tracked, is not new: a pattern is only a wish.
    result.errors += [error for error in new.errors if error.code not in _NOT_NEW]
    return result
