"""One HTTP request to a server that nobody vouches for: it ends in time, and its answer is of bounded size.

Goes straight to the endpoint: no proxy of the environment, no redirect followed, no name looked up without a
limit. A server that sends a byte now and then is cut off at the deadline too. Knows nothing of metadata; `etcd`
and `http` make requests through it.
"""

from __future__ import annotations

import http.client
import queue
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from .address import Endpoint

__all__ = ["Answer", "ExchangeError", "Failure", "answers_on_loopback", "connect", "exchange"]

_CHUNK = 1 << 16


class Failure(StrEnum):
    """Why there is no answer."""

    UNRESOLVED = "unresolved"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    BROKEN = "broken"
    TOO_LARGE = "too large"


class ExchangeError(Exception):
    """Raised when a request has no answer; its text is the end of a sentence about the endpoint."""

    def __init__(self, failure: Failure, text: str) -> None:
        super().__init__(text)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said; `location` is where it would send one on to, which nobody follows."""

    status: int
    body: bytes
    content_type: str = ""
    location: str = ""


def connect(endpoint: Endpoint, seconds: float) -> socket.socket:
    """Returns a connection to `endpoint`, made within `seconds`; they are its timeout too.

    Raises:
        ExchangeError: there is none.
    """
    deadline = time.monotonic() + seconds
    failure = ExchangeError(Failure.UNREACHABLE, "has no address")
    for family, kind, protocol, _, address in _resolve(endpoint, seconds):
        left = deadline - time.monotonic()
        if left <= 0:
            raise _too_late(seconds)
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(left)
            connection.connect(address)
            connection.settimeout(seconds)
            return connection
        except OSError as error:
            connection.close()
            failure = _unconnected(error, seconds)
    raise failure


def answers_on_loopback(endpoint: Endpoint) -> bool:
    """True when `endpoint` is an address of this host, and its port answers on 127.0.0.1: the server listens there."""
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as own:
            own.bind((endpoint.host, 0))
        connect(Endpoint("127.0.0.1", endpoint.port), 1.0).close()
    except (OSError, UnicodeError, ExchangeError):
        return False
    return True


def exchange(
    endpoint: Endpoint,
    method: str,
    target: str,
    *,
    seconds: float,
    most_bytes: int,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    tls: bool = False,
) -> Answer:
    """Sends one request and returns the answer, whatever its status.

    Args:
        target: path and query, already quoted.
        seconds: for everything together, from the name's look-up to the body's last byte.
        most_bytes: of the body.

    Raises:
        ExchangeError: there was no answer, not in time, not HTTP or too large a one.
    """
    deadline = time.monotonic() + seconds
    with connect(endpoint, seconds) as plain:
        connection = plain
        expired = threading.Event()

        def cut_off() -> None:
            expired.set()
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # It is closed already.

        timer = threading.Timer(max(0.0, deadline - time.monotonic()), cut_off)
        timer.daemon = True
        timer.start()
        client = http.client.HTTPConnection(endpoint.host, endpoint.port)
        try:
            if tls:
                context = ssl.create_default_context()
                # The handshake comes after the assignment, so that it can be cut off too.
                connection = context.wrap_socket(plain, server_hostname=endpoint.host, do_handshake_on_connect=False)
                connection.do_handshake()
            client.sock = connection
            client.request(method, target, body or None, {"Connection": "close", **(headers or {})})
            with client.getresponse() as response:
                answer = _read(response, most_bytes)
        except (ExchangeError, OSError, http.client.HTTPException, ValueError) as error:
            if expired.is_set():  # Whatever it looks like, it is the cut-off.
                raise _too_late(seconds) from None
            raise _broken(error, seconds) from None
        finally:
            timer.cancel()
            client.close()
            connection.close()
        if expired.is_set():  # The end of a body that has no length was the cut-off.
            raise _too_late(seconds)
        return answer


def _read(response: http.client.HTTPResponse, most_bytes: int) -> Answer:
    too_large = ExchangeError(Failure.TOO_LARGE, f"answers with more than {most_bytes} bytes")
    if response.length is not None and response.length > most_bytes:
        raise too_large
    parts: list[bytes] = []
    size = 0
    while part := response.read1(_CHUNK):
        parts.append(part)
        size += len(part)
        if size > most_bytes:
            raise too_large
    if response.length:
        raise ExchangeError(Failure.BROKEN, "ended its answer too early")
    location = response.headers.get("location", "")
    return Answer(response.status, b"".join(parts), response.headers.get_content_type(), location)


def _resolve(endpoint: Endpoint, seconds: float) -> list[tuple[int, int, int, str, tuple]]:
    """Returns the addresses of the endpoint.

    The resolver has no timeout of its own that could be set, so it is asked from a thread that may be left behind.
    """
    answers: queue.SimpleQueue[object] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True, name="resolve").start()
    try:
        found = answers.get(timeout=seconds)
    except queue.Empty:
        raise ExchangeError(Failure.TIMEOUT, f"has a name that was not resolved within {seconds:g} s") from None
    if isinstance(found, list):
        return found
    raise ExchangeError(Failure.UNRESOLVED, f"has a name that does not resolve ({_words(found)})")


def _unconnected(error: OSError, seconds: float) -> ExchangeError:
    if isinstance(error, TimeoutError):
        return _too_late(seconds)
    if isinstance(error, ConnectionRefusedError):
        return ExchangeError(Failure.REFUSED, "refuses connections")
    return ExchangeError(Failure.UNREACHABLE, f"cannot be reached ({_words(error)})")


def _broken(error: Exception, seconds: float) -> ExchangeError:
    if isinstance(error, ExchangeError):
        return error
    if isinstance(error, TimeoutError):
        return _too_late(seconds)
    if isinstance(error, ssl.SSLError):
        return ExchangeError(Failure.BROKEN, f"does not speak TLS that this host trusts ({_words(error)})")
    if isinstance(error, OSError):
        return ExchangeError(Failure.BROKEN, f"closed the connection without an answer ({_words(error)})")
    return ExchangeError(Failure.BROKEN, f"does not speak HTTP ({type(error).__name__})")


def _too_late(seconds: float) -> ExchangeError:
    return ExchangeError(Failure.TIMEOUT, f"did not answer within {seconds:g} s")


def _words(error: object) -> str:
    return (error.strerror if isinstance(error, OSError) else "") or type(error).__name__
