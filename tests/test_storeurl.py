"""What a person says of a store, sorted: what git may track of it, and what is a secret."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mlrepro import redaction, storeurl
from mlrepro.dvcini import find_secrets
from mlrepro.errors import ConfigError, UsageError


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    yield
    redaction._known.clear()


@pytest.mark.parametrize(
    ("text", "url", "options", "secrets"),
    [
        ("../x", "/here/x", {}, {}),
        ("/a/b/../c/", "/a/c", {}, {}),
        ("file:///a%20b", "/a b", {}, {}),
        ("S3://Bucket/Prefix/", "s3://Bucket/Prefix", {}, {}),
        ("s3://bucket/a@b:c", "s3://bucket/a@b:c", {}, {}),
        (
            "s3://KEY:se/cr+et@bucket/x@y",
            "s3://bucket/x@y",
            {},
            {"access_key_id": "KEY", "secret_access_key": "se/cr+et"},
        ),
        ("ssh://me@host:22/a@b:c", "ssh://me@host:22/a@b:c", {}, {}),
        ("ssh://me:p%40ss-word@host/x", "ssh://me@host/x", {}, {"password": "p@ss-word"}),
        ("webdavs://me:pass@host/x", "webdavs://host/x", {"user": "me"}, {"password": "pass"}),
        (
            "https://me:pass@host/x",
            "https://host/x",
            {"user": "me", "auth": "basic"},
            {"password": "pass"},
        ),
        ("https://host:80/a:b@c", "https://host:80/a:b@c", {}, {}),
        ("azure://c/p?sv=1&sig=abc", "azure://c/p", {}, {"sas_token": "?sv=1&sig=abc"}),
    ],
)
def test_sorted(text: str, url: str, options: dict, secrets: dict) -> None:
    found = storeurl.parse(text, "/here/there")
    assert (found.url, found.options, found.secrets) == (url, options, secrets)
    assert found.exposed == bool(secrets)
    tracked = "".join(f"{key} = {value}\n" for key, value in {"url": url, **options}.items())
    assert find_secrets(tracked.encode()) == []


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("gs://me:password@bucket", {}),
        ("https://h/x?sig=signature", {}),
        ("AccountName=a;AccountKey=abcdefgh", {}),
        ("s3://bucket", {"options": ["secret_access_key=abcdefgh"]}),
        ("s3://bucket", {"flags": {"endpoint_url": "http://me:password@host"}}),
        ("s3://bucket", {"options": ["endpointurl=http://me:password@host"]}),
    ],
)
def test_a_secret_without_a_place(text: str, given: dict) -> None:
    with pytest.raises(ConfigError) as caught:
        storeurl.parse(text, "/", **given)
    assert caught.value.code == "secret-in-url"
    for word in ("password", "signature", "abcdefgh"):
        assert word not in redaction.shown(caught.value.message.replace("a password", ""))


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("", {}),
        ("a\nb", {}),
        ("s3://", {}),
        ("nope://x", {}),
        ("/x", {"flags": {"region": "r"}}),
        ("/x", {"secrets": {"password": "x"}}),
        ("gs://b", {"flags": {"region": "r"}}),
        ("s3://b", {"options": ["region"]}),
        ("s3://b", {"options": ["url=s3://c"]}),
        ("s3://b", {"secrets": {"region": "x"}}),
        ("s3://b", {"secrets": {"secret_access_key": ""}}),
    ],
)
def test_what_makes_no_sense(text: str, given: dict) -> None:
    with pytest.raises(UsageError):
        storeurl.parse(text, "/", **given)
