"""Workers and a router of a deployment that somebody else runs, pretended: small HTTP servers in threads of the test.

They answer as SGLang and its router do, and can fall silent, come back, or say something hostile.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["FakeServer", "fake_deployment", "serving"]


@dataclass
class FakeServer:
    """One server.

    Attributes:
        answers: by path, what it answers as JSON; a text goes out as it is, a number is a status.
        headers: those of the last request.
        asked: the paths that were asked for.
        keys: by path, the Authorization of its last request; empty without one.
        wants: the Authorization without which it answers 401, but for its health; empty for none.
    """

    answers: dict[str, Any]
    url: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)
    wants: str = ""


def worker_answers(role: str, model: str = "fake-model") -> dict[str, Any]:
    """Returns what an SGLang worker of this role answers."""
    return {
        "/health": {},
        "/server_info": {
            "model_path": model,
            "disaggregation_mode": role,
            "disaggregation_transfer_backend": "mooncake",
            "version": "0.5.9",
        },
        "/v1/models": {"data": [{"id": model, "owned_by": "sglang"}]},
        "/metrics": f'# TYPE sglang:num_running_reqs gauge\nsglang:num_running_reqs{{engine_type="{role}"}} 3\n',
    }


@contextmanager
def serving(answers: dict[str, Any]) -> Iterator[FakeServer]:
    """Serves `answers` on a port of 127.0.0.1 while the context is entered."""
    fake = FakeServer(answers)

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            fake.asked.append(self.path)
            fake.headers = dict(self.headers.items())
            fake.keys[self.path] = key = self.headers.get("Authorization", "")
            found = (
                fake.answers.get(self.path, 404)
                if not fake.wants or key == fake.wants or self.path == "/health"
                else 401
            )
            status = found if isinstance(found, int) else 200
            body = found if isinstance(found, str) else json.dumps(found)
            self.send_response(status)
            if status == 302:
                self.send_header("Location", fake.answers["location"])
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.daemon_threads = True
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


@contextmanager
def fake_deployment() -> Iterator[tuple[FakeServer, FakeServer, FakeServer]]:
    """Serves a prefill worker, a decode worker and a router that names both."""
    with serving(worker_answers("prefill")) as prefill, serving(worker_answers("decode")) as decode:
        workers = [
            {"url": prefill.url, "worker_type": "prefill"},
            {"url": decode.url, "worker_type": "decode"},
        ]
        with serving({"/health": {}, "/workers": {"workers": workers}, "/metrics": ""}) as router:
            yield prefill, decode, router
