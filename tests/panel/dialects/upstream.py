"""Workers for tests of a proxy: small HTTP servers on loopback that note what they are asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Worker:
    """One worker.

    Attributes:
        asked: bodies of the POSTs, in order, and their headers.
        status: what it answers with.
        pieces: what it answers, piece by piece; a piece that is called is waited for before the next one is sent.
    """

    def __init__(self, name: str, journal: list[str]) -> None:
        self.name = name
        self.journal = journal
        self.asked: list[tuple[dict[str, Any], dict[str, str]]] = []
        self.status = 200
        self.pieces: list[bytes | Callable[[], object]] = [b'{"from": "%s"}' % name.encode()]
        self.port = 0

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def serving(worker: Worker) -> Iterator[Worker]:
    """Runs a worker's server."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send([b"{}"])

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            worker.asked.append((body, dict(self.headers)))
            worker.journal.append(worker.name)
            self._send(worker.pieces)

        def _send(self, pieces: list[Any]) -> None:
            self.send_response(worker.status)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for piece in pieces:
                if callable(piece):
                    piece()
                    continue
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """A proxy that is stopped breaks off what it has open."""

    server = Server(("127.0.0.1", 0), Handler)
    worker.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield worker
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
