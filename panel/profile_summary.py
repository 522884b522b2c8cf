"""One page about a trace: the operators that took most, and how the time went into computing, exchange, KV and waiting.

Reads a Chrome trace event by event, so that a large one costs no memory, and judges it by what the bundled engine
writes (`engine.profiling_spans`) beside torch's own events. Pure but for the file. On the command line, for a process
of its own: `python -m pdpanel.panel.profile_summary TRACE`.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

__all__ = ["MOST_EVENTS", "main", "read_events", "summarise", "summary_of"]

MOST_EVENTS = 1_500_000
"""Events that are looked at; of a longer trace the first ones."""

_MOST_OPERATORS = 15
_CHUNK = 1 << 20
_START = '"traceEvents": ['
_WAIT, _COPY, _TRANSFER = "pdpanel_wait", "pdpanel_copy", "pdpanel_transfer"
_STEP = "pdpanel_compute"
_ON_THREAD = frozenset({"cpu_op", "user_annotation", "pdpanel_operation", _STEP, _COPY, _WAIT})
_ON_GPU = frozenset({"kernel", "gpu_memcpy", "gpu_memset"})
_EXCHANGE = "exchange: "

Event = dict[str, Any]
Stretch = tuple[float, float]


def read_events(file: IO[str]) -> Iterator[Event]:
    """Yields the events of a trace.

    Raises:
        ValueError: it is no trace.
    """
    decoder, text, place = json.JSONDecoder(), "", -1
    while place < 0:
        chunk = file.read(_CHUNK)
        if not chunk:
            raise ValueError("it has no traceEvents")
        text += chunk
        place = text.find(_START)
    text, place = text[place + len(_START) :], 0
    while True:
        while place < len(text) and text[place] in " \n\r\t,":
            place += 1
        if place < len(text) and text[place] == "]":
            return
        try:
            event, place = decoder.raw_decode(text, place)
        except ValueError:
            chunk = file.read(_CHUNK)
            if not chunk:
                raise
            text, place = text[place:] + chunk, 0
            continue
        yield event
        if place > _CHUNK:
            text, place = text[place:], 0


def summary_of(path: Path) -> dict[str, Any]:
    """Returns the summary of the trace at `path`.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no trace.
    """
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return summarise(read_events(file))


def summarise(events: Iterable[Event]) -> dict[str, Any]:
    """Returns what a trace says, times in seconds.

    It has `seconds` (of the profile), `compute_s`, `exchange_s` (with other ranks), `copy_s` (KV between slots and
    staging pages), `wait_s` (nothing to do), which add up to it on the thread that computes; `transfer_s` (a write of
    KV was under way) and `hidden_s` (of it, while that thread did something); `gpu_s`; `steps` ({name, count,
    seconds, longest_s, exchange_s, copy_s}) and `operators` ({name, count, self_s, share}), largest first; `events`,
    and whether they are `complete`.
    """
    trace = _Trace()
    for event in events:
        if not trace.take(event):
            break
    return trace.summary()


class _Trace:
    def __init__(self) -> None:
        self._threads: dict[object, list[tuple[float, float, str, str]]] = defaultdict(list)
        self._gpu: list[tuple[float, float, str]] = []
        self._open: dict[object, float] = {}
        self._writes: list[Stretch] = []
        self._window: Stretch | None = None
        self._count = 0
        self._complete = True

    def take(self, event: Event) -> bool:
        if self._count >= MOST_EVENTS:
            self._complete = False
            return False
        self._count += 1
        phase, kind = event.get("ph"), event.get("cat")
        if kind == _TRANSFER:
            self._write(event, str(phase))
        elif phase == "X":
            began = float(event["ts"]) / 1e6
            ended = began + float(event.get("dur", 0.0)) / 1e6
            if kind in _ON_THREAD:
                self._threads[event.get("tid")].append((began, ended, str(event.get("name")), str(kind)))
            elif kind in _ON_GPU:
                self._gpu.append((began, ended, str(event.get("name"))))
            elif kind == "Trace":
                self._window = (began, ended)
        return True

    def _write(self, event: Event, phase: str) -> None:
        at, number = float(event["ts"]) / 1e6, event.get("id")
        if phase == "b":
            self._open[number] = at
        elif phase == "e" and number in self._open:
            self._writes.append((self._open.pop(number), at))

    def summary(self) -> dict[str, Any]:
        own = sorted(self._computing(), key=lambda event: (event[0], -event[1]))
        begin, end = self._window or _bounds(own, self._writes)
        work = _union([(began, ended) for began, ended, _, kind in own if kind != _WAIT], begin, end)
        exchange = _union([(b, e) for b, e, name, _ in own if name.startswith(_EXCHANGE)], begin, end)
        copies = _union([(b, e) for b, e, _, kind in own if kind == _COPY], begin, end)
        writes = _union(self._writes, begin, end)
        busy, exchanged, copied = _length(work), _length(exchange), _length(copies)
        operators = _operators(own, self._gpu)
        total = sum(seconds for seconds, _ in operators.values()) or 1.0
        ranked = sorted(operators.items(), key=lambda item: -item[1][0])[:_MOST_OPERATORS]
        return {
            "seconds": end - begin,
            "compute_s": max(0.0, busy - exchanged - copied),
            "exchange_s": exchanged,
            "copy_s": copied,
            "wait_s": max(0.0, end - begin - busy),
            "transfer_s": _length(writes),
            "hidden_s": _length(_both(writes, work)),
            "gpu_s": _length(_union([(b, e) for b, e, _ in self._gpu], begin, end)),
            "steps": _steps(own, exchange, copies),
            "operators": [
                {"name": name, "count": count, "self_s": seconds, "share": seconds / total}
                for name, (seconds, count) in ranked
            ],
            "events": self._count,
            "complete": self._complete,
        }

    def _computing(self) -> Sequence[tuple[float, float, str, str]]:
        """Returns the events of the thread that computes: the one with steps, else the one with most time in events."""

        def weight(events: Sequence[tuple[float, float, str, str]]) -> tuple[int, float]:
            return sum(kind == _STEP for *_, kind in events), sum(e - b for b, e, _, kind in events if kind != _WAIT)

        return max(self._threads.values(), key=weight, default=[])


def _bounds(own: Sequence[tuple[float, float, str, str]], writes: Sequence[Stretch]) -> Stretch:
    times = [*((began, ended) for began, ended, _, _ in own), *writes]
    return (min(began for began, _ in times), max(ended for _, ended in times)) if times else (0.0, 0.0)


def _union(stretches: Iterable[Stretch], begin: float, end: float) -> list[Stretch]:
    """Returns the stretches within [begin, end] joined, in order."""
    joined: list[Stretch] = []
    for began, ended in sorted(stretches):
        began, ended = max(began, begin), min(ended, end)
        if ended <= began:
            continue
        if joined and began <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], ended))
        else:
            joined.append((began, ended))
    return joined


def _both(one: Sequence[Stretch], other: Sequence[Stretch]) -> list[Stretch]:
    """Returns where stretches of two joined lists overlap."""
    found: list[Stretch] = []
    first = second = 0
    while first < len(one) and second < len(other):
        began, ended = max(one[first][0], other[second][0]), min(one[first][1], other[second][1])
        if began < ended:
            found.append((began, ended))
        if one[first][1] < other[second][1]:
            first += 1
        else:
            second += 1
    return found


def _length(stretches: Iterable[Stretch]) -> float:
    return sum(ended - began for began, ended in stretches)


def _steps(
    own: Iterable[tuple[float, float, str, str]], exchange: Sequence[Stretch], copies: Sequence[Stretch]
) -> list[dict[str, Any]]:
    found: dict[str, list[Stretch]] = defaultdict(list)
    for began, ended, name, kind in own:
        if kind == _STEP:
            found[name].append((began, ended))
    return [
        {
            "name": name,
            "count": len(each),
            "seconds": _length(each),
            "longest_s": max(ended - began for began, ended in each),
            "exchange_s": _length(_both(each, exchange)),
            "copy_s": _length(_both(each, copies)),
        }
        for name, each in sorted(found.items())
    ]


def _operators(
    own: Sequence[tuple[float, float, str, str]], gpu: Iterable[tuple[float, float, str]]
) -> dict[str, tuple[float, int]]:
    """Returns seconds without those of operators inside, and calls, by name; kernels of a GPU count beside."""
    seconds: dict[str, float] = defaultdict(float)
    calls: dict[str, int] = defaultdict(int)
    stack: list[tuple[float, str]] = []
    for began, ended, name, kind in own:
        if kind == _WAIT:
            continue
        while stack and stack[-1][0] <= began:
            stack.pop()
        if stack:
            seconds[stack[-1][1]] -= min(ended, stack[-1][0]) - began
        seconds[name] += ended - began
        calls[name] += 1
        stack.append((ended, name))
    for began, ended, name in gpu:
        seconds[f"GPU: {name}"] += ended - began
        calls[f"GPU: {name}"] += 1
    return {name: (max(0.0, spent), calls[name]) for name, spent in seconds.items()}


def main(arguments: Sequence[str]) -> int:
    """Prints the summary of a trace as JSON; returns the exit code."""
    try:
        print(json.dumps(summary_of(Path(arguments[0]))))
    except (OSError, ValueError, KeyError, EOFError) as error:
        print(f"{arguments[0]} is no trace: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
