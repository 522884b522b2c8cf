"""Polls every worker's /health and tells the table: quickly while it starts or is in doubt, else at the interval."""

from __future__ import annotations

import asyncio

from ..log import record
from .config import HealthConfig
from .failure import WorkerError
from .upstream import Upstream
from .workers import Health, Worker, WorkerTable

__all__ = ["HealthWatch"]

_UNHEALTHY_INTERVAL_S = 0.5


class HealthWatch:
    """One polling task per worker."""

    def __init__(self, table: WorkerTable, config: HealthConfig, upstream: Upstream) -> None:
        self._table = table
        self._config = config
        self._upstream = upstream
        self._wake = {worker.url: asyncio.Event() for worker in table.workers}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begins to poll."""
        self._tasks = [
            asyncio.create_task(self._watch(worker), name=f"health of {worker.url}") for worker in self._table.workers
        ]

    async def stop(self) -> None:
        """Ends the polling."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def suspect(self, worker: Worker, reason: str) -> None:
        """Notes that a request broke on `worker`, and asks it at once how it is."""
        before = worker.health
        self._table.request_failed(worker, reason)
        self._tell(worker, before)
        self._wake[worker.url].set()

    async def _watch(self, worker: Worker) -> None:
        loop = asyncio.get_running_loop()
        startup_ends = loop.time() + self._config.startup_timeout
        wake = self._wake[worker.url]
        while True:
            wake.clear()
            before = worker.health
            if reason := await self._ask(worker):
                self._table.poll_failed(worker, reason, startup_over=loop.time() > startup_ends)
            else:
                self._table.poll_answered(worker)
            self._tell(worker, before)
            try:
                async with asyncio.timeout(self._interval(worker)):
                    await wake.wait()
            except TimeoutError:
                continue

    async def _ask(self, worker: Worker) -> str:
        """Returns why `worker` is not well, or an empty string."""
        try:
            answer = await self._upstream.ask(
                worker,
                "GET",
                self._config.endpoint,
                limit_s=self._config.timeout,
                headers=self._upstream.authorization(""),
            )
        except WorkerError as error:
            return error.reason
        return "" if answer.status == 200 else f"{self._config.endpoint} says {answer.status}"

    def _interval(self, worker: Worker) -> float:
        if worker.health is Health.HEALTHY:
            return self._config.interval
        if worker.health is Health.UNHEALTHY:
            return min(max(_UNHEALTHY_INTERVAL_S, self._config.startup_interval), self._config.interval)
        return min(self._config.startup_interval, self._config.interval)

    def _tell(self, worker: Worker, before: Health) -> None:
        if worker.health is not before:
            record(
                "worker",
                worker=worker.url,
                role=worker.role.value,
                state=worker.health.value,
                was=before.value,
                reason=worker.reason,
            )
