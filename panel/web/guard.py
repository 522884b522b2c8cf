"""The outermost ASGI layer of the panel: who may talk to it at all.

The panel starts processes, so every page that the person's browser has open is a possible attacker. The guard looks
at each HTTP request and WebSocket before anything else does: where it comes from (`arrival`), whether its headers are
ours (`request_rules`), and who sends it (`identity`, 401). It knows nothing of routes but the login, and nothing of
Gradio. `app.build_app` puts it around everything.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from html import escape
from typing import Any
from urllib.parse import parse_qsl, urlencode

from ..access.access import Access
from ..access.tickets import Tickets
from .arrival import arrive
from .identity import Identity, Shut, header_values, same_secret
from .limits import BodyLimit, body_limit_of
from .login import LOGIN_HEADERS, log_in, login_page
from .request_rules import LOGIN, LOGOUT, Refusal, check
from .security_headers import security_headers
from .sign_in_trail import SignInTrail

__all__ = ["Access", "App", "Guard", "Refusal", "check"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = Iterable[tuple[bytes, bytes]]

_HTML = b"text/html; charset=utf-8"
_JSON = b"application/json"
_TICKETS = "/api/tickets"
_NO_TOKEN = Refusal(401, "The token is missing or no longer valid; open the URL that the panel printed.")
_NO_USER = Refusal(401, "Sign in first: open the panel in a browser, or send a user and a password.")


class Guard:
    """ASGI middleware: passes on what the rules let through, with security headers on every answer.

    What it found out is in the scope: "pdpanel.who" ("token" or "user:NAME") and "pdpanel.address".
    """

    def __init__(
        self, app: App, access: Access, identity: Identity | None = None, trail: SignInTrail | None = None
    ) -> None:
        self._app = app
        self._trail = trail or SignInTrail(None)
        self._access = access
        self._identity = identity or Identity(access)
        self._tickets = Tickets()
        self._headers = security_headers(access)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one ASGI connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] not in ("http", "websocket"):
            raise RuntimeError(f"unknown ASGI scope {scope['type']!r}")
        scope, refusal = arrive(scope, self._access)
        refusal = refusal or check(scope, self._access)
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send, refusal)
        elif refusal is not None:
            await self._answer(send, refusal.status, refusal.reason)
        else:
            await self._http(scope, receive, send)

    async def _socket(self, scope: Scope, receive: Receive, send: Send, refusal: Refusal | None) -> None:
        headers = scope["headers"]
        if refusal is None:
            scope["pdpanel.who"], refusal = await self._who(scope)
        if refusal is not None:
            await receive()
            await send({"type": "websocket.close", "code": 4000 + refusal.status, "reason": refusal.reason})
            return
        if not self._access.users or self._identity.at_once(headers) is None:
            # By the panel's token, or by a password that was sent with it: nothing that could end.
            await self._app(scope, receive, send)
            return
        shut = False

        async def send_signed_in(message: Message) -> None:
            # A page keeps its socket for days: it counts as use of the session, and ends with it.
            nonlocal shut
            if shut:
                return
            if message["type"] == "websocket.send" and self._identity.at_once(headers) is None:
                shut = True
                message = {"type": "websocket.close", "code": 4401, "reason": _NO_USER.reason}
            await send(message)

        await self._app(scope, receive, send_signed_in)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, users = scope["path"], self._access.users
        if path == self._access.root_path and path and scope["method"] in ("GET", "HEAD"):
            await self._answer(send, 308, "", [(b"location", f"{path}/".encode())])
            return
        if users and path == LOGIN:
            await self._login(scope, receive, send)
            return
        if not users and await self._take_token(scope, send):
            return
        who, refusal = await self._who(scope)
        if users and path == LOGOUT and scope["method"] == "POST":
            cookie = self._identity.end(scope["headers"]).encode()
            if who:
                await self._trail.signed_out(who, scope["pdpanel.address"])
            await self._answer(send, 303, "", [(b"location", b"./login"), (b"set-cookie", cookie)])
            return
        if refusal is not None:
            if users and path == "/" and refusal.status == 401 and scope["method"] == "GET":
                await self._answer(send, 303, "", [(b"location", b"./login")])
                return
            retry = [(b"retry-after", b"60")] if refusal.status == 429 else []
            await self._answer(send, refusal.status, refusal.reason, retry)
            return
        if path == _TICKETS and scope["method"] == "POST" and not users:
            await self._answer(send, 200, json.dumps({"ticket": self._tickets.make(time.monotonic())}), kind=_JSON)
            return
        scope["pdpanel.who"] = who
        await self._pass_on(scope, receive, send)

    async def _who(self, scope: Scope) -> tuple[str, Refusal | None]:
        who = self._identity.at_once(scope["headers"])
        if who is not None:
            return who, None
        found = await self._identity.by_password(scope["headers"], scope["pdpanel.address"])
        user = self._identity.named(scope["headers"])
        if user is not None and not isinstance(found, str):
            why = "too many wrong passwords" if isinstance(found, Shut) else "wrong password"
            await self._trail.failed(user, scope["pdpanel.address"], why)
        if isinstance(found, Shut):
            return "", Refusal(429, "Too many wrong passwords; try again in a minute.")
        if found is not None:
            return found, None
        return "", _NO_USER if self._access.users else _NO_TOKEN

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = body_limit_of(scope["headers"])
        lengths = header_values(scope["headers"], b"content-length")
        if any(not length.isdigit() or len(length) > 15 or int(length) > limit for length in lengths):
            await self._answer(send, 413, "The request is too large.", [(b"connection", b"close")])
            return
        body = BodyLimit(receive, limit)
        begun = False

        async def send_secured(message: Message) -> None:
            nonlocal begun
            if body.broken and not begun:
                # Whatever the application says of a client that "went away" is not what happened.
                return
            if message["type"] == "http.response.start":
                begun = True
                given = list(message.get("headers", ()))
                present = {key.lower() for key, _ in given}
                message = {**message, "headers": given + [pair for pair in self._headers if pair[0] not in present]}
            await send(message)

        try:
            await self._app(scope, body, send_secured)
        finally:
            if body.broken and not begun:
                text = "The request is too large." if body.broken == 413 else "The request took too long to arrive."
                await self._answer(send, body.broken, text, [(b"connection", b"close")])

    async def _login(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A form's address is relative, since only the browser knows what lies before it.
        action = "./login"
        if scope["method"] == "POST":
            answer = await log_in(self._identity, receive, scope["pdpanel.address"], action)
            if answer.cookie:
                await self._trail.signed_in(f"user:{answer.user}", scope["pdpanel.address"])
                headers = [(b"location", b"./"), (b"set-cookie", answer.cookie.encode())]
                await self._answer(send, 303, "", headers)
                return
            if answer.status in (401, 429):
                why = "wrong password" if answer.status == 401 else "too many wrong passwords"
                await self._trail.failed(answer.user, scope["pdpanel.address"], why)
            retry = [(b"retry-after", str(max(1, round(answer.wait_s))).encode())] if answer.wait_s else []
            await self._answer(send, answer.status, answer.page, [*LOGIN_HEADERS, *retry], _HTML)
            return
        await self._answer(send, 200, login_page(action), LOGIN_HEADERS, _HTML)

    async def _take_token(self, scope: Scope, send: Send) -> bool:
        """Turns `?token=` or `?ticket=` of a page load into a cookie; sends the browser to the page without it."""
        if scope["method"] != "GET":
            return False
        query = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        given = [(key, value) for key, value in query if key in ("token", "ticket")]
        if len(given) != 1:
            return False
        key, value = given[0]
        # A frame that is loaded anew has used its ticket and has the cookie: it goes on without either.
        is_ticket = key == "ticket"
        right = self._tickets.take(value, time.monotonic()) if is_ticket else same_secret(value, self._access.token)
        if not is_ticket and right:
            await self._trail.signed_in("token", scope["pdpanel.address"])
        if not right and not is_ticket:
            await self._trail.failed("", scope["pdpanel.address"], "wrong token")
            return False
        rest = urlencode([pair for pair in query if pair[0] != key])
        # Relative to the page's own address, whatever a proxy has before it; "./" keeps it from being another host.
        page = "./" + scope.get("raw_path", scope["path"].encode()).decode("latin-1").rpartition("/")[2]
        location = f"{page}?{rest}" if rest else page
        headers = [(b"set-cookie", self._access.set_cookie(self._access.token).encode())] if right else []
        if header_values(scope["headers"], b"sec-fetch-site") in ([], ["none"], ["same-origin"]):
            await self._answer(send, 303, "", [(b"location", location.encode("latin-1")), *headers])
        else:
            # A redirect that another site's link began would not carry the strict cookie; a refresh of ours does.
            page = f'<!doctype html><meta http-equiv="refresh" content="0;url={escape(location)}">'
            await self._answer(send, 200, page, headers, kind=_HTML)
        return True

    async def _answer(
        self,
        send: Send,
        status: int,
        text: str,
        headers: Headers = (),
        kind: bytes = b"text/plain; charset=utf-8",
    ) -> None:
        body = f"{text}\n".encode() if text else b""
        own = list(headers)
        present = {key for key, _ in own}
        fixed = [
            (b"content-type", kind),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
        ]
        rest = [pair for pair in self._headers if pair[0] not in present]
        await send({"type": "http.response.start", "status": status, "headers": [*fixed, *own, *rest]})
        await send({"type": "http.response.body", "body": body})
