"""Two published versions of a real data set: committed, cloned, pulled, and compared by md5."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from working import PUBLISHED, REAL, cloned, made


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the published tables are not here: {REAL}")
@pytest.mark.parametrize("lane", ["", "dvc"])
def test_two_versions_of_the_real_tables(tmp_path: Path, lane: str) -> None:
    work = made(tmp_path / "repo", lane)
    commits = {}
    for version, files in PUBLISHED.items():
        for name in files:
            shutil.copyfile(REAL / version / name, work.write(f"data/{name}", b""))
        done = work.track("data/*.csv")
        assert not done.errors
        assert {item.path: item.oid for item in done.tracked} == {
            f"data/{name}": oid for name, oid in files.items()
        }
        commits[version] = work.save(version)
    assert not work.raw
    for version, commit in commits.items():
        clone = cloned(work, tmp_path / version)
        clone.git("checkout", "--quiet", commit)
        assert set(clone.pull().restored) == {f"data/{name}" for name in PUBLISHED[version]}
        for name, oid in PUBLISHED[version].items():
            assert clone.md5(f"data/{name}") == oid
        assert clone.status_of().clean
        assert clone.status == ""
