"""Whom a fault run strikes next, and how: by turns, so that a short run has seen each kind. Pure.

Of a worker with several ranks, a follower is killed every other time. Where there are encoders, all of them are killed
at once every fourth time, and one is struck every fourth time.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Mapping
from dataclasses import dataclass

from ..launch import Role
from .topology import Topology

__all__ = ["Strike", "next_strike"]

_STOPS = 0.3


@dataclass(frozen=True, slots=True)
class Strike:
    """One strike.

    Attributes:
        names: the processes, struck in one moment.
        number: the signal. Of a worker with several ranks the first alone is stopped, since the others are waited for
            as long as a step may take.
        at_follower: whether a rank other than the first is meant.
    """

    names: tuple[str, ...]
    number: signal.Signals
    at_follower: bool = False


def next_strike(rng: random.Random, turn: int, alive: Mapping[str, str], topology: Topology) -> Strike | None:
    """Returns the strike of a turn; None where nobody is left to strike.

    Args:
        turn: counted from 0.
        alive: the processes that are ready, with their roles.
    """
    encoders = sorted(name for name, role in alive.items() if role == Role.ENCODER)
    workers = sorted(name for name, role in alive.items() if role != Role.ENCODER)
    number = signal.SIGSTOP if rng.random() < _STOPS else signal.SIGKILL
    if encoders and turn % 4 == 0:
        return Strike(tuple(encoders), signal.SIGKILL)
    if encoders and turn % 4 == 2:
        return Strike((rng.choice(encoders),), number)
    if not workers:
        return None
    name = rng.choice(workers)
    if turn % 2 == 0 and topology.ranks(alive[name]) > 1:
        return Strike((name,), signal.SIGKILL, at_follower=True)
    return Strike((name,), number)
