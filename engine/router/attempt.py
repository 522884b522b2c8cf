"""One try of a request on one unified worker or on one pair: both halves are asked at once and end together.

The client gets prefill's first token as soon as it comes, and the rest from decode; decode's end is the request's end.
When either half fails before that, the other one is closed and told to give the attempt up. Trying again is
`tries`' business; a try behind events that the client has already begins with their tokens.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from .body import Room
from .failure import Answer, WorkerError, unreachable
from .half import Half
from .job import Background, Job
from .lifeline import Lifelines
from .logprobs import joined_answer
from .upstream import Upstream, header_lines, post
from .workers import Worker

__all__ = ["ATTEMPT_HEADER", "DEADLINE_HEADER", "Attempt"]

ATTEMPT_HEADER = "x-pdpanel-attempt"
DEADLINE_HEADER = "x-pdpanel-deadline-ms"
_DECODE_VERDICT_S = 1.0


class Attempt:
    """One try.

    Args:
        workers: prefill and decode, or one unified worker.
        number: from 1 on.
        left_s: the seconds that the request may still take.
        replayed: tokens that the client has from earlier tries.
    """

    def __init__(
        self,
        upstream: Upstream,
        lifelines: Lifelines,
        background: Background,
        job: Job,
        workers: tuple[Worker, ...],
        number: int,
        left_s: float,
        replayed: tuple[int, ...] = (),
    ) -> None:
        self._upstream = upstream
        self._lifelines = lifelines
        self._background = background
        self._job = job
        self._loop = asyncio.get_running_loop()
        self.began = self._loop.time()
        self.workers = workers
        self._replayed = replayed
        self.id = f"{secrets.token_hex(8)}-{number}"
        self.room: Room | None = job.body.draw_rooms() if len(workers) == 2 else None
        self._changed: asyncio.Future[None] | None = None
        headers = {
            "x-request-id": job.request_id,
            DEADLINE_HEADER: str(max(1, int(left_s * 1000))),
            **upstream.authorization(job.authorization),
        }
        if job.body.is_single:
            headers[ATTEMPT_HEADER] = self.id
        self._lines = header_lines(headers)

    async def run(self) -> Answer | None:
        """Serves the request; returns a whole answer, or None when it was streamed.

        Raises:
            WorkerError: a half failed. What was sent to the client until then, its stream knows.
        """
        body = self._sent()
        prefill = self._half(self.workers[0], decides=False) if self.room is not None else None
        decode = self._half(self.workers[-1], decides=True)
        # Prefill's half is sent first: the client waits for its token.
        if prefill is not None:
            prefill.start(self._request(prefill, body))
        decode.start(self._request(decode, body), prefill)
        try:
            answer = await self._outcome(prefill, decode)
        except BaseException as failure:
            for half in (prefill, decode):
                if half is not None:
                    half.close()
            if isinstance(failure, WorkerError):
                # A worker that is lost hears nothing; closing its connection has told it all it can be told.
                told = tuple(worker for worker in self.workers if not (failure.lost and worker is failure.worker))
                await self._upstream.abort(told, self._job.rid, self._job.authorization)
            raise
        if prefill is not None:
            self._background.adopt(prefill)
        return answer

    def _half(self, worker: Worker, *, decides: bool) -> Half:
        return Half(self._upstream.pool, self._lifelines, worker, self._job.stream, self._wake, decides=decides)

    def _request(self, half: Half, body: bytes) -> bytes:
        return post(half.worker, self._job.route, body, self._lines)

    def _sent(self) -> bytes:
        fields: dict[str, object] = {}
        if self.room is not None:
            fields = self._job.body.bootstrap(self.workers[0].address, self.room)
        if not self._job.body.has_rid and self._job.body.batch is None:
            fields["rid"] = self._job.rid
        if self._replayed:
            fields["replayed_ids"] = self._replayed
        return self._job.body.with_fields(fields)

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    async def _until(self, claim: Callable[[], bool], limit_s: float | None = None) -> None:
        """Returns when `claim` holds, which is asked when a half has changed; or when the limit is over."""
        timer = self._loop.call_later(limit_s, self._wake) if limit_s is not None else None
        ends = self._loop.time() + limit_s if limit_s is not None else float("inf")
        try:
            while not claim() and (limit_s is None or self._loop.time() < ends):
                self._changed = self._loop.create_future()
                await self._changed
        finally:
            self._changed = None
            if timer is not None:
                timer.cancel()

    async def _outcome(self, prefill: Half | None, decode: Half) -> Answer | None:
        """Returns the answer once decode's half has ended well."""
        if prefill is not None:
            await self._until(lambda: decode.is_over or prefill.failure is not None)
            if (failure := prefill.failure) is not None and not await self._outlives(failure, decode):
                raise failure
        await self._until(lambda: decode.is_over)
        if decode.failure is not None:
            raise decode.failure
        if prefill is not None and decode.answer is not None and self._job.body.has_logprobs:
            return await self._with_logprobs(prefill, decode.answer)
        return decode.answer

    async def _with_logprobs(self, prefill: Half, answer: Answer) -> Answer:
        """Returns a whole answer with the logprobs that prefill knows."""
        await self._until(lambda: prefill.is_over, _DECODE_VERDICT_S)
        if not prefill.is_over or prefill.failure is not None:
            raise unreachable(self.workers[0], "its answer has the prompt's logprobs", began=False)
        known = prefill.answer
        body = answer.body if known is None else joined_answer(known.body, answer.body)
        return Answer(answer.status, body, answer.content_type, answer.retry_after)

    async def _outlives(self, failure: Exception, decode: Half) -> bool:
        """Whether decode decides although prefill failed.

        It does once it streams or has answered. When prefill was lost after its first token had been relayed, it may
        have died with its work done: decode's peer channel knows, and says so soon.
        """
        if decode.is_over:
            refusal = decode.failure
            firm = isinstance(refusal, WorkerError) and not refusal.retryable
            return refusal is None or (firm and isinstance(failure, WorkerError) and failure.retryable)
        stream = self._job.stream
        if stream is None or not decode.is_sent:
            return False
        if stream.started and isinstance(failure, WorkerError) and failure.lost:
            await self._until(lambda: decode.is_over or decode.has_events, _DECODE_VERDICT_S)
            return decode.is_over or decode.has_events
        return decode.has_events
