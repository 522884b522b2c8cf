"""Asks a starting process whether it is ready, often at first so that no start-up time is lost.

Knows HTTP answers and nothing of states; `runner.supervisor` awaits it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec

from ..launch import Readiness
from .http import Answer, get
from .journal import clean_line

__all__ = ["startup_phases", "wait_until_ready"]

_FAST_POLL_S = 0.05
_SLOW_POLL_S = 0.25
_FAST_FOR_S = 20.0
_ANSWER_TIMEOUT_S = 5.0
_WORDS = ("stage", "message", "detail", "reason", "status", "error")


async def wait_until_ready(ready: Readiness, on_stage: Callable[[str], None]) -> str:
    """Returns "" once the readiness URL answers 200, at once without one, or what was missing in the end.

    Args:
        ready: what to ask and how long.
        on_stage: takes what the process says it is doing meanwhile.
    """
    if not ready.url:
        return ""
    started = time.monotonic()
    stage = "no answer yet"
    while (waited := time.monotonic() - started) < ready.timeout_s:
        answer = await get(ready.url, min(_ANSWER_TIMEOUT_S, ready.timeout_s))
        if answer is not None:
            if answer.status == 200:
                return ""
            stage = _stage_of(answer)
            on_stage(stage)
        await asyncio.sleep(_FAST_POLL_S if waited < _FAST_FOR_S else _SLOW_POLL_S)
    return f"Not ready within {ready.timeout_s:g} s (last seen: {stage})."


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


def _stage_of(answer: Answer) -> str:
    fallback = f"answers with status {answer.status}"
    try:
        said = msgspec.json.decode(answer.body)
    except msgspec.MsgspecError:
        return clean_line(answer.body[:120].decode("utf-8", errors="replace")) or fallback
    if isinstance(said, dict) and isinstance(said.get("error"), dict):
        said = said["error"]
    if isinstance(said, dict):
        for word in _WORDS:
            if isinstance(said.get(word), str) and said[word]:
                return clean_line(said[word][:120]) or fallback
    return fallback
