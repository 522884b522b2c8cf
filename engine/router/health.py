"""Polls every worker's /health and tells the table: quickly while it starts, is in doubt or has requests.

A worker that has requests and is silent for too long (`silence`), or that refuses connections, is given up: what waits
for it is ended, so that a stopped process holds nobody up. One that answers "not ready" may still finish what it has.
"""

from __future__ import annotations

import asyncio
import errno
import os

from ..log import record
from .config import HealthConfig
from .failure import WorkerError
from .job import cancel
from .lifeline import Lifelines
from .silence import Silence
from .upstream import Upstream
from .workers import Health, Worker, WorkerTable

__all__ = ["HealthWatch"]

_UNHEALTHY_INTERVAL_S = 0.5
# A poll that took this much longer than it may shows that this process itself stood still; so many in a row are no
# proof of anything.
_OWN_DELAY_S = 0.25
_MOST_UNSURE = 1
_REFUSED = os.strerror(errno.ECONNREFUSED)


class HealthWatch:
    """One polling task per worker.

    Args:
        lifelines: cut for workers that are given up.
    """

    def __init__(self, table: WorkerTable, config: HealthConfig, upstream: Upstream, lifelines: Lifelines) -> None:
        self._table = table
        self._config = config
        self._upstream = upstream
        self._lifelines = lifelines
        self._wake: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self) -> None:
        """Begins to poll."""
        for worker in self._table.workers:
            self.watch(worker)

    async def stop(self) -> None:
        """Ends the polling."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def watch(self, worker: Worker) -> None:
        """Begins to poll one more worker."""
        self._wake[worker.url] = asyncio.Event()
        self._tasks[worker.url] = asyncio.create_task(self._watch(worker), name=f"health of {worker.url}")

    def forget(self, worker: Worker) -> None:
        """Polls a worker no more."""
        self._wake.pop(worker.url, None)
        if (task := self._tasks.pop(worker.url, None)) is not None:
            task.cancel()

    def suspect(self, worker: Worker, reason: str, *, own_fault: bool = True) -> None:
        """Notes that a request broke on `worker`, and asks it at once how it is."""
        before = worker.health
        self._table.request_failed(worker, reason, own_fault=own_fault)
        self._tell(worker, before)
        if (wake := self._wake.get(worker.url)) is not None:
            wake.set()

    async def _watch(self, worker: Worker) -> None:
        loop = asyncio.get_running_loop()
        startup_ends = loop.time() + self._config.startup_timeout
        wake, silence, unsure = self._wake[worker.url], Silence(self._config), 0
        while True:
            wake.clear()
            before, asked = worker.health, loop.time()
            reason, answered, stood_still = await self._poll(worker, silence)
            # A worker that sent something meanwhile is slow; and when this process itself stood still, who knows.
            unsure = unsure + 1 if stood_still and not answered else 0
            is_unsure = 0 < unsure <= _MOST_UNSURE
            if not reason:
                self._table.poll_answered(worker)
            elif answered or not (worker.heard_at > asked or is_unsure):
                self._table.poll_failed(worker, reason, startup_over=loop.time() > startup_ends)
            if answered or is_unsure or not worker.active:
                silence.end()
            is_gone = reason == _REFUSED and worker.heard_at <= asked
            if is_gone or not silence.left(loop.time()):
                self._give_up(worker, reason)
                silence.end()
            self._tell(worker, before)
            await self._pause(worker, wake, asked)

    async def _poll(self, worker: Worker, silence: Silence) -> tuple[str, bool, bool]:
        """Asks once; returns as `_ask` does, and whether this process itself stood still.

        A worker may get requests while it is asked, and then there is less time.
        """
        loop, config = asyncio.get_running_loop(), self._config
        asked, stood_still = loop.time(), False
        asking = asyncio.create_task(self._ask(worker, config.timeout))
        try:
            while True:
                now = loop.time()
                left = asked + config.timeout - now
                if worker.active > 0:
                    silence.asked(now)
                    silence.heard(worker.heard_at)
                    left = min(left, asked + config.busy_timeout - now, silence.left(now))
                if left > 0:
                    wait_s = min(left, config.busy_interval)
                    await asyncio.wait({asking}, timeout=wait_s)
                    stood_still = stood_still or loop.time() - now > wait_s + _OWN_DELAY_S
                if asking.done():
                    return *asking.result(), stood_still
                if left <= 0:
                    return "no answer in time", False, stood_still
        finally:
            await cancel(asking)

    async def _pause(self, worker: Worker, wake: asyncio.Event, asked: float) -> None:
        """Waits until `worker` is to be asked again; it may get requests meanwhile."""
        loop = asyncio.get_running_loop()
        while not wake.is_set():
            interval = self._interval(worker)
            if worker.active > 0:
                interval = min(interval, self._config.busy_interval)
            left = asked + interval - loop.time()
            if left <= 0:
                return
            try:
                async with asyncio.timeout(min(left, self._config.busy_interval)):
                    await wake.wait()
            except TimeoutError:
                continue

    def _give_up(self, worker: Worker, reason: str) -> None:
        self._table.given_up(worker, reason)
        cut = self._lifelines.cut(worker, f"it does not answer {self._config.endpoint} either: {reason}")
        if not cut:
            return
        record("worker given up", worker=worker.url, role=worker.role.value, reason=reason, requests=cut)

    async def _ask(self, worker: Worker, limit_s: float) -> tuple[str, bool]:
        """Returns why `worker` is not well, or an empty string, and whether it answered at all."""
        try:
            answer = await self._upstream.ask(
                worker,
                "GET",
                self._config.endpoint,
                limit_s=limit_s,
                headers=self._upstream.authorization(""),
            )
        except WorkerError as error:
            return error.reason, False
        if answer.status != 200:
            return f"{self._config.endpoint} says {answer.status}", True
        # Other engines answer with an empty body.
        worker.is_bundled = answer.content_type.startswith("application/json") and b'"status"' in answer.body
        return "", True

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
