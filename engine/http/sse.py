"""Server-sent events: a stream of JSON events that ends with `data: [DONE]`, whatever happens in between.

The response begins with the first event, so that a request which fails before it gets a status of its own; a
later failure becomes an event `{"error": ...}`. Knows no route.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from ..errors import PdpanelError
from .answer import body_of, to_json

__all__ = ["StreamEvent", "stream_events"]

_log = logging.getLogger(__name__)
_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}
_DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One event.

    Attributes:
        number: its place in the stream, the same on both workers of a pair.
        data: a JSON value.
        token_ids: the tokens that it adds to the events before it. They stand on its `id:` line, so that a router
            knows what to replay without reading the data.
    """

    number: int
    data: dict[str, Any]
    token_ids: tuple[int, ...] = ()


async def stream_events(
    request: web.Request, groups: AsyncGenerator[Sequence[StreamEvent], None], *, numbered: bool
) -> web.StreamResponse:
    """Answers `request` with the events of `groups`; each group is written at once.

    Args:
        numbered: whether events carry a line `id: NUMBER IDS`.

    Raises:
        PdpanelError: `groups` failed before its first group.
    """
    response = web.StreamResponse(headers=_HEADERS)
    try:
        async with aclosing(groups):
            try:
                async for group in groups:
                    if not response.prepared:
                        await response.prepare(request)
                    if group:
                        await response.write(b"".join(_encode(event, numbered) for event in group))
            except ConnectionResetError:
                raise
            except Exception as error:
                if not response.prepared:
                    raise
                if not isinstance(error, PdpanelError):
                    _log.exception("a stream failed")
                await response.write(_data(body_of(error)))
        if not response.prepared:
            await response.prepare(request)
        await response.write(_DONE)
        await response.write_eof()
    except ConnectionResetError:
        _log.debug("a client left before the end of its stream")
    return response


def _encode(event: StreamEvent, numbered: bool) -> bytes:
    line = _data(event.data)
    if not numbered:
        return line
    ids = " " + ",".join(map(str, event.token_ids)) if event.token_ids else ""
    return f"id: {event.number}{ids}\n".encode() + line


def _data(value: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % to_json(value).encode("utf-8", "backslashreplace")
