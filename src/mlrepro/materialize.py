"""From pointers to data in the worktree: checked, placed in one step, nothing unsaved lost."""

from __future__ import annotations

import os

from mlrepro import (
    collisions,
    engine,
    executable,
    fetching,
    folder,
    index,
    placement,
    plainfile,
    restoring,
    threeway,
    transfer,
    worktree,
)
from mlrepro.dataclass import TYPE_CHECKING, dataclass, field
from mlrepro.errors import MlreproError, Refused, RepositoryError, StoreError
from mlrepro.patterns import folders_above
from mlrepro.placement import Plan
from mlrepro.safepath import quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlrepro.outputs import Tracked
    from mlrepro.project import Project
    from mlrepro.remote import Remote
    from mlrepro.result import Options
    from mlrepro.transfer import Need
    from mlrepro.worktree import Data


@dataclass(slots=True)
class Brought:
    """What became of each path: every name is relative to the root.

    ``unreachable``: why the store could not be asked for what is missing.
    """

    restored: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    saved: list[tuple[str, str]] = field(default_factory=list)
    missing: list[Need] = field(default_factory=list)
    unreachable: list[MlreproError] = field(default_factory=list)
    errors: list[MlreproError] = field(default_factory=list)


def bring(
    project: Project,
    target: Remote,
    items: Sequence[Tracked],
    record: index.Record,
    options: Options,
    *,
    force: bool = False,
    whole: bool = False,
    only: Sequence[str] = (),
) -> Brought:
    """Bring the data of these pointers to what they say.

    A file that was edited since it was last in step with its pointer is kept and named; with
    ``force`` its content goes into the cache first. An executable bit that was edited goes along
    with the content that is brought, but with ``force``. A path whose content is nowhere stays as
    it is. ``whole``: a folder of which anything is kept or nowhere stays as it is, too. ``only``:
    of a folder just these members, files or folders.
    """
    result = Brought()
    found = worktree.examine(project, [item.path for item in items], record, options, items)
    edited, _ = threeway.differing_bits(project, () if force else items, found, record)
    changed: list[index.Entry] = []
    wanted: list[Tracked] = []
    for item in items:
        data = found[item.path]
        data.plan = None  # what only a commit goes on from, and takes much memory
        entry = record.entry(item.path, item.pointer)
        if data.error is not None:
            result.errors.append(data.error)
        elif not item.oid or data.oid == item.oid:
            if item.path in edited:
                result.unchanged.append(item.path)
                continue  # not recorded: the next commit has to see it
            differs = data.stat is not None and data.isexec != item.out.isexec
            if differs:
                _give_bit(project, item, data, options)
            (result.restored if differs else result.unchanged).append(item.path)
            if item.oid:
                changed.append(_in_step(project, entry, item, data))
        else:
            wanted.append(item)
    plans = _plan(
        project, target, wanted, found, edited, record, options, force, whole, only, result
    )
    if not options.dry_run:
        _save_first(project, target, plans, options, result)
    _carry_out(project, target, plans, options, result, changed)
    if changed and not options.dry_run:
        index.save(project.state_dir, changed)
    return result


def _give_bit(project: Project, item: Tracked, data: Data, options: Options) -> None:
    """Set the executable bit as the pointer says."""
    if data.stat is not None and not options.dry_run:
        data.stat = executable.give(project.absolute(item.path), data.stat, item.out.isexec)
        data.isexec = executable.is_set(data.stat)


def _in_step(project: Project, entry: index.Entry, item: Tracked, data: Data) -> index.Entry:
    worktree.note(entry, data, item)
    if data.tree is not None and not data.proven:
        folder.save(project.state_dir, data.tree)
    entry.in_step(item.oid)
    return entry


def _plan(
    project: Project,
    target: Remote,
    wanted: Sequence[Tracked],
    found: dict[str, Data],
    edited: set[str],
    record: index.Record,
    options: Options,
    force: bool,
    whole: bool,
    only: Sequence[str],
    result: Brought,
) -> list[Plan]:
    """Decide for each path what is brought, replaced, removed, saved first or kept."""
    needs = [
        transfer.Need(
            item.path, item.oid, None if item.out.is_dir else item.out.size, item.pointer,
            files=item.out.size,
        )
        for item in wanted
    ]  # fmt: skip
    gone = fetching.gather(project, target, needs, options, result.unreachable)
    plans = []
    clashes = collisions.clashes(found, project.state_dir) if wanted else {}
    for item in wanted:
        refused = collisions.refusal(clashes, item.path)
        if refused is not None:
            result.errors.append(refused)
            continue
        data, entry = found[item.path], record.entry(item.path, item.pointer)
        lost = gone.get(item.path)
        if lost:
            result.missing += lost
            if whole or not item.out.is_dir or lost[0].oid == item.oid:
                continue  # as it was; of a folder the members that are there are still brought
        plan = Plan(item, data, entry, in_part=bool(lost or only), only=only)
        plan.isexec = data.isexec if item.path in edited else item.out.isexec
        try:
            if item.out.is_dir:
                placement.plan_folder(
                    project, target, plan, {need.oid for need in lost or ()}, force
                )
            else:
                placement.plan_file(project, target, plan, force)
        except MlreproError as error:
            error.path = error.path or item.path
            result.errors.append(error)
            continue
        result.kept += plan.kept
        if not (whole and plan.kept):
            plans.append(plan)
    return plans


def _save_first(
    project: Project, target: Remote, plans: list[Plan], options: Options, result: Brought
) -> None:
    """Put what is about to be replaced into the cache; what cannot be saved is not replaced."""
    paths = [path for plan in plans for path in plan.save]
    if not paths:
        return
    report = engine.save_files(
        paths, target.cache, None, jobs=options.jobs, reporter=options.reporter
    )
    for done in report.saved:
        result.saved.append((os.path.relpath(done.path, project.root), done.oid))
    failed = dict(report.failed)
    for error in failed.values():
        result.errors.append(error)
    for plan in plans:
        plan.bring = [one for one in plan.bring if one.dest not in failed]
        base = project.absolute(plan.item.path)
        plan.remove = [one for one in plan.remove if f"{base}/{one[0]}" not in failed]


def _carry_out(
    project: Project,
    target: Remote,
    plans: list[Plan],
    options: Options,
    result: Brought,
    changed: list[index.Entry],
) -> None:
    every: list[restoring.Restore] = []
    fresh: dict[str, tuple[int, int, int]] = {}
    for plan in plans:
        item, end = plan.item, len(every) + len(plan.bring)
        if item.out.is_dir and plan.data.is_missing and plan.bring:
            fresh[project.absolute(item.path)] = (len(every), end, item.out.size or 0)
        every += plan.bring
    lead = len(project.root.rstrip("/")) + 1  # a path's name is what follows
    if options.dry_run:
        result.restored += [plan.item.path for plan in plans if plan.bring or plan.remove]
        return
    in_the_way = {id(plan): _in_the_way(project, plan) for plan in plans}
    stayed = {
        id(plan): _remove(project, target, plan, in_the_way[id(plan)], result) for plan in plans
    }
    places = [target.cache] + ([target.store] if target.store is not None else [])
    report = restoring.restore_files(
        every, places, staging(project), project.root, fresh=fresh,
        jobs=options.jobs, reporter=options.reporter,
    )  # fmt: skip
    del every
    if report.unkept and target.store is not None:  # no links here, or another user's store
        copies = [(oid, None) for oid in report.unkept]
        try:
            engine.copy_blobs(copies, target.store, target.cache, jobs=options.jobs)
        except StoreError:
            pass  # the data is in place: a cache that is full can do without
    pointers = {}
    if report.missing:
        pointers = {one.dest: plan.item.pointer for plan in plans for one in plan.bring}
    for one in report.missing:
        need = transfer.Need(one.dest[lead:], one.oid, one.size, pointers[one.dest])
        result.missing.append(need)
    result.kept += [dest[lead:] for dest in report.kept]
    result.errors += _recovered(target, report.recovered)
    for dest, error in report.failed:
        error.path = dest[lead:]
        result.errors.append(error)
    done = {one.dest: one for one in report.restored}
    for plan in plans:
        first = set(in_the_way[id(plan)])
        rest = [name for name, _ in plan.remove if name not in first]
        stays = stayed[id(plan)] + _remove(project, target, plan, rest, result)
        got = report.wholes.get(project.absolute(plan.item.path))
        if got or plan.remove or any(one.dest in done for one in plan.bring):
            result.restored.append(plan.item.path)
        whole = not (plan.kept or plan.in_part or stays)
        if got is None:
            whole = whole and all(one.dest in done for one in plan.bring)
        else:
            whole = whole and got.count == len(plan.bring)
        changed.append(placement.after(project, plan, done, whole, got))


def staging(project: Project) -> str:
    """Where content is put together before it takes its place: never in a tracked folder."""
    link = plainfile.linked_parent(project.root, ".dvc/tmp/mlrepro/")
    if link:
        raise RepositoryError(
            f"A symbolic link stands for a folder of DVC's: {link}",
            f"Replace it by a folder: rm {link}",
            code="dvc-folder-link",
            path=link,
        )
    place = os.path.join(project.dvc_dir, "tmp", "mlrepro")
    os.makedirs(place, exist_ok=True)
    return place


def _in_the_way(project: Project, plan: Plan) -> list[str]:
    """Members that go, and stand where a new one is to be: a file where it needs a folder, or in a
    folder where it is a file. All of them are saved; they have to go first.
    """
    base = project.absolute(plan.item.path)
    fresh = {os.path.relpath(one.dest, base) for one in plan.bring} if plan.remove else set()
    above = {folder for name in fresh for folder in folders_above(name)}
    return [
        name
        for name, _ in plan.remove
        if name in above or not fresh.isdisjoint(folders_above(name))
    ]


def _remove(
    project: Project, target: Remote, plan: Plan, names: Sequence[str], result: Brought
) -> int:
    """Take away members that the new version does not have, if they are still what was saved.

    Returns how many could not be, and are still there.
    """
    if not names:
        return 0
    base, stats = project.absolute(plan.item.path), placement.Stats(plan.data)
    done = restoring.remove_files(
        [(os.path.join(base, name), stats.get(name)) for name in names],
        staging(project),
        project.root,
    )
    result.kept += [os.path.relpath(path, project.root) for path in done.kept]
    result.errors += _recovered(target, done.recovered)
    for path, error in done.failed:
        error.path = os.path.relpath(path, project.root)
        result.errors.append(error)
    for folder_ in {os.path.dirname(path) for path in done.gone}:
        _drop_empty(folder_, base)
    return len(done.kept) + len(done.failed)


def _recovered(target: Remote, found: Sequence[str]) -> list[MlreproError]:
    """What is told of users' files that a run which was killed had left aside."""
    if not found:
        return []
    from mlrepro import recovery

    return recovery.told(target, found)


def _drop_empty(path: str, base: str) -> None:
    """Remove a folder and those above it, up to ``base``, as far as they are empty."""
    while path != base:
        try:
            os.rmdir(path)
        except OSError:
            return
        path = os.path.dirname(path)


def kept(project: Project, path: str) -> Refused:
    """The error for a file with changes that are not saved, which therefore was kept."""
    shown = quoted(project.show(path))
    return Refused(
        f"{path} has changes that are not saved; it was kept as it is.",
        f"mlrepro track {shown} saves them; mlrepro pull --force {shown} saves and replaces",
        code="unsaved-change",
        path=path,
    )
