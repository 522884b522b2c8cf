"""Load for a stretch of time, and how many requests per second were answered in it.

A request counts with the share of its time that lies within the stretch, so that a stretch of few requests is exact
too: counted whole, one request more or less would be a large part of them. Called by `bottlenecks`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time

from .arranged import Load
from .cases import Case
from .client import ask, open_session
from .small_model import TOKENS

__all__ = ["answered_per_s", "within"]

# How long the requests of the end of a stretch are waited for.
_DRAIN_S = 15.0


def within(began: float, ended: float, begin: float, end: float) -> float:
    """Returns the share of a request's time that lies between `begin` and `end`."""
    if ended <= began:
        return float(begin <= ended < end)
    return max(0.0, min(ended, end) - max(began, begin)) / (ended - began)


async def answered_per_s(
    url: str, load: Load, rate: float, settle_s: float, stretch_s: float, rng: random.Random
) -> float:
    """Returns the requests per second that are answered in a stretch; leaves nobody behind.

    Args:
        url: of the router.
        load: what is asked.
        rate: requests per second that come whatever is answered; 0 for clients that wait for answers.
        settle_s: of load before the stretch begins.
        stretch_s: how long it is.
        rng: draws the prompts.
    """
    begin = time.monotonic() + settle_s
    end = begin + stretch_s
    answers: list[tuple[float, float]] = []
    async with open_session() as session:

        async def one() -> None:
            began = time.monotonic()
            answer = await ask(session, url, _case(load, rng))
            if answer is not None and answer.status == 200 and not answer.faults:
                answers.append((began, time.monotonic()))

        async def client() -> None:
            while time.monotonic() < end:
                await one()

        async def arrivals() -> None:
            async with asyncio.TaskGroup() as group:
                due = time.monotonic()
                while due < end:
                    group.create_task(one())
                    # Evenly spaced: what varies is the run, not the load.
                    due += 1 / rate
                    await asyncio.sleep(max(0.0, due - time.monotonic()))

        tasks = [asyncio.create_task(arrivals() if rate else client()) for _ in range(1 if rate else load.clients)]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(end - time.monotonic() + _DRAIN_S):
                await asyncio.gather(*tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if rate > 0:  # in a queue that grows, the time of a request says nothing of the speed
        return sum(begin <= ended < end for _, ended in answers) / stretch_s
    return sum(within(began, ended, begin, end) for began, ended in answers) / stretch_s


def _case(load: Load, rng: random.Random) -> Case:
    """Returns a request with a prompt that no cache holds."""
    tokens = [rng.choice(TOKENS) for _ in range(load.prompt)]
    sampling = {"temperature": 0, "max_new_tokens": load.output, "ignore_eos": True}
    return Case("load", "/generate", {"input_ids": tokens, "sampling_params": sampling}, stream=True)
