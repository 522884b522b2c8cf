"""Workers that come and go while the router runs, and the clean-up of what it remembers of prompts.

A worker that is removed gets no new requests; open ones may end, and what is left when the time is over goes on
elsewhere. Routes and fields are sglang_router's: POST /workers, DELETE /workers/ID (or the URL).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

from aiohttp import web

from ..errors import ConfigError, ConflictError, NotFoundError, RequestError
from ..log import record
from .config import Role, RouterConfig, WorkerAddress, parse_worker_url
from .health import HealthWatch
from .job import cancel
from .lifeline import Lifelines
from .workers import Worker, WorkerTable

__all__ = ["Members"]

_TYPES = {"prefill": Role.PREFILL, "decode": Role.DECODE, "regular": Role.UNIFIED}
_FIELDS = ("url", "worker_type", "bootstrap_port")
_PAUSE_S = 0.02


class Members:
    """Adds workers to the table and takes them out of it."""

    def __init__(self, config: RouterConfig, table: WorkerTable, health: HealthWatch, lifelines: Lifelines) -> None:
        self._config = config
        self._table = table
        self._health = health
        self._lifelines = lifelines
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begins to clean up, where prompts are remembered."""
        if self._config.is_cache_aware:
            self._spawn(asyncio.create_task(self._clean_up()))

    async def stop(self) -> None:
        """Ends what is under way."""
        await cancel(*self._tasks)

    def _spawn(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _clean_up(self) -> None:
        while True:
            await asyncio.sleep(self._config.cache.eviction_interval)
            self._table.evict()

    async def add(self, request: web.Request) -> web.Response:
        """Answers POST /workers; requests go to the worker once it is healthy.

        Raises:
            RequestError: the body names no worker that fits.
            ConflictError: there is a worker with this URL.
        """
        address = self._address(_fields(await request.read()))
        if (known := self._table.find(address.url)) is not None:
            problem = "is still being removed" if known.leaving else "is there already"
            raise ConflictError("url", address.url, f"this worker {problem}", "DELETE it first, or wait")
        worker = self._table.add(address)
        self._health.watch(worker)
        record("worker added", worker=worker.url, role=worker.role.value)
        return _accepted(worker)

    def _address(self, fields: Mapping[str, object]) -> WorkerAddress:
        for name in fields:
            if name not in _FIELDS:
                raise RequestError(name, fields[name], "not a field of this route", f"use {', '.join(_FIELDS)}")
        kind = fields.get("worker_type", "regular")
        allowed = [name for name, role in _TYPES.items() if role in self._config.roles]
        if kind not in allowed:
            problem = "not a kind of worker of this router"
            raise RequestError("worker_type", kind, problem, f"use {' or '.join(allowed)}")
        port = fields.get("bootstrap_port")
        if port is not None and (not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 65536):
            raise RequestError("bootstrap_port", port, "no port", "give a number from 1 to 65535, or leave it out")
        url = fields.get("url")
        try:
            return parse_worker_url("url", url if isinstance(url, str) else "", _TYPES[str(kind)], port)
        except ConfigError as error:
            raise RequestError("url", url, error.problem, error.remedy) from None

    async def remove(self, request: web.Request) -> web.Response:
        """Answers DELETE /workers/NAME; the worker is gone when its requests are.

        Raises:
            NotFoundError: there is no such worker.
        """
        name = request.match_info["name"]
        worker = self._table.find(name)
        if worker is None:
            raise NotFoundError("worker", name, "no such worker", "GET /workers lists ids and URLs")
        if not worker.leaving:
            worker.leaving = True
            record("worker leaving", worker=worker.url, role=worker.role.value, requests=worker.active)
            self._spawn(asyncio.create_task(self._let_go(worker)))
        return _accepted(worker)

    async def _let_go(self, worker: Worker) -> None:
        try:
            async with asyncio.timeout(self._config.shutdown_grace):
                await _idle(worker)
        except TimeoutError:
            self._lifelines.cut(worker, "it was removed")
            await _idle(worker)
        self._table.remove(worker)
        self._health.forget(worker)
        record("worker removed", worker=worker.url, role=worker.role.value)


async def _idle(worker: Worker) -> None:
    while worker.active:  # noqa: ASYNC110 (its requests end in other tasks)
        await asyncio.sleep(_PAUSE_S)


def _fields(raw: bytes) -> dict[str, object]:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise RequestError("body", raw[:60], "not a JSON object", "send url, worker_type and perhaps bootstrap_port")
    return value


def _accepted(worker: Worker) -> web.Response:
    said = {"status": "accepted", "worker_id": worker.id, "url": worker.url, "location": f"/workers/{worker.id}"}
    return web.json_response(said, status=202, headers={"Location": f"/workers/{worker.id}"})
