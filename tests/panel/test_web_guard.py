"""Each row of the attack table, as ASGI messages: what must not reach the application does not."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest
from pdpanel.panel.access.access import Access
from pdpanel.panel.web.guard import Guard

TOKEN = "s3cret-token"
PORT = 7860
ACCESS = Access.for_port(PORT, TOKEN)
OWN = f"127.0.0.1:{PORT}"
COOKIE = {"cookie": f"pdpanel-{PORT}={TOKEN}"}


class Probe:
    """An application that remembers whether it was reached."""

    def __init__(self) -> None:
        self.reached = 0

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        self.reached += 1
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-frame-options", b"OWN")]})
        await send({"type": "http.response.body", "body": b"in"})


def ask(
    headers: dict[str, str] | list[tuple[str, str]],
    *,
    kind: str = "http",
    method: str = "GET",
    path: str = "/",
    query: str = "",
    access: Access = ACCESS,
) -> tuple[int, list[MutableMapping[str, Any]]]:
    """Returns how often the application was reached and what was sent."""
    pairs = list(headers.items()) if isinstance(headers, dict) else headers
    if not any(name == "host" for name, _ in pairs):
        pairs = [("host", OWN), *pairs]
    scope: dict[str, Any] = {
        "type": kind,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in pairs],
    }
    if kind == "http":
        scope["method"] = method
    probe = Probe()
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": f"{kind}.connect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    asyncio.run(Guard(probe, access)(scope, receive, send))
    return probe.reached, sent


def status(sent: list[MutableMapping[str, Any]]) -> int:
    return sent[0]["status"]


def header(sent: list[MutableMapping[str, Any]], name: str) -> list[str]:
    return [value.decode() for key, value in sent[0]["headers"] if key == name.encode()]


STOP = "/api/runs/x/stop"
JSON = {"content-type": "application/json"}

ATTACKS = {
    "no-cors POST of another origin": (
        403,
        "POST",
        STOP,
        {
            **COOKIE,
            "origin": "http://evil.test",
            "content-type": "text/plain",
            "sec-fetch-site": "cross-site",
        },
    ),
    "POST of another port of this host": (
        403,
        "POST",
        STOP,
        {**COOKIE, **JSON, "origin": "http://127.0.0.1:9999", "sec-fetch-site": "same-site"},
    ),
    "the same without an Origin header": (
        403,
        "POST",
        STOP,
        {**COOKIE, **JSON, "sec-fetch-site": "same-site"},
    ),
    "POST of a sandboxed page": (403, "POST", STOP, {**COOKIE, **JSON, "origin": "null"}),
    "form POST navigation": (
        403,
        "POST",
        STOP,
        {
            **COOKIE,
            "content-type": "application/x-www-form-urlencoded",
            "sec-fetch-site": "cross-site",
            "sec-fetch-mode": "navigate",
            "sec-fetch-dest": "document",
        },
    ),
    "own form instead of JSON": (
        415,
        "POST",
        STOP,
        {**COOKIE, "content-type": "text/plain", "origin": f"http://{OWN}", "sec-fetch-site": "same-origin"},
    ),
    "POST without a content type": (415, "POST", STOP, {**COOKIE, "origin": f"http://{OWN}"}),
    "Gradio call of another port": (
        403,
        "POST",
        "/gradio_api/call/stop",
        {**COOKIE, **JSON, "origin": "http://localhost:9999", "sec-fetch-site": "same-site"},
    ),
    "multipart upload of another site": (
        403,
        "POST",
        "/gradio_api/upload",
        {**COOKIE, "content-type": "multipart/form-data; boundary=x", "origin": "http://evil.test"},
    ),
    "cross-site script": (
        403,
        "GET",
        "/static-pdpanel/main.js",
        {**COOKIE, "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "script"},
    ),
    "frame of another site": (
        403,
        "GET",
        "/",
        {**COOKIE, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"},
    ),
    "DNS rebinding GET": (421, "GET", "/", {**COOKIE, "host": f"rebind.test:{PORT}"}),
    "DNS rebinding POST": (
        421,
        "POST",
        STOP,
        {**COOKIE, **JSON, "host": f"rebind.test:{PORT}", "origin": f"http://rebind.test:{PORT}"},
    ),
    "own address on another port": (421, "GET", "/", {**COOKIE, "host": "127.0.0.1:9999"}),
    "host without a port": (421, "GET", "/", {**COOKIE, "host": "127.0.0.1"}),
    "cross-site link without a token": (
        401,
        "GET",
        "/",
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"},
    ),
    "no token": (401, "GET", "/api/runs", {}),
    "wrong cookie": (401, "GET", "/api/runs", {"cookie": f"pdpanel-{PORT}=nope"}),
    "cookie of another port": (401, "GET", "/api/runs", {"cookie": f"pdpanel-9999={TOKEN}"}),
    "wrong bearer": (401, "GET", "/api/runs", {"authorization": "Bearer nope"}),
    "basic instead of bearer": (401, "GET", "/api/runs", {"authorization": f"Basic {TOKEN}"}),
    "token with bytes beyond ASCII": (401, "GET", "/api/runs", {"authorization": "Bearer s3cret-tok\xe9n"}),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_attack_is_refused(attack: str) -> None:
    expected, method, path, headers = ATTACKS[attack]
    reached, sent = ask(headers, method=method, path=path)
    assert (reached, status(sent)) == (0, expected)
    assert header(sent, "set-cookie") == []
    assert header(sent, "access-control-allow-origin") == []


def test_two_host_headers_are_refused() -> None:
    reached, sent = ask([("host", OWN), ("host", "evil.test"), *COOKIE.items()])
    assert (reached, status(sent)) == (0, 421)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({**COOKIE, "origin": "http://evil.test"}, 4403),
        ({**COOKIE, "origin": "http://127.0.0.1:9999"}, 4403),
        ({**COOKIE, "sec-fetch-site": "cross-site"}, 4403),
        # A WebSocket is no navigation, whatever it says.
        (
            {
                **COOKIE,
                "sec-fetch-site": "cross-site",
                "sec-fetch-mode": "navigate",
                "sec-fetch-dest": "document",
            },
            4403,
        ),
        ({**COOKIE, "host": f"rebind.test:{PORT}"}, 4421),
        ({"origin": f"http://{OWN}"}, 4401),
    ],
)
def test_websocket_is_closed_before_it_is_accepted(headers: dict[str, str], code: int) -> None:
    reached, sent = ask(headers, kind="websocket", path="/api/live")
    assert reached == 0
    assert [(message["type"], message["code"]) for message in sent] == [("websocket.close", code)]


@pytest.mark.parametrize("host", [OWN, f"localhost:{PORT}", f"[::1]:{PORT}", f"LOCALHOST:{PORT}"])
def test_own_page_passes(host: str) -> None:
    headers = {"host": host, **COOKIE, "origin": f"http://{host}", "sec-fetch-site": "same-origin"}
    reached, sent = ask({**headers, **JSON}, method="POST", path=STOP)
    assert (reached, status(sent)) == (1, 200)
    reached, sent = ask(headers, kind="websocket", path="/api/live")
    assert (reached, sent[0]["type"]) == (1, "websocket.accept")


def test_bearer_passes_without_browser_headers() -> None:
    reached, _ = ask({"authorization": f"Bearer {TOKEN}"}, path="/api/runs")
    assert reached == 1


def test_cookie_of_another_site_beside_ours_does_not_lock_us_out() -> None:
    cookie = f'odd name="; {ACCESS.cookie}=forged; {ACCESS.cookie}={TOKEN}'
    reached, _ = ask({"cookie": cookie}, path="/api/runs")
    assert reached == 1


def test_token_in_the_url_becomes_a_cookie() -> None:
    reached, sent = ask({"sec-fetch-site": "none"}, query=f"view=2&token={TOKEN}", path="/page")
    assert (reached, status(sent)) == (0, 303)
    assert header(sent, "location") == ["./page?view=2"]
    assert header(sent, "set-cookie") == [f"pdpanel-{PORT}={TOKEN}; Path=/; HttpOnly; SameSite=Strict"]
    assert header(sent, "cache-control") == ["no-store"]


def test_token_from_a_link_of_another_site_is_taken_without_a_redirect() -> None:
    """A strict cookie does not travel on a redirect that another site began."""
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    reached, sent = ask(headers, query=f"token={TOKEN}&x=%22%3E%3Cscript%3E")
    assert (reached, status(sent)) == (0, 200)
    assert header(sent, "set-cookie")
    assert b"<script>" not in sent[1]["body"]


@pytest.mark.parametrize("path", ["/x/http:evil.test", "/@evil.test", "/x/", "/"])
def test_token_redirect_stays_on_this_host(path: str) -> None:
    _, sent = ask({}, query=f"token={TOKEN}", path=path)
    assert header(sent, "location") == ["./" + path.rpartition("/")[2]]


@pytest.mark.parametrize("path", ["//evil.test/", "/api//runs", "/api/../x", "/..", "/a\\b", "/a\x00", "/./api"])
def test_odd_paths_reach_nothing(path: str) -> None:
    reached, sent = ask(COOKIE, path=path, query=f"token={TOKEN}")
    assert (reached, status(sent)) == (0, 400)


def test_too_many_headers_reach_nothing() -> None:
    reached, sent = ask([*COOKIE.items(), *((f"x-{number}", "") for number in range(200))])
    assert (reached, status(sent)) == (0, 431)


@pytest.mark.parametrize("query", ["token=nope", f"token={TOKEN}&token=nope", "token="])
def test_wrong_token_in_the_url_is_refused(query: str) -> None:
    reached, sent = ask({}, query=query)
    assert (reached, status(sent)) == (0, 401)


def test_token_in_the_url_of_another_host_is_refused() -> None:
    reached, sent = ask({"host": f"rebind.test:{PORT}"}, query=f"token={TOKEN}")
    assert (reached, status(sent)) == (0, 421)
    assert header(sent, "set-cookie") == []


def test_every_answer_has_security_headers() -> None:
    for headers in ({}, COOKIE):
        _, sent = ask(headers)
        (policy,) = header(sent, "content-security-policy")
        assert "frame-ancestors 'none'" in policy
        assert f"connect-src 'self' ws://127.0.0.1:{PORT} ws://localhost:{PORT};" in policy
        assert header(sent, "x-content-type-options") == ["nosniff"]
        assert header(sent, "referrer-policy") == ["no-referrer"]
        assert header(sent, "cross-origin-resource-policy") == ["same-origin"]


def test_header_of_the_application_is_not_doubled() -> None:
    _, sent = ask(COOKIE)
    assert header(sent, "x-frame-options") == ["OWN"]


def test_further_host_is_exact() -> None:
    access = Access.for_port(PORT, TOKEN, ["panel.example"])
    assert ask({**COOKIE, "host": f"panel.example:{PORT}"}, access=access)[0] == 1
    assert ask({**COOKIE, "host": f"a.panel.example:{PORT}"}, access=access)[0] == 0


def test_port_80_needs_no_port_in_the_host() -> None:
    access = Access.for_port(80, TOKEN)
    assert ask({"host": "localhost", "cookie": f"pdpanel-80={TOKEN}"}, access=access)[0] == 1


def test_unknown_scope_is_refused() -> None:
    with pytest.raises(RuntimeError, match="unknown ASGI scope"):
        ask({}, kind="telepathy")
