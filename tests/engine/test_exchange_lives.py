"""What was meant for a worker that is gone does not reach who comes in its place, though the loop lags behind."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from pdpanel.engine.actions import ExportPages, SendGrant
from pdpanel.engine.decode_core import DecodeCore
from pdpanel.engine.exchange import DecodeExchange, PrefillExchange
from pdpanel.engine.lifecycle import DECODE as DECODE_CYCLE
from pdpanel.engine.lifecycle import PREFILL as PREFILL_CYCLE
from pdpanel.engine.lifecycle import State
from pdpanel.engine.metrics import EngineMetrics
from pdpanel.engine.pages import PagePool, Run
from pdpanel.engine.peer.messages import Grant
from pdpanel.engine.prefill_core import PrefillCore
from pdpanel.engine.request import Bootstrap, GenerateRequest, SamplingParams
from pdpanel.engine.schedule import Schedule
from pdpanel.engine.sequence import Sequence
from pdpanel.engine.transfer.ticket import WriteTicket
from peer_pair import DECODE, PREFILL
from prometheus_client import CollectorRegistry

PEER = "127.0.0.1:8998"


class Loop:
    """The step loop's mailbox, which is read when the test says so; and who messages go to."""

    def __init__(self) -> None:
        self.mail: deque[Callable[[float], None]] = deque()
        self.sent: list[Any] = []
        self.left: list[str] = []
        self.hellos: list[Any] = []

    def read(self, count: int | None = None) -> None:
        for _ in range(len(self.mail) if count is None else count):
            self.mail.popleft()(0.0)

    def send(self, peer: str, message: Any) -> None:
        self.sent.append(message)

    def leave(self, reason: str) -> None:
        self.left.append(reason)

    def come_back(self, *hello: Any) -> None:
        self.hellos.append(hello[0])

    async def stop(self) -> None: ...


class Memory:
    """A peer's memory, by the endpoint that knows it; notes what is written to which."""

    def __init__(self) -> None:
        self.written: list[str] = []

    def connect(self, info: Any) -> Any:
        return Link(self, info.session)

    def close(self) -> None: ...


class Link:
    def __init__(self, memory: Memory, name: str) -> None:
        self._memory, self._name, self._closed = memory, name, False

    def write(self, segments: Any, not_after: float | None = None) -> WriteTicket:
        ticket = WriteTicket(16)
        if self._closed:
            ticket.fail("the link is closed", quiesced=True)
        else:
            self._memory.written.append(self._name)
            ticket.done()
        return ticket

    def close(self) -> None:
        self._closed = True


class Pages:
    page_bytes = 16

    def __init__(self, ready: Callable[[], None] | None = None) -> None:
        self._ready = ready

    def fence(self) -> Callable[[], None] | None:
        return self._ready


def schedule() -> Schedule:
    return Schedule(PagePool(32), page_size=4, chunk_tokens=16, max_running=4, reserve_tokens=0)


def sequence(cycle: Any, room: int, peer: str = "") -> Sequence:
    request = GenerateRequest("r", tuple(range(10)), SamplingParams(), Bootstrap("127.0.0.1", 8998, room))
    return Sequence(room, request, cycle, 0, 20, frozenset(), list(range(10)), cycle.start, peer=peer)


def play(scenario: Callable[[Loop], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scenario(Loop()))


def prefill(loop: Loop, memory: Memory, pages: Any = None) -> tuple[PrefillExchange, PrefillCore]:
    core = PrefillCore(schedule(), PagePool(32), bootstrap_timeout_s=50, hard_timeout_s=30)
    metrics = EngineMetrics(CollectorRegistry(), "tiny", "prefill")
    endpoint: Any = memory
    kv: Any = pages or Pages()
    exchange = PrefillExchange(core, loop.mail.append, kv, endpoint, metrics, 1 << 20)
    server: Any = loop
    exchange.server = server
    return exchange, core


def decode_at(session: str, epoch: int) -> Any:
    endpoint = msgspec.structs.replace(DECODE.endpoint, session=session)
    return msgspec.structs.replace(DECODE, endpoint=endpoint, epoch=epoch)


def begin(core: PrefillCore, room: int) -> ExportPages:
    """A room that computes, whose pages the loop is about to export."""
    one = sequence(PREFILL_CYCLE, room)
    core.submit(one, 0.0)
    core.grant(DECODE.address, room, (Run(4, 3),), 50.0, 0.0)
    assert core.next_step() is not None and one.state is State.RUNNING
    one.writes_pending = 1
    return ExportPages(one, 0, (Run(0, 2),), (Run(4, 2),))


def test_a_grant_of_before_is_not_written_to_who_came_in_the_place_of_decode() -> None:
    async def scenario(loop: Loop) -> None:
        memory = Memory()
        exchange, core = prefill(loop, memory)
        exchange.peer_joined(DECODE.address, decode_at("first", 1))
        first = begin(core, 1)
        first.sequence.writes_pending = 2
        exchange.export(first)
        exchange.peer_lost(DECODE.address, "it went away")
        exchange.peer_joined(DECODE.address, decode_at("second", 2))
        exchange.export(first)  # the step ends only now
        assert memory.written == ["first"]
        loop.read()
        assert first.sequence.state is State.CLOSED and not core.rooms
        exchange.export(begin(core, 2))
        assert memory.written == ["first", "second"]
        await exchange.stop()

    play(scenario)


def test_pages_that_the_device_still_copied_are_not_written_to_it_either() -> None:
    async def scenario(loop: Loop) -> None:
        memory = Memory()

        def lag() -> None:  # the device is done once another worker is there
            exchange.peer_lost(DECODE.address, "it went away")
            exchange.peer_joined(DECODE.address, decode_at("second", 2))
            loop.read()

        exchange, core = prefill(loop, memory, Pages(lag))
        exchange.peer_joined(DECODE.address, decode_at("first", 1))
        export = begin(core, 1)
        exchange.export(export)
        await exchange.stop()
        assert memory.written == []
        loop.read()
        assert export.sequence.state is State.CLOSED and core.staging.free == 32

    play(scenario)


def test_a_worker_that_left_tells_nothing_more_of_its_rooms() -> None:
    async def scenario(loop: Loop) -> None:
        memory = Memory()
        exchange, core = prefill(loop, memory)
        exchange.peer_joined(DECODE.address, decode_at("first", 1))
        exchange.export(begin(core, 1))
        assert exchange.open_sends == 1
        exchange.leave("a rank is gone")
        core.restart()
        assert (loop.left, exchange.open_sends, core.staging.free) == (["a rank is gone"], 0, 32)
        loop.read()  # the end of the write comes late, and to a room that is over
        exchange.come_back(PREFILL, 8001)
        assert loop.hellos == [PREFILL] and not core.rooms
        await exchange.stop()

    play(scenario)


def decode(loop: Loop) -> tuple[DecodeExchange, DecodeCore]:
    core = DecodeCore(schedule(), PagePool(32), staging_share=1.0, waiting_timeout_s=50, fence_s=30)
    metrics, kv, client = EngineMetrics(CollectorRegistry(), "tiny", "decode"), None, loop
    parts: Any = (kv, client)
    exchange = DecodeExchange(core, loop.mail.append, parts[0], metrics, vocab_size=100)
    exchange.client = parts[1]
    return exchange, core


def grants(exchange: DecodeExchange, core: DecodeCore) -> None:
    for action in core.actions:
        if isinstance(action, SendGrant):
            exchange.send(action)
    core.actions = []


async def told(loop: Loop) -> list[int]:
    await asyncio.sleep(0)
    return [message.room for message in loop.sent if isinstance(message, Grant)]


def test_a_grant_for_a_connection_that_ended_is_not_sent_over_the_next_one() -> None:
    async def scenario(loop: Loop) -> None:
        exchange, core = decode(loop)
        exchange.peer_joined(PEER, PREFILL)
        loop.read()
        core.submit(sequence(DECODE_CYCLE, 1, PEER), 0.0)
        grants(exchange, core)
        assert await told(loop) == [1]
        core.submit(sequence(DECODE_CYCLE, 2, PEER), 0.0)
        exchange.peer_lost(PEER, "it went away")  # the loop does not know yet
        exchange.peer_joined(PEER, msgspec.structs.replace(PREFILL, epoch=9))
        grants(exchange, core)
        assert await told(loop) == [1]
        loop.read()
        assert {1, 2} == set(core.fences), "both wait until nobody can write their pages"
        assert {fence.why for fence in core.fences.values()} == {"replaced"}
        core.submit(sequence(DECODE_CYCLE, 3, PEER), 0.0)
        grants(exchange, core)
        assert await told(loop) == [1, 3]

    play(scenario)


def test_a_grant_of_before_a_rank_was_lost_is_not_sent_when_the_worker_is_back() -> None:
    async def scenario(loop: Loop) -> None:
        exchange, core = decode(loop)
        core.submit(sequence(DECODE_CYCLE, 1, PEER), 0.0)
        grants(exchange, core)
        exchange.leave("a rank is gone")  # before the grant has left
        assert loop.left == ["a rank is gone"]
        core.restart()
        assert core.staging.free == 32 and not core.fences
        exchange.come_back(DECODE, 8002)
        assert await told(loop) == [] and loop.hellos == [DECODE]
        core.submit(sequence(DECODE_CYCLE, 2, PEER), 0.0)
        grants(exchange, core)
        assert await told(loop) == [2]

    play(scenario)
