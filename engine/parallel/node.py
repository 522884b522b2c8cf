"""One node's part of a worker before anything heavy is imported: its rank processes, and on nodes above 0 all there is.

Node 0's first rank is the process itself; a node above 0 starts all its ranks as children, serves nothing but /health,
and ends when they do. Imports no torch. `launch_server` calls it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass, replace

from aiohttp import web

from ..config import Environment, ServerConfig
from ..errors import ConfigError
from ..http.answer import error_body, json_response
from ..log import record
from ..model.store import resolve_model
from ..net import bind_listener
from ..progress_log import ProgressLog
from ..service import listening
from .agreement import MeetingPlace, place_of, ranks_of
from .children import Children, Ending, RankStart
from .frames import tell_end
from .layout import check_sizes, notice_of

__all__ = ["NodeRanks", "serve_node", "start_ranks"]

_LOOPBACK = "127.0.0.1"
_STOP_S = 0.5
_NAME_S = 20.0
_LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class NodeRanks:
    """The rank processes of this node.

    Attributes:
        place: where all ranks meet.
        bound: on node 0, the socket of that place, which nobody listens at yet.
    """

    place: MeetingPlace
    children: Children
    bound: socket.socket | None


def start_ranks(config: ServerConfig, environment: Environment) -> NodeRanks:
    """Starts the processes of this node's ranks, rank 0 aside, which is this process; on the main thread.

    Raises:
        ConfigError: the model cannot be spread so, or --dist-init-addr is not this node's, or in use.
    """
    _check_model(config, environment)
    place, bound = place_of(config), None
    if config.node_rank == 0:
        host, port = (place.host, place.port) if place is not None else (_LOOPBACK, 0)
        bound = _bound(host, port)
        place = MeetingPlace(host, bound.getsockname()[1])
    assert place is not None, "several nodes have an address to meet at"
    children, own = Children(), replace(config, api_key="", admin_api_key="")
    for rank in ranks_of(config, config.node_rank):
        if rank:
            children.start(RankStart(rank, own, place, os.getpid()))
            record("rank_started", rank=rank, pid=children.pid(rank), node=config.node_rank)
    return NodeRanks(place, children, bound)


def _bound(host: str, port: int) -> socket.socket:
    _await_name(host)
    try:
        return bind_listener("--dist-init-addr", host, port)
    except ConfigError as error:
        remedy = "give an address of this node, which is node 0, on all nodes"
        if error.field != "--host":
            remedy = "give another port, the same on all nodes, or stop what uses this one"
        raise ConfigError("--dist-init-addr", f"{host}:{port}", error.problem, remedy) from None


def _await_name(host: str) -> None:
    """Returns once the name is known, or after some time: that of a pod is there a moment later than the pod."""
    deadline = time.monotonic() + _NAME_S
    while not _is_known(host) and time.monotonic() < deadline:
        time.sleep(_LOOK_S)


def _is_known(host: str) -> bool:
    try:
        return bool(socket.getaddrinfo(host, None))
    except (socket.gaierror, UnicodeError):
        return False


def _check_model(config: ServerConfig, environment: Environment) -> None:
    """Checks that the model can be spread as asked; says once what does not divide.

    Raises:
        ConfigError: with the sizes that fit.
    """
    shape = resolve_model(config.model_path, environment, ProgressLog()).shape
    check_sizes(shape, config.sizes)
    if config.node_rank == 0 and (notice := notice_of(shape, config.sizes)):
        record("shares", tp_size=config.tp_size, attn_dp_size=config.attn_dp_size, notice=notice)


def serve_node(config: ServerConfig, listener: socket.socket, ranks: NodeRanks) -> int:
    """Serves /health until the ranks of this node have ended; returns the exit code."""
    return asyncio.run(_Node(config, ranks.children).serve(listener))


class _Node:
    def __init__(self, config: ServerConfig, children: Children) -> None:
        self._config = config
        self._children = children
        self._unready = set(children.ranks)
        self._left = set(children.ranks)
        self._orders: dict[int, str] = {}
        self._failure = ""
        self._ended = asyncio.Event()
        self._was_told = False

    async def serve(self, listener: socket.socket) -> int:
        loop = asyncio.get_running_loop()

        def on_word(rank: int, word: str) -> None:
            loop.call_soon_threadsafe(self._said, rank, word)

        def on_ended(rank: int, end: Ending) -> None:
            loop.call_soon_threadsafe(self._rank_ended, rank, end)

        self._children.on_word = on_word
        self._children.watch(on_ended)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told)
        app = web.Application()
        for path in ("/health", "/ready"):
            app.router.add_get(path, self._health)
        async with listening(web.AppRunner(app, access_log=None), listener, self._config):
            await self._ended.wait()
            record("stopping", node=self._config.node_rank, reason=self._failure)
            if self._was_told and not self._failure:
                await asyncio.to_thread(self._take_leave)
            await asyncio.to_thread(self._children.stop, 0.0 if self._was_told else _STOP_S)
        return (2 if self._unready else 1) if self._failure else 0

    def _told(self) -> None:
        self._was_told = True
        self._ended.set()

    def _take_leave(self) -> None:
        """Waits a moment for ranks whose worker ends, too; else tells the first rank why they are killed next."""
        deadline = time.monotonic() + _STOP_S
        for rank, orders in sorted(self._orders.items()):
            if self._children.end_of(rank, max(0.0, deadline - time.monotonic())) is None:
                tell_end(orders, rank, "was told to end, with its node.")
                return

    async def _health(self, request: web.Request) -> web.StreamResponse:
        if self._unready or self._failure:
            words = self._failure or "Not all ranks of the worker are ready."
            return json_response(error_body(words, 503), 503)
        return json_response({"status": "ok"})

    def _said(self, rank: int, word: str) -> None:
        kind, _, rest = word.partition(" ")
        if kind == "orders":
            self._orders[rank] = rest
        elif kind == "ready":
            self._unready.discard(rank)
            if not self._unready:
                record("ready", address=f"{self._config.host}:{self._config.port}", node=self._config.node_rank)

    def _rank_ended(self, rank: int, end: Ending) -> None:
        self._left.discard(rank)
        if end.code and not self._ended.is_set():
            pid = self._children.pid(rank)
            self._failure = f"Rank {rank} (pid {pid} on node {self._config.node_rank}) {end.words}"
            record("fatal", level=logging.ERROR, reason=self._failure)
            print(f"error: {self._failure}", file=sys.stderr)
            if rank in self._orders:
                threading.Thread(target=tell_end, args=(self._orders[rank], rank, end.words)).start()
        if end.code or not self._left:
            self._ended.set()
