"""Decode's side of the channel: one connection per prefill worker, opened when there is something to say."""

from __future__ import annotations

import asyncio

from aiohttp import ClientError, ClientSession, ClientTimeout

from ..errors import RemoteProtocolError
from .channel import HEARTBEAT_S, MAX_MESSAGE_BYTES, Channel, PeerListener
from .messages import Hello, Message

__all__ = ["PeerClient"]

_CONNECT_TIMEOUT_S = 5.0


class PeerClient:
    """Channels to prefill workers, by their bootstrap address host:port.

    A connection that cannot be made, or ends, is reported with `peer_lost`; the next message tries again.

    Args:
        hello: what this worker says of itself.
    """

    def __init__(self, hello: Hello, listener: PeerListener) -> None:
        self._hello = hello
        self._listener = listener
        self._session: ClientSession | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._channels: dict[str, Channel] = {}
        self._pending: dict[str, list[Message]] = {}

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
            self._tasks[peer] = asyncio.create_task(self._serve(peer), name=f"peer {peer}")

    async def _serve(self, peer: str) -> None:
        try:
            reason = await self._talk(peer)
        except RemoteProtocolError as error:
            reason = str(error).rstrip(".")
        except TimeoutError:
            reason = f"cannot connect (no answer within {_CONNECT_TIMEOUT_S:g} s)"
        except (ClientError, OSError) as error:
            reason = f"cannot connect ({error or type(error).__name__})"
        except Exception as error:  # a bug of this worker's; the peer's rooms must still end
            reason = f"this worker failed ({error!r})"
        finally:
            self._channels.pop(peer, None)
            self._pending.pop(peer, None)
            self._tasks.pop(peer, None)
        self._listener.peer_lost(peer, f"The prefill worker at {peer} went away: {reason}.")

    async def _talk(self, peer: str) -> str:
        assert self._session is not None
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            connected = await self._session.ws_connect(
                f"http://{peer}/peer", max_msg_size=MAX_MESSAGE_BYTES, heartbeat=HEARTBEAT_S, compress=0
            )
        try:
            channel = await Channel.greet(connected, self._hello)
            self._channels[peer] = channel
            self._listener.peer_joined(peer, channel.hello)
            for message in self._pending.pop(peer, []):
                channel.post(message)
            return await channel.run(peer, self._listener)
        finally:
            await connected.close()
