"""What the KV's way costs a request that is alone: the gap between tokens 1 and 2 beyond that of a usual token.

Token 1 comes from prefill when it is sampled, token 2 from decode when the KV has arrived. What the gap has beyond the
median gap of the same answer is the last chunk's copies and transfer, the commit, and decode's start.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from ...load.reading import AnswerReader
from ..comparison import Comparison, Goal

__all__ = ["gap_figures", "kv_gap"]

_SHARE = Goal(at_most=0.02)
_NOTE = "one request at a time; (gap between tokens 1 and 2 - median of the later gaps) / time to the first token"


def kv_gap(gaps: Sequence[float]) -> float:
    """Returns by how much the first of an answer's gaps exceeds the median of the others."""
    return gaps[0] - statistics.median(gaps[1:])


def gap_figures(prompt: int, answers: Sequence[AnswerReader]) -> Iterator[Comparison]:
    """Yields the gap and its share of the prefill time, a value for each answer."""
    gaps = [kv_gap(answer.gaps) for answer in answers]
    firsts = [answer.first_s - answer.sent_s for answer in answers if answer.first_s is not None]
    case = f"prompt={prompt},load=alone"
    yield Comparison(case, "prefill_time", "ms", [1000 * first for first in firsts])
    yield Comparison(case, "kv_gap", "ms", [1000 * gap for gap in gaps])
    shares = [gap / first for gap, first in zip(gaps, firsts, strict=True)]
    yield Comparison(case, "kv_gap_share", "of prefill", shares, goal=_SHARE, note=_NOTE)
