"""What the controls for more or fewer workers need of the panel: one Protocol, in plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

__all__ = ["Scaling"]


class Scaling(Protocol):
    """Changes the number of workers of runs that serve; may block, raises only PdpanelError."""

    def preview(self, run_id: str, counts: Mapping[str, int]) -> Mapping[str, Any]:
        """Returns what other numbers of workers by role would change, as JSON; nothing happens.

        It has `id` (names exactly this change), `before` and `after` (workers by role), `lines` ({sign, text}),
        `notes`, `restarts`, `room` (sentences) and `findings`.
        """
        ...

    def apply(self, run_id: str, counts: Mapping[str, int], shown: str) -> None:
        """Does what the preview with the id `shown` has told; returns when all of it is done.

        Raises:
            ConflictError: the run has changed since, or something of it fails.
        """
        ...
