"""The router's process: its sockets, its event loop (uvloop where there is one) and the signals that end it.

The first signal lets open requests end, within a limit; a second one does not wait for them.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import resource
import signal
import socket
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from ..http.patience import patient_runner
from ..log import configure_logging, record
from ..net import bind_listener
from .app import Router
from .config import RouterConfig
from .front import FrontDoor
from .job import cancel

__all__ = ["run", "serve"]

_BACKLOG = 1024
_LEFT_OVER_S = 1.0
_log = logging.getLogger(__name__)


def _url(made: socket.socket) -> str:
    host, port = made.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _is_ours(line: logging.LogRecord) -> bool:
    """False for the traceback that aiohttp logs when somebody, such as a gRPC probe, sends no HTTP/1.1."""
    error = line.exc_info[1] if line.exc_info else None
    return not isinstance(error, HttpProcessingError)


def _server(runner: web.AppRunner) -> Callable[[], asyncio.Protocol]:
    """Returns what makes the protocol of a connection that aiohttp serves."""
    assert runner.server is not None
    return runner.server


async def serve(
    config: RouterConfig, stop: asyncio.Event, sockets: list[socket.socket], at_once: asyncio.Event | None = None
) -> None:
    """Serves on `sockets` (the router's, then perhaps the one for metrics alone) until `stop` is set.

    Args:
        at_once: set when open requests get no time to end.
    """
    router = Router(config, random.SystemRandom(), port=sockets[0].getsockname()[1])
    _log.addFilter(_is_ours)
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        # The order of the ends is the reverse: first no new connections, then open requests, then idle ones.
        runners: list[web.AppRunner] = []
        for app, _ in zip((router.app, router.metrics_app()), sockets, strict=False):
            runner = patient_runner(
                app, handler_cancellation=True, access_log=None, logger=_log, shutdown_timeout=_LEFT_OVER_S
            )
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            runners.append(runner)
        door = FrontDoor(
            router.relay.serve, partial(router.gate.refusal, "POST"), _server(runners[0]), config.max_payload_bytes
        )
        watching = asyncio.create_task(door.watch(), name="plain connections")
        beating = asyncio.create_task(router.loop_lag.watch(time.monotonic), name="loop lag")
        stack.push_async_callback(cancel, watching, beating)
        stack.callback(door.close)
        await router.start()
        stack.push_async_callback(router.stop)
        for makes, made in zip((door.connect, *map(_server, runners[1:])), sockets, strict=True):
            stack.callback((await loop.create_server(makes, sock=made, backlog=_BACKLOG)).close)
        record("listening", url=_url(sockets[0]), host=config.host, workers=[w.url for w in config.workers])
        await stop.wait()
        record("stopping", open_requests=router.admission.open, grace_s=config.shutdown_grace)
        await _drain(router, config.shutdown_grace, at_once or asyncio.Event())


async def _drain(router: Router, grace_s: float, at_once: asyncio.Event) -> None:
    """Lets open requests end; returns when they have, when their time is over, or when nobody waits for them."""
    ends = {asyncio.create_task(router.drain()), asyncio.create_task(at_once.wait())}
    await asyncio.wait(ends, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
    for end in ends:
        end.cancel()
    await asyncio.gather(*ends, return_exceptions=True)


def _raise_file_limit() -> None:
    """Allows as many open files as this process may have: a request takes three, of which the usual limit is 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):  # An unlimited hard limit that the kernel does not give.
            _log.warning("the limit of open files stays at %d", soft)


async def _until_signalled(config: RouterConfig, sockets: list[socket.socket]) -> None:
    stop, at_once, loop = asyncio.Event(), asyncio.Event(), asyncio.get_running_loop()

    def end() -> None:
        if stop.is_set():
            at_once.set()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    await serve(config, stop, sockets, at_once)


def _collect_less() -> None:
    """Leaves what was imported to itself, and looks for cycles less often: a served request leaves hardly any."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


def run(config: RouterConfig) -> None:
    """Serves until SIGTERM or SIGINT.

    Raises:
        ConfigError: a port cannot be listened on.
    """
    _raise_file_limit()
    sockets = [bind_listener("--port", config.host.strip("[]"), config.port)]
    if config.prometheus_port:
        host = config.prometheus_host.strip("[]")
        sockets.append(bind_listener("--prometheus-port", host, config.prometheus_port))
    configure_logging(config.log_level)
    _collect_less()
    main = _until_signalled(config, sockets)
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)
