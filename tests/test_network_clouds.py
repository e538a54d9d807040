"""Google's and Azure's storage as stores: there and back, proven, tried out, and failing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import proxying
import servers
from far import use
from mlrepro import debts
from mlrepro.commands import remote as command
from mlrepro.dvc import remote as dvc_remote
from proxying import Proxy
from working import Work, cloned, codes, made, oid_of

pytestmark = pytest.mark.slow
Cloud = servers.Gs | servers.Azure


class Sky:
    """A repository whose store is a new bucket of a cloud, asked through a proxy."""

    def __init__(self, cloud: Cloud, proxy: Proxy, root: Path) -> None:
        self.cloud, self.proxy = cloud, proxy
        self.bucket = cloud.make_bucket(f"test-{os.urandom(6).hex()}")
        self.work = made(root)
        self.ask_at()
        self.work.git("add", "--all")
        self.work.save("a bucket for a store")

    @property
    def near(self) -> Cloud:
        """The same cloud, by way of the proxy."""
        path = "/tests" if isinstance(self.cloud, servers.Azure) else ""
        return replace(self.cloud, endpoint=self.proxy.url + path)

    def ask_at(self, work: Work | None = None, **given: str) -> None:
        use(work or self.work, self.near.settings(self.bucket, "data") | given)

    def key(self, data: bytes) -> str:
        oid = oid_of(data)
        return f"data/files/md5/{oid[:2]}/{oid[2:]}"


@pytest.fixture(params=["gs", "azure"])
def sky(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sky]:
    cloud: Any = request.getfixturevalue(request.param)
    with Proxy(cloud.endpoint) as proxy:
        yield Sky(cloud, proxy, tmp_path / "repo")


def tracked(sky: Sky, **more: bytes) -> dict[str, bytes]:
    """A file and a folder, and more files, saved and committed."""
    files = {"data/one.csv": b"1\n", "data/two.csv": os.urandom(100), "model.bin": b"model", **more}
    for name, content in files.items():
        sky.work.write(name, content)
    done = sky.work.track("data", "model.bin", *more)
    assert done.errors == () and debts.owed(sky.work.project()) == [], done.notes
    sky.work.save("data")
    return files


def same(work: Work, files: dict[str, bytes]) -> bool:
    return {name: work.read(name) for name in files} == files


def told(run: Any) -> list[str]:
    """The codes of the errors that a command wrote down."""
    return [error["code"] for error in run.json["errors"]]


def test_there_and_back(sky: Sky, tmp_path: Path) -> None:
    files = tracked(sky, big=os.urandom(17 << 20))  # which comes back in parts
    stored = sky.cloud.objects(sky.bucket)
    assert len(stored) == 5 and stored[sky.key(files["big"])] == 17 << 20
    assert sky.cloud.read(sky.bucket, sky.key(b"model")) == b"model"
    sky.proxy.asked.clear()
    assert sky.work.track().errors == ()
    status = sky.work.status_of()
    assert status.clean and status.restorable and sky.proxy.asked == []
    clone = cloned(sky.work, tmp_path / "clone")
    sky.ask_at(clone)
    assert clone.pull().errors == () and same(clone, files)
    run = clone.mlrepro("verify", "--all", "--deep")
    assert run.exit_code == 0, run
    assert clone.mlrepro("remote", "test").stdout.endswith("write, read, list, remove\n")


def test_what_is_damaged_is_found_and_mended(sky: Sky) -> None:
    files = tracked(sky)
    sky.cloud.write(sky.bucket, sky.key(files["model.bin"]), b"modem")
    sky.cloud.write(sky.bucket, sky.key(files["data/one.csv"]), b"0")
    run = sky.work.mlrepro("verify", "--deep", "--json")
    problems = {one["path"]: one["reason"] for one in run.json["data"]["problems"]}
    assert problems == {"model.bin": "corrupt", "data/one.csv": "corrupt"}
    # Who may not move is answered so by Google; its emulator cannot, and would be asked for 50 s.
    sky.proxy.fault = lambda method, path: proxying.DENY if "/moveTo/" in path else ""
    assert sky.work.mlrepro("verify", "--deep", "--repair").exit_code == 0
    assert sky.cloud.read(sky.bucket, sky.key(files["model.bin"])) == b"model"
    sky.cloud.write(sky.bucket, sky.key(files["model.bin"]), b"modem")
    sky.work.forget()
    sky.work.path("model.bin").unlink()
    assert codes(sky.work.pull("model.bin")) != []
    assert not sky.work.path("model.bin").exists()


def test_offline_then_paid(sky: Sky, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dvc_remote, "_FIRST_ANSWER_S", 1.0)
    tracked(sky)
    sky.proxy.fault = lambda method, path: proxying.DROP
    sky.work.write("model.bin", b"offline")
    assert sky.work.track("model.bin").errors == ()
    assert debts.owed(sky.work.project()) == [oid_of("offline")]
    assert codes(sky.work.push()) == ["remote-unreachable"]
    assert debts.owed(sky.work.project()) == [oid_of("offline")]
    sky.proxy.fault = lambda method, path: ""
    assert sky.work.push().errors == ()
    assert debts.owed(sky.work.project()) == []
    assert sky.cloud.read(sky.bucket, sky.key(b"offline")) == b"offline"


def test_refused_in_the_middle(sky: Sky) -> None:
    tracked(sky)
    sky.proxy.fault = lambda method, path: proxying.REFUSE
    sky.work.write("model.bin", b"refused")
    sky.work.track("model.bin")
    done = sky.work.push()
    assert codes(done) == ["remote-forbidden"], done.errors
    sky.proxy.fault = lambda method, path: ""
    assert sky.work.push().errors == ()


def test_no_such_bucket(sky: Sky) -> None:
    tracked(sky)
    sky.cloud.remove_bucket(sky.bucket)
    sky.work.write("model.bin", b"homeless")
    sky.work.track("model.bin")
    assert codes(sky.work.push()) == ["remote-missing"]
    assert told(sky.work.mlrepro("remote", "test", "--json")) == ["remote-missing"]
    sky.cloud.make_bucket(sky.bucket)
    assert sky.work.push().errors == ()


def test_a_wrong_key(azure: servers.Azure, tmp_path: Path) -> None:
    with Proxy(azure.endpoint) as proxy:
        sky = Sky(azure, proxy, tmp_path / "repo")
        wrong = azure.connection(key="d3JvbmctV3JvbmctV3JvbmctV3Jvbmc=")
        sky.ask_at(connection_string=wrong)
        run = sky.work.mlrepro("-v", "remote", "test", "--json")
        assert told(run) == ["remote-forbidden"]
        assert "d3Jvbmct" not in run.stdout + run.stderr and azure.key not in run.stdout


def test_moving_there(sky: Sky, tmp_path: Path) -> None:
    work = made(tmp_path / "moving")
    work.write("a.csv", b"a\n")
    work.track("a.csv")
    work.save()
    given = sky.cloud.settings(sky.bucket, "moved")
    secrets = {key: given.pop(key) for key in ("connection_string",) if key in given}
    url = given.pop("url")
    settings = [f"{key}={value}" for key, value in given.items()]
    done = command.run(
        work.project(), "set", url, work.options(), settings=settings, secrets=secrets
    )
    assert codes(done) == [] and done.copied.count == 1
    assert "AccountKey" not in work.path(".dvc/config").read_text()
    assert len(sky.cloud.objects(sky.bucket)) == 1
