"""Web pages that attack router, workers and bootstrap server: by raw requests, and from a real Chromium.

The attacks are those of a page that somebody visits while a deployment runs on their machine: another origin, another
name for this address (DNS rebinding), forms, requests that need no preflight, WebSockets.
"""

from __future__ import annotations

import base64
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from cluster import Cluster
from junk import raw_request
from pd_http import get
from playwright.sync_api import Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or "/usr/bin/chromium"
KEY = base64.b64encode(bytes(16)).decode()
GENERATE = json.dumps({"input_ids": [1, 2, 3], "sampling_params": {"max_new_tokens": 1}})
ABORT = json.dumps({"abort_all": True})
REGISTERED = "/metadata?key=mooncake/ram/evil"
TARGETS = ("router", "prefill", "decode", "bootstrap")

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def ports(pair: Cluster) -> dict[str, int]:
    def port(name: str) -> int:
        return int(pair.processes[name].url.rsplit(":", 1)[1])

    bootstrap = pair.processes["prefill-0"].bootstrap
    return {"router": port("router"), "prefill": port("prefill-0"), "decode": port("decode-0"), "bootstrap": bootstrap}


READS = {
    "router": ("/workers", "/server_info", "/metrics", "/v1/models"),
    "prefill": ("/server_info", "/metrics", "/v1/models"),
    "decode": ("/server_info", "/metrics", "/v1/models"),
    "bootstrap": (
        "/health",
        REGISTERED,
        "/route?prefill_dp_rank=-1&prefill_cp_rank=-1&target_tp_rank=-1&target_pp_rank=-1",
    ),
}
WRITES = {
    name: (("/generate", GENERATE), ("/abort_request", ABORT), ("/flush_cache", "{}")) for name in TARGETS[:3]
} | {"bootstrap": ((REGISTERED, "{}"), ("/route", "{}"))}
PAGES = {
    "another origin": ("127.0.0.1:{port}", "Origin: http://evil.test"),
    "another port": ("127.0.0.1:{port}", "Origin: http://127.0.0.1:1"),
    "no origin to name": ("127.0.0.1:{port}", "Origin: null"),
    "two origins": ("127.0.0.1:{port}", "Origin: http://127.0.0.1:{port}\nOrigin: http://evil.test"),
    "a rebound name": ("rebind.test:{port}", "Origin: http://rebind.test:{port}"),
    "a rebound name that says no origin": ("rebind.test:{port}", "X-Nothing: 1"),
    "two hosts": ("127.0.0.1:{port}\nHost: rebind.test", "X-Nothing: 1"),
    "a name with our address in it": ("127.0.0.1.evil.test:{port}", "X-Nothing: 1"),
    "cross-site by its own word": ("127.0.0.1:{port}", "Sec-Fetch-Site: cross-site"),
}


def refused(port: int, method: str, path: str, page: str, body: str = "", extra: str = "") -> None:
    """Sends what a page could; it must be refused, and no page may read the answer."""
    host, header = (text.format(port=port) for text in PAGES[page])
    head = f"{method} {path} HTTP/1.1\nHost: {host}\n{header}{extra}"
    status, answer = raw_request(port, head, body.encode())
    assert 400 <= status < 500, (path, page, answer)
    assert "access-control" not in answer.lower() and "Traceback" not in answer, (path, page, answer)


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("target", TARGETS)
def test_a_foreign_page_reads_and_writes_nothing(ports: dict[str, int], target: str, page: str) -> None:
    port = ports[target]
    for path in READS[target]:
        refused(port, "GET", path, page)
    for path, body in WRITES[target]:
        refused(port, "POST", path, page, body, "\nContent-Type: application/json")
        refused(port, "OPTIONS", path, page, extra="\nAccess-Control-Request-Method: POST")
    if target == "bootstrap":
        for method in ("PUT", "DELETE"):
            refused(port, method, REGISTERED, page, "{}", "\nContent-Type: application/json")
    upgrade = f"\nUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: {KEY}"
    refused(port, "GET", "/peer", page, extra=upgrade)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
def test_what_needs_no_preflight_is_refused_even_without_an_origin(
    ports: dict[str, int], target: str, content_type: str
) -> None:
    port = ports[target]
    for path, body in WRITES[target]:
        lines = f"POST {path} HTTP/1.1\nHost: 127.0.0.1:{port}" + (
            f"\nContent-Type: {content_type}" if content_type else ""
        )
        status, answer = raw_request(port, lines, body.encode())
        if path == "/flush_cache" and not body:
            continue
        assert status in (403, 404, 405, 415), (path, answer)
        assert "access-control" not in answer.lower()


def test_programs_are_served(ports: dict[str, int]) -> None:
    """The refusals above are not those of a server that refuses everybody."""
    for target, port in ports.items():
        for path in READS[target]:
            if path != REGISTERED:
                status, answer = raw_request(port, f"GET {path} HTTP/1.1\nHost: 127.0.0.1:{port}")
                assert status == 200, (path, answer)
                assert "access-control" not in answer.lower()


class _HostilePage(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"<!doctype html><title>hostile</title><p>hello"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hostile_port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _HostilePage)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join(10)
    server.server_close()


ATTACK = """async ([port, reads, writes]) => {
  const base = `http://127.0.0.1:${port}`, seen = [];
  const tried = async (what, options) => {
    try {
      const answer = await fetch(base + what, options);
      seen.push([what, JSON.stringify(options), answer.type, answer.status, await answer.text()]);
    } catch (error) {}
  };
  for (const path of reads) await tried(path, {});
  for (const [path, body] of writes) {
    for (const method of ["POST", "PUT"])
      await tried(path, {method, body, headers: {"Content-Type": "application/json"}});
    await tried(path, {method: "POST", mode: "no-cors", body, headers: {"Content-Type": "text/plain"}});
    const frame = document.body.appendChild(document.createElement("iframe"));
    frame.name = "sink";
    const form = document.body.appendChild(document.createElement("form"));
    Object.assign(form, {method: "POST", action: base + path, enctype: "text/plain", target: "sink"});
    const field = form.appendChild(document.createElement("input"));
    const cut = body.length - 1;
    field.name = body.slice(0, cut) + (body.length > 2 ? ',"x":"' : '"x":"');
    field.value = '"}';
    const loaded = new Promise(done => { frame.onload = done; setTimeout(done, 300); });
    form.submit();
    await loaded;
    form.remove(); frame.remove();
  }
  const socket = new WebSocket(`ws://127.0.0.1:${port}/peer`);
  const opened = await new Promise(done => { socket.onopen = () => done(true); socket.onerror = () => done(false); });
  if (opened) seen.push(["/peer", "", "websocket", 101, ""]);
  return seen;
}"""


def served(pair: Cluster) -> dict[str, float]:
    """How many requests each worker was given so far."""
    return {name: pair.metric(name, "sglang:num_requests_total") for name in ("prefill-0", "decode-0")}


def test_a_hostile_page_in_a_browser_gets_nowhere(pair: Cluster, ports: dict[str, int], hostile_port: int) -> None:
    """It reads nothing, starts and aborts nothing, registers nothing and opens no socket."""
    said: list[list[int]] = []
    victim = threading.Thread(
        target=lambda: said.append(pair.generate([5] * 40, temperature=0, max_new_tokens=60, ignore_eos=True))
    )
    with sync_playwright() as playwright:
        names = "--host-resolver-rules=MAP evil.test 127.0.0.1, MAP rebind.test 127.0.0.1"
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-sync", names])
        try:
            page = browser.new_page()
            before = served(pair)
            victim.start()
            for host, targets in (("evil.test", TARGETS), ("127.0.0.1", ("router",))):
                page.goto(f"http://{host}:{hostile_port}/")
                for target in targets:
                    assert readable(page, ports[target], target) == []
            rebound = {target: page.goto(f"http://rebind.test:{port}/health") for target, port in ports.items()}
            assert {answer.status for answer in rebound.values() if answer} == {421}
            victim.join(60)
            assert served(pair) == {name: count + 1 for name, count in before.items()}
        finally:
            browser.close()
            victim.join(60)
    assert [len(tokens) for tokens in said] == [60]
    status, _ = raw_request(ports["bootstrap"], f"GET {REGISTERED} HTTP/1.1\nHost: 127.0.0.1:{ports['bootstrap']}")
    assert status == 404
    assert get(pair.url + "/workers")


def readable(page: Page, port: int, target: str) -> list[Any]:
    """Returns what the page could read, or do with more than an answer that says nothing."""
    seen = page.evaluate(ATTACK, [port, list(READS[target]), [list(write) for write in WRITES[target]]])
    return [one for one in seen if one[2] != "opaque"]
