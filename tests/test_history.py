"""What commits need, where pipelines have changed, names are odd, or the cache is gone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import past
from mlrepro import git
from past import Past
from working import codes, oid_of


@pytest.fixture
def work(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Past:
    return past.copy(tmp_path / "repo", tmp_path_factory.getbasetemp())


@pytest.mark.parametrize("kind", ["", ".dir"])
def test_what_no_stage_caches_is_not_needed(work: Past, kind: str) -> None:
    """By the dvc.yaml of each commit, or of the index; the worktree has none any more."""
    shutil.rmtree(work.store / ".mlrepro/clones")  # the template of this repository is gone
    work.write(
        "dvc.yaml",
        "stages:\n  train:\n    cmd: 'true'\n    metrics:\n    - out:\n        cache: false\n",
    )
    work.write(
        "dvc.lock",
        "schema: '2.0'\nstages:\n  train:\n    cmd: 'true'\n    outs:\n    - path: out\n"
        f"      hash: md5\n      md5: 0123456789abcdef0123456789abcdef{kind}\n      size: 3\n",
    )
    work.git("add", "dvc.yaml", "dvc.lock")
    work.save("pipeline")
    assert work.gc(dry_run=True).errors == ()
    work.git("rm", "--quiet", "dvc.yaml", "dvc.lock")
    work.save("no pipeline")
    assert work.push(all_commits=True).errors == ()
    assert work.gc(dry_run=True).errors == ()


def test_a_path_with_a_line_break_cannot_be_asked_for(work: Past) -> None:
    assert git.blobs(work.project(), ["HEAD:a\nb", "HEAD:train.py"]) == {
        "HEAD:train.py": work.read("train.py")
    }
    assert list(git.names(work.project(), ["HEAD:a\nb", "HEAD:train.py"])) == ["HEAD:train.py"]


def test_what_the_cache_had_is_missing_where_it_was_removed(work: Past) -> None:
    shutil.rmtree(work.path(".dvc/cache"))
    first = oid_of(past.ONE)
    shutil.rmtree(work.store / "files/md5" / first[:2])
    done = work.push(all_commits=True)
    assert first in [gap.oid for gap in done.missing]
    assert set(codes(done)) == {"blob-missing"}
