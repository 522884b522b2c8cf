"""An etcd that Mooncake keeps its metadata in: is it there, what is registered, and the removal of named entries.

Through etcd3gw, whose requests go over `exchange`: so they end in time, take no proxy of the environment and follow
no redirect. Reads below `mooncake/` alone and deletes single keys, each on condition that nobody wrote it since it
was read. Called by `survey` and by `removal`.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

import etcd3gw
import requests
from etcd3gw.client import Etcd3Client
from etcd3gw.exceptions import Etcd3Exception
from requests.adapters import BaseAdapter

from ...nic_probe.reading import Reading
from .address import Endpoint
from .exchange import ExchangeError, Failure, answers_on_loopback, exchange
from .segment import PREFIX, Entry
from .state import EndpointState, Reach, Removal

__all__ = ["check_etcd", "list_etcd", "remove_from_etcd"]

_SECONDS = 3.0
_LIST_SECONDS = 10.0
# etcd takes values of 1.5 MiB unless told otherwise, and base64 makes 2 MiB of them: a page of keys fits.
_MOST_BYTES = 48 << 20
_PAGE_KEYS = 16
_MOST_LISTED_BYTES = 512 << 20
_MOST_KEYS = 1 << 16
_END = PREFIX[:-1] + chr(ord(PREFIX[-1]) + 1)
_NO_ETCD = "answers, but not as etcd does"

T = TypeVar("T")


class _Adapter(BaseAdapter):
    """Carries the requests of etcd3gw's session over `exchange`, to one endpoint whatever their URL says."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__()
        self._endpoint = endpoint

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: object = None,
        verify: object = True,
        cert: object = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Returns the answer; the arguments after `request` are ignored, for they are this adapter's own."""
        body = request.body or b""
        answer = exchange(
            self._endpoint,
            request.method or "GET",
            urlsplit(request.url or "").path or "/",
            seconds=_SECONDS,
            most_bytes=_MOST_BYTES,
            body=body if isinstance(body, bytes) else str(body).encode(),
            headers={"Content-Type": "application/json", "Accept": "application/json"},
        )
        if 300 <= answer.status < 400:
            raise ExchangeError(Failure.BROKEN, f"answers with a redirect to {answer.location[:100]!r}")
        response = requests.Response()
        response.status_code = answer.status
        response._content = answer.body
        response.encoding = "utf-8"
        response.url = request.url or ""
        response.request = request
        return response

    def close(self) -> None:
        """Does nothing: each exchange has closed its connection."""


class _Refusal(Exception):
    """An etcd that answers and does not do what it was asked; its text is the end of a sentence about it."""


def _client(endpoint: Endpoint) -> Etcd3Client:
    session = requests.Session()
    session.trust_env = False
    for start in ("http://", "https://"):
        session.mount(start, _Adapter(endpoint))
    return etcd3gw.client(endpoint.host, endpoint.port, timeout=_SECONDS, api_path=None, session=session)


def _ask(question: Callable[[], T]) -> T:
    """Returns the answer to `question`.

    Raises:
        ExchangeError: there is no answer.
        _Refusal: the answer is another than etcd's.
    """
    try:
        return question()
    except Etcd3Exception as error:
        # Of etcd's refusals the text is JSON with the reason, of others a page.
        text = " ".join(str(error.detail_text or error).split())[:200]
        raise _Refusal(f"refuses: {text}" if text.startswith("{") else _NO_ETCD) from None
    except ExchangeError as error:
        if error.failure is Failure.BROKEN:
            raise _Refusal(str(error)) from None
        raise
    except (requests.RequestException, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        raise _Refusal(_NO_ETCD) from None


def check_etcd(endpoint: Endpoint) -> EndpointState:
    """Returns what is at one endpoint of an etcd cluster; takes a few seconds at most."""
    client = _client(endpoint)
    try:
        try:
            _ask(lambda: client.api_path)  # Asks for the version, which every etcd tells everybody.
        except _Refusal as refusal:
            return EndpointState(endpoint, Reach.FOREIGN, str(refusal))
        healthy = _healthy(endpoint)
        try:
            status: Any = _ask(client.status)
            version = _ask(lambda: str(status["version"])[:40])
            healthy = healthy and _ask(lambda: int(status.get("leader", 0))) > 0
            advertised = _ask(lambda: _client_urls(client.members()))
        except _Refusal as refusal:
            return EndpointState(endpoint, Reach.ANSWERS, str(refusal), healthy=healthy)
    except ExchangeError as error:
        reach = Reach.FOREIGN if error.failure in {Failure.BROKEN, Failure.TOO_LARGE} else Reach.UNREACHABLE
        loopback = error.failure is Failure.REFUSED and answers_on_loopback(endpoint)
        return EndpointState(endpoint, reach, str(error), on_loopback=loopback)
    detail = "answers" if healthy else "answers, and says that it is not healthy"
    return EndpointState(endpoint, Reach.ANSWERS, detail, version, healthy, advertised)


def _healthy(endpoint: Endpoint) -> bool:
    answer = exchange(endpoint, "GET", "/health", seconds=_SECONDS, most_bytes=1 << 16)
    return answer.status == 200 and b"true" in answer.body


def _client_urls(members: Iterable[Any]) -> tuple[str, ...]:
    return tuple(str(url)[:200] for member in members for url in member.get("clientURLs", ()))


def list_etcd(endpoint: Endpoint) -> Reading[tuple[Entry, ...]]:
    """Returns the entries below `mooncake/`; with a reason beside them, they are not all."""
    source = f"etcd at {endpoint}"
    client = _client(endpoint)
    deadline = time.monotonic() + _LIST_SECONDS
    entries: list[Entry] = []
    size = 0
    last = PREFIX.encode()
    try:
        while page := _ask(lambda start=last: _page(client, start)):
            for key, value, revision in page:
                if key < last:
                    return Reading(tuple(entries), source, "lists its keys out of order")
                last = key + b"\0"
                size += len(value)
                entries.append(Entry(key.decode("utf-8", "surrogateescape"), value, revision))
            if len(page) < _PAGE_KEYS:
                break
            if time.monotonic() > deadline or len(entries) > _MOST_KEYS or size > _MOST_LISTED_BYTES:
                return Reading(tuple(entries), source, f"has more entries than these {len(entries)}")
    except (ExchangeError, _Refusal) as error:
        return Reading(tuple(entries) if entries else None, source, str(error))
    return Reading(tuple(entries), source)


def _page(client: Etcd3Client, start: bytes) -> list[tuple[bytes, bytes, int]]:
    found = client.get(start, metadata=True, sort_order="ascend", sort_target="key", range_end=_END, limit=_PAGE_KEYS)
    page = []
    for value, facts in found:
        key: Any = facts["key"]
        if not isinstance(key, bytes):
            raise TypeError
        page.append((key, value, int(facts["mod_revision"])))
    return page


def remove_from_etcd(endpoint: Endpoint, entries: Sequence[Entry]) -> tuple[Removal, ...]:
    """Deletes the keys of `entries`, one by one; a key that was written since it was read stays."""
    client = _client(endpoint)
    removals = []
    for entry in entries:
        key = base64.b64encode(entry.key.encode("utf-8", "surrogateescape")).decode()
        request = {
            "compare": [{"key": key, "result": "EQUAL", "target": "MOD", "mod_revision": str(entry.revision)}],
            "success": [{"request_delete_range": {"key": key}}],
            "failure": [],
        }
        try:
            done: Any = _ask(lambda request=request: client.transaction(request))
            kept = "" if isinstance(done, dict) and done.get("succeeded") is True else "changed since it was read"
        except (ExchangeError, _Refusal) as error:
            kept = f"the server {error}"
        removals.append(Removal(entry.key, kept))
    return tuple(removals)
