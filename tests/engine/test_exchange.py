"""Between cores and the way to the other half: what is translated, measured, told at once, and refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from pdpanel.engine.actions import ExportPages, SendCommit
from pdpanel.engine.decode_core import DecodeCore
from pdpanel.engine.errors import RemoteProtocolError
from pdpanel.engine.exchange import DecodeExchange, PrefillExchange
from pdpanel.engine.lifecycle import DECODE as DECODE_CYCLE
from pdpanel.engine.lifecycle import PREFILL as PREFILL_CYCLE
from pdpanel.engine.lifecycle import State
from pdpanel.engine.metrics import EngineMetrics
from pdpanel.engine.pages import PagePool, Run
from pdpanel.engine.peer.identity import own_process
from pdpanel.engine.peer.messages import Ack, Arrived, Commit, Grant
from pdpanel.engine.prefill_core import PrefillCore
from pdpanel.engine.request import Bootstrap, GenerateRequest, SamplingParams
from pdpanel.engine.schedule import Schedule
from pdpanel.engine.sequence import Sequence
from pdpanel.engine.transfer.ticket import WriteTicket
from peer_pair import DECODE, PREFILL
from prometheus_client import CollectorRegistry

PEER = "127.0.0.1:8998"


class Wire:
    """Stands for the channel and for the loop thread: calls run at once, messages are written down."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Any]] = []
        self.posted = asyncio.Event()

    def post(self, call: Callable[[float], None]) -> None:
        call(0.0)
        self.posted.set()

    def send(self, peer: str, message: Any) -> None:
        self.sent.append((peer, message))

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


def schedule() -> Schedule:
    return Schedule(PagePool(32), page_size=4, chunk_tokens=16, max_running=4, reserve_tokens=0)


def sequence(cycle: Any, peer: str = "") -> Sequence:
    request = GenerateRequest("r", tuple(range(10)), SamplingParams(), Bootstrap("127.0.0.1", 8998, 7))
    return Sequence(1, request, cycle, 0, 20, frozenset(), list(range(10)), cycle.start, peer=peer)


def metric(metrics: EngineMetrics, name: str) -> float:
    lines = metrics.render().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name)


def decode_side(scenario: Callable[[DecodeExchange, DecodeCore, EngineMetrics, Wire], Awaitable[None]]) -> None:
    async def play() -> None:
        core = DecodeCore(schedule(), PagePool(32), staging_share=1.0, waiting_timeout_s=50, fence_s=30)
        metrics = EngineMetrics(CollectorRegistry(), "tiny", "decode")
        kv: Any = None
        wire: Any = Wire()
        exchange = DecodeExchange(core, wire.post, kv, metrics, vocab_size=100, process=own_process())
        exchange.client = wire
        await exchange.start()
        try:
            await scenario(exchange, core, metrics, wire)
        finally:
            await exchange.stop()

    asyncio.run(play())


def test_a_commit_that_comes_twice_is_counted_once() -> None:
    async def scenario(exchange: DecodeExchange, core: DecodeCore, metrics: EngineMetrics, wire: Wire) -> None:
        exchange.peer_joined(PEER, PREFILL)
        core.submit(sequence(DECODE_CYCLE, PEER), 0.0)
        for _ in range(2):
            exchange.peer_said(PEER, Commit(7, 5, pages=3, bytes=300, writes=1))
        assert metric(metrics, "pdpanel_kv_bytes_total") == 300
        assert metric(metrics, "pdpanel_kv_transfers_total") == 1

    decode_side(scenario)


def test_a_token_beyond_the_vocabulary_ends_the_channel() -> None:
    async def scenario(exchange: DecodeExchange, core: DecodeCore, metrics: EngineMetrics, wire: Wire) -> None:
        with pytest.raises(RemoteProtocolError, match="vocabulary"):
            exchange.peer_said(PEER, Commit(7, 100, pages=3, bytes=300, writes=1))

    decode_side(scenario)


def test_a_lost_peer_is_told_at_once_and_awaited_while_pages_wait_for_it() -> None:
    async def scenario(exchange: DecodeExchange, core: DecodeCore, metrics: EngineMetrics, wire: Wire) -> None:
        told: list[tuple[str, str]] = []
        exchange.on_lost = lambda *lost: told.append(lost)
        one = sequence(DECODE_CYCLE, PEER)
        core.submit(one, 0.0)
        exchange.peer_lost(PEER, "it went away")
        assert told == [(PEER, "it went away")] and one.state is State.FENCING
        await asyncio.sleep(0)
        assert exchange.is_awaited(PEER) and not exchange.is_awaited("127.0.0.1:1")
        exchange.peer_joined(PEER, PREFILL)
        core.drained(PEER, 7, 0.0)
        for action in core.actions:
            exchange.send(action)
        assert not exchange.is_awaited(PEER)
        assert metric(metrics, "pdpanel_fences_lifted_total") == 1

    decode_side(scenario)


def test_a_grant_that_never_left_fences_nothing() -> None:
    async def scenario(exchange: DecodeExchange, core: DecodeCore, metrics: EngineMetrics, wire: Wire) -> None:
        core.submit(sequence(DECODE_CYCLE, PEER), 0.0)
        exchange.peer_lost(PEER, "cannot connect", [Ack(3, True), Grant(7, ((0, 3),), 10, 50.0)])
        assert core.staging.free == 32 and not exchange.is_awaited("")

    decode_side(scenario)


def test_the_fence_of_a_process_that_is_gone_ends_before_the_lease() -> None:
    async def scenario(exchange: DecodeExchange, core: DecodeCore, metrics: EngineMetrics, wire: Wire) -> None:
        ours = own_process()
        assert ours is not None
        gone = msgspec.structs.replace(ours, started=ours.started + 1)
        exchange.peer_joined(PEER, msgspec.structs.replace(PREFILL, process=gone))
        core.submit(sequence(DECODE_CYCLE, PEER), 0.0)
        exchange.peer_lost(PEER, "it went away")
        async with asyncio.timeout(20):
            while core.fences[7].why != "dead":
                wire.posted.clear()
                await wire.posted.wait()
        assert core.fences[7].until == 30.0

    decode_side(scenario)


def test_a_commit_that_is_sent_again_is_one_transfer_and_restarted_decode_is_noticed() -> None:
    async def play() -> None:
        core = PrefillCore(schedule(), PagePool(32), bootstrap_timeout_s=50, hard_timeout_s=30)
        metrics = EngineMetrics(CollectorRegistry(), "tiny", "prefill")
        nothing: Any = None

        class Endpoint:
            def connect(self, info: Any) -> Any:
                return self

            def close(self) -> None: ...

        endpoint: Any = Endpoint()
        exchange = PrefillExchange(core, lambda call: call(0.0), nothing, endpoint, metrics, 1 << 20)
        wire: Any = Wire()
        exchange.server = wire
        one = sequence(PREFILL_CYCLE)
        one.peer, one.tokens = DECODE.address, [*one.tokens, 5]
        exchange.peer_joined(DECODE.address, DECODE)
        exchange.send(SendCommit(one, 5))
        exchange.send(SendCommit(one, 5, again=True))
        await asyncio.sleep(0)
        first, second = wire.sent
        assert first == second and first[1].first_token == 5
        assert metric(metrics, "pdpanel_kv_transfers_total") == 1
        core.rooms[7] = one
        one.state = State.COMMITTING
        exchange.peer_joined(DECODE.address, msgspec.structs.replace(DECODE, epoch=77))
        assert one.state is State.CLOSED, "the process that had the KV is gone"
        await exchange.stop()

    asyncio.run(play())


def test_a_strangers_acknowledgement_takes_nothing_from_what_is_told_of_a_room() -> None:
    """It dropped what the room had sent: a commit that had to be sent again then told of no pages."""

    async def play() -> None:
        class Peer:
            def connect(self, info: Any) -> Any:
                return self

            def write(self, segments: Any, not_after: float | None = None) -> WriteTicket:
                ticket = WriteTicket(32)
                ticket.done()
                return ticket

            def close(self) -> None: ...

        core = PrefillCore(schedule(), PagePool(32), bootstrap_timeout_s=50, hard_timeout_s=30)
        metrics = EngineMetrics(CollectorRegistry(), "tiny", "prefill")
        memory, endpoint, wire = (
            cast("Any", SimpleNamespace(page_bytes=16, fence=lambda: None)),
            cast("Any", Peer()),
            cast("Any", Wire()),
        )
        exchange = PrefillExchange(core, lambda call: None, memory, endpoint, metrics, 1 << 20)
        exchange.server = wire
        one = sequence(PREFILL_CYCLE)
        one.peer = DECODE.address
        exchange.peer_joined(DECODE.address, DECODE)
        exchange.export(ExportPages(one, 0, (Run(0, 2),), (Run(4, 2),)))
        exchange.send(SendCommit(one, 5))
        exchange.peer_said("10.0.0.9:1", Ack(one.room, True))
        exchange.send(SendCommit(one, 5, again=True))
        await asyncio.sleep(0)
        arrived, first, second = wire.sent
        assert arrived[1] == Arrived(one.room, 2)
        assert first == second and first[1].pages == 2
        await exchange.stop()

    asyncio.run(play())
