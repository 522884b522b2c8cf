"""One-use keys at the guard: who gets one, what it is good for, and that it opens nothing twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import MutableMapping
from typing import Any

import pytest
from pdpanel.panel.access.access import Access
from pdpanel.panel.access.door import access_of, read_door
from pdpanel.panel.access.password import hash_password
from pdpanel.panel.web.guard import Guard

TOKEN = "s3cret-token"
HOST = "127.0.0.1:7860"
ACCESS = Access.for_port(7860, TOKEN)
BEARER = {"authorization": f"Bearer {TOKEN}"}
JSON = {"content-type": "application/json"}


class Panel:
    """A guard with an application behind it that says "in"."""

    def __init__(self, access: Access = ACCESS) -> None:
        self.guard = Guard(self._app, access)

    async def _app(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"in"})

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None, query: str = "") -> tuple[int, Any]:
        given = {"host": HOST, **(headers or {})}
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        }
        sent: list[MutableMapping[str, Any]] = []

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.request", "body": b"{}"}

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        asyncio.run(self.guard(scope, receive, send))
        headers_back = {key.decode(): value.decode() for key, value in sent[0]["headers"]}
        return sent[0]["status"], {"headers": headers_back, "body": sent[1]["body"].decode()}

    def ticket(self) -> str:
        status, answer = self.ask("POST", "/api/tickets", BEARER | JSON)
        assert status == 200
        return json.loads(answer["body"])["ticket"]


def test_a_ticket_becomes_the_cookie_once() -> None:
    panel = Panel()
    ticket = panel.ticket()
    status, answer = panel.ask("GET", "/", query=f"ticket={ticket}&x=1")
    assert (status, answer["headers"]["location"]) == (303, "./?x=1")
    assert answer["headers"]["set-cookie"].startswith(f"pdpanel-7860={TOKEN};")
    status, answer = panel.ask("GET", "/", query=f"ticket={ticket}")
    assert (status, answer["headers"]["location"]) == (303, "./")
    assert "set-cookie" not in answer["headers"]
    assert panel.ask("GET", "/")[0] == 401


def test_a_frame_that_is_loaded_again_goes_on_with_its_cookie() -> None:
    panel = Panel()
    used = panel.ticket()
    panel.ask("GET", "/", query=f"ticket={used}")
    cookie = {"cookie": f"pdpanel-7860={TOKEN}"}
    assert panel.ask("GET", "/", cookie, query=f"ticket={used}")[1]["headers"]["location"] == "./"
    assert panel.ask("GET", "/", cookie)[0] == 200


def test_a_notebooks_page_gets_a_refresh_that_carries_the_cookie() -> None:
    access = access_of(read_door("127.0.0.1", frames=["http://localhost:8888"]), "127.0.0.1", 7860, TOKEN)
    panel = Panel(access)
    framed = {"sec-fetch-site": "same-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}
    status, answer = panel.ask("GET", "/", framed, query=f"ticket={panel.ticket()}")
    assert status == 200 and "set-cookie" in answer["headers"]
    assert 'content="0;url=./"' in answer["body"]
    assert "frame-ancestors http://localhost:8888" in answer["headers"]["content-security-policy"]
    assert "x-frame-options" not in answer["headers"]


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("POST", JSON, 401),
        ("POST", BEARER, 415),
        ("POST", JSON | BEARER | {"origin": "http://evil.test"}, 403),
        ("POST", JSON | BEARER | {"sec-fetch-site": "same-site"}, 403),
        ("GET", BEARER, 200),
    ],
)
def test_others_get_no_ticket(method: str, headers: dict[str, str], status: int) -> None:
    got, answer = Panel().ask(method, "/api/tickets", headers)
    assert got == status and "ticket" not in answer["body"].replace("tickets", "")


@pytest.mark.parametrize("query", ["ticket=guess", "ticket=", "ticket=a&ticket=b", f"ticket=a&token={TOKEN}"])
def test_a_wrong_ticket_opens_nothing(query: str) -> None:
    status, answer = Panel().ask("GET", "/", query=query)
    assert "set-cookie" not in answer["headers"] and status in (303, 401)
    assert answer["body"] != "in"


def test_with_users_there_are_no_tickets() -> None:
    users = read_door("127.0.0.1", auth=[f"ann:{hash_password('correct horse', n=2).text()}"])
    panel = Panel(access_of(users, "127.0.0.1", 7860, TOKEN))
    assert panel.ask("POST", "/api/tickets", BEARER | JSON)[1]["body"] == "in"
    assert "set-cookie" not in panel.ask("GET", "/", query="ticket=x")[1]["headers"]
