"""What was found out about a metadata server: values that the survey fills and that findings, text and JSON read."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from ...nic_probe.reading import Reading
from .address import Endpoint, MetadataServer
from .segment import Segment

__all__ = ["EndpointState", "Liveness", "MetadataReport", "Reach", "Removal", "SegmentState"]


class Reach(StrEnum):
    """What is at an endpoint."""

    ANSWERS = "answers"
    UNREACHABLE = "unreachable"
    FOREIGN = "something else"


@dataclass(frozen=True, slots=True)
class EndpointState:
    """One endpoint of a metadata server.

    Attributes:
        detail: what it said or why it did not, as the end of a sentence about it.
        version: of the server, where it tells.
        healthy: its own word on whether it can serve; None when it gives none.
        advertised: where the members of an etcd cluster say that clients reach them.
        on_loopback: True when nothing answers here, but on 127.0.0.1 of this same host.
    """

    endpoint: Endpoint
    reach: Reach
    detail: str
    version: str = ""
    healthy: bool | None = None
    advertised: tuple[str, ...] = ()
    on_loopback: bool = False


class Liveness(StrEnum):
    """Whether a segment's engine is there."""

    ALIVE = "alive"
    GONE = "gone"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class SegmentState:
    """A segment, and whether its engine is there; `detail` says how that is known."""

    segment: Segment
    liveness: Liveness
    detail: str


@dataclass(frozen=True, slots=True)
class MetadataReport:
    """A metadata server as it is now.

    Attributes:
        endpoints: in the order of the address; none for P2PHANDSHAKE.
        segments: no value when they cannot be listed; with a reason beside a value, the list is not whole.
        lists: False for kinds of servers that can only be asked for names.
        missing: names that were asked for and that no segment has.
    """

    server: MetadataServer
    endpoints: tuple[EndpointState, ...] = ()
    segments: Reading[tuple[SegmentState, ...]] = field(default_factory=lambda: Reading(()))
    lists: bool = True
    missing: tuple[str, ...] = ()

    @property
    def answers(self) -> bool:
        """True when at least one endpoint can serve."""
        return any(one.reach is Reach.ANSWERS for one in self.endpoints)


@dataclass(frozen=True, slots=True)
class Removal:
    """One key that was to be removed; `kept` says why it is still there, and is empty when it is not."""

    key: str
    kept: str = ""
