"""A rank other than the first: it loads its part, then carries out orders one after the other until it is told to stop.

Orders are read by a thread of their own, which ends the process when the connection ends: without the first rank there
is nothing to do, and the thread that computes may wait for an exchange that nobody joins any more. What goes wrong here
is told to the first rank, which says it to people. `launch_rank` calls `follow`.
"""

from __future__ import annotations

import logging
import os
import queue
import socket
import threading
import time
from collections.abc import Callable

import torch
from torch._C._distributed_c10d import Store

from ..config import Environment, ServerConfig
from ..errors import ConfigError, PdpanelError, RankError
from ..loading import open_transport
from ..log import record
from ..model.store import resolve_model
from .agreement import Member, node_of, terms_of
from .carrier import RankCarrier
from .children import RankStart
from .frames import Down, Form, Formed, FrameSocket, Joining, Load, Loaded, Renew, Renewed, Serve, Up, decode_down
from .meter import Meter
from .opening import RankParts, join_group, open_parts, regrouped, renewed, settle, take_cores
from .orders import Failed, Stop
from .ranks import Rank
from .rendezvous import join
from .versions import versions

__all__ = ["Follower", "Say", "follow", "introduce"]

_log = logging.getLogger(__name__)
_PULSE_S = 1.0
_CONNECT_S = 10.0

Say = Callable[[str], None]
"""Tells the parent process a word."""


def introduce(rank: int, config: ServerConfig) -> Member:
    """Returns how this process introduces itself as a rank."""
    node = node_of(rank, config.tp_size, config.nnodes)
    return Member(rank, node, os.getpid(), socket.gethostname(), terms_of(config, versions()))


def follow(start: RankStart, environment: Environment, say: Say) -> int:
    """Takes part in a worker until the first rank says Stop; returns the exit code.

    Args:
        say: takes `orders HOST PORT SECRET` once connected, and `ready` once the worker serves.

    Raises:
        PdpanelError: the rank cannot take part; the first rank knows, or is not there.
    """
    config = start.config
    store, welcome = join(start.place, config, introduce(start.rank, config))
    try:
        connection = socket.create_connection((welcome.host, welcome.port), timeout=_CONNECT_S)
    except OSError as error:
        raise PdpanelError(f"Rank 0 takes no connections at {welcome.host}:{welcome.port} ({error}).") from None
    connection.settimeout(None)
    link = FrameSocket(connection)
    link.send(Joining(welcome.secret, start.rank, os.getpid()))
    say(f"orders {welcome.host} {welcome.port} {welcome.secret}")
    return Follower(start.rank, config, environment, store, link, say).run()


class Follower:
    """One rank that follows orders.

    Args:
        store: where process groups are made.
        link: to the first rank.
    """

    def __init__(
        self, rank: int, config: ServerConfig, environment: Environment, store: Store, link: FrameSocket, say: Say
    ) -> None:
        self._number = rank
        self._config = config
        self._environment = environment
        self._store = store
        self._link = link
        self._say = say
        self._orders: queue.SimpleQueue[Down] = queue.SimpleQueue()
        self._meter = Meter()
        self._parts: RankParts | None = None
        self._rank: Rank | None = None
        self._stopping = False

    def run(self) -> int:
        """Carries orders out; returns the exit code."""
        for target in (self._read, self._beat):
            threading.Thread(target=target, name=f"{target.__name__} of rank {self._number}", daemon=True).start()
        try:
            with torch.inference_mode():
                while not isinstance(order := self._orders.get(), Stop):
                    self._take(order)
        except Exception as error:
            if not isinstance(error, PdpanelError):
                _log.exception("rank %s failed", self._number)
            reason = str(error) if isinstance(error, PdpanelError) else f"{type(error).__name__}: {error}"
            self._tell(Failed(self._number, reason))
            self._say(f"failed {reason}")
            return 1
        self._close()
        if order.reason:  # the process that started this one ends as the worker does
            self._say(f"failed the worker ended: {order.reason}")
            return 1
        return 0

    def _take(self, order: Down) -> None:
        match order:
            case Load():
                self._load(order)
            case Renew():
                self._renew(order)
            case Form():
                self._form(order)
            case Serve():
                self._say("ready")
            case _:
                self._carry_out(order)

    def _carry_out(self, order: Down) -> None:
        assert self._rank is not None, "no order comes before the group is formed"
        try:
            self._rank.carry_out(order)  # type: ignore[arg-type]
        except RankError as error:  # the first rank knows more; it ends us, or forms another group
            record("rank_waits", level=logging.WARNING, rank=self._number, reason=str(error))

    def _load(self, load: Load) -> None:
        config = settle(self._config)
        take_cores(config)
        model = resolve_model(config.model_path, self._environment)
        if model.model_sha != load.model_sha:
            node = node_of(self._number, config.tp_size, config.nnodes)
            problem = (
                f"node {node} has another model there ({model.model_sha[:12]}) than rank 0 ({load.model_sha[:12]})"
            )
            raise ConfigError("--model-path", config.model_path, problem, "give all nodes the same model")
        self._parts = open_parts(
            config,
            self._environment,
            model,
            self._number,
            load.context_length,
            lambda settings: open_transport(config, self._environment, settings),
        )
        where = f"{socket.gethostname()}/{self._parts.device}"
        self._tell(Loaded(self._number, where, self._parts.endpoint))

    def _form(self, form: Form) -> None:
        assert self._parts is not None, "a rank loads first"
        try:
            self._rank = join_group(self._parts, self._store, form, self._link.own_host, self._meter, self._tell)
        except RankError as error:
            if not form.generation:
                raise
            # Another rank is gone meanwhile: the first one knows, and asks for a group without it.
            record("rank_waits", level=logging.WARNING, rank=self._number, reason=str(error))
            return
        self._tell(Formed(self._number, form.generation))

    def _renew(self, renew: Renew) -> None:
        assert self._parts is not None, "a rank loads first"
        self._parts = renewed(regrouped(self._parts, renew.ranks), self._carrier)
        self._tell(Renewed(self._number, renew.generation, self._parts.endpoint))

    @property
    def _carrier(self) -> RankCarrier | None:
        """What moves this rank's KV, once it is in a group."""
        carrier = self._rank.carrier if self._rank is not None else None
        return carrier if isinstance(carrier, RankCarrier) else None

    def _tell(self, message: Up) -> None:
        try:
            self._link.send(message)
        except OSError:
            pass  # the first rank is gone, and `_read` knows

    def _read(self) -> None:
        while (body := self._link.receive()) is not None:
            message = decode_down(body)
            self._stopping = self._stopping or isinstance(message, Stop)
            before = self._rank
            self._orders.put(message)
            if isinstance(message, Renew) and before is not None:  # whose pass may wait for a rank that is gone
                before.leave()
        if not self._stopping:
            reason = "rank 0 is gone: its connection ended."
            record("rank_ends", level=logging.WARNING, rank=self._number, reason=reason)
            self._say(f"failed {reason}")
            os._exit(1)

    def _beat(self) -> None:
        while True:
            carrier = self._carrier
            bounce = carrier.bounce_in_use if carrier is not None else 0
            self._tell(self._meter.pulse(self._number, bounce))
            time.sleep(_PULSE_S)

    def _close(self) -> None:
        if self._rank is not None:
            self._rank.close()
        if self._parts is not None and self._parts.selection is not None:
            self._parts.selection.endpoint.close()
