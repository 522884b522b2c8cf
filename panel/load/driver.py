"""Runs a load: warm-up, then requests as the plan says, a sample of progress every half second, then the result.

The only module that owns the requests' tasks. Nothing here decides what is sent (`plan`) or what it means (`tally`).
Called by `job` and `cli_load`.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import replace
from typing import Any

from aiohttp import ClientSession

from ...engine.errors import PeerError
from .client import Outcome, ask, body_of
from .plan import Planned, planned_requests
from .result import LoadResult, Progress
from .server import Served
from .spec import Arrival, LoadSpec, Route
from .tally import Tally

__all__ = ["TICK_S", "measure"]

TICK_S = 0.5
_LAG_EVERY_S = 0.05
_WARM_UP_AT_ONCE = 8
# A load of which nothing succeeds is given up after so many failures.
_HOPELESS = 20
# Above this the generator itself decides what is measured.
_LATE_S = 0.02
# Numbers of warm-up prompts, which no measured request has.
_WARM_UP_FROM = 1 << 40


async def measure(
    session: ClientSession, spec: LoadSpec, served: Served, stop: asyncio.Event, tell: Callable[[Progress], None]
) -> LoadResult:
    """Returns what the load measured.

    Args:
        session: of `client.open_session`.
        spec: the load, `checked`.
        served: of `server.learn`.
        stop: ends the load at once; requests under way are cut off.
        tell: is given a sample every half second.

    Raises:
        PeerError: no request of the warm-up succeeded.
    """
    load = _Load(session, spec, served, stop)
    await load.warm_up()
    return await load.run(tell)


class _Load:
    def __init__(self, session: ClientSession, spec: LoadSpec, served: Served, stop: asyncio.Event) -> None:
        self._session = session
        self._asked = spec
        self._spec = replace(spec, ignore_eos=spec.ignore_eos and served.ignores_eos)
        self._served = served
        self._stop = stop
        self._hopeless = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._lags = array("d")

    async def _ask(self, planned: Planned, seen: Callable[[float, int, float], None] | None) -> Outcome:
        prompt = self._served.prompts.prompt(planned.number, planned.input_length)
        length = prompt.output_length or planned.output_length
        body = body_of(self._spec, self._served.model, prompt, length, self._served.options)
        return await ask(self._session, self._spec, body, replace(planned, output_length=length), seen)

    async def warm_up(self) -> None:
        """Sends the requests that are not counted."""
        spec = replace(self._spec, requests=self._spec.warmup, duration_s=None, seed=self._spec.seed - 1)
        waiting = iter(planned_requests(replace(spec, arrival=Arrival.BURST)))
        outcomes: dict[int, Outcome] = {}

        async def client() -> None:
            for planned in waiting:
                outcome = await self._ask(replace(planned, number=_WARM_UP_FROM + planned.number), None)
                outcomes[planned.number] = outcome

        at_once = min(spec.warmup, self._spec.concurrency or _WARM_UP_AT_ONCE)
        await self._until_stopped(_all(client() for _ in range(at_once)))
        failures = [outcome.failure for outcome in outcomes.values() if outcome.failure is not None]
        if outcomes and len(failures) == len(outcomes):
            failure = failures[0]
            assert failure is not None
            what = "The request" if len(outcomes) == 1 else f"All {len(outcomes)} requests"
            raise PeerError(f"{what} of the warm-up to {spec.url} failed ({failure.kind}): {failure.text}.")

    async def run(self, tell: Callable[[Progress], None]) -> LoadResult:
        """Sends the measured requests and returns the result."""
        started_at = time.time()
        tally = Tally(self._spec, time.perf_counter())
        beside = [asyncio.create_task(self._tick(tally, tell)), asyncio.create_task(self._watch_lag())]
        try:
            work = self._closed if self._spec.arrival is Arrival.CONCURRENCY else self._open
            await self._until_stopped(work(tally))
            cut = await self._cut(tally)
            now = time.perf_counter()
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
        tell(tally.progress(now))
        ended = "gave-up" if self._hopeless.is_set() else "stopped" if self._stop.is_set() else "finished"
        result = tally.result(
            now,
            started_at=started_at,
            model=self._served.model,
            prompts_from=self._served.prompts.source,
            cut=cut,
            lags=self._lags,
            ended=ended,
        )
        return replace(result, notes=_notes(self._asked, self._served, result))

    async def _until_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        """Returns when the work is done or the load shall end."""
        tasks = [asyncio.create_task(one) for one in (work, self._stop.wait(), self._hopeless.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if tasks[0].done():
                tasks[0].result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _cut(self, tally: Tally) -> int:
        """Ends what is still under way and returns how many requests that were."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        return tally.sent - tally.completed - tally.failed

    async def _one(self, planned: Planned, tally: Tally) -> None:
        tally.send(time.perf_counter())
        try:
            outcome = await self._ask(planned, tally.saw)
        except asyncio.CancelledError:
            tally.leave(time.perf_counter())
            raise
        tally.end(outcome, time.perf_counter(), planned.input_length)
        if not tally.completed and tally.failed >= _HOPELESS:
            self._hopeless.set()

    async def _closed(self, tally: Tally) -> None:
        assert self._spec.concurrency
        waiting = self._before_the_end(tally)
        await asyncio.gather(*(self._client(waiting, tally) for _ in range(self._spec.concurrency)))

    async def _client(self, waiting: Iterator[Planned], tally: Tally) -> None:
        for planned in waiting:
            await self._one(planned, tally)

    def _before_the_end(self, tally: Tally) -> Iterator[Planned]:
        limit = self._spec.duration_s
        for planned in planned_requests(self._spec):
            if limit is not None and time.perf_counter() - tally.began_s >= limit:
                return
            yield planned

    async def _open(self, tally: Tally) -> None:
        limit = asyncio.Semaphore(self._spec.concurrency) if self._spec.concurrency else None
        for planned in planned_requests(self._spec):
            wait_s = tally.began_s + planned.at_s - time.perf_counter()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            if limit is not None:
                await limit.acquire()
            task = asyncio.create_task(self._one(planned, tally))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            if limit is not None:
                task.add_done_callback(lambda task: limit.release())
        await asyncio.gather(*self._tasks)

    async def _tick(self, tally: Tally, tell: Callable[[Progress], None]) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            tell(tally.progress(time.perf_counter()))

    async def _watch_lag(self) -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(_LAG_EVERY_S)
            self._lags.append(max(0.0, time.perf_counter() - before - _LAG_EVERY_S))


async def _all(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    await asyncio.gather(*work)


def _notes(spec: LoadSpec, served: Served, result: LoadResult) -> tuple[str, ...]:
    notes = []
    if result.lag_p99_s > _LATE_S:
        late = round(result.lag_p99_s * 1000)
        notes.append(
            f"The load generator itself was up to {late} ms late (p99): measure from a host with more free CPU, "
            "or at less load."
        )
    if spec.route is not Route.GENERATE and not served.options:
        notes.append("The server tells no usage: each event with text is taken for one token.")
    if spec.ignore_eos and not served.ignores_eos:
        notes.append("The server takes no ignore_eos: answers may be shorter than was asked.")
    if result.cut:
        notes.append(f"{result.cut} requests were under way when the load was stopped; they are not counted.")
    return tuple(notes)
