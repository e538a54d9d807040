"""Small signed requests to an S3 server, for what obstore does not ask for: parts of an upload."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any
from urllib.parse import quote, urlencode

from mlrepro.dvc.s3 import Settings

_EMPTY = sha256(b"").hexdigest()
_PATIENCE_S = 180.0
_LONGEST_PAUSE_S = 15.0
_PASSES = frozenset({429, 500, 502, 503, 504})
_PASSING = frozenset({
    "EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "ConnectionClosedError",
    "HTTPClientError", "ProxyConnectionError", "ResponseStreamingError", "IncompleteReadError",
})  # fmt: skip
_MAX_ANSWER = 1 << 22


class Requests:
    """Asks for the objects of one bucket; any thread may.

    What is refused raises botocore's ClientError, with what the server said. A server that is busy
    or silent is asked again for three minutes, with growing pauses of random length.
    """

    def __init__(self, settings: Settings) -> None:
        from botocore.auth import S3SigV4Auth
        from botocore.httpsession import URLLib3Session
        from botocore.utils import get_environ_proxies

        class Auth(S3SigV4Auth):  # type: ignore[misc]
            def payload(self, request: Any) -> str:
                return str(request.context["sha256"])

        self._auth, self._settings = Auth, settings
        self._top = settings.endpoint or f"https://s3.{settings.region}.amazonaws.com"
        self._top = f"{self._top.rstrip('/')}/{settings.bucket}"
        self._http = URLLib3Session(
            verify=settings.authority_file or True,
            proxies=get_environ_proxies(self._top),
            timeout=(settings.connect_s, settings.read_s),
            max_pool_connections=16,
        )
        self.halt = threading.Event()

    def ask(
        self, method: str, key: str, query: Mapping[str, str], body: bytes = b"", digest: str = ""
    ) -> tuple[Mapping[str, str], bytes]:
        """The headers and the body of the answer; ``digest``: the body's sha256, where known."""
        about = self._settings
        path = "/".join(part for part in (about.prefix, key) if part)
        url = f"{self._top}/{quote(path)}?{urlencode(sorted(query.items()), quote_via=quote)}"
        digest = digest or (sha256(body).hexdigest() if body else _EMPTY)
        answer = self._patiently(lambda: self._once(method, url, body, digest))
        text = answer.content
        if answer.status_code >= 300 or b"<Error>" in text[:200]:
            raise _refusal(answer.status_code, text, method)
        return answer.headers, text

    def _once(self, method: str, url: str, body: bytes, digest: str) -> Any:
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        keys = self._settings.credentials()
        who = Credentials(keys["access_key_id"], keys["secret_access_key"], keys["token"])
        request = AWSRequest(method, url, data=body)
        request.context["sha256"] = digest
        self._auth(who, "s3", self._settings.region).add_auth(request)
        return self._http.send(request.prepare())

    def _patiently(self, once: Callable[[], Any]) -> Any:
        end, pause = time.monotonic() + _PATIENCE_S, 0.1
        while True:
            last = time.monotonic() > end or self.halt.is_set()
            try:
                answer = once()
                if answer.status_code not in _PASSES or last:
                    return answer
            except Exception as error:
                if type(error).__name__ not in _PASSING or last:
                    raise
            self.halt.wait(pause * (0.5 + os.urandom(1)[0] / 256))
            pause = min(_LONGEST_PAUSE_S, pause * 2)

    def close(self) -> None:
        """Let its connections go."""
        self._http.close()


def _refusal(status: int, text: bytes, method: str) -> Exception:
    from botocore.exceptions import ClientError

    said = {name: value_of(text, name) for name in ("Code", "Message", "Region")}
    about = {"HTTPStatusCode": 503 if status < 300 else status, "HTTPHeaders": {}}
    return ClientError({"Error": said, "ResponseMetadata": about}, method)  # type: ignore[no-any-return]


def value_of(text: bytes, name: str) -> str:
    """The first value of that name in an answer of S3, "" where there is none."""
    found = re.search(rf"<{name}>([^<]*)</{name}>".encode(), text[:_MAX_ANSWER])
    return found[1].decode("utf-8", "replace") if found else ""


def elements(text: bytes, name: str) -> list[bytes]:
    """The inside of every element of that name in an answer of S3."""
    return re.findall(rf"<{name}>(.*?)</{name}>".encode(), text[:_MAX_ANSWER], re.DOTALL)
