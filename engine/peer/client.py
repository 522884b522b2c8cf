"""Decode's side of the channel: one connection per prefill worker, opened when there is something to say.

A connection that ended is made again, with growing pauses, while pages wait for the peer: a peer that lives says that
it is done with them, and a restarted one shows by its epoch that the old one is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from aiohttp import ClientError, ClientSession, ClientTimeout

from ..errors import RemoteProtocolError
from .channel import MAX_MESSAGE_BYTES, Channel, Load, PeerListener, close, no_load
from .messages import Hello, Message

__all__ = ["PeerClient"]

_CONNECT_TIMEOUT_S = 5.0
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0


class PeerClient:
    """Channels to prefill workers, by their bootstrap address host:port.

    A connection that ends, or cannot be made although there was something to say, is reported with `peer_lost`.

    Args:
        hello: what this worker says of itself.
        is_awaited: whether anything here still waits for a lost peer.
        load: what the pings say of this worker.
    """

    def __init__(
        self,
        hello: Hello,
        listener: PeerListener,
        is_awaited: Callable[[str], bool] = lambda peer: False,
        load: Callable[[], Load] = no_load,
    ) -> None:
        self._hello = hello
        self._listener = listener
        self._is_awaited = is_awaited
        self._load = load
        self._session: ClientSession | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._channels: dict[str, Channel] = {}
        self._pending: dict[str, list[Message]] = {}
        self._wakes: dict[str, asyncio.Event] = {}
        self._is_here = asyncio.Event()
        self._is_here.set()
        self._life = 0  # counts how often this worker came back as another one

    @property
    def connected(self) -> tuple[str, ...]:
        """The peers that there is a channel to."""
        return tuple(self._channels)

    async def start(self) -> None:
        """Makes the client ready; connects to nobody yet."""
        timeout = ClientTimeout(total=None, connect=_CONNECT_TIMEOUT_S)
        self._session = ClientSession(timeout=timeout, trust_env=False)

    async def stop(self) -> None:
        """Ends all channels."""
        for task in (tasks := list(self._tasks.values())):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def send(self, peer: str, message: Message) -> None:
        """Queues a message in order, connecting first when there is no channel."""
        if (channel := self._channels.get(peer)) is not None:
            channel.post(message)
            return
        self._pending.setdefault(peer, []).append(message)
        if peer not in self._tasks:
            self._wakes[peer] = asyncio.Event()
            self._tasks[peer] = asyncio.create_task(self._serve(peer), name=f"peer {peer}")
        else:
            self._wakes[peer].set()

    def leave(self, reason: str) -> None:
        """Ends all channels, as the end of the process would; nobody is connected to until `come_back`."""
        self._is_here.clear()
        self._life += 1
        channels, self._channels = self._channels, {}
        unsent, self._pending = self._pending, {}
        for peer in {**channels, **unsent}:
            text = f"The prefill worker at {peer} was disconnected: {reason}."
            self._listener.peer_lost(peer, text, unsent.get(peer, []))
        for channel in channels.values():
            channel.end(reason)

    def come_back(self, hello: Hello) -> None:
        """Connects as another process at this address would."""
        self._hello = hello
        self._is_here.set()

    def drop(self, peer: str, reason: str) -> None:
        """Ends the channel to a peer, if there is one; the listener hears the reason."""
        if (channel := self._channels.get(peer)) is not None:
            channel.end(reason)

    async def _serve(self, peer: str) -> None:
        """Connects and talks until nobody here needs the peer any more."""
        pause_s = _FIRST_PAUSE_S
        try:
            while peer in self._pending or self._is_awaited(peer):
                await self._is_here.wait()
                if await self._visit(peer):
                    pause_s = _FIRST_PAUSE_S
                self._wakes[peer].clear()
                if peer not in self._pending:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._wakes[peer].wait(), pause_s)
                    pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        finally:
            del self._tasks[peer], self._wakes[peer]
            self._pending.pop(peer, None)

    async def _visit(self, peer: str) -> bool:
        """Makes one connection and stays while it lasts; returns whether it was made."""
        life = self._life
        async with contextlib.AsyncExitStack() as connection:  # closed only after the loss was told
            try:
                reason = await self._talk(peer, connection, life)
            except RemoteProtocolError as error:
                reason = str(error).rstrip(".")
            except TimeoutError:
                reason = f"cannot connect (no answer within {_CONNECT_TIMEOUT_S:g} s)"
            except (ClientError, OSError) as error:
                reason = f"cannot connect ({error or type(error).__name__})"
            except Exception as error:  # a bug of this worker's; the peer's rooms must still end
                reason = f"this worker failed ({error!r})"
            finally:
                is_told = life != self._life  # by `leave`; what is pending is for the next connection
                joined = self._channels.pop(peer, None) is not None
                unsent = [] if is_told else self._pending.pop(peer, [])
            if joined or unsent:
                self._listener.peer_lost(peer, f"The prefill worker at {peer} went away: {reason}.", unsent)
        return joined or is_told

    async def _talk(self, peer: str, connection: contextlib.AsyncExitStack, life: int) -> str:
        assert self._session is not None
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            connected = await self._session.ws_connect(
                f"http://{peer}/peer",
                max_msg_size=MAX_MESSAGE_BYTES,
                compress=0,
            )
        connection.push_async_callback(close, connected)
        channel = await Channel.greet(connected, self._hello, self._load)
        if life != self._life:
            raise RemoteProtocolError("this worker has other ranks now")
        self._channels[peer] = channel
        self._listener.peer_joined(peer, channel.hello)
        for message in self._pending.pop(peer, []):
            channel.post(message)
        return await channel.run(peer, self._listener)
