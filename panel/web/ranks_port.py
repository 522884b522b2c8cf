"""What the pictures of ranks need of the panel: one Protocol, in plain values.

`ranks_source.RunRanks` is the real one; a test's source brings another.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

__all__ = ["RanksPort"]


class RanksPort(Protocol):
    """The ranks of runs' workers; may block, raises only PdpanelError."""

    def of(self, run_id: str) -> Mapping[str, Any]:
        """Returns the workers of a run that have several ranks, by name; see `panel.ranks.planned_ranks`."""
        ...
