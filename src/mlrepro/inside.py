"""What is inside data files that changed: the rows of tables, the tensors of models."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from mlrepro import models, scratch, tables
from mlrepro.dataclass import TYPE_CHECKING, dataclass, field
from mlrepro.errors import BlobMissing, FileChanging, MlreproError
from mlrepro.sides import WORKSPACE

if TYPE_CHECKING:
    from mlrepro.comparing import DataChange
    from mlrepro.project import Project
    from mlrepro.result import Options
    from mlrepro.sides import Content, Side

MAX_INSIDE = 200  # files of one folder that are looked into


@dataclass(slots=True)
class Wish:
    """What is to be looked at: models always, ``rows`` of tables by ``key`` where asked for.

    ``notes``: what could not be looked at, each with its path in front.
    """

    rows: bool
    key: str
    errors: list[MlreproError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Pair:
    """The file ``member`` of a change ("" for the path itself), and where each side has it."""

    name: str
    member: str
    old: str | None
    new: str | None


def look(a: Side, b: Side, changes: Iterable[DataChange], wish: Wish, options: Options) -> None:
    """Fill in ``looks`` of every change; what cannot be read is added to the wish's errors.

    Raises MlreproError ``table-extra-missing`` where rows are asked for and cannot be had at all.
    """
    if wish.rows:
        tables.require()
    for change in changes:
        for pair in _pairs(a, b, change):
            found: dict[str, tables.Rows | models.ModelChange] = {}
            try:
                if wish.rows and tables.is_table(pair.name):
                    options.reporter.step(f"comparing the rows of {pair.name}")
                    found["rows"] = _rows(a, b, pair, wish.key, options)
                if models.is_model(pair.name) and "" in (pair.old, pair.new):
                    wish.notes.append(f"{pair.name}: not all of its content is on this machine")
                elif models.is_model(pair.name):
                    model = _model(pair)
                    if model is not None:
                        found["model"] = model
            except MlreproError as error:
                error.path = error.path or pair.name
                wish.errors.append(error)
            if found:
                change.looks[pair.member] = found


def _pairs(a: Side, b: Side, change: DataChange) -> Iterator[_Pair]:
    """The files to look into: the path itself, or what changed in a folder."""
    if change.before or (change.old or change.new) is None:
        return  # it only has another name
    old, new = change.old, change.new
    if not any(one.is_dir for one in (old, new) if one is not None):
        yield _Pair(change.path, "", _place(a, old), _place(b, new))
    elif change.members is not None and old is not None and new is not None:
        was, now = a.members(old) or {}, b.members(new) or {}
        for name in change.members.modified[:MAX_INSIDE]:
            places = a.locate(old, name, was[name]), b.locate(new, name, now[name])
            yield _Pair(f"{change.path}/{name}", name, *places)


def _place(side: Side, content: Content | None) -> str | None:
    return None if content is None else side.locate(content)


def _called(side: Side) -> str:
    return "the workspace" if side.name == WORKSPACE else side.name[:10]


def _rows(a: Side, b: Side, pair: _Pair, key: str, options: Options) -> tables.Rows:
    sources = []
    for side, place in ((a, pair.old), (b, pair.new)):
        if place == "":
            raise BlobMissing(
                f"The content that {pair.name} has in {_called(side)} is not on this machine.",
                "mlrepro pull brings that of the commit that is checked out",
                path=pair.name,
            )
        source = None if place is None else tables.Source(place, pair.name, _called(side))
        sources.append(source)
    before = [_stamp(source) for source in sources]
    with _room(a.project) as room:
        old, new = sources
        found = tables.compare(old, new, room, key=key, jobs=options.jobs)
    if before != [_stamp(source) for source in sources]:
        raise FileChanging(
            f"{pair.name} changed while it was read.", "run the same command again", path=pair.name
        )
    return found


def _stamp(source: tables.Source | None) -> tuple[int, ...]:
    if source is None:
        return ()
    about = os.stat(source.path)
    return (about.st_ino, about.st_size, about.st_mtime_ns)


def _model(pair: _Pair) -> models.ModelChange | None:
    """What can be read of a model on both sides; None where it is none after all."""
    try:
        old, new = (
            models.read(place, pair.name) if place else None for place in (pair.old, pair.new)
        )
    except OSError as error:
        raise MlreproError(
            f"Cannot read {pair.name}: {error.strerror}", code="unreadable", path=pair.name
        ) from error
    if (old is None) != (not pair.old) or (new is None) != (not pair.new):
        return None
    return models.compare(old, new) if old is not None or new is not None else None


@contextmanager
def _room(project: Project) -> Iterator[str]:
    """A folder for what is written while tables are compared, gone afterwards or by the next run.

    In ``.dvc/tmp``, on the disk that holds the data; elsewhere where that cannot be written to.
    """
    base = os.path.join(project.dvc_dir, "tmp", "mlrepro")
    links = any(map(os.path.islink, (project.dvc_dir, os.path.dirname(base), base)))
    # The path is part of what DuckDB is asked, and may read like a pattern there.
    is_plain = base.isprintable() and not set(base) & set("*?[]{}")
    fit = os.path.isdir(project.dvc_dir) and not links and is_plain
    with scratch.room(base if fit else "", project.root) as own:
        yield own.folder
