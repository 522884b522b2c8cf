"""Prefill's bootstrap port: SGLang's topology query, Mooncake's metadata, and the channel for decode workers."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping, Sequence

from aiohttp import web

from ..errors import RemoteProtocolError
from ..http.guard import AllowedHosts
from ..http.patience import patient_runner
from ..log import record
from .channel import CLOSE_S, MAX_MESSAGE_BYTES, Channel, Load, PeerListener, close, no_load
from .messages import Hello, Message
from .metadata_routes import add_metadata, refuse_pages
from .metadata_store import MetadataStore

__all__ = ["PeerServer", "topology"]

# Shorter than a decode worker tries to connect.
_AWAY_S = 4.0
_ROUTE_PARAMETERS = ("prefill_dp_rank", "prefill_cp_rank", "target_tp_rank", "target_pp_rank")


def topology(hello: Hello, http_port: int) -> dict[str, object]:
    """Returns the answer to SGLang's `GET /route` with all ranks -1 (sglang-wire.md 5)."""
    groups = [rank.group for rank in hello.all_ranks]
    return {
        "attn_tp_size": groups.count(0),
        "attn_cp_size": 1,
        "dp_size": len(set(groups)),
        "pp_size": 1,
        "page_size": hello.geometry.page_size,
        "kv_cache_dtype": hello.geometry.dtype,
        "kv_layout": hello.geometry.layout,
        "follow_bootstrap_room": False,
        "enable_dsa_cache_layer_split": False,
        "enable_kv_cache_sharding": False,
        "decode_allocation_policy": "early",
        "prefill_http_port": http_port,
    }


class PeerServer:
    """Accepts decode workers.

    Args:
        hello: what this worker says of itself.
        route: the answer to `GET /route`.
        names: names beside its address under which the server may be addressed.
        metadata: what Mooncake's engines registered already.
    """

    def __init__(
        self,
        hello: Hello,
        route: Mapping[str, object],
        listener: PeerListener,
        *,
        names: Sequence[str] = (),
        metadata: MetadataStore | None = None,
        load: Callable[[], Load] = no_load,
    ) -> None:
        self._hello = hello
        self._route = route
        self._listener = listener
        self._names = names
        self._load = load
        self._metadata = MetadataStore() if metadata is None else metadata
        self._channels: dict[str, Channel] = {}
        self._is_here = asyncio.Event()
        self._is_here.set()
        self._life = 0  # counts how often this worker came back as another one
        self._runner: web.AppRunner | None = None
        self._sockets: set[web.WebSocketResponse] = set()

    async def start(self, listening: socket.socket) -> None:
        """Serves on a bound socket."""
        host, port = listening.getsockname()[:2]
        app = web.Application(middlewares=[refuse_pages(AllowedHosts.of(host, port, self._names))])
        app.router.add_get("/health", self._health)
        app.router.add_get("/route", self._answer_route)
        app.router.add_put("/route", self._refuse_route)
        app.router.add_get("/peer", self._accept)
        add_metadata(app, self._metadata)
        self._runner = patient_runner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.SockSite(self._runner, listening).start()

    async def stop(self) -> None:
        """Ends all channels and the server."""
        await asyncio.gather(*(socket.close() for socket in tuple(self._sockets)))
        if self._runner is not None:
            await self._runner.cleanup()

    def leave(self, reason: str) -> None:
        """Ends all channels, as the end of the process would; workers that connect wait until `come_back`."""
        self._is_here.clear()
        self._life += 1
        channels, self._channels = self._channels, {}
        for peer, channel in channels.items():
            self._listener.peer_lost(peer, f"The decode worker at {peer} was disconnected: {reason}.")
            channel.end(reason)

    def come_back(self, hello: Hello, route: Mapping[str, object]) -> None:
        """Greets workers as another process at this address would."""
        self._hello, self._route = hello, route
        self._is_here.set()

    def send(self, peer: str, message: Message) -> None:
        """Queues a message for a connected peer; for a lost one it is dropped, since `peer_lost` was told."""
        if (channel := self._channels.get(peer)) is not None:
            channel.post(message)

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response(text="OK")

    async def _answer_route(self, request: web.Request) -> web.Response:
        missing = [name for name in _ROUTE_PARAMETERS if name not in request.query]
        if missing:
            return web.Response(status=400, text=f"Missing query parameters: {', '.join(missing)}.")
        return web.json_response(self._route)

    async def _refuse_route(self, request: web.Request) -> web.Response:
        text = "This prefill worker registers no ranks but its own; SGLang's workers need SGLang's bootstrap server."
        return web.Response(status=405, text=text, headers={"Allow": "GET"})

    async def _accept(self, request: web.Request) -> web.StreamResponse:
        try:
            await asyncio.wait_for(self._is_here.wait(), _AWAY_S)
        except TimeoutError:
            return web.Response(status=503, text="This worker has lost a rank and is not ready again.")
        life = self._life
        accepted = web.WebSocketResponse(max_msg_size=MAX_MESSAGE_BYTES, timeout=CLOSE_S, compress=False)
        await accepted.prepare(request)
        self._sockets.add(accepted)
        try:
            channel = await Channel.greet(accepted, self._hello, self._load)
            if life != self._life:
                raise RemoteProtocolError("This worker has other ranks now.")
            await self._talk(channel)
        except (RemoteProtocolError, ConnectionError) as error:
            record("peer_refused", level=logging.WARNING, remote=request.remote, reason=str(error))
        finally:
            self._sockets.discard(accepted)
            await close(accepted)
            if request.transport is not None:
                request.transport.abort()  # a peer that was stopped takes nothing any more
        return accepted

    async def _talk(self, channel: Channel) -> None:
        peer = channel.hello.address
        if (known := self._channels.get(peer)) is not None:  # the peer lost its end and came back, or was restarted
            self._listener.peer_lost(peer, f"The decode worker at {peer} connected anew.")
            known.end("it connected anew")
        self._channels[peer] = channel
        reason = "this worker failed to read a message"
        try:
            self._listener.peer_joined(peer, channel.hello)
            reason = await channel.run(peer, self._listener)
        finally:
            if self._channels.get(peer) is channel:
                del self._channels[peer]
                self._listener.peer_lost(peer, f"The decode worker at {peer} went away: {reason}.")
