"""How long it took until everybody who waited for a dead worker was helped: read from the router's log.

The router writes a line for every try that failed, with the worker that it blames; a worker that cannot reach its other
half names that one. A failed try ends in another try or in the client's error, at once. So the last such line about a
worker that was killed, of a try that had begun before, is the moment when the last request on it was answered or tried
again. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

__all__ = ["FailedTry", "Kill", "detection_seconds", "failed_tries"]


@dataclass(frozen=True, slots=True)
class Kill:
    """One worker that was killed or stopped.

    Attributes:
        at: unix seconds.
        name: the process.
        signal: KILL or STOP.
        addresses: all that it listens on, as host:port.
    """

    at: float
    name: str
    signal: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FailedTry:
    """One try that failed.

    Attributes:
        at: unix seconds.
        began: when the try was begun.
        about: what the line says of the worker and of the reason.
    """

    at: float
    began: float
    about: str


def failed_tries(lines: Iterable[str]) -> list[FailedTry]:
    """Returns the failed tries in a router's log; other lines are passed over."""
    found: list[FailedTry] = []
    for line in lines:
        try:
            entry = json.loads(line)
            # Without a name it is no try: there was nobody to ask.
            if isinstance(entry, dict) and entry.get("event") == "attempt failed" and entry.get("attempt"):
                at = datetime.fromisoformat(entry["t"]).timestamp()
                about = f"{entry.get('worker', '')} {entry.get('reason', '')} "
                found.append(FailedTry(at, at - float(entry["seconds"]), about))
        except (ValueError, KeyError, TypeError):
            continue
    return found


def detection_seconds(kills: Sequence[Kill], tries: Sequence[FailedTry]) -> dict[Kill, float]:
    """Returns for each kill the time until the last try on that worker had failed.

    0 where no request was on it.
    """
    seconds = dict.fromkeys(kills, 0.0)
    for failed in tries:
        for kill in kills:
            if failed.began <= kill.at <= failed.at and _names(failed.about, kill.addresses):
                seconds[kill] = max(seconds[kill], failed.at - kill.at)
    return seconds


def _names(text: str, addresses: Iterable[str]) -> bool:
    # With what follows, so that port 3000 is not found in 30001.
    return any(f"{address}{end}" in text for address in addresses for end in " :;,.)/'\"")
