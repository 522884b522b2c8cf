"""How image embeddings come from an encoder (end 1) to the worker that asked (end 0), and the transports alone.

The asker says over a socket that it wants them, and the encoder that it has sent them, as they do over HTTP; so it is
with the transports alone, too. Used by `parallel_end`.
"""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np

from ....engine.errors import PeerError
from ....engine.transfer.api import Segment
from ....engine.transfer.memory import SharedMemory
from ....engine.vision.embeddings import Rows
from ....engine.vision.memory_way import MemoryReceiver, MemorySender
from ....engine.vision.shape import VisionShape
from ....engine.vision.ways import Receiver, Sender
from ....engine.vision.zmq_way import ZmqReceiver, ZmqSender
from .parallel_ways import HOST, SETTINGS, LinkEnd, Way, open_transport
from .transfer_carriers import RawMooncake

__all__ = ["EMBEDDINGS", "IMAGE_BYTES"]

# LLaVA's image of 336 pixels in patches of 14, in a language model of 2,048.
_ROWS, _WIDTH = 576, 2048
IMAGE_BYTES = _ROWS * _WIDTH * 4
_SHAPE = VisionShape(
    tower="clip", layers=1, hidden=1, heads=1, ffn=1, image_size=336, patch_size=14, activation="gelu", eps=1e-5,
    states=(1,), drop_first=True, projector_activation="gelu", projector_bias=True, text_hidden=_WIDTH, image_token=3,
    processing=cast("Any", None),
)  # fmt: skip


class _Called:
    """Both ends of a transfer that the asker asks for, over a socket of their own."""

    def __init__(self, rank: int, ends: int, size: int) -> None:
        assert ends == 2 and _SHAPE.rows == _ROWS
        self._is_asker = rank == 0
        self._images = max(1, size // IMAGE_BYTES)
        self._size = self._images * IMAGE_BYTES
        self.sent = 0 if self._is_asker else self._size
        self._loop = asyncio.new_event_loop()
        self._line: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._own = self._loop.run_until_complete(self._open())

    async def _open(self) -> Mapping[str, Any]:
        """Makes this end ready; returns what the other one needs."""
        return {}

    def address(self) -> str:
        if self._is_asker:
            return json.dumps(dict(self._own))
        self._came: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = self._loop.create_future()

        def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._came.set_result((reader, writer))

        server = self._loop.run_until_complete(asyncio.start_server(take, HOST, 0))
        return str(server.sockets[0].getsockname()[1])

    def meet(self, addresses: Sequence[str]) -> None:
        self._loop.run_until_complete(self._meet(addresses))

    async def _meet(self, addresses: Sequence[str]) -> None:
        self._line = await (asyncio.open_connection(HOST, int(addresses[1])) if self._is_asker else self._came)
        self._connect(json.loads(addresses[0]))

    def _connect(self, asker: Mapping[str, Any]) -> None:
        """Connects the encoder's end."""

    def move(self, *, proven: bool) -> None:
        self._loop.run_until_complete(self._ask(proven=proven) if self._is_asker else self._serve())

    async def _ask(self, *, proven: bool) -> None:
        raise NotImplementedError

    async def _send(self, target: Mapping[str, Any]) -> None:
        raise NotImplementedError

    async def _serve(self) -> None:
        assert self._line is not None
        reader, writer = self._line
        await self._send(json.loads(await reader.readline()))
        writer.write(b"\n")
        await writer.drain()

    async def _call(self, target: Mapping[str, Any]) -> None:
        """Tells the encoder what is wanted, and returns when it says that it has sent it."""
        assert self._line is not None
        reader, writer = self._line
        writer.write(json.dumps(dict(target)).encode() + b"\n")
        await writer.drain()
        await reader.readline()


class _Engine(_Called):
    """The engine's own way, from the encoder's arrays to arrays that the asker may keep."""

    async def _open(self) -> Mapping[str, Any]:
        self._receiver: Receiver | None = None
        self._sender: Sender | None = None
        if self._is_asker:
            self._receiver = self._make_receiver()
        else:
            self._sender = self._make_sender()
            made = np.random.default_rng(0).standard_normal((self._images, _ROWS, _WIDTH), dtype=np.float32)
            self._rows = [self._kept(rows) for rows in made]
        return {}

    def _make_receiver(self) -> Receiver:
        raise NotImplementedError

    def _make_sender(self) -> Sender:
        raise NotImplementedError

    def _kept(self, rows: Rows) -> Rows:
        """Returns the embeddings of an image as the encoder keeps them."""
        return rows

    async def _ask(self, *, proven: bool) -> None:
        assert self._receiver is not None
        slip = await self._receiver.expect(self._images)
        await self._call(slip.target)
        found = await slip.take()
        if proven:
            expected = np.random.default_rng(0).standard_normal((self._images, _ROWS, _WIDTH), dtype=np.float32)
            if not all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True)):
                raise PeerError("The embeddings that came are not those that were sent.")

    async def _send(self, target: Mapping[str, Any]) -> None:
        assert self._sender is not None
        await self._sender.send(target, self._rows)


class _Zmq(_Engine):
    def _make_receiver(self) -> Receiver:
        return ZmqReceiver(_SHAPE, HOST)

    def _make_sender(self) -> Sender:
        return ZmqSender()


class _Memory(_Engine):
    """The encoder keeps its embeddings where they can be sent from, as it does with what it has computed."""

    def _make_receiver(self) -> Receiver:
        return MemoryReceiver(_SHAPE, open_transport("mooncake_tcp"), SETTINGS, self._images)

    def _make_sender(self) -> Sender:
        self._memory = MemorySender(_SHAPE, open_transport("mooncake_tcp"), SETTINGS, self._images)
        return self._memory

    def _kept(self, rows: Rows) -> Rows:
        return self._memory.own(rows)


class _Link(_Called):
    """A write of the same bytes by the engine's transport."""

    async def _open(self) -> Mapping[str, Any]:
        self._end = LinkEnd("mooncake_tcp", self._size)
        return {"address": self._end.address()}

    def _connect(self, asker: Mapping[str, Any]) -> None:
        if not self._is_asker:
            self._end.connect(asker["address"])

    async def _ask(self, *, proven: bool) -> None:
        await self._call({})

    async def _send(self, target: Mapping[str, Any]) -> None:
        self._end.carry([Segment(0, 0, self._size)])


class _RawMooncake(_Called):
    """Mooncake's own write of the same bytes."""

    async def _open(self) -> Mapping[str, Any]:
        self._mooncake = RawMooncake(SharedMemory(self._size))
        return {"address": self._mooncake.address()}

    def _connect(self, asker: Mapping[str, Any]) -> None:
        if not self._is_asker:
            self._mooncake.connect(asker["address"])

    async def _ask(self, *, proven: bool) -> None:
        await self._call({})

    async def _send(self, target: Mapping[str, Any]) -> None:
        self._mooncake.carry([Segment(0, 0, self._size)])


class _RawZmq(_Called):
    """ZeroMQ's push and pull of the same frames."""

    async def _open(self) -> Mapping[str, Any]:
        zmq: Any = importlib.import_module("zmq")
        context = importlib.import_module("zmq.asyncio").Context()
        self._socket: Any = context.socket(zmq.PULL if self._is_asker else zmq.PUSH)
        if not self._is_asker:
            self._frames = [np.ones(IMAGE_BYTES, np.uint8).data for _ in range(self._images)]
            return {}
        return {"port": self._socket.bind_to_random_port(f"tcp://{HOST}")}

    def _connect(self, asker: Mapping[str, Any]) -> None:
        if not self._is_asker:
            self._socket.connect(f"tcp://{HOST}:{asker['port']}")

    async def _ask(self, *, proven: bool) -> None:
        await self._call({})
        frames = await self._socket.recv_multipart(copy=False)
        if sum(len(frame.buffer) for frame in frames) != self._size:
            raise PeerError("ZeroMQ did not bring the bytes that were sent.")

    async def _send(self, target: Mapping[str, Any]) -> None:
        await self._socket.send_multipart(self._frames, copy=False)


EMBEDDINGS: Mapping[str, Callable[[int, int, int], Way]] = {
    "zmq_to_scheduler": _Zmq,
    "raw zmq": _RawZmq,
    "mooncake": _Memory,
    "raw mooncake": _RawMooncake,
    "mooncake's link": _Link,
}
"""Ways by name; the asker is end 0, and nothing leaves it."""
