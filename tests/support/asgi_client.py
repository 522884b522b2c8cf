"""Asks an ASGI application one thing after another, as the guard's tests need it: any header, any peer, no server."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any


@dataclass
class Heard:
    """What an application answered.

    Attributes:
        seen: the scope that the inner application was given; None when it was not reached.
    """

    sent: list[MutableMapping[str, Any]] = field(default_factory=list)
    seen: MutableMapping[str, Any] | None = None

    @property
    def status(self) -> int:
        return self.sent[0]["status"]

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent[1:])

    def header(self, name: str) -> list[str]:
        return [value.decode() for key, value in self.sent[0]["headers"] if key == name.encode()]


class Inner:
    """An application that notes its scope and reads the whole body."""

    def __init__(self) -> None:
        self.seen: MutableMapping[str, Any] | None = None
        self.body = b""

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        self.seen = scope
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            while (message := await receive())["type"] == "websocket.receive":
                await send({"type": "websocket.send", "text": message["text"]})
            return
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            self.body += message.get("body", b"")
            if not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"in"})


async def ask(
    app: Any,
    inner: Inner,
    path: str = "/",
    headers: Mapping[str, str] = MappingProxyType({}),
    *,
    method: str = "GET",
    kind: str = "http",
    body: bytes | list[bytes] = b"",
    query: str = "",
    peer: str = "127.0.0.1",
) -> Heard:
    """Returns the answer; a list of bodies comes in that many parts, a WebSocket gets them as texts."""
    scope: dict[str, Any] = {
        "type": kind,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()],
        "client": (peer, 50000),
        "scheme": "http" if kind == "http" else "ws",
    }
    if kind == "http":
        scope["method"] = method
    parts = [body] if isinstance(body, bytes) else body
    if kind == "http":
        messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": part, "more_body": number + 1 < len(parts)}
            for number, part in enumerate(parts)
        ]
    else:
        messages = [{"type": "websocket.connect"}, *({"type": "websocket.receive", "text": p.decode()} for p in parts)]
    waiting = iter(messages)
    heard = Heard()
    inner.seen = None

    async def receive() -> MutableMapping[str, Any]:
        return next(waiting, {"type": "http.disconnect" if kind == "http" else "websocket.disconnect"})

    async def send(message: MutableMapping[str, Any]) -> None:
        heard.sent.append(message)

    await app(scope, receive, send)
    heard.seen = inner.seen
    return heard
