"""Users instead of a token: login, sessions, passwords of API clients, and what a guesser meets."""

from __future__ import annotations

import asyncio
import base64
import re
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest
from asgi_client import Heard, Inner, ask
from pdpanel.panel.access.access import Access
from pdpanel.panel.access.password import hash_password
from pdpanel.panel.access.users import Users
from pdpanel.panel.web.guard import Guard
from pdpanel.panel.web.identity import Identity

PORT = 7860
HOST = f"panel.example:{PORT}"
ORIGIN = f"https://{HOST}"
FORM = {"host": HOST, "origin": ORIGIN, "content-type": "application/x-www-form-urlencoded"}
RIGHT = b"user=ann&password=correct+horse"
USERS = Users(MappingProxyType({"ann": hash_password("correct horse", n=2), "bob": hash_password("battery x", n=2)}))
ACCESS = replace(Access.for_port(PORT, "", ["panel.example"], secure=True), users=USERS)


class Panel:
    """A guard over a noted application, with a clock of its own."""

    def __init__(self, access: Access = ACCESS) -> None:
        self.now = 1000.0
        self.inner = Inner()
        self.guard = Guard(self.inner, access, Identity(access, lambda: self.now))

    def ask(self, path: str = "/", headers: Any = None, **options: Any) -> Heard:
        return asyncio.run(ask(self.guard, self.inner, path, {"host": HOST, **(headers or {})}, **options))

    def log_in(self, form: bytes = RIGHT, **options: Any) -> Heard:
        return self.ask("/login", FORM, method="POST", body=form, **options)

    def cookie(self) -> dict[str, str]:
        (line,) = self.log_in().header("set-cookie")
        return {"cookie": line.partition(";")[0]}


@pytest.fixture
def panel() -> Panel:
    return Panel()


def basic(user: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def test_page_sends_a_stranger_to_the_login(panel: Panel) -> None:
    heard = panel.ask("/")
    assert (heard.status, heard.header("location"), heard.seen) == (303, ["./login"], None)
    for path in ("/api/runs", "/static-pdpanel/main.js", "/metrics", "/gradio_api/info"):
        assert (panel.ask(path).status, panel.inner.seen) == (401, None)


def test_login_page_loads_nothing(panel: Panel) -> None:
    heard = panel.ask("/login")
    assert heard.status == 200
    assert heard.header("content-security-policy")[0].startswith("default-src 'none'")
    assert heard.header("referrer-policy") == ["same-origin"]
    assert not re.search(rb"<script|<link|<img|https?://", heard.body)


def test_login_opens_the_panel(panel: Panel) -> None:
    heard = panel.log_in()
    assert (heard.status, heard.header("location")) == (303, ["./"])
    (cookie,) = heard.header("set-cookie")
    assert re.fullmatch(rf"__Host-pdpanel-{PORT}=[\w-]{{43}}; Path=/; HttpOnly; SameSite=Strict; Secure", cookie)
    seen = panel.ask("/api/runs", {"cookie": cookie.partition(";")[0]}).seen
    assert seen is not None and seen["pdpanel.who"] == "user:ann"


@pytest.mark.parametrize(
    "form",
    [b"user=ann&password=wrong", b"user=eve&password=correct+horse", b"user=ann", b"", b"password=correct+horse"],
)
def test_wrong_password_opens_nothing(panel: Panel, form: bytes) -> None:
    heard = panel.log_in(form)
    assert (heard.status, heard.header("set-cookie")) == (401, [])
    assert b"User or password is wrong." in heard.body


def test_name_in_the_form_is_text(panel: Panel) -> None:
    body = panel.log_in(b"user=%22%3E%3Cscript%3Ealert(1)%3C/script%3E&password=x").body
    assert b"<script" not in body


@pytest.mark.parametrize(
    "change",
    [
        {"origin": "https://evil.test"},
        {"origin": "null"},
        {"origin": f"http://{HOST}"},
        {"sec-fetch-site": "cross-site"},
        {"content-type": "text/plain"},
    ],
)
def test_login_form_of_another_page_is_refused(panel: Panel, change: dict[str, str]) -> None:
    heard = panel.ask("/login", FORM | change, method="POST", body=RIGHT)
    assert (heard.status, heard.header("set-cookie")) == (403, [])


def test_login_form_without_an_origin_is_refused(panel: Panel) -> None:
    headers = {name: value for name, value in FORM.items() if name != "origin"}
    assert panel.ask("/login", headers, method="POST", body=RIGHT).status == 403


@pytest.mark.parametrize("body", [b"x" * 20_000, [b"x" * 5000] * 3, b"user=\xff", b"&".join([b"a=b"] * 50)])
def test_odd_form_is_refused(panel: Panel, body: Any) -> None:
    assert panel.log_in(body).status == 400


def test_logout_ends_the_session(panel: Panel) -> None:
    cookie = panel.cookie()
    assert panel.ask("/", cookie).status == 200
    heard = panel.ask("/logout", FORM | cookie, method="POST")
    assert (heard.status, heard.header("location")) == (303, ["./login"])
    assert "Max-Age=0" in heard.header("set-cookie")[0]
    assert panel.ask("/api/runs", cookie).status == 401


def test_session_ends_when_it_is_idle_and_when_it_is_old(panel: Panel) -> None:
    cookie = panel.cookie()
    panel.now += 12 * 3600 + 1
    assert panel.ask("/api/runs", cookie).status == 401
    cookie = panel.cookie()
    answers = []
    for _ in range(20):
        panel.now += 10 * 3600
        answers.append(panel.ask("/api/runs", cookie).status)
    assert answers == [200] * 16 + [401] * 4


@pytest.mark.parametrize("value", ["", "x", "__Host-pdpanel-1=x", f"__Host-pdpanel-{PORT}=", f"pdpanel-{PORT}=x"])
def test_made_up_session_is_none(panel: Panel, value: str) -> None:
    assert panel.ask("/api/runs", {"cookie": value}).status == 401


def test_open_socket_ends_with_its_session(panel: Panel) -> None:
    cookie = panel.cookie()
    heard = panel.ask("/api/live", cookie, kind="websocket", body=[b"one"])
    assert [message["type"] for message in heard.sent] == ["websocket.accept", "websocket.send"]
    echo = panel.inner

    async def logged_out(scope: Any, receive: Any, send: Any) -> None:
        panel.now += 13 * 3600
        await echo(scope, receive, send)

    panel.guard._app = logged_out
    heard = panel.ask("/api/live", cookie, kind="websocket", body=[b"one", b"two"])
    assert [message["type"] for message in heard.sent] == ["websocket.accept", "websocket.close"]
    assert heard.sent[1]["code"] == 4401


def test_socket_of_a_stranger_is_refused(panel: Panel) -> None:
    heard = panel.ask("/api/live", kind="websocket")
    assert [(message["type"], message["code"]) for message in heard.sent] == [("websocket.close", 4401)]


def test_api_client_sends_its_password(panel: Panel) -> None:
    for _ in range(3):
        seen = panel.ask("/api/runs", basic("bob", "battery x")).seen
        assert seen is not None and seen["pdpanel.who"] == "user:bob"
    for wrong in (basic("bob", "battery"), basic("", ""), {"authorization": "Basic %%%"}, {"authorization": "Basic"}):
        assert panel.ask("/api/runs", wrong).status == 401


def test_token_of_api_clients_beside_users() -> None:
    panel = Panel(replace(ACCESS, token="long-token"))
    assert panel.ask("/metrics", {"authorization": "Bearer long-token"}).status == 200
    assert panel.ask("/metrics", {"authorization": "Bearer "}).status == 401
    # It is no way into the page, whose address could be seen.
    assert panel.ask("/", query="token=long-token").status == 303


def test_empty_token_opens_nothing(panel: Panel) -> None:
    for headers in ({"authorization": "Bearer "}, {"authorization": "Bearer"}, {"cookie": f"__Host-pdpanel-{PORT}="}):
        assert panel.ask("/api/runs", headers).status == 401


def test_guesser_must_wait_and_the_right_one_must_not(panel: Panel) -> None:
    wrong = b"user=ann&password=guess"
    for _ in range(6):
        assert panel.log_in(wrong, peer="10.0.0.9").status == 401
    heard = panel.log_in(RIGHT, peer="10.0.0.9")
    assert heard.status == 429
    assert int(heard.header("retry-after")[0]) >= 1
    assert panel.ask("/api/runs", basic("ann", "correct horse"), peer="10.0.0.9").status == 429
    assert panel.log_in(RIGHT, peer="10.0.0.8").status == 303
    panel.now += 3600
    assert panel.log_in(RIGHT, peer="10.0.0.9").status == 303


def test_guessers_of_one_user_from_everywhere_must_wait(panel: Panel) -> None:
    answers = [panel.log_in(b"user=ann&password=guess", peer=f"10.0.1.{number}").status for number in range(40)]
    assert answers[:31] == [401] * 31
    assert answers[31:] == [429] * 9
    assert panel.log_in(b"user=bob&password=battery+x", peer="10.0.2.1").status == 303


def test_headers_of_tls(panel: Panel) -> None:
    heard = panel.ask("/login")
    assert heard.header("strict-transport-security") == ["max-age=86400"]
    assert f"wss://{HOST}" in panel.ask("/", panel.cookie()).header("content-security-policy")[0]
    plain = Panel(Access.for_port(PORT, "t"))
    assert plain.ask("/", {"host": f"127.0.0.1:{PORT}"}).header("strict-transport-security") == []
