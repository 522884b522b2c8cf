"""How far a long preparation (download, hashing, conversion) has come: one small value and its callback type.

Knows neither what is prepared nor who shows it. The fetchers and the converter report it; workers, the panel
and the command line show it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["OnProgress", "Progress", "no_progress"]


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of a preparation.

    Attributes:
        stage: what is done now: `download`, `unpack`, `wait`, `hash`, `read`, `convert`, `pack` or
            `write`.
        done: bytes so far.
        total: bytes in all; 0 when unknown.
    """

    stage: str
    done: int
    total: int


OnProgress = Callable[[Progress], None]


def no_progress(progress: Progress) -> None:
    """Drops the report; for callers that show none."""
