"""The outermost ASGI layer of the panel: who may talk to it at all.

The panel starts processes, so every page that the person's browser has open is a possible attacker. The guard
looks at each HTTP request and WebSocket before anything else does, in this order: Host (421), Origin (403),
Sec-Fetch-Site (403), JSON or raw bytes for actions (415), token (401). It knows nothing of routes but the prefix of our
API, and nothing of Gradio. `app.build_app` puts it around everything.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import parse_qsl, urlencode

__all__ = ["SECURITY_HEADERS", "Access", "Guard", "Refusal", "check"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
# Neither can be sent by a page of another origin unless we allow it to: a browser asks first, and is refused.
_ACTION_TYPES = ("application/json", "application/octet-stream")
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

# 'unsafe-inline' and 'unsafe-eval' are Gradio's needs; everything else stays on our own origin.
_CSP = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' blob:; worker-src 'self' blob:; "
    "connect-src 'self' {sockets}; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)

SECURITY_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-frame-options", b"DENY"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)


@dataclass(frozen=True, slots=True)
class Access:
    """Who may talk to this panel.

    Attributes:
        hosts: exact values of the Host header, with the port where the browser sends one.
        origins: exact values of the Origin header.
        token: the secret of the printed URL.
        cookie: the cookie's name; it holds the port, since all ports of a host share their cookies.
    """

    hosts: frozenset[str]
    origins: frozenset[str]
    token: str
    cookie: str

    @classmethod
    def for_port(cls, port: int, token: str, names: Iterable[str] = ()) -> Access:
        """Returns the access of a panel on `port`, reachable by loopback and by the exact host `names`."""
        hosts = {f"{name.lower()}:{port}" for name in (*_LOOPBACK, *names)}
        if port == 80:
            hosts |= {host.removesuffix(":80") for host in hosts}
        return cls(
            hosts=frozenset(hosts),
            origins=frozenset(f"http://{host}" for host in hosts),
            token=token,
            cookie=f"pdpanel-{port}",
        )


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not served; `status` is HTTP's, a WebSocket is closed with 4000 + status."""

    status: int
    reason: str


def _values(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in headers if key.lower() == name]


def _same(given: str, token: str) -> bool:
    return secrets.compare_digest(given.encode("utf-8", "surrogateescape"), token.encode())


def _has_token(headers: Iterable[tuple[bytes, bytes]], access: Access) -> bool:
    headers = list(headers)
    for value in _values(headers, b"authorization"):
        scheme, _, given = value.partition(" ")
        if scheme.lower() == "bearer" and _same(given.strip(), access.token):
            return True
    for line in _values(headers, b"cookie"):
        for pair in line.split(";"):
            name, _, given = pair.strip().partition("=")
            if name == access.cookie and _same(given, access.token):
                return True
    return False


def check(scope: Scope, access: Access) -> Refusal | None:
    """Returns why the request or WebSocket of `scope` is refused, or None when it may pass; pure."""
    headers = list(scope["headers"])
    hosts = _values(headers, b"host")
    if len(hosts) != 1 or hosts[0].lower() not in access.hosts:
        return Refusal(421, "The panel does not answer to this host name; open the URL that it printed.")
    origins = _values(headers, b"origin")
    if any(origin.lower() not in access.origins for origin in origins):
        return Refusal(403, "A page of another origin may not use the panel.")
    is_http = scope["type"] == "http"
    method = scope.get("method", "GET")
    sites = _values(headers, b"sec-fetch-site")
    if any(site not in ("same-origin", "none") for site in sites):
        opens_page = (
            is_http
            and method == "GET"
            and _values(headers, b"sec-fetch-mode") == ["navigate"]
            and _values(headers, b"sec-fetch-dest") == ["document"]
        )
        if not opens_page:
            return Refusal(403, "A page of another site may not use the panel.")
    if is_http and method not in _SAFE_METHODS and scope["path"].startswith("/api/"):
        kinds = [value.partition(";")[0].strip().lower() for value in _values(headers, b"content-type")]
        if len(kinds) != 1 or kinds[0] not in _ACTION_TYPES:
            return Refusal(415, "Actions take Content-Type: application/json, and files application/octet-stream.")
    if not _has_token(headers, access):
        return Refusal(401, "The token is missing or no longer valid; open the URL that the panel printed.")
    return None


class Guard:
    """ASGI middleware: passes on what `check` lets through, with security headers on every answer."""

    def __init__(self, app: App, access: Access) -> None:
        self._app = app
        self._access = access
        # CSP has no way to write an IPv6 address; browsers of today take 'self' for WebSockets too.
        sockets = " ".join(sorted(f"ws://{host}" for host in access.hosts if not host.startswith("[")))
        policy = _CSP.format(sockets=sockets).encode()
        self._headers = [*SECURITY_HEADERS, (b"content-security-policy", policy)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one ASGI connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] not in ("http", "websocket"):
            raise RuntimeError(f"unknown ASGI scope {scope['type']!r}")
        refusal = check(scope, self._access)
        if scope["type"] == "websocket":
            if refusal is None:
                await self._app(scope, receive, send)
            else:
                await receive()
                await send({"type": "websocket.close", "code": 4000 + refusal.status, "reason": refusal.reason})
            return
        if (refusal is None or refusal.status == 401) and await self._take_token(scope, send):
            return
        if refusal is not None:
            await self._answer(send, refusal.status, refusal.reason)
            return

        async def send_secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", ()))
                present = {key.lower() for key, _ in given}
                message = {
                    **message,
                    "headers": given + [pair for pair in self._headers if pair[0] not in present],
                }
            await send(message)

        await self._app(scope, receive, send_secured)

    async def _take_token(self, scope: Scope, send: Send) -> bool:
        """Turns `?token=` of a page load into a cookie and sends the browser to the same page without it."""
        if scope["method"] != "GET":
            return False
        query = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        tokens = [value for key, value in query if key == "token"]
        if len(tokens) != 1 or not _same(tokens[0], self._access.token):
            return False
        rest = urlencode([(key, value) for key, value in query if key != "token"])
        # A path that begins with two slashes would be another host.
        path = "/" + scope.get("raw_path", scope["path"].encode()).decode("latin-1").lstrip("/")
        location = f"{path}?{rest}" if rest else path
        cookie = f"{self._access.cookie}={self._access.token}; Path=/; HttpOnly; SameSite=Strict"
        headers = [(b"set-cookie", cookie.encode())]
        if _values(scope["headers"], b"sec-fetch-site") in ([], ["none"], ["same-origin"]):
            await self._answer(send, 303, "", [(b"location", location.encode("latin-1")), *headers])
        else:
            # A redirect that another site's link began would not carry the strict cookie; a refresh of ours
            # does.
            page = f'<!doctype html><meta http-equiv="refresh" content="0;url={escape(location)}">'
            await self._answer(send, 200, page, headers, kind=b"text/html; charset=utf-8")
        return True

    async def _answer(
        self,
        send: Send,
        status: int,
        text: str,
        headers: Iterable[tuple[bytes, bytes]] = (),
        kind: bytes = b"text/plain; charset=utf-8",
    ) -> None:
        body = f"{text}\n".encode() if text else b""
        fixed = [
            (b"content-type", kind),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
        ]
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [*fixed, *headers, *self._headers],
            }
        )
        await send({"type": "http.response.body", "body": body})
