"""KV memory is given up only when nobody can read or write it any more, and what was under way ends quietly."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pdpanel.engine.config import Mode, ServerConfig, read_environment
from pdpanel.engine.errors import TransferError
from pdpanel.engine.kv import KVCache
from pdpanel.engine.model.store import ResolvedModel
from pdpanel.engine.pages import Run
from pdpanel.engine.parallel import opening
from pdpanel.engine.parallel.carrier import RankCarrier
from pdpanel.engine.parallel.carriers import WorkerCarrier
from pdpanel.engine.parallel.layout import ParallelSizes, shards_of
from pdpanel.engine.parallel.opening import RankParts, regrouped, renewed
from pdpanel.engine.parallel.orders import PeerRank, Written
from pdpanel.engine.parallel.shipment import RankPlace, Shipment
from pdpanel.engine.transfer.api import EndpointInfo, TransferSettings
from pdpanel.engine.transfer.select import Selection
from pdpanel.engine.transfer.ticket import WriteTicket
from random_weights import SHAPES

SHAPE = SHAPES["llama tied, heads of 9 and 3"]
PAGES, PAGE = 8, 4


class Order:
    """What was done to which memory, in order."""

    def __init__(self) -> None:
        self.done: list[str] = []


class End:
    """An endpoint, and the link that it opens; `goes` says when a write that runs ends."""

    kind = "tcp"
    failure = ""

    def __init__(self, order: Order, name: str, goes: threading.Event | None = None) -> None:
        self._order, self._name, self._goes = order, name, goes
        self.ticket = WriteTicket(16)

    def register(self, address: int, length: int, file: int = -1) -> None:
        assert length
        self._order.done.append(f"{self._name} registered")

    def describe(self) -> EndpointInfo:
        return EndpointInfo(self.kind, self._name, 0, 1 << 20)

    def connect(self, info: EndpointInfo) -> End:
        return self

    def write(self, segments: Any, not_after: float | None = None) -> WriteTicket:
        return self.ticket

    def close(self) -> None:
        if self._goes is not None:
            self._goes.wait(20)
        self._order.done.append(f"{self._name} closed")


class KV(KVCache):
    """Tells when it is given up."""

    order: Order

    def drop(self) -> None:
        self.order.done.append("memory given up")
        super().drop()


def parts_of(order: Order, first: End, number: int = 2) -> RankParts:
    """Rank 2 of three, of a prefill worker."""
    sizes = ParallelSizes(3)
    config = ServerConfig(
        model_path="m", tp_size=3, disaggregation_mode=Mode.PREFILL, max_total_tokens=PAGES * PAGE, page_size=PAGE,
        kv_cache_dtype="float32",
    )  # fmt: skip
    shards = shards_of(SHAPE, sizes)
    kv = KV(SHAPE, pages=PAGES, page_size=PAGE, dtype=torch.float32, staging=True)
    kv.order = order
    model = ResolvedModel(Path(), "m", "m", SHAPE, Path(), None, "sha")
    nothing: Any = None

    def opened(settings: TransferSettings) -> Selection:
        order.done.append("another opened")
        return Selection(End(order, "another"), "tcp")

    return RankParts(
        number, config, read_environment({}), model, (0, 1, 2), shards, None, nothing, kv, TransferSettings(),
        Selection(first, "tcp"), torch.device("cpu"), 256, opened,
    )  # fmt: skip


def test_memory_goes_behind_its_transport_and_the_next_one_is_for_the_heads_of_now() -> None:
    order = Order()
    parts = parts_of(order, End(order, "first"))
    carrier = parts.carrier(lambda report: None)
    assert carrier is not None and carrier.place.rank == 2
    carrier.connect("D", [PeerRank(EndpointInfo("tcp", "peer", 0, 1 << 20), 0, 0, SHAPE.kv_heads)])
    fewer = renewed(regrouped(parts, (0, 2)), carrier)
    assert order.done == [
        "first closed",  # the link
        "first closed",
        "memory given up",
        "another opened",
        "another registered",
    ]
    assert (fewer.ranks, fewer.endpoint) == ((0, 2), EndpointInfo("tcp", "another", 0, 1 << 20))
    assert parts.kv.staging_bytes == 0 < fewer.kv.staging_bytes
    assert fewer.kv.staging.shape[3] == len(fewer.shard.kv_heads) == SHAPE.kv_heads // 2
    again = fewer.carrier(lambda report: None)
    assert again is not None
    assert (again.place.rank, again.place.part, len(again.place.heads)) == (2, 1, 2), "its number stays"


def test_memory_that_a_transport_may_still_use_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "_QUIET_S", 0.05)
    order, going = Order(), threading.Event()
    parts = parts_of(order, End(order, "first", going))
    size = parts.kv.staging_bytes
    with pytest.raises(TransferError, match="cannot be given up while transfers may use it") as caught:
        renewed(regrouped(parts, (0, 2)), None)
    assert not caught.value.quiesced and order.done == [] and parts.kv.staging_bytes == size
    going.set()


def test_a_transport_that_breaks_as_it_ends_keeps_the_memory_too() -> None:
    class Broken(End):
        def close(self) -> None:
            raise ValueError("no such engine")

    order = Order()
    with pytest.raises(TransferError, match="no such engine"):
        renewed(regrouped(parts_of(order, Broken(order, "first")), (0, 2)), None)
    assert "memory given up" not in order.done


class Orders:
    def send(self, order: Any) -> None: ...

    def gone(self, wait_s: float) -> str:
        return ""

    def listen(self, ticket: int, callback: Any) -> None: ...

    def forget(self, ticket: int) -> None: ...


def carrier_of(order: Order, end: End, rank: int, ranks: int) -> RankCarrier:
    shards = shards_of(SHAPE, ParallelSizes(ranks))
    heads = len(shards[rank].kv_heads)
    kv = KVCache(replace(SHAPE, kv_heads=heads), pages=PAGES, page_size=PAGE, dtype=torch.float32, staging=True)
    return RankCarrier(RankPlace.of(shards, rank), kv, end, lambda report: None)


def test_writes_of_ranks_that_were_lost_end_quietly_and_the_next_ones_are_of_the_others() -> None:
    order, orders, ended = Order(), Orders(), list[Written]()
    peer = (PeerRank(EndpointInfo("tcp", "peer", 0, 1 << 20), 0, 0, SHAPE.kv_heads),)
    worker = WorkerCarrier(carrier_of(order, End(order, "first"), 0, 3), [[0, 1, 2]], orders, orders)
    worker.connect("D", peer)
    assert not worker.is_plain("D")
    shipment = Shipment("D", 0, 0, (Run(0, 1),), (Run(1, 1),), (Run(1, 1),), 0, 1e12)
    worker.write(shipment, ended.append)
    assert worker.tickets == 1 and not ended
    worker.renew(carrier_of(order, End(order, "another"), 0, 1), [[0]])
    assert [(one.ok, one.quiet) for one in ended] == [(False, True)] and worker.tickets == 0
    assert worker.problem("D") == "the peer has gone"
    worker.connect("D", peer)
    assert worker.is_plain("D") and worker.problem("D") == "" and worker.has_followers


def test_a_write_that_waits_for_the_device_goes_to_who_was_there() -> None:
    order, gate, ended = Order(), threading.Event(), list[Written]()
    first, second = End(order, "first"), End(order, "second")
    carrier = carrier_of(order, first, 0, 1)

    def ready() -> None:
        assert gate.wait(20)

    carrier._kv.fence = lambda: ready  # type: ignore[method-assign]
    peer = [PeerRank(EndpointInfo("tcp", "peer", 0, 1 << 20), 0, 0, SHAPE.kv_heads)]
    carrier.connect("D", peer)
    written: list[str] = []
    for name, end in (("first", first), ("second", second)):
        end.write = lambda segments, not_after=None, name=name, end=end: written.append(name) or end.ticket  # type: ignore
    shipment = Shipment("D", 0, 0, (Run(0, 1),), (Run(1, 1),), (Run(1, 1),), 0, 1e12)
    carrier._write_fenced(1, shipment, ended.append)
    carrier.disconnect("D")
    carrier._endpoint = second  # another process at the address, with memory of its own
    carrier.connect("D", peer)
    gate.set()
    carrier._fences.close()
    assert written == ["first"], "whose link is closed"
