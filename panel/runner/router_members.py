"""Tells a running router of workers that came and of those that leave, over its HTTP API.

Knows the wire alone: POST /workers, DELETE /workers/ID and GET /workers as the bundled router, sglang-router and smg
have them. `runner.resize` decides when.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

import msgspec

from ..launch import ProcessSpec
from ..scaling.router_words import key_of, worker_body, worker_url
from .http import Answer, send

__all__ = ["Member", "RouterMembers"]

_TIMEOUT_S: Final = 5.0
# It is there already: a runner before this one had told it.
_CONFLICT: Final = 409
_NO_SUCH_ROUTE: Final = frozenset({404, 405, 501})


class Member(msgspec.Struct, frozen=True):
    """A worker as the router tells of it."""

    url: str
    id: str | int | None = None
    is_healthy: bool = True


class _Members(msgspec.Struct):
    workers: list[Member] = []


class RouterMembers:
    """The workers of a router that takes them while it runs.

    Args:
        router: its process.
    """

    def __init__(self, router: ProcessSpec) -> None:
        self._base = worker_url(router)
        self._headers = key_of(router).headers()

    async def known(self) -> dict[str, Member] | None:
        """Returns its workers by URL; None while it does not tell them."""
        answer = await send("GET", f"{self._base}/workers", _TIMEOUT_S, headers=self._headers)
        if not isinstance(answer, Answer) or answer.status != 200:
            return None
        try:
            told = msgspec.json.decode(answer.body, type=_Members)
        except msgspec.MsgspecError:
            return None
        return {member.url.rstrip("/"): member for member in told.workers}

    async def add(self, worker: ProcessSpec) -> str:
        """Tells it of a worker; returns "" or why that did not work."""
        body = msgspec.json.encode(worker_body(worker))
        answer = await send("POST", f"{self._base}/workers", _TIMEOUT_S, body, self._headers)
        return _problem(answer, _CONFLICT)

    async def remove(self, worker: ProcessSpec) -> str:
        """Asks it to give a worker no more requests; returns "" or why that did not work."""
        known = await self.known()
        if known is None:
            return "does not tell its workers"
        member = known.get(worker_url(worker))
        if member is None:
            return ""
        name = quote(member.url if member.id in {None, ""} else str(member.id), safe="")
        answer = await send("DELETE", f"{self._base}/workers/{name}", _TIMEOUT_S, headers=self._headers)
        return _problem(answer, 0)


def _problem(answer: Answer | str, fine: int) -> str:
    if isinstance(answer, str):
        return f"does not answer: {answer}"
    if answer.status < 300 or answer.status == fine:
        return ""
    if answer.status in _NO_SUCH_ROUTE:
        return f"takes no workers while it runs (status {answer.status})"
    return f"answers with status {answer.status}"
