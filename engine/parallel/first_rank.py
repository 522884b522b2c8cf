"""Rank 0 of a parallel worker: how it brings the ranks together, and what `loading` and `serve` get from it.

The order of a start: the other ranks are processes already (`node`); they meet in the store and agree, connect for
orders, load their parts while rank 0 loads its own, form a group, and compute a prompt together. Whoever is gone before
the worker serves ends the start with one sentence.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import sys
import threading
from collections.abc import Callable

import torch

from ..config import Environment, ServerConfig
from ..kv import KVCache
from ..log import Stopwatch, record
from ..model.executor import TokenSpan
from ..model.store import ResolvedModel
from ..statistics import RankStatistics
from ..transfer.api import TransferSettings
from ..transfer.select import Selection
from ..vision.embeddings import EmbeddingStore
from .agreement import Member
from .carrier import RankCarrier
from .carriers import WorkerCarrier
from .elastic import GroupTerms, Recovery
from .follower import introduce
from .frames import Form, Formed, Load, Loaded, Serve
from .leader import Leader
from .meter import Meter
from .node import NodeRanks
from .opening import RankParts, join_group, open_parts, settle, take_cores
from .orders import PeerRank, Written
from .ranks import Rank, RankedExecutor, RankedKV
from .rendezvous import Welcome, meet, open_store

__all__ = ["FirstRank", "open_first_rank"]

_CONNECT_S = 30.0
_LAST_S = 1.0
_SECRET_BYTES = 24


class FirstRank:
    """Rank 0 with all the others behind it.

    Attributes:
        executor: computes on all ranks.
        kv: this rank's own.
        selection: this rank's transport; None on a unified worker.
        groups: the KV memory of each attention group.
        carrier: moves KV of all ranks; None on a unified worker.
    """

    def __init__(
        self,
        parts: RankParts,
        rank: Rank,
        leader: Leader,
        loaded: dict[int, Loaded],
        meter: Meter,
        own: Member,
        recovery: Recovery | None = None,
    ) -> None:
        self.config = parts.config
        self.kv: KVCache = parts.kv
        self.selection: Selection | None = parts.selection
        self.settings = parts.settings
        self.executor = RankedExecutor(rank, leader)
        groups = range(parts.config.attn_dp_size)
        self.groups = tuple(RankedKV(group, rank, leader) for group in groups)
        self.carrier = self._worker_carrier(rank, parts, leader)
        self._first_parts = parts
        self._recovery = recovery
        if recovery is not None:
            self.executor.on_broken = self._recover
        self._on_leave: Callable[[], None] = lambda: None
        self._on_renewed: Callable[[], None] = lambda: None
        self._rank = rank
        self._leader = leader
        self._endpoints = {rank: one.endpoint for rank, one in loaded.items()}
        self._meter = meter
        self._own = own
        self._written: dict[int, list[int]] = {shard.rank: [0, 0] for shard in parts.shards}
        leader.on_written = self._count
        leader.on_profiled = self._profiled

    @staticmethod
    def _worker_carrier(rank: Rank, parts: RankParts, leader: Leader) -> WorkerCarrier | None:
        if not isinstance(rank.carrier, RankCarrier):
            return None
        return WorkerCarrier(rank.carrier, _groups_of(parts), leader, leader)

    @property
    def _parts(self) -> RankParts:
        return self._first_parts if self._recovery is None else self._recovery.parts

    def warm_up(self) -> None:
        """Has all ranks compute a prompt and a token in slot 0 of each group: the first pass maps the weights."""
        groups = range(len(self.groups))
        with torch.inference_mode():
            self.executor.forward([TokenSpan([0] * 8, 0, 0, True, group) for group in groups], self.kv)
            self.executor.forward([TokenSpan([0], 8, 0, True, group) for group in groups], self.kv)

    def _recover(self) -> bool:
        """Goes on with the ranks that are left; returns False when none is gone. On the step loop's thread."""
        assert self._recovery is not None
        if not self._leader.lost:
            return False
        self._on_leave()
        self._recovery.recover()
        parts, carrier = self._parts, self._rank.carrier
        self.kv, self.selection, self._endpoints = parts.kv, parts.selection, self._recovery.endpoints
        if self.carrier is not None and isinstance(carrier, RankCarrier):
            self.carrier.renew(carrier, _groups_of(parts))
        self._on_renewed()
        return True

    def serve(
        self,
        on_lost: Callable[[str], None],
        on_fewer: Callable[[], None],
        on_leave: Callable[[], None] = lambda: None,
        on_renewed: Callable[[], None] = lambda: None,
    ) -> None:
        """Tells the ranks that the worker takes requests.

        Args:
            on_lost: told from now on why the worker has to end, when a rank is gone.
            on_fewer: called instead where the others go on; has the step loop call the executor's `recover`.
            on_leave: called by that first: returns when no peer hears of this worker any more.
            on_renewed: called by that last: KV memory, transport and ranks are others now.
        """
        self._on_leave, self._on_renewed = on_leave, on_renewed

        def lost(rank: int, reason: str) -> None:
            if self._recovery is not None:
                self._recovery.lost(rank, reason)
                on_fewer()
                return
            if self.carrier is not None:
                self.carrier.lost(rank)
            on_lost(reason)

        self._leader.on_lost = lost
        if reason := self._leader.gone(0.0):
            on_lost(reason)
        self._leader.watch_silence()
        self._leader.tell(Serve())

    def peer_ranks(self) -> tuple[PeerRank, ...]:
        """Returns what peers need to know of the ranks of a worker that transfers."""
        parts = self._parts
        endpoints = self._endpoints | {0: parts.endpoint}
        return tuple(
            PeerRank(endpoint, shard.group, shard.kv_heads.start, shard.kv_heads.stop)
            for rank, shard in zip(parts.ranks, parts.shards, strict=True)
            if (endpoint := endpoints[rank]) is not None
        )

    def statistics(self) -> tuple[RankStatistics, ...]:
        """Returns what each rank is, has and has done so far."""
        alive = self._leader.alive | {0: True}
        pulses = self._leader.pulses | {0: self._meter.pulse(0)}
        members = self._leader.members | {0: self._own}
        found: list[RankStatistics] = []
        parts = self._parts
        for rank in range(parts.config.tp_size):
            shard, pulse = parts.shard_of(rank), pulses.get(rank)
            kv_bytes, kv_writes = self._written[rank]
            found.append(
                RankStatistics(
                    rank=rank,
                    pid=members[rank].pid,
                    node=members[rank].node,
                    host=members[rank].host,
                    group=shard.group if shard is not None else 0,
                    heads=(shard.heads.start, shard.heads.stop) if shard is not None else (0, 0),
                    kv_heads=(shard.kv_heads.start, shard.kv_heads.stop) if shard is not None else (0, 0),
                    experts=parts.experts_of(rank),
                    alive=alive[rank],
                    compute_s=pulse.compute_s if pulse is not None else 0.0,
                    wait_s=pulse.wait_s if pulse is not None else 0.0,
                    cpu_s=pulse.cpu_s if pulse is not None else 0.0,
                    lived_s=pulse.lived_s if pulse is not None else 0.0,
                    memory=pulse.resident if pulse is not None else 0,
                    kv_bytes=kv_bytes,
                    kv_writes=kv_writes,
                    bounce=pulse.bounce if pulse is not None and alive[rank] else 0,
                    problem=self._leader.ends.get(rank, ""),
                )
            )
        return tuple(found)

    def _count(self, written: Written) -> None:
        counts = self._written[written.rank]
        counts[0] += written.bytes if written.ok else 0
        counts[1] += written.writes

    def _profiled(self, rank: int, path: str) -> None:
        if self.executor.on_profiled is not None:
            self.executor.on_profiled(rank, path)

    def stop(self, reason: str = "") -> None:
        """Ends the other ranks; returns when those of this node are gone.

        Args:
            reason: why, where nobody told the worker to end.
        """
        self._leader.stop(reason)


def _groups_of(parts: RankParts) -> list[list[int]]:
    """Returns the ranks of each attention group."""
    members = [*zip(parts.ranks, parts.shards, strict=True)]
    groups = range(parts.config.attn_dp_size)
    return [[rank for rank, shard in members if shard.group == group] for group in groups]


def open_first_rank(
    config: ServerConfig,
    environment: Environment,
    model: ResolvedModel,
    context_length: int,
    ranks: NodeRanks,
    watch: Stopwatch,
    open_transport: Callable[[TransferSettings], Selection],
    images: EmbeddingStore | None = None,
) -> FirstRank:
    """Brings the ranks together and warms them up.

    Args:
        config: as given.
        context_length: positions to prepare for.
        ranks: the processes of this node.
        images: where the embeddings of images are; None for a model that takes text alone.

    Raises:
        PdpanelError: a rank does not come, differs, fails or is gone.
    """
    resolved = settle(config)
    take_cores(resolved)
    assert ranks.bound is not None, "rank 0 is on node 0"
    store = open_store(ranks.bound, ranks.place, config.dist_timeout)
    own = introduce(0, config)
    listener = socket.create_server((ranks.place.host, 0), family=_family(ranks.place.host), backlog=config.tp_size)
    welcome = Welcome(ranks.place.host, listener.getsockname()[1], secrets.token_urlsafe(_SECRET_BYTES))
    members = meet(store, config, own, welcome, ranks.children.failure)
    leader = Leader(listener, welcome.secret, members, ranks.children, _give_up)
    leader.accept(_CONNECT_S)
    watch.lap("ranks")
    leader.tell(Load(model.model_sha, context_length))
    parts = open_parts(resolved, environment, model, 0, context_length, open_transport, images)
    loaded = leader.await_all(Loaded)
    meter = Meter()
    backend = _backend(parts, loaded, own)
    rank = _form(parts, leader, GroupTerms(store, ranks.place.host, backend), meter)
    watch.lap("weights")
    recovery = None
    if config.elastic_ep_backend != "none":
        recovery = Recovery(parts, rank, leader, GroupTerms(store, ranks.place.host, backend), meter)
    first = FirstRank(parts, rank, leader, loaded, meter, own, recovery)
    record("executor", executor=first.executor.info.executor, reason=first.executor.info.reason, ranks=config.tp_size)
    first.warm_up()
    watch.lap("warm-up")
    return first


def _backend(parts: RankParts, loaded: dict[int, Loaded], own: Member) -> str:
    """Returns what the collectives go over: NCCL takes one rank on a GPU."""
    devices = [f"{own.host}/{parts.device}", *(one.device for one in loaded.values())]
    return "nccl" if parts.device.type == "cuda" and len(set(devices)) == len(devices) else "gloo"


def _form(parts: RankParts, leader: Leader, terms: GroupTerms, meter: Meter) -> Rank:
    """Has all ranks enter the first group."""
    form = Form(0, parts.ranks, terms.backend)
    leader.tell(form)
    rank = join_group(parts, terms.store, form, terms.host, meter, leader.report)
    leader.await_all(Formed)
    return rank


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _give_up(rank: int, reason: str) -> None:
    """Ends a start that cannot succeed any more, though its thread may wait for a rank that is gone."""
    record("fatal", level=logging.ERROR, reason=reason)

    def end() -> None:
        print(f"error: {reason}", file=sys.stderr, flush=True)
        os._exit(2)

    timer = threading.Timer(_LAST_S, end)
    timer.daemon = True
    timer.start()
