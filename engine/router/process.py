"""The router's process: its sockets, its event loop (uvloop where there is one) and the signals that end it."""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import socket
from contextlib import AsyncExitStack

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from ..log import configure_logging, record
from ..net import bind_listener
from .app import Router
from .config import RouterConfig

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


async def serve(config: RouterConfig, stop: asyncio.Event, sockets: list[socket.socket]) -> None:
    """Serves on `sockets` (the router's, then perhaps the one for metrics alone) until `stop` is set."""
    router = Router(config, random.SystemRandom(), port=sockets[0].getsockname()[1])
    _log.addFilter(_is_ours)
    async with AsyncExitStack() as stack:
        # The order of the ends is the reverse: first no new connections, then open requests, then idle ones.
        sites: list[web.SockSite] = []
        for app, made in zip((router.app, router.metrics_app()), sockets, strict=False):
            runner = web.AppRunner(
                app, handler_cancellation=True, access_log=None, logger=_log, shutdown_timeout=_LEFT_OVER_S
            )
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            sites.append(web.SockSite(runner, made, backlog=_BACKLOG))
        await router.start()
        stack.push_async_callback(router.stop)
        for site in sites:
            await site.start()
            stack.push_async_callback(site.stop)
        record("listening", url=_url(sockets[0]), host=config.host, workers=[w.url for w in config.workers])
        await stop.wait()
        record("stopping", open_requests=router.admission.open)


async def _until_signalled(config: RouterConfig, sockets: list[socket.socket]) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(config, stop, sockets)


def run(config: RouterConfig) -> None:
    """Serves until SIGTERM or SIGINT.

    Raises:
        ConfigError: a port cannot be listened on.
    """
    sockets = [bind_listener("--port", config.host.strip("[]"), config.port)]
    if config.prometheus_port:
        host = config.prometheus_host.strip("[]")
        sockets.append(bind_listener("--prometheus-port", host, config.prometheus_port))
    configure_logging(config.log_level)
    main = _until_signalled(config, sockets)
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)
