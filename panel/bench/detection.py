"""How long it took until everybody who waited for a dead worker was helped: read from the router's log.

The router writes a line for every try that failed, with the worker that it blames; a worker that cannot reach its other
half names that one. A failed try ends in another try or in the client's error, at once. So the last such line about a
worker that was killed is the moment when the last request on it was answered or tried again. Pure.
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
        about: what the line says of the worker and of the reason.
    """

    at: float
    about: str


def failed_tries(lines: Iterable[str]) -> list[FailedTry]:
    """Returns the failed tries in a router's log; other lines are passed over."""
    found: list[FailedTry] = []
    for line in lines:
        try:
            entry = json.loads(line)
            if isinstance(entry, dict) and entry.get("event") == "attempt failed":
                at = datetime.fromisoformat(entry["t"]).timestamp()
                found.append(FailedTry(at, f"{entry.get('worker', '')} {entry.get('reason', '')} "))
        except (ValueError, KeyError, TypeError):
            continue
    return found


def detection_seconds(kills: Sequence[Kill], tries: Sequence[FailedTry]) -> dict[Kill, float]:
    """Returns for each kill the time until the last try on that worker had failed.

    0 where no request was on it. A try counts for the last kill of its worker before it: a worker that was started
    again has no more to do with the one before.
    """
    seconds = dict.fromkeys(kills, 0.0)
    for failed in tries:
        about = [kill for kill in kills if kill.at <= failed.at and _names(failed.about, kill.addresses)]
        if about:
            latest = max(about, key=lambda kill: kill.at)
            seconds[latest] = max(seconds[latest], failed.at - latest.at)
    return seconds


def _names(text: str, addresses: Iterable[str]) -> bool:
    # With what follows, so that port 3000 is not found in 30001.
    return any(f"{address}{end}" in text for address in addresses for end in " :;,.)/'\"")
