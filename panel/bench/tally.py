"""The counts of a fault run and what they must be. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from .answer import Answer
from .verdict import Verdict, is_right, verdict

__all__ = ["MUST_BE_ZERO", "Tally"]

MUST_BE_ZERO = (
    "missing_final",
    "wrong_tokens",
    "leaked_pages",
    "leaked_rooms",
    "leaked_processes",
    "late_writes",
    "integrity_errors",
)
_SHOWN_FAULTS = 20


@dataclass
class Tally:
    """What came of all requests.

    Attributes:
        wrong_tokens: answers whose tokens or text differ from the reference.
        leaked_rooms: requests, rooms, sends and images that had not ended once all was quiet.
        leaked_processes: that outlived their run.
        ranks_lost: that their worker went on without.
        problems: the first ones of what went wrong, in words.
    """

    verdicts: Counter[Verdict] = field(default_factory=Counter)
    left: int = 0
    wrong_tokens: int = 0
    leaked_pages: int = 0
    leaked_rooms: int = 0
    leaked_processes: int = 0
    late_writes: int = 0
    integrity_errors: int = 0
    kills: int = 0
    stops: int = 0
    restarts: int = 0
    ranks_lost: int = 0
    detect_seconds_max: float = 0.0
    problems: list[str] = field(default_factory=list)

    def add(self, name: str, answer: Answer | None, reference: Answer) -> None:
        """Counts a request; None is one whose client left."""
        if answer is None:
            self.left += 1
            return
        came = verdict(answer)
        self.verdicts[came] += 1
        if came is Verdict.BROKEN:
            self.tell(f"{name}: status {answer.status}, {answer.ends} ends, {'; '.join(answer.faults)}")
        elif came is not Verdict.REFUSED and not is_right(answer, reference):
            self.wrong_tokens += 1
            said, wanted = (
                (answer.token_ids, reference.token_ids) if answer.token_ids else (answer.text, reference.text)
            )
            self.tell(f"{name}: said {said!r} ({answer.finish}) where {wanted!r} ({reference.finish}) is right")

    def tell(self, problem: str) -> None:
        """Keeps a problem for the report."""
        if len(self.problems) < _SHOWN_FAULTS:
            self.problems.append(problem)

    def line(self) -> dict[str, int | float]:
        """Returns the result; `requests` is completed + refused + failed + missing_final + left."""
        broken = self.verdicts[Verdict.BROKEN]
        told = self.verdicts.total() - broken
        return {
            "requests": told + broken + self.left,
            "completed": self.verdicts[Verdict.COMPLETED],
            "refused": self.verdicts[Verdict.REFUSED],
            "failed": self.verdicts[Verdict.FAILED],
            "left": self.left,
            "final_events": told,
            "missing_final": broken,
            "wrong_tokens": self.wrong_tokens,
            "leaked_pages": self.leaked_pages,
            "leaked_rooms": self.leaked_rooms,
            "leaked_processes": self.leaked_processes,
            "late_writes": self.late_writes,
            "integrity_errors": self.integrity_errors,
            "kills": self.kills,
            "stops": self.stops,
            "restarts": self.restarts,
            "ranks_lost": self.ranks_lost,
            "detect_seconds_max": round(self.detect_seconds_max, 3),
        }

    @property
    def ok(self) -> bool:
        """True when everything that must be 0 is, and something was completed."""
        line = self.line()
        return line["completed"] > 0 and not any(line[name] for name in MUST_BE_ZERO)
