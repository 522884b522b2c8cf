"""POST /flush_cache and POST /abort_request: what an operator may do to a running worker."""

from __future__ import annotations

import asyncio
import time

from aiohttp import web

from ..errors import ConflictError, RequestError
from .answer import json_response
from .body import read_object
from .fields import ABORT, FLUSH
from .port import EnginePort
from .values import Reader

__all__ = ["abort_request", "flush_cache", "read_abort", "read_flush"]

_LONGEST_WAIT_S = 600.0
_PAUSE_S = 0.05


async def flush_cache(engine: EnginePort, request: web.Request) -> web.StreamResponse:
    """Empties the prefix cache, waiting up to `timeout` seconds (query or body) for running requests.

    Raises:
        ConflictError: requests are still running.
        RequestError: `timeout` is no number of seconds.
    """
    body = await read_object(request, may_be_empty=True)
    FLUSH.check(body)
    if "timeout" in request.query:
        body = {"timeout": _number(request.query["timeout"])}
    wait_s = read_flush(Reader(body))
    deadline = time.monotonic() + wait_s
    while not await engine.flush_cache():
        if time.monotonic() >= deadline:
            problem = "requests are running, so the cache cannot be flushed"
            raise ConflictError("timeout", wait_s, problem, "try again when the worker is idle or wait longer")
        await asyncio.sleep(_PAUSE_S)
    return json_response({"success": True, "message": "Cache flushed."})


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


async def abort_request(engine: EnginePort, request: web.Request) -> web.StreamResponse:
    """Gives up the requests with `rid`, or all with `abort_all`; says whether there were any.

    Raises:
        RequestError: the body names neither.
    """
    body = await read_object(request)
    ABORT.check(body)
    rid, everything = read_abort(Reader(body))
    if everything:
        return json_response({"aborted": engine.abort("")})
    if not rid:
        raise RequestError("rid", rid, "no request named", "send a request's rid, or abort_all = true")
    return json_response({"aborted": engine.abort(rid)})


def read_flush(body: Reader) -> float:
    """Returns how many seconds a flush may wait.

    Raises:
        RequestError: `timeout` is no number of seconds.
    """
    return body.number("timeout", 0.0, 0, _LONGEST_WAIT_S)


def read_abort(body: Reader) -> tuple[str, bool]:
    """Returns which request is given up, empty for none named, and whether all are.

    Raises:
        RequestError: a field is malformed.
    """
    return body.text("rid", "", longest=256), body.boolean("abort_all", False)
