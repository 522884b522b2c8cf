"""Puts a script of ours into the page that Gradio serves, so that it runs before Gradio's own.

What `layout.HEAD` names is put into the page by Gradio's scripts, and is too late for what they take hold of when they
are loaded. Called by `app`; a page that looks otherwise than expected goes through as it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

__all__ = ["EarlyScript"]

Message = MutableMapping[str, Any]
App = Callable[[MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Any]

_BEFORE = b"</head>"


class EarlyScript:
    """ASGI middleware around Gradio's application.

    Args:
        app: serves the page at "/".
        address: of the script, relative to the page.
    """

    def __init__(self, app: App, address: str) -> None:
        self._app = app
        self._tag = f'<script src="{address}"></script>'.encode()

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Serves the page with the script, and everything else as it is."""
        if scope["type"] != "http" or (scope["path"] or "/") != "/" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        # What is compressed could not be changed; whoever stands around us may compress it.
        plain = [header for header in scope["headers"] if header[0] != b"accept-encoding"]
        start: Message = {}
        body = bytearray()

        async def take(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                return
            body.extend(message.get("body", b""))
            if message.get("more_body", False):
                return
            page = bytes(body).replace(_BEFORE, self._tag + _BEFORE, 1) if start.get("status") == 200 else bytes(body)
            length = (b"content-length", str(len(page)).encode())
            others = [header for header in start["headers"] if header[0].lower() != b"content-length"]
            await send({**start, "headers": [*others, length]})
            await send({"type": "http.response.body", "body": page})

        await self._app({**scope, "headers": plain}, receive, take)
