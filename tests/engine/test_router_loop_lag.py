"""What the router says of its own event loop: what runs is not late, and a pause is told to its last beat."""

from __future__ import annotations

import asyncio
import re
import signal
from itertools import accumulate

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.router.loop_lag import LoopLag

from .router_stub import eventually, run
from .test_router_process import listening

BEAT_S = 0.1


def counted(pauses: list[float]) -> tuple[float, float]:
    """Lets the loop run for an instant after each pause; returns the beats that were counted, and their sum."""
    lag = LoopLag(0.0)
    for now in accumulate(pauses):
        lag.beat(now)
    return lag.late.buckets()[-1][1], lag.late.sum


@given(st.lists(st.floats(0.001, 5.0), min_size=1, max_size=40))
def test_the_mean_is_what_an_event_that_comes_at_any_time_waits(pauses: list[float]) -> None:
    """Who comes within a pause of t seconds waits t / 2 in the mean, and longer pauses are met more often."""
    whole = sum(pauses)
    count, total = counted(pauses)
    assert count == pytest.approx(whole / BEAT_S, abs=1.001)
    # Each pause's wait is summed at beats alone: off by a beat's share of it at each end.
    wanted = sum(pause * pause / 2 for pause in pauses) / BEAT_S
    assert total == pytest.approx(wanted, abs=sum(min(pause, BEAT_S) + BEAT_S for pause in pauses) + whole)


@given(st.floats(0.0, 100.0))
def test_the_next_beat_lies_ahead(now: float) -> None:
    assert 0 < LoopLag(0.0).beat(now) < BEAT_S + 1e-9


def test_a_router_that_is_not_let_run_says_so() -> None:
    async def test() -> None:
        process, url = await listening("--worker-urls", "http://127.0.0.1:9")
        try:
            async with aiohttp.ClientSession() as client:

                async def beats(bound: str) -> float:
                    async with client.get(url + "/metrics") as response:
                        text = await response.text()
                    pattern = rf'pdpanel_router_loop_lag_seconds_bucket\{{le="{re.escape(bound)}"\}} (\S+)'
                    found = re.search(pattern, text)
                    assert found is not None, text
                    return float(found[1])

                async def is_running() -> bool:
                    return await beats("+Inf") >= 5

                await eventually(is_running)
                late = await beats("+Inf") - await beats("0.5")
                process.send_signal(signal.SIGSTOP)
                await asyncio.sleep(1.0)  # the pause itself
                process.send_signal(signal.SIGCONT)

                async def has_told() -> bool:
                    # Of a second's 10 beats the first half wait for more than half a second.
                    return await beats("+Inf") - await beats("0.5") >= late + 4

                await eventually(has_told)
        finally:
            process.send_signal(signal.SIGTERM)
            await process.wait()

    run(test)
