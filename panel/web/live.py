"""The WebSocket /api/live: runs and samples.

Thin: decisions lie in `hub` and `subscriber`. The guard has already let the connection through. What the browser may
say `subscriber.read_wish` tells.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from .hub import Hub
from .subscriber import Subscriber, read_wish

__all__ = ["live_routes"]

_TRY_AGAIN_LATER = 1013
_BAD_DATA = 1003


async def _first_of(*jobs: Coroutine[object, object, None]) -> None:
    """Runs `jobs` until one ends, then ends the others; a lost connection is a normal end."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        # Not gather: on its own cancellation it loses the message by which anyio knows its cancel scope.
        await asyncio.wait(tasks)
    for task in tasks:
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, WebSocketDisconnect | RuntimeError):
            raise error


async def _listen(socket: WebSocket, subscriber: Subscriber, hub: Hub) -> None:
    while True:
        try:
            wish = read_wish(await socket.receive_json())
        except (ValueError, KeyError, TypeError):
            await socket.close(_BAD_DATA)
            return
        subscriber.select(wish)
        hub.wake()


async def _tell(socket: WebSocket, subscriber: Subscriber) -> None:
    while True:
        await socket.send_text(await subscriber.get())


async def _close_when_dropped(socket: WebSocket, subscriber: Subscriber) -> None:
    await subscriber.dropped.wait()
    await socket.close(_TRY_AGAIN_LATER, "The browser did not keep up.")


def live_routes(hub: Hub) -> APIRouter:
    """Returns the WebSocket route."""
    routes = APIRouter()

    @routes.websocket("/api/live")
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        async with hub.subscribe() as subscriber:
            await _first_of(
                _listen(socket, subscriber, hub),
                _tell(socket, subscriber),
                _close_when_dropped(socket, subscriber),
            )

    return routes
