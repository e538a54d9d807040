"""Damaged blobs: never installed, spread or deleted, but set aside, mended from a copy, told."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import pytest

import past
import spoiled
import unprivileged
import working
from blobs import damage
from building import blob_path, build_file_tree
from mlrepro.commands import pre_commit
from mlrepro.result import Result
from mlrepro.store import Store
from spoiled import DAMAGES, KINDS, PLACES, Case, Scene
from working import oid_of

SLOW = pytest.mark.slow

COMMANDS = (
    "track", "commit", "status", "push", "pull", "restore",
    "verify", "verify --deep", "verify --repair",
)  # fmt: skip
NAMES = [how if mode in (0, 0o755) else f"{how}-{mode:o}" for how, mode in DAMAGES]

# The quick run meets each command, and each kind of blob and of damage, at least once.
QUICK = (
    Case("track", "member", "store", "truncated", 0o444),
    Case("commit", "listing", "store", "flipped", 0o444),
    Case("status", "listing", "cache", "flipped", 0o644),
    Case("push", "file", "store", "longer", 0o644),
    Case("pull", "file", "cache", "flipped", 0o444),
    Case("pull", "member", "cache", "unreadable", 0),
    Case("restore", "member", "cache", "empty", 0o644),
    Case("verify", "member", "store", "truncated", 0o644),
    Case("verify --deep", "file", "store", "flipped", 0o444),
    Case("verify --repair", "listing", "store", "folder", 0o755),
)


@pytest.mark.parametrize("case", QUICK, ids=lambda case: f"{case.command}-{case.how}")
def test_a_damaged_blob(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, record_property, case: Case
) -> None:
    _try_each(tmp_path, tmp_path_factory.getbasetemp(), [case], record_property)


@pytest.mark.slow
@pytest.mark.parametrize(("how", "mode"), DAMAGES, ids=NAMES)
@pytest.mark.parametrize("command", COMMANDS)
def test_every_damaged_blob(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    record_property,
    command: str,
    how: str,
    mode: int,
) -> None:
    cases = [Case(command, kind, place, how, mode) for kind in KINDS for place in PLACES]
    _try_each(tmp_path, tmp_path_factory.getbasetemp(), cases, record_property)


def _try_each(root: Path, base: Path, cases: list[Case], record_property) -> None:
    for number, case in enumerate(cases):
        if case.how == "unreadable":
            with unprivileged.open_folder() as folder:
                work = past.copy(folder / "repo", base)
                unprivileged.give(folder)
                unprivileged.run(partial(_try, work, case), folder / "home")
        else:
            _try(past.copy(root / str(number), base), case)
    what = f"a damaged blob met by {cases[0].command}"
    record_property("tried", ["Corruption", what, len(cases)])


def _try(work: past.Past, case: Case) -> None:
    scene = Scene(work, case)
    try:
        result = scene.run()
        scene.check(result)
        _expect(scene, result)
        _ends_well(scene)
    except BaseException as error:
        error.add_note(f"{case}")
        raise


def _expect(scene: Scene, result) -> None:
    """What each command has to find, and what it has to mend, beyond doing no harm."""
    case, by_size = scene.case, scene.case.how in spoiled.BY_SIZE
    if case.command == "track" and by_size:
        assert scene.is_mended and result.exit_code == 0
    if case.command == "commit":
        assert not result.errors
        assert scene.is_mended
    if case.command == "status":
        assert scene.is_as_it_was and not result.damaged
    if case.command == "push" and case.place == "store" and by_size:
        assert scene.is_mended and result.exit_code == 0
    if case.command in ("pull", "restore"):
        assert result.exit_code == 0, [error.message for error in result.errors]
        assert scene.work.has(dict(FOURTH_OR_FIRST[case.command]))
        if case.place == "cache" and case.how != "unreadable":
            assert scene.is_mended
    if case.command.startswith("verify"):
        _expect_verify(scene, result, by_size)


def _expect_verify(scene: Scene, result, by_size: bool) -> None:
    case = scene.case
    if case.place == "cache":
        assert not result.problems and scene.is_as_it_was
    elif case.command == "verify --repair":
        assert scene.is_mended and result.repaired == (scene.oid,) and result.exit_code == 0
    elif by_size or case.kind == "listing" or case.command == "verify --deep":
        assert [problem.oid for problem in result.problems] == [scene.oid]
        assert scene.is_found(result) and result.exit_code == 1 and scene.is_as_it_was
    else:
        assert scene.is_as_it_was


# What is there afterwards: a restore leaves what it was not asked for.
FOURTH_OR_FIRST = {
    "pull": past.FOURTH,
    "restore": {**past.FIRST, "data/y.csv": past.FOURTH["data/y.csv"]},
}


def _ends_well(scene: Scene) -> None:
    """Whatever was left is mended by those whose business it is, and every commit comes back."""
    work = scene.work
    done = work.verify(all_commits=True, deep=True, repair=True)
    assert done.exit_code == 0, [error.message for error in done.errors]
    assert scene.wrong("store") == []
    if _is_last(scene.case):
        work.forget()
        for revision, tree in (("one", past.FIRST), ("four", past.FOURTH)):
            assert work.checkout(revision, force=True).exit_code == 0
            assert work.has(tree)


def _is_last(case: Case) -> bool:
    return (case.kind, case.place) == (KINDS[-1], PLACES[-1])


BOTH = ["truncated", "flipped", "empty", "longer", "folder", "deleted"]


def _spoiled_twice(work: past.Past, how: str, revision: str = "four") -> dict[str, bytes]:
    """Damage all that a commit needs, in cache and store; returns what each blob has to be."""
    tree = past.FIRST if revision == "one" else past.FOURTH
    oids = {oid_of(text) for text in tree.values()} | {work.oid("models.dvc", revision)}
    good = {oid: blob_path(work.store, oid).read_bytes() for oid in sorted(oids)}
    for oid in good:
        for place in (work.cache, work.store):
            damage(Store(str(place)), oid, how, work.root)
    return good


def _is_whole(work: past.Past, good: dict[str, bytes]) -> bool:
    return all(
        blob_path(work.store, oid).is_file() and blob_path(work.store, oid).read_bytes() == data
        for oid, data in good.items()
    )


@pytest.mark.parametrize("how", [BOTH[0], *(pytest.param(h, marks=SLOW) for h in BOTH[1:])])
@pytest.mark.parametrize("command", ["track", "push", "verify --repair", "commit"])
def test_the_workspace_mends_what_is_damaged_in_both(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    record_property,
    command: str,
    how: str,
) -> None:
    work = past.copy(tmp_path / "repo", tmp_path_factory.getbasetemp())
    good = _spoiled_twice(work, how, "one" if command == "commit" else "four")
    if command == "commit":
        shutil.rmtree(work.path("models"))
        build_file_tree(work.root, past.FIRST)
        done: Result = pre_commit.run(work.project(), work.options())
    elif command == "verify --repair":
        done = work.verify(deep=True, repair=True)
    else:
        done = work.push() if command == "push" else work.track()
    assert command == "commit" or work.has(past.FOURTH)
    if how == "flipped" and command in ("track", "push"):
        assert work.verify(deep=True, repair=True).exit_code == 0  # no size tells
    else:
        assert not done.errors, [error.message for error in done.errors]
    assert _is_whole(work, good)
    if how != "deleted" and command != "commit" and how != "flipped":
        told = {(one.oid, one.place) for one in done.damaged if one.mended}
        assert {oid for oid, place in told if place == "store"} == set(good)
    record_property("tried", ["Corruption", "damaged in cache and store at once", len(good)])


@pytest.mark.parametrize(
    "how", ["flipped", *(pytest.param(h, marks=SLOW) for h in BOTH if h != "flipped")]
)
def test_another_clone_mends_what_is_damaged_in_both(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, record_property, how: str
) -> None:
    work = past.copy(tmp_path / "repo", tmp_path_factory.getbasetemp())
    other = past.Past(working.cloned(work, tmp_path / "other").root)
    assert other.pull().exit_code == 0
    for blob in other.cache.rglob("files/md5/??/*"):  # a disk of its own, as it were
        data = blob.read_bytes()
        blob.unlink()
        blob.write_bytes(data)
        blob.chmod(0o444)
    good = _spoiled_twice(work, how)
    for name in past.FOURTH:
        work.path(name).unlink()
    done = work.pull()
    assert done.exit_code == 1 and not work.found() and done.missing
    assert all(error.hint for error in done.errors)
    done = work.verify(deep=True, repair=True)
    assert done.exit_code == 0 and _is_whole(work, good)
    assert work.pull().exit_code == 0 and work.has(past.FOURTH)
    aside = [
        path for store in (work.cache, work.store) for path in (store / ".quarantine").glob("*")
    ]
    assert how == "deleted" or len(aside) == 2 * len(good)
    record_property("tried", ["Corruption", "mended from another clone", len(good)])


def test_it_is_said_in_words_and_in_json(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    work = past.copy(tmp_path / "repo", tmp_path_factory.getbasetemp())
    oid = work.spoil(past.THREE, past.THREE.replace("three", "THREE"), cache=True)
    work.path("data/x.csv").rename(work.path("data/mine.csv"))
    done = work.mlrepro("pull")
    assert done.exit_code == 1 and f"the blob {oid} was damaged in the store" in done.stderr
    assert "set aside in" in done.stderr and "mlrepro verify --repair" in done.stderr
    work.path("data/mine.csv").rename(work.path("data/x.csv"))
    work.lose(past.FOURTH["data/y.csv"], cache=True)
    work.spoil("b2", "longer than it was")
    done = work.mlrepro("--json", "track")
    assert done.exit_code == 0 and done.json["data"]["stored"]["count"] == 3
    [one] = done.json["data"]["damaged"]
    assert one == {
        "oid": oid_of("b2"), "place": "store", "mended": True,
        "aside": str(next((work.store / ".quarantine").glob(f"{oid_of('b2')}*"))),
    }  # fmt: skip
    assert "damaged" not in work.mlrepro("--json", "track").json["data"]
