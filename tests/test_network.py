"""A bucket for a store: what is asked of it when, and what becomes of data when it fails."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import proxying
import servers
from far import Far
from mlrepro import debts, dvc
from mlrepro.commands import remote as command
from mlrepro.dvc import remote as dvc_remote, transfer
from mlrepro.dvc.bucket import Bucket
from mlrepro.errors import MlreproError, StoreError
from proxying import Proxy
from working import codes, oid_of, only


@pytest.fixture
def proxy(s3: servers.S3) -> Iterator[Proxy]:
    with Proxy(s3.endpoint) as one:
        yield one


@pytest.fixture
def far(tmp_path: Path, s3: servers.S3, bucket: str, proxy: Proxy) -> Far:
    """A repository whose store is a bucket, asked through the proxy."""
    return Far.at(tmp_path / "repo", s3, bucket, proxy.url)


def tracked(far: Far) -> dict[str, bytes]:
    """A file and a folder, saved and committed."""
    files = {"data/one.csv": b"1\n", "data/two.csv": os.urandom(100), "model.bin": b"model"}
    for name, content in files.items():
        far.write(name, content)
    assert far.track("data", "model.bin").errors == ()
    far.save("data")
    return files


def same(far: Far, files: dict[str, bytes]) -> bool:
    return {name: far.read(name) for name in files} == files


def test_what_was_stored_is_known(far: Far, proxy: Proxy, tmp_path: Path) -> None:
    files = tracked(far)
    assert far.stored().keys() >= {oid_of(content) for content in files.values()}
    assert len(far.stored()) == 4
    proxy.asked.clear()
    assert far.git("commit", "--allow-empty", "-m", "nothing new").returncode == 0
    status = far.status_of()
    assert status.clean and status.restorable, status
    assert far.track().errors == ()
    assert proxy.asked == []
    far.write("data/one.csv", b"changed\n")
    far.git("commit", "--allow-empty", "-m", "one edit")
    assert proxy.count("PUT") == 2  # the file, and the folder's listing
    assert len(proxy.asked) <= 6
    clone = far.cloned(tmp_path / "clone")
    assert clone.pull().errors == ()
    assert same(clone, files | {"data/one.csv": b"changed\n"})
    assert clone.status_of().clean


@pytest.mark.parametrize("shows", [2, 0], ids=["a moment later", "never"])
def test_a_store_that_does_not_show_at_once_what_it_took(
    far: Far, monkeypatch: pytest.MonkeyPatch, shows: int
) -> None:
    """It is asked once more before it is said, and owed, that a blob is not there."""
    far.write("data/one.csv", b"1\n")
    far.write("data/two.csv", b"2\n")
    plain, asked = transfer.sizes, list[set[str]]()

    def sizes(remote: Any, oids: Any, *about: Any) -> dict[str, int]:
        asked.append(set(oids))
        found: dict[str, int] = plain(remote, oids, *about)
        if len(asked) != 1 and (not shows or len(asked) <= shows):
            found.pop(oid_of(b"1\n"), None)
        return found

    monkeypatch.setattr(transfer, "sizes", sizes)
    send = Bucket.send  # whose answer is enough for a store that says the hash of what it took
    monkeypatch.setattr(Bucket, "send", lambda *given: send(*given) and False)
    done = far.track("data/one.csv", "data/two.csv")
    one, both = {oid_of(b"1\n")}, {oid_of(b"1\n"), oid_of(b"2\n")}
    assert asked == [both, both, one] and done.errors == ()
    assert bool(done.notes) == (not shows), done.notes
    assert bool(debts.owed(far.project())) == (not shows)


@pytest.mark.slow
def test_another_store_is_not_the_one_that_is_known(far: Far, proxy: Proxy) -> None:
    tracked(far)
    far.bucket = far.s3.make_bucket(f"other-{os.urandom(4).hex()}")
    far.ask_at(proxy.url)
    far.git("commit", "--allow-empty", "-a", "-m", "moved")
    assert len(far.stored()) == 4
    assert far.status_of().restorable


def test_verify_and_push_ask(far: Far, proxy: Proxy) -> None:
    files = tracked(far)
    lost = oid_of(files["data/two.csv"])
    far.s3.remove(far.bucket, far.key(lost))
    assert far.status_of().restorable  # as it was when it was last seen
    assert far.mlrepro("verify").exit_code == 1
    assert not far.status_of().restorable
    done = far.push()
    assert done.errors == () and done.stored.count == 1
    assert lost in far.stored()
    assert far.mlrepro("verify").exit_code == 0
    assert far.status_of().restorable


def test_offline(far: Far, proxy: Proxy, tmp_path: Path) -> None:
    tracked(far)
    far.git("init", "--bare", str(tmp_path / "far.git"))
    far.git("remote", "add", "origin", str(tmp_path / "far.git"))
    proxy.fault = lambda method, path: proxying.DROP
    far.write("model.bin", b"offline")
    done = far.git("commit", "--allow-empty", "-m", "offline")
    assert "owed" in done.stderr
    assert debts.owed(far.project()) == [oid_of("offline")]
    status = far.status_of()
    assert not status.restorable and any("owed" in note for note in status.notes)
    assert far.git("push", "origin", "main", check=False).returncode != 0
    assert codes(far.push()) == ["remote-unreachable"]
    proxy.fault = lambda method, path: ""
    assert far.push().errors == ()
    assert debts.owed(far.project()) == []
    assert far.status_of().clean
    assert far.git("push", "origin", "main").returncode == 0


@pytest.mark.parametrize(
    "fault",
    [
        proxying.SLOW_DOWN,
        pytest.param(proxying.DROP, marks=pytest.mark.slow),
        pytest.param(proxying.LOSE, marks=pytest.mark.slow),
    ],
)
def test_what_passes_is_tried_again(far: Far, proxy: Proxy, fault: str, tmp_path: Path) -> None:
    proxy.fault = proxying.first(3, fault, "PUT")
    files = tracked(far)
    assert debts.owed(far.project()) == [] and len(far.stored()) == 4
    proxy.fault = proxying.first(3, fault, "GET")
    far.forget()
    for name in files:
        (far.root / name).unlink()
    assert far.pull().errors == () and same(far, files)


@pytest.mark.parametrize("breaks", [1, 2])
def test_a_connection_that_breaks_does_not_give_up_the_store(
    far: Far, breaks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = {"send": breaks, "receive": breaks}

    def breaking(name: str) -> None:
        work = getattr(Bucket, name)

        def first(*given: Any) -> Any:
            left[name] -= 1
            if left[name] >= 0:
                raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
            return work(*given)

        monkeypatch.setattr(Bucket, name, first)

    breaking("send")
    breaking("receive")
    monkeypatch.setattr(transfer, "_PAUSE_S", 0.01)
    far.write("model.bin", b"model")
    assert far.track("model.bin").errors == ()
    assert debts.owed(far.project()) == ([] if breaks == 1 else [oid_of("model")])
    far.push()
    far.forget()
    far.path("model.bin").unlink()
    assert codes(far.pull()) == ([] if breaks == 1 else ["remote-unreachable"])
    assert far.pull().errors == () and far.read("model.bin") == b"model"


@pytest.mark.slow
def test_an_answer_that_is_cut_off_is_asked_again(far: Far, proxy: Proxy) -> None:
    content = os.urandom(40 << 20)  # in parts
    far.write("big.bin", content)
    assert far.track("big.bin").errors == ()
    assert far.stored() == {oid_of(content): len(content)}
    far.forget()
    (far.root / "big.bin").unlink()
    proxy.fault = proxying.first(2, proxying.CUT, "GET")
    assert far.pull().errors == ()
    assert far.read("big.bin") == content


@pytest.mark.parametrize(
    "fault", [proxying.ALTER, pytest.param(proxying.TRUNCATE, marks=pytest.mark.slow)]
)
def test_wrong_bytes_are_not_installed(far: Far, proxy: Proxy, fault: str) -> None:
    files = tracked(far)
    far.forget()
    (far.root / "model.bin").unlink()
    far.write("data/one.csv", b"mine")
    name = far.key(oid_of(files["model.bin"]))
    proxy.fault = lambda method, path: fault if name in path and method == "GET" else ""
    done = far.pull("model.bin")
    assert len(done.errors) >= 1 and not (far.root / "model.bin").exists()
    assert far.read("data/one.csv") == b"mine"
    proxy.fault = lambda method, path: ""
    assert far.pull("model.bin").errors == ()
    assert far.read("model.bin") == files["model.bin"]


@pytest.mark.parametrize("fault", [proxying.DENY, proxying.BROKEN])
@pytest.mark.slow
def test_a_blob_that_is_listed_but_cannot_be_read(far: Far, proxy: Proxy, fault: str) -> None:
    """It is named with its path, the others come, and nothing is taken for lost."""
    files = tracked(far)
    far.forget()
    for name in files:
        (far.root / name).unlink()
    name = far.key(oid_of(files["model.bin"]))
    proxy.fault = lambda method, path: fault if name in path and method == "GET" else ""
    done = far.pull("model.bin", "data")
    assert far.read("data/two.csv") == files["data/two.csv"]
    assert not (far.root / "model.bin").exists()
    assert "Out of reach: the content of model.bin" in only(done).message
    deep = far.mlrepro("verify", "--deep", "--json")
    assert oid_of("model") in deep.json["errors"][0]["message"]
    proxy.fault = lambda method, path: ""
    assert far.pull().errors == () and same(far, files)


def test_a_clone_claims_nothing_of_what_it_did_not_ask(far: Far, tmp_path: Path) -> None:
    tracked(far)
    clone = far.cloned(tmp_path / "clone")
    status = clone.mlrepro("status")
    assert status.exit_code == 1
    assert "cannot be restored" not in status.stdout + status.stderr
    assert "is not known here" in status.stdout and "mlrepro push" not in status.stdout
    (code,) = {error["code"] for error in clone.mlrepro("status", "--json").json["errors"]}
    assert code == "store-not-asked"
    assert clone.pull().errors == ()
    assert clone.mlrepro("status").exit_code == 0


@pytest.mark.parametrize(
    "fault", [proxying.REFUSE, proxying.SKEWED, pytest.param(proxying.DROP, marks=pytest.mark.slow)]
)
def test_a_push_that_cannot_ask_owes_nothing_new(far: Far, proxy: Proxy, fault: str) -> None:
    """What was confirmed once is not owed again because the store does not answer today."""
    tracked(far)
    proxy.fault = lambda method, path: fault
    assert "&#" not in only(far.push()).message
    assert debts.owed(far.project()) == []
    assert far.status_of().restorable
    proxy.asked.clear()
    assert far.track().errors == () and proxy.asked == []
    proxy.fault = lambda method, path: proxying.GONE  # which is an answer
    assert codes(far.push()) == ["remote-missing"]
    assert len(debts.owed(far.project())) == 4
    proxy.fault = lambda method, path: ""
    assert far.push().errors == () and debts.owed(far.project()) == []


def test_a_silent_store_is_given_up_soon(
    far: Far, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dvc_remote, "_FIRST_ANSWER_S", 1.0)
    proxy.fault = lambda method, path: proxying.DROP
    done = command.run(far.project(), "test", None, far.options())
    assert codes(done) == ["remote-unreachable"]
    assert proxy.count("PUT") == 0  # the probe itself would be tried for a minute


def test_a_blob_of_the_wrong_size_is_set_aside(far: Far) -> None:
    files = tracked(far)
    oid = oid_of(files["model.bin"])
    far.s3.write(far.bucket, far.key(oid), b"mod")
    assert far.push().errors == ()
    assert far.s3.read(far.bucket, far.key(oid)) == files["model.bin"]
    (aside,) = far.s3.objects(far.bucket, "data/.quarantine/")
    assert far.s3.read(far.bucket, aside) == b"mod"


@pytest.mark.parametrize(
    ("given", "code"),
    [
        pytest.param({"secret_access_key": "wrong"}, "remote-forbidden", marks=pytest.mark.slow),
        ({"access_key_id": "NOBODY"}, "remote-forbidden"),
        ({"url": "s3://no-such-bucket/data"}, "remote-missing"),
        pytest.param(
            {"endpointurl": "http://127.0.0.1:9"}, "remote-unreachable", marks=pytest.mark.slow
        ),
        pytest.param(
            {
                "access_key_id": servers.READER_KEY,
                "secret_access_key": servers.READER_SECRET,
            },
            "remote-forbidden",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_store_that_refuses(far: Far, given: dict[str, str], code: str) -> None:
    far.ask_at(**{"endpoint": far.s3.endpoint, **given})
    far.write("model.bin", b"new")
    far.track("model.bin")
    error = far.push().errors[0]
    assert error.code == code and error.hint
    assert "wrong" not in error.message and servers.READER_SECRET not in error.message
    assert debts.owed(far.project()) == [oid_of("new")]
    far.ask_at(far.s3.endpoint)
    assert far.push().errors == ()
    assert debts.owed(far.project()) == []


@pytest.mark.parametrize(
    ("fault", "code", "hint"),
    [
        (proxying.MALFORMED, "remote-forbidden", "mlrepro remote test"),  # HEAD has no words for it
        (proxying.ELSEWHERE, "remote-region", "--region"),
    ],
)
@pytest.mark.slow
def test_a_refusal_without_a_reason(
    far: Far, proxy: Proxy, fault: str, code: str, hint: str
) -> None:
    """Where the store is asked so that it cannot say why, it is told what has it say why."""
    tracked(far)
    proxy.fault = lambda method, path: fault
    for told in (far.push(), far.mlrepro("verify", "--json")):
        error = only(told) if hasattr(told, "errors") else told.json["errors"][0]
        said = error if isinstance(error, dict) else vars(error)
        assert said["code"] == code and hint in said["hint"], said
    tried = far.mlrepro("remote", "test", "--json").json["errors"][0]
    assert (tried["code"], "--region" in tried["hint"]) == ("remote-region", True), tried
    assert debts.owed(far.project()) == []


def test_an_expired_token_in_the_middle(far: Far, proxy: Proxy) -> None:
    for number in range(30):
        far.write(f"data/{number}", str(number))
    gone = iter(range(12))
    proxy.fault = lambda method, path: (
        proxying.REFUSE if method == "PUT" and next(gone, None) is None else ""
    )
    far.track("data")
    assert len(debts.owed(far.project())) > 0
    assert "expired" in far.push().errors[0].message
    proxy.fault = lambda method, path: ""
    before = proxy.count("PUT")
    assert far.push().errors == ()
    assert len(far.stored()) == 31
    assert proxy.count("PUT") - before <= 31 - 12 + 2


def test_keys_of_the_environment_and_of_a_profile(
    far: Far, private_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracked(far)
    local = far.root / ".dvc" / "config.local"
    bare = "\n".join(line for line in local.read_text().splitlines() if "access_key" not in line)
    local.write_text(bare + "\n")
    oid = oid_of("model")
    with pytest.raises(StoreError) as caught:
        dvc.exists(str(far.root), "", [oid])
    assert caught.value.code == "remote-forbidden"
    assert caught.value.message == "No keys were found for the store storage."
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", servers.KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", servers.SECRET)
    assert dvc.exists(str(far.root), "", [oid]) == {oid: 5}
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    (private_machine / ".aws").mkdir()
    (private_machine / ".aws" / "credentials").write_text(
        f"[team]\naws_access_key_id = {servers.KEY}\naws_secret_access_key = {servers.SECRET}\n"
    )
    local.write_text(bare + "\n    profile = team\n")
    assert dvc.exists(str(far.root), "", [oid]) == {oid: 5}


@pytest.mark.slow
def test_a_damaged_blob_is_not_sent(far: Far) -> None:
    content = os.urandom(17 << 20)
    far.write("big.bin", content)
    assert far.track("big.bin").errors == ()
    oid = oid_of(content)
    far.s3.remove(far.bucket, far.key(oid))
    blob = far.root / ".dvc" / "cache" / "files" / "md5" / oid[:2] / oid[2:]
    blob.chmod(0o644)
    with blob.open("r+b") as file:
        file.seek(1000)
        file.write(b"spoilt")
    wrong: MlreproError = only(far.push())
    assert wrong.code == "blob-corrupt"
    assert far.stored() == {}
