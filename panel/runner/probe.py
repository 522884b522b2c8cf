"""Asks a starting process whether it is ready, often at first so that no start-up time is lost.

Knows HTTP answers and logs, and nothing of states; `runner.supervisor` awaits it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import msgspec

from ..launch import Readiness
from .http import get
from .stage import Stage, is_known, stage_of_health
from .stage_log import StageLog

__all__ = ["startup_phases", "wait_until_ready"]

_FAST_POLL_S = 0.05
_SLOW_POLL_S = 0.25
_FAST_FOR_S = 20.0
_LOG_EVERY_S = 0.25
_ANSWER_TIMEOUT_S = 5.0
_LEAST_S = 5.0
# So many processes may be asked at the full pace; when more of them start at once, each is asked less often.
_AT_FULL_PACE = 8


async def wait_until_ready(
    ready: Readiness,
    log: StageLog,
    on_stage: Callable[[Stage], None],
    starting: Callable[[], int],
    waited_s: float = 0,
    stranger: Callable[[int], int | None] = lambda port: None,
) -> str:
    """Returns "" once the readiness URL answers 200, at once without one, or what was missing in the end.

    Args:
        ready: what to ask and how long.
        log: where it tells what it does before it answers.
        on_stage: takes what the process is doing meanwhile.
        starting: tells how many processes are being waited for now.
        waited_s: how long it has been starting already.
        stranger: tells which process answers on a port in place of this one, None for itself.
    """
    if not ready.url:
        return ""
    port = urlsplit(ready.url).port or 80
    timeout_s = max(ready.timeout_s - waited_s, min(ready.timeout_s, _LEAST_S))
    started = time.monotonic()
    last, read_at = "no answer yet", -_LOG_EVERY_S
    told: Stage | None = None
    while (waited := time.monotonic() - started) < timeout_s:
        answer = await get(ready.url, min(_ANSWER_TIMEOUT_S, ready.timeout_s))
        if answer is not None and answer.status == 200:
            other = await asyncio.to_thread(stranger, port)
            if other is None:
                return ""
            last = f"another process, {other}, answers on port {port}"
            on_stage(Stage(last))
            await asyncio.sleep(_SLOW_POLL_S)
            continue
        if waited - read_at >= _LOG_EVERY_S:
            read_at = waited
            told = log.look()
        stage = told
        if answer is not None:
            said = stage_of_health(answer.status, answer.body)
            last = said.text
            # Its own words count, unless they are a bare number and the log knows better.
            stage = said if told is None or is_known(said) or answer.body.strip() else told
        elif told is not None:
            last = told.text
        if stage is not None:
            on_stage(stage)
        pause_s = _FAST_POLL_S if waited < _FAST_FOR_S else _SLOW_POLL_S
        await asyncio.sleep(pause_s * max(1.0, starting() / _AT_FULL_PACE))
    return f"Not ready within {ready.timeout_s:g} s (last seen: {last})."


async def startup_phases(url: str) -> dict[str, float]:
    """Returns the worker's own account of its start-up time, seconds by phase; empty if it gives none."""
    answer = await get(url, _ANSWER_TIMEOUT_S)
    if answer is None or answer.status != 200:
        return {}
    try:
        return msgspec.json.decode(answer.body, type=_Info).startup
    except msgspec.MsgspecError:
        return {}


class _Info(msgspec.Struct):
    startup: dict[str, float] = {}
