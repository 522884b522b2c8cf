"""Pages that a device still copies are written once their fence has passed, and not at all when the device breaks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from pdpanel.engine.actions import ExportPages, WritePages
from pdpanel.engine.exchange import PrefillExchange
from pdpanel.engine.lifecycle import PREFILL as PREFILL_CYCLE
from pdpanel.engine.metrics import EngineMetrics
from pdpanel.engine.pages import Run
from pdpanel.engine.request import Bootstrap, GenerateRequest, SamplingParams
from pdpanel.engine.sequence import Sequence
from pdpanel.engine.transfer.ticket import WriteTicket
from peer_pair import DECODE
from prometheus_client import CollectorRegistry

PAGE_BYTES = 16


class Link:
    """Notes what is written, and when everything that was wanted is."""

    def __init__(self) -> None:
        self.written: list[int] = []

    def connect(self, info: Any) -> Link:
        return self

    def write(self, segments: Any, not_after: float | None = None) -> WriteTicket:
        self.written.append(segments[0].source // PAGE_BYTES)
        ticket = WriteTicket(sum(segment.length for segment in segments))
        ticket.done()
        return ticket

    def close(self) -> None: ...


class Core:
    """Stands for prefill's core: notes how the writes ended."""

    def __init__(self) -> None:
        self.ended: list[tuple[bool, bool, str]] = []

    def write_done(self, sequence: Sequence, *, ok: bool, quiet: bool, error: str, now: float) -> None:
        self.ended.append((ok, quiet, error))


def request(room: int) -> Sequence:
    asked = GenerateRequest("r", tuple(range(10)), SamplingParams(), Bootstrap("127.0.0.1", 8998, room))
    cycle = PREFILL_CYCLE
    made = Sequence(room, asked, cycle, 0, 20, frozenset(), list(range(10)), cycle.start, peer=DECODE.address)
    made.target = (Run(4, 4),)
    return made


def play(fences: list[Callable[[], None]], scenario: Callable[[PrefillExchange, Link, Core], None]) -> None:
    async def run() -> None:
        kv = SimpleNamespace(page_bytes=PAGE_BYTES, fence=lambda: fences.pop(0))
        core, link = Core(), Link()
        metrics = EngineMetrics(CollectorRegistry(), "tiny", "prefill")
        parts: Any = (core, kv, link)
        exchange = PrefillExchange(parts[0], lambda call: call(0.0), parts[1], parts[2], metrics, 1 << 20)
        exchange.server = cast("Any", SimpleNamespace(send=lambda *message: None, stop=lambda: asyncio.sleep(0)))
        exchange.peer_joined(DECODE.address, DECODE)
        scenario(exchange, link, core)
        await exchange.stop()

    asyncio.run(run())


def test_writes_wait_for_the_devices_copies_and_keep_their_order() -> None:
    gate = threading.Event()

    def scenario(exchange: PrefillExchange, link: Link, core: Core) -> None:
        one = request(7)
        exchange.export(ExportPages(one, 0, (Run(2, 1),), (Run(4, 1),)))
        exchange.export(WritePages(one, (Run(5, 1),), (Run(5, 1),)))
        assert link.written == [] and core.ended == []
        gate.set()
        exchange._fences.close()
        assert link.written == [2, 5]
        assert core.ended == [(True, True, "")] * 2

    def passed() -> None:
        assert gate.wait(20)

    play([passed, lambda: None], scenario)


def test_pages_that_a_broken_device_never_copied_are_not_written() -> None:
    def broken() -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    def scenario(exchange: PrefillExchange, link: Link, core: Core) -> None:
        exchange.export(ExportPages(request(7), 0, (Run(2, 1),), (Run(4, 1),)))
        exchange.export(ExportPages(request(8), 0, (Run(3, 1),), (Run(5, 1),)))
        exchange._fences.close()
        assert link.written == [3]
        (ok, quiet, error), last = core.ended
        assert not ok and quiet and "device-side assert" in error
        assert last[0]

    play([broken, lambda: None], scenario)
