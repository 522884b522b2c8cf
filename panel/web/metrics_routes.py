"""GET /metrics: the panel's own figures for Prometheus, behind the same guard as everything else.

Reads only what the panel knows already; no process is asked. Of each living run it keeps the newest sample and reads on
from there. One page is made at a time and is good for a second, however many ask. Called by `app`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version

import psutil
from fastapi import APIRouter
from fastapi.responses import Response

from ...engine.errors import PdpanelError
from .exposition import MOST_RUNS, OwnFacts, metrics_text
from .port import Source

__all__ = ["metrics_routes"]

_KIND = "text/plain; version=0.0.4; charset=utf-8"
_GOOD_FOR_S = 1.0
# What a source hands out at once is bounded; a run of days is caught up with over a few scrapes at most.
_BATCHES = 8


class _Newest:
    """The newest sample of each living run."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._seen: dict[str, tuple[int, tuple[float, Mapping[str, float]] | None]] = {}

    def of(self, run_ids: list[str]) -> dict[str, tuple[float, Mapping[str, float]]]:
        """Returns (time, values) by run id; a run without samples is missing."""
        self._seen = {run_id: self._read_on(run_id) for run_id in run_ids}
        return {run_id: row for run_id, (_, row) in self._seen.items() if row is not None}

    def _read_on(self, run_id: str) -> tuple[int, tuple[float, Mapping[str, float]] | None]:
        seq, row = self._seen.get(run_id, (0, None))
        with contextlib.suppress(PdpanelError):
            for _ in range(_BATCHES):
                batch = self._source.samples(run_id, seq)
                if not batch.rows:
                    break
                seq, row = batch.last_seq, batch.rows[-1]
        return seq, row


def _own(websockets: int) -> OwnFacts:
    try:
        name = version("pdpanel")
    except PackageNotFoundError:
        name = "unknown"
    try:
        process = psutil.Process()
        times = process.cpu_times()
        cpu, rss = times.user + times.system, process.memory_info().rss
        return OwnFacts(name, websockets, cpu, rss, process.num_fds(), process.create_time())
    except (psutil.Error, OSError):
        return OwnFacts(name, websockets)


def metrics_routes(source: Source, websockets: Callable[[], int]) -> APIRouter:
    """Returns the route; `websockets` says how many pages listen."""
    routes = APIRouter()
    newest = _Newest(source)
    turn = asyncio.Lock()
    made: tuple[float, str] = (float("-inf"), "")

    def page(listening: int) -> str:
        runs = source.runs()
        rows = newest.of([run.id for run in runs if run.state != "stopped"][:MOST_RUNS])
        return metrics_text(_own(listening), runs, rows, source.host_traffic(), time.time())

    @routes.get("/metrics", summary="The panel's own figures", response_class=Response, tags=["panel"])
    async def metrics() -> Response:
        """Returns Prometheus text: runs, processes, KV traffic, tokens, latencies, host links, the panel itself."""
        nonlocal made
        async with turn:
            if time.monotonic() - made[0] > _GOOD_FOR_S:
                made = (time.monotonic(), await asyncio.to_thread(page, websockets()))
        return Response(made[1], media_type=_KIND, headers={"Cache-Control": "no-store"})

    return routes
