"""diff: what changed between two commits, or a commit and the workspace, side by side."""

from __future__ import annotations

import os

from mlrepro import (
    comparing,
    git,
    gitlog,
    inside,
    locating,
    naming,
    revisions,
    sides,
    valuefiles,
    values,
)
from mlrepro.dataclass import TYPE_CHECKING, dataclass
from mlrepro.errors import MlreproError
from mlrepro.result import Options, Result

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from mlrepro.comparing import CodeChange, DataChange
    from mlrepro.project import Project
    from mlrepro.sides import Content, Side
    from mlrepro.values import Changed


@dataclass(frozen=True)
class DiffResult(Result):
    """``a``, ``b``: full hashes, ``workspace``, or "" for before the first commit.

    ``about``: date and subject of both commits; ``markdown``: it is for a pull request.
    """

    a: str = ""
    b: str = ""
    config: tuple[Changed, ...] = ()
    metrics: tuple[Changed, ...] = ()
    files: tuple[DataChange, ...] = ()
    code: tuple[CodeChange, ...] = ()
    notes: tuple[str, ...] = ()
    about: tuple[str, str] = ("", "")
    markdown: bool = False

    def data(self) -> dict[str, Any]:
        return {
            "a": self.a,
            "b": self.b,
            "config": [_value(change) for change in self.config],
            "metrics": [_value(change) for change in self.metrics],
            "data": [_file(change) for change in self.files],
            "code": [_moved(change, {"path": change.path}) for change in self.code],
        }


def _value(change: Changed) -> dict[str, Any]:
    return {
        "file": change.file,
        "name": change.name,
        "change": change.change,
        "old": change.old,
        "new": change.new,
    }


def _moved(change: DataChange | CodeChange, about: dict[str, Any]) -> dict[str, Any]:
    """What is told of a path, with the one it had before where it was renamed."""
    before = {"before": change.before} if change.before else {}
    return {**about, "change": change.change, **before}


def _file(change: DataChange) -> dict[str, Any]:
    own = change.looks.get("", {})
    told = _moved(change, {"path": change.path, "pointer": _pointer(change)})
    told |= {"old": _content(change.old), "new": _content(change.new)}
    told["rows"] = own["rows"].data() if "rows" in own else None
    if "model" in own:
        told["model"] = own["model"].data()
    if change.members is not None:
        told["members"] = {
            "added": change.members.added,
            "removed": change.members.removed,
            "modified": change.members.modified,
            "renamed": change.members.renamed,
            "inside": [
                {"name": name, **{kind: look.data() for kind, look in found.items()}}
                for name, found in change.looks.items()
                if name
            ],
        }
    return told


def _pointer(change: DataChange) -> str:
    content = change.new or change.old
    return content.pointer if content is not None else ""


def _content(content: Content | None) -> dict[str, Any] | None:
    if content is None:
        return None
    return {"oid": content.oid, "size": content.size, "nfiles": content.nfiles}


def run(
    project: Project,
    names: Sequence[str],
    options: Options,
    rows: bool = False,
    key: str | None = None,
    markdown: bool = False,
) -> DiffResult:
    """Compare two commits, HEAD and the workspace where none is named, in all that ``names`` mean.

    ``key``: the columns that name a row of a table, which ``rows`` compares.
    """
    asked = revisions.understand(project, names)
    a, b = _sides(project, asked, options)
    errors: list[MlreproError] = []
    paths = _paths(project, asked, (a, b), errors)

    def is_meant(path: str, pointer: str = "") -> bool:
        return not asked.paths or any(naming.means(path, pointer, name) for name in paths)

    files = comparing.data(a, b, is_meant)
    wish = inside.Wish(rows or key is not None, key or "")
    inside.look(a, b, files, wish, options)
    config, metrics = _values(a, b, is_meant, errors)
    told = {change.file for change in (*config, *metrics)}
    code = [
        change
        for change in comparing.code(a, b)
        if (is_meant(change.path) or is_meant(change.before)) and change.path not in told
    ]
    return DiffResult(
        errors=(*a.errors, *b.errors, *wish.errors, *errors),
        a=a.name,
        b=b.name,
        config=tuple(config),
        metrics=tuple(metrics),
        files=tuple(files),
        code=tuple(code),
        notes=(*_notes(files), *wish.notes),
        about=(_about(project, a), _about(project, b)),
        markdown=markdown,
    )


def _sides(project: Project, asked: revisions.Asked, options: Options) -> tuple[Side, Side]:
    target = locating.located(project, os.environ, write=False)
    places = [target.cache] if target.store is None else [target.cache, target.store]
    a = sides.Commit(project, git.head(project) if asked.a is None else asked.a, places)
    if asked.b is None:
        return a, sides.Workspace(project, places, options)
    return a, sides.Commit(project, asked.b, places)


def _about(project: Project, side: Side) -> str:
    if side.name in ("", sides.WORKSPACE):
        return ""
    found = next(gitlog.log(project, "-1", "--no-walk", side.name), None)
    return f"{found.date[:10]} {found.subject}" if found is not None else ""


def _paths(
    project: Project, asked: revisions.Asked, both: Iterable[Side], errors: list[MlreproError]
) -> list[str]:
    """The paths that were typed, relative to the root; those on neither side are errors."""
    found = []
    both = tuple(both)
    for typed in asked.paths:
        name = naming.relative(project, typed)
        files = any(naming.means(path, "", name) for side in both for path in side.files)
        if files or any(
            naming.means(item.path, item.pointer, name) for side in both for item in side.outs
        ):
            found.append(name)
        else:
            errors.append(revisions.unknown(project, typed, name, asked))
    if errors and not found:
        raise errors[0]
    return found


def _values(
    a: Side, b: Side, is_meant: Any, errors: list[MlreproError]
) -> tuple[list[Changed], list[Changed]]:
    """The values that differ in config and params files, and in metrics files."""
    kinds: list[list[Changed]] = []
    chosen = [valuefiles.of_side(side, (item.path for item in side.outs)) for side in (a, b)]
    for names in zip(*((files.config, files.metrics) for files in chosen), strict=True):
        read = [
            values.read(side.texts([n for n in mine if is_meant(n)]), side.project.root)
            for side, mine in zip((a, b), names, strict=True)
        ]
        for one in read:
            errors += one.errors
        kinds.append(values.compare(*read))
    config, metrics = kinds
    return config, metrics


def _notes(files: Iterable[DataChange]) -> Iterable[str]:
    for change in files:
        if change.new is not None and change.new.absent:
            yield f"{change.path}: not in the workspace; its pointer was compared"
        if change.is_dir and change.change == comparing.MODIFIED and change.members is None:
            yield f"{change.path}: which of its files changed is not known here: mlrepro pull"
