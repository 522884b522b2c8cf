"""A client's POST from its first byte to its one end: admission, tries, and what the client is told.

Which states it goes through is `life_cycle`'s; who is asked, how often, is `tries`'; what each failure looks like is
`failure`'s.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass, field

from aiohttp import web

from ..errors import CapacityError, DeadlineError, PdpanelError, RequestError
from ..log import record
from .admission import Admission
from .body import is_header_safe, read_body
from .config import RouterConfig
from .failure import Answer, ClientGoneError, StoppedError, answer_for
from .job import Job
from .life_cycle import Event, Life, State
from .logprobs import LogprobJoin
from .metrics import RouterMetrics
from .stream import ClientStream
from .tries import Tries
from .workers import NoWorkerError

__all__ = ["Relay", "respond"]

_PREFIX = {"/generate": "gnt", "/v1/completions": "cmpl", "/v1/chat/completions": "chatcmpl"}
_STOP_LIMIT_S = 2.0
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Open:
    """A request being served, and why it was told to end."""

    rid: str
    stopped: StoppedError | None = field(default=None)


def respond(answer: Answer, request_id: str = "") -> web.Response:
    """Returns the response that carries `answer`."""
    headers = {"Content-Type": answer.content_type}
    if answer.retry_after or answer.status == 503:
        headers["Retry-After"] = answer.retry_after or "1"
    if request_id:
        headers["x-request-id"] = request_id
    return web.Response(status=answer.status, body=answer.body, headers=headers)


class Relay:
    """Serves /generate and the OpenAI routes."""

    def __init__(
        self, config: RouterConfig, tries: Tries, admission: Admission, metrics: RouterMetrics, rng: random.Random
    ) -> None:
        self._config = config
        self._tries = tries
        self._admission = admission
        self._metrics = metrics
        self._rng = rng
        self._open: dict[asyncio.Task[object], _Open] = {}
        self._draining = False
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
            self._refuse_when_ending()
            job = await self._job(request, request_id, received)
            request_id, entry.rid = job.request_id, job.rid
            answer = await self._within_limits(job, received)
            response: web.StreamResponse
            if answer is not None:
                response = respond(answer, request_id)
            else:
                assert job.stream is not None
                await job.stream.finish()
                response = job.stream.response
            self._metrics.ended(request.path, "ok")
            return response
        except asyncio.CancelledError:
            if entry.stopped is None:
                self._ended(request, job, ClientGoneError("The client closed its connection."), request_id)
                raise
            task.uncancel()
            error = entry.stopped
        except PdpanelError as caught:
            error = caught
        except (web.HTTPException, ConnectionError):
            raise
        except Exception:
            _log.exception("%s failed", request.path)
            error = PdpanelError("The router failed on this request; its log says why.")
        finally:
            self._open.pop(task, None)
        self._ended(request, job, error, request_id)
        if job is None or job.stream is None or not job.stream.response.prepared:
            return respond(answer_for(error), request_id)
        if job.life.state is not State.ABANDONED:
            await self._tell_end(job, error)
        return job.stream.response

    def drain(self) -> None:
        """Refuses requests from now on; those that are open go on, but wait for no worker."""
        self._draining = True
        self._tries.drain()

    @property
    def open_requests(self) -> int:
        """Requests that are being served or wait."""
        return len(self._open)

    async def stop(self) -> None:
        """Ends all open requests at once; each client is told."""
        self._stopping = StoppedError("The router is shutting down.", 503)
        self._interrupt(list(self._open), self._stopping)
        if self._open:
            await asyncio.wait(set(self._open), timeout=_STOP_LIMIT_S)
        await self._tries.stop()

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

    def _refuse_when_ending(self) -> None:
        if self._stopping is not None:
            raise self._stopping
        if self._draining:
            raise StoppedError("The router is about to end and takes no new requests.", 503)

    async def _job(self, request: web.Request, request_id: str, received: float) -> Job:
        if request.content_type != "application/json":
            raise _UnsupportedError("Content-Type", request.content_type, "not JSON", "send application/json")
        try:
            raw = await request.read()
        except web.HTTPRequestEntityTooLarge:
            limit = self._config.max_payload_bytes
            raise _TooLargeError(
                "body", f"over {limit} bytes", "too long for --max-payload-size", "send a shorter one"
            ) from None
        seed = 1 + self._rng.getrandbits(31) if self._tries.may_seed else None
        body = read_body(request.path, raw, disaggregated=self._config.disaggregated, seed=seed)
        if is_header_safe(body.rid) and not is_header_safe(request.headers.get("x-request-id")):
            request_id = body.rid
        stream, life = None, Life()
        if body.stream:
            join = LogprobJoin() if body.has_logprobs and self._config.disaggregated else None
            added = self._metrics.added
            stream = ClientStream(request, request_id, life, lambda seconds: added("first_event", seconds), join)
        rid, own_key = body.rid or request_id, request.headers.get("Authorization", "")
        left_s = self._config.request_timeout - (time.perf_counter() - received)
        deadline = asyncio.get_running_loop().time() + left_s
        return Job(request.path, body, request_id, rid, own_key, stream, life, deadline)

    async def _within_limits(self, job: Job, received: float) -> Answer | None:
        try:
            async with asyncio.timeout_at(job.deadline):
                async with self._admission.place():
                    job.life.on(Event.PLACE)
                    answer = await self._tries.serve(job, received)
                    if job.life.state is not State.DONE:
                        job.life.on(Event.END)
                    return answer
        except TimeoutError:
            raise DeadlineError(
                f"The request took longer than {self._config.request_timeout:g} s (--request-timeout-secs)."
            ) from None

    def _ended(self, request: web.Request, job: Job | None, error: PdpanelError, request_id: str) -> None:
        if job is not None:
            job.life.on(Event.LEAVE if isinstance(error, ClientGoneError) else Event.FAIL)
        self._metrics.ended(request.path, _outcome(error))
        rid = job.rid if job is not None else request_id
        record("request failed", rid=rid, route=request.path, outcome=_outcome(error), reason=str(error))

    @staticmethod
    async def _tell_end(job: Job, error: PdpanelError) -> None:
        assert job.stream is not None
        try:
            async with asyncio.timeout(_STOP_LIMIT_S):
                if job.life.state is State.DONE:
                    await job.stream.finish()  # Its last bytes waited for a slow client when it was told to end.
                else:
                    await job.stream.fail(error)
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
