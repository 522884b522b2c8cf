"""Mooncake's HTTP metadata server: is it there, what is registered under given names, and their removal.

It knows GET, PUT and DELETE of `?key=...` and cannot list; its keys are gone when it ends. There are two of them, the
wheel's Python one and the one inside mooncake_master, and the latter compares keys as they stand in the URL, so
they are quoted the way Mooncake's own client does it. Called by `survey` and by `removal`.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote_from_bytes

from ...nic_probe.reading import Reading
from .address import MetadataServer, Scheme
from .exchange import Answer, ExchangeError, Failure, answers_on_loopback, exchange
from .segment import PREFIX, Entry, keys_of_label
from .state import EndpointState, Reach, Removal

__all__ = ["check_http", "read_http", "remove_from_http"]

_SECONDS = 3.0
_MOST_BYTES = 16 << 20
_NOBODYS_KEY = f"{PREFIX}pdpanel/is-this-a-metadata-server"


def check_http(server: MetadataServer) -> EndpointState:
    """Returns what is at the server's address: a metadata server refuses no key, and does not find a made-up one."""
    (endpoint,) = server.endpoints
    try:
        unknown = _request(server, "GET", _NOBODYS_KEY)
        keyless = _request(server, "GET", "")
    except ExchangeError as error:
        reach = Reach.FOREIGN if error.failure in {Failure.BROKEN, Failure.TOO_LARGE} else Reach.UNREACHABLE
        loopback = error.failure is Failure.REFUSED and answers_on_loopback(endpoint)
        return EndpointState(endpoint, reach, str(error), on_loopback=loopback)
    for answer in (unknown, keyless):
        if 300 <= answer.status < 400:
            detail = f"answers with a redirect to {answer.location[:100]!r}, which Mooncake does not follow"
            return EndpointState(endpoint, Reach.FOREIGN, detail)
    if unknown.status == 404 and keyless.status == 400:
        return EndpointState(endpoint, Reach.ANSWERS, "answers")
    said = f"{unknown.status} to a key that is not there and {keyless.status} to none, where 404 and 400 are expected"
    return EndpointState(
        endpoint, Reach.FOREIGN, f"answers, but not as a metadata server does on {server.path}: {said}"
    )


def read_http(server: MetadataServer, labels: Sequence[str]) -> Reading[tuple[Entry, ...]]:
    """Returns the entries of the named segments, as far as there are any."""
    entries = []
    for key in dict.fromkeys(key for label in labels for key in keys_of_label(label)):
        try:
            answer = _request(server, "GET", key)
        except ExchangeError as error:
            if error.failure is not Failure.TOO_LARGE:
                return Reading(tuple(entries) if entries else None, server.url, str(error))
            entries.append(Entry(key, None, 0, f"the server {error}"))
            continue
        if answer.status == 200:
            entries.append(Entry(key, answer.body))
        elif answer.status != 404:
            reason = f"answers {answer.status} to {key!r}"
            return Reading(tuple(entries) if entries else None, server.url, reason)
    return Reading(tuple(entries), server.url)


def remove_from_http(server: MetadataServer, entries: Sequence[Entry]) -> tuple[Removal, ...]:
    """Deletes the keys of `entries`, one by one; a key whose value is no longer the one that was read stays.

    The server has no condition for a deletion, so an engine that registers between the two requests loses.
    """
    removals = []
    for entry in entries:
        try:
            removals.append(Removal(entry.key, _delete(server, entry)))
        except ExchangeError as error:
            removals.append(Removal(entry.key, f"the server {error}"))
    return tuple(removals)


def _delete(server: MetadataServer, entry: Entry) -> str:
    if entry.value is not None:
        now = _request(server, "GET", entry.key)
        if now.status == 404:
            return ""
        if now.status != 200 or now.body != entry.value:
            return "changed since it was read"
    done = _request(server, "DELETE", entry.key)
    # 404: its engine removed it in the meantime.
    return "" if done.status in {200, 204, 404} else f"the server answers {done.status}"


def _request(server: MetadataServer, method: str, key: str) -> Answer:
    (endpoint,) = server.endpoints
    query = "?key=" + quote_from_bytes(key.encode("utf-8", "surrogateescape"), safe="") if key else ""
    return exchange(
        endpoint,
        method,
        server.path + query,
        seconds=_SECONDS,
        most_bytes=_MOST_BYTES,
        tls=server.scheme is Scheme.HTTPS,
    )
