"""Check mode in the exchange: pages that arrive damaged end their request, and only theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import torch
from msgspec.structs import replace
from pdpanel.engine.actions import Emit, ImportPages, SendAbort, SendAck
from pdpanel.engine.decode_core import DecodeCore
from pdpanel.engine.exchange import DecodeExchange
from pdpanel.engine.kv import KVCache
from pdpanel.engine.lifecycle import DECODE, State
from pdpanel.engine.metrics import EngineMetrics
from pdpanel.engine.page_checks import PageDigests, in_order
from pdpanel.engine.pages import PagePool, Run
from pdpanel.engine.parallel.carriers import WorkerCarrier
from pdpanel.engine.parallel.joint import nothing
from pdpanel.engine.parallel.orders import Order, Settle, Written
from pdpanel.engine.parallel.shipment import RankPlace
from pdpanel.engine.peer.messages import Commit
from pdpanel.engine.profiling_spans import Spans
from pdpanel.engine.request import Bootstrap, GenerateRequest, SamplingParams
from pdpanel.engine.schedule import Schedule
from pdpanel.engine.sequence import Sequence
from prometheus_client import CollectorRegistry

PAGES, PAGE = 8, 4


class Decode:
    """A decode worker's core and exchange over plain memory; `prefill` is the other side's memory."""

    def __init__(self) -> None:
        schedule = Schedule(PagePool(PAGES), page_size=PAGE, chunk_tokens=16, max_running=4, reserve_tokens=0)
        self.core = DecodeCore(schedule, PagePool(PAGES), staging_share=1.0, waiting_timeout_s=60.0, fence_s=20.0)
        self.memory = torch.zeros((PAGES, 6), dtype=torch.float32)
        self.prefill = torch.arange(PAGES * 6, dtype=torch.float32).view(PAGES, 6)
        self.metrics = EngineMetrics(CollectorRegistry(), "m", "decode")
        self.exchange = DecodeExchange(
            self.core,
            lambda call: call(1.0),
            cast(KVCache, None),
            self.metrics,
            vocab_size=100,
            digests=PageDigests(self.memory),
        )

    def submit(self, room: int) -> Sequence:
        request = GenerateRequest(
            f"r{room}", tuple(range(7)), SamplingParams(max_new_tokens=4), Bootstrap("h", 1, room)
        )
        sequence = Sequence(
            room, request, DECODE, seed=0, limit=11, stop_ids=frozenset(), tokens=list(range(7)),
            state=DECODE.start, peer="P",
        )  # fmt: skip
        self.core.submit(sequence, 0.0)
        return sequence

    def receive(self, sequence: Sequence, *, damaged: bool = False, digest: bool = True) -> None:
        """Has prefill's pages 5 and 6 arrive in what was granted, and the commit after them."""
        source = [Run(5, 2)]
        self.core.actions.clear()
        granted = [page for run in sequence.staging for page in range(run.start, run.stop)]
        self.memory[granted] = self.prefill[5:7]
        sent = PageDigests(self.prefill).written(source, sequence.staging)
        if damaged:
            self.memory[granted[1], 3] += 1
        known = in_order(sent, sequence.staging) if digest else ()
        self.exchange.peer_said("P", Commit(sequence.room, 9, 2, 48, 1, digest=known))

    def taken(self, kind: type) -> list[Any]:
        return [action for action in self.core.actions if isinstance(action, kind)]

    def errors(self) -> float:
        lines = self.metrics.render().decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith("pdpanel_integrity_errors_total"))


def test_pages_that_arrive_whole_are_taken() -> None:
    async def run() -> None:
        it = Decode()
        for room, digest in ((1, True), (2, False)):  # a prefill that does not check sends none
            sequence = it.submit(room)
            it.receive(sequence, digest=digest)
            assert sequence.state is State.RUNNING
            assert it.taken(ImportPages)
            assert [ack.known for ack in it.taken(SendAck)] == [True]
        assert it.errors() == 0

    asyncio.run(run())


def test_pages_that_arrive_damaged_end_their_request_alone() -> None:
    async def run() -> None:
        it = Decode()
        hurt, other = it.submit(1), it.submit(2)
        it.receive(hurt, damaged=True)
        assert not it.taken(ImportPages)
        (emit,) = it.taken(Emit)
        assert emit.finish.http_status == 502 and "damaged" in emit.finish.message
        assert [abort.room for abort in it.taken(SendAbort)] == [1]
        assert hurt.state is State.FENCING
        assert it.errors() == 1
        it.receive(other)
        assert other.state is State.RUNNING
        it.core.drained("P", 1, 2.0)
        assert it.core.staging.free == PAGES
        assert it.errors() == 1

    asyncio.run(run())


class RanksOfWhichOneDies:
    """The way to one follower that is gone before it answers: the first rank alone does."""

    def __init__(self) -> None:
        self.place = RankPlace()
        self.noted = Spans()
        self._listeners: dict[int, Callable[[Written], None]] = {}

    def listen(self, ticket: int, callback: Callable[[Written], None]) -> None:
        self._listeners[ticket] = callback

    def forget(self, ticket: int) -> None:
        del self._listeners[ticket]

    def send(self, order: Order) -> None:
        """Nobody hears it."""

    def carry(self, order: Order) -> None:
        assert isinstance(order, Settle)
        self._listeners[order.ticket](replace(nothing(order.ticket, 0), digest=(1, 2)))


def test_a_rank_that_dies_while_pages_are_checked_is_no_damage() -> None:
    async def run() -> None:
        it, ranks = Decode(), RanksOfWhichOneDies()
        carrier = WorkerCarrier(cast(Any, ranks), ((0, 1),), cast(Any, ranks), cast(Any, ranks))
        it.exchange._carrier = carrier
        sequence = it.submit(1)
        it.receive(sequence)
        assert sequence.state is State.GRANTED and carrier.tickets == 1
        carrier.lost(1)
        assert sequence.state is State.FENCING and carrier.tickets == 0
        (emit,) = it.taken(Emit)
        assert emit.finish.http_status == 502 and "lost a rank" in emit.finish.message
        assert it.errors() == 0

    asyncio.run(run())
