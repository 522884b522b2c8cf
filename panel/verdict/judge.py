"""The rule: which part of a run would, if it were twice as fast, let the most requests through.

A run that works at its limit has a number of requests in it that nobody changes: clients wait for answers before they
ask again, or a queue grows. Of N requests, n are in one part. Twice as fast, that part keeps n / 2 of them for the same
throughput, so the throughput rises by N / (N - n / 2) at most (Little's law); and by no more than 1 / u where another
part is busy for a share u of the time (utilisation law: Lazowska and others, Quantitative System Performance, 1984,
chapters 3 and 5). The part with the largest gain limits the run. Without such a load nothing does. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .evidence import Evidence
from .explain import evidence_of, sentence_of
from .stages import Part, Stages, stages_of
from .suggest import suggestions_of
from .values import Limit, Verdict

__all__ = ["LEAST_ROWS", "WINDOW_S", "judge"]

WINDOW_S = 20.0
"""Seconds that are looked at: 40 rows tell a busy share to within a tenth, and a change is seen while it matters."""

LEAST_ROWS = 8
"""With fewer rows one request more or less changes the verdict."""

_SPEEDUP = 2.0
# A relief that gives less than this is not worth the work, and measurements of throughput vary as much.
_LEAST_GAIN = 1.1
# Above this utilisation queues grow long (at 0.85 of one server with random arrivals: six requests for each served).
_SATURATED = 0.85
# Of arrivals that do not wait for answers the variance of the number is about its mean, or more; of a fixed number it
# is 0, and of a single client, whom some samples find between two requests, the share of those.
_FIXED = 0.25
# The share of rows, of the highest and of the lowest ones each, that may be what they like.
_ODD = 1 / 16
# By how much the number of requests must have grown over the window to call the load more than the run carries.
_GROWN = 1.5
# Below so many requests in the mean there is no load: a health check or a single question.
_NO_LOAD = 0.05
_MOST_NAMED = 3


def judge(window: Evidence) -> Verdict:
    """Returns what limits the run over the window."""
    stages = stages_of(window.rows, window.shape)
    if not window.shape.workers:
        return _unknown(stages, "the run has no workers")
    if stages.rows < LEAST_ROWS:
        return _unknown(stages, _too_few(stages, window) if window.rows else "there are no samples yet")
    gains = _gains(stages)
    best = max(gains, key=lambda limit: gains[limit])
    limit, why = best, ""
    if stages.requests < _NO_LOAD:
        limit, why = Limit.NOTHING, "no load now"
    elif not _is_pressed(stages):
        limit, why = Limit.NOTHING, "the load is below what the run can carry"
    elif gains[best] < _LEAST_GAIN:
        limit, why = Limit.NOTHING, "no part stands out: each alone, twice as fast, would give less than 10 % more"
    ranked = sorted(gains.values(), reverse=True)
    runner_up = ranked[1] if len(ranked) > 1 else 1.0
    known = min(1.0, stages.span_s / WINDOW_S)
    clear = (ranked[0] - runner_up) / (ranked[0] - 1) if ranked[0] > 1 else 1.0
    return Verdict(
        limit,
        round(known * (1.0 if limit is Limit.NOTHING else clear), 3),
        sentence_of(limit, stages, window, gains, why),
        evidence_of(stages, window),
        suggestions_of(limit, stages, window),
        gain=round(gains[limit], 3) if limit in gains else 1.0,
        gains={str(one): round(gain, 3) for one, gain in gains.items()},
        window_s=round(stages.span_s, 1),
    )


def _unknown(stages: Stages, why: str) -> Verdict:
    return Verdict(Limit.UNKNOWN, 0.0, f"What limits it cannot be told yet: {why}.", window_s=round(stages.span_s, 1))


def _too_few(stages: Stages, window: Evidence) -> str:
    why = f"only {stages.rows} samples of the last {WINDOW_S:.0f} s have the queues of every worker"
    if len(window.rows) < LEAST_ROWS:
        return why
    names = [worker.name for worker in window.shape.workers]
    silent = [name for name in names if sum(f"proc/{name}/running" in values for _, values in window.rows) < LEAST_ROWS]
    told = ", ".join(silent[:_MOST_NAMED]) + (f" and {len(silent) - _MOST_NAMED} more" if silent[_MOST_NAMED:] else "")
    return f"{why}; {told} answered too seldom, as on a host that is too busy" if silent else why


def _gains(stages: Stages) -> dict[Limit, float]:
    """Returns by how much the throughput would rise if one part were twice as fast."""
    whole = sum(part.requests for part in stages.parts.values())
    return {limit: _gain(part, whole, stages) for limit, part in stages.parts.items()}


def _gain(part: Part, whole: float, stages: Stages) -> float:
    if whole <= 0:
        return 1.0
    gain = whole / (whole - part.requests * (1 - 1 / _SPEEDUP))
    others = [_utilisation(one) for one in stages.parts.values() if one is not part]
    return max(1.0, min([gain, *(1 / busy for busy in others if busy > 0)]))


def _utilisation(part: Part) -> float:
    """Returns for what share of the time a part could not take more.

    Of transfer and router only their requests are known, and several may be under way at once without holding each
    other up. One that serves them in turn would have u / (1 - u) of them at utilisation u (M/M/1).
    """
    if part.limit in (Limit.TRANSFER, Limit.ROUTER):
        return min(part.busy, part.requests / (1 + part.requests))
    return part.busy


def _is_fixed(counts: Sequence[float]) -> bool:
    """Returns whether a number of requests hardly varies, but for a row now and then.

    Clients whose requests are computed together are answered at once: for a moment none of theirs is in the run.
    """
    odd = math.ceil(_ODD * len(counts))
    usual = sorted(counts)[odd : len(counts) - odd]
    mean = sum(usual) / len(usual)
    return sum((count - mean) ** 2 for count in usual) / len(usual) < _FIXED * mean


def _is_pressed(stages: Stages) -> bool:
    """Returns whether the load is as large as the run can carry."""
    if any(part.busy >= _SATURATED and part.requests >= _SATURATED for part in stages.parts.values()):
        return True
    counts = stages.population
    if _is_fixed(counts):
        return True
    third = max(1, len(counts) // 3)
    before, after = sum(counts[:third]) / third, sum(counts[-third:]) / third
    return after > _GROWN * before and after - before > 2 and min(counts) >= 1
