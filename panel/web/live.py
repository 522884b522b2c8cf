"""The two WebSockets: /api/live (runs and samples) and /api/log (one process's log).

Thin: decisions lie in `hub` and `log_tail`. The guard has already let the connection through. What the
browser may say on /api/live is {"select": run id or null}; on /api/log nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine

from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from ...engine.errors import PdpanelError
from .hub import Hub, Subscriber
from .log_tail import LogTail
from .port import Source

__all__ = ["live_routes"]

_LOG_POLL_S = 0.25
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
            said = await socket.receive_json()
            run_id = said["select"]
        except (ValueError, KeyError, TypeError):
            await socket.close(_BAD_DATA)
            return
        subscriber.select(run_id if isinstance(run_id, str) else None)
        hub.wake()


async def _tell(socket: WebSocket, subscriber: Subscriber) -> None:
    while True:
        await socket.send_json(await subscriber.get())


async def _close_when_dropped(socket: WebSocket, subscriber: Subscriber) -> None:
    await subscriber.dropped.wait()
    await socket.close(_TRY_AGAIN_LATER, "The browser did not keep up.")


async def _until_gone(socket: WebSocket) -> None:
    while True:
        await socket.receive()


async def _follow(socket: WebSocket, tail: LogTail) -> None:
    await socket.send_json({"type": "open"})
    while True:
        chunk = await asyncio.to_thread(tail.read)
        if chunk is None:
            await asyncio.sleep(_LOG_POLL_S)
            continue
        await socket.send_json(
            {
                "type": "log",
                "text": chunk.text,
                "restarted": chunk.restarted,
                "skipped": chunk.skipped_bytes,
            }
        )


def live_routes(source: Source, hub: Hub) -> APIRouter:
    """Returns the WebSocket routes."""
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

    @routes.websocket("/api/log")
    async def log(socket: WebSocket, run: str, process: str) -> None:
        await socket.accept()
        try:
            path = await asyncio.to_thread(source.log_path, run, process)
        except PdpanelError as error:
            await socket.send_json({"type": "error", "reason": str(error)})
            with contextlib.suppress(RuntimeError):
                await socket.close()
            return
        await _first_of(_until_gone(socket), _follow(socket, LogTail(path)))

    return routes
