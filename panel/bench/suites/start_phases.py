"""Where the time of a start goes: what the command, the runner and the workers wrote into their logs, as phases. Pure.

The phases follow one another and add up to the whole: from the process of `pdpanel up` to the first token. Workers
start beside each other, so the phases are those of the worker that was ready last.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

__all__ = ["COMMAND", "Moments", "phases_of"]

COMMAND = "command"
"""From the process of `pdpanel up` to the begin of its planning: interpreter, imports, the deployment."""
_PLAN = "plan"
_RUNNER = "runner's imports"
_SPAWN = "spawn"
_INTERPRETER = "worker's interpreter"
_SERVE = "worker: serve"
_SEEN = "readiness seen"
_ROUTER = "router sees both"
_RETURN = "command returns"
_TOKEN = "first token"


@dataclass(frozen=True, slots=True)
class Moments:
    """What the caller itself saw of a start, in unix seconds.

    Attributes:
        began: before the process of `pdpanel up` was started.
        created: when that had read the deployment and began to plan.
        runner: when the process of the run's runner was started.
        returned: when it had ended.
        token: when the first token had arrived.
    """

    began: float
    created: float
    runner: float
    returned: float
    token: float


def phases_of(moments: Moments, runner: Iterable[str], workers: Mapping[str, Iterable[str]]) -> dict[str, float]:
    """Returns the phases of a start in order, in seconds; they add up to `token - began`.

    Args:
        moments: as the caller saw them.
        runner: lines of the runner's log.
        workers: lines of the log of each worker.

    Raises:
        ValueError: the logs tell no whole start.
    """
    said = [(float(entry["t"]), entry) for entry in _entries(runner)]
    logs = {name: [(_unix(entry["t"]), entry) for entry in _entries(lines)] for name, lines in workers.items()}
    ready = {name: _first(log, "ready") for name, log in logs.items()}
    if not ready:
        raise ValueError("there is no worker")
    last = max(ready, key=lambda name: ready[name])
    marks = [
        ("", moments.began),
        (COMMAND, moments.created),
        (_PLAN, moments.runner),
        (_RUNNER, _first(said, "runner")),
        (_SPAWN, _first(said, "spawn", process=last)),
        (_INTERPRETER, _first(logs[last], "stage")),
        *((f"worker: {entry['phase']}", at) for at, entry in logs[last] if entry.get("event") == "started"),
        (_SERVE, ready[last]),
        (_SEEN, _first(said, "ready", process=last)),
        (_ROUTER, _first(said, "run", after="ready")),
        (_RETURN, moments.returned),
        (_TOKEN, moments.token),
    ]
    return {name: round(max(0.0, at - before), 4) for (_, before), (name, at) in pairwise(marks)}


def _entries(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and "t" in entry and "event" in entry:
            yield entry


def _first(entries: Iterable[tuple[float, Mapping[str, Any]]], event: str, **fields: str) -> float:
    for at, entry in entries:
        if entry["event"] == event and all(entry.get(name) == value for name, value in fields.items()):
            return at
    raise ValueError(f"no log tells of the event {event!r} {fields or ''}".rstrip())


def _unix(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
