"""Which of data and pointer is the newer: no edit is passed over, no stale pointer is committed."""

from __future__ import annotations

import itertools
import os

import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from building import Repo
from mlrepro import index, project as places, threeway
from mlrepro.threeway import BEHIND, BOTH, MISSING, REFRESH, SAME, judge

A, B, C, D = ("a" * 32, "b" * 32, "c" * 32, "d" * 32)


def entry_of(synced: str, *pending: str) -> index.Entry:
    entry = index.Entry("x", "x.dvc")
    entry.synced, entry.pending = synced, " ".join(pending)
    return entry


def never() -> bool:
    raise AssertionError("history is asked only where nothing is known")


@pytest.mark.parametrize(
    ("synced", "pending", "data", "named", "said"),
    [
        # in step, or missing
        (A, (), A, A, SAME),
        ("", (), A, A, SAME),
        (A, (B,), B, B, SAME),
        (B, (), A, A, SAME),  # both went the same way
        (A, (), "", A, MISSING),
        (A, (B,), "", C, MISSING),
        # one of the two moved on from what they had in common
        (A, (), B, A, REFRESH),
        (A, (), A, B, BEHIND),
        (A, (), B, C, BOTH),
        # a pointer that we wrote ourselves, for a commit that was not seen
        (A, (B,), C, B, REFRESH),
        (A, (B, C), D, B, REFRESH),
        (A, (B,), A, B, REFRESH),  # edited back to what it was
        (A, (B,), B, A, REFRESH),  # the commit was refused, the pointer put back by hand
        (A, (B,), C, A, REFRESH),
        (A, (B,), B, C, BOTH),
        (A, (B,), A, C, BEHIND),
        # never in step before
        ("", (B,), C, B, REFRESH),
        ("", (B,), B, C, BOTH),
        ("", (B,), C, D, BOTH),
    ],
)
def test_judged(synced: str, pending: tuple[str, ...], data: str, named: str, said: str) -> None:
    assert judge(entry_of(synced, *pending), data, named, never) == said


@pytest.mark.parametrize(("past", "said"), [(True, BEHIND), (False, REFRESH)])
def test_without_any_knowledge_history_decides(past: bool, said: str) -> None:
    assert judge(entry_of(""), A, B, lambda: past) == said


def test_whatever_is_known() -> None:
    """For every combination: what must hold of any answer."""
    some = ("", A, B, C)
    for synced, first, second, data, named in itertools.product(some, some, some, some, some[1:]):
        pending = [one for one in (first, second) if one]
        said = judge(entry_of(synced, *pending), data, named, lambda: True)
        assert (said == MISSING) == (data == "")
        assert (said == SAME) == (data == named)
        if said == REFRESH:  # the pointer is ours, or what the data was made from
            assert named in (*pending, synced)
        if said == BEHIND and (synced or pending):  # the data holds nothing that is not committed
            assert data == synced
        if said == BOTH:
            assert data != synced
            assert named not in (*pending, synced)


class Clone(RuleBasedStateMachine):
    """A worktree: edits, commits that go through or are refused, pointers that others moved.

    What is true is kept beside: ``edited``, the data holds what no commit has; ``moved``, another's
    pointer came since data and pointer were in step.
    """

    def __init__(self) -> None:
        super().__init__()
        self.entry = entry_of(A)
        self.data = self.named = self.committed = A
        self.edited = self.moved = False
        self.overruled = False  # another's pointer, by data that is not committed yet
        self.contents = (f"{at:032x}" for at in itertools.count())

    def judged(self) -> str:
        return judge(self.entry, self.data, self.named, never)

    @rule()
    def edit(self) -> None:
        self.data, self.edited = next(self.contents), True

    @precondition(lambda self: not self.moved)
    @rule(through=st.booleans())
    def commit(self, through: bool) -> None:
        if self.judged() == REFRESH:
            self.named = self.data
            self.entry.await_commit(self.data, "head")
        if through and self.judged() == SAME:
            self.committed = self.named
            self.entry.in_step(self.named)
            self.edited = self.overruled = False

    @precondition(lambda self: not self.edited)
    @rule()
    def another_pointer_comes(self) -> None:
        self.committed = self.named = next(self.contents)
        self.moved = True

    @precondition(lambda self: self.named != self.committed)
    @rule()
    def pointer_is_put_back(self) -> None:
        self.named, self.moved = self.committed, self.overruled
        self.overruled = False

    @precondition(lambda self: self.moved and not self.edited)
    @rule()
    def pull(self) -> None:
        assert self.judged() == BEHIND
        self.data, self.moved = self.named, False
        self.entry.in_step(self.named)

    @precondition(lambda self: self.moved and self.edited)
    @rule(mine=st.booleans())
    def resolve(self, mine: bool) -> None:
        assert self.judged() == BOTH
        if mine:
            self.named = self.data
            self.entry.await_commit(self.data, "head")
            self.moved, self.overruled = False, True
            return
        self.data, self.edited, self.moved = self.named, False, False
        self.entry.in_step(self.named)

    @invariant()
    def the_judgement_is_true(self) -> None:
        expected = {
            (False, False): SAME,
            (True, False): REFRESH,
            (False, True): BEHIND,
            (True, True): BOTH,
        }[self.edited, self.moved]
        if self.edited and self.data == self.named:
            expected = SAME  # the pointer names it already, for a commit that is to be made
        assert self.judged() == expected


Clone.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestClone = Clone.TestCase


# settling


def commit_pointer(repo: Repo, oid: str) -> str:
    repo.write("x.dvc", f"outs:\n- md5: {oid}\n  size: 1\n  hash: md5\n  path: x\n")
    return repo.commit(oid[0])


@pytest.fixture
def waiting(repo: Repo) -> index.Record:
    """A, then B were tracked on top of a first commit."""
    record = index.Record()
    entry = record.entry("x", "x.dvc")
    base = repo.commit("base", "--allow-empty")
    for oid in (A, B):
        entry.await_commit(oid, base)
    return record


def settle(repo: Repo, record: index.Record) -> tuple[int, str, str]:
    project = places.find(str(repo.root), os.environ)
    done = threeway.settle(project, record)
    entry = record.entries["x"]
    return len(done), entry.synced, entry.pending


def test_a_commit_that_was_not_made_settles_nothing(repo: Repo, waiting: index.Record) -> None:
    repo.write("x.dvc", B)  # in the worktree only
    assert settle(repo, waiting) == (0, "", f"{A} {B}")


def test_the_first_of_two_was_committed(repo: Repo, waiting: index.Record) -> None:
    commit_pointer(repo, A)
    assert settle(repo, waiting) == (1, A, B)
    commit_pointer(repo, B)
    assert settle(repo, waiting) == (1, B, "")
    assert settle(repo, waiting) == (0, B, "")


def test_the_newest_counts_where_head_went_back(repo: Repo, waiting: index.Record) -> None:
    first = commit_pointer(repo, A)
    commit_pointer(repo, B)
    repo.git("checkout", "--quiet", first)
    assert settle(repo, waiting) == (1, B, "")


def test_a_branch_that_was_left_counts(repo: Repo, waiting: index.Record) -> None:
    repo.git("switch", "--quiet", "--create", "side")
    commit_pointer(repo, B)
    repo.git("switch", "--quiet", "main")
    assert settle(repo, waiting) == (1, B, "")


def test_the_very_first_commit(repo: Repo) -> None:
    record = index.Record()
    record.entry("x", "x.dvc").await_commit(A, "")
    assert settle(repo, record) == (0, "", A)
    commit_pointer(repo, A)
    repo.git("switch", "--quiet", "--orphan", "empty")
    assert settle(repo, record) == (1, A, "")


def test_others_pending_hashes_are_not_mine(repo: Repo, waiting: index.Record) -> None:
    other = waiting.entry("y", "y.dvc")
    other.await_commit(B, repo.head)
    commit_pointer(repo, B)
    assert settle(repo, waiting) == (1, B, "")
    assert (other.synced, other.pending) == ("", B)


@pytest.mark.parametrize("log", [None, b"", b"\n", b"x\n" * 3, b"\xff\0 \n", b"0" * 39 + b" 1\n"])
def test_a_damaged_reflog_settles_nothing(
    repo: Repo, waiting: index.Record, log: bytes | None
) -> None:
    path = repo.root / ".git/logs/HEAD"
    path.unlink() if log is None else path.write_bytes(log)
    assert settle(repo, waiting) == (0, "", f"{A} {B}")


@settings(max_examples=20)
@given(st.lists(st.sampled_from([A, B, C]), max_size=6))
def test_pending_is_in_order_of_writing(written: list[str]) -> None:
    entry = entry_of("")
    for oid in written:
        entry.await_commit(oid, "base")
    last = {oid: at for at, oid in enumerate(written)}
    assert entry.pending.split() == sorted(last, key=last.__getitem__)


def test_a_commit_that_was_left_again_for_where_it_began(repo: Repo) -> None:
    """HEAD was at the base before that commit, after it, and has gone on from there since."""
    project = places.find(str(repo.root), os.environ)
    base = repo.commit("base", "--allow-empty")
    record = index.Record()
    record.entry("x", "x.dvc").await_commit(A, threeway.present(project))
    commit_pointer(repo, A)
    repo.git("reset", "--quiet", "--hard", base)
    repo.commit("further", "--allow-empty")
    assert settle(repo, record) == (1, A, "")


def test_what_was_committed_before_settles_nothing(repo: Repo) -> None:
    """The same content as in an earlier commit, tracked anew: it waits for a commit of its own."""
    project = places.find(str(repo.root), os.environ)
    base = repo.commit("base", "--allow-empty")
    commit_pointer(repo, A)
    repo.git("reset", "--quiet", "--hard", base)
    for shortened in (False, True):
        record = index.Record()
        record.entry("x", "x.dvc").await_commit(A, threeway.present(project))
        if shortened:
            log = repo.root / ".git" / "logs" / "HEAD"
            log.write_text("".join(log.read_text().splitlines(keepends=True)[1:]))
        repo.commit("further", "--allow-empty")
        assert settle(repo, record) == (0, "", A)
