"""Which bucket a remote of DVC's is, and who may use it, as far as that is plain to see."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from mlrepro import dvcconfig
from mlrepro.dataclass import dataclass, field
from mlrepro.errors import ConfigError

# What is understood here of a remote's settings; with any other, DVC's own file system is asked.
_UNDERSTOOD = frozenset({
    "url", "endpointurl", "region", "profile", "access_key_id", "secret_access_key",
    "session_token", "use_ssl", "jobs", "connect_timeout", "read_timeout",
})  # fmt: skip
_PLAIN = re.compile(r"[A-Za-z0-9._/-]*")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


@dataclass(frozen=True)
class Settings:
    """A bucket, the folder in it, and what is needed to ask for it.

    ``credentials`` gives the keys each time anew, as obstore wants them; ``jobs``: how many
    transfers at once, 0: not said; times in seconds.
    """

    remote: str
    bucket: str
    prefix: str
    endpoint: str
    region: str
    credentials: Callable[[], dict[str, Any]] = field(repr=False)
    jobs: int = 0
    connect_s: int = 5
    read_s: int = 60
    authority: bytes = field(default=b"", repr=False)
    authority_file: str = ""


def settings(
    dvc_dir: str,
    remote: str,
    environ: Mapping[str, str],
    options: Mapping[str, str] | None = None,
) -> Settings | None:
    """The bucket that a remote ("": the default one) is; None where DVC itself has to be asked.

    So it is where the remote is none, is of another kind, or says more than is understood here.
    ``options``: those of a remote that is not in DVC's config.
    """
    if find_spec("obstore") is None or find_spec("dvc_s3") is None:
        return None
    try:
        config = dvcconfig.load(dvc_dir, environ)
        options = options or config.remote(remote)
    except ConfigError:
        return None
    url = urlsplit(options["url"])
    prefix = url.path.strip("/")
    plain = not url.query and not url.fragment and _PLAIN.fullmatch(prefix)
    if url.scheme != "s3" or not _BUCKET.fullmatch(url.netloc) or not plain or "//" in prefix:
        return None
    if not options.keys() <= _UNDERSTOOD or any(part in (".", "..") for part in prefix.split("/")):
        return None
    try:
        return _settings(remote or config.remote_name, url.netloc, prefix, options, environ)
    except ValueError:
        return None


def _settings(
    remote: str, bucket: str, prefix: str, options: Mapping[str, str], environ: Mapping[str, str]
) -> Settings | None:
    endpoint = options.get("endpointurl", "")
    region = options.get("region", "")
    authority = b""
    key, secret = options.get("access_key_id", ""), options.get("secret_access_key", "")
    token = options.get("session_token", "")
    if bool(key) != bool(secret):
        return None
    said = _said(environ, options.get("profile", ""))
    if said is None:
        return None
    endpoint = endpoint or said.get("endpoint_url", "")
    region = region or said.get("region", "") or ("us-east-1" if endpoint else "")
    if not region:
        return None  # DVC's own asks for the bucket's
    if said.get("ca_bundle"):
        try:
            with open(said["ca_bundle"], "rb") as file:
                authority = file.read()
        except OSError:
            return None
    if endpoint and "://" not in endpoint:
        return None
    return Settings(
        remote=remote,
        bucket=bucket,
        prefix=prefix,
        endpoint=endpoint,
        region=region,
        credentials=_keys(key, secret, token, options.get("profile", ""), environ),
        jobs=int(options.get("jobs", 0)),
        connect_s=int(options.get("connect_timeout", 5)),
        read_s=int(options.get("read_timeout", 60)),
        authority=authority,
        authority_file=said.get("ca_bundle", ""),
    )


def _said(environ: Mapping[str, str], profile: str) -> dict[str, str] | None:
    """What the environment and AWS's own files say of the place; None where they say too much."""
    found = {
        "endpoint_url": environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL", ""),
        "region": environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION", ""),
        "ca_bundle": environ.get("AWS_CA_BUNDLE", ""),
    }
    file = environ.get("AWS_CONFIG_FILE") or os.path.expanduser("~/.aws/config")
    if not os.path.exists(file):
        return found
    from botocore.configloader import load_config
    from botocore.exceptions import BotoCoreError

    try:
        profiles = load_config(file)["profiles"]
    except BotoCoreError:
        return None
    name = profile or environ.get("AWS_PROFILE") or environ.get("AWS_DEFAULT_PROFILE") or "default"
    told = profiles.get(name, {})
    if "s3" in told or "services" in told or any(not isinstance(v, str) for v in told.values()):
        return None
    return {key: value or str(told.get(key, "")) for key, value in found.items()}


def _keys(
    key: str, secret: str, token: str, profile: str, environ: Mapping[str, str]
) -> Callable[[], dict[str, Any]]:
    """The keys of the remote's own settings, of the environment, or of what botocore finds."""
    given = {"access_key_id": key, "secret_access_key": secret, "token": token or None}
    from_environ = not profile and "AWS_PROFILE" not in environ
    if not key and from_environ and environ.get("AWS_ACCESS_KEY_ID"):
        given = {
            "access_key_id": environ["AWS_ACCESS_KEY_ID"],
            "secret_access_key": environ.get("AWS_SECRET_ACCESS_KEY", ""),
            "token": environ.get("AWS_SESSION_TOKEN") or None,
        }
    if given["access_key_id"]:
        return lambda: {**given, "expires_at": None}
    found: list[Any] = []

    def ask() -> dict[str, Any]:
        from botocore.exceptions import NoCredentialsError
        from botocore.session import Session

        if not found:
            found.append(Session(profile=profile or None).get_credentials())
        if found[0] is None:
            raise NoCredentialsError
        frozen = found[0].get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": getattr(found[0], "_expiry_time", None),
        }

    return ask
