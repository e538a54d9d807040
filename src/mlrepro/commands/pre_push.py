"""pre-push: every blob that any pushed commit needs is in the store before git lets it go."""

from __future__ import annotations

import os

from mlrepro import damage, git, gitlog, history, locating, transfer
from mlrepro.amounts import many
from mlrepro.dataclass import TYPE_CHECKING, dataclass
from mlrepro.errors import BlobMissing, MlreproError, ProcessError, StoreError
from mlrepro.result import HookResult, Options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlrepro.project import Project
    from mlrepro.transfer import Need


@dataclass(frozen=True, slots=True)
class Ref:
    """One line of what git says on standard input: what is to become of one ref."""

    local: str
    oid: str
    remote: str
    old: str


def parse(text: bytes) -> list[Ref]:
    """The refs that are pushed; a ref that is deleted needs nothing. Malformed lines are none."""
    refs = []
    for line in text.decode("utf-8", "surrogateescape").split("\n"):
        fields = line.split(" ")
        if len(fields) == 4 and fields[1].strip("0") and _is_name(fields[1] + fields[3]):
            refs.append(Ref(*fields))
    return refs


def _is_name(text: str) -> bool:
    """Whether it can be what git calls objects by."""
    return not set(text) - set("0123456789abcdef")


def run(project: Project, args: Sequence[str], stdin: bytes, options: Options) -> HookResult:
    """Store what the pushed commits need and only the cache has; refuse where a blob is nowhere."""
    needs: dict[str, tuple[Ref, Need]] = {}
    commits: dict[str, gitlog.Commit] = {}
    errors: list[MlreproError] = []
    for ref in parse(stdin):
        more, wrong, who = _needed(project, ref, args[0] if args else "")
        commits.update(who)
        errors += [_named(error, ref) for error in wrong]
        for need in more:
            needs.setdefault(need.oid, (ref, need))
    if errors or not needs:
        return HookResult(errors=tuple(errors))
    target = locating.located(project, os.environ)
    wanted = [need for _, need in needs.values()]
    try:
        done = transfer.push(project, target, wanted, options)
    except StoreError as error:
        return HookResult(errors=(error,))
    for need in done.missing:
        errors.append(_gap(need, _ref_of(needs, need), commits.get(need.commit)))
    for need in done.owed:
        errors.append(_owed(need, _ref_of(needs, need)))
    notes = []
    if done.count and not errors:
        notes.append(
            f"stored what the cache alone had: {many(done.count, 'blob')} "
            f"({many(done.bytes, 'byte')})"
        )
    notes += damage.notes(damage.found(target))
    return HookResult(errors=(*_distinct(done.errors), *errors), notes=tuple(notes))


def _needed(
    project: Project, ref: Ref, remote_name: str
) -> tuple[list[Need], list[MlreproError], dict[str, gitlog.Commit]]:
    """What the commits need that the other side does not have yet."""
    known = ["--not", f"--remotes={remote_name}"] if remote_name and "/" not in remote_name else []
    has_old = ref.old.strip("0") and git.sizes(project, [ref.old])
    if has_old:
        known += [ref.old] if known else ["--not", ref.old]
    try:
        versions = history.introduced(project, ref.oid, *known)
    except ProcessError:
        versions = history.introduced(project, ref.oid)
    return history.needs(project, versions)


def _ref_of(needs: dict[str, tuple[Ref, Need]], need: Need) -> str:
    if need.oid in needs:
        return needs[need.oid][0].local
    for ref, other in needs.values():
        if other.pointer == need.pointer and other.commit == need.commit:
            return ref.local
    return ""


def _named(error: MlreproError, ref: Ref) -> MlreproError:
    error.args = (f"{ref.local}: {error.message} (commit {error.commit[:10]})",)
    error.message = error.args[0]
    return error


def _distinct(errors: Sequence[MlreproError]) -> list[MlreproError]:
    """Each thing said once: a store that is away is the same news for every blob."""
    return list({(error.message, error.path): error for error in errors}.values())


def _owed(need: Need, ref: str) -> StoreError:
    return StoreError(
        f"{ref}: commit {need.commit[:10]} names {need.path} ({need.oid}), which is in the cache "
        "here, but could not be stored.",
        "mlrepro push   when the store can be reached; then push again",
        code="blob-owed",
        path=need.path,
        oid=need.oid,
        commit=need.commit,
    )


def _gap(need: Need, ref: str, commit: gitlog.Commit | None) -> BlobMissing:
    author = commit.author if commit else ""
    by = f" by {author}" if author else ""
    return BlobMissing(
        f"{ref}: commit {need.commit[:10]}{by} names {need.path} ({need.oid}), "
        "which is in neither cache nor store.",
        "in a clone that has it: mlrepro push; then push again",
        path=need.path,
        oid=need.oid,
        commit=need.commit,
        author=author,
        date=commit.date if commit else "",
    )
