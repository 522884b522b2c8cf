"""An engine's entries on a metadata server: kept there when the server forgets them, and asked for when a peer is lost.

Mooncake registers once, at its start. A server that comes back empty (Mooncake's own over HTTP, a prefill worker's
bootstrap server) would know nobody again; so each worker puts its own entries back. Speaks HTTP and etcd's JSON
gateway with the standard library. `mooncake` uses it; knows nothing of engines.
"""

from __future__ import annotations

import base64
import itertools
import json
import logging
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException

from ..log import record

__all__ = ["MetadataClient", "Registration"]

_TIMEOUT_S = 2.0
_ASK_AGAIN_S = 0.1
_KINDS = ("mooncake/ram/", "mooncake/rpc_meta/")


class MetadataClient:
    """Reads and writes single keys.

    Args:
        server: http://HOST:PORT/metadata, or etcd://HOST:PORT with more addresses after commas.
    """

    def __init__(self, server: str) -> None:
        self.server = server
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        scheme, _, rest = server.partition("://")
        self._etcd = tuple(rest.rstrip("/").split(",")) if scheme == "etcd" else ()

    def read(self, key: str) -> bytes | None:
        """Returns the value; None when the server has none.

        Raises:
            OSError: the server gives no usable answer.
        """
        if not self._etcd:
            return self._ask(urllib.request.Request(self._url(key)))
        found = self._ask_etcd("range", {"key": _base64(key.encode())}).get("kvs", [])
        return base64.b64decode(found[0]["value"]) if found else None

    def write(self, key: str, value: bytes) -> None:
        """Puts a value.

        Raises:
            OSError: the server does not take it.
        """
        if self._etcd:
            self._ask_etcd("put", {"key": _base64(key.encode()), "value": _base64(value)})
            return
        headers = {"Content-Type": "application/json"}
        self._ask(urllib.request.Request(self._url(key), value, headers, method="PUT"))

    def _url(self, key: str) -> str:
        return f"{self.server}?key={urllib.parse.quote(key, safe='')}"

    def _ask(self, request: urllib.request.Request) -> bytes | None:
        try:
            with self._opener.open(request, timeout=_TIMEOUT_S) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404:
                    return None
                raise OSError(f"it answers {error.code}") from None
        except urllib.error.URLError as error:
            raise OSError(str(error.reason)) from None
        except (HTTPException, ValueError) as error:
            raise OSError(f"it speaks no HTTP ({type(error).__name__})") from None

    def _ask_etcd(self, what: str, body: dict[str, str]) -> dict[str, list[dict[str, str]]]:
        problem = OSError("it has no address")
        for address in self._etcd:
            url = f"http://{address}/v3/kv/{what}"
            request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
            try:
                answer = json.loads(self._ask(request) or b"null")
            except (OSError, ValueError) as error:
                problem = OSError(str(error))
                continue
            if isinstance(answer, dict):
                return answer
            problem = OSError(f"{address} has no JSON gateway")
        raise problem


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


class Registration:
    """What one engine registered, looked after by a thread from `keep` until `close`.

    Args:
        name: under which the engine is registered.
        period_s: how often the server is asked whether it still knows the engine.
    """

    def __init__(self, server: str, name: str, *, period_s: float = 2.0) -> None:
        self._client = MetadataClient(server)
        self._keys = tuple(kind + name for kind in _KINDS)
        self._period_s = period_s
        self._entries: dict[str, bytes] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="registration", daemon=True)

    @property
    def is_remembered(self) -> bool:
        """True when everything that the engine registered was read, and can be put back."""
        return len(self._entries) == len(self._keys)

    def keep(self) -> None:
        """Reads what the engine has registered and looks after it from now on."""
        self._thread.start()

    def close(self) -> None:
        """Stops looking after it."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(3 * _TIMEOUT_S)

    def is_answered(self) -> bool:
        """True when the server answers."""
        try:
            self._client.read(self._keys[0])
        except OSError:
            return False
        return True

    def whereabouts(self, name: str) -> str:
        """Returns what the server says of another engine, as a clause that names the server."""
        server = self._client.server
        try:
            known = self._client.read(_KINDS[0] + name) is not None
        except OSError as error:
            return f"the metadata server {server} does not answer ({error})"
        return f"the metadata server {server} {'knows it' if known else 'does not know it'}"

    def has_come_back(self, name: str) -> bool:
        """Waits for another engine that the server does not know: it registers again if the server forgot it.

        False at once when the server knows it already or does not answer.
        """
        deadline = time.monotonic() + self._period_s + _TIMEOUT_S
        for attempt in itertools.count():
            try:
                known = all(self._client.read(kind + name) is not None for kind in _KINDS)
            except OSError:
                return False
            if known:
                return attempt > 0
            if time.monotonic() > deadline or self._closing.wait(_ASK_AGAIN_S):
                return False
        return False

    def _watch(self) -> None:
        gone = False
        while True:
            try:
                for key in self._keys:
                    self._look_after(key)
                if gone:
                    record("metadata_server_back", server=self._client.server)
                gone = False
            except OSError as error:
                if not gone:
                    record("metadata_server_gone", level=logging.WARNING, server=self._client.server, reason=str(error))
                gone = True
            if self._closing.wait(self._period_s):
                return

    def _look_after(self, key: str) -> None:
        value = self._client.read(key)
        if value is not None:
            self._entries[key] = value
        elif key in self._entries:
            record("registered_again", level=logging.WARNING, server=self._client.server, key=key)
            self._client.write(key, self._entries[key])
