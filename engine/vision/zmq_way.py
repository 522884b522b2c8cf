"""Embeddings over ZeroMQ (`zmq_to_scheduler`): the asker pulls, each encoder pushes, one message for a call's images.

A message is the transfer's secret name and one raw frame per image, float32 [rows, width] as it lies in memory; neither
side copies it. What carries an unknown name is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zmq
import zmq.asyncio

from ..errors import PeerError, RemoteProtocolError, RequestError
from ..transfer.address import reachable_host
from .embeddings import Rows
from .shape import VisionShape
from .ways import ZMQ

__all__ = ["ZmqReceiver", "ZmqSender"]

_MOST_IMAGES = 64
_MOST_PEERS = 64
_SEND_TIMEOUT_S = 30.0
_ENDPOINT = re.compile(r"tcp://(?:\[[0-9a-fA-F:.%]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}")
_NAME = re.compile(r"[0-9a-f]{32}")


@dataclass(slots=True)
class _Slip:
    receiver: ZmqReceiver
    name: str
    images: int
    arrived: asyncio.Future[list[Rows]]

    @property
    def target(self) -> Mapping[str, Any]:
        return {"backend": ZMQ, "endpoint": self.receiver.endpoint, "name": self.name}

    async def take(self) -> list[Rows]:
        try:
            return await self.arrived
        finally:
            self.abandon()

    def abandon(self) -> None:
        self.receiver.forget(self.name)


class ZmqReceiver:
    """Pulls embeddings from any number of encoders.

    Args:
        host: address to listen on.
    """

    most_images = _MOST_IMAGES

    def __init__(self, shape: VisionShape, host: str) -> None:
        self._shape = shape
        self._context = zmq.asyncio.Context()
        self._socket = self._context.socket(zmq.PULL)
        self._socket.setsockopt(zmq.IPV6, int(":" in host))
        self._socket.setsockopt(zmq.MAXMSGSIZE, shape.image_bytes)  # of a frame
        port = self._socket.bind_to_random_port(f"tcp://{_bracketed(host)}")
        self.endpoint = f"tcp://{_bracketed(reachable_host(host))}:{port}"
        self._waiting: dict[str, _Slip] = {}
        self._task = asyncio.create_task(self._receive(), name="embeddings")

    async def expect(self, images: int) -> _Slip:
        """Returns the slip of a transfer."""
        future: asyncio.Future[list[Rows]] = asyncio.get_running_loop().create_future()
        slip = _Slip(self, secrets.token_hex(16), images, future)
        self._waiting[slip.name] = slip
        return slip

    def forget(self, name: str) -> None:
        """Drops what comes under this name."""
        slip = self._waiting.pop(name, None)
        if slip is not None:
            slip.arrived.cancel()

    async def _receive(self) -> None:
        while True:
            name, *frames = await self._socket.recv_multipart(copy=False)
            slip = self._waiting.get(bytes(name.buffer).decode("ascii", "replace"))
            if slip is None or slip.arrived.done():
                continue
            try:
                slip.arrived.set_result(self._read(frames, slip.images))
            except RemoteProtocolError as error:
                slip.arrived.set_exception(error)

    def _read(self, frames: Sequence[zmq.Frame], images: int) -> list[Rows]:
        shape = self._shape
        sizes = {len(frame.buffer) for frame in frames}
        if len(frames) != images or sizes - {shape.image_bytes}:
            message = f"An encoder sent {len(frames)} images of {sorted(sizes)} bytes where {images} were asked for."
            raise RemoteProtocolError(message)
        # The frame stays alive with the array over it.
        return [np.frombuffer(frame.buffer, np.float32).reshape(shape.rows, shape.text_hidden) for frame in frames]

    async def stop(self) -> None:
        """Closes the socket."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._context.destroy(linger=0)


class ZmqSender:
    """Pushes embeddings; one socket for each worker that asked lately."""

    def __init__(self) -> None:
        self._context = zmq.asyncio.Context()
        self._sockets: OrderedDict[str, zmq.asyncio.Socket] = OrderedDict()

    async def send(self, target: Mapping[str, Any], images: Sequence[Rows]) -> int:
        """Sends all images in one message.

        Raises:
            RequestError: `target` names no endpoint.
            PeerError: nobody takes it.
        """
        endpoint, name = target.get("endpoint"), target.get("name")
        if not isinstance(endpoint, str) or not _ENDPOINT.fullmatch(endpoint):
            raise RequestError("transfer.endpoint", endpoint, "no address of a socket", "send tcp://host:port")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise RequestError("transfer.name", name, "no name of a transfer", "send 32 hexadecimal digits")
        frames = [name.encode(), *(np.ascontiguousarray(rows).data.cast("B") for rows in images)]
        try:
            async with asyncio.timeout(_SEND_TIMEOUT_S):
                await self._socket(endpoint).send_multipart(frames, copy=False)
        except (TimeoutError, zmq.ZMQError) as error:
            self._close(endpoint)
            raise PeerError(f"The worker at {endpoint} does not take embeddings ({error or 'time is over'}).") from None
        return sum(rows.nbytes for rows in images)

    def _socket(self, endpoint: str) -> zmq.asyncio.Socket:
        found = self._sockets.get(endpoint)
        if found is None:
            found = self._sockets[endpoint] = self._context.socket(zmq.PUSH)
            found.setsockopt(zmq.IPV6, int("[" in endpoint))
            found.connect(endpoint)
        self._sockets.move_to_end(endpoint)
        if len(self._sockets) > _MOST_PEERS:
            self._close(next(iter(self._sockets)))
        return found

    def _close(self, endpoint: str) -> None:
        if (found := self._sockets.pop(endpoint, None)) is not None:
            found.close(linger=1000)

    async def stop(self) -> None:
        """Closes the sockets."""
        self._context.destroy(linger=0)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
