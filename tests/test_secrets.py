"""Secrets in a tracked DVC config are found, however they are spelt, and nothing else is."""

from __future__ import annotations

import pytest

from mlrepro.dvcconfig import find_secrets


@pytest.mark.parametrize(
    "line",
    [
        "password = x",
        "  PassWord=x",
        "'password' = x",
        '\t"Password"\t=\t"x"',
        "password = '#x'",
        "password = '''",
        "# password = x",
        "ssh_passphrase = x",
        "access_key_id = AKIA",
        "secret_access_key = ${KEY}",
        "session_token = x",
        "connection_string = AccountKey=x",
        "account_key = x",
        "sas_token = ?sv=x",
        "client_secret = x",
        "gdrive_client_secret = x",
        "oss_key_secret = x",
        "token = x",
        "url = https://me:pass@host/x",
        "url = ssh://me:p#x@host/x",
        "'url' = 'webdav://me:p%40s@host:80/x'",
        "https://me:pass@host/x",
        "url = s3://AKIA:ab/cd+e@bucket/x",
        "url = https://a.blob.core.windows.net/c?sv=1&sig=abc",
        "url = https://host/x?Token=abc",
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\x0b"])
def test_a_secret_is_found(line: str, end: str) -> None:
    data = f"[core]{end}{line}{end}x = y{end}".encode()
    (found,) = find_secrets(data)
    assert found[0] == (1 if end == "\x0b" else 2)
    assert find_secrets(b"\xff\xfe" + data.decode().encode("utf-16-le")) == [found]
    assert find_secrets(b"\xef\xbb\xbf" + line.encode()) == [(1, found[1])]


@pytest.mark.parametrize(
    "line",
    [
        "password =",
        'password = ""',
        "password = # set with --local",
        "password = <yours>",
        "# password: see the wiki",
        "# the password = what you were told",
        "ask_password = true",
        "bearer_token_command = pass show dvc",
        "keyfile = ~/.ssh/key",
        "credentialpath = ../x",
        "custom_auth_header = X-Auth",
        "url = ssh://me@host:22/x",
        "url = s3://bucket/a@b:c",
        "url = https://host:80/a:b@c",
        "url = https://me:<password>@host/x",
        "url = https://host/x?version=1&sig=",
        "[password]",
    ],
)
def test_what_is_no_secret_is_let_through(line: str) -> None:
    assert find_secrets(f"['remote \"x\"']\n{line}\n".encode()) == []


def test_every_secret_that_dvc_knows_is_found() -> None:
    from dvc.config_schema import REMOTE_SCHEMAS, SCHEMA

    keys = {str(key) for schema in REMOTE_SCHEMAS.values() for key in schema}
    for section in ("machine", "db"):
        keys |= {
            str(key) for part in SCHEMA[section].values() for key in getattr(part, "schema", part)
        }
    keys |= {str(key) for key in SCHEMA["studio"]}
    words = ("pass", "secret", "token", "key", "cred", "connection_string", "private", "sas")
    suspects = {key for key in keys if any(word in key for word in words)}
    harmless = {  # switches, names of things, and paths
        "ask_passphrase", "ask_password", "bearer_token_command", "credentialpath",
        "exclude_environment_credential", "exclude_managed_identity_credential",
        "exclude_shared_token_cache_credential", "exclude_visual_studio_code_credential",
        "gdrive_user_credentials_file", "key_path", "keyfile", "sse_kms_key_id",
    }  # fmt: skip
    found = {key for key in suspects if find_secrets(f"{key} = x".encode())}
    assert found == suspects - harmless
