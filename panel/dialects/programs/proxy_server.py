"""A proxy in front of prefill and decode workers that pass the KV cache on among themselves.

A request goes to a prefill worker first, as a copy that asks for one token; when that is done, the original goes to a
decode worker, whose answer is streamed to the client. Workers are taken in turn. The bearer token of OPENAI_API_KEY is
sent to the workers where it is set, else the client's own. Needs nothing but Python 3.8 or newer: python3
proxy_server.py
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

PREFILL: list[str] = []
DECODE: list[str] = []
LISTEN: list[Any] = ["127.0.0.1", 8000]

COMPLETIONS = ("/v1/completions", "/v1/chat/completions")
TIMEOUT_S = 6 * 60 * 60
HEALTH_TIMEOUT_S = 5
LOOPBACK = ("127.0.0.1", "::1", "localhost")
MOST_BYTES = 256 << 20


class Upstream(Exception):
    """A worker that did not answer, or answered with an error that the client is to have."""

    def __init__(self, status: int, body: bytes, kind: str = "application/json") -> None:
        super().__init__(status)
        self.status = status
        self.body = body
        self.kind = kind


def error_body(message: str, status: int) -> bytes:
    """Returns an error as OpenAI's API writes it."""
    return json.dumps({"error": {"message": message, "type": "proxy_error", "code": status}}).encode()


def prefill_copy(request: dict[str, Any]) -> dict[str, Any]:
    """Returns the request as a prefill worker gets it: one token, not streamed."""
    copy = {**request, "max_tokens": 1}
    if "max_completion_tokens" in copy:
        copy["max_completion_tokens"] = 1
    if isinstance(copy.get("min_tokens"), int):
        copy["min_tokens"] = min(copy["min_tokens"], 1)
    copy.pop("stream_options", None)
    if copy.get("stream"):
        copy["stream"] = False
    return copy


def connect(base: str, timeout: float) -> http.client.HTTPConnection:
    """Returns a connection to the worker at `base`, which is opened by the first request."""
    parts = urlsplit(base)
    return http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=timeout)


def healthy(base: str) -> bool:
    """Returns True when the worker says that it is well."""
    connection = connect(base, HEALTH_TIMEOUT_S)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


class Turns:
    """Gives workers in turn, to several threads."""

    def __init__(self, workers: list[str]) -> None:
        self._workers = itertools.cycle(workers)
        self._lock = threading.Lock()

    def next(self) -> str:
        """Returns the next worker."""
        with self._lock:
            return next(self._workers)


class Proxy(BaseHTTPRequestHandler):
    """Answers one client's connection."""

    protocol_version = "HTTP/1.1"
    prefill: Turns
    decode: Turns

    def do_GET(self) -> None:
        """Answers /health, and passes on /v1/models."""
        if self._foreign():
            return
        if self.path == "/health":
            well = all(map(healthy, [*PREFILL, *DECODE]))
            self._answer(200 if well else 503, json.dumps({"healthy": well}).encode())
        elif self.path == "/v1/models":
            self._pass_on(self.decode.next(), "GET", None)
        else:
            self._answer(404, error_body("there is no such page", 404))

    def do_POST(self) -> None:
        """Answers completions: prefill first, then decode."""
        if self.path not in COMPLETIONS:
            self.close_connection = True
            self._answer(404, error_body("there is no such page", 404))
            return
        if self._foreign():
            return
        request = self._read()
        if request is None:
            return
        try:
            with self._ask(self.prefill.next(), "POST", prefill_copy(request)) as response:
                while response.read(1 << 16):
                    continue
        except Upstream as error:
            self._answer(error.status, error.body, error.kind)
            return
        except (OSError, http.client.HTTPException) as error:
            self._answer(502, error_body("the prefill worker broke off: " + (str(error) or "no answer"), 502))
            return
        self._pass_on(self.decode.next(), "POST", request)

    def _foreign(self) -> bool:
        """Returns True when the request was told off: a web page of somebody else's sent it to a local proxy."""
        name = urlsplit("//" + self.headers.get("Host", "")).hostname
        if LISTEN[0] not in LOOPBACK or name in LOOPBACK:
            return False
        self.close_connection = True
        self._answer(403, error_body("the proxy has another name", 403))
        return True

    def _read(self) -> dict[str, Any] | None:
        """Returns the client's JSON, or None when it was told what is wrong."""
        try:
            length = int(self.headers.get("Content-Length") or "")
        except ValueError:
            length = -1
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            problem = "the Content-Type is not application/json"
        elif not 0 <= length <= MOST_BYTES:
            problem = "the request has no usable Content-Length"
        else:
            try:
                request = json.loads(self.rfile.read(length))
            except (ValueError, RecursionError):
                request = None
            if isinstance(request, dict):
                return request
            problem = "the body is not a JSON object"
        self.close_connection = True
        self._answer(400, error_body(problem, 400))
        return None

    def _ask(self, base: str, method: str, body: dict[str, Any] | None) -> http.client.HTTPResponse:
        """Returns the worker's answer, not yet read.

        Raises:
            Upstream: it cannot be reached, or its status is not 200.
        """
        headers = {"Content-Type": "application/json", "Connection": "close"}
        key = os.environ.get("OPENAI_API_KEY")
        token = "Bearer " + key if key else self.headers.get("Authorization")
        if token:
            headers["Authorization"] = token
        data = None if body is None else json.dumps(body).encode()
        connection = connect(base, TIMEOUT_S)
        try:
            connection.request(method, self.path, data, headers)
            response = connection.getresponse()
            if response.status == 200:
                return response
            with response:
                told = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            reason = base + " does not answer: " + (str(error) or type(error).__name__)
            raise Upstream(502, error_body(reason, 502)) from None
        raise Upstream(response.status, told, response.headers.get("Content-Type") or "application/json")

    def _pass_on(self, base: str, method: str, body: dict[str, Any] | None) -> None:
        try:
            response = self._ask(base, method, body)
        except Upstream as error:
            self._answer(error.status, error.body, error.kind)
            return
        with response:
            self.send_response(200)
            self.send_header("Content-Type", response.headers.get("Content-Type") or "application/json")
            chunked = self.request_version != "HTTP/1.0"
            if chunked:
                self.send_header("Transfer-Encoding", "chunked")
            else:
                self.close_connection = True
            self.end_headers()
            # What has begun can only be broken off; the missing last chunk tells the client.
            try:
                while True:
                    piece = response.read1(1 << 16)
                    if not piece:
                        break
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                if chunked:
                    self.wfile.write(b"0\r\n\r\n")
            except (OSError, http.client.HTTPException):
                self.close_connection = True

    def _answer(self, status: int, body: bytes, kind: str = "application/json") -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Writes a line without the client's control characters."""
        text = (format % args).encode("ascii", "backslashreplace").decode()
        sys.stderr.write("".join(char if char.isprintable() else "?" for char in text) + "\n")


class Server(ThreadingHTTPServer):
    """One thread for each connection."""

    daemon_threads = True
    request_queue_size = 1024

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Writes one line about a connection that broke off, where the library would print a traceback."""
        sys.stderr.write("a connection ended: " + type(sys.exc_info()[1]).__name__ + "\n")


def main() -> None:
    """Serves until it is stopped."""
    Proxy.prefill, Proxy.decode = Turns(PREFILL), Turns(DECODE)
    host, port = LISTEN
    if ":" in host:
        Server.address_family = socket.AF_INET6
    with Server((host, port), Proxy) as server:
        print("proxy listens on", host, "port", server.server_address[1], flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
