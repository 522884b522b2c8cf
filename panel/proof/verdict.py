"""What a proof of transport is made of: counter differences, and the verdict over them.

Values alone; `judge` makes a verdict of differences, `prove` measures them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Asked", "Counter", "Difference", "Verdict", "Way"]


class Counter(StrEnum):
    """What a counter counts."""

    RDMA = "rdma"
    NETDEV = "netdev"
    LOOPBACK = "loopback"
    NVLINK = "nvlink"


class Way(StrEnum):
    """Which way KV travels."""

    RDMA = "rdma"
    TCP = "tcp"
    LOOPBACK = "loopback"
    SHARED_MEMORY = "shared-memory"
    NVLINK = "nvlink"
    MIXED = "mixed"
    UNKNOWN = "unknown"


class Asked(StrEnum):
    """Which way the deployment asks for."""

    RDMA = "rdma"
    TCP = "tcp"
    SHARED_MEMORY = "shared-memory"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class Difference:
    """One link's counters over the test requests, in bytes.

    Attributes:
        name: the RDMA device with its port, the interface, or the GPU.
        source: the files or the library that were read.
        fabric: of an RDMA port, such as `RoCE v2`; empty for others.
        before: sent and received when the requests began; None where the counter cannot be read.
        after: the same when they had ended.
        background: sent and received that would have travelled anyway and were no KV, by the rate before the requests.
        noise: the most of that, by the busiest part of the time before.
        reason: why a count is missing.
    """

    kind: Counter
    name: str
    source: str
    before: tuple[float, float] | None
    after: tuple[float, float] | None
    background: tuple[float, float] = (0.0, 0.0)
    noise: float = 0.0
    fabric: str = ""
    reason: str = ""

    @property
    def moved(self) -> tuple[float, float] | None:
        """Bytes sent and received beyond the background; None where nobody can know."""
        if self.before is None or self.after is None:
            return None
        rises = [new - old for new, old in zip(self.after, self.before, strict=True)]
        if min(rises) < 0:
            return None
        sent, received = (max(0.0, rise - usual) for rise, usual in zip(rises, self.background, strict=True))
        return sent, received


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement.

    Attributes:
        sentence: for people, whole.
        as_asked: whether that is what the deployment asks for; None when nobody can tell.
        links: the names of the links that carry it.
    """

    way: Way
    sentence: str
    as_asked: bool | None = None
    links: tuple[str, ...] = ()
