"""verify --deep of a store on the network: every blob comes here, is hashed, and goes again."""

from __future__ import annotations

from pathlib import Path

import pytest

import servers
from blobs import leftovers
from building import blob_path
from mlrepro import mending
from mlrepro.commands import verify
from mlrepro.errors import StoreError
from working import Work, made, oid_of

ONE, TWO = "id\n1\n", "id\n2\n"


@pytest.fixture
def work(tmp_path: Path, s3: servers.S3, bucket: str) -> Work:
    """Two versions of a file and a folder, stored in a bucket and nowhere else."""
    work = made(tmp_path / "repo")
    work.git("rm", "--quiet", "--cached", "config/config.py")  # it names a folder
    work.path("config/config.py").unlink()
    remote = "['remote \"storage\"']\n    {} = {}\n    {} = {}\n"
    config = "[core]\n    remote = storage\n[cache]\n    type = copy\n"
    config += remote.format("url", f"s3://{bucket}/p", "endpointurl", s3.endpoint)
    work.write(".dvc/config", config)
    secrets = ("access_key_id", servers.KEY, "secret_access_key", servers.SECRET)
    work.write(".dvc/config.local", remote.format(*secrets))
    work.git("add", ".dvc/config")
    for text in (ONE, TWO):
        work.write("data/a.csv", text)
        assert not work.track("data/a.csv").errors
        work.save(text)
    work.write("models/x.bin", "x")
    work.write("models/y.bin", "y")
    assert not work.track("models").errors
    work.save()
    return work


def deep(work: Work, **given: bool) -> verify.VerifyResult:
    return verify.run(work.project(), [], True, work.options(), deep=True, **given)


def key(oid: str) -> str:
    return f"p/files/md5/{oid[:2]}/{oid[2:]}"


def test_what_is_damaged_is_found_and_mended(work: Work, s3: servers.S3, bucket: str) -> None:
    assert deep(work).exit_code == 0
    one, member = oid_of(ONE), oid_of("x")
    s3.write(bucket, key(one), b"id\n9\n")  # of the same size
    s3.write(bucket, key(member), b"z")
    found = deep(work)
    told = [(problem.path, problem.oid, problem.reason) for problem in found.problems]
    assert told == [("data/a.csv", one, "corrupt"), ("models/x.bin", member, "corrupt")]
    assert found.restorable == found.commits - 2
    mended = deep(work, repair=True)
    assert (mended.exit_code, sorted(mended.repaired)) == (0, sorted([one, member]))
    assert (s3.read(bucket, key(one)), s3.read(bucket, key(member))) == (ONE.encode(), b"x")
    assert leftovers(work.root / ".dvc") == []


@pytest.mark.slow
def test_what_has_no_good_copy_is_left(work: Work, s3: servers.S3, bucket: str) -> None:
    one = oid_of(ONE)
    s3.write(bucket, key(one), b"id\n9\n")
    work.forget()
    assert deep(work).problems[0].oid == one
    assert not blob_path(work.root / ".dvc" / "cache", oid_of(TWO)).exists()  # nothing stays here
    found = deep(work, repair=True)
    assert [problem.oid for problem in found.problems] == [one] and found.repaired == ()
    assert s3.read(bucket, key(one)) == b"id\n9\n"


@pytest.mark.slow
def test_an_interrupted_run_goes_on(
    work: Work, s3: servers.S3, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read before is not read again; a run that came to its end starts anew."""
    room = work.root / ".git" / "mlrepro" / "verified"
    right = mending._Reading.right

    def stop(self: mending._Reading, oid: str, mark: str, size: int) -> None:
        right(self, oid, mark, size)
        raise StoreError("the line is cut")

    with monkeypatch.context() as patch:
        patch.setattr(mending._Reading, "right", stop)
        with pytest.raises(StoreError):
            deep(work)
    known = [line.split()[0] for line in room.read_text().splitlines()]
    assert known
    worse = bytes(byte ^ 1 for byte in s3.read(bucket, key(known[0])))
    s3.write(bucket, key(known[0]), worse)
    assert deep(work).problems == ()
    assert not room.exists()
    assert [problem.oid for problem in deep(work).problems] == [known[0]]
