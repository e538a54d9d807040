"""One large file to Google's or Azure's storage, cut short in its middle: the next run goes on."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import proxying
import servers
from building import PATIENCE
from far import is_proven, killed_at
from mlrepro.dvc import begun
from proxying import Proxy
from test_network_clouds import Sky
from working import Work, cloned, oid_of

pytestmark = pytest.mark.slow
MIB = 1 << 20
SIZE = 44 * MIB
LITTLE = MIB  # what is asked and answered besides
DONE = 32 * MIB  # what is there when it is cut short
PART = {"gs": 16 * MIB, "azure": 8 * MIB}  # which each of them takes at once


@pytest.fixture(params=["gs", "azure"])
def sky(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sky]:
    cloud: Any = request.getfixturevalue(request.param)
    with Proxy(cloud.endpoint) as proxy:
        yield Sky(cloud, proxy, tmp_path / "repo")


class Middle:
    """Lets the parts pass that come to DONE, and holds all after them; at last they are dropped."""

    def __init__(self, sky: Sky) -> None:
        self.reached, self.over = threading.Event(), threading.Event()
        self._guard = threading.Lock()
        self._left = DONE // PART[kind(sky)]
        sky.proxy.fault = self

    def __call__(self, method: str, path: str) -> str:
        if ("comp=block&" not in path and "upload_id=" not in path) or self.over.is_set():
            return ""
        with self._guard:
            self._left -= 1
            if self._left >= 0:
                return ""
        self.reached.set()
        self.over.wait(PATIENCE)
        return proxying.DROP


def kind(sky: Sky) -> str:
    return "azure" if isinstance(sky.cloud, servers.Azure) else "gs"


def sent(sky: Sky) -> int:
    """The bytes that went either way, in requests that write."""
    return sum(sky.proxy.passed.get(method, 0) for method in ("PUT", "POST"))


def notes(work: Work) -> list[Path]:
    return sorted((work.root / ".dvc" / "cache" / begun.ROOM).glob("*.note"))


def cut_short(sky: Sky, content: bytes) -> None:
    sky.work.write("big.bin", content)
    killed_at(sky.work, sky.proxy, Middle(sky), "track", "big.bin")
    sky.proxy.fault = lambda method, path: ""
    sky.proxy.passed.clear()
    assert sky.cloud.objects(sky.bucket) == {}


def is_there(sky: Sky, content: bytes) -> bool:
    assert notes(sky.work) == []
    assert sky.cloud.objects(sky.bucket) == {sky.key(content): len(content)}
    return sky.cloud.read(sky.bucket, sky.key(content)) == content


def test_an_upload_goes_on(sky: Sky) -> None:
    content = os.urandom(SIZE)
    cut_short(sky, content)
    assert all(stat.S_IMODE(note.stat().st_mode) == 0o600 for note in notes(sky.work))
    assert sky.work.track("big.bin").errors == ()
    assert SIZE - DONE <= sent(sky) <= SIZE - DONE + LITTLE
    assert is_there(sky, content)
    assert is_proven(sky.work)


def test_where_the_note_is_lost(sky: Sky) -> None:
    """Azure tells by itself what is there; of Google's upload nobody knows the address then."""
    content = os.urandom(SIZE)
    cut_short(sky, content)
    for note in notes(sky.work):
        note.unlink()
    assert sky.work.track("big.bin").errors == ()
    left = SIZE - (DONE if kind(sky) == "azure" else 0)
    assert left <= sent(sky) <= left + LITTLE
    assert is_there(sky, content)


def test_an_upload_that_the_store_knows_no_more_begins_anew(sky: Sky) -> None:
    content = os.urandom(SIZE)
    cut_short(sky, content)
    if isinstance(sky.cloud, servers.Azure):  # to commit others is to drop what was staged
        sky.cloud.write(sky.bucket, sky.key(content), b"")
        sky.cloud.remove(sky.bucket, sky.key(content))
    for note in notes(sky.work):
        text = note.read_text()
        note.write_text(text.replace("upload_id=", "upload_id=0"))
    assert sky.work.track("big.bin").errors == ()
    assert SIZE <= sent(sky) <= SIZE + LITTLE
    assert is_there(sky, content)


def test_an_edit_since_does_not_mix_with_what_was_sent(sky: Sky) -> None:
    content = os.urandom(SIZE)
    cut_short(sky, content)
    other = content[:-1] + bytes([content[-1] ^ 1])
    sky.work.write("big.bin", other)
    assert sky.work.track("big.bin").errors == ()
    assert sky.cloud.read(sky.bucket, sky.key(other)) == other


def test_an_upload_that_holds_other_bytes_is_not_gone_on_with(sky: Sky) -> None:
    """A note that leads to the upload of another file: what arrives is removed, and sent anew."""
    if kind(sky) == "azure":
        pytest.skip("there each block is known by its hash, and nothing is noted")
    other, content = os.urandom(SIZE), os.urandom(SIZE)
    cut_short(sky, other)
    (note,) = notes(sky.work)
    wrong = note.read_text()
    cut_short(sky, content)
    (mine,) = [one for one in notes(sky.work) if one != note]
    mine.write_text(
        wrong.replace(oid_of(other)[2:], oid_of(content)[2:]).replace(
            f"/{oid_of(other)[:2]}/", f"/{oid_of(content)[:2]}/"
        )
    )
    assert sky.work.track("big.bin").errors == ()
    assert sky.cloud.read(sky.bucket, sky.key(content)) == content


def test_a_part_whose_answer_is_lost(sky: Sky) -> None:
    content = os.urandom(SIZE)
    sky.work.write("big.bin", content)
    part = "comp=block&" if kind(sky) == "azure" else "upload_id="
    sky.proxy.fault = proxying.first(1, proxying.LOSE, part=part)
    assert sky.work.track("big.bin").errors == ()
    assert is_there(sky, content)


def test_two_clones_send_the_same(sky: Sky, tmp_path: Path) -> None:
    content = os.urandom(SIZE)
    cut_short(sky, content)
    sky.work.save("nothing")
    clone = cloned(sky.work, tmp_path / "clone")
    sky.ask_at(clone)
    clone.write("big.bin", content)
    assert clone.track("big.bin").errors == ()
    assert sky.work.track("big.bin").errors == ()
    assert sky.cloud.read(sky.bucket, sky.key(content)) == content
    assert oid_of(content) in sky.work.read("big.bin.dvc").decode()
