"""Repositories whose store is an S3 bucket, maybe behind a proxy."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import servers
from building import PATIENCE
from proxying import Proxy
from working import Work, cloned, made

_CONFIG = """\
[core]
    remote = storage
['remote "storage"']
    url = {url}
"""


def use(work: Work, settings: Mapping[str, str]) -> None:
    """Make it the store; secrets, and what differs here, go where git does not see them."""
    (work.root / ".dvc" / "config").write_text(_CONFIG.format(url=settings["url"]))
    lines = [f"    {name} = {value}" for name, value in settings.items() if name != "url"]
    local = "\n".join(["['remote \"storage\"']", *lines, ""])
    (work.root / ".dvc" / "config.local").write_text(local)


def killed(work: Work, reached: threading.Event, *argv: str) -> None:
    """Run a command and kill it once that was reached."""
    command = [sys.executable, "-m", "mlrepro", "-q", *argv]
    running = subprocess.Popen(command, cwd=work.root, start_new_session=True)
    assert reached.wait(PATIENCE)
    assert running.poll() is None
    os.killpg(running.pid, signal.SIGKILL)
    running.wait(PATIENCE)


def is_proven(work: Work, *options: str) -> bool:
    """Commit all, and have every blob of it read."""
    work.git("add", "--all")
    work.save()
    run = work.mlrepro("--json", "verify", "--deep", *options)
    return run.exit_code == 0 and run.json["data"]["blobs"] > 0


class Hold(Protocol):
    """A fault that holds requests back: from ``reached`` on, until it is ``over``."""

    reached: threading.Event
    over: threading.Event


def killed_at(work: Work, proxy: Proxy, hold: Hold, *argv: str) -> None:
    """Run a command, kill it where it is held, and wait until the proxy is done with it."""
    count = proxy.open
    killed(work, hold.reached, *argv)
    hold.over.set()
    proxy.wait_for(count)


class Far(Work):
    """A repository with its data in a bucket; ``s3`` is the way to it, ``bucket`` its name."""

    s3: servers.S3
    bucket: str

    @classmethod
    def at(cls, root: Path, s3: servers.S3, bucket: str, endpoint: str = "") -> Far:
        """A new one, set up and committed."""
        work = made(root)
        work.__class__ = cls
        assert isinstance(work, Far)
        work.s3, work.bucket = s3, bucket
        work.ask_at(endpoint or s3.endpoint)
        work.git("add", "--all")
        work.save("a bucket for a store")
        return work

    def ask_at(self, endpoint: str, **given: str) -> None:
        """Another way to the same bucket, or with other settings."""
        settings = self.s3.settings(self.bucket, "data")
        use(self, {**settings, "endpointurl": endpoint, **given})

    def cloned(self, root: Path) -> Far:
        """A clone that asks the same bucket."""
        clone = cloned(self, root)
        clone.__class__ = Far
        assert isinstance(clone, Far)
        clone.s3, clone.bucket = self.s3, self.bucket
        clone.ask_at(self.s3.endpoint)
        return clone

    def key(self, oid: str) -> str:
        """The name of a blob's object."""
        return f"data/files/md5/{oid[:2]}/{oid[2:]}"

    def stored(self) -> dict[str, int]:
        """Every blob in the bucket and its size."""
        listed = self.s3.objects(self.bucket)
        names = {name.removeprefix("data/files/md5/"): name for name in listed}
        return {
            short.replace("/", ""): listed[name] for short, name in names.items() if short != name
        }
