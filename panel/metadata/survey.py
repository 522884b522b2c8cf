"""Looks at a metadata server: its endpoints, what is registered, and which of the engines are there.

The shell around `etcd`, `http`, `redis` and `liveness`; judges nothing. A survey ends within some 20 seconds whatever
the servers do, and mostly at once. Called by the command line and by whoever starts a deployment.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from ...nic_probe.reading import Reading
from .address import MetadataServer, Scheme
from .http import check_http, read_http
from .liveness import look_for_engines
from .redis import check_redis
from .segment import Entry, segments_of
from .state import EndpointState, MetadataReport, Reach, SegmentState

__all__ = ["check_endpoints", "survey"]

_MOST_AT_ONCE = 8


def check_endpoints(server: MetadataServer) -> tuple[EndpointState, ...]:
    """Returns what is at each endpoint of the server; asks them at the same time."""
    if server.scheme is Scheme.P2P:
        return ()
    if server.scheme in {Scheme.HTTP, Scheme.HTTPS}:
        return (check_http(server),)
    if server.scheme is Scheme.REDIS:
        return tuple(map(check_redis, server.endpoints))
    from .etcd import check_etcd  # brings requests

    with ThreadPoolExecutor(_MOST_AT_ONCE) as pool:
        return tuple(pool.map(check_etcd, server.endpoints))


def survey(server: MetadataServer, names: Sequence[str] = ()) -> MetadataReport:
    """Returns the state of `server`.

    Args:
        names: labels of segments; a server that cannot list is asked for these alone.
    """
    endpoints = check_endpoints(server)
    lists = server.scheme is Scheme.ETCD
    if server.scheme in {Scheme.P2P, Scheme.REDIS} or not any(one.reach is Reach.ANSWERS for one in endpoints):
        return MetadataReport(server, endpoints, Reading.unreadable(server.url, ""), lists)
    entries = _entries(server, endpoints, names)
    found = segments_of(entries.value or ())
    states = look_for_engines(found, same_host=server.loopback)
    segments: Reading[tuple[SegmentState, ...]] = Reading(
        states if entries.known else None, entries.source, entries.reason
    )
    labels = {segment.label for segment in found}
    missing = tuple(name for name in dict.fromkeys(names) if name not in labels) if entries.known else ()
    return MetadataReport(server, endpoints, segments, lists, missing)


def _entries(
    server: MetadataServer, endpoints: Sequence[EndpointState], names: Sequence[str]
) -> Reading[tuple[Entry, ...]]:
    if server.scheme is not Scheme.ETCD:
        return read_http(server, names)
    from .etcd import list_etcd

    entries: Reading[tuple[Entry, ...]] = Reading.unreadable(server.url, "")
    # In the order of the address, as Mooncake's own client tries them; a healthy member first.
    for state in sorted(endpoints, key=lambda one: one.healthy is not True):
        if state.reach is Reach.ANSWERS:
            entries = list_etcd(state.endpoint)
            if entries.known and not entries.reason:
                break
    return entries
