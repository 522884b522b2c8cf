"""Hostile pages beside a signed-in panel in one browser: another port, another name, a rebound name."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
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
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join(10)
    server.server_close()


@pytest.fixture(params=["127.0.0.1", "localhost", "evil.test"])
def hostile(request: pytest.FixtureRequest, signed_in: BrowserContext, hostile_port: int) -> Iterator[Page]:
    """A hostile page in the profile of a person who is signed in."""
    page = signed_in.new_page()
    page.goto(f"http://{request.param}:{hostile_port}/")
    yield page
    page.close()


@pytest.fixture(scope="module")
def signed_in(chromium: Browser, panel: Any) -> Iterator[BrowserContext]:
    context = chromium.new_context()
    assert context.request.get(panel.login_url).ok
    assert context.request.get(f"{panel.url}api/runs").ok
    yield context
    context.close()


def is_untouched(panel: Any, run_id: str) -> bool:
    return all(each["state"] in ("starting", "ready") for each in panel.run(run_id)["processes"])


FETCH = """async ([url, options]) => {
  try {
    const answer = await fetch(url, { method: "POST", credentials: "include", ...options });
    return [answer.type, answer.status, await answer.text()];
  } catch (error) {
    return ["refused", 0, ""];
  }
}"""


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "no-cors", "body": "{}"},
        {"mode": "no-cors", "body": "{}", "headers": {"Content-Type": "text/plain"}},
        {"body": "{}", "headers": {"Content-Type": "text/plain"}},
        {"body": "{}", "headers": {"Content-Type": "application/json"}},
    ],
)
def test_foreign_post_does_nothing(hostile: Page, panel: Any, run_id: str, options: dict[str, object]) -> None:
    answer = hostile.evaluate(FETCH, [f"{panel.url}api/runs/{run_id}/stop", options])
    assert answer[0] in ("refused", "opaque")
    assert answer[2] == ""
    assert is_untouched(panel, run_id)


def test_foreign_gradio_call_is_refused(hostile: Page, panel: Any) -> None:
    options = {"body": '{"data": []}', "headers": {"Content-Type": "application/json"}}
    assert hostile.evaluate(FETCH, [f"{panel.url}gradio_api/call/x", options])[0] == "refused"


def test_foreign_form_is_refused(hostile: Page, panel: Any, run_id: str) -> None:
    with hostile.expect_navigation() as navigation:
        hostile.evaluate(
            """(url) => {
              const form = document.createElement("form");
              form.method = "post";
              form.action = url;
              document.body.append(form);
              form.submit();
            }""",
            f"{panel.url}api/runs/{run_id}/stop",
        )
    response = navigation.value
    assert response is not None and response.status == 403
    assert is_untouched(panel, run_id)


@pytest.mark.parametrize("path", ["api/live", "api/log?run=demo-1&process=router", "gradio_api/queue"])
def test_foreign_websocket_is_refused(hostile: Page, panel: Any, path: str) -> None:
    url = panel.url.replace("http:", "ws:") + path
    heard = hostile.evaluate(
        """(url) => new Promise((resolve) => {
          const socket = new WebSocket(url);
          socket.onopen = () => resolve("open");
          socket.onmessage = () => resolve("message");
          socket.onclose = () => resolve("closed");
        })""",
        url,
    )
    assert heard == "closed"


def test_foreign_frame_stays_empty(hostile: Page, panel: Any) -> None:
    hostile.evaluate(
        """(url) => new Promise((resolve) => {
          const frame = document.createElement("iframe");
          frame.onload = resolve;
          frame.src = url;
          document.body.append(frame);
        })""",
        panel.url,
    )
    frame = hostile.frames[-1]
    assert frame.locator("[data-island], gradio-app").count() == 0


def test_foreign_script_and_image_are_refused(hostile: Page, panel: Any) -> None:
    loaded = hostile.evaluate(
        """(url) => Promise.all(["script", "img"].map((tag) => new Promise((resolve) => {
          const node = document.createElement(tag);
          node.onload = () => resolve(true);
          node.onerror = () => resolve(false);
          node.src = url + (tag === "img" ? "mark.svg" : "uPlot.iife.min.js");
          document.head.append(node);
        })))""",
        f"{panel.url}static-pdpanel/",
    )
    assert loaded == [False, False]


def test_rebound_name_is_refused(signed_in: BrowserContext, panel: Any, run_id: str) -> None:
    page = signed_in.new_page()
    base = f"http://rebind.test:{panel.port}/"
    response = page.goto(base)
    assert response is not None and response.status == 421
    answer = page.evaluate(
        FETCH,
        [f"{base}api/runs/{run_id}/stop", {"body": "{}", "headers": {"Content-Type": "application/json"}}],
    )
    assert answer[1] == 421
    assert is_untouched(panel, run_id)


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
