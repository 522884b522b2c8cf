"""The ranks of the real runs' workers, asked for every two seconds at most, whoever asks and however many do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...engine.errors import PdpanelError
from ..launch import LaunchPlan
from ..model_heads import ModelHeads, heads_on_disk
from ..ranks import running_ranks

__all__ = ["RunRanks"]

_PERIOD_S = 2.0
# Runs that nobody asks about are forgotten, the oldest question first.
_MOST_RUNS = 64


class RunRanks:
    """The `RanksPort` over plans.

    Args:
        plan_of: returns the plan of a run; raises NotFoundError for one that is not there.
        cache_dir: returns that of models, whose heads are told before a worker says them.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        plan_of: Callable[[str], LaunchPlan],
        cache_dir: Callable[[], Path],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan_of = plan_of
        self._cache_dir = cache_dir
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, Mapping[str, Any]]] = {}

    def of(self, run_id: str) -> Mapping[str, Any]:
        """Returns the workers of a run that have several ranks, by name."""
        with self._lock:
            at, found = self._known.get(run_id, (float("-inf"), {}))
        if self._clock() - at < _PERIOD_S:
            return found
        plan = self._plan_of(run_id)
        found = running_ranks(plan, model=self._heads(plan.model))
        with self._lock:
            self._known.pop(run_id, None)
            self._known[run_id] = (self._clock(), found)
            while len(self._known) > _MOST_RUNS:
                del self._known[next(iter(self._known))]
        return found

    def _heads(self, model: str) -> ModelHeads | None:
        try:
            return heads_on_disk(model, self._cache_dir())
        except PdpanelError:
            return None
