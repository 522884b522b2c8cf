"""A client's POST from its first byte to its one end: admission, tries, and what the client is told.

A request that failed before any byte reached the client is tried again with a new room, on other workers if there are
any. What happens within one try is `attempt`'s; what each failure looks like is `failure`'s. A continued stream
(replay) belongs into `_tries`: the stream's merge already keeps its place over attempts.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field

from aiohttp import web

from ..errors import CapacityError, DeadlineError, PdpanelError, RequestError
from ..log import record
from .admission import Admission
from .attempt import Attempt, Background, Job
from .body import is_header_safe, read_body
from .config import RouterConfig
from .failure import Answer, ClientGoneError, StoppedError, WorkerError, answer_for
from .health import HealthWatch
from .metrics import RouterMetrics
from .stream import ClientStream
from .upstream import Upstream
from .workers import NoWorkerError, WorkerTable

__all__ = ["Relay", "respond"]

_PREFIX = {"/generate": "gnt", "/v1/completions": "cmpl", "/v1/chat/completions": "chatcmpl"}
_STOP_LIMIT_S = 2.0


@dataclass(slots=True)
class _Open:
    """A request being served, and why it was told to end."""

    rid: str
    stopped: StoppedError | None = field(default=None)


def respond(answer: Answer, request_id: str = "") -> web.Response:
    """Returns the response that carries `answer`."""
    headers = {"Content-Type": answer.content_type}
    if answer.retry_after:
        headers["Retry-After"] = answer.retry_after
    if request_id:
        headers["x-request-id"] = request_id
    return web.Response(status=answer.status, body=answer.body, headers=headers)


class Relay:
    """Serves /generate and the OpenAI routes."""

    def __init__(
        self,
        config: RouterConfig,
        table: WorkerTable,
        health: HealthWatch,
        upstream: Upstream,
        admission: Admission,
        metrics: RouterMetrics,
        rng: random.Random,
    ) -> None:
        self._config = config
        self._table = table
        self._health = health
        self._upstream = upstream
        self._admission = admission
        self._metrics = metrics
        self._rng = rng
        self._background = Background()
        self._open: dict[asyncio.Task[object], _Open] = {}
        self._stopping: StoppedError | None = None

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answers one POST; its path is the route."""
        received = time.perf_counter()
        job: Job | None = None
        request_id = self._name(request)
        task, entry = asyncio.current_task(), _Open(request_id)
        assert task is not None
        self._open[task] = entry
        error: PdpanelError
        try:
            if self._stopping is not None:
                raise self._stopping
            job = await self._job(request, request_id)
            request_id, entry.rid = job.request_id, job.rid
            answer = await self._within_limits(job, received)
            if job.stream is not None and answer is None:
                await job.stream.finish()
                self._metrics.ended(request.path, "ok")
                return job.stream.response
            assert answer is not None
            self._metrics.ended(request.path, "ok")
            return respond(answer, request_id)
        except asyncio.CancelledError:
            if entry.stopped is None:
                self._ended(request, job, ClientGoneError("The client closed its connection."), request_id)
                raise
            task.uncancel()
            error = entry.stopped
        except PdpanelError as caught:
            error = caught
        finally:
            self._open.pop(task, None)
        self._ended(request, job, error, request_id)
        if job is not None and job.stream is not None and job.stream.started:
            if not isinstance(error, ClientGoneError):
                await self._tell_end(job.stream, error)
            return job.stream.response
        return respond(answer_for(error), request_id)

    async def stop(self) -> None:
        """Ends all open requests at once; each client is told."""
        self._stopping = StoppedError("The router is shutting down.", 503)
        self._interrupt(list(self._open), self._stopping)
        if self._open:
            await asyncio.wait(set(self._open), timeout=_STOP_LIMIT_S)
        await self._background.stop()

    def abort(self, rid: str, *, everything: bool) -> int:
        """Ends the open requests named `rid`, or all; returns how many."""
        found = [task for task, entry in self._open.items() if everything or entry.rid == rid]
        self._interrupt(found, StoppedError("The request was aborted.", 499))
        return len(found)

    def _interrupt(self, tasks: list[asyncio.Task[object]], reason: StoppedError) -> None:
        for task in tasks:
            entry = self._open[task]
            if entry.stopped is None:
                entry.stopped = reason
                task.cancel()

    def _name(self, request: web.Request) -> str:
        given = request.headers.get("x-request-id", "")
        return given if is_header_safe(given) else f"{_PREFIX[request.path]}-{self._rng.getrandbits(96):024x}"

    async def _job(self, request: web.Request, request_id: str) -> Job:
        if request.content_type != "application/json":
            raise _UnsupportedError("Content-Type", request.content_type, "not JSON", "send application/json")
        try:
            raw = await request.read()
        except web.HTTPRequestEntityTooLarge:
            limit = self._config.max_payload_bytes
            raise _TooLargeError(
                "body", f"over {limit} bytes", "too long for --max-payload-size", "send a shorter one"
            ) from None
        body = read_body(request.path, raw, disaggregated=self._config.disaggregated)
        if is_header_safe(body.rid) and not is_header_safe(request.headers.get("x-request-id")):
            request_id = body.rid
        stream = None
        if body.stream:
            stream = ClientStream(request, request_id, lambda added: self._metrics.added("first_event", added))
        rid = body.rid or request_id
        return Job(request.path, body, request_id, rid, request.headers.get("Authorization", ""), stream)

    async def _within_limits(self, job: Job, received: float) -> Answer | None:
        try:
            async with asyncio.timeout(self._config.request_timeout):
                async with self._admission.place():
                    return await self._tries(job, received)
        except TimeoutError:
            raise DeadlineError(
                f"The request took longer than {self._config.request_timeout:g} s (--request-timeout-secs)."
            ) from None

    async def _tries(self, job: Job, received: float) -> Answer | None:
        number, avoid = 0, set[str]()
        while True:
            number += 1
            workers = tuple(self._table.choose(role, self._config.policy(role), avoid) for role in self._config.roles)
            attempt = Attempt(self._upstream, self._background, job, workers, number)
            if number == 1:
                self._metrics.added("dispatch", time.perf_counter() - received)
            try:
                return await attempt.run()
            except WorkerError as failure:
                started = job.stream is not None and job.stream.started
                last = started or not failure.retryable or number > self._config.retry.max_retries
                self._note(job, attempt, failure, last=last)
                if last:
                    raise
                avoid.add(failure.worker.url)
                self._metrics.retried([failure.worker.role.value])
            await asyncio.sleep(self._config.retry.backoff(number, self._rng.random()))
            if job.stream is not None:
                job.stream.merge.begin_attempt()
                job.stream.decode_streams.clear()

    def _note(self, job: Job, attempt: Attempt, failure: WorkerError, *, last: bool) -> None:
        if failure.is_suspicious:
            self._health.suspect(failure.worker, failure.reason)
        record(
            "attempt failed",
            rid=job.rid,
            attempt=attempt.id,
            worker=failure.worker.url,
            role=failure.worker.role.value,
            status=failure.http_status,
            reason=str(failure),
            retry=not last,
        )

    def _ended(self, request: web.Request, job: Job | None, error: PdpanelError, request_id: str) -> None:
        self._metrics.ended(request.path, _outcome(error))
        rid = job.rid if job is not None else request_id
        record("request failed", rid=rid, route=request.path, outcome=_outcome(error), reason=str(error))

    @staticmethod
    async def _tell_end(stream: ClientStream, error: PdpanelError) -> None:
        try:
            async with asyncio.timeout(_STOP_LIMIT_S):
                await stream.fail(error)
        except (ClientGoneError, TimeoutError):
            return  # Nobody is left, or nobody reads.


class _UnsupportedError(RequestError):
    http_status = 415


class _TooLargeError(RequestError):
    http_status = 413


def _outcome(error: PdpanelError) -> str:
    for kind, name in (
        (ClientGoneError, "client_gone"),
        (StoppedError, "stopped"),
        (NoWorkerError, "no_worker"),
        (CapacityError, "queue_full"),
        (DeadlineError, "deadline"),
    ):
        if isinstance(error, kind):
            return name
    return "client_error" if error.http_status < 500 else "worker_error"
