"""Prefill's server and decode's clients on one event loop over real sockets on 127.0.0.1, and what they hear."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from pdpanel.engine.peer.channel import Load, no_load
from pdpanel.engine.peer.client import PeerClient
from pdpanel.engine.peer.messages import Geometry, Hello, Message
from pdpanel.engine.peer.server import PeerServer, topology
from pdpanel.engine.transfer.api import EndpointInfo

GEOMETRY = Geometry("abc", "bfloat16", 16, 30, 3, 64)
ENDPOINT = EndpointInfo("tcp", "127.0.0.1:2", 0, 64)
PREFILL = Hello("prefill", "127.0.0.1:8001", 1, GEOMETRY, ENDPOINT)
DECODE = Hello("decode", "127.0.0.1:8002", 2, GEOMETRY, ENDPOINT)
DEADLINE_S = 20.0


@dataclass
class Listener:
    """Writes down what it hears; `heard` is set at each entry."""

    joined: list[tuple[str, Hello]] = field(default_factory=list)
    said: list[tuple[str, Message]] = field(default_factory=list)
    lost: list[tuple[str, str]] = field(default_factory=list)
    unsent: list[tuple[Message, ...]] = field(default_factory=list)
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    broken: bool = False

    def peer_joined(self, peer: str, hello: Hello) -> None:
        self.joined.append((peer, hello))
        self.heard.set()

    def peer_said(self, peer: str, message: Message) -> None:
        if self.broken:
            raise ZeroDivisionError("a bug of the listener's")
        self.said.append((peer, message))
        self.heard.set()

    def peer_lost(self, peer: str, reason: str, unsent: Sequence[Message] = ()) -> None:
        self.lost.append((peer, reason))
        self.unsent.append(tuple(unsent))
        self.heard.set()

    async def until(self, condition: Callable[[Listener], object]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition(self):
                self.heard.clear()
                await self.heard.wait()


class Pair:
    """A prefill worker's server and decode workers' clients, all on this loop."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.prefill = Listener()
        self.port = 0

    async def serve(self, hello: Hello = PREFILL, port: int = 0) -> PeerServer:
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", port))
        self.port = bound.getsockname()[1]
        server = PeerServer(hello, topology(hello, 8001), self.prefill)
        await server.start(bound)
        self._stack.push_async_callback(server.stop)
        return server

    async def join(
        self,
        hello: Hello = DECODE,
        is_awaited: Callable[[str], bool] = lambda peer: False,
        load: Callable[[], Load] = no_load,
    ) -> tuple[PeerClient, Listener]:
        listener = Listener()
        client = PeerClient(hello, listener, is_awaited, load)
        await client.start()
        self._stack.push_async_callback(client.stop)
        return client, listener

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


@asynccontextmanager
async def paired() -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        yield Pair(stack)


def run(scenario: Callable[[Pair], Awaitable[None]]) -> None:
    async def play() -> None:
        async with paired() as pair:
            await scenario(pair)

    asyncio.run(play())
