"""A client's POST from its first byte to its one end: admission, tries, and what the client is told.

Which states it goes through is `life_cycle`'s; who is asked, how often, is `tries`'; what each failure looks like is
`failure`'s.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from ..errors import CapacityError, DeadlineError, PdpanelError
from ..log import record
from .admission import Admission
from .body import is_header_safe, read_body
from .client import Client
from .config import RouterConfig
from .failure import Answer, ClientGoneError, StoppedError, answer_for
from .job import Job
from .life_cycle import Event, Life, State
from .logprobs import LogprobJoin
from .metrics import RouterMetrics
from .stream import ClientStream
from .tries import Tries
from .workers import NoWorkerError

__all__ = ["Relay"]

_PREFIX = {"/generate": "gnt", "/v1/completions": "cmpl", "/v1/chat/completions": "chatcmpl"}
_STOP_LIMIT_S = 2.0
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Open:
    """A request being served, and why it was told to end."""

    rid: str
    stopped: StoppedError | None = field(default=None)


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

    async def serve(self, client: Client) -> tuple[Answer | None, str]:
        """Answers one POST; its path is the route.

        Returns:
            A whole answer, None when it was streamed; and the request's id.
        """
        received = time.perf_counter()
        job: Job | None = None
        request_id = self._name(client)
        task, entry = asyncio.current_task(), _Open(request_id)
        assert task is not None
        self._open[task] = entry
        error: PdpanelError
        try:
            self._refuse_when_ending()
            job = await self._job(client, request_id, received)
            request_id, entry.rid = job.request_id, job.rid
            answer = await self._within_limits(job, received)
            if answer is None:
                assert job.stream is not None
                job.stream.finish()
            self._metrics.ended(client.path, "ok")
            self._metrics.served(time.perf_counter() - received)
            return answer, request_id
        except asyncio.CancelledError:
            if entry.stopped is None:
                self._ended(client.path, job, ClientGoneError("The client closed its connection."), request_id)
                raise
            task.uncancel()
            error = entry.stopped
        except PdpanelError as caught:
            error = caught
        except ConnectionError:
            raise
        except Exception:
            _log.exception("%s failed", client.path)
            error = PdpanelError("The router failed on this request; its log says why.")
        finally:
            self._open.pop(task, None)
        self._ended(client.path, job, error, request_id)
        if job is None or job.stream is None or not job.stream.writer.has_begun:
            return answer_for(error), request_id
        if job.life.state is not State.ABANDONED:
            self._tell_end(job.stream, job.life, error)
        return None, request_id

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
        self._tries.stop()

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

    def _name(self, client: Client) -> str:
        given = client.header("x-request-id")
        return given if is_header_safe(given) else f"{_PREFIX[client.path]}-{self._rng.getrandbits(96):024x}"

    def _refuse_when_ending(self) -> None:
        if self._stopping is not None:
            raise self._stopping
        if self._draining:
            raise StoppedError("The router is about to end and takes no new requests.", 503)

    async def _job(self, client: Client, request_id: str, received: float) -> Job:
        raw = await client.body()
        seed = 1 + self._rng.getrandbits(31) if self._tries.may_seed else None
        body = read_body(client.path, raw, disaggregated=self._config.disaggregated, seed=seed)
        if is_header_safe(body.rid) and not is_header_safe(client.header("x-request-id")):
            request_id = body.rid
        stream, life = None, Life()
        if body.stream:
            join = LogprobJoin() if body.has_logprobs and self._config.disaggregated else None
            stream = ClientStream(client, request_id, life, partial(self._first_sent, received), join)
        rid, own_key = body.rid or request_id, client.header("authorization")
        left_s = self._config.request_timeout - (time.perf_counter() - received)
        deadline = asyncio.get_running_loop().time() + left_s
        return Job(client.path, body, request_id, rid, own_key, stream, life, deadline)

    def _first_sent(self, received: float, arrived: float) -> None:
        now = time.perf_counter()
        self._metrics.added("first_event", now - arrived)
        self._metrics.began(now - received)

    async def _within_limits(self, job: Job, received: float) -> Answer | None:
        try:
            async with asyncio.timeout_at(job.deadline):
                await self._admission.enter()
                try:
                    job.life.on(Event.PLACE)
                    answer = await self._tries.serve(job, received)
                    if job.life.state is not State.DONE:
                        job.life.on(Event.END)
                    return answer
                finally:
                    self._admission.leave()
        except TimeoutError:
            raise DeadlineError(
                f"The request took longer than {self._config.request_timeout:g} s (--request-timeout-secs)."
            ) from None

    def _ended(self, route: str, job: Job | None, error: PdpanelError, request_id: str) -> None:
        if job is not None:
            job.life.on(Event.LEAVE if isinstance(error, ClientGoneError) else Event.FAIL)
        self._metrics.ended(route, _outcome(error))
        rid = job.rid if job is not None else request_id
        record("request failed", rid=rid, route=route, outcome=_outcome(error), reason=str(error))

    @staticmethod
    def _tell_end(stream: ClientStream, life: Life, error: PdpanelError) -> None:
        with suppress(ClientGoneError):  # Nobody is left.
            if life.state is State.DONE:
                stream.finish()
            else:
                stream.fail(error)


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
