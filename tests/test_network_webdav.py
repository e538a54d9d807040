"""A WebDAV server is asked for no more than is needed, and never has a part of a blob."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import proxying
import servers
from far import is_proven, use
from proxying import Proxy
from test_network_killed import Dav
from working import Work, made, oid_of

pytestmark = pytest.mark.slow


@pytest.fixture
def dav(s3: servers.S3, webdav: str) -> Iterator[Dav]:
    with Proxy(s3.webdav) as proxy:
        yield Dav(s3, webdav, proxy)


@pytest.fixture
def work(dav: Dav, tmp_path: Path) -> Work:
    work = made(tmp_path / "repo")
    use(work, {"url": dav.url})
    return work


def test_the_requests_of_one_blob(dav: Dav, work: Work) -> None:
    """Whether it is there; it, its name; whether it is there now; what was left beside it."""
    contents = [b for b in (f"{number}\n" for number in range(5000)) if oid_of(b)[:2] == "00"]
    for number, content in enumerate(contents[:2]):  # of one folder, which the first of them makes
        work.write(f"{number}.bin", content)
        dav.proxy.asked.clear()
        assert work.track(f"{number}.bin").errors == ()
    asked = [method for method, _ in dav.proxy.asked]
    assert asked.count("PUT") == asked.count("MOVE") == 1
    assert "COPY" not in asked and "DELETE" not in asked
    assert dav.files("files/") == sorted(oid_of(content)[2:] for content in contents[:2])
    assert dav.files(".mlrepro/tmp/") == []


def test_many_at_once_make_few_requests_each(dav: Dav, work: Work) -> None:
    for number in range(24):
        work.write(f"folder/{number}", f"{number}\n")
    assert work.track("folder").errors == ()
    work.write("folder/more", "more\n")
    dav.proxy.asked.clear()
    assert work.track("folder").errors == ()
    assert len(dav.proxy.asked) <= 2 * 12  # two blobs: the file, and the listing
    assert is_proven(work)


def test_a_name_that_was_taken_meanwhile(dav: Dav, work: Work) -> None:
    """By another clone that sent the same: its blob stays, and nothing is left beside."""
    work.write("data.bin", "some bytes\n")
    oid = oid_of("some bytes\n")

    def take_first(method: str, path: str) -> str:
        if method == "MOVE" and dav.proxy.count("MOVE") == 1:
            dav.s3.ask("PUT", f"/{dav.name}/files/md5/{oid[:2]}/{oid[2:]}", b"some bytes\n")
        return ""

    dav.proxy.fault = take_first
    assert work.track("data.bin").errors == ()
    assert dav.files("files/") == [oid[2:]] and dav.files(".mlrepro/tmp/") == []
    assert is_proven(work)


def test_a_damaged_blob_is_moved_away(dav: Dav, work: Work) -> None:
    work.write("data.bin", "some bytes\n")
    assert work.track("data.bin").errors == ()
    oid = oid_of("some bytes\n")
    dav.s3.ask("PUT", f"/{dav.name}/files/md5/{oid[:2]}/{oid[2:]}", b"other bytes")
    assert is_proven(work, "--repair")
    assert len(dav.files(".quarantine/")) == 1 and dav.files("files/") == [oid[2:]]


@pytest.mark.parametrize("method", ["PUT", "MOVE"])
@pytest.mark.parametrize("fault", [proxying.DROP, proxying.LOSE])
def test_a_connection_that_breaks(dav: Dav, work: Work, method: str, fault: str) -> None:
    """The blob is tried once more; where only the answer was lost, it is there already."""
    work.write("data.bin", "some bytes\n")
    dav.proxy.fault = proxying.first(1, fault, method)
    work.track("data.bin")
    assert work.push().errors == ()
    assert dav.files("files/") == [oid_of("some bytes\n")[2:]]
    assert is_proven(work)
