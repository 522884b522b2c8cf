"""Loads of the `pd` suite, by the load generator: requests at a rate, a closed loop, and one by one. Blocking."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from ....engine.errors import PeerError
from ...load.client import allow_connections, ask, body_of, open_session
from ...load.driver import measure
from ...load.plan import Planned
from ...load.reading import AnswerReader
from ...load.result import LoadResult, Progress
from ...load.spec import Arrival, LoadSpec, Route, checked
from ...load.tally import WINDOW_S
from .pd_deployments import Target

__all__ = ["Asked", "SteadyRate", "alone", "at_rate", "saturation"]

_MOST_OPEN = 512
_IDLE_S = 30.0
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Asked:
    """Requests with a prompt and an answer of so many tokens; the same seed asks the same."""

    prompt: int
    output: int
    seed: int

    def spec(self, target: Target) -> LoadSpec:
        """Returns it as a load of one request after another."""
        return LoadSpec(
            url=target.run.url,
            route=Route.GENERATE,
            warmup=0,
            input=str(self.prompt),
            output=str(self.output),
            seed=self.seed,
        )


@dataclass
class SteadyRate:
    """Output tokens per second of a closed loop once it runs evenly.

    Attributes:
        skip: answers before it does.
        count: answers after those.
    """

    skip: int
    count: int
    _since: float | None = None
    _rates: list[float] = field(default_factory=list)
    _last: float = 0.0

    def take(self, progress: Progress) -> bool:
        """Takes a sample; returns whether enough was seen."""
        self._last = progress.output_tokens_per_s
        if self._since is None and progress.completed >= self.skip:
            self._since = progress.at_s
        if self._since is not None and progress.at_s >= self._since + WINDOW_S:  # a sample looks back that far
            self._rates.append(progress.output_tokens_per_s)
        return progress.completed >= self.skip + self.count

    @property
    def value(self) -> float:
        """The mean of the samples; of a loop that is over at once, the last sample alone."""
        return statistics.fmean(self._rates or [self._last])


def at_rate(target: Target, asked: Asked, rate: float, requests: int, slo_ms: tuple[float, float]) -> LoadResult:
    """Returns what requests that come by Poisson arrivals see.

    Args:
        rate: requests/s.
        slo_ms: time to the first token and mean time between tokens of a good request, at most.

    Raises:
        PeerError: a request failed: its figures would be those of another load.
    """
    spec = replace(
        asked.spec(target),
        arrival=Arrival.POISSON,
        rate=rate,
        requests=requests,
        slo_ttft_ms=slo_ms[0],
        slo_itl_ms=slo_ms[1],
    )
    return asyncio.run(_load(target, spec, asyncio.Event(), lambda progress: None))


def saturation(target: Target, asked: Asked, clients: int, turns: int) -> float:
    """Returns the output tokens/s that clients get who ask again at once.

    Answers are half to one and a half times as long as asked: clients who all begin together would else go on in step,
    and every deployment would do one phase at a time.

    Raises:
        PeerError: a request failed.
    """
    low, high = max(1, asked.output // 2), asked.output + asked.output // 2
    spec = replace(
        asked.spec(target),
        concurrency=clients,
        requests=clients * (turns + 2),
        output=f"{low}-{high}",
    )

    async def run() -> float:
        steady, stop = SteadyRate(clients, clients * turns), asyncio.Event()

        def take(progress: Progress) -> None:
            if steady.take(progress):
                stop.set()

        await _load(target, spec, stop, take)
        return steady.value

    found = asyncio.run(run())
    _wait_until_idle(target)
    return found


async def _load(target: Target, spec: LoadSpec, stop: asyncio.Event, tell: Callable[[Progress], None]) -> LoadResult:
    spec = checked(spec)
    allow_connections(spec.concurrency or _MOST_OPEN)
    async with open_session() as session:
        result = await measure(session, spec, target.served(spec.seed), stop, tell)
    if result.failed:
        worst = result.errors[0]
        problem = f"{result.failed} of {result.sent} requests to {target.name} failed"
        raise PeerError(f"{problem}, the first {worst.kind}: {worst.text}.")
    return result


def _wait_until_idle(target: Target) -> None:
    """Waits until requests that were cut off have left; who does not leave is found by the next load."""
    deadline = time.monotonic() + _IDLE_S
    while target.run.pages_in_use() and time.monotonic() < deadline:
        time.sleep(_POLL_S)


def alone(target: Target, asked: Asked, requests: int) -> Sequence[AnswerReader]:
    """Returns when the tokens of requests came that were sent one after another.

    Raises:
        PeerError: a request failed.
    """
    return asyncio.run(_alone(target, checked(asked.spec(target)), asked, requests))


async def _alone(target: Target, spec: LoadSpec, asked: Asked, requests: int) -> list[AnswerReader]:
    served, found = target.served(spec.seed), []
    async with open_session() as session:
        for number in range(requests):
            prompt = served.prompts.prompt(number, asked.prompt)
            body = body_of(spec, served.model, prompt, asked.output, served.options)
            outcome = await ask(session, spec, body, Planned(number, 0.0, asked.prompt, asked.output))
            if outcome.failure is not None:
                raise PeerError(f"A request to {target.name} failed ({outcome.failure.kind}): {outcome.failure.text}.")
            found.append(outcome.reader)
    return found
