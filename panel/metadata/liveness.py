"""Whether the engines of segments are there: their handshake ports are connected to, and nothing is sent.

An engine that is killed leaves its entries behind, and neither etcd nor the HTTP server notices. A connection that
ends at once costs a living engine one line in its log. Called by `survey`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from .address import Endpoint
from .exchange import ExchangeError, Failure, connect
from .segment import Segment
from .state import Liveness, SegmentState

__all__ = ["look_for_engines"]

_SECONDS = 1.0
_SECONDS_FOR_ALL = 5.0
_MOST_AT_ONCE = 32


def look_for_engines(segments: Sequence[Segment], *, same_host: bool) -> tuple[SegmentState, ...]:
    """Returns each segment with what is known of its engine; takes some five seconds at most.

    Args:
        same_host: True when the metadata server is on this host. A segment that gives a loopback address lives on
            the host of its engine, which only then can be taken for this one.
    """
    engines = {Endpoint(one.host, one.rpc_port) for one in segments if one.host and one.rpc_port}
    asked = [engine for engine in engines if same_host or not engine.loopback]
    deadline = time.monotonic() + _SECONDS_FOR_ALL
    with ThreadPoolExecutor(_MOST_AT_ONCE) as pool:
        found = dict(zip(asked, pool.map(lambda engine: _look(engine, deadline), asked), strict=True))
    return tuple(_state(segment, found) for segment in segments)


def _look(engine: Endpoint, deadline: float) -> tuple[Liveness, str]:
    if time.monotonic() > deadline:
        return Liveness.UNKNOWN, f"{engine} was not asked, since others took too long"
    try:
        connect(engine, _SECONDS).close()
    except ExchangeError as error:
        gone = error.failure is Failure.REFUSED
        return Liveness.GONE if gone else Liveness.UNKNOWN, f"{engine} {error}"
    return Liveness.ALIVE, f"{engine} answers"


def _state(segment: Segment, found: dict[Endpoint, tuple[Liveness, str]]) -> SegmentState:
    engine = Endpoint(segment.host, segment.rpc_port)
    if not segment.host or not segment.rpc_port:
        if any("rpc_meta/" in entry.key for entry in segment.entries):
            return SegmentState(segment, Liveness.UNKNOWN, "its entry does not say where its engine listens")
        return SegmentState(segment, Liveness.UNKNOWN, "no entry says where its engine listens")
    if engine not in found:
        return SegmentState(segment, Liveness.UNKNOWN, f"{engine} means its own host, which need not be this one")
    return SegmentState(segment, *found[engine])
