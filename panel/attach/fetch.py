"""One question to a server that somebody else runs: bounded in time and size, no redirect followed, no proxy used.

Called by `discover` and by the runner's watcher; what an answer means `answers` knows.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ..runner.http import Answer, KeptConnection
from .address import addresses_of, refusal_of
from .key_file import NO_KEY, AttachKey

__all__ = ["Asked", "Fetch"]

_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What came back.

    Attributes:
        status: HTTP's; 0 without an answer.
        problem: why there is none, in a few words.
        body: the answer's body, empty without one.
    """

    status: int
    problem: str = ""
    body: bytes = b""

    def json(self) -> Any:
        """Returns the body as JSON, None when it is none or the status is not 200."""
        if self.status != 200:
            return None
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


class Fetch:
    """Asks servers.

    Args:
        key: sent as a bearer token to the hosts that it is for.
        timeout_s: how long one question may take.
    """

    def __init__(self, key: AttachKey = NO_KEY, timeout_s: float = _TIMEOUT_S) -> None:
        self._key = key
        self._timeout_s = timeout_s

    async def get(self, url: str) -> Asked:
        """Returns what a GET on `url` brought."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        try:
            found = await addresses_of(host, parts.port or (443 if parts.scheme == "https" else 80))
        except (OSError, UnicodeError):
            return Asked(0, f"the name {host} leads nowhere")
        if reason := next((reason for address in found if (reason := refusal_of(address))), ""):
            return Asked(0, f"{host} {reason}")
        connection = KeptConnection(url, self._key.headers(url))
        try:
            answer = await connection.get(self._timeout_s)
        finally:
            connection.close()
        return Asked(answer.status, "", answer.body) if isinstance(answer, Answer) else Asked(0, answer)
