"""The arranged bottlenecks of `pdpanel bench verdict`: runs, loads and paces, and what an ablation must show. Pure.

Workers and router run at a tenth of their speed at most, so that each can be made twice as fast alone, on any machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..verdict.values import Limit
from .throttle import Pace

__all__ = ["ARRANGEMENTS", "HOSTS", "LEAST_GAIN", "Arrangement", "Host", "Load", "truth_of"]

LEAST_GAIN = 1.2
"""A relief that gives less is within what measurements of one throughput vary by."""

# Of a worker or a router that is far too slow.
_SLOW = Pace(0.01, 0.19)
# The work of a router for a request is small: at a fiftieth of its speed it is more than that of workers at half of
# theirs.
_SLOW_ROUTER = Pace(0.002, 0.098)
_HALF = Pace(0.02, 0.02)

_BEHIND_A_ROUTER = {"router": _SLOW_ROUTER, "prefill": _HALF, "decode": _HALF}


@dataclass(frozen=True, slots=True)
class Host:
    """A run on which arrangements are made.

    Attributes:
        roles: workers of each role.
        delay_s: by how much a write of KV is late at most, uniformly; half of it is the relief of the transfer.
        decode: further flags of decode.
        more_decode: the same flags for a decode worker with twice the places or pages; empty where they are no matter.
    """

    roles: Mapping[str, int]
    delay_s: float = 0.004
    decode: Mapping[str, int] = field(default_factory=dict)
    more_decode: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked.

    Attributes:
        prompt: tokens of a prompt.
        output: tokens of an answer.
        clients: that wait for an answer before they ask again.
        of_capacity: requests that come whatever is answered, as a share of what such clients get answered; 0 for
            clients that wait.
    """

    prompt: int
    output: int
    clients: int = 4
    of_capacity: float = 0.0


@dataclass(frozen=True, slots=True)
class Arrangement:
    """One bottleneck.

    Attributes:
        arranged: what it is meant to be; the ablation decides what it is.
        slow: paces of roles that are slower than the others.
        patience: how many times as long its stretches are, where a request's time varies much or few come.
    """

    name: str
    arranged: Limit
    host: str
    load: Load
    slow: Mapping[str, Pace] = field(default_factory=dict)
    patience: int = 1


HOSTS: Mapping[str, Host] = {
    "pd": Host({"prefill": 1, "decode": 1}),
    "slow-transfer": Host({"prefill": 1, "decode": 1}, delay_s=2.0),
    "unified": Host({"unified": 1}),
    "few-slots": Host(
        {"prefill": 1, "decode": 1}, decode={"max-running-requests": 1}, more_decode={"max-running-requests": 2}
    ),
    "few-pages": Host(
        {"prefill": 1, "decode": 1}, decode={"max-total-tokens": 80}, more_decode={"max-total-tokens": 160}
    ),
}

ARRANGEMENTS: Sequence[Arrangement] = (
    Arrangement("long prompts", Limit.PREFILL, "pd", Load(1024, 2)),
    Arrangement("slow prefill worker", Limit.PREFILL, "pd", Load(1024, 2, clients=2), {"prefill": _SLOW}),
    Arrangement("one client with long prompts", Limit.PREFILL, "pd", Load(1024, 2, clients=1)),
    Arrangement("more prompts than prefill computes", Limit.PREFILL, "pd", Load(512, 2, of_capacity=3.0), patience=2),
    Arrangement("long answers", Limit.DECODE, "pd", Load(16, 96)),
    Arrangement("slow decode worker", Limit.DECODE, "pd", Load(16, 48), {"decode": _SLOW}),
    Arrangement("one client with long answers", Limit.DECODE, "pd", Load(16, 96, clients=1), patience=2),
    Arrangement("slow router", Limit.ROUTER, "pd", Load(16, 2, clients=8), _BEHIND_A_ROUTER),
    Arrangement("little load", Limit.NOTHING, "pd", Load(128, 8, of_capacity=0.25), patience=3),
    Arrangement("slow transfer", Limit.TRANSFER, "slow-transfer", Load(32, 4)),
    Arrangement("slow transfer for one client", Limit.TRANSFER, "slow-transfer", Load(32, 4, clients=1), patience=3),
    Arrangement("busy unified worker", Limit.UNIFIED, "unified", Load(512, 24)),
    Arrangement("little load on a unified worker", Limit.NOTHING, "unified", Load(64, 8, of_capacity=0.25), patience=3),
    Arrangement("few places at decode", Limit.DECODE, "few-slots", Load(16, 64), patience=2),
    Arrangement("few pages at decode", Limit.DECODE, "few-pages", Load(16, 64), patience=2),
)


def truth_of(gains: Mapping[Limit, float]) -> Limit:
    """Returns what limits by measurement.

    Args:
        gains: by how many times each relief raised the throughput.
    """
    best = max(gains, key=lambda limit: gains[limit])
    return best if gains[best] >= LEAST_GAIN else Limit.NOTHING
