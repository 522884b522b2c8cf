"""The router's process: its sockets, its event loop (uvloop where there is one) and the signals that end it."""

from __future__ import annotations

import asyncio
import errno
import random
import signal
import socket
from contextlib import AsyncExitStack

from aiohttp import web

from ..errors import ConfigError
from ..log import configure_logging, record
from .app import Router
from .config import RouterConfig

__all__ = ["listen", "run", "serve"]

_BACKLOG = 1024
_PORTS_TRIED = 100
_LEFT_OVER_S = 1.0


def _bound(host: str, port: int) -> socket.socket:
    name = host.strip("[]")
    family, _, _, _, address = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(_BACKLOG)
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made


def _free_port(host: str, after: int) -> int:
    for port in (*range(after + 1, min(after + _PORTS_TRIED, 65536)), 0):
        try:
            with _bound(host, port) as made:
                return made.getsockname()[1]
        except OSError:
            continue
    return 0


def listen(host: str, port: int, flag: str) -> socket.socket:
    """Returns a listening socket on `host` and `port` (0 takes a free one).

    Args:
        flag: what set the port; `--port` belongs to `--host`.

    Raises:
        ConfigError: the port is taken or may not be used, or the host is not this machine's.
    """
    try:
        return _bound(host, port)
    except socket.gaierror:
        problem, remedy = "no such host", "give an address of this machine"
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            free = _free_port(host, port)
            raise ConfigError(flag, port, f"already in use on {host}", f"use {flag} {free}, which is free") from None
        if error.errno == errno.EACCES:
            raise ConfigError(flag, port, "not allowed for this user", "use 1024 or more") from None
        problem, remedy = f"cannot listen there ({error.strerror})", "give an address of this machine"
    raise ConfigError(flag.replace("port", "host"), host, problem, remedy)


def _url(made: socket.socket) -> str:
    host, port = made.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def serve(config: RouterConfig, stop: asyncio.Event, sockets: list[socket.socket]) -> None:
    """Serves on `sockets` (the router's, then perhaps the one for metrics alone) until `stop` is set."""
    router = Router(config, random.SystemRandom())
    async with AsyncExitStack() as stack:
        # The order of the ends is the reverse: first no new connections, then open requests, then idle ones.
        sites: list[web.SockSite] = []
        for app, made in zip((router.app, router.metrics_app()), sockets, strict=False):
            runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=_LEFT_OVER_S)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            sites.append(web.SockSite(runner, made))
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
    sockets = [listen(config.host, config.port, "--port")]
    if config.prometheus_port:
        sockets.append(listen(config.prometheus_host, config.prometheus_port, "--prometheus-port"))
    configure_logging(config.log_level)
    main = _until_signalled(config, sockets)
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)
