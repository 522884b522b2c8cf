"""Decode one step ahead: the GPU computes the next step while the host still works on the tokens of the last.

A step's tokens are drawn on the device and are there the next step's inputs, so that one can be launched before the
host has read them. The core decides afterwards as if nothing had happened: what it then asks for was computed already,
row by row, or is launched now; rows that it does not ask for were sequences that ended, whose KV nobody reads. Later
copies and steps run behind it on the same stream, so a slot that changes hands is never written late. Knows rows, no
requests; the step loop calls it by `model.executor.Decoder`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..kv import KVCache
from ..model.executor import DecodeRow
from ..sampler import uniform
from .sampling import pick

__all__ = ["AheadDecoder", "Launch"]

Launch = Callable[[Sequence[DecodeRow], Tensor | None, KVCache], Tensor]
"""(rows, their tokens on the device or None for those in the rows, the KV) -> logits, [rows, vocab] float32."""


@dataclass(frozen=True, slots=True, eq=False)
class _Flight:
    """A launched step.

    Attributes:
        rows: what was launched; the tokens in those of a step ahead mean nothing.
        chosen: [rows] int64 on the device, the tokens drawn.
        host: [2, rows] float64, tokens and largest logits on their way here.
        arrived: waits until they are here.
    """

    rows: Sequence[DecodeRow]
    chosen: Tensor
    host: Tensor
    arrived: Callable[[], None]


@dataclass(frozen=True, slots=True)
class _Ahead:
    """A step that nobody asked for yet.

    Attributes:
        places: of its rows by (key, position, slot).
        tokens: that its rows went on from, by key.
    """

    flight: _Flight
    places: Mapping[tuple[int, int, int], int]
    tokens: Mapping[int, int]

    def place(self, row: DecodeRow) -> int | None:
        """Returns where `row` was computed, None when it was not: its slot moved, or its sequence is another one."""
        place = self.places.get((row.key, row.position, row.slot))
        return place if place is not None and self.tokens[row.key] == row.token else None


class AheadDecoder:
    """Decodes steps of plain rows.

    Args:
        launch: computes rows; launches alone, nothing that waits for the device.
        ahead: False launches nothing before it is asked for.
    """

    def __init__(self, launch: Launch, *, ahead: bool = True) -> None:
        self._launch = launch
        self._runs_ahead = ahead
        self._ahead: _Ahead | None = None

    def decode(self, rows: Sequence[DecodeRow], kv: KVCache) -> list[int] | None:
        """Returns the token that follows each row; None when one has no usable logits, and nothing is under way."""
        sources = self._sources(rows, kv)
        on = [number for number, row in enumerate(rows) if row.goes_on] if self._runs_ahead else []
        self._ahead = None
        flight = None
        if on:
            flight = self._start([rows[number].following() for number in on], _chosen([sources[n] for n in on]), kv)
        tokens = _read(sources)
        if tokens is None:
            return None
        if flight is not None:
            places = {(row.key, row.position, row.slot): at for at, row in enumerate(flight.rows)}
            self._ahead = _Ahead(flight, places, {rows[number].key: tokens[number] for number in on})
        return tokens

    def _sources(self, rows: Sequence[DecodeRow], kv: KVCache) -> list[tuple[_Flight, int]]:
        """Returns for each row the flight that computes it and its place there; launches what is not under way."""
        ahead = self._ahead
        places = [None if ahead is None else ahead.place(row) for row in rows]
        missing = [number for number, place in enumerate(places) if place is None]
        late = self._start([rows[number] for number in missing], None, kv) if missing else None
        numbers = {number: at for at, number in enumerate(missing)}
        sources: list[tuple[_Flight, int]] = []
        for number, place in enumerate(places):
            if place is not None and ahead is not None:
                sources.append((ahead.flight, place))
            elif late is not None:
                sources.append((late, numbers[number]))
        return sources

    def _start(self, rows: Sequence[DecodeRow], ids: Tensor | None, kv: KVCache) -> _Flight:
        logits = self._launch(rows, ids, kv)
        numbers = [0.0 if row.params.greedy else uniform(row.seed, row.position + 1) for row in rows]
        chosen, peaks = pick(logits, [row.params for row in rows], numbers)
        both = torch.stack((chosen.double(), peaks.double()))
        if not both.is_cuda:
            return _Flight(rows, chosen, both, lambda: None)
        host = torch.empty(both.shape, dtype=both.dtype, pin_memory=True)
        host.copy_(both, non_blocking=True)
        event = torch.cuda.Event(blocking=True)
        event.record(torch.cuda.current_stream(both.device))
        return _Flight(rows, chosen, host, event.synchronize)


def _chosen(sources: Sequence[tuple[_Flight, int]]) -> Tensor:
    """Returns the tokens of these rows, [rows] int64 on the device."""
    flights = list(dict.fromkeys(flight for flight, _ in sources))
    starts, total = {}, 0
    for flight in flights:
        starts[flight] = total
        total += len(flight.rows)
    together = flights[0].chosen if len(flights) == 1 else torch.cat([flight.chosen for flight in flights])
    wanted = [starts[flight] + place for flight, place in sources]
    if wanted == list(range(total)):
        return together
    index = torch.tensor(wanted, pin_memory=together.is_cuda).to(together.device, non_blocking=True)
    return together.index_select(0, index)


def _read(sources: Sequence[tuple[_Flight, int]]) -> list[int] | None:
    """Waits for these rows and returns their tokens, None when one's largest logit is not finite."""
    read: dict[_Flight, tuple[list[float], list[float]]] = {}
    for flight in dict.fromkeys(flight for flight, _ in sources):
        flight.arrived()
        tokens, peaks = flight.host.tolist()
        read[flight] = tokens, peaks
    if not all(math.isfinite(read[flight][1][place]) for flight, place in sources):
        return None
    return [int(read[flight][0][place]) for flight, place in sources]
