"""A made-up run for verdicts: a closed or open network of parts, solved by simulation, and sampled as a real one is."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

__all__ = ["Made", "rows_of"]

_BEAT_S = 0.5


@dataclass(frozen=True, slots=True)
class Made:
    """Seconds that a request takes in each part, and the load.

    Attributes:
        prefill: one request at a time.
        transfer: one at a time.
        decode: all at once, `places` at most.
        router: one at a time, before prefill.
        clients: that wait for answers; 0 for arrivals at `rate`.
    """

    prefill: float = 0.1
    transfer: float = 0.01
    decode: float = 0.1
    router: float = 0.001
    places: int = 32
    clients: int = 4
    rate: float = 0.0
    seconds: float = 40.0
    seed: int = 0


class _Network:
    def __init__(self, made: Made) -> None:
        self.made = made
        self.rng = random.Random(made.seed)
        self.queues: dict[str, list[int]] = {part: [] for part in ("router", "waiting", "prefill", "transfer")}
        self.decoding: set[int] = set()
        self.granted = 0
        self.ended = 0
        self.events: list[tuple[float, int, str]] = []
        self.number = 0

    def run(self) -> Iterator[tuple[float, Mapping[str, float]]]:
        made, at = self.made, 0.0
        for _ in range(made.clients):
            self._arrive(0.0)
        if made.rate:
            self._push(self.rng.expovariate(made.rate), "arrival")
        while at < made.seconds:
            at += _BEAT_S
            while self.events and self.events[0][0] <= at:
                t, _, what = heapq.heappop(self.events)
                self._step(t, what)
            yield at, self._row()

    def _push(self, t: float, what: str) -> None:
        heapq.heappush(self.events, (t, len(self.events), what))

    def _serve(self, t: float, part: str) -> None:
        self._push(t + getattr(self.made, part) * self.rng.uniform(0.7, 1.3), part)

    def _arrive(self, t: float) -> None:
        self.number += 1
        self._join(t, "router")

    def _join(self, t: float, part: str) -> None:
        self.queues[part].append(self.number)
        if len(self.queues[part]) == 1:
            self._serve(t, part)

    def _grant(self, t: float) -> None:
        while self.queues["waiting"] and self.granted < self.made.places:
            self.queues["waiting"].pop(0)
            self.granted += 1
            self._join(t, "prefill")

    def _step(self, t: float, what: str) -> None:
        if what == "arrival":
            self._arrive(t)
            self._push(t + self.rng.expovariate(self.made.rate), "arrival")
        elif what == "decode":
            self.decoding.pop()
            self.granted -= 1
            self.ended += 1
            self._grant(t)
            if self.made.clients:
                self._arrive(t)
        else:
            self.queues[what].pop(0)
            if self.queues[what]:
                self._serve(t, what)
            if what == "router":
                self.queues["waiting"].append(0)
                self._grant(t)
            elif what == "prefill":
                self._join(t, "transfer")
            else:
                self.decoding.add(self.number * 1000 + len(self.decoding) + int(1e6 * t))
                self._serve(t, "decode")

    def _row(self) -> Mapping[str, float]:
        sizes = {part: float(len(queue)) for part, queue in self.queues.items()}
        decoding = float(len(self.decoding))
        return {
            "proc/prefill-0/running": min(1.0, sizes["prefill"]),
            "proc/prefill-0/queued": max(0.0, sizes["prefill"] - 1) + sizes["waiting"],
            "proc/prefill-0/bootstrap_queue": sizes["waiting"],
            "proc/prefill-0/inflight_queue": sizes["transfer"],
            "proc/prefill-0/slot_pages_used": 1.0,
            "proc/decode-0/running": decoding,
            "proc/decode-0/queued": sizes["waiting"],
            "proc/decode-0/prealloc_queue": sizes["waiting"],
            "proc/decode-0/transfer_queue": sizes["prefill"] + sizes["transfer"],
            "proc/decode-0/slot_pages_used": 1.0,
            "proc/router/running": sizes["router"] + sizes["waiting"] + self.granted,
            "proc/router/queued": 0.0,
            "proc/router/cpu_percent": 100.0 * (sizes["router"] > 0),
        }


def rows_of(made: Made, last_s: float = 20.0) -> tuple[list[tuple[float, Mapping[str, float]]], float]:
    """Returns the samples of the last seconds, and the requests per second that ended over all of it."""
    network = _Network(made)
    rows = [row for row in network.run() if row[0] > made.seconds - last_s]
    return rows, network.ended / made.seconds
