"""track: put the content of files and folders into cache and store, and stage their pointers."""

from __future__ import annotations

import os

from mlrepro import (
    ahead,
    capture,
    choosing,
    committing,
    damage,
    foresight,
    git,
    gitadd,
    ignore,
    index,
    locating,
    naming,
    outputs,
    pipeline,
    precommit,
    threeway,
    wording,
)
from mlrepro.dataclass import TYPE_CHECKING, dataclass, replace
from mlrepro.errors import MlreproError, Refused
from mlrepro.result import Options, Result

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from typing import Any

    from mlrepro.capture import Capture, Target
    from mlrepro.ignore import Change
    from mlrepro.process import Started
    from mlrepro.project import Project
    from mlrepro.remote import Remote


@dataclass(frozen=True)
class Tracked:
    """One path that is tracked now; ``state``: new, changed or unchanged; ``size`` in bytes."""

    path: str
    pointer: str
    oid: str
    size: int
    state: str


@dataclass(frozen=True)
class Stored:
    """What was newly put into the store: blobs, and their bytes."""

    count: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class TrackResult(Result):
    """What ``track`` did; ``ignore_changes`` are the lines added to ignore files."""

    tracked: tuple[Tracked, ...] = ()
    stored: Stored = Stored()
    ignore_changes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def data(self) -> dict[str, Any]:
        return {
            "tracked": [dict(vars(item)) for item in self.tracked],
            "stored": dict(vars(self.stored)),
        }


def run(project: Project, paths: Sequence[str], options: Options) -> TrackResult:
    """Track ``paths`` (as the user typed them); where there are none, refresh all that is tracked.

    Raises StoreError where the store cannot be used; a path that cannot be tracked is an error of
    the result, and the others are served.
    """
    naming.require_dvc(project)
    if not paths and committing.is_in_hook(project, os.environ) and not options.dry_run:
        # `make dvc` as a hook calls it: the rules of a commit hold, not those of a user
        # who asks for every edit to be taken.
        hooked = precommit.run(project, options)
        again = [Refused(hooked.again, code="commit-again")] if hooked.again else []
        return TrackResult(errors=(*hooked.errors, *again), notes=hooked.notes)
    record = index.load(project.state_dir)
    target = locating.located(project, os.environ, write=not options.dry_run)
    chosen = (
        choosing.chosen(project, paths, record) if paths else choosing.everything(project, record)
    )
    through_dvc = options.lane == "dvc" and not options.dry_run
    by_dvc = _before_dvc(project, chosen.targets) if through_dvc else {}
    if options.dry_run:
        done = foresight.save(project, target, chosen.targets, record, options)
        changes = ahead.plan(project, done.saved)
    else:
        with ahead.Ahead(project) as aside:
            done = pipeline.save(project, target, chosen.targets, record, options, aside.begin)
            changes = _changed(project, by_dvc)
            _settle(project, target, chosen.pipeline, record, options, done, changes, aside)
    result = _result(done, chosen.errors, changes)
    return replace(result, damaged=damage.tell(target, options))


def _settle(
    project: Project,
    target: Remote,
    outs: Sequence[outputs.Tracked],
    record: index.Record,
    options: Options,
    done: Capture,
    changes: list[Change],
    aside: ahead.Ahead,
) -> None:
    """Once content is stored: the ignore files (their lines go into ``changes``), the pointers,
    what pipelines made (``outs``), the index, and the record.
    """
    packing = gitadd.begin_pack(project, wording.texts(done.saved))  # while the files are written
    try:
        written, added = aside.write(done.saved)
        changes += added
        pipes = pipeline.refresh(project, target, outs, record, options)
        done.errors += pipes.errors
        _stage(project, done, written + pipes.written, changes, packing)
    except BaseException:
        if packing is not None:
            packing.kill()
        raise
    base = threeway.present(project)
    capture.remember(project, target, [*done.saved, *pipes.saved], record, base)


def _before_dvc(project: Project, targets: Sequence[Target]) -> dict[str, str]:
    """Open what hides the pointers, which DVC does not; returns the ignore files as they were."""
    changes = ignore.bring_back(project, [item.pointer for item in targets])
    beside = [os.path.join(os.path.dirname(item.path), ".gitignore") for item in targets]
    texts = {file: ignore.read(project, file) for file in dict.fromkeys(beside)}
    for change in changes:
        texts[change.file] = change.before
    ignore.write(project, changes)
    return texts


def _changed(project: Project, before: dict[str, str]) -> list[Change]:
    """What the lines are that ignore files have got since."""
    changes = []
    for file, text in before.items():
        now = ignore.read(project, file)
        if now != text:
            added = now.removeprefix(text).strip("\n").split("\n")
            changes.append(ignore.Change(file, text, tuple(added)))
    return changes


def _stage(
    project: Project,
    done: Capture,
    pointers: Sequence[str],
    changes: Sequence[Change],
    packing: Started | None,
) -> None:
    """Everything that belongs to the next commit is staged, and nothing else."""
    ignore.note(project, changes)
    names = dict.fromkeys([*pointers, *ignore.noted(project)])
    names.update(dict.fromkeys(_unstaged(project, done, names)))
    gitadd.stage(project, names, packing=packing)
    ignore.forget(project)


def _unstaged(project: Project, done: Capture, staged: Collection[str]) -> list[str]:
    """Pointers and ignore files of what was named that are not staged as they stand.

    But for what is about to be ``staged`` anyway.
    """
    entries = git.entries(project)
    names: dict[str, None] = {}
    for item in done.saved:
        folder, slash, _ = item.target.pointer.rpartition("/")
        names.update({item.target.pointer: None, f"{folder}{slash}.gitignore": None})
    left = []
    for file in names:
        path = project.absolute(file)
        if file in staged or not os.path.isfile(path) or os.path.islink(path):
            continue
        at = entries.find(os.fsencode(file))
        with open(path, "rb") as content:
            same = at >= 0 and entries.oid(at) == outputs.git_oid(content.read())
        if not same and (outputs.is_pointer(file) or at < 0):
            left.append(file)
    return left


def _result(
    done: Capture, errors: Sequence[MlreproError], changes: Sequence[Change]
) -> TrackResult:
    tracked = [
        Tracked(
            item.target.path,
            item.target.pointer,
            item.data.oid,
            item.data.size,
            "new" if item.is_new else "changed" if item.is_changed else "unchanged",
        )
        for item in done.saved
    ]
    return TrackResult(
        errors=(*errors, *done.errors),
        tracked=tuple(sorted(tracked, key=lambda item: item.path)),
        stored=Stored(done.count, done.bytes),
        ignore_changes=tuple(
            f"{change.file}: {line}" for change in changes for line in change.added
        ),
        notes=tuple(done.notes),
    )
