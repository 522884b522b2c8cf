"""Registrations that a metadata server forgot are put back, and its part in a failure is told."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from metadata_servers import LOCAL, wait_for
from pd_http import free_port
from pdpanel.engine.transfer.registration import MetadataClient, Registration

NAME = "127.0.0.1-1f:30000"
KEYS = (f"mooncake/ram/{NAME}", f"mooncake/rpc_meta/{NAME}")


class Forgetful:
    """A metadata server of both kinds, whose memory the test holds."""

    def __init__(self) -> None:
        self.entries: dict[str, bytes] = {}
        outer = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                value = outer.entries.get(parse_qs(urlsplit(self.path).query)["key"][0])
                self._say(404 if value is None else 200, value or b"")

            def do_PUT(self) -> None:
                key = parse_qs(urlsplit(self.path).query)["key"][0]
                outer.entries[key] = self.rfile.read(int(self.headers["Content-Length"]))
                self._say(200, b"")

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                key = base64.b64decode(asked["key"]).decode()
                if self.path.endswith("/put"):
                    outer.entries[key] = base64.b64decode(asked["value"])
                    self._say(200, b"{}")
                else:
                    found = outer.entries.get(key)
                    kvs = [] if found is None else [{"value": base64.b64encode(found).decode()}]
                    self._say(200, json.dumps({"kvs": kvs} if kvs else {}).encode())

            def _say(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer((LOCAL, 0), Answer)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()


@pytest.fixture
def forgetful() -> Iterator[Forgetful]:
    made = Forgetful()
    yield made
    made.close()


@pytest.fixture(params=["http", "etcd", "etcd behind a dead one"])
def url(request: pytest.FixtureRequest, forgetful: Forgetful) -> str:
    if request.param == "http":
        return f"http://{LOCAL}:{forgetful.port}/metadata"
    dead = f"{LOCAL}:{free_port()}," if "dead" in request.param else ""
    return f"etcd://{dead}{LOCAL}:{forgetful.port}"


def test_entries_that_the_server_forgot_come_back(url: str, forgetful: Forgetful) -> None:
    forgetful.entries = {KEYS[0]: b'{"a": 1}', KEYS[1]: b'{"b": 2}'}
    registration = Registration(url, NAME, period_s=0.02)
    registration.keep()
    try:
        wait_for(lambda: registration.is_remembered)
        forgetful.entries = {}
        wait_for(lambda: forgetful.entries == {KEYS[0]: b'{"a": 1}', KEYS[1]: b'{"b": 2}'})
    finally:
        registration.close()


def test_somebody_elses_entries_are_waited_for(url: str, forgetful: Forgetful) -> None:
    registration = Registration(url, "somebody", period_s=0.1)
    later = threading.Timer(0.3, lambda: forgetful.entries.update(dict.fromkeys(KEYS, b"{}")))
    later.start()
    assert registration.has_come_back(NAME)
    assert not registration.has_come_back(NAME), "it was never away"
    later.join()


def test_the_servers_part_in_a_failure_is_told(url: str, forgetful: Forgetful) -> None:
    registration = Registration(url, "somebody")
    assert registration.whereabouts(NAME) == f"the metadata server {url} does not know it"
    forgetful.entries = dict.fromkeys(KEYS, b"{}")
    assert registration.whereabouts(NAME) == f"the metadata server {url} knows it"


@pytest.mark.parametrize("scheme", ["http", "etcd"])
def test_a_server_that_is_gone_is_an_error_that_says_so(scheme: str) -> None:
    url = f"{scheme}://{LOCAL}:{free_port()}"
    registration = Registration(url, NAME)
    assert not registration.is_answered() and not registration.has_come_back(NAME)
    assert registration.whereabouts(NAME).startswith(f"the metadata server {url} does not answer (")
    with pytest.raises(OSError):
        MetadataClient(url).write(KEYS[0], b"{}")
