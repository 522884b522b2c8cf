"""The WebSocket /api/log: the end of one process's log, and then each row as it is written.

Thin: `log_tail` reads. The guard has already let the connection through; the browser says nothing on it. Called by
`app`.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from ...engine.errors import PdpanelError
from ..logs.marks import Marks
from .log_port import window_json
from .log_tail import LogChunk, LogTail
from .port import Source

__all__ = ["log_live_routes"]

_POLL_S = 0.25
_IDLE_POLL_S = 1.0
_IDLE_AFTER = 40


def _read(tail: LogTail) -> LogChunk | str | None:
    try:
        return tail.read()
    except PdpanelError as error:
        return str(error)
    except OSError as error:
        return f"The log cannot be read: {error.strerror}."


async def _follow(socket: WebSocket, path: Path, marks: Marks) -> None:
    tail = LogTail(path, marks)
    problem = ""
    idle = 0
    await socket.send_json({"type": "open"})
    while True:
        found = await asyncio.to_thread(_read, tail)
        if isinstance(found, LogChunk):
            problem, idle = "", 0
            told = window_json(found.window, found.marks, found.log)
            await socket.send_json({"type": "log", "restarted": found.restarted, **told})
            if found.window.rows and found.window.rows[-1].end < found.window.size:
                continue
        elif found is not None and found != problem:
            problem = found
            await socket.send_json({"type": "problem", "reason": problem})
        idle += 1
        await asyncio.sleep(_POLL_S if idle < _IDLE_AFTER else _IDLE_POLL_S)


async def _until_gone(socket: WebSocket) -> None:
    while True:
        await socket.receive()


def log_live_routes(source: Source, marks: Marks) -> APIRouter:
    """Returns the WebSocket route; `marks` is shared with the REST routes of logs."""
    routes = APIRouter()

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
        following = asyncio.ensure_future(_follow(socket, path, marks))
        gone = asyncio.ensure_future(_until_gone(socket))
        try:
            await asyncio.wait({following, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            following.cancel()
            gone.cancel()
            await asyncio.wait({following, gone})
        for task in (following, gone):
            error = None if task.cancelled() else task.exception()
            if error is not None and not isinstance(error, WebSocketDisconnect | RuntimeError):
                raise error

    return routes
