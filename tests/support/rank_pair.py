"""A prefill and a decode worker of any number of ranks in one process: real cores, exchanges, carriers and endpoints.

There is no model: what a pass would compute of a token is drawn from the token, its position and the KV head. Followers
are threads that carry out the orders of the first rank, as their processes do.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from pdpanel.engine.actions import Action, Emit, ExportPages, ImportPages, WritePages
from pdpanel.engine.decode_core import DecodeCore
from pdpanel.engine.exchange import DecodeExchange, PrefillExchange
from pdpanel.engine.kv import KVCache
from pdpanel.engine.lifecycle import DECODE, PREFILL
from pdpanel.engine.metrics import EngineMetrics
from pdpanel.engine.model.shape import ModelShape
from pdpanel.engine.page_checks import PageDigests
from pdpanel.engine.pages import PagePool
from pdpanel.engine.parallel.carrier import RankCarrier
from pdpanel.engine.parallel.carriers import WorkerCarrier
from pdpanel.engine.parallel.layout import ParallelSizes, shards_of
from pdpanel.engine.parallel.meter import Meter
from pdpanel.engine.parallel.orders import Order, PeerRank, Report, Written
from pdpanel.engine.parallel.ranks import Rank, RankedKV
from pdpanel.engine.parallel.shipment import RankPlace
from pdpanel.engine.peer.messages import Geometry, Hello, Message, check_hello, decode_message, encode_message
from pdpanel.engine.prefill_core import PrefillCore
from pdpanel.engine.request import Bootstrap, Finish, GenerateRequest, SamplingParams
from pdpanel.engine.schedule import Schedule, Step
from pdpanel.engine.sequence import Sequence as Request
from pdpanel.engine.transfer.api import Endpoint
from pdpanel.engine.transfer.faults import FaultPlan
from prometheus_client import CollectorRegistry
from transports import open_end

PAGE, PAGES, CHUNK, DEADLINE_S = 4, 64, 12, 20.0
SHAPE = ModelShape("LlamaForCausalLM", 2, 8, 12, 3, 8, 12, 16, 1e4, None, 1e-5, True, 256, False, (), None)


def kv_of(tokens: Sequence[int]) -> torch.Tensor:
    """The KV of a prompt, all heads: [layers, K|V, heads, tokens, dim]."""
    places = torch.arange(SHAPE.layers * 2 * SHAPE.kv_heads * SHAPE.head_dim, dtype=torch.float32)
    each = [places * (token + 1) + 1000.0 * position for position, token in enumerate(tokens)]
    shape = (SHAPE.layers, 2, SHAPE.kv_heads, SHAPE.head_dim)
    return torch.stack([one.view(shape) for one in each], dim=3)


class Followers:
    """The first rank's way to the others, which are threads, and what they report."""

    def __init__(self) -> None:
        self._inboxes: list[queue.Queue[Order | threading.Event | None]] = []
        self._threads: list[threading.Thread] = []
        self._listeners: dict[int, Callable[[Written], None]] = {}
        self.writes: list[Written] = []
        self.sent = 0

    def start(self, rank: Rank) -> None:
        inbox: queue.Queue[Order | threading.Event | None] = queue.Queue()

        def follow() -> None:
            while (order := inbox.get()) is not None:
                if isinstance(order, threading.Event):
                    order.wait(DEADLINE_S)
                else:
                    rank.carry_out(order)
                inbox.task_done()
            inbox.task_done()

        self._inboxes.append(inbox)
        self._threads.append(threading.Thread(target=follow, daemon=True))
        self._threads[-1].start()

    def send(self, order: Order) -> None:
        self.sent += 1
        for inbox in self._inboxes:
            inbox.put(order)

    def stall(self) -> threading.Event:
        """Has all followers stand still, behind what they were told so far, until the event is set."""
        going_on = threading.Event()
        for inbox in self._inboxes:
            inbox.put(going_on)
        return going_on

    def gone(self, wait_s: float) -> str:
        return ""

    def listen(self, ticket: int, callback: Callable[[Written], None]) -> None:
        self._listeners[ticket] = callback

    def forget(self, ticket: int) -> None:
        del self._listeners[ticket]

    def report(self, report: Report) -> None:
        assert isinstance(report, Written)
        self.writes.append(report)
        if (callback := self._listeners.get(report.ticket)) is not None:
            callback(report)

    def settle(self) -> None:
        """Waits until every follower has done what it was told."""
        for inbox in self._inboxes:
            inbox.join()

    def close(self) -> None:
        for inbox in self._inboxes:
            inbox.put(None)
        for thread in self._threads:
            thread.join()


class RankedWorker:
    """One worker.

    Args:
        faults: what goes wrong with the writes of a rank, by its number.
        bounce: pages of each rank; None for as many as a worker has.
    """

    def __init__(
        self,
        role: str,
        sizes: ParallelSizes,
        backend: str,
        faults: dict[int, FaultPlan],
        bounce: int,
        *,
        checks: bool,
    ) -> None:
        self.sizes = sizes
        self.checks = checks
        self.is_prefill = role == "prefill"
        self.address = f"127.0.0.1:{8001 if self.is_prefill else 8002}"
        self.shards = shards_of(SHAPE, sizes)
        self.followers = Followers()
        self.endpoints: list[Endpoint] = []
        self.kvs: list[KVCache] = []
        for shard in self.shards:
            part = replace(SHAPE, heads=len(shard.heads), kv_heads=len(shard.kv_heads))
            bounce_pages = bounce if self.is_prefill else 0
            kv = KVCache(
                part, pages=PAGES, page_size=PAGE, dtype=torch.float32, staging=True, shared=True,
                bounce_pages=bounce_pages,
            )  # fmt: skip
            endpoint = open_end(backend, faults.get(shard.rank))
            endpoint.register(kv.staging_address, kv.staging_bytes, kv.staging_file)
            self.kvs.append(kv)
            self.endpoints.append(endpoint)
        self.carriers = [self._carrier(rank) for rank in range(sizes.tp)] if sizes.tp > 1 else []
        executor: Any = None
        ranks = [
            Rank(shard.rank, shard.group, executor, self.kvs[shard.rank], carrier, Meter(), self.followers.report)
            for shard, carrier in zip(self.shards, self.carriers, strict=False)
        ]
        for rank in ranks[1:]:
            self.followers.start(rank)
        groups = range(sizes.attn_dp)
        self.memory = [RankedKV(group, ranks[0], self.followers) for group in groups] if ranks else [self.kvs[0]]
        members = [[shard.rank for shard in self.shards if shard.group == group] for group in groups]
        carrier = WorkerCarrier(self.carriers[0], members, self.followers, self.followers) if ranks else None
        self.carrier = carrier
        self.digests = PageDigests(self.kvs[0].staging) if checks else None

    def _carrier(self, rank: int) -> RankCarrier:
        endpoint = self.endpoints[rank] if self.is_prefill else None
        place, report = RankPlace.of(self.shards, rank), self.followers.report
        return RankCarrier(place, self.kvs[rank], endpoint, report, checks=self.checks)

    def hello(self) -> Hello:
        """As serve makes it: a worker of one rank names none."""
        geometry = Geometry("m", "float32", PAGE, SHAPE.layers, SHAPE.kv_heads, SHAPE.head_dim)
        info = [endpoint.describe() for endpoint in self.endpoints]
        ranks = [
            PeerRank(info[s.rank], s.group, s.kv_heads.start, s.kv_heads.stop) for s in self.shards if self.sizes.tp > 1
        ]
        role = "prefill" if self.is_prefill else "decode"
        return Hello(role, self.address, 1, geometry, info[0], ranks=tuple(ranks))

    def close(self) -> None:
        self.followers.close()
        for carrier in self.carriers:
            carrier.close()
        for endpoint in self.endpoints:
            endpoint.close()


class Half:
    """A worker's core and exchange, and the loop between them; turns are taken on the event loop's thread."""

    def __init__(self, worker: RankedWorker, news: asyncio.Event) -> None:
        self.worker = worker
        self.ahead = 0.0
        self.tokens: list[tuple[int, tuple[int, ...]]] = []  # (key, token ids)
        self.finishes: dict[int, Finish | None] = {}
        self.said: list[Message] = []
        self._news = news
        self._loop = asyncio.get_running_loop()
        self._mailbox: queue.SimpleQueue[Callable[[float], None]] = queue.SimpleQueue()
        schedule = Schedule(PagePool(PAGES), page_size=PAGE, chunk_tokens=CHUNK, max_running=4, reserve_tokens=0)
        pool = PagePool(PAGES)
        metrics = EngineMetrics(CollectorRegistry(), "m", "prefill" if worker.is_prefill else "decode")
        self.metrics = metrics
        kv, carrier, digests = worker.kvs[0], worker.carrier, worker.digests
        self.core: Any
        self.exchange: PrefillExchange | DecodeExchange
        if worker.is_prefill:
            self.core = core = PrefillCore(schedule, pool, bootstrap_timeout_s=60, hard_timeout_s=30, radix_cache=True)
            self.exchange = PrefillExchange(
                core, self.post, kv, worker.endpoints[0], metrics, 1 << 20, digests=digests, carrier=carrier
            )
        else:
            self.core = core = DecodeCore(schedule, pool, staging_share=1.0, waiting_timeout_s=60, fence_s=30)
            self.exchange = DecodeExchange(
                core, self.post, kv, metrics, vocab_size=SHAPE.vocab, digests=digests, carrier=carrier
            )

    @property
    def now(self) -> float:
        """The clock that leases are on, or later."""
        return time.monotonic() + self.ahead

    def post(self, stimulus: Callable[[float], None]) -> None:
        self._mailbox.put(stimulus)
        self._loop.call_soon_threadsafe(self._news.set)

    def turn(self) -> None:
        """Does all that can be done now."""
        while True:
            while not self._mailbox.empty():
                self._mailbox.get()(self.now)
                self._execute()
            step = self.core.next_step() if self.worker.is_prefill else None  # decode only receives here
            self._execute()
            if step is None:
                return
            self._compute(step)
            self.core.step_done(step, [5] * sum(span.sample for span in step.spans), self.now)
            self._execute()

    def _compute(self, step: Step) -> None:
        for span in step.spans:
            assert span.sequence.slot is not None
            start = span.sequence.slot.start * PAGE
            kv = kv_of(span.sequence.tokens[: span.stop])
            self.worker.followers.settle()
            for shard, memory in zip(self.worker.shards, self.worker.kvs, strict=True):
                if shard.group == span.sequence.group:
                    new = kv[:, :, shard.kv_heads.start : shard.kv_heads.stop, span.start :]
                    memory.slots[:, :, :, start + span.start : start + span.stop] = new

    def _execute(self) -> None:
        while self.core.actions:
            actions, self.core.actions = self.core.actions, []
            for action in actions:
                self._do(action)

    def _do(self, action: Action) -> None:
        match action:
            case Emit(key=key, token_ids=tokens, finish=finish, end=end):
                self.tokens += [(key, tokens)] * bool(tokens)
                if finish is not None or end:
                    self.finishes[key] = finish
            case ExportPages(sequence=sequence):
                self.worker.memory[sequence.group].export_pages(action.slot_page, action.staging)
                self.exchange.export(action)
            case WritePages():
                self.exchange.export(action)
            case ImportPages(sequence=sequence, granted=()):
                self.worker.memory[sequence.group].import_pages(action.staging, action.slot_page)
            case ImportPages(sequence=sequence, granted=granted, first=first):
                memory, peer = self.worker.memory[sequence.group], sequence.peer
                memory.import_pages(action.staging, action.slot_page, peer=peer, granted=granted, first=first)
            case _:
                self.exchange.send(action)

    def received(self, sequence: Request) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """What stands in the sequence's slot on each rank of its group, and what should."""
        assert sequence.slot is not None
        self.worker.followers.settle()
        start, stop = sequence.slot.start * PAGE, sequence.slot.start * PAGE + sequence.prefill_tokens
        kv = kv_of(sequence.tokens[: sequence.prefill_tokens])
        return [
            (memory.slots[:, :, :, start:stop], kv[:, :, shard.kv_heads.start : shard.kv_heads.stop])
            for shard, memory in zip(self.worker.shards, self.worker.kvs, strict=True)
            if shard.group == sequence.group
        ]


class _Wire:
    """Stands for a channel: messages go as bytes to the other half."""

    def __init__(self, address: str, sender: Half, receiver: Half) -> None:
        self._address, self._sender, self._receiver = address, sender, receiver

    def send(self, peer: str, message: Message) -> None:
        self._sender.said.append(message)
        self._receiver.exchange.peer_said(self._address, decode_message(encode_message(message)))

    async def stop(self) -> None: ...


class RankPair:
    """Both workers, connected.

    Args:
        prefill: its sizes.
        faults: of prefill's ranks.
    """

    def __init__(
        self,
        prefill: ParallelSizes,
        decode: ParallelSizes,
        backend: str = "tcp",
        faults: dict[int, FaultPlan] | None = None,
        bounce: int = 8,
        *,
        checks: bool = False,
    ) -> None:
        self._news = asyncio.Event()
        self.workers = [
            RankedWorker(role, sizes, backend, given, bounce, checks=checks)
            for role, sizes, given in (("prefill", prefill, faults or {}), ("decode", decode, {}))
        ]
        self.prefill, self.decode = (Half(worker, self._news) for worker in self.workers)
        hellos = [worker.hello() for worker in self.workers]
        assert check_hello(hellos[0], hellos[1]) is None
        assert check_hello(hellos[1], hellos[0]) is None
        to_decode = _Wire("127.0.0.1:8998", self.prefill, self.decode)
        to_prefill = _Wire(self.workers[1].address, self.decode, self.prefill)
        cast("PrefillExchange", self.prefill.exchange).server = cast("Any", to_decode)
        cast("DecodeExchange", self.decode.exchange).client = cast("Any", to_prefill)
        self.prefill.exchange.peer_joined(self.workers[1].address, hellos[1])
        self.decode.exchange.peer_joined("127.0.0.1:8998", hellos[0])

    def submit(self, room: int, tokens: Sequence[int], groups: tuple[int, int] = (0, 0)) -> Request:
        """Gives both halves a request; returns decode's side of it."""
        bootstrap = Bootstrap("127.0.0.1", 8998, room)
        request = GenerateRequest(f"r{room}", tuple(tokens), SamplingParams(max_new_tokens=8), bootstrap)
        made: list[Request] = []
        for half, cycle, group in ((self.prefill, PREFILL, groups[0]), (self.decode, DECODE, groups[1])):
            peer = "" if cycle is PREFILL else "127.0.0.1:8998"
            limit = len(tokens) + 8
            one = Request(room, request, cycle, 0, limit, frozenset(), list(tokens), cycle.start, peer=peer)
            one.group = group
            made.append(one)
            half.post(lambda now, core=half.core, one=one: core.submit(one, now))
        return made[1]

    async def until(self, condition: Callable[[], object]) -> None:
        """Lets both work until a condition holds."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                self._news.clear()
                self.prefill.turn()
                self.decode.turn()
                if condition():
                    return
                await self._news.wait()

    async def close(self) -> None:
        await self.prefill.exchange.stop()
        for worker in self.workers:
            await asyncio.to_thread(worker.close)
