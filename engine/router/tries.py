"""The tries of one request: which workers are asked, what a failure means, and how long until the next try.

A request that failed before any byte reached the client is tried again with a new room, on other workers if there are
any. A stream that has begun goes on behind the tokens that the client has. A round in which a role has nobody to ask is
no try: it waits (`vacancy`). What happens within one try is `attempt`'s; what each state and failure leads to is
`life_cycle`'s.
"""

from __future__ import annotations

import asyncio
import random
import time

from ..log import record
from .attempt import Attempt
from .config import RouterConfig
from .failure import Answer, WorkerError
from .health import HealthWatch
from .job import Background, Job
from .life_cycle import Event, verdict
from .lifeline import Lifelines
from .metrics import RouterMetrics
from .upstream import Upstream
from .vacancy import Vacancies
from .workers import NoWorkerError, Worker, WorkerTable

__all__ = ["Tries"]

_Failure = WorkerError | NoWorkerError


class Tries:
    """Serves admitted requests.

    Args:
        rng: spreads the waits between tries.
    """

    def __init__(
        self,
        config: RouterConfig,
        table: WorkerTable,
        health: HealthWatch,
        upstream: Upstream,
        lifelines: Lifelines,
        metrics: RouterMetrics,
        rng: random.Random,
    ) -> None:
        self._config = config
        self._table = table
        self._health = health
        self._upstream = upstream
        self._lifelines = lifelines
        self._metrics = metrics
        self._rng = rng
        self._background = Background()
        self._vacancies = Vacancies(table, config.roles, config.worker_wait, config.queue_size)
        self._waiting = 0
        metrics.watch_waiting(lambda: self._vacancies.waiting)

    @property
    def may_seed(self) -> bool:
        """True when a stream may be continued later, so that one that samples should have a seed.

        Other engines' streams cannot be, and old ones refuse a field that they do not know.
        """
        return self._config.retry.replay and self._table.all_bundled

    def drain(self) -> None:
        """Lets nobody wait for a worker any more."""
        self._vacancies.end()

    def stop(self) -> None:
        """Ends what still runs behind requests that are over."""
        self._background.stop()

    async def serve(self, job: Job, received: float) -> Answer | None:
        """Returns a whole answer, or None when it was streamed.

        Args:
            received: when the request came, on time.perf_counter().

        Raises:
            WorkerError: the last try failed.
            NoWorkerError: there was nobody to try it on.
        """
        number, avoid, replayed = 0, set[str](), ()
        now, until = asyncio.get_running_loop().time, None
        while True:
            attempt: Attempt | None = None
            try:
                workers = self._choose(job, avoid)
                number, is_prompt, until = number + 1, until is None, None
                attempt = Attempt(
                    self._upstream,
                    self._lifelines,
                    self._background,
                    job,
                    workers,
                    number,
                    job.deadline - now(),
                    replayed,
                )
                if number == 1 and is_prompt:
                    self._metrics.added("dispatch", time.perf_counter() - received)
                answer = await attempt.run()
            except (WorkerError, NoWorkerError) as caught:
                failure = caught
            else:
                self._succeeded(attempt, replayed)
                return answer
            avoid |= self._blame(attempt, failure)
            continued = self._continued(job)
            if isinstance(failure, NoWorkerError):
                until = self._vacancies.limit(now()) if until is None else until
                may_retry = self._vacancies.is_worth(until, is_new=number == 0)
            else:
                may_retry = self._may_retry(job, failure, number, avoid)
            event = self._judge(job, may_retry=may_retry, may_replay=continued is not None)
            self._note(job, attempt, failure, event)
            if event is Event.FAIL:
                raise failure
            job.life.on(event)
            if event is Event.WHOLE:
                return None
            if until is None:
                await self._pause(number)
            else:
                await self._vacancies.wait(until, is_new=number == 0)
            job.life.on(Event.NEXT)
            if job.stream is not None:
                job.stream.begin_attempt()
            replayed = continued or ()

    async def _pause(self, number: int) -> None:
        self._waiting += 1
        try:
            await asyncio.sleep(self._config.retry.backoff(number, self._rng.random()))
        finally:
            self._waiting -= 1

    def _choose(self, job: Job, avoid: set[str]) -> tuple[Worker, ...]:
        prompt = job.body.prompt_bytes() if self._config.is_cache_aware else b""
        return tuple(self._table.choose(role, self._config.policy(role), avoid, prompt) for role in self._config.roles)

    def _succeeded(self, attempt: Attempt, replayed: tuple[int, ...]) -> None:
        for worker in attempt.workers:
            self._table.request_succeeded(worker)
        if replayed:
            self._metrics.replayed("completed")

    def _blame(self, attempt: Attempt | None, failure: _Failure) -> set[str]:
        """Has those asked how they are who may be the reason; returns whom the next try should rather avoid."""
        if attempt is None or not isinstance(failure, WorkerError):
            return set()
        if failure.blames_peer:
            # A worker that cannot reach its other half says so, and either of them may be the reason.
            for worker in attempt.workers:
                self._health.suspect(worker, failure.reason, own_fault=False)
            return {worker.url for worker in attempt.workers}
        if failure.is_suspicious:
            self._health.suspect(failure.worker, failure.reason)
        return {failure.worker.url}

    def _continued(self, job: Job) -> tuple[int, ...] | None:
        """Returns the tokens that another pair would go on behind; None when none can."""
        if job.stream is None or not self._config.retry.replay or not job.body.may_be_replayed:
            return None
        return job.stream.merge.replayed_ids()

    def _may_retry(self, job: Job, failure: WorkerError, number: int, avoid: set[str]) -> bool:
        may_retry = failure.retryable and number <= self._config.retry.max_retries
        if failure.is_full and not job.life.started:
            # Many who ask a full worker again and again only cost it time: the rest is told when to come back.
            another = self._table.has_another(failure.worker.role, avoid)
            may_retry = may_retry and (another or self._waiting < self._config.queue_size)
        return may_retry

    @staticmethod
    def _judge(job: Job, *, may_retry: bool, may_replay: bool) -> Event:
        is_told = is_complete = False
        if job.stream is not None and job.life.started:
            is_told, is_complete = job.stream.merge.ending(with_usage=job.body.wants_usage)
        return verdict(job.life, may_retry=may_retry, may_replay=may_replay, is_told=is_told, is_complete=is_complete)

    def _note(self, job: Job, attempt: Attempt | None, failure: _Failure, event: Event) -> None:
        worker = failure.worker if isinstance(failure, WorkerError) else None
        record(
            "attempt failed" if worker is not None else "no worker",
            rid=job.rid,
            attempt=attempt.id if attempt is not None else "",
            seconds=round(asyncio.get_running_loop().time() - attempt.began, 3) if attempt is not None else 0.0,
            worker=worker.url if worker is not None else "",
            role=worker.role.value if worker is not None else "",
            status=failure.http_status,
            reason=str(failure),
            then=event.name.lower(),
            streaming=job.life.started,
        )
        if event is Event.AGAIN and worker is None:
            return  # It waits, which is no try.
        if event is Event.AGAIN and worker is not None:
            self._metrics.retried([worker.role.value])
        if job.life.started:
            outcome = {Event.AGAIN: "begun", Event.WHOLE: "not_needed"}.get(event, "impossible")
            self._metrics.replayed(outcome)
