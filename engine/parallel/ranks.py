"""One rank at work, and what the first rank's step loop sees of all of them.

The seam between orders, model, KV and transfer: `Rank.carry_out` is the one place where orders become deeds, on every
rank alike. `RankedExecutor` and `RankedKV` look to the step loop like the model and the KV memory of a worker of one
rank; they tell the other ranks what they do. How orders travel is `leader`'s and `follower`'s business.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from ..errors import RankError
from ..model.executor import Executor, ExecutorInfo, TokenSpan
from ..model.shape import ModelShape
from ..pages import Run, Runs
from ..profiling_spans import COMPUTE, COPY, Spans
from .orders import (
    Close,
    Compute,
    Connect,
    Export,
    Import,
    Move,
    Order,
    Profile,
    Profiled,
    Report,
    Settle,
    SpanOrder,
    Stop,
    Write,
    Written,
    as_page_runs,
)

if TYPE_CHECKING:
    from torch import Tensor

    from ..kv import KVCache
    from .meter import Meter

__all__ = ["Carried", "Carrier", "Orders", "Rank", "RankProfiler", "RankedExecutor", "RankedKV", "Reports"]

Carried = Export | Import | Connect | Close | Write | Settle
"""The orders that move KV between slots, staging pages and peers."""


class Orders(Protocol):
    """The way to all other ranks."""

    def send(self, order: Order) -> None:
        """Has them carry `order` out after all orders before it; any thread. Does nothing on this rank.

        Raises:
            RankError: a rank is gone, and says which.
        """
        ...

    def gone(self, wait_s: float) -> str:
        """Returns which rank is gone and how, waiting so long for the news; empty when all are there."""
        ...


class Reports(Protocol):
    """What comes back from the ranks."""

    def listen(self, ticket: int, callback: Callable[[Written], None]) -> None:
        """Has `callback` called for each rank's report of this write, on any thread."""
        ...

    def forget(self, ticket: int) -> None:
        """Ends that."""
        ...


class Carrier(Protocol):
    """A rank's own part of moving KV; it passes over what is for another attention group."""

    def carry(self, order: Carried) -> None:
        """Does the rank's part; never raises for what a peer did."""
        ...

    def close(self) -> None:
        """Ends all links."""
        ...


class RankProfiler(Protocol):
    """Profiles what this rank computes.

    Attributes:
        spans: takes note of the orders that it carries out.
    """

    spans: Spans

    def profile(self, folder: str) -> str:
        """Begins, or ends when `folder` is empty; returns the path of what was written at the end."""
        ...


class Rank:
    """One rank's parts.

    Args:
        number: of the worker.
        group: its attention group.
        executor: of all ranks together; what it computes here is this rank's part.
        kv: of this rank.
        carrier: None on workers that transfer nothing.
        report: takes what the first rank is to know.
        leave: leaves the process group and what else joins this rank with the others.
    """

    def __init__(
        self,
        number: int,
        group: int,
        executor: Executor,
        kv: KVCache,
        carrier: Carrier | None,
        meter: Meter,
        report: Callable[[Report], None],
        profiler: RankProfiler | None = None,
        leave: Callable[[], None] = lambda: None,
    ) -> None:
        self.number = number
        self.group = group
        self.executor = executor
        self.kv = kv
        self.meter = meter
        self.carrier = carrier
        self._report = report
        self._profiler = profiler
        self._leave = leave

    def leave(self) -> None:
        """Leaves the other ranks: a pass that waits for them ends with a RankError. Returns at once; any thread."""
        # A transport may take its time to end what is under way to a rank that is gone.
        threading.Thread(target=self._leave, name="leaving ranks", daemon=True).start()

    def take_over(self, other: Rank) -> None:
        """Goes on with what `other` has: another group, other shards, other memory."""
        self.executor, self.kv, self.carrier, self._leave = other.executor, other.kv, other.carrier, other._leave

    def carry_out(self, order: Order) -> None:
        """Does this rank's part of an order other than `Stop`.

        Raises:
            RankError: another rank is gone.
        """
        profiler = self._profiler
        if profiler is not None and profiler.spans.active and (noted := _noted_as(order)) is not None:
            with profiler.spans.over(*noted):
                self._do(order)
        else:
            self._do(order)

    def _do(self, order: Order) -> None:
        match order:
            case Compute(spans=spans):
                self.compute([TokenSpan(*_fields(span)) for span in spans])
            case Move(group=group, source=source, target=target, tokens=tokens):
                if group == self.group:
                    self.kv.move(source, target, tokens)
            case Profile(folder=folder):
                if self._profiler is not None:
                    path = self._profiler.profile(folder)
                    if not folder:
                        self._report(Profiled(self.number, path))
            case Stop():
                pass
            case _:
                assert self.carrier is not None, "a worker that transfers nothing gets no such order"
                self.carrier.carry(order)

    def compute(self, spans: Sequence[TokenSpan], tap: Callable[[Tensor], None] | None = None) -> Tensor:
        """Computes this rank's part of a pass; returns the logits on rank 0."""
        with self.meter.computing():
            return self.executor.forward(spans, self.kv, tap)

    def close(self) -> None:
        """Ends the rank's links."""
        if self.carrier is not None:
            self.carrier.close()


def _noted_as(order: Order) -> tuple[str, str] | None:
    """Returns the kind and the name that a profile has for an order; None for one that it does not note."""
    match order:
        case Compute(spans=spans):
            return COMPUTE, "decode step" if all(len(span.tokens) == 1 for span in spans) else "prefill step"
        case Export():
            return COPY, "copy KV to staging"
        case Import():
            return COPY, "copy KV from staging"
        case _:
            return None


def _fields(span: SpanOrder) -> tuple[tuple[int, ...], int, int, bool, int]:
    return span.tokens, span.start, span.slot, span.logits, span.group


_NEWS_S = 1.5
"""How long a failed pass waits to hear which rank is gone: the exchange breaks before the rank's end is known."""


class RankedExecutor:
    """An `Executor` on the first rank whose passes all ranks compute.

    Attributes:
        on_profiled: is told of the profile of each rank.
        on_broken: has the ranks that are left go on without those that are gone; returns False when none is gone. None
            where the worker ends then.
    """

    def __init__(self, rank: Rank, orders: Orders) -> None:
        self._rank = rank
        self._orders = orders
        self.on_profiled: Callable[[int, str], None] | None = None
        self.on_broken: Callable[[], bool] | None = None

    def recover(self) -> bool:
        """Goes on with fewer ranks and empty KV memory; returns False when none is gone, or the worker has to end."""
        return self.on_broken is not None and self.on_broken()

    @property
    def shape(self) -> ModelShape:
        """The whole model's dimensions."""
        return self._rank.executor.shape

    @property
    def info(self) -> ExecutorInfo:
        """Which path this is."""
        return self._rank.executor.info

    def forward(self, spans: Sequence[TokenSpan], kv: KVCache, tap: Callable[[Tensor], None] | None = None) -> Tensor:
        """Has all ranks compute the spans, and write their KV into their own memory; returns the wanted logits.

        Raises:
            RankError: a rank is gone, and says which.
        """
        order = Compute(
            tuple(SpanOrder(tuple(span.tokens), span.start, span.slot, span.logits, span.group) for span in spans),
            tap is not None,
        )
        try:
            self._orders.send(order)
            return self._rank.compute(spans, tap)
        except RankError as error:
            reason = self._orders.gone(_NEWS_S)
            raise (RankError(reason) if reason else error) from None

    def logits(self, states: Tensor) -> Tensor:
        """Returns the logits of states, which the first rank computes alone."""
        return self._rank.executor.logits(states)

    def profile(self, folder: str) -> None:
        """Has all ranks begin to profile into `folder`, or end with it when it is empty."""
        order = Profile(folder)
        self._orders.send(order)
        self._rank.carry_out(order)


class RankedKV:
    """The KV memory of one attention group, which its ranks have parts of; with the methods of `KVCache`.

    Args:
        group: whose memory this is.
        rank: the first rank, which has a part of group 0's.
    """

    def __init__(self, group: int, rank: Rank, orders: Orders) -> None:
        self._group = group
        self._rank = rank
        self._orders = orders
        self.page_size = rank.kv.page_size

    def _all(self, order: Move | Export | Import) -> None:
        self._orders.send(order)
        self._rank.carry_out(order)

    def move(self, source: int, target: int, tokens: int) -> None:
        """Copies `tokens` tokens from slot page `source` to slot page `target`; the ranges may overlap."""
        self._all(Move(self._group, source, target, tokens))

    def export_pages(self, slot_page: int, staging: Runs) -> None:
        """Copies consecutive slot pages, from `slot_page` on, into the staging runs in order."""
        self._all(Export(self._group, slot_page, as_page_runs(staging)))

    def import_pages(
        self, staging: Runs, slot_page: int, *, peer: str = "", granted: Runs = (), first: int = 0
    ) -> None:
        """Copies the staging runs, in order, into consecutive slot pages from `slot_page` on; see `Import`."""
        order = Import(self._group, slot_page, as_page_runs(staging), peer, as_page_runs(granted), first)
        self._all(order)

    def first_token(self, slot: Run) -> int:
        """Returns the token index of a slot's first place."""
        return slot.start * self.page_size
