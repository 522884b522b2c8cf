"""What strangers send to ports: rubbish, other protocols, half requests, bodies without end."""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
import time
from collections.abc import Iterator

__all__ = ["HTTP2_PREFACE", "client_hello", "connect", "is_cut", "junk", "raw_request", "send_all"]

HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


def client_hello() -> bytes:
    """Returns the first bytes of a TLS connection."""
    outgoing = ssl.MemoryBIO()
    channel = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="example.org")
    with contextlib.suppress(ssl.SSLWantReadError):
        channel.do_handshake()
    return outgoing.read()


def junk(seed: int = 5) -> Iterator[tuple[str, bytes]]:
    """Yields names and bytes."""
    source = random.Random(seed)
    yield "nothing", b""
    for size in (1, 16, 300, 70_000):
        yield f"{size} random bytes", source.randbytes(size)
    yield "zeros", bytes(5000)
    yield "tls", client_hello()
    yield "http/2", HTTP2_PREFACE
    yield "ssh", b"SSH-2.0-OpenSSH_9.2\r\n"
    yield "half a request", b"POST /generate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Le"
    yield "no host", b"GET /health HTTP/1.1\r\n\r\n"
    yield "two hosts", b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.test\r\n\r\n"
    yield "long line", b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n"
    yield "many headers", b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(3000)) + b"\r\n"
    yield (
        "two lengths",
        b"POST /generate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
    )
    yield (
        "smuggled",
        (
            b"POST /generate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        ),
    )
    yield "negative length", b"POST /generate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n"
    yield "bad chunk", b"POST /generate HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
    yield (
        "huge chunk",
        b"PUT /metadata?key=x HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
    )
    yield "length prefix", (1 << 63).to_bytes(8, "little") + b"x" * 100
    yield "odd path", b"GET /%00%ff%zz/../../etc/passwd HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    yield "bad upgrade", b"GET /peer HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


def connect(port: int) -> socket.socket:
    """Returns a connection that never waits for more than a few seconds."""
    made = socket.create_connection(("127.0.0.1", port), timeout=10)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def send_all(connection: socket.socket, data: bytes) -> bool:
    """Sends; returns False when the other end does not want it."""
    try:
        connection.sendall(data)
    except OSError:
        return False
    return True


def is_cut(connection: socket.socket) -> bool:
    """True when the other end has closed, whatever it said before."""
    connection.setblocking(False)
    try:
        while connection.recv(65536):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def raw_request(port: int, head: str, body: bytes = b"", seconds: float = 20.0) -> tuple[int, str]:
    """Sends a request as it is written, with the lines of `head`; returns status and everything that was answered."""
    with connect(port) as connection:
        connection.settimeout(seconds)
        lines = [*head.split("\n"), "Connection: close", *([f"Content-Length: {len(body)}"] if body else [])]
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        answer, deadline = b"", time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                piece = connection.recv(65536)
            except ConnectionError:
                break
            if not piece:
                break
            answer += piece
            if answer.startswith(b"HTTP/1.1 101"):
                break
    return int(answer.split(b" ", 2)[1]), answer.decode(errors="replace")
