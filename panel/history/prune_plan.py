"""What `pdpanel prune` would free: chosen by age and number, and shown before anything goes.

Pure: summaries and sizes in, a `PrunePlan` out. `history.run_history` finds what there is and carries the plan out; the
web page shows the same value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from ..sizes import size_text
from .summary import RunSummary

__all__ = ["DEFAULT_DAYS", "PruneItem", "PruneKind", "PrunePlan", "PruneWish", "choose_runs"]

DEFAULT_DAYS = 30
_DAY_S = 86400.0


class PruneKind(StrEnum):
    """What an item is."""

    RUN = "run"
    LOGS = "logs"
    SAMPLES = "samples"
    LEFTOVER = "leftover"
    MODEL = "model"


@dataclass(frozen=True, slots=True)
class PruneWish:
    """What a person wants to be rid of.

    Attributes:
        days: runs that ended more than so many days ago; None for any age.
        keep: of the ended runs the newest so many stay in any case.
        runs: exactly these runs instead, by id.
        logs: of the runs the logs alone.
        samples: of the runs the samples alone.
        models: models in the cache that no remaining run has used, too.
    """

    days: float | None = None
    keep: int | None = None
    runs: tuple[str, ...] | None = None
    logs: bool = False
    samples: bool = False
    models: bool = False

    @property
    def parts(self) -> tuple[PruneKind, ...]:
        """What of a run goes."""
        chosen = tuple(kind for kind, on in ((PruneKind.LOGS, self.logs), (PruneKind.SAMPLES, self.samples)) if on)
        return chosen or (PruneKind.RUN,)


@dataclass(frozen=True, slots=True)
class PruneItem:
    """One thing that would go.

    Attributes:
        name: the run's id, the model's name or the file's.
        paths: what is removed; of a run its directory.
        why: in a few words.
    """

    kind: PruneKind
    name: str
    paths: tuple[str, ...]
    size_bytes: int
    why: str


@dataclass(frozen=True, slots=True)
class PrunePlan:
    """All that would go."""

    items: tuple[PruneItem, ...]

    @property
    def size_bytes(self) -> int:
        """What it frees."""
        return sum(item.size_bytes for item in self.items)

    @property
    def text(self) -> str:
        """The plan for people: one line each, and the sum."""
        lines = [f"{item.kind:<9} {size_text(item.size_bytes):>8}  {item.name}  ({item.why})" for item in self.items]
        return "\n".join((*lines, f"frees {size_text(self.size_bytes)}" if lines else "there is nothing to free"))


def choose_runs(runs: Sequence[RunSummary], wish: PruneWish, now_s: float) -> list[tuple[RunSummary, str]]:
    """Returns the ended runs that a wish is about, oldest first, each with the reason.

    Args:
        runs: those that have ended.
        wish: by default what ended more than 30 days ago.
        now_s: unix seconds.
    """
    if wish.runs is not None:
        return [(run, "named") for run in runs if run.id in wish.runs]
    days = DEFAULT_DAYS if wish.days is None and wish.keep is None else wish.days
    newest_first = sorted(runs, key=lambda run: (_end(run), run.id), reverse=True)
    chosen: list[tuple[RunSummary, str]] = []
    for place, run in enumerate(newest_first):
        age_days = (now_s - _end(run)) / _DAY_S
        if (wish.keep is not None and place < wish.keep) or (days is not None and age_days <= days):
            continue
        chosen.append((run, f"ended {age_days:.0f} days ago" if age_days >= 1 else "ended today"))
    return chosen[::-1]


def _end(run: RunSummary) -> float:
    return run.created_s if run.ended_s is None else run.ended_s
