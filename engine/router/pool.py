"""Connections to workers that wait for their next request, so that a request need not open one.

The last one that became free is taken first, so that a quiet time closes the others. There is no limit: 64 pairs of a
hundred streams each have as many connections. Used by `half`; `upstream` owns it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import defaultdict
from urllib.parse import urlsplit

from .connection import WorkerConnection

__all__ = ["Pool"]

_CONNECT_TIMEOUT_S = 5.0
# Below what workers allow (75 s), so that a request hardly ever meets a connection that is just being closed.
_KEPT_S = 10.0


class Pool:
    """Open connections by URL of the worker."""

    def __init__(self) -> None:
        self._free: dict[str, list[WorkerConnection]] = defaultdict(list)
        self._open: set[WorkerConnection] = set()
        self._warming: dict[str, asyncio.Task[None]] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self._tls: ssl.SSLContext | None = None
        self._is_closed = False

    def take(self, url: str) -> WorkerConnection | None:
        """Returns a connection that is free and not too old, or None."""
        free = self._free[url]
        oldest = asyncio.get_running_loop().time() - _KEPT_S
        while free:
            connection = free.pop()
            if connection.is_open and connection.free_since > oldest:
                return connection
            if connection.is_open:
                connection.close()
        return None

    async def connect(self, url: str) -> WorkerConnection:
        """Opens a connection.

        Raises:
            OSError: that is not possible.
            TimeoutError: not in time.
        """
        parts = urlsplit(url)
        if parts.scheme == "https" and self._tls is None:
            self._tls = ssl.create_default_context()
        free, loop = self._free[url], asyncio.get_running_loop()

        def make() -> WorkerConnection:
            return WorkerConnection(lambda connection: self._keep(free, connection), self._open.discard)

        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            _, connection = await loop.create_connection(
                make, parts.hostname or "", parts.port or 0, ssl=self._tls if parts.scheme == "https" else None
            )
        self._open.add(connection)
        return connection

    def warm(self, url: str) -> None:
        """Opens a connection for the next request in the background, where none is free."""
        oldest = asyncio.get_running_loop().time() - _KEPT_S
        free = self._free[url]
        if self._is_closed or url in self._warming or any(c.is_open and c.free_since > oldest for c in free):
            return
        self._warming[url] = asyncio.create_task(self._warm(url))

    async def _warm(self, url: str) -> None:
        try:
            self._keep(self._free[url], await self.connect(url))
        except (OSError, TimeoutError):
            return  # The next request will be told.
        finally:
            del self._warming[url]

    def close(self) -> None:
        """Closes all connections, for good."""
        self._is_closed = True
        for warming in self._warming.values():
            warming.cancel()
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in list(self._open):
            connection.close()

    def _keep(self, free: list[WorkerConnection], connection: WorkerConnection) -> None:
        if self._is_closed:
            connection.close()
            return
        loop = asyncio.get_running_loop()
        connection.free_since = loop.time()
        free.append(connection)
        if self._sweep is None:
            self._sweep = loop.call_later(_KEPT_S, self._close_old)

    def _close_old(self) -> None:
        loop = asyncio.get_running_loop()
        oldest = loop.time() - _KEPT_S
        for free in self._free.values():
            kept = [connection for connection in free if connection.is_open and connection.free_since > oldest]
            for connection in free:
                if connection.is_open and connection.free_since <= oldest:
                    connection.close()
            free[:] = kept
        self._sweep = loop.call_later(_KEPT_S, self._close_old) if any(self._free.values()) else None
