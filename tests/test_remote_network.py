"""Moving to stores on the network and back, and what each of their failures is said to be."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

import servers
from mlrepro import redaction
from mlrepro.commands import remote as command
from mlrepro.errors import ConfigError, StoreError
from working import Work, codes, copied, made, oid_of

ONE, TWO = "id\n1\n", "id\n1\n2\n"


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    yield
    redaction._known.clear()


@pytest.fixture
def work(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Work:
    """Two versions of a file, and a folder."""
    return copied("far", build, tmp_path / "repo", tmp_path_factory.getbasetemp())


def build(root: Path) -> Work:
    root.parent.mkdir()
    work = made(root)
    for text in (ONE, TWO):
        work.write("data/a.csv", text)
        work.track("data/a.csv")
        work.save()
    work.write("data/many/x.txt", "x")
    work.write("data/many/y.txt", "y")
    work.track("data/many")
    work.save()
    return work


def remote(work: Work, action: str, url: str | None = None, **given: object):
    return command.run(work.project(), action, url, work.options(), **given)


def move_to_s3(work: Work, s3: servers.S3, bucket: str, **given: object):
    secrets = {"access_key_id": servers.KEY, "secret_access_key": servers.SECRET}
    flags = {"endpoint_url": s3.endpoint}
    return remote(work, "set", f"s3://{bucket}/p", flags=flags, secrets=secrets | given)


def blobs(s3: servers.S3, bucket: str) -> set[str]:
    return {key[-33:].replace("/", "") for key in s3.objects(bucket) if "/files/md5/" in key}


def brought_back(work: Work) -> None:
    """Everything comes from the store in use."""
    work.forget()
    for name in ("data/a.csv", "data/many/x.txt"):
        work.path(name).unlink()
    assert sorted(work.pull().restored) == ["data/a.csv", "data/many"]
    assert work.read("data/a.csv") == TWO.encode()


@pytest.mark.slow
def test_to_s3_with_the_keys_from_standard_input(work: Work, s3: servers.S3, bucket: str) -> None:
    keys = ("--secret", "access_key_id", "--secret", "secret_access_key")
    url, endpoint = f"s3://{bucket}/p", f"--endpoint-url={s3.endpoint}"
    run = work.mlrepro(
        "-v", "remote", "set", url, endpoint, *keys, input=f"{servers.KEY}\n{servers.SECRET}\n"
    )
    assert (run.exit_code, f"the store is {url}, 5 blobs" in run.stdout) == (0, True), run
    assert servers.SECRET not in run.stdout + run.stderr
    assert "secrets      access_key_id, secret_access_key (in .dvc/config.local)\n" in run.stdout
    tracked = work.path(".dvc/config").read_text()
    assert url in tracked and f"endpointurl = {s3.endpoint}" in tracked
    local = work.path(".dvc/config.local")
    assert servers.SECRET in local.read_text() and "url" not in local.read_text()
    assert local.stat().st_mode & 0o777 == 0o600
    assert f'BLOB_STORE = "{url}"' in work.path("config/config.py").read_text()
    assert len(s3.objects(bucket)) == 5
    held = work.git("grep", "-I", servers.SECRET, check=False).stdout
    staged = work.git("diff", "--cached").stdout
    assert servers.SECRET not in held + staged
    run = work.mlrepro("remote", "show", "--json")
    assert servers.SECRET not in run.stdout
    assert run.json["data"]["secrets"] == ["access_key_id", "secret_access_key"]
    assert run.json["data"]["options"] == {"endpointurl": s3.endpoint}
    assert work.mlrepro("remote", "test").stdout.endswith("write, read, list, remove\n")
    assert work.init().changed == ()
    brought_back(work)


@pytest.mark.slow
def test_there_on_and_back(
    work: Work, s3: servers.S3, bucket: str, webdav: str, tmp_path: Path
) -> None:
    assert codes(move_to_s3(work, s3, bucket)) == []
    assert work.status_of().clean or work.staged  # nothing is to be asked or sent
    assert all(file.stored for file in work.status_of().files)
    found = remote(work, "set", webdav)
    assert (codes(found), found.copied.count) == ([], 5)
    assert all(file.stored for file in work.status_of().files)
    assert work.path(".dvc/config.local").read_text().strip() == ""
    assert "endpointurl" not in work.path(".dvc/config").read_text()
    brought_back(work)
    found = remote(work, "set", str(tmp_path / "folder"))
    assert (codes(found), found.copied.count) == ([], 5)
    brought_back(work)
    assert len(blobs(s3, bucket)) == 5


@pytest.mark.slow
def test_what_is_there_is_not_sent_again(work: Work, s3: servers.S3, bucket: str) -> None:
    one = oid_of(ONE)
    s3.write(bucket, f"p/files/md5/{one[:2]}/{one[2:]}", ONE.encode())
    assert move_to_s3(work, s3, bucket).copied.count == 4


@pytest.mark.slow
def test_ssh_with_a_folder_that_is_not_there(work: Work, ssh: servers.Ssh, tmp_path: Path) -> None:
    url = ssh.settings(tmp_path / "far/away")["url"]
    found = remote(work, "set", url, settings=[f"keyfile={ssh.keyfile}"])
    assert (codes(found), found.copied.count) == ([], 5)
    brought_back(work)


@pytest.mark.slow
def test_the_key_in_the_url(work: Work, s3: servers.S3, bucket: str) -> None:
    url = f"s3://{servers.KEY}:{servers.SECRET}@{bucket}/p"
    run = work.mlrepro("remote", "set", url, f"--endpoint-url={s3.endpoint}", "--json", "-v")
    assert run.exit_code == 0, run
    assert servers.SECRET not in run.stdout + run.stderr
    assert run.json["data"]["url"] == f"s3://{bucket}/p"
    assert servers.SECRET in work.path(".dvc/config.local").read_text()
    assert servers.SECRET not in work.path(".dvc/config").read_text()
    assert servers.SECRET not in work.path("config/config.py").read_text()
    work.commit("moved")  # through the hook, which refuses secrets


@pytest.mark.slow
def test_blob_store_on_s3(tmp_path: Path, s3: servers.S3, bucket: str, monkeypatch) -> None:
    """Keys from the environment; the endpoint from DVC's own settings."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", servers.KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", servers.SECRET)
    work = Work.make(tmp_path / "new")
    work.write("config/config.py", f'BLOB_STORE = "s3://{bucket}/x"\nTRACK = ["data/*.csv"]\n')
    work.write("data/a.csv", ONE)
    assert work.init().store == f"s3://{bucket}/x"
    found = remote(work, "set", f"s3://{bucket}/x", flags={"endpoint_url": s3.endpoint})
    assert codes(found) == []
    work.track()
    assert blobs(s3, bucket) == {oid_of(ONE)}
    assert "KEY" not in work.path(".dvc/config.local").read_text()


def test_failures_of_a_real_server(work: Work, s3: servers.S3, bucket: str) -> None:
    def failure(url: str = f"s3://{bucket}/p", key=servers.KEY, secret=servers.SECRET, at=""):
        with pytest.raises(StoreError) as caught:
            remote(
                work, "set", url, flags={"endpoint_url": at or s3.endpoint},
                secrets={"access_key_id": key, "secret_access_key": secret},
            )  # fmt: skip
        assert secret not in caught.value.message
        return caught.value

    before = work.path(".dvc/config").read_text()
    wrong = failure("s3://no-such-bucket/p")
    assert wrong.code == "remote-missing" and "s3://no-such-bucket/p" in wrong.message
    wrong = failure(key="WRONGKEY")
    assert (wrong.code, "access key" in wrong.message) == ("remote-forbidden", True)
    wrong = failure(secret="wrong-secret")
    assert (wrong.code, "secret key" in wrong.message) == ("remote-forbidden", True)
    assert failure(key=servers.READER_KEY, secret=servers.READER_SECRET).code == "remote-forbidden"
    assert work.path(".dvc/config").read_text() == before


class Says(BaseHTTPRequestHandler):
    """Answers everything with one error, as S3 writes them."""

    protocol_version = "HTTP/1.1"  # a client that would send a body waits to be told to go on
    error: ClassVar[tuple[int, str, dict[str, str]]] = (500, "", {})

    def answer(self) -> None:
        status, code, headers = self.error
        body = (
            f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message>"
            f"<Region>eu-north-1</Region></Error>"
        ).encode()
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


class Quiet(ThreadingHTTPServer):
    """Says nothing of clients that go away, and waits for none of them."""

    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: object) -> None:
        pass


@pytest.fixture
def says() -> Iterator[tuple[type[Says], str]]:
    pytest.importorskip("dvc_s3")
    handler = type("Own", (Says,), {})
    with Quiet(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield handler, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "code", "meant", "word"),
    [
        (404, "NoSuchBucket", "remote-missing", "is not there"),
        (403, "AccessDenied", "remote-forbidden", "refuses access"),
        (403, "RequestTimeTooSkewed", "remote-clock", "clock"),
        (400, "ExpiredToken", "remote-forbidden", "expired"),
        (403, "SignatureDoesNotMatch", "remote-forbidden", "secret key"),
        (400, "AuthorizationHeaderMalformed", "remote-region", "region"),
    ],
)
def test_what_s3_says(
    work: Work, says: tuple[type[Says], str], monkeypatch: pytest.MonkeyPatch,
    status: int, code: str, meant: str, word: str,
) -> None:  # fmt: skip
    handler, endpoint = says
    handler.error = (status, code, {})
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-it")
    with pytest.raises(StoreError) as caught:
        remote(work, "set", "s3://bucket/p", flags={"endpoint_url": endpoint})
    assert (caught.value.code, word in caught.value.message) == (meant, True), caught.value.message
    if meant == "remote-region":
        assert "--region eu-north-1" in caught.value.hint


@pytest.mark.slow
def test_nothing_listens(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dvc_s3")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-it")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(StoreError) as caught:
        remote(work, "set", "s3://bucket/p", flags={"endpoint_url": "http://127.0.0.1:9"})
    assert caught.value.code == "remote-unreachable"


def test_a_certificate_that_nobody_knows(work: Work, tmp_path: Path) -> None:
    import subprocess

    pytest.importorskip("dvc_http")
    files = ["-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "cert")]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1",
         *files],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    with Quiet(("127.0.0.1", 0), Says) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        with pytest.raises(StoreError) as caught:
            remote(work, "set", f"https://127.0.0.1:{server.server_address[1]}/x")
        server.shutdown()
        thread.join()
    assert caught.value.code == "remote-tls"


@pytest.mark.parametrize("scheme", ["s3", "gs", "azure", "ssh", "webdav", "oss"])
def test_an_extra_that_is_missing_is_named(
    work: Work, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    from mlrepro import dvc

    monkeypatch.setattr(dvc, "find_spec", lambda name: None)  # as where it is not installed
    with pytest.raises(StoreError) as caught:
        remote(work, "set", f"{scheme}://bucket/x")
    package = "dvc" if scheme == "oss" else "mlrepro"
    assert (caught.value.code, caught.value.hint) == (
        "remote-extra-missing", f'pip install "{package}[{scheme}]"',
    )  # fmt: skip


@pytest.mark.parametrize(
    "url",
    [
        "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=hunter2hunter2;X=y",
        "https://a.blob.core.windows.net/c?sv=1&sig=hunter2hunter2",
        "gs://me:hunter2hunter2@bucket/x",
    ],
)
def test_a_secret_that_has_no_place_is_refused(work: Work, url: str) -> None:
    run = work.mlrepro("remote", "set", url, "--json")
    assert (run.exit_code, run.json["errors"][0]["code"]) == (1, "secret-in-url")
    assert "hunter2" not in run.stdout + run.stderr
    with pytest.raises(ConfigError):
        remote(work, "set", "s3://bucket", settings=["secret_access_key=hunter2hunter2"])
    assert "hunter2" not in work.path(".dvc/config").read_text()
