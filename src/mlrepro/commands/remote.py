"""remote: show the store in use, try it out, or move to another."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from mlrepro import (
    debts,
    dvc,
    dvcconfig,
    locating,
    moving,
    naming,
    probing,
    redaction,
    remote,
    storeurl,
    switching,
    transfer,
)
from mlrepro.dataclass import TYPE_CHECKING, dataclass
from mlrepro.errors import MlreproError, PathError, Refused, StoreError, UsageError
from mlrepro.receipts import Receipts
from mlrepro.result import Options, Result
from mlrepro.store import Store

if TYPE_CHECKING:
    from typing import Any

    from mlrepro.project import Project
    from mlrepro.remote import Remote
    from mlrepro.storeurl import Address

MOST_TOLD = 100
NEXT = "mlrepro-next"  # the new store, to DVC, until it is the one in use; written nowhere


@dataclass(frozen=True)
class Copied:
    """What the new store did not have: blobs, and their bytes."""

    count: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class RemoteResult(Result):
    """The store: ``name`` as DVC knows it, ``url``, ``kind`` (folder, s3 …), its ``options``.

    ``secrets``: the names of those that .dvc/config.local holds; ``steps``: those of a test that
    worked; ``was``: the url before a move, ``copied``: what that brought to the new store;
    ``missing``: (path, oid) of what neither store nor cache has.
    """

    action: str = "show"
    name: str = ""
    url: str = ""
    kind: str = ""
    options: Mapping[str, str] | None = None
    secrets: tuple[str, ...] = ()
    owed: int = 0
    steps: tuple[str, ...] = ()
    was: str = ""
    moved: bool = False
    copied: Copied = Copied()
    missing: tuple[tuple[str, str], ...] = ()
    changed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def data(self) -> dict[str, Any]:
        about: dict[str, Any] = {
            "name": self.name,
            "url": self.url,
            "kind": self.kind,
            "options": dict(self.options or {}),
            "secrets": list(self.secrets),
        }
        if self.action == "show":
            return {**about, "owed": self.owed}
        if self.action == "test":
            return {**about, "steps": list(self.steps)}
        return {
            **about,
            "was": self.was,
            "copied": dict(vars(self.copied)),
            "missing": [{"path": path, "oid": oid} for path, oid in self.missing],
            "changed": list(self.changed),
        }


def run(
    project: Project,
    action: str,
    url: str | None,
    options: Options,
    flags: Mapping[str, str | None] | None = None,
    settings: Sequence[str] = (),
    secrets: Mapping[str, str] | None = None,
) -> RemoteResult:
    """``show``, ``test`` or ``set`` to ``url``; the rest says more of that: see storeurl.parse.

    Raises StoreError where a store cannot be used, Refused where a move would lose something,
    UsageError and ConfigError for what the new store is said to be.
    """
    naming.require_dvc(project)
    if action == "set":
        address = storeurl.parse(
            url or "", project.cwd, flags=flags, options=settings, secrets=secrets
        )
        return _set(project, address, options)
    target = locating.located(project, os.environ, write=False)
    about = _about(project, action, target)
    wrong = remote.problem(project, target)
    if wrong is not None and action == "show":
        return RemoteResult(errors=(wrong,), **about)
    if wrong is not None:
        raise wrong
    if action == "show":
        return RemoteResult(**about)
    return _test(project, target, about, options)


def _about(project: Project, action: str, target: Remote) -> dict[str, Any]:
    """What is known of a store without asking it."""
    settings = dvcconfig.load(project.dvc_dir, os.environ)
    section = dvcconfig.remote_section(target.name)
    values = settings.sections.get(section, {}) if target.name else {}
    kept = {key: value for key, value in values.items() if storeurl.is_secret(key)}
    redaction.know(*kept.values())
    plain = {key: value for key, value in values.items() if key not in kept and key != "url"}
    return {
        "action": action,
        "name": target.name,
        "url": target.url,
        "kind": storeurl.scheme_of(target.url) or ("folder" if target.url else ""),
        "options": plain,
        "secrets": tuple(sorted(kept)),
        "owed": len(debts.owed(project)),
    }


def _test(
    project: Project, target: Remote, about: dict[str, Any], options: Options
) -> RemoteResult:
    if options.dry_run:
        return RemoteResult(**about)
    steps: list[str] = []
    errors: list[MlreproError] = []

    def told(step: str) -> None:
        steps.append(step)
        options.reporter.step(f"{step}: it works")

    try:
        if target.store is not None:
            probing.try_folder(target.store, told)
        else:
            dvc.probe(project.root, target.name, told=told)
    except StoreError as error:
        errors.append(error)
    return RemoteResult(errors=tuple(errors), **about, steps=tuple(steps))


def _set(project: Project, address: Address, options: Options) -> RemoteResult:
    _fit(project, address)
    old = locating.located(project, os.environ, write=False)
    name = old.name or remote.NAME
    about = _about(project, "set", old)
    notes = []
    if address.exposed:
        notes.append(
            "the secret went from the URL to .dvc/config.local (mode 0600); the shell's history "
            "may still have it, so a new key is safer"
        )
    moves = bool(old.url) and not _same_place(old, address)
    extra = {**(about["options"] if not moves else {}), **_kept(project, old, moves)}
    complete = storeurl.Address(
        address.url, {**extra, **address.options}, address.secrets, address.exposed
    )
    brought = _bring(project, old, complete, options, moves=moves)
    done = switching.switch(project, name, address, dry_run=options.dry_run)
    target = remote.of(project, os.environ)
    now = _about(project, "set", target)
    if target.is_network and not options.dry_run:
        Receipts(project.common_dir, target.place).add(brought.confirmed)
    if options.dry_run:
        now = {**about, "url": address.url, "kind": address.scheme or "folder"}
        now["options"] = dict(address.options)
    return RemoteResult(
        errors=(*brought.errors, *done.errors),
        **now,
        was=old.url if moves else "",
        moved=moves,
        copied=brought.copied,
        missing=brought.missing,
        changed=done.changed,
        notes=(*notes, *done.notes),
    )


def _fit(project: Project, address: Address) -> None:
    """Raise where no store can be at that place, or what it needs is not installed."""
    if address.scheme:
        dvc.require_extra(address.scheme)
        return
    place = address.url
    inside = place + os.sep
    for taken in (project.common_dir, project.git_dir, project.dvc_dir):
        if inside.startswith(taken + os.sep):
            raise UsageError(f"{place} is not for a store.", "mlrepro remote set PATH")
    if place == project.root or project.root.startswith(inside):
        raise UsageError("The store must be a folder of its own.", "mlrepro remote set PATH")
    if os.path.lexists(place) and not os.path.isdir(place):
        raise PathError(f"{place} is not a folder.", "mlrepro remote set PATH", path=place)


def _same_place(old: Remote, address: Address) -> bool:
    """Whether the store in use is the one at ``address``: the same bucket, of the same server."""
    one, other = old.url, address.url
    if "://" in one or "://" in other:
        server = address.options.get("endpointurl", old.endpoint)
        same_server = not old.endpoint or server.rstrip("/") == old.endpoint.rstrip("/")
        return one.rstrip("/") == other.rstrip("/") and same_server
    return os.path.realpath(one) == os.path.realpath(other)


def _kept(project: Project, old: Remote, moves: bool) -> dict[str, str]:
    """The secrets that this clone has for the very same store."""
    if moves or not old.name:
        return {}
    settings = dvcconfig.load(project.dvc_dir, os.environ)
    values = settings.sections.get(dvcconfig.remote_section(old.name), {})
    return {key: value for key, value in values.items() if storeurl.is_secret(key)}


@dataclass(frozen=True)
class _Brought:
    """What a move came to; ``confirmed``: the blobs that the new store was seen to have."""

    copied: Copied
    errors: Sequence[MlreproError]
    missing: tuple[tuple[str, str], ...]
    confirmed: Sequence[str] = ()


def _bring(
    project: Project, old: Remote, address: Address, options: Options, *, moves: bool
) -> _Brought:
    """Try the new store out, and copy what history needs.

    Raises Refused ``needs-yes`` where something would be in neither store afterwards.
    """
    made = moving.Plan()
    source: Remote | None = old if moves else None
    if moves or not old.url:
        wrong = remote.problem(project, old) if moves else None
        source = source if wrong is None else None
        made = moving.plan(project, source, options)
        if made.lost and moves and not (options.yes or options.dry_run):
            raise _lossy(made, wrong)
    missing = tuple((need.path, need.oid) for need in made.lost)
    errors: list[MlreproError] = [transfer.lost(need) for need in made.lost[:MOST_TOLD]]
    if options.dry_run:
        amount = Copied(len(made.stored) + len(made.cached), made.bytes)
        return _Brought(amount, errors, missing)
    if address.scheme:
        settings = {**address.options, **address.secrets, "url": address.url}
        try:
            with dvc.session(project.root, {NEXT: settings}):
                dvc.probe(project.root, NEXT, create=True, told=options.reporter.step)
                done = moving.carry(project, made, source, old.cache, NEXT, options)
        except MlreproError as error:
            error.message = error.message.replace(NEXT, address.url)
            raise
        for failure in done.failed.values():
            failure.message = failure.message.replace(NEXT, address.url)
    else:
        place = Store(address.url)
        store_id = place.create(whole=True)
        probing.try_folder(place, options.reporter.step)
        done = moving.carry(project, made, source, old.cache, place, options)
        remote.remember(project, place, store_id)
        remote.register(project, place)
    if done.failed and not options.yes:
        first = next(iter(done.failed.values()))
        raise StoreError(
            f"{len(done.failed):,} blobs did not arrive, so the store in use is still the old one: "
            f"{first.message}",
            "mend the store (mlrepro verify --all --deep --repair); the same command then goes on",
            code=first.code,
        )
    errors += list(done.failed.values())[:MOST_TOLD]
    confirmed = [oid for oid in (*made.stored, *made.cached) if oid not in done.failed]
    debts.settle(project, confirmed)
    return _Brought(Copied(done.count, done.bytes), errors, missing, confirmed)


def _lossy(made: moving.Plan, wrong: StoreError | None) -> Refused:
    why = f" ({wrong.message})" if wrong is not None else ""
    return Refused(
        f"{len(made.lost):,} blobs that history needs, {made.lost[0].path} among them, are in "
        f"neither the store that was in use{why} nor the cache. Move without them?",
        "mlrepro verify --all --repair looks for copies; -y moves without them",
        code="needs-yes",
    )
