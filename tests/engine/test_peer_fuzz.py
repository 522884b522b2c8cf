"""Peers that lie, babble or send rubbish: no crash, no page lost, nothing of a neighbour's touched.

Real cores and exchanges; the steps are played, the transport notes what it is asked to write.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pdpanel.engine.actions import Action, Emit, ExportPages, ImportPages, WritePages
from pdpanel.engine.decode_core import DecodeCore
from pdpanel.engine.errors import RemoteProtocolError
from pdpanel.engine.exchange import DecodeExchange, PrefillExchange
from pdpanel.engine.kv import KVCache
from pdpanel.engine.lifecycle import DECODE, PREFILL
from pdpanel.engine.metrics import EngineMetrics
from pdpanel.engine.pages import PagePool
from pdpanel.engine.peer.client import PeerClient
from pdpanel.engine.peer.messages import Commit, Geometry, Grant, Hello, Message, decode_message
from pdpanel.engine.peer.server import PeerServer
from pdpanel.engine.prefill_core import PrefillCore
from pdpanel.engine.request import Bootstrap, GenerateRequest, SamplingParams
from pdpanel.engine.schedule import Schedule
from pdpanel.engine.sequence import Sequence
from pdpanel.engine.transfer.api import Endpoint, EndpointInfo, Segment
from pdpanel.engine.transfer.plan import outside
from pdpanel.engine.transfer.ticket import WriteTicket
from prometheus_client import CollectorRegistry

PAGE, PAGES, PAGE_BYTES, VOCAB = 4, 32, 64, 100
REGION = PAGES * PAGE_BYTES
PROMPT = 10  # three pages
HONEST, LIAR = "127.0.0.1:1", "127.0.0.1:2"
HONEST_ROOM, LIARS_ROOM = 11, 12
LATER = 10_000.0

RUNS_OF_THE_HONEST = ((3, 3),)


def hello(role: str, address: str) -> Hello:
    geometry = Geometry("sha", "float32", PAGE, 1, 1, 4)
    return Hello(role, address, 1, geometry, EndpointInfo("tcp", address, 0, REGION))


class Link:
    """Refuses as real links do what leaves a region, and notes the rest."""

    closed = False

    def __init__(self, length: int) -> None:
        self.length = length
        self.written: list[Segment] = []

    def write(self, segments: Any, not_after: float | None = None) -> WriteTicket:
        ticket = WriteTicket(sum(segment.length for segment in segments))
        if problem := outside(segments, REGION, self.length):
            ticket.fail(problem, quiesced=True)
        else:
            self.written += segments
            ticket.done()
        return ticket

    def close(self) -> None:
        self.closed = True


def sequence(room: int, cycle: Any, peer: str) -> Sequence:
    request = GenerateRequest(
        f"r{room}", tuple(range(PROMPT)), SamplingParams(max_new_tokens=3), Bootstrap("127.0.0.1", 1, room)
    )
    return Sequence(
        key=room, request=request, cycle=cycle, seed=0, limit=PROMPT + 3, stop_ids=frozenset(),
        tokens=list(request.prompt_ids), state=cycle.start, peer=peer,
    )  # fmt: skip


def schedule() -> Schedule:
    return Schedule(PagePool(PAGES), page_size=PAGE, chunk_tokens=8, max_running=4, reserve_tokens=0)


@dataclass
class Half:
    """One worker without model and sockets; `now` is its clock."""

    core: Any
    exchange: Any = None
    now: float = 1.0
    sent: list[tuple[str, Message]] = field(default_factory=list)
    finishes: list[int] = field(default_factory=list)
    imported: list[ImportPages] = field(default_factory=list)

    def post(self, stimulus: Callable[[float], None]) -> None:
        stimulus(self.now)
        self.execute()

    def execute(self) -> None:
        while self.core.actions:
            actions, self.core.actions = self.core.actions, []
            for action in cast("list[Action]", actions):
                match action:
                    case Emit(key=key, finish=finish, end=end):
                        self.finishes += [key] * (finish is not None or end)
                    case ExportPages() | WritePages():
                        self.exchange.export(action)
                    case ImportPages():
                        self.imported.append(action)
                    case _:
                        self.exchange.send(action)

    def work(self) -> None:
        while (step := self.core.next_step()) is not None:
            self.execute()
            self.core.step_done(step, [5] * sum(span.sample for span in step.spans), self.now)
            self.execute()
        self.execute()

    def hear(self, peer: str, frame: bytes, *, work: bool = True) -> str:
        """As the channel does: what cannot be read ends the connection, with a reason."""
        try:
            self.exchange.peer_said(peer, decode_message(frame))
        except RemoteProtocolError as error:
            return str(error)
        if work:
            self.work()
        return ""

    def send(self, peer: str, message: Message) -> None:
        self.sent.append((peer, message))

    def settle(self) -> None:
        """Everybody has gone and all times are over."""
        for peer in (LIAR, HONEST):
            self.exchange.peer_lost(peer, "gone")
        for _ in range(3):
            self.now += LATER
            self.core.tick(self.now)
            self.execute()
            self.work()

    def check(self) -> None:
        self.settle()
        assert list(self.core.integrity()) == []
        assert self.core.staging.free == self.core.staging.total
        assert self.core.schedule.slots.free == self.core.schedule.slots.total
        assert sorted(set(self.finishes)) == sorted(self.finishes), "a request ended twice"
        assert set(self.finishes) == {HONEST_ROOM, LIARS_ROOM}


@pytest.fixture(scope="module")
def metrics() -> EngineMetrics:
    return EngineMetrics(CollectorRegistry(), "m", "decode")


NUMBERS = st.sampled_from([0, 1, 2, 3, 5, 31, 32, 33, 1 << 31, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, -1])
ROOMS = st.one_of(st.just(LIARS_ROOM), st.sampled_from([HONEST_ROOM, 0, 1, 77, (1 << 63) - 1, 1 << 63, -1]))
RUNS = st.lists(st.tuples(NUMBERS, NUMBERS), max_size=4)
LEASES = st.sampled_from([1e9, 5.0, 0.0, -1.0, math.nan, math.inf, -math.inf, 1e308, "soon", None])
TEXTS = st.sampled_from(["", "why", "\x00\n\u202e", "x" * 5000])
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "room": ROOMS,
    "runs": st.one_of(RUNS, st.just([(3, 3)]), st.just([(0, 3)]), st.just([(0, 1), (0, 1), (0, 1)])),
    "prompt_tokens": NUMBERS,
    "lease_until": LEASES,
    "first_token": st.one_of(st.integers(0, 2 * VOCAB), NUMBERS),
    "pages": NUMBERS,
    "bytes": NUMBERS,
    "writes": NUMBERS,
    "cached_tokens": NUMBERS,
    "digest": st.lists(NUMBERS, max_size=3),
    "known": st.sampled_from([True, False, 1, None]),
    "reason": TEXTS,
    "epoch": NUMBERS,
    "free_pages": NUMBERS,
    "queue": NUMBERS,
    "extra": NUMBERS,
}
TAGS = {
    "grant": ("room", "runs", "prompt_tokens", "lease_until"),
    "commit": ("room", "first_token", "pages", "bytes", "writes"),
    "ack": ("room", "known"),
    "abort": ("room", "reason"),
    "drained": ("room",),
    "ping": ("epoch", "free_pages", "queue"),
    "pong": ("epoch", "free_pages", "queue"),
    "refused": ("reason",),
    "hello": ("epoch",),
    "bogus": ("room",),
}


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """A frame of a liar: rubbish, or a message with odd fields, some of them missing, swapped or too many."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=60))
    tag = draw(st.sampled_from(sorted(TAGS)))
    body: dict[str, Any] = {"t": tag} | {name: draw(FIELDS[name]) for name in TAGS[tag]}
    if draw(st.integers(0, 7)) == 0:
        name = draw(st.sampled_from(sorted(FIELDS)))
        body[name] = draw(st.sampled_from([None, [], {}, "x", 1.5, -1, b"\xff"]))
    if draw(st.integers(0, 9)) == 0:
        body.pop(draw(st.sampled_from(sorted(body))))
    frame = msgspec.msgpack.encode(body)
    if draw(st.integers(0, 9)) == 0:
        cut = draw(st.integers(0, len(frame)))
        frame = frame[:cut] + draw(st.binary(max_size=4)) + frame[cut + draw(st.integers(0, 3)) :]
    return frame


BABBLE = st.lists(frames(), min_size=1, max_size=12)


def grant(room: int, runs: Any, lease: float = 1e9) -> bytes:
    return msgspec.msgpack.encode({"t": "grant", "room": room, "runs": runs, "prompt_tokens": 10, "lease_until": lease})


async def attack_prefill(metrics: EngineMetrics, babble: list[bytes], at: int) -> None:
    core = PrefillCore(schedule(), PagePool(PAGES), bootstrap_timeout_s=50, hard_timeout_s=30)
    half = Half(core)
    links = {HONEST: Link(REGION), LIAR: Link(REGION)}
    endpoint = SimpleNamespace(connect=lambda info: links[info.session])
    kv = cast("KVCache", SimpleNamespace(page_bytes=PAGE_BYTES, fence=lambda: None))
    exchange = PrefillExchange(core, half.post, kv, cast("Endpoint", endpoint), metrics, 1 << 30)
    exchange.server = cast("PeerServer", half)
    half.exchange = exchange
    for peer in links:
        exchange.peer_joined(peer, hello("decode", peer))
    for room in (HONEST_ROOM, LIARS_ROOM):
        half.post(lambda now, room=room: core.submit(sequence(room, PREFILL, ""), now))
    ended = False
    exchange.peer_said(HONEST, Grant(HONEST_ROOM, RUNS_OF_THE_HONEST, PROMPT, 1e9))
    for index, frame in enumerate(babble):
        if not ended and half.hear(LIAR, frame, work=index >= at):
            exchange.peer_lost(LIAR, "refused")
            ended = True
    half.work()
    await asyncio.sleep(0)
    commits = [message for peer, message in half.sent if peer == HONEST and isinstance(message, Commit)]
    assert [commit.room for commit in commits] == [HONEST_ROOM] and commits[0].pages == 3
    assert {page for s in links[HONEST].written for page in pages_of(s)} == {3, 4, 5}
    half.hear(HONEST, msgspec.msgpack.encode({"t": "ack", "room": HONEST_ROOM, "known": True}))
    assert HONEST_ROOM in half.finishes
    half.check()


def pages_of(segment: Segment) -> range:
    return range(segment.target // PAGE_BYTES, (segment.target + segment.length) // PAGE_BYTES)


@settings(max_examples=80)
@example(babble=[grant(LIARS_ROOM, [(0, 3)], math.nan)], at=0)
@example(babble=[grant(LIARS_ROOM, [(30, 3)])], at=0)
@example(babble=[grant(LIARS_ROOM, [((1 << 64) - 3, 3)])], at=0)
@example(babble=[grant(LIARS_ROOM, [(0, 1 << 63)])], at=0)
@example(babble=[msgspec.msgpack.encode({"t": "ack", "room": HONEST_ROOM, "known": False})] * 2, at=0)
@example(babble=[msgspec.msgpack.encode({"t": "abort", "room": HONEST_ROOM, "reason": "x"})], at=1)
@given(babble=BABBLE, at=st.integers(0, 12))
def test_a_lying_decode_worker_hurts_its_own_rooms_alone(metrics: EngineMetrics, babble: list[bytes], at: int) -> None:
    """It can have pages written in its own region alone, and a neighbour's request goes through."""
    asyncio.run(attack_prefill(metrics, babble, at))


async def attack_decode(metrics: EngineMetrics, babble: list[bytes]) -> None:
    core = DecodeCore(schedule(), PagePool(PAGES), staging_share=1.0, waiting_timeout_s=50, fence_s=30)
    half = Half(core)
    kv = cast("KVCache", SimpleNamespace(page_bytes=PAGE_BYTES, fence=lambda: None))
    exchange = DecodeExchange(core, half.post, kv, metrics, vocab_size=VOCAB)
    exchange.client = cast("PeerClient", half)
    half.exchange = exchange
    for room, peer in ((HONEST_ROOM, HONEST), (LIARS_ROOM, LIAR)):
        half.post(lambda now, room=room, peer=peer: core.submit(sequence(room, DECODE, peer), now))
        exchange.peer_joined(peer, hello("prefill", peer))
    for frame in babble:
        if half.hear(LIAR, frame):
            exchange.peer_lost(LIAR, "refused")
            break
    assert HONEST_ROOM in core.granted and HONEST_ROOM not in half.finishes
    exchange.peer_said(HONEST, Commit(HONEST_ROOM, 5, 3, 3 * PAGE_BYTES, 1))
    half.work()
    assert half.finishes.count(HONEST_ROOM) == 1
    assert [read.sequence.room for read in half.imported].count(HONEST_ROOM) == 1
    half.check()


@settings(max_examples=80)
@example(babble=[msgspec.msgpack.encode({"t": "drained", "room": LIARS_ROOM})] * 2)
@example(babble=[msgspec.msgpack.encode({"t": "drained", "room": HONEST_ROOM})])
@given(babble=BABBLE)
def test_a_lying_prefill_worker_hurts_its_own_rooms_alone(metrics: EngineMetrics, babble: list[bytes]) -> None:
    asyncio.run(attack_decode(metrics, babble))


@example(b"\x82\xa1t\xa5\x80bogus\xa4room\x0c")
@example(b"\x91" * 50_000)
@given(st.binary(max_size=200))
def test_no_bytes_are_anything_but_a_message_or_a_reason(frame: bytes) -> None:
    try:
        message = decode_message(frame)
    except RemoteProtocolError as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(message, Message)
