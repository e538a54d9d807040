"""What a store's refusal or silence means: no such bucket, no right, wrong region, clock, TLS."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from mlrepro.errors import StoreError
from mlrepro.redaction import redact

# Classes are told by name: see failures.

_UNREACHABLE = frozenset({
    "ClientConnectionError", "ClientConnectorError", "ClientOSError", "ServerDisconnectedError",
    "ServerTimeoutError", "ClientPayloadError", "ConnectionError", "TimeoutError", "gaierror",
    "FSTimeoutError", "EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError",
    "ConnectionClosedError", "HTTPClientError", "NewConnectionError", "MaxRetryError",
    "ServiceRequestError", "ServiceResponseError", "TransportError", "ConnectError",
    "ConnectTimeout", "ReadTimeout", "NetworkError", "DisconnectError", "ConnectionLost",
    "ChannelOpenError", "SFTPNoConnection", "SFTPConnectionLost",
})  # fmt: skip
_FORBIDDEN = frozenset({
    "AuthError", "NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError",
    "TokenRetrievalError", "UnauthorizedSSOTokenError", "SSOError", "ProfileNotFound",
    "PermissionDenied", "SFTPPermissionDenied", "DefaultCredentialsError",
    "RefreshError", "ClientAuthenticationError", "PermissionError", "PermissionDeniedError",
    "UnauthenticatedError",
})  # fmt: skip
_TLS = frozenset({
    "SSLError", "SSLCertVerificationError", "ClientSSLError", "ClientConnectorSSLError",
    "ClientConnectorCertificateError", "ServerFingerprintMismatch",
})  # fmt: skip

# What is so of one blob is so of all of them, and not asked again for each.
WHOLE = frozenset({
    "remote-unreachable", "remote-forbidden", "remote-missing", "remote-region", "remote-clock",
    "remote-tls", "remote-host-key",
})  # fmt: skip

# What may be so of a few blobs alone: they are there, but not for us, or on a disk that is lost.
MAYBE_ONE = frozenset({"remote-forbidden", "remote-failed"})
_BROKEN = (423, 500, 501, 507)

# Codes of S3 (and of what speaks as it does), Azure and GCS:
# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html#ErrorCodeList
# What the store says, in our words; a hint; our code.
_CLOCK = (
    "takes this machine's clock to be wrong",
    "set the clock (timedatectl, or ntpdate), then run this again",
    "remote-clock",
)
_REGION = (
    "is in another region than it was asked in",
    "mlrepro remote set URL --region REGION",
    "remote-region",
)
_KEYS = "keys come from the environment, an AWS profile, or .dvc/config.local (mlrepro remote show)"
_ASK = "mlrepro remote test has it say why: a key, the clock, the region, or a token that is old"
_FORBIDS = "remote-forbidden"
_WRONG_KEY = ("does not know this access key", _KEYS, _FORBIDS)
_EXPIRED = (
    "says that the session's token has expired",
    "renew it (aws sso login, or new AWS_SESSION_TOKEN), then run this again",
    _FORBIDS,
)
_SAID: dict[str, tuple[str, str, str]] = {
    "RequestTimeTooSkewed": _CLOCK,
    "RequestInTheFuture": _CLOCK,
    "PermanentRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "InvalidRegion": _REGION,
    "InvalidAccessKeyId": _WRONG_KEY,
    "InvalidClientTokenId": _WRONG_KEY,
    "SignatureDoesNotMatch": ("says that the secret key does not fit the key id", _KEYS, _FORBIDS),
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "RequestExpired": _EXPIRED,
    "InvalidToken": ("says that the session's token is wrong", _KEYS, _FORBIDS),
    "AuthenticationFailed": ("does not take the account's key", _KEYS, _FORBIDS),
    "SlowDown": (
        "asks for fewer requests",
        "run this again, with -j 2",
        "remote-unreachable",
    ),
}  # fmt: skip
_SAID["RequestLimitExceeded"] = _SAID["Throttling"] = _SAID["ServerBusy"] = _SAID["SlowDown"]

_NO_BUCKET = re.compile(
    r"NoSuchBucket|ContainerNotFound|(bucket|container)[^.]*(not exist|not found)", re.IGNORECASE
)
_FORBIDS_SO = re.compile("Forbidden: ")  # gcsfs, in an OSError without a number
_STATUS = re.compile(r"status code: ([3-5][0-9][0-9])")
_CERTIFICATE = re.compile("invalid peer certificate|UnknownIssuer|certificate verify")
_NOWHERE = "redirect without LOCATION"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_ADVICE = re.compile(r"[^.!?:]*<?https?://\S*(dvc\.org|iterative|treeverse)\S*>?[^.!?]*[.!?]?")
_LONGEST = 300


def meaning(links: list[BaseException], remote: str) -> StoreError | None:
    """What these exceptions, outermost first, say of the store; the innermost knows best."""
    for error in reversed(links):
        found = _meaning(error, remote)
        if found is not None:
            return found
    return None


def _meaning(error: BaseException, remote: str) -> StoreError | None:
    status, said = _status(error), _said(error)
    if said is not None:
        says, hint, code = said
        return StoreError(f"The store {remote} {says}: {plain(error)}", hint, code=code)
    if is_of(error, "NoCredentialsError") or "NoCredentialsError:" in str(error):
        return StoreError(f"No keys were found for the store {remote}.", _KEYS, code=_FORBIDS)
    if _NO_BUCKET.search(str(error)):
        return missing_remote(remote)
    if is_of(error, *_TLS) or (_is_of_obstore(error) and _CERTIFICATE.search(str(error))):
        return StoreError(
            f"The store {remote} cannot be trusted, since TLS failed: {plain(error)}",
            "mlrepro remote set URL --option ssl_verify=FILE names its authority's certificate",
            code="remote-tls",
        )
    if is_of(error, "HostKeyNotVerifiable"):
        return StoreError(
            f"The store {remote} cannot be trusted, since its host key is not known: "
            f"{plain(error)}",
            "ssh to it once, and compare the key",
            code="remote-host-key",
        )
    if status in (301, 307) or (_is_of_obstore(error) and _NOWHERE in str(error)):
        says, hint, code = _REGION
        return StoreError(f"The store {remote} {says}.", hint, code=code)
    if status in (400, 401, 403) and _is_of_obstore(error) and not _xml(error, "Code"):
        return StoreError(
            f"The store {remote} refuses access ({status}) and gives no reason.",
            _ASK,
            code=_FORBIDS,
        )
    if status in (401, 403) or is_of(error, *_FORBIDDEN) or _FORBIDS_SO.match(str(error)):
        return StoreError(
            f"The store {remote} refuses access: {plain(error)}", _KEYS, code=_FORBIDS
        )
    if status in _BROKEN or is_of(error, "ParseError"):
        return StoreError(
            f"The store {remote} answers, but fails: {plain(error)}",
            "run this again; what it notes itself says why it fails",
            code="remote-failed",
        )
    silent = not status and is_of(error, "GenericError") and _is_of_obstore(error)
    if status >= 500 or status == 429 or silent or is_of(error, *_UNREACHABLE):
        return StoreError(
            f"The store {remote} cannot be reached: {plain(error)}",
            "Check the network, then run this again",
            code="remote-unreachable",
        )
    return None


def missing_remote(remote: str) -> StoreError:
    """The error for a store whose bucket or folder is not there: it is not made anew."""
    return StoreError(
        f"The store {remote} is not there.",
        "Is its disk mounted, its bucket made? Else: mlrepro remote set URL",
        code="remote-missing",
    )


def _said(error: BaseException) -> tuple[str, str, str] | None:
    """What the store's own word for it means; where it also names the region, that is in it."""
    answer: Any = getattr(error, "response", None)
    word = ""
    headers: dict[str, Any] = {}
    if isinstance(answer, dict):
        word = str(answer.get("Error", {}).get("Code", ""))
        headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}) or {}
    word = word or str(getattr(error, "error_code", "") or "") or _xml(error, "Code")
    found = _SAID.get(word)
    if found is _REGION or (found is None and _status(error) in (301, 307)):
        region = str(headers.get("x-amz-bucket-region", ""))
        region = region or str((answer or {}).get("Error", {}).get("Region", ""))
        region = region or _xml(error, "Region")
        if region.replace("-", "").isalnum():
            says, hint, code = _REGION
            return says, hint.replace("REGION", region), code
    return found


def _status(error: BaseException) -> int:
    """The HTTP status in an exception of aiohttp, botocore, gcsfs or azure; 0 where it has none."""
    answer = getattr(error, "response", None)
    if isinstance(answer, dict):
        return int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) or 0)
    for name in ("status", "status_code", "code"):
        value = getattr(error, name, None)
        if isinstance(value, int) and 300 <= value < 600:
            return value
    told = _STATUS.search(str(error)) if _is_of_obstore(error) else None
    return int(told[1]) if told else 0


def _is_of_obstore(error: BaseException) -> bool:
    """Whether it comes from obstore, whose messages hold the answer as it came."""
    return type(error).__module__.startswith("obstore") or "\nDebug source:" in str(error)


def _xml(error: BaseException, name: str) -> str:
    """One value in S3's own error text, where the exception quotes it."""
    found = re.search(rf"<{name}>([^<]*)</{name}>", str(error)) if _is_of_obstore(error) else None
    return unescape(found[1]) if found else ""


def is_of(error: BaseException, *names: str) -> bool:
    """Whether the exception's class, or one that it comes from, has one of these names."""
    return any(base.__name__ in names for base in type(error).__mro__)


def plain(error: BaseException) -> str:
    """What an exception says, as one line without colours, secrets and DVC's addresses."""
    said = str(error)
    if _is_of_obstore(error):
        said = said.partition("\nDebug source:")[0]
        about = f"{_xml(error, 'Code')} {_xml(error, 'Message')}".strip()
        said = about or said.rpartition(" - ")[2]
    text = " ".join(_COLOUR.sub("", said).split()).removeprefix("config file error: ")
    text = redact(_ADVICE.sub("", text)).strip()
    return text[:_LONGEST] or type(error).__name__
