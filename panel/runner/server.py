"""The runner's Unix socket, mode 0600: takes requests and answers them.

Knows the wire and nothing of processes: what a request does is the supervisor's business. Bounded: one line
of 64 KiB per request, a few dozen clients at a time.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import msgspec

from ...engine.errors import PdpanelError
from ..rundir import RunDir
from .protocol import (
    MAX_REQUEST_BYTES,
    ChangePlan,
    GetRange,
    GetSamples,
    GetStatus,
    Line,
    Progress,
    Reply,
    Request,
    RestartProcess,
    RestartRun,
    Shutdown,
    StopProcess,
)
from .samples import SampleStore
from .supervision import Supervision

__all__ = ["serve"]

_MAX_CLIENTS = 64
_DECODER = msgspec.json.Decoder(Request)


@asynccontextmanager
async def serve(rundir: RunDir, supervisor: Supervision, store: SampleStore) -> AsyncIterator[None]:
    """Listens on the run's socket while the context is entered."""
    clients: set[asyncio.Task[None]] = set()

    async def on_client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        clients.add(task)
        try:
            if len(clients) > _MAX_CLIENTS:
                _send(writer, Reply(error="Too many clients; close some and try again."))
            else:
                await _converse(reader, writer, supervisor, store)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            clients.discard(task)
            with suppress(ConnectionError):
                writer.close()

    path = rundir.path / "runner.sock"
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with rundir.socket_address() as address:
        before = os.umask(0o177)
        try:
            listener.bind(address)
        finally:
            os.umask(before)
    server = await asyncio.start_unix_server(on_client, sock=listener, limit=MAX_REQUEST_BYTES)
    try:
        yield
    finally:
        server.close()
        path.unlink(missing_ok=True)
        for task in list(clients):
            # The client that asked for the end has its answer by now; silent ones are let go.
            with suppress(TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(task, timeout=0.1)


async def _converse(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, supervisor: Supervision, store: SampleStore
) -> None:
    while not supervisor.ended.is_set():
        try:
            line = await reader.readuntil(b"\n")
        except asyncio.IncompleteReadError:
            return
        except asyncio.LimitOverrunError:
            _send(writer, Reply(error=f"The request is longer than {MAX_REQUEST_BYTES} bytes; send less."))
            await writer.drain()
            return
        try:
            request = _DECODER.decode(line)
        except (msgspec.MsgspecError, RecursionError) as error:
            _send(writer, Reply(error=f"The request is not understood: {error}"))
            await writer.drain()
            continue
        try:
            reply = await _answer(request, supervisor, store, lambda text: _send(writer, Progress(text)))
        except PdpanelError as error:
            reply = Reply(error=str(error))
        _send(writer, reply)
        await writer.drain()


async def _answer(
    request: Request, supervisor: Supervision, store: SampleStore, progress: Callable[[str], None]
) -> Reply:
    match request:
        case GetStatus():
            return Reply(run=supervisor.record)
        case GetSamples(since=since, known=known):
            return Reply(samples=store.since(since, known))
        case GetRange(from_s=from_s, to_s=to_s, most_rows=most_rows, keys=keys):
            return Reply(range=store.range(from_s, to_s, most_rows, keys))
        case StopProcess(name=name):
            await supervisor.stop_process(name, progress)
        case RestartProcess(name=name):
            await supervisor.restart_process(name, progress)
        case RestartRun():
            await supervisor.restart(progress)
        case ChangePlan(digest=digest):
            await supervisor.change_plan(digest, progress)
        case Shutdown():
            supervisor.leave()
        case _:
            await supervisor.stop(progress)
    return Reply(run=supervisor.record)


def _send(writer: asyncio.StreamWriter, line: Line) -> None:
    if not writer.is_closing():
        writer.write(msgspec.json.encode(line) + b"\n")
