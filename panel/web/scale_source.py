"""More or fewer workers over the real runs: the `Scaling` of the run's card. Only translation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..runs import Runs
from ..scaling.as_json import counts_by_role, preview_json

__all__ = ["RunsScaling"]


class RunsScaling:
    """The `Scaling` over a `Runs`."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    def preview(self, run_id: str, counts: Mapping[str, int]) -> Mapping[str, Any]:
        """Returns what other numbers of workers would change."""
        return preview_json(self._runs.scaling.preview(run_id, counts_by_role(counts)))

    def apply(self, run_id: str, counts: Mapping[str, int], shown: str) -> None:
        """Does what was shown."""
        self._runs.scaling.apply(run_id, counts_by_role(counts), shown)
