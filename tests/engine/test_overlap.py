"""Computing and transfer go on side by side: the order of events, with a model and a link that wait to be told.

The step loop, prefill's core, its exchange and the KV memory are the real ones.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from pdpanel.engine.actions import Emit
from pdpanel.engine.exchange import PrefillExchange
from pdpanel.engine.kv import KVCache
from pdpanel.engine.lifecycle import PREFILL
from pdpanel.engine.metrics import EngineMetrics
from pdpanel.engine.model.shape import ModelShape
from pdpanel.engine.pages import PagePool, Run
from pdpanel.engine.peer.messages import Arrived, Commit, Message
from pdpanel.engine.prefill_core import PrefillCore
from pdpanel.engine.request import Bootstrap, GenerateRequest, SamplingParams
from pdpanel.engine.schedule import Schedule
from pdpanel.engine.sequence import Sequence as Request
from pdpanel.engine.statistics import EngineStatistics
from pdpanel.engine.step_loop import StepLoop
from pdpanel.engine.transfer.api import Segment
from pdpanel.engine.transfer.ticket import WriteTicket
from peer_pair import DECODE
from prometheus_client import CollectorRegistry

PAGE, PAGES, CHUNK, VOCAB = 4, 24, 16, 8
SHAPE = ModelShape("LlamaForCausalLM", 1, 4, 1, 1, 4, 4, VOCAB, 1e4, None, 1e-5, True, 64, False, (), None)
PEER = DECODE.address


class Events:
    """What happened, in order; others wait for it."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self._changed = threading.Condition()

    def add(self, event: Any) -> None:
        with self._changed:
            self.seen.append(event)
            self._changed.notify_all()

    def wait(self, event: Any) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: event in self.seen, 20), (event, self.seen)


class Model:
    """Each forward pass waits for its turn."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._turns = threading.Semaphore(0)
        self._count = 0

    def forward(self, spans: Sequence[Any], kv: KVCache, tap: Any = None) -> torch.Tensor:
        self._count += 1
        number = self._count
        self._events.add(f"chunk {number} begins")
        assert self._turns.acquire(timeout=20)
        self._events.add(f"chunk {number} ends")
        return torch.ones((sum(span.logits for span in spans), VOCAB))

    def finish(self) -> None:
        self._turns.release()


class Link:
    """Writes that end when they are told to."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self.tickets: list[WriteTicket] = []

    def write(self, segments: Sequence[Segment], not_after: float | None = None) -> WriteTicket:
        self.tickets.append(WriteTicket(sum(segment.length for segment in segments)))
        self._events.add(f"write {len(self.tickets)} is given to the link")
        return self.tickets[-1]

    def close(self) -> None: ...


class Prefill:
    """A prefill worker's inside; runs on the event loop's thread, its step loop on one of its own."""

    def __init__(self) -> None:
        self.events = Events()
        self.model, self.link = Model(self.events), Link(self.events)
        schedule = Schedule(PagePool(PAGES), page_size=PAGE, chunk_tokens=CHUNK, max_running=4, reserve_tokens=0)
        core = self.core = PrefillCore(schedule, PagePool(PAGES), bootstrap_timeout_s=50, hard_timeout_s=30)
        kv = KVCache(SHAPE, pages=PAGES, page_size=PAGE, dtype=torch.float32, staging=True)
        endpoint: Any = self
        metrics = EngineMetrics(CollectorRegistry(), "tiny", "prefill")
        self.exchange = PrefillExchange(core, self._post, kv, endpoint, metrics, 1 << 20)
        server: Any = self
        self.exchange.server = server
        self.exchange.peer_joined(PEER, DECODE)
        outlet: Any = self
        model: Any = self.model
        self.export, self.fatal = self.exchange.export, self.events.add
        self.loop = StepLoop(core, model, kv, outlet, EngineStatistics)

    def _post(self, call: Callable[[float], None]) -> None:
        self.loop.post(call)

    def connect(self, info: Any) -> Link:
        return self.link

    def emit(self, emits: Sequence[Emit]) -> None: ...

    def send(self, *what: Any) -> None:
        """Both the step loop's outlet, which has an action, and the channels' server, which has a peer's message."""
        if len(what) == 1:
            self.exchange.send(what[0])
        else:
            message: Message = what[1]
            self.events.add(message)

    async def stop(self) -> None: ...

    def submit(self, room: int, prompt: int) -> None:
        ids, greedy = tuple(range(prompt)), SamplingParams(temperature=0)
        request = GenerateRequest(f"r{room}", ids, greedy, Bootstrap("h", 1, room))
        sequence = Request(room, request, PREFILL, 0, prompt + 9, frozenset(), list(range(prompt)), PREFILL.start)
        pages = -(-prompt // PAGE)
        self.loop.post(lambda now: self.core.submit(sequence, now))
        self.loop.post(lambda now: self.core.grant(PEER, room, (Run(0, pages),), now + 60, now))


def play(story: Callable[[Prefill], None]) -> None:
    async def scene() -> None:
        prefill = Prefill()
        prefill.loop.start()
        try:
            await asyncio.to_thread(story, prefill)
        finally:
            for _ in range(9):
                prefill.model.finish()
            await asyncio.to_thread(prefill.loop.stop)
            await prefill.exchange.stop()
        assert not [event for event in prefill.events.seen if "Error" in str(event)]

    asyncio.run(scene())


def test_the_pages_of_a_chunk_leave_and_are_told_of_while_the_next_is_computed() -> None:
    def story(prefill: Prefill) -> None:
        events = prefill.events
        prefill.submit(1, 2 * CHUNK)
        events.wait("chunk 1 begins")
        prefill.model.finish()
        events.wait("chunk 2 begins")
        assert events.seen[:4] == ["chunk 1 begins", "chunk 1 ends", "write 1 is given to the link", "chunk 2 begins"]
        prefill.link.tickets[0].done()
        events.wait(Arrived(1, CHUNK // PAGE))
        assert "chunk 2 ends" not in events.seen, "decode copies them meanwhile"

    play(story)


@pytest.mark.parametrize("last", [CHUNK, 5])
def test_a_commit_leaves_with_the_last_write_while_another_prompt_is_computed(last: int) -> None:
    """It waited for the end of a step that could belong to somebody else: up to a whole chunk's time."""

    def story(prefill: Prefill) -> None:
        events = prefill.events
        prefill.submit(1, CHUNK + last)
        prefill.submit(2, CHUNK)
        for number in (1, 2):
            events.wait(f"chunk {number} begins")
            prefill.model.finish()
        events.wait("chunk 3 begins")
        prefill.link.tickets[0].done()
        assert not [event for event in events.seen if isinstance(event, Commit)]
        prefill.link.tickets[1].done()
        pages = CHUNK // PAGE + -(-last // PAGE)
        events.wait(Commit(1, 0, pages=pages, bytes=pages * PAGE * 2 * 4 * 4, writes=2))
        assert "chunk 3 ends" not in events.seen

    play(story)
