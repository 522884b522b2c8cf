"""Writes every action of the REST API to the audit log, whatever became of it.

One place inside the guard, so that a new route is covered before anybody thinks of it: all requests that are no reads
count, but for those of `_ASKS_ONLY`, which change nothing. Called by `app`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ..audit import Audit, Entry
from .request_rules import SAFE_METHODS

__all__ = ["AuditTrail"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# Questions whose body is too long for an address.
_ASKS_ONLY = frozenset(
    {
        f"/api/plan/{name}"
        for name in ("start-text", "preview", "diff", "lint", "import", "offer", "export", "export.zip")
    }
    | {"/api/hardware/inspect", "/api/deploy/check", "/api/loads/commands"}
)


def _asks_only(path: str) -> bool:
    return path in _ASKS_ONLY or path.endswith("/scale/preview")


def _action(scope: Scope) -> str:
    path = scope["path"].removeprefix("/api/")
    values = scope.get("path_params") or {}
    # The route's own words: "runs/{run_id}/stop".
    parts = [f"{{{name}}}" for name in values]
    for name, part in zip(values, parts, strict=True):
        value = str(values[name])
        if name != "action" and value:
            path = path.replace(value, part, 1)
    return f"{scope['method']} {path}" if scope["method"] != "POST" else path


class AuditTrail:
    """ASGI middleware; the guard before it says who asks."""

    def __init__(self, app: App, audit: Audit) -> None:
        self._app = app
        self._audit = audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection, and writes an entry after an action."""
        if scope["type"] != "http" or scope["method"] in SAFE_METHODS or _asks_only(scope["path"]):
            await self._app(scope, receive, send)
            return
        status = 0

        async def send_seen(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_seen)
        finally:
            outcome = "done" if 200 <= status < 400 else f"refused with status {status}" if status else "broken off"
            values = scope.get("path_params") or {}
            subject = " ".join(str(value) for name, value in values.items() if name != "action")
            entry = Entry(
                at=time.time(),
                who=str(scope.get("pdpanel.who", "")),
                address=str(scope.get("pdpanel.address", "")),
                action=_action(scope),
                subject=subject,
                outcome=outcome,
            )
            await asyncio.shield(asyncio.to_thread(self._audit.record, entry))
