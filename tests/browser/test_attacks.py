"""The attacks on a panel, in one browser beside a signed-in person and over raw HTTP.

Each is tried twice: on a panel without its guard, where it must succeed (or it would prove nothing), and on the panel
as it is, where it must fail. Hostile pages are on another port of this host and under another name.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from door_panel import TOKEN, DoorPanel, door_panel
from playwright.sync_api import Browser, BrowserContext, Page, expect


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


@pytest.fixture(scope="module")
def hostile_port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _HostilePage)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join(10)
    server.server_close()


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, DoorPanel]]:
    """A panel without its guard, and one with it."""
    folder = tmp_path_factory.mktemp("targets")
    with door_panel(folder / "open", ["--unguarded"]) as bare, door_panel(folder / "guarded") as guarded:
        yield {"without guard": bare, "with guard": guarded}


@pytest.fixture(params=["without guard", "with guard"])
def target(request: pytest.FixtureRequest, targets: dict[str, DoorPanel]) -> DoorPanel:
    return targets[request.param]


@pytest.fixture(scope="module")
def signed_in(chromium: Browser, targets: dict[str, DoorPanel]) -> Iterator[BrowserContext]:
    """The profile of a person who has both panels open."""
    context = chromium.new_context()
    for each in targets.values():
        assert context.request.get(each.login_url).ok
        assert context.request.get(f"{each.url}api/runs").ok
    yield context
    context.close()


@pytest.fixture
def hostile(request: pytest.FixtureRequest, signed_in: BrowserContext, hostile_port: int) -> Iterator[Page]:
    """A hostile page beside them; on another port of the same address where a test does not say more."""
    page = signed_in.new_page()
    page.goto(f"http://{getattr(request, 'param', '127.0.0.1')}:{hostile_port}/")
    yield page
    page.close()


FROM_EACH_PLACE = pytest.mark.parametrize(
    "hostile", ["127.0.0.1", pytest.param("localhost", marks=pytest.mark.slow), "evil.test"], indirect=True
)
FETCH = """async ([url, options]) => {
  try {
    if (options.form) {
      options.body = new FormData();
      options.body.append("files", new Blob(["planted"]), "planted.txt");
      delete options.form;
    }
    const answer = await fetch(url, { method: "POST", credentials: "include", ...options });
    return [answer.type, answer.status, await answer.text()];
  } catch (error) {
    return ["refused", 0, ""];
  }
}"""


@FROM_EACH_PLACE
@pytest.mark.parametrize(
    "options",
    [
        {"mode": "no-cors"},
        {"mode": "no-cors", "body": "{}", "headers": {"Content-Type": "text/plain"}},
        {"body": "{}", "headers": {"Content-Type": "text/plain"}},
    ],
    ids=["no-cors", "no-cors text", "cors text"],
)
def test_simple_post_of_a_page(hostile: Page, target: DoorPanel, options: dict[str, object]) -> None:
    run = target.deploy()
    answer = hostile.evaluate(FETCH, [f"{target.url}api/runs/{run}/stop", options])
    assert answer[2] == ""
    assert target.is_stopped(run) is not target.guarded


@FROM_EACH_PLACE
def test_form_of_a_page(hostile: Page, target: DoorPanel) -> None:
    run = target.deploy()
    with hostile.expect_navigation() as navigation:
        hostile.evaluate(
            """(url) => {
              const form = document.createElement("form");
              form.method = "post";
              form.action = url;
              document.body.append(form);
              form.submit();
            }""",
            f"{target.url}api/runs/{run}/stop",
        )
    response = navigation.value
    assert response is not None and (response.status == 403) is target.guarded
    assert target.is_stopped(run) is not target.guarded


def test_json_post_that_asks_first(hostile: Page, target: DoorPanel) -> None:
    """The browser asks first, and Gradio, below all routes, allows it to every port of this host."""
    run = target.deploy()
    options = {"body": "{}", "headers": {"Content-Type": "application/json"}}
    hostile.evaluate(FETCH, [f"{target.url}api/runs/{run}/stop", options])
    assert target.is_stopped(run) is not target.guarded


def test_gradio_is_read_from_another_port(hostile: Page, target: DoorPanel) -> None:
    """Gradio allows every port of this host to read its answers."""
    answer = hostile.evaluate(FETCH, [f"{target.url}gradio_api/info", {"method": "GET"}])
    assert (answer[0] == "cors" and "named_endpoints" in answer[2]) is not target.guarded


@FROM_EACH_PLACE
def test_upload_of_a_page(hostile: Page, target: DoorPanel) -> None:
    for old in target.uploads.rglob("planted.txt"):
        old.unlink()
    hostile.evaluate(FETCH, [f"{target.url}gradio_api/upload", {"mode": "no-cors", "form": True}])
    assert bool(list(target.uploads.rglob("planted.txt"))) is not target.guarded


@FROM_EACH_PLACE
@pytest.mark.parametrize("path", ["api/live", "api/log?run={run}&process=router"])
def test_websocket_of_a_page(hostile: Page, target: DoorPanel, path: str) -> None:
    url = target.url.replace("http:", "ws:") + path.format(run=target.deploy())
    heard = hostile.evaluate(
        """(url) => new Promise((resolve) => {
          const socket = new WebSocket(url);
          socket.onmessage = () => resolve("message");
          socket.onclose = () => resolve("closed");
        })""",
        url,
    )
    assert heard == ("closed" if target.guarded else "message")


def test_frame_of_a_page(hostile: Page, target: DoorPanel) -> None:
    hostile.evaluate(
        """(url) => new Promise((resolve) => {
          const frame = document.createElement("iframe");
          frame.onload = resolve;
          frame.src = url;
          document.body.append(frame);
        })""",
        target.url,
    )
    frame = hostile.frames[-1]
    assert bool(frame.locator("gradio-app, [data-island]").count()) is not target.guarded


def test_script_and_image_in_a_page(hostile: Page, target: DoorPanel) -> None:
    loaded = hostile.evaluate(
        """(url) => Promise.all(["script", "img"].map((tag) => new Promise((resolve) => {
          const node = document.createElement(tag);
          node.onload = () => resolve(true);
          node.onerror = () => resolve(false);
          node.src = url + (tag === "img" ? "mark.svg" : "uPlot.iife.min.js");
          document.head.append(node);
        })))""",
        f"{target.url}static-pdpanel/",
    )
    assert loaded == [not target.guarded] * 2


def test_rebound_name(signed_in: BrowserContext, target: DoorPanel) -> None:
    run = target.deploy()
    page = signed_in.new_page()
    base = f"http://rebind.test:{target.port}/"
    response = page.goto(f"{base}api/runs")
    assert response is not None and response.status == (421 if target.guarded else 200)
    options = {"body": "{}", "headers": {"Content-Type": "application/json"}}
    answer = page.evaluate(FETCH, [f"{base}api/runs/{run}/stop", options])
    assert answer[1] == (421 if target.guarded else 202)
    assert target.is_stopped(run) is not target.guarded
    page.close()


JSON = {"Content-Type": "application/json"}
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def test_spoofed_host_and_origin(target: DoorPanel) -> None:
    evil = f"evil.test:{target.port}"
    answer = target.send("GET", "/gradio_api/info", {**BEARER, "Host": evil, "Origin": f"http://{evil}"})
    allowed = answer.headers.get("access-control-allow-origin")
    assert (answer.status, allowed) == ((421, None) if target.guarded else (200, f"http://{evil}"))


def test_spoofed_forwarding_headers(target: DoorPanel) -> None:
    """A page that a shared cache keeps would send everybody to the named host."""
    answer = target.send("GET", "/", {**BEARER, "X-Forwarded-Host": "evil.test", "X-Forwarded-Proto": "https"})
    assert answer.status == 200
    assert (b"https://evil.test" in answer.body) is not target.guarded


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer wrong"}, {"Cookie": f"pdpanel-1={TOKEN}"}, {"Cookie": "pdpanel=x"}],
    ids=["no token", "wrong token", "cookie of another port", "some cookie"],
)
def test_missing_token(target: DoorPanel, headers: dict[str, str]) -> None:
    run = target.deploy()
    assert target.send("GET", "/api/runs", headers).status == (401 if target.guarded else 200)
    target.send("POST", f"/api/runs/{run}/stop", {**headers, **JSON}, b"{}")
    assert target.is_stopped(run) is not target.guarded


GRADIO = {
    "call": ("POST", "/gradio_api/call/deploy", JSON, b'{"data": []}'),
    "queue": ("POST", "/gradio_api/queue/join", JSON, b'{"data": [], "fn_index": 0, "session_hash": "x"}'),
    "run": ("POST", "/gradio_api/run/predict", JSON, b'{"data": []}'),
    "upload": (
        "POST",
        "/gradio_api/upload",
        {"Content-Type": "multipart/form-data; boundary=b"},
        b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n\r\nx\r\n--b--\r\n',
    ),
    "file": ("GET", "/gradio_api/file=/etc/hostname", {}, None),
    "login": ("POST", "/login", JSON, b"{}"),
    "reset": ("POST", "/gradio_api/reset", JSON, b'{"event_id": "x"}'),
    "cancel": ("POST", "/gradio_api/cancel", JSON, b'{"session_hash": "x", "event_id": "x", "fn_index": 0}'),
    "config": ("GET", "/config", {}, None),
    "startup": ("GET", "/gradio_api/startup-events", {}, None),
}


@pytest.mark.parametrize("route", GRADIO)
def test_gradio_routes_are_closed_to_signed_in_people_too(target: DoorPanel, route: str) -> None:
    method, path, headers, body = GRADIO[route]
    answer = target.send(method, path, {**headers, **BEARER}, body)
    closed = (answer.status == 404 and b"no such address" in answer.body) or answer.status == 415
    assert closed is target.guarded, answer


def test_body_that_says_it_is_huge(target: DoorPanel) -> None:
    """The refusal comes before the body; without the guard the panel waits for all of it."""
    with socket.create_connection(("127.0.0.1", target.port), 20) as connection:
        head = f"POST /api/plan/preview HTTP/1.1\r\nHost: 127.0.0.1:{target.port}\r\nAuthorization: Bearer {TOKEN}\r\n"
        connection.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 5000000000\r\n\r\n{{".encode())
        connection.settimeout(20 if target.guarded else 1.5)
        try:
            status = connection.recv(4096).partition(b"\r\n")[0]
        except TimeoutError:
            status = b""
    assert (b" 413 " in status) is target.guarded


def test_body_that_does_not_say_it_is_huge(target: DoorPanel) -> None:
    with socket.create_connection(("127.0.0.1", target.port), 20) as connection:
        head = f"POST /api/runs HTTP/1.1\r\nHost: 127.0.0.1:{target.port}\r\nAuthorization: Bearer {TOKEN}\r\n"
        connection.sendall(f"{head}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
        try:
            for _ in range(160):
                connection.sendall(chunk)
            connection.sendall(b"0\r\n\r\n")
        except OSError:
            assert target.guarded
        connection.settimeout(20)
        status = connection.recv(4096).partition(b"\r\n")[0]
    assert (b" 413 " in status) is target.guarded, status


@pytest.mark.parametrize("path", ["//api/runs", "/api//runs", "/api/../api/runs", "/api/%2e%2e/api/runs", "/api\\runs"])
def test_odd_paths(targets: dict[str, DoorPanel], path: str) -> None:
    """No attack that is known: what layers could read in two ways is not passed on."""
    assert targets["with guard"].send("GET", path, BEARER).status == 400
    assert targets["without guard"].send("GET", path, BEARER).status != 400


def test_without_the_token_there_is_no_panel(chromium: Browser, panel: Any) -> None:
    context = chromium.new_context()
    page = context.new_page()
    response = page.goto(panel.url)
    assert response is not None and response.status == 401
    expect(page.locator("body")).to_contain_text("open the URL that the panel printed")
    context.close()


def test_token_leaves_the_address_bar_and_is_not_readable(open_page: Any, panel: Any) -> None:
    page: Page = open_page()
    assert page.url == panel.url
    assert page.evaluate("() => document.cookie") == ""
    (cookie,) = [one for one in page.context.cookies() if one.get("name") == f"pdpanel-{panel.port}"]
    assert (cookie.get("httpOnly"), cookie.get("sameSite")) == (True, "Strict")


def test_link_with_the_token_on_another_page_signs_in(chromium: Any, panel: Any, hostile_port: int) -> None:
    """Such as the printed URL clicked in a web terminal: the strict cookie must still arrive."""
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"http://evil.test:{hostile_port}/")
    page.evaluate("(url) => { location.href = url; }", panel.login_url)
    expect(page.get_by_role("heading", name="pdpanel")).to_be_visible(timeout=20_000)
    context.close()
