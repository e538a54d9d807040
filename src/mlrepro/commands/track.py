"""track: put the content of files and folders into cache and store, and stage their pointers."""

from __future__ import annotations

import os

from mlrepro import (
    capture,
    committing,
    damage,
    durable,
    foresight,
    git,
    ignore,
    index,
    naming,
    outputs,
    pipeline,
    precommit,
    remote,
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
    target = remote.located(project, os.environ, write=not options.dry_run)
    chosen = naming.chosen(project, paths, record) if paths else naming.everything(project, record)
    through_dvc = options.lane == "dvc" and not options.dry_run
    by_dvc = _before_dvc(project, chosen.targets) if through_dvc else {}
    save = foresight.save if options.dry_run else pipeline.save
    done = save(project, target, chosen.targets, record, options)
    changes = _changed(project, by_dvc)
    saved = [item.target for item in done.saved]
    if options.dry_run:
        changes += _ignore_changes(project, saved)
    else:
        texts = {item.target.pointer: item.text for item in done.saved if item.text is not None}
        packing = git.begin_pack(project, texts)  # while the files themselves are written
        try:
            changes += _keep_out(project, saved)
            written = wording.write(project, done.saved)
            pipes = pipeline.refresh(project, target, chosen.pipeline, record, options)
            done.errors += pipes.errors
            _stage(project, done, written + pipes.written, changes, packing)
        except BaseException:
            if packing is not None:
                packing.kill()
            raise
        base = threeway.present(project)
        capture.remember(project, target, [*done.saved, *pipes.saved], record, base)
    result = _result(done, chosen.errors, changes)
    return replace(result, damaged=damage.tell(target, options))


def _before_dvc(project: Project, targets: Sequence[Target]) -> dict[str, str]:
    """Open what hides the pointers, which DVC does not; returns the ignore files as they were."""
    changes = ignore.bring_back(project, [item.pointer for item in targets])
    beside = [os.path.join(os.path.dirname(item.path), ".gitignore") for item in targets]
    texts = {file: ignore.read(project, file) for file in dict.fromkeys(beside)}
    for change in changes:
        texts[change.file] = change.before
        _write(project, change)
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


def _ignore_changes(project: Project, targets: Sequence[Target]) -> list[Change]:
    """What the ignore files need, so that pointers are seen by git and data is not."""
    if not targets:
        return []
    pointers, outs = [item.pointer for item in targets], [item.path for item in targets]
    return ignore.set_right(project, pointers, outs)


def _keep_out(project: Project, targets: Sequence[Target]) -> list[Change]:
    """Write what the ignore files need; returns it."""
    if not targets:
        return []
    with ignore.lock(project):
        changes = _ignore_changes(project, targets)
        ignore.note(project, changes)
        for change in changes:
            _write(project, change)
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
    git.stage(project, names, packing=packing)
    ignore.forget(project)


def _write(project: Project, change: Change) -> None:
    path = project.absolute(change.file)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    durable.write_atomic(path, change.after.encode("utf-8", "surrogateescape"))


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
