"""How a process serves HTTP until it is told to end: signals, listening, and the time that open requests get.

`serve`, `encoder_server` and nodes above 0 call it; it knows nothing of what they serve.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator
from typing import Protocol

from aiohttp import web

from .config import ServerConfig
from .log import record
from .net import port_in_use

__all__ = ["Ending", "Served", "listening"]

_BACKLOG = 1024
_LOOK_S = 0.02


class Served(Protocol):
    """What has open requests.

    Attributes:
        draining: it takes no new ones.
    """

    draining: bool

    @property
    def open_requests(self) -> int:
        """How many."""
        ...


class Ending:
    """The signals that end the process; made on its event loop.

    Attributes:
        asked: the first SIGTERM or SIGINT has come.
        at_once: and another one, from somebody who does not want to wait.
    """

    def __init__(self) -> None:
        self.asked, self.at_once = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told)

    def _told(self) -> None:
        (self.at_once if self.asked.is_set() else self.asked).set()

    async def drained(self, served: Served, grace_s: float) -> None:
        """Returns once the process is to end, and what was open then has ended or had its time."""
        await self.asked.wait()
        record("stopping", requests=served.open_requests, grace_s=grace_s)
        served.draining = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                while served.open_requests and not self.at_once.is_set():  # noqa: ASYNC110 (they end on their own)
                    await asyncio.sleep(_LOOK_S)


@contextlib.asynccontextmanager
async def listening(runner: web.AppRunner, listener: socket.socket, config: ServerConfig) -> AsyncIterator[None]:
    """Serves at a bound socket within the block.

    Raises:
        ConfigError: another process that bound the same port listens there by now.
    """
    await runner.setup()
    try:
        try:
            await web.SockSite(runner, listener, backlog=_BACKLOG).start()
        except OSError:
            raise port_in_use("--port", config.host, config.port) from None
        yield
    finally:
        await runner.cleanup()
