"""What the web part needs of ended runs: the list, and freeing what they left. The values are those of `panel.history`.

`history.run_history.RunHistory` is the real one; a test's source brings another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..history.prune_plan import PrunePlan, PruneWish
from ..history.summary import RunSummary

__all__ = ["History"]


class History(Protocol):
    """The ended runs; each method may block and raises only PdpanelError."""

    def list(self) -> Sequence[RunSummary]:
        """Returns every run that has ended, the one that ended last first."""
        ...

    def remove(self, run_ids: Sequence[str]) -> int:
        """Removes ended runs and returns the bytes that this frees."""
        ...

    def plan(self, wish: PruneWish) -> PrunePlan:
        """Returns what `prune` would remove; changes nothing."""
        ...

    def prune(self, plan: PrunePlan) -> PrunePlan:
        """Removes what `plan` names, and returns what was removed."""
        ...
