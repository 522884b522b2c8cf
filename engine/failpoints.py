"""Named points at which a worker can be made to die, stop, wait or fail: for tests and for trying things out.

`PDPANEL_FAILPOINTS="prefill.before_commit=kill@2,decode.after_grant=stop"` arms them; `config` alone reads it.
`hit` is called by the worker and its exchange, on any thread, and does nothing where nothing is armed.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from .errors import ConfigError, PdpanelError
from .log import record

__all__ = ["ACTIONS", "NO_FAILPOINTS", "POINTS", "Failpoint", "FailpointError", "Failpoints", "parse_failpoints"]

_VARIABLE = "PDPANEL_FAILPOINTS"

POINTS: Mapping[str, str] = {
    "prefill.received": "a request was taken",
    "prefill.after_grant": "decode's grant was taken",
    "prefill.before_first_write": "the first pages stand in staging, no byte has left",
    "prefill.while_writing": "a write was given to the transport and may be under way",
    "prefill.before_commit": "all writes ended, decode does not know it yet",
    "prefill.after_commit": "decode has acknowledged the commit",
    "decode.received": "a request was taken",
    "decode.after_grant": "a grant was sent",
    "decode.before_ack": "a commit was taken, its KV copied, prefill does not know it yet",
    "decode.after_first_token": "the first event with a token was handed to the client",
    "decode.while_streaming": "a later event with a token was handed to the client",
}


class FailpointError(PdpanelError):
    """What the action `error` raises: stands for a bug at that point."""

    http_status = 500


class _Action(Enum):
    """What happens at an armed point. The values are the words of the variable."""

    KILL = "kill"  # SIGKILL to itself: as if the kernel or a person had ended it
    STOP = "stop"  # SIGSTOP to itself: alive for the kernel, dead for everybody else
    EXIT = "exit"  # ends at once with code 3, without any goodbye
    DELAY = "delay"  # waits, on the thread that hits
    ERROR = "error"  # raises FailpointError


ACTIONS = tuple(action.value for action in _Action)
_EXIT_CODE = 3
_LONGEST_DELAY_MS = 600_000


@dataclass(frozen=True, slots=True)
class Failpoint:
    """One armed point.

    Attributes:
        nth: the hit at which it acts, from 1 on; 0 is every hit.
        delay_ms: of the action delay.
    """

    point: str
    action: str
    nth: int = 0
    delay_ms: float = 0.0


class Failpoints:
    """The armed points of one process, with their counts of hits."""

    def __init__(self, armed: Mapping[str, Failpoint]) -> None:
        self._armed = dict(armed)
        self._hits = dict.fromkeys(armed, 0)
        self._lock = threading.Lock()

    @property
    def armed(self) -> bool:
        """True when any point is."""
        return bool(self._armed)

    def announce(self) -> None:
        """Logs what is armed, so that nobody wonders why a worker dies."""
        for failpoint in self._armed.values():
            record(
                "failpoint_armed",
                level=logging.WARNING,
                point=failpoint.point,
                action=failpoint.action,
                nth=failpoint.nth,
            )

    def hit(self, point: str) -> None:
        """Says that `point` was reached; acts if it is armed for this hit.

        Raises:
            FailpointError: the action is error.
        """
        if not self._armed:
            return
        assert point in POINTS, point
        failpoint = self._armed.get(point)
        if failpoint is None:
            return
        with self._lock:
            self._hits[point] += 1
            hits = self._hits[point]
        if failpoint.nth in (0, hits):
            record("failpoint", level=logging.WARNING, point=point, action=failpoint.action, hit=hits)
            _act(failpoint)


def _act(failpoint: Failpoint) -> None:
    match _Action(failpoint.action):
        case _Action.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        case _Action.STOP:
            os.kill(os.getpid(), signal.SIGSTOP)
        case _Action.EXIT:
            os._exit(_EXIT_CODE)
        case _Action.DELAY:
            time.sleep(failpoint.delay_ms / 1000)
        case _Action.ERROR:
            raise FailpointError(f"The failpoint {failpoint.point} was hit.")


NO_FAILPOINTS = Failpoints({})


def parse_failpoints(text: str) -> Failpoints:
    """Returns the points that `text` arms: POINT=ACTION, several with commas, each with @N for the Nth hit alone.

    Actions are kill, stop, exit, error and delay(MILLISECONDS).

    Raises:
        ConfigError: a point or an action is not known, or a number is none.
    """
    armed: dict[str, Failpoint] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        failpoint = _parse(part)
        if failpoint.point in armed:
            raise ConfigError(_VARIABLE, failpoint.point, "is armed twice", "arm each point once")
        armed[failpoint.point] = failpoint
    return Failpoints(armed) if armed else NO_FAILPOINTS


def _parse(part: str) -> Failpoint:
    point, _, rest = (piece.strip() for piece in part.partition("="))
    if point not in POINTS:
        raise ConfigError(_VARIABLE, point, "is not a failpoint", f"name one of {', '.join(POINTS)}")
    action, at, count = (piece.strip() for piece in rest.partition("@"))
    nth = int(count) if count.isascii() and count.isdigit() else 0
    if at and nth < 1:
        raise ConfigError(_VARIABLE, part, "does not say at which hit", "write a number from 1 on behind @")
    delay_ms = 0.0
    if action.startswith("delay(") and action.endswith(")"):
        inner = action[len("delay(") : -1]
        if not (inner.isascii() and inner.isdigit() and int(inner) <= _LONGEST_DELAY_MS):
            problem = "does not say how many milliseconds"
            raise ConfigError(_VARIABLE, part, problem, f"write a whole number up to {_LONGEST_DELAY_MS}")
        action, delay_ms = "delay", float(inner)
    elif action == "delay" or action not in ACTIONS:
        known = ", ".join("delay(MILLISECONDS)" if name == "delay" else name for name in ACTIONS)
        raise ConfigError(_VARIABLE, part, "names no known action", f"use one of {known}")
    return Failpoint(point, action, nth, delay_ms)
