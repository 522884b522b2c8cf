"""What the web part needs of verdicts: what limits a run now. The values are JSON.

`verdict_source.RunVerdicts` is the real one; a test's source brings another.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

__all__ = ["Verdicts"]


class Verdicts(Protocol):
    """Verdicts on runs; may block shortly and raises only PdpanelError."""

    def now(self, run_id: str) -> Mapping[str, object]:
        """Returns the verdict of the last seconds, with the fields of `panel.verdict.values.Verdict`."""
        ...
