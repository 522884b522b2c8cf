"""The connection between a decode and a prefill worker: a WebSocket with one msgpack message per frame.

Both ends share this half: hello first, fit checked, then messages in order, and pings that notice a silent peer.
`server` accepts on prefill's bootstrap port, `client` connects from decode. Lives on the event loop; knows nothing of
what the messages mean.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Protocol

from aiohttp import ClientWebSocketResponse, WSMessage, WSMsgType, web

from ..errors import RemoteProtocolError
from .messages import Hello, Message, Ping, Pong, Refused, check_hello, decode_message, encode_message
from .silence import LOST_S, PING_S, Silence

__all__ = ["CLOSE_S", "MAX_MESSAGE_BYTES", "Channel", "Load", "PeerListener", "close", "no_load"]

MAX_MESSAGE_BYTES = 1 << 20
# A peer that was stopped does not close its end.
CLOSE_S = 0.5
_HELLO_TIMEOUT_S = 5.0
_OUTBOX_MESSAGES = 65536
_ENDED = frozenset({WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR})

Load = tuple[int, int]
"""Free staging pages, and requests that wait."""

Socket = web.WebSocketResponse | ClientWebSocketResponse


def no_load() -> Load:
    """What a worker says of itself that has nothing to say."""
    return 0, 0


def _read(frame: WSMessage) -> Message:
    if frame.type is not WSMsgType.BINARY:
        raise RemoteProtocolError("The peer sent a text frame where messages are binary.")
    return decode_message(frame.data)


async def _refuse(socket: Socket, reason: str) -> None:
    """Tells a peer why the connection ends, if it still listens."""
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(CLOSE_S):
            await socket.send_bytes(encode_message(Refused(reason)))


async def close(socket: Socket) -> None:
    """Ends a connection; does not wait long for a peer that was stopped."""
    with contextlib.suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(2 * CLOSE_S):
            await socket.close()


class PeerListener(Protocol):
    """Who hears what peers say; called on the event loop, must not block."""

    def peer_joined(self, peer: str, hello: Hello) -> None:
        """A peer fits and is connected."""
        ...

    def peer_said(self, peer: str, message: Message) -> None:
        """A message arrived."""
        ...

    def peer_lost(self, peer: str, reason: str, unsent: Sequence[Message] = ()) -> None:
        """The connection is over, or could not be made; everything that was not committed over it is lost.

        Args:
            unsent: messages that never left this process.
        """
        ...


class Channel:
    """One open connection.

    Attributes:
        hello: what the peer said of itself.
    """

    def __init__(self, socket: Socket, ours: Hello, hello: Hello, load: Callable[[], Load]) -> None:
        self.hello = hello
        self._socket = socket
        self._epoch = ours.epoch
        self._load = load
        self._ending: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._outbox: asyncio.Queue[Message] = asyncio.Queue()

    @classmethod
    async def greet(cls, socket: Socket, ours: Hello, load: Callable[[], Load] = no_load) -> Channel:
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
        return cls(socket, ours, theirs, load)

    def post(self, message: Message) -> None:
        """Queues a message; messages arrive in order or the channel is lost."""
        if self._outbox.qsize() >= _OUTBOX_MESSAGES:
            self.end("it reads too slowly")
        else:
            self._outbox.put_nowait(message)

    def end(self, reason: str) -> None:
        """Has `run` return with this reason."""
        if not self._ending.done():
            self._ending.set_result(reason)

    async def run(self, peer: str, listener: PeerListener) -> str:
        """Sends and receives until the connection ends; returns why it ended. The caller closes it then."""
        silence = Silence(self._now())
        tasks = [asyncio.create_task(self._send()), asyncio.create_task(self._ping(silence))]
        try:
            while (frame := await self._receive(silence)) is not None:
                if frame.type is WSMsgType.ERROR:
                    return str(self._socket.exception() or "connection error")
                if frame.type in _ENDED:
                    return "the connection ended"
                silence.heard(self._now())
                message = _read(frame)
                match message:
                    case Refused(reason=reason):
                        return reason.rstrip(".")
                    case Ping(epoch=epoch) | Pong(epoch=epoch) if epoch != self.hello.epoch:
                        raise RemoteProtocolError(f"The peer's epoch is {epoch} where it said {self.hello.epoch}.")
                    case Ping():
                        self.post(Pong(self._epoch, *self._load()))
                    case Pong():
                        pass
                    case _:
                        listener.peer_said(peer, message)
            return self._ending.result() if self._ending.done() else f"it said nothing for {LOST_S:g} s"
        except RemoteProtocolError as error:
            await _refuse(self._socket, str(error))
            return str(error).rstrip(".")
        finally:
            for task in tasks:
                task.cancel()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _receive(self, silence: Silence) -> WSMessage | None:
        """Returns the next frame, or None when the peer fell silent or `end` was called."""
        reading = asyncio.create_task(self._socket.receive())
        try:
            while not reading.done():
                if self._ending.done() or (left := silence.left(self._now())) <= 0:
                    return None
                await asyncio.wait({reading, self._ending}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            return reading.result()
        finally:
            if not reading.done():
                reading.cancel()
                await asyncio.wait({reading})

    async def _ping(self, silence: Silence) -> None:
        while True:
            self.post(Ping(self._epoch, *self._load()))
            await asyncio.sleep(PING_S)
            silence.beat(self._now())

    async def _send(self) -> None:
        try:
            while True:
                await self._socket.send_bytes(encode_message(await self._outbox.get()))
        except ConnectionError:
            return  # the receiving side notices and says why
