"""What a worker itself notes while it is profiled: stretches of time by kind and name, as events of a Chrome trace.

torch's profiler sees torch's operations on the thread that computes. Native kernels are one call to it, KV is written
on other threads, and waiting is nothing at all: those are noted here. Thread-safe; costs one check while nothing is
profiled. `profiling_trace` puts the events into torch's file.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

__all__ = ["COMPUTE", "COPY", "MOST_SPANS", "OPERATION", "TRANSFER", "WAIT", "Spanned", "Spans", "events_of"]

COMPUTE, OPERATION, COPY, TRANSFER, WAIT = "compute", "operation", "copy", "transfer", "wait"
"""Kinds: a step of the thread that computes; an operation within one; KV between slots and staging pages; KV on its way
to a peer; nothing to do."""

MOST_SPANS = 200_000
"""More are counted and left out: about 60 MB of trace."""

Span = tuple[str, str, int, int, int]
"""Kind, name, the kernel's id of the thread, and time.time_ns() at its beginning and end."""


class Spans:
    """Notes spans between `begin` and `take`.

    Attributes:
        dropped: how many more than MOST_SPANS there were.
        steps: how many of kind COMPUTE there were.
    """

    def __init__(self) -> None:
        self._spans: list[Span] | None = None
        self._most_steps = 0
        self._on_steps: Callable[[], None] = lambda: None
        self.dropped = 0
        self.steps = 0

    @property
    def active(self) -> bool:
        """Whether spans are noted now."""
        return self._spans is not None

    def begin(self, most_steps: int = 0, on_steps: Callable[[], None] = lambda: None) -> None:
        """Begins to note.

        Args:
            most_steps: after so many steps `on_steps` is called, once, on the thread that computes; 0 for never.
        """
        self.dropped = self.steps = 0
        self._most_steps, self._on_steps = most_steps, on_steps
        self._spans = []

    def add(self, kind: str, name: str, began_ns: int, ended_ns: int) -> None:
        """Notes a span of the calling thread, times as time.time_ns() has them."""
        spans = self._spans
        if spans is None:
            return
        if len(spans) < MOST_SPANS:
            spans.append((kind, name, threading.get_native_id(), began_ns, ended_ns))
        else:
            self.dropped += 1
        if kind == COMPUTE:
            self.steps += 1
            if self.steps == self._most_steps:
                self._on_steps()

    @contextmanager
    def over(self, kind: str, name: str) -> Iterator[None]:
        """Notes the block as a span."""
        if self._spans is None:
            yield
            return
        began = time.time_ns()
        try:
            yield
        finally:
            self.add(kind, name, began, time.time_ns())

    def written(self, seconds: float) -> None:
        """Notes a write of KV that has just ended."""
        if self._spans is not None:
            now = time.time_ns()
            self.add(TRANSFER, "KV write", now - int(seconds * 1e9), now)

    def add_operations(self, names: Sequence[str], cycles: Sequence[int], began_ns: int, ended_ns: int) -> None:
        """Notes the operations of a native pass, one after the other.

        Args:
            names: of the operations.
            cycles: of the processor's counter after each of them. What a cycle is differs between processors, so they
                are stretched over the pass's time.
        """
        if self._spans is None or len(cycles) < 2:
            return
        first, total = cycles[0], max(1, cycles[-1] - cycles[0])
        last = began_ns
        for name, cycle in zip(names[1:], cycles[1:], strict=True):
            now = began_ns + (cycle - first) * (ended_ns - began_ns) // total
            self.add(OPERATION, name, last, now)
            last = now

    def take(self) -> list[Span]:
        """Ends noting and returns what was noted."""
        spans, self._spans = self._spans, None
        return spans or []


@runtime_checkable
class Spanned(Protocol):
    """What notes spans of its own, such as native kernels."""

    noted: Spans | None


def events_of(spans: Sequence[Span], base_ns: int) -> Iterator[str]:
    """Yields Chrome's events as JSON, in microseconds since `base_ns`.

    Writes overlap, which events of one track may not: they are asynchronous ones.
    """
    process = os.getpid()
    for number, (kind, name, thread, began, ended) in enumerate(spans):
        common = {"cat": f"pdpanel_{kind}", "name": name, "pid": process, "tid": thread}
        # Differences in whole nanoseconds: a float has too few digits for today's date.
        if kind == TRANSFER:
            for phase, at in (("b", began), ("e", ended)):
                yield json.dumps({**common, "ph": phase, "id": number, "ts": (at - base_ns) / 1000})
        else:
            times = {"ts": (began - base_ns) / 1000, "dur": (ended - began) / 1000}
            yield json.dumps({**common, "ph": "X", **times})
