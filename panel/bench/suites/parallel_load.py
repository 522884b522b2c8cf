"""Clients that ask again and again while something is killed: what was lost, and how long nobody got anything."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

__all__ = ["Loss", "load_while"]

_LIMIT_S = 60.0


@dataclass
class Loss:
    """What clients saw.

    Attributes:
        lost: requests without an answer that ended well, with what came instead of the first ones.
        answered: requests that ended well.
        gap_s: the longest time from the kill on in which nobody got a token.
    """

    answered: int = 0
    lost: list[str] = field(default_factory=list)
    gap_s: float = 0.0
    _seen: list[float] = field(default_factory=list)

    def hear(self) -> None:
        """A token came."""
        self._seen.append(time.monotonic())

    def measure(self, since: float, until: float) -> None:
        """Sets `gap_s`: what lies before `since` does not count, and who waits at `until` still waits."""
        times = [since, *sorted(seen for seen in self._seen if since < seen < until), until]
        self.gap_s = max(after - before for before, after in itertools.pairwise(times))


async def load_while(
    url: str,
    route: str,
    body: Callable[[int], Mapping[str, Any]],
    clients: int,
    seconds: float,
    kill: Callable[[], None],
) -> Loss:
    """Returns what clients saw who ask one request after another; a third into the time `kill` is called.

    Args:
        body: makes each request from its number; answers are streams of events.
    """
    loss, numbers, ends = Loss(), itertools.count(), time.monotonic() + seconds
    began = time.monotonic()

    async def client(session: aiohttp.ClientSession) -> None:
        while time.monotonic() < ends:
            try:
                async with asyncio.timeout(_LIMIT_S):
                    problem = await _ask(session, url + route, {**body(next(numbers)), "stream": True}, loss.hear)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                problem = f"{type(error).__name__}: {error}"
            if problem:
                loss.lost.append(problem)
                await asyncio.sleep(0.1)
            else:
                loss.answered += 1

    async def strike() -> float:
        await asyncio.sleep(began + seconds / 3 - time.monotonic())
        await asyncio.to_thread(kill)
        return time.monotonic()

    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        striking = asyncio.create_task(strike())
        await asyncio.gather(striking, *(client(session) for _ in range(clients)))
    loss.measure(striking.result(), ends)
    return loss


async def _ask(session: aiohttp.ClientSession, url: str, body: Mapping[str, Any], hear: Callable[[], None]) -> str:
    """Returns what is wrong with the answer; empty when it ended well."""
    async with session.post(url, json=body) as answer:
        if answer.status != 200:
            return f"{answer.status}: {(await answer.text())[:300]}"
        finish: object = None
        done = False
        async for line in answer.content:
            text = line.decode().strip()
            if text == "data: [DONE]":
                done = True
            elif text.startswith("data: "):
                event = json.loads(text.removeprefix("data: "))
                if "error" in event:
                    return f"an error in the stream: {str(event['error'])[:300]}"
                hear()
                finish = _finish(event) or finish
    if not done or finish is None:
        return "the stream ended without its end"
    return f"it was given up: {finish}" if "abort" in str(finish) else ""


def _finish(event: Mapping[str, Any]) -> object:
    choices = event.get("choices")
    if choices is not None:
        return choices[0].get("finish_reason") if choices else None
    return event.get("meta_info", {}).get("finish_reason")
