"""Real stores on the network, started on loopback.

SeaweedFS (S3, WebDAV), OpenSSH's sshd, and what stands for two clouds: Azurite, by Microsoft, and
gcp-storage-emulator.

Each is started by the first test that asks for it, serves every worker of the test run, and ends
with the last of them, however that ends: a guard waits for a lock that each of them holds.
"""

from __future__ import annotations

import base64
import fcntl
import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

PATIENCE = 60.0
KEY, SECRET = "OWNERKEY", "owner-Secret/1"  # may do everything
READER_KEY, READER_SECRET = "READERKEY", "reader-Secret/1"  # may only read and list
REQUIRED = "TEST_SERVERS"  # "required": what cannot be started fails a test

_IDENTITIES = {
    "identities": [
        {
            "name": name,
            "credentials": [{"accessKey": key, "secretKey": secret}],
            "actions": actions,
        }
        for name, key, secret, actions in (
            ("owner", KEY, SECRET, ["Admin", "Read", "Write", "List", "Tagging"]),
            ("reader", READER_KEY, READER_SECRET, ["Read", "List"]),
        )
    ]
}
# One volume for a new bucket instead of seven, and nothing told to anyone.
_WEED_ENV = {f"WEED_MASTER_VOLUME_GROWTH_COPY_{n}": "1" for n in (1, 2, 3)}


@dataclass(frozen=True)
class S3:
    """A running SeaweedFS: ``endpoint`` speaks S3, ``filer`` is a back door to all objects."""

    endpoint: str
    filer: str
    webdav: str = ""

    def make_bucket(self, name: str) -> str:
        """A new, empty bucket; its name has to have three characters at least."""
        self.ask("POST", f"/buckets/{name}/")
        return name

    def remove_bucket(self, name: str) -> None:
        self.ask("DELETE", f"/buckets/{name}?recursive=true")

    def read(self, bucket: str, key: str) -> bytes:
        """The bytes of an object, past S3. Raises HTTPError 404 where there is none."""
        return self.ask("GET", f"/buckets/{bucket}/{key}")

    def write(self, bucket: str, key: str, data: bytes) -> None:
        """Put other bytes in an object's place, past S3."""
        self.ask("PUT", f"/buckets/{bucket}/{key}", data)

    def remove(self, bucket: str, key: str) -> None:
        self.ask("DELETE", f"/buckets/{bucket}/{key}")

    def objects(self, bucket: str, folder: str = "") -> dict[str, int]:
        """Every object's key and size."""
        found: dict[str, int] = {}
        last = ""
        while True:
            query = f"/buckets/{bucket}/{folder}?limit=1000&lastFileName={last}"
            entries = json.loads(self.ask("GET", query))["Entries"] or []
            for entry in entries:
                key = entry["FullPath"].removeprefix(f"/buckets/{bucket}/")
                if entry["Mode"] & (1 << 31):  # as Go marks a folder
                    found |= self.objects(bucket, f"{key}/")
                else:
                    found[key] = entry["FileSize"]
            if len(entries) < 1000:
                return found
            last = entries[-1]["FullPath"].rpartition("/")[2]

    def ask(self, method: str, path: str, data: bytes | None = None) -> bytes:
        """One request to the filer."""
        headers = {"Accept": "application/json"}
        if data is not None:
            headers["Content-Type"] = "application/octet-stream"
        request = urllib.request.Request(self.filer + path, data, headers, method=method)
        with _direct.open(request, timeout=PATIENCE) as answer:
            return bytes(answer.read())

    def settings(self, bucket: str, prefix: str = "", *, reader: bool = False) -> dict[str, str]:
        """What DVC has to know of it: a remote's settings, in its config."""
        return {
            "url": f"s3://{bucket}{'/' + prefix if prefix else ''}",
            "endpointurl": self.endpoint,
            "access_key_id": READER_KEY if reader else KEY,
            "secret_access_key": READER_SECRET if reader else SECRET,
        }


@dataclass(frozen=True)
class Ssh:
    """A running sshd that lets the present user in by a key made for the tests."""

    port: int
    keyfile: str
    user: str

    def settings(self, folder: str | os.PathLike[str]) -> dict[str, str]:
        """What DVC has to know of it: a remote's settings, in its config."""
        return {
            "url": f"ssh://{self.user}@127.0.0.1:{self.port}{os.fspath(folder)}",
            "keyfile": self.keyfile,
        }


@dataclass(frozen=True)
class Gs:
    """A running emulator of Google's storage; ``endpoint`` asks for no key."""

    endpoint: str

    def make_bucket(self, name: str) -> str:
        body = json.dumps({"name": name}).encode()
        self._ask("POST", "/storage/v1/b?project=tests", body, "application/json")
        return name

    def remove_bucket(self, name: str) -> None:
        for key in self.objects(name):
            self._ask("DELETE", self._object(name, key))
        self._ask("DELETE", f"/storage/v1/b/{name}")

    def read(self, bucket: str, key: str) -> bytes:
        return self._ask("GET", f"{self._object(bucket, key)}?alt=media")

    def write(self, bucket: str, key: str, data: bytes) -> None:
        """Put other bytes in an object's place."""
        query = f"uploadType=media&name={quote(key, safe='')}"
        self._ask("POST", f"/upload/storage/v1/b/{bucket}/o?{query}", data)

    def objects(self, bucket: str) -> dict[str, int]:
        """Every object's key and size."""
        listed = json.loads(self._ask("GET", f"/storage/v1/b/{bucket}/o"))
        return {one["name"]: int(one["size"]) for one in listed.get("items", ())}

    def _object(self, bucket: str, key: str) -> str:
        return f"/storage/v1/b/{bucket}/o/{quote(key, safe='')}"

    def _ask(self, method: str, path: str, data: bytes | None = None, kind: str = "") -> bytes:
        headers = {"Content-Type": kind or "application/octet-stream"}
        request = urllib.request.Request(self.endpoint + path, data, headers, method=method)
        with _direct.open(request, timeout=PATIENCE) as answer:
            return bytes(answer.read())

    def settings(self, bucket: str, prefix: str = "") -> dict[str, str]:
        """What DVC has to know of it: a remote's settings, in its config."""
        return {
            "url": f"gs://{bucket}{'/' + prefix if prefix else ''}",
            "endpointurl": self.endpoint,
            "allow_anonymous_login": "true",
        }


@dataclass(frozen=True)
class Azure:
    """A running Azurite, with one account; ``endpoint`` is that account's."""

    endpoint: str
    account: str
    key: str

    def make_bucket(self, name: str) -> str:
        """A new, empty container."""
        self._service().create_container(name)
        return name

    def remove_bucket(self, name: str) -> None:
        self._service().delete_container(name)

    def read(self, bucket: str, key: str) -> bytes:
        blob = self._service().get_blob_client(bucket, key)
        return bytes(blob.download_blob().readall())

    def write(self, bucket: str, key: str, data: bytes) -> None:
        """Put other bytes in a blob's place."""
        self._service().get_blob_client(bucket, key).upload_blob(data, overwrite=True)

    def remove(self, bucket: str, key: str) -> None:
        self._service().get_blob_client(bucket, key).delete_blob()

    def objects(self, bucket: str) -> dict[str, int]:
        """Every blob's name and size."""
        found = self._service().get_container_client(bucket).list_blobs()
        return {one.name: one.size for one in found}

    def _service(self) -> Any:
        from azure.storage.blob import BlobServiceClient

        return BlobServiceClient.from_connection_string(self.connection())

    def connection(self, endpoint: str = "", key: str = "") -> str:
        """All that there is to know, as Azure's programs write it."""
        return (
            f"DefaultEndpointsProtocol=http;AccountName={self.account};"
            f"AccountKey={key or self.key};BlobEndpoint={endpoint or self.endpoint};"
        )

    def settings(self, bucket: str, prefix: str = "") -> dict[str, str]:
        """What DVC has to know of it: a remote's settings, in its config."""
        return {
            "url": f"azure://{bucket}{'/' + prefix if prefix else ''}",
            "connection_string": self.connection(),
        }


_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever a shell says

# the programs


def weed() -> str:
    """SeaweedFS's program, or ""."""
    beside = os.path.join(sysconfig.get_path("scripts"), "weed")
    return beside if os.access(beside, os.X_OK) else shutil.which("weed") or ""


def sshd() -> str:
    """OpenSSH's server, which is often not on the PATH of those it is not meant for; or ""."""
    return shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin") or ""


def gcs() -> str:
    """The program of Google's emulator, or ""."""
    beside = os.path.join(sysconfig.get_path("scripts"), "gcp-storage-emulator")
    return beside if os.access(beside, os.X_OK) else shutil.which("gcp-storage-emulator") or ""


def azurite() -> str:
    """Azurite's program, where `make` puts it or on the PATH; or ""."""
    here = Path(__file__).parent.parent / "build" / "azurite" / "node_modules" / ".bin"
    return shutil.which("azurite-blob", path=here) or shutil.which("azurite-blob") or ""


def require(program: Callable[[], str], what: str, *modules: str, on: str = "") -> None:
    """Skip the test where a server, or what asks it, is not installed; fail where it must be.

    ``on``: a program without which it cannot be installed, so that it need not be.
    """
    lacking = [] if program() else [what]
    for name in modules:
        try:
            __import__(name)
        except ImportError:
            lacking.append(name)
    if not lacking:
        return
    told = f"not installed: {', '.join(lacking)}"
    if os.environ.get(REQUIRED) == "required" and not (on and not shutil.which(on)):
        pytest.fail(f"{told}; these tests need it (CONTRIBUTING.md)")
    pytest.skip(told)


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on; below those that the kernel gives to outgoing connections."""
    with ExitStack() as stack:
        ports: list[int] = []
        while len(ports) < count:
            port = 10_000 + int.from_bytes(os.urandom(2)) % 20_000
            one = stack.enter_context(socket.socket())
            with suppress(OSError):
                one.bind(("127.0.0.1", port))
                ports.append(port)
        return ports


# what is started


class Cluster:
    """The processes of one SeaweedFS, each of which may be killed; a context manager."""

    def __init__(self, folder: Path, volumes: int = 1) -> None:
        self.folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ports: list[int] = []  # by which its processes talk with each other
        self.volumes = volumes
        self.s3 = S3("", "")

    def __enter__(self) -> Cluster:
        for _ in range(2):  # a port can be taken by another between choice and use
            try:
                self._start()
                return self
            except ChildProcessError:
                self.stop()
        raise AssertionError((self.folder / "log").read_text(errors="replace")[-4000:])

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "s3.json").write_text(json.dumps(_IDENTITIES))
        m, mg, f, fg, s, sg, w = free_ports(7)
        self.ports += [mg, fg, sg]
        here = ("-ip=127.0.0.1", "-ip.bind=127.0.0.1")
        s3 = (
            f"-s3.port={s}", f"-s3.port.grpc={sg}", "-s3.port.iceberg=0", "-s3.port.lance=0",
            f"-s3.config={self.folder}/s3.json", "-s3.autoCreateBucket=false",
            f"-s3.localSocket={self.folder}/s3.sock",
        )  # fmt: skip
        copies = f"00{min(self.volumes, 2) - 1}"
        if self.volumes == 1:
            v, vg = free_ports(2)
            self.ports.append(vg)
            self._run(
                "server", "server", *here, f"-dir={self._room('all')}", "-master.telemetry=false",
                f"-master.port={m}", f"-master.port.grpc={mg}", "-master.volumeSizeLimitMB=256",
                f"-volume.port={v}", f"-volume.port.grpc={vg}", "-volume.max=0", "-filer",
                f"-filer.port={f}", f"-filer.port.grpc={fg}",
                f"-filer.localSocket={self.folder}/filer.sock", "-s3", *s3, "-webdav",
                f"-webdav.port={w}",
            )  # fmt: skip
        else:
            master = f"127.0.0.1:{m}.{mg}"
            self._run(
                "master", "master", *here, f"-mdir={self._room('master')}", "-telemetry=false",
                f"-port={m}", f"-port.grpc={mg}", "-volumeSizeLimitMB=64",
                f"-defaultReplication={copies}",
            )  # fmt: skip
            for number in range(self.volumes):
                v, vg = free_ports(2)
                self.ports.append(vg)
                self._run(
                    f"volume{number}", "volume", *here, f"-dir={self._room(f'volume{number}')}",
                    f"-master={master}", f"-port={v}", f"-port.grpc={vg}", "-max=40",
                )  # fmt: skip
            self._run(
                "filer", "filer", *here, f"-master={master}", f"-port={f}", f"-port.grpc={fg}",
                f"-defaultStoreDir={self._room('filer')}", f"-defaultReplicaPlacement={copies}",
                f"-localSocket={self.folder}/filer.sock",
            )  # fmt: skip
            alone = [one.replace("-s3.", "-") for one in s3]
            self._run("s3", "s3", f"-filer=127.0.0.1:{f}.{fg}", "-ip.bind=127.0.0.1", *alone)
        self.s3 = S3(
            f"http://127.0.0.1:{s}",
            f"http://127.0.0.1:{f}",
            f"http://127.0.0.1:{w}" if self.volumes == 1 else "",
        )
        self._await()

    def _room(self, name: str) -> Path:
        (self.folder / name).mkdir(exist_ok=True)
        return self.folder / name

    def _run(self, name: str, *argv: str) -> None:
        with (self.folder / "log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [weed(), "-logtostderr=true", *argv],
                cwd=self.folder,
                env={**os.environ, **_WEED_ENV, "HOME": str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _await(self) -> None:
        """Wait until a bucket can be made, written to and removed, and S3 answers."""
        end = time.monotonic() + PATIENCE
        while True:
            if any(one.poll() is not None for one in self.processes.values()):
                raise ChildProcessError
            try:
                self.s3.make_bucket("try-out")
                self.s3.write("try-out", "x", b"x")
                self.s3.remove_bucket("try-out")
                self.s3.ask("GET", "/")
                if _status(self.s3.endpoint) == 403:
                    return
            except (OSError, urllib.error.HTTPError):
                pass
            if time.monotonic() > end:
                raise ChildProcessError
            time.sleep(0.1)

    def kill(self, name: str) -> None:
        """End one process at once."""
        one = self.processes.pop(name)
        one.kill()
        one.wait()

    def stop(self) -> None:
        for one in self.processes.values():
            one.kill()
        for one in self.processes.values():
            one.wait()
        self.processes.clear()
        for port in self.ports:  # sockets that it makes beside each, wherever it is told to be
            for left in Path("/tmp").glob(f"seaweedfs-*-grpc-{port}.sock"):
                left.unlink(missing_ok=True)
        self.ports.clear()


def _status(url: str) -> int:
    try:
        with _direct.open(url, timeout=PATIENCE) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def _serve_s3(folder: Path, ready: Callable[[Mapping[str, Any]], None]) -> None:
    with Cluster(folder / "data") as cluster:
        ready(asdict(cluster.s3))


_SSHD = """\
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile {folder}/pid
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
UsePAM no
MaxStartups 100
MaxSessions 100
Subsystem sftp internal-sftp
"""


def _serve_ssh(folder: Path, ready: Callable[[Mapping[str, Any]], None]) -> None:
    for name in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "tests", "-f", folder / name],
            check=True,
        )
    if os.getuid() == 0:  # where it shuts itself in before somebody is let in
        Path("/run/sshd").mkdir(exist_ok=True)
    for _ in range(5):
        (port,) = free_ports(1)
        (folder / "config").write_text(_SSHD.format(port=port, folder=folder))
        argv = [sshd(), "-D", "-e", "-f", str(folder / "config")]
        with (folder / "log").open("ab") as log:
            server = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        while server.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), PATIENCE).close()
            except OSError:
                time.sleep(0.05)
                continue
            try:
                ready(asdict(Ssh(port, str(folder / "user"), getpass.getuser())))
            finally:
                server.terminate()
                server.wait()
            return
    raise AssertionError((folder / "log").read_text())


def _serve_gs(folder: Path, ready: Callable[[Mapping[str, Any]], None]) -> None:
    def argv(port: int) -> list[str]:
        return [gcs(), "start", "--host=127.0.0.1", f"--port={port}", "--in-memory"]

    _serve_http(folder, argv, {}, lambda url: ready(asdict(Gs(url))))


def _serve_azure(folder: Path, ready: Callable[[Mapping[str, Any]], None]) -> None:
    key = base64.b64encode(os.urandom(64)).decode()

    def argv(port: int) -> list[str]:
        return [
            azurite(), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--location",
            str(folder), "--silent", "--disableTelemetry", "--skipApiVersionCheck",
        ]  # fmt: skip

    accounts = {"AZURITE_ACCOUNTS": f"tests:{key}"}
    _serve_http(
        folder, argv, accounts, lambda url: ready(asdict(Azure(f"{url}/tests", "tests", key)))
    )


def _serve_http(
    folder: Path, argv: Callable[[int], Sequence[str]], environ: Mapping[str, str],
    ready: Callable[[str], None],
) -> None:  # fmt: skip
    """Start a program that is ready once it answers, with whatever."""
    for _ in range(5):
        (port,) = free_ports(1)
        with (folder / "log").open("ab") as log:
            server = subprocess.Popen(
                argv(port), cwd=folder, env={**os.environ, **environ, "HOME": str(folder)},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            while server.poll() is None:
                try:
                    _status(f"http://127.0.0.1:{port}/")
                except OSError:
                    time.sleep(0.05)
                    continue
                ready(f"http://127.0.0.1:{port}")
                return
        finally:
            server.kill()
            server.wait()
    raise AssertionError((folder / "log").read_text())


_KINDS = {"s3": _serve_s3, "ssh": _serve_ssh, "gs": _serve_gs, "azure": _serve_azure}


# the guard


def shared(kind: str, base: Path, stack: ExitStack) -> dict[str, Any]:
    """What to know of the server ``kind`` of this test run, which is started where none is.

    It is used until ``stack`` is closed, or this process ends.
    """
    folder = base / f"server-{kind}"
    folder.mkdir(exist_ok=True)
    users = os.open(folder / "users", os.O_RDWR | os.O_CREAT, 0o600)
    guards: list[subprocess.Popen[bytes]] = []

    def leave() -> None:
        os.close(users)
        for guard in guards:
            guard.wait()

    stack.callback(leave)
    begin = os.open(folder / "begin", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(begin, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_SH)  # no guard ends its server any more
        told = folder / "ready"
        if not told.exists():
            room = Path(folder, os.urandom(4).hex())
            room.mkdir()
            guard = subprocess.Popen(
                [sys.executable, __file__, kind, str(room)],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
            guards.append(guard)
            end = time.monotonic() + 2 * PATIENCE
            while not told.exists() and guard.poll() is None and time.monotonic() < end:
                time.sleep(0.05)
        return dict(json.loads(told.read_text()))
    finally:
        os.close(begin)


def _guard(kind: str, room: Path) -> None:
    """Serve until nobody holds the lock on ``users`` any more."""
    told = room.parent / "ready"

    def ready(about: Mapping[str, Any]) -> None:
        part = told.with_suffix(".part")
        part.write_text(json.dumps(about))
        part.rename(told)
        with (room.parent / "users").open("rb+") as users:
            fcntl.flock(users, fcntl.LOCK_EX)
            told.unlink()  # before the lock is free again

    try:
        _KINDS[kind](room, ready)
    finally:
        shutil.rmtree(room, ignore_errors=True)


def main(argv: Sequence[str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests, which then end
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    _guard(argv[0], Path(argv[1]))


if __name__ == "__main__":
    main(sys.argv[1:])
