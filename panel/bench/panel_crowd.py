"""Clients that listen to a panel as open tabs do, and count what they are sent. A thread of their own."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import aiohttp

from ...engine.errors import PeerError

__all__ = ["Crowd", "listening"]

_READY_S = 60.0


class Crowd:
    """Clients of `/api/live`, each with the same wish.

    Attributes:
        ready: how many got their history.
        received: bytes of all messages, before compression on the wire.
        lost: how many connections the panel has closed.
    """

    def __init__(self, origin: str, token: str, count: int, wish: Mapping[str, Any] | None) -> None:
        self.count = count
        self.ready = 0
        self.received = 0
        self.lost = 0
        self._origin = origin
        self._token = token
        self._wish = wish
        self._stop = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),), daemon=True)

    def start(self) -> None:
        """Connects all clients.

        Raises:
            PeerError: not all of them got an answer in time.
        """
        self._thread.start()
        deadline = time.monotonic() + _READY_S
        while self.ready < self.count:
            if time.monotonic() > deadline:
                raise PeerError(f"Only {self.ready} of {self.count} clients got their data.")
            time.sleep(0.02)

    def stop(self) -> None:
        """Closes them."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def kilobytes_per_s(self, seconds: float) -> float:
        """Returns what one client is sent, on average over `seconds`."""
        before = self.received
        began = time.monotonic()
        time.sleep(seconds)
        return (self.received - before) / max(1, self.count) / (time.monotonic() - began) / 1000

    async def _run(self) -> None:
        headers = {"Authorization": f"Bearer {self._token}"}
        async with aiohttp.ClientSession(headers=headers, trust_env=False) as session:
            clients = [asyncio.create_task(self._listen(session)) for _ in range(self.count)]
            await self._stop.wait()
            for client in clients:
                client.cancel()
            await asyncio.gather(*clients, return_exceptions=True)

    async def _listen(self, session: aiohttp.ClientSession) -> None:
        url = self._origin.replace("http", "ws", 1) + "/api/live"
        async with session.ws_connect(url, compress=15, max_msg_size=0) as socket:
            awaited = "snapshot"
            if self._wish is not None:
                await socket.send_json(self._wish)
                awaited = "history"
            async for message in socket:
                if message.type is not aiohttp.WSMsgType.TEXT:
                    break
                self.received += len(message.data)
                if awaited and any(packet["type"] == awaited for packet in json.loads(message.data)):
                    awaited = ""
                    self.ready += 1
        self.lost += 1


@contextmanager
def listening(origin: str, token: str, count: int, wish: Mapping[str, Any] | None) -> Iterator[Crowd]:
    """Yields `count` clients that got their data; without a wish they look at no run."""
    crowd = Crowd(origin, token, count, wish)
    crowd.start()
    try:
        yield crowd
    finally:
        crowd.stop()
