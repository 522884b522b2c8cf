"""Verdicts on the real runs: made every two seconds at most, whoever asks and however many do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ..verdict.plain import plain_verdict
from ..verdict.steady import Steady
from ..verdict.values import Verdict

__all__ = ["RunVerdicts"]

_PERIOD_S = 2.0
# Runs that nobody asks about are forgotten, the oldest question first.
_MOST_RUNS = 64


@dataclass(slots=True)
class _Known:
    lock: threading.Lock = field(default_factory=threading.Lock)
    steady: Steady = field(default_factory=Steady)
    made_at: float = float("-inf")
    plain: Mapping[str, object] = field(default_factory=dict)


class RunVerdicts:
    """The `Verdicts` over a way to look at a run.

    Args:
        look: returns the verdict on a run as its samples are; raises PdpanelError.
        clock: seconds, monotonic.
    """

    def __init__(self, look: Callable[[str], Verdict], clock: Callable[[], float] = time.monotonic) -> None:
        self._look = look
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = {}

    def now(self, run_id: str) -> Mapping[str, object]:
        """Returns the verdict on a run; raises NotFoundError for one that is not there."""
        with self._lock:
            known = self._known.pop(run_id, None) or _Known()
            self._known[run_id] = known
            while len(self._known) > _MOST_RUNS:
                del self._known[next(iter(self._known))]
        with known.lock:
            if self._clock() - known.made_at >= _PERIOD_S:
                known.plain = plain_verdict(known.steady.next(self._look(run_id)))
                known.made_at = self._clock()
            return known.plain
