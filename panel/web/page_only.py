"""What of Gradio's own application is open: the page and its files, read-only.

No event of our page runs Python, so calls, queues, uploads, proxies, logins and monitoring of Gradio have no use here
and are closed, also for a person who is signed in. Our own routes lie before it and never pass here. Called by `app`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.responses import PlainTextResponse

__all__ = ["PageOnly"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_PAGES = frozenset({"/", "/theme.css", "/favicon.ico", "/robots.txt"})
_FOLDERS = ("/assets/", "/static/", "/svelte/")


class PageOnly:
    """ASGI middleware around Gradio's application."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves the page and its files; anything else is not there."""
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 4404, "reason": "The panel has no such address."})
            return
        path = scope["path"] or "/"
        is_open = path in _PAGES or path.startswith(_FOLDERS)
        if scope["type"] == "http" and not (is_open and scope["method"] in ("GET", "HEAD")):
            await PlainTextResponse("The panel has no such address.\n", 404)(scope, receive, send)
            return
        await self._app(scope, receive, send)
