"""The load that the router suite puts on a router: N connections, each of which asks again as soon as it has its end.

A process of its own: `python -m pdpanel.panel.bench.suites.router_client URL`; it prints what it saw as one JSON line.
It counts the events of each answer and reads nothing else of them, so that it costs as little as a client can.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import time
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

__all__ = ["Load", "Seen", "main", "request", "run"]

_END = b"0\r\n\r\n"
_MARK = b"data: "
_KEPT = len(_MARK) - 1
_FIRST_LIMIT_S = 60.0
_BATCH = 64


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked.

    Attributes:
        seconds: counted, behind `warm_s` that are not.
        tokens: of each answer.
        prompt: length of the prompt in characters.
        hold: open all streams, say `open` when each has an event, and keep them until standard input ends.
    """

    url: str
    streams: int
    tokens: int
    seconds: float = 2.0
    warm_s: float = 0.5
    prompt: int = 2000
    hold: bool = False


@dataclass(slots=True)
class Seen:
    """What came back while it counted."""

    ttft_s: list[float] = field(default_factory=list)
    ended: int = 0
    wrong: int = 0
    lost: int = 0
    opened: int = 0
    counts: bool = False


def request(load: Load) -> bytes:
    """Returns the request that every stream sends."""
    words = "the quick brown fox jumps over the lazy dog "
    text = (words * (load.prompt // len(words) + 1))[: load.prompt]
    sampling = {"temperature": 0, "max_new_tokens": load.tokens}
    body = json.dumps({"text": text, "sampling_params": sampling, "stream": True}).encode()
    head = f"POST /generate HTTP/1.1\r\nHost: {urlsplit(load.url).netloc}\r\nContent-Type: application/json\r\n"
    return f"{head}Accept: */*\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


class _Stream(asyncio.Protocol):
    """One connection."""

    def __init__(self, seen: Seen, sent: bytes, tokens: int) -> None:
        self._seen = seen
        self._sent = sent
        self._tokens = tokens

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is no subclass.
        self._ask()

    def _ask(self) -> None:
        self._events = 0
        self._tail = b""
        self._began = time.perf_counter()
        self._transport.write(self._sent)

    def data_received(self, data: bytes) -> None:
        events = (self._tail + data).count(_MARK)
        if events:
            if not self._events:
                self._seen.opened += 1
                if self._seen.counts:
                    self._seen.ttft_s.append(time.perf_counter() - self._began)
            self._events += events
        self._tail = data[-_KEPT:] if len(data) >= _KEPT else (self._tail + data)[-_KEPT:]
        if self._tail == _END:
            if self._seen.counts:
                self._seen.ended += 1
                self._seen.wrong += self._events != self._tokens + 1
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        self._seen.lost += 1


async def run(load: Load) -> dict[str, object]:
    """Returns what was seen."""
    loop, seen, sent = asyncio.get_running_loop(), Seen(), request(load)
    parts = urlsplit(load.url)

    async def connect() -> asyncio.BaseTransport:
        made = await loop.create_connection(
            lambda: _Stream(seen, sent, load.tokens), parts.hostname or "", parts.port or 80
        )
        return made[0]

    transports: list[asyncio.BaseTransport] = []
    while len(transports) < load.streams:  # A few at a time: a listener has room for so many that wait.
        few = min(_BATCH, load.streams - len(transports))
        transports += await asyncio.gather(*(connect() for _ in range(few)))
    if load.hold:
        await _hold(load, seen)
        return {"opened": seen.opened, "lost": seen.lost}
    await asyncio.sleep(load.warm_s)
    seen.counts = True
    before, began = time.process_time(), time.perf_counter()
    await asyncio.sleep(load.seconds)
    seen.counts, seconds, cpu_s = False, time.perf_counter() - began, time.process_time() - before
    lost = seen.lost
    for transport in transports:
        transport.close()
    times = sorted(seen.ttft_s)
    return {
        "seconds": seconds,
        "ended": seen.ended,
        "wrong": seen.wrong,
        "lost": lost,
        "client_cpu_s": cpu_s,
        "ttft_p50_s": times[len(times) // 2] if times else None,
        "ttft_p99_s": times[len(times) * 99 // 100] if times else None,
    }


async def _hold(load: Load, seen: Seen) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _FIRST_LIMIT_S
    while seen.opened < load.streams and loop.time() < deadline:  # noqa: ASYNC110 (streams open in callbacks)
        await asyncio.sleep(0.02)
    print("open", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


def main(argv: list[str] | None = None) -> int:
    """Runs one load."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--streams", type=int, required=True)
    parser.add_argument("--tokens", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--warm-s", type=float, default=0.5)
    parser.add_argument("--hold", action="store_true")
    given = parser.parse_args(argv)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    import uvloop

    load = Load(given.url, given.streams, given.tokens, given.seconds, given.warm_s, hold=given.hold)
    print(json.dumps(uvloop.run(run(load))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
