"""A proxy before a real S3 server: it counts, delays, refuses, cuts off, shortens and alters."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from building import PATIENCE

# What may be done to one request, by its method and path; "" lets it pass.
SLOW_DOWN = "slow down"  # 503, as a store says it that is asked too much
REFUSE = "refuse"  # 403 ExpiredToken
SKEWED = "skewed"  # 403 RequestTimeTooSkewed
MALFORMED = "malformed"  # 400 AuthorizationHeaderMalformed, as where the region is wrong
ELSEWHERE = "elsewhere"  # 301 PermanentRedirect, without an address
BROKEN = "broken"  # 500, as where the disk behind it is lost
DENY = "deny"  # 403 AccessDenied
GONE = "gone"  # 404 NoSuchBucket
CUT = "cut"  # the answer ends in the middle, and the connection with it
TRUNCATE = "truncate"  # the answer is shorter, and says so
ALTER = "alter"  # one byte of the answer is another
DROP = "drop"  # the connection is closed before anything is passed on
LOSE = "lose"  # it is passed on and done, and its answer is lost

Fault = Callable[[str, str], str]
_ERROR = '<?xml version="1.0"?><Error><Code>{}</Code><Message>{}</Message></Error>'

_ANSWERS = {
    SLOW_DOWN: (503, "SlowDown", "Reduce your request rate."),
    REFUSE: (403, "ExpiredToken", "The token has expired."),
    SKEWED: (403, "RequestTimeTooSkewed", "The server&#39;s clock differs."),
    MALFORMED: (400, "AuthorizationHeaderMalformed", "Expecting 'eu-north-1'."),
    ELSEWHERE: (301, "PermanentRedirect", "It must be addressed elsewhere."),
    BROKEN: (500, "InternalError", "Try again."),
    DENY: (403, "AccessDenied", "Access Denied."),
    GONE: (404, "NoSuchBucket", "There is none."),
}


def first(count: int, kind: str, method: str = "", part: str = "") -> Fault:
    """The first ``count`` requests of this method and path get this fault, the others none."""
    guard = threading.Lock()
    left = [count]

    def fault(asked: str, path: str) -> str:
        if (method and asked != method) or part not in path:
            return ""
        with guard:
            left[0] -= 1
            return kind if left[0] >= 0 else ""

    return fault


class Proxy:
    """A context manager; ``url`` is asked in the place of ``upstream``."""

    def __init__(self, upstream: str, latency_s: float = 0.0) -> None:
        self.host, self.latency_s = urlsplit(upstream).netloc, latency_s
        self.fault: Fault = lambda method, path: ""
        self.asked: list[tuple[str, str]] = []
        self.passed: dict[
            str, int
        ] = {}  # bytes of bodies and answers that were passed on, by method
        self.at_once = 0  # most requests at one moment
        self._now = 0
        self._guard = threading.Lock()
        handler = type("OwnHandler", (_Handler,), {"proxy": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def count(self, method: str) -> int:
        """How many requests of this method were made."""
        return sum(asked == method for asked, _ in self.asked)

    def begin(self, method: str, path: str) -> str:
        with self._guard:
            self.asked.append((method, path))
            self._now += 1
            self.at_once = max(self.at_once, self._now)
        if self.latency_s:
            time.sleep(self.latency_s)
        return self.fault(method, path)

    @property
    def open(self) -> int:
        """How many connections there are to it."""
        return self._server.open

    def wait_for(self, count: int) -> None:
        """Wait until there are no more connections than ``count``, such as to a client that was
        killed: what it had sent by then is passed on, and would come amid what is done next.
        """
        until, quiet = time.monotonic() + PATIENCE, 0
        while quiet < 10:
            quiet = quiet + 1 if self.open <= count else 0
            assert time.monotonic() < until, "someone asks still"
            time.sleep(0.02)

    def pass_on(self, method: str, count: int) -> None:
        with self._guard:
            self.passed[method] = self.passed.get(method, 0) + count

    def end(self) -> None:
        with self._guard:
            self._now -= 1


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, *given: Any) -> None:
        self.open = 0  # connections
        self._guard = threading.Lock()
        super().__init__(*given)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        with self._guard:
            self.open += 1
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._guard:
                self.open -= 1

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 60
    proxy: Proxy
    upstream: http.client.HTTPConnection | None = None

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        size = int(self.headers.get("Content-Length") or 0)
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        body = self.rfile.read(size)
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = self._chunks()
            del self.headers["Transfer-Encoding"]
        fault = self.proxy.begin(self.command, self.path)
        try:
            self._answer(fault, body)
        finally:
            self.proxy.end()

    def _chunks(self) -> bytes:
        """A body that comes in pieces, each after its length, as WebDAV's has it."""
        parts = []
        while size := int(self.rfile.readline(100).split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline(100)
        self.rfile.readline(100)
        return b"".join(parts)

    def _answer(self, fault: str, body: bytes) -> None:
        if fault == DROP:
            self.close_connection = True
        elif fault in _ANSWERS:
            status, code, message = _ANSWERS[fault]
            headers = [("x-amz-bucket-region", "eu-north-1")] if status < 403 else []
            self._send(status, headers, _ERROR.format(code, message).encode())
        else:
            status, headers, answer = self._pass_on(body)
            self.proxy.pass_on(self.command, len(body) + len(answer))
            if fault == LOSE:
                self.close_connection = True
                return
            if answer and fault == ALTER:
                answer = answer[:-1] + bytes([answer[-1] ^ 1])
            elif answer and fault == TRUNCATE:
                answer = answer[: len(answer) // 2]
            self._send(status, headers, answer, cut=fault == CUT)

    def _pass_on(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        for again in (True, False):
            if self.upstream is None:
                self.upstream = http.client.HTTPConnection(self.proxy.host, timeout=60)
            try:
                self.upstream.request(self.command, self.path, body, dict(self.headers))
                answer = self.upstream.getresponse()
                return answer.status, answer.getheaders(), answer.read()
            except (http.client.HTTPException, ConnectionError):
                self.upstream.close()
                self.upstream = None
                if not again:
                    raise
        raise AssertionError

    def _send(
        self, status: int, headers: list[tuple[str, str]], answer: bytes, cut: bool = False
    ) -> None:
        self.send_response_only(status)
        left_out = {"content-length", "transfer-encoding", "connection"}
        if self.command == "HEAD":
            left_out.remove("content-length")
        for name, value in headers:
            if name.lower() not in left_out:
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer[: len(answer) // 2] if cut else answer)
        if cut:
            self.wfile.flush()
            self.close_connection = True

    def finish(self) -> None:
        super().finish()
        if self.upstream is not None:
            self.upstream.close()


class Relay:
    """Passes on what a TCP server and its clients say; ``passed`` counts the bytes of both ways.

    After ``most`` bytes nothing goes on, and ``full`` is set. A context manager.
    """

    def __init__(self, port: int) -> None:
        self.upstream = port
        self.passed = 0
        self.most = 1 << 62
        self.full = threading.Event()
        self._guard = threading.Lock()
        self._ends: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])

    def __enter__(self) -> Relay:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.cut()
        for thread in self._threads:
            thread.join()

    def cut(self) -> None:
        """Close all connections."""
        self.full.set()
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._ends.clear()

    def _start(self, work: Callable[..., None], *given: socket.socket) -> None:
        self._threads.append(threading.Thread(target=work, args=given, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        while True:
            try:
                one, _ = self._listening.accept()
            except OSError:
                return
            other = socket.create_connection(("127.0.0.1", self.upstream))
            self._ends += [one, other]
            self._start(self._pump, one, other)
            self._start(self._pump, other, one)

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                with self._guard:
                    self.passed += len(data)
                    stop = self.passed > self.most
                if stop:
                    self.full.set()
                    return
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
