"""The connection between a decode and a prefill worker: a WebSocket with one msgpack message per frame.

Both ends share this half: hello first, fit checked, then messages in order, a heartbeat that notices a silent peer.
`server` accepts on prefill's bootstrap port, `client` connects from decode. Lives on the event loop; knows nothing of
what the messages mean.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Protocol

from aiohttp import ClientWebSocketResponse, WSMessage, WSMsgType, web

from ..errors import RemoteProtocolError
from .messages import Hello, Message, Refused, check_hello, decode_message, encode_message

__all__ = ["HEARTBEAT_S", "MAX_MESSAGE_BYTES", "Channel", "PeerListener"]

MAX_MESSAGE_BYTES = 1 << 20
# A peer that answers no ping within half of this is lost (aiohttp's rule).
HEARTBEAT_S = 2.0
_HELLO_TIMEOUT_S = 5.0
_ENDED = frozenset({WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR})

Socket = web.WebSocketResponse | ClientWebSocketResponse


def _read(frame: WSMessage) -> Message:
    if frame.type is not WSMsgType.BINARY:
        raise RemoteProtocolError("The peer sent a text frame where messages are binary.")
    return decode_message(frame.data)


async def _refuse(socket: Socket, reason: str) -> None:
    """Tells a peer why the connection ends, if it still listens."""
    with contextlib.suppress(ConnectionError):
        await socket.send_bytes(encode_message(Refused(reason)))


class PeerListener(Protocol):
    """Who hears what peers say; called on the event loop, must not block."""

    def peer_joined(self, peer: str, hello: Hello) -> None:
        """A peer fits and is connected."""
        ...

    def peer_said(self, peer: str, message: Message) -> None:
        """A message arrived."""
        ...

    def peer_lost(self, peer: str, reason: str) -> None:
        """The connection is over; everything that was not committed over it is lost."""
        ...


class Channel:
    """One open connection.

    Attributes:
        hello: what the peer said of itself.
    """

    def __init__(self, socket: Socket, hello: Hello) -> None:
        self.hello = hello
        self._socket = socket
        self._outbox: asyncio.Queue[Message] = asyncio.Queue()

    @classmethod
    async def greet(cls, socket: Socket, ours: Hello) -> Channel:
        """Exchanges hellos.

        Raises:
            RemoteProtocolError: the peer does not fit, refused us, or is no worker.
        """
        await socket.send_bytes(encode_message(ours))
        try:
            frame = await socket.receive(timeout=_HELLO_TIMEOUT_S)
        except TimeoutError:
            raise RemoteProtocolError(f"The peer said nothing for {_HELLO_TIMEOUT_S:g} s.") from None
        if frame.type in _ENDED:
            raise RemoteProtocolError("The peer ended the connection before its hello.")
        try:
            theirs = _read(frame)
            if isinstance(theirs, Refused):
                raise RemoteProtocolError(f"The peer refused this worker: {theirs.reason}.")
            if not isinstance(theirs, Hello):
                raise RemoteProtocolError("The peer's first message is no hello.")
            if (problem := check_hello(ours, theirs)) is not None:
                raise RemoteProtocolError(f"The workers do not fit: {problem}.")
        except RemoteProtocolError as error:
            await _refuse(socket, str(error))
            raise
        return cls(socket, theirs)

    def post(self, message: Message) -> None:
        """Queues a message; messages arrive in order or the channel is lost."""
        self._outbox.put_nowait(message)

    async def close(self) -> None:
        """Ends the connection; `run` returns."""
        await self._socket.close()

    async def run(self, peer: str, listener: PeerListener) -> str:
        """Sends and receives until the connection ends; returns why it ended."""
        sender = asyncio.create_task(self._send())
        try:
            while True:
                frame = await self._socket.receive()
                if frame.type is WSMsgType.ERROR:
                    return str(self._socket.exception() or "connection error")
                if frame.type in _ENDED:
                    return "the connection ended"
                message = _read(frame)
                if isinstance(message, Refused):
                    return message.reason.rstrip(".")
                listener.peer_said(peer, message)
        except RemoteProtocolError as error:
            await _refuse(self._socket, str(error))
            return str(error).rstrip(".")
        finally:
            sender.cancel()
            await self._socket.close()

    async def _send(self) -> None:
        try:
            while True:
                await self._socket.send_bytes(encode_message(await self._outbox.get()))
        except ConnectionError:
            return  # the receiving side notices and says why
