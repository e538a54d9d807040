"""What is to be tracked: the files, folders and globs that were named, or all there is."""

from __future__ import annotations

import os

from mlrepro import capture, fitness, git, naming, outputs, patterns, remote, whereabouts
from mlrepro.capture import Target
from mlrepro.dataclass import TYPE_CHECKING, dataclass, field
from mlrepro.errors import MlreproError, PathError
from mlrepro.safepath import quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlrepro.index import Record
    from mlrepro.outputs import Tracked
    from mlrepro.process import Started
    from mlrepro.project import Project

_NOT_NEW = frozenset({"path-in-git", "path-holds-tracked", "path-reserved"})


@dataclass(slots=True)
class Chosen:
    """The targets that were meant, outputs of pipelines among them apart, and what was refused."""

    targets: list[Target] = field(default_factory=list)
    pipeline: list[Tracked] = field(default_factory=list)
    errors: list[MlreproError] = field(default_factory=list)


def expand(project: Project, typed: Sequence[str]) -> tuple[list[str], list[MlreproError]]:
    """The paths (relative to the root) that were typed, globs that the shell left expanded."""
    names: dict[str, None] = {}
    errors: list[MlreproError] = []
    for item in typed:
        try:
            itself = os.path.join(project.cwd, item)
            if patterns.is_pattern(item) and not os.path.lexists(itself):
                found = _globbed(project, naming.relative(project, item))
                if not found:
                    raise PathError(f"Nothing matches {item}", "ls", code="path-missing", path=item)
                names.update(dict.fromkeys(found))
            else:
                names[naming.relative(project, item)] = None
        except MlreproError as error:
            errors.append(error)
    return list(names), errors


def _globbed(project: Project, pattern: str) -> list[str]:
    """The data that a pattern relative to the root matches, relative to the root.

    Of a folder and what is in it, the folder counts where it is tracked, else what is in it.
    """
    found = sorted(patterns.expand(project.root, pattern))
    names = dict.fromkeys(
        name
        for name in found
        if name and not outputs.is_pointer(name) and os.path.basename(name) not in fitness.NOT_DATA
    )
    holding = {one: None for name in names for one in patterns.folders_above(name) if one in names}
    whole = {one for one in holding if os.path.isfile(project.absolute(capture.pointer_name(one)))}
    return [
        name
        for name in names
        if (name in whole or name not in holding) and not whole & set(patterns.folders_above(name))
    ]


def chosen(project: Project, typed: Sequence[str], record: Record) -> Chosen:
    """What the user named, each path with its pointer where it has one; the unfit are refused."""
    names, errors = expand(project, typed)
    # Answered by the time that all names are looked at.
    is_new = any(name not in record.entries for name in names)
    asked = outputs.ask_for_new(project) if is_new else None
    try:
        return _chosen(project, names, record, asked, Chosen(errors=errors))
    finally:
        if asked is not None:
            asked.kill()


def _chosen(
    project: Project, names: Sequence[str], record: Record, asked: Started | None, result: Chosen
) -> Chosen:
    fit: dict[str, Target] = {}
    used = remote.of(project, os.environ)
    own = [used.cache.root, *([used.store.root] if used.store is not None else [])]
    around = fitness.Surroundings(project, record, used)
    for name in names:
        try:
            fitness.refuse_own(project, name, own)
            for target in _targets(project, name, record, around):
                fit.setdefault(target.path, target)
        except MlreproError as error:
            error.path = error.path or name
            result.errors.append(error)
    for name in list(fit):
        within = [folder for folder in patterns.folders_above(name) if folder in fit]
        if within:
            del fit[name]
            result.errors.append(fitness.inside(project, name, within[0]))
    _settle_elsewhere(project, fit, result, record, asked, around.own)
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


def _settle_elsewhere(
    project: Project,
    fit: dict[str, Target],
    result: Chosen,
    record: Record,
    asked: Started | None,
    own: Sequence[str],
) -> None:
    """Give what seems new the pointer that names it elsewhere, with others or from a pipeline.

    What overlaps with such an output is refused: DVC could not work with both.
    """
    fresh = [name for name, target in fit.items() if target.item is None]
    if not fresh:
        return
    named = whereabouts.pointers_by_path(project, record, asked)
    holding = {
        folder: pointer
        for path, pointer in named.items()
        for folder in patterns.folders_above(path)
    }
    for name in fresh:
        item = None
        if name in named:
            item = outputs.in_worktree(project, [named[name]], own).by_path().get(name)
        above = [folder for folder in patterns.folders_above(name) if folder in named]
        if item is not None and not item.in_lock:
            fit[name] = Target(name, item.pointer, item)
            continue
        if item is not None:
            result.pipeline.append(item)
        elif above:
            result.errors.append(fitness.inside(project, name, above[0]))
        elif name in holding:
            result.errors.append(fitness.holds(project, name, holding[name]))
        else:
            continue
        del fit[name]


def _targets(
    project: Project, name: str, record: Record, around: fitness.Surroundings
) -> list[Target]:
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
        return _by_pointer(project, name, around.own)
    fitness.check_name(name)
    item = fitness.existing(project, name, record, around.own)
    fitness.check_kind(project, name, item, around)
    if item is not None:
        return [Target(item.path, item.pointer, item)]
    fitness.check_free(project, name, around)
    return [Target(name, capture.pointer_name(name))]


def _by_pointer(project: Project, name: str, own: Sequence[str]) -> list[Target]:
    """The outputs of a pointer that was named itself; a data file of such a name is refused."""
    listing = outputs.in_worktree(project, [name], own)
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


def everything(project: Project, record: Record) -> Chosen:
    """All that is tracked and has its data here, and new files that ``TRACK`` asks for."""
    listing = outputs.in_worktree(project)
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
        for name in _globbed(project, pattern):
            if name not in known and not any(one in known for one in patterns.folders_above(name)):
                fresh[name] = None
    new = chosen(project, [project.absolute(name) for name in fresh], record)
    result.targets += new.targets
    # What is in git, or holds what is tracked, is not new: a pattern is only a wish.
    result.errors += [error for error in new.errors if error.code not in _NOT_NEW]
    return result
