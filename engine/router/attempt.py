"""One try of a request on one unified worker or on one pair: both halves are asked at once and end together.

The client gets prefill's first token as soon as it comes, and the rest from decode; decode's end is the request's end.
When either half fails before that, the other one is closed and told to give the attempt up. Trying again is
`tries`' business; a try behind events that the client has already begins with their tokens.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine
from typing import Any

from aiohttp import ClientResponse

from .body import Room
from .failure import Answer, WorkerError, unreachable
from .job import Background, Job, cancel
from .lifeline import Lifelines
from .logprobs import joined_answer
from .upstream import Upstream
from .workers import Worker

__all__ = ["ATTEMPT_HEADER", "DEADLINE_HEADER", "Attempt"]

ATTEMPT_HEADER = "x-pdpanel-attempt"
DEADLINE_HEADER = "x-pdpanel-deadline-ms"
_DECODE_VERDICT_S = 1.0


def _is_event_stream(response: ClientResponse) -> bool:
    return response.content_type == "text/event-stream"


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
        self.began = asyncio.get_running_loop().time()
        self.workers = workers
        self._replayed = replayed
        self.id = f"{secrets.token_hex(8)}-{number}"
        self.room: Room | None = job.body.draw_rooms() if len(workers) == 2 else None
        self._headers = {
            "Content-Type": "application/json",
            "x-request-id": job.request_id,
            DEADLINE_HEADER: str(max(1, int(left_s * 1000))),
            **upstream.authorization(job.authorization),
        }
        if job.body.is_single:
            self._headers[ATTEMPT_HEADER] = self.id

    async def run(self) -> Answer | None:
        """Serves the request; returns a whole answer, or None when it was streamed.

        Raises:
            WorkerError: a half failed. What was sent to the client until then, its stream knows.
        """
        first, last = self.workers[0], self.workers[-1]
        # Prefill's half is sent first: the client waits for its token.
        prefill = self._start(first, self._first(first)) if self.room is not None else None
        decode = self._start(last, self._last(last))
        tasks = [decode] if prefill is None else [prefill, decode]
        try:
            if prefill is None:
                answer = await self._end(decode, last)
            else:
                answer = await self._with_logprobs(prefill, await self._both(prefill, decode))
        except WorkerError as failure:
            await cancel(*tasks)
            # A worker that is lost hears nothing; closing its connection has told it all it can be told.
            told = tuple(worker for worker in self.workers if not (failure.lost and worker is failure.worker))
            await self._upstream.abort(told, self._job.rid, self._job.authorization)
            raise
        except BaseException:
            await cancel(*tasks)
            raise
        if prefill is not None:
            self._background.adopt(prefill)
        return answer

    def _start(self, worker: Worker, half: Coroutine[Any, Any, Answer | None]) -> asyncio.Task[Answer | None]:
        worker.active += 1
        worker.requests += 1
        task = asyncio.create_task(half, name=f"{worker.role.value} of {self.id}")

        def ended(_: object) -> None:
            worker.active -= 1

        task.add_done_callback(ended)
        return task

    def _sent(self) -> bytes:
        fields: dict[str, object] = {}
        if self.room is not None:
            fields = self._job.body.bootstrap(self.workers[0].address, self.room)
        if not self._job.body.has_rid and self._job.body.batch is None:
            fields["rid"] = self._job.rid
        if self._replayed:
            fields["replayed_ids"] = self._replayed
        return self._job.body.with_fields(fields)

    async def _first(self, worker: Worker) -> Answer | None:
        """Prefill's half: its events until its answer ends, which is when its KV has arrived."""
        stream = self._job.stream
        with self._lifelines.holding(worker):
            async with self._upstream.posted(worker, self._job.route, self._sent(), self._headers) as response:
                if stream is None or not _is_event_stream(response):
                    return await self._upstream.read(worker, response)
                async for events in self._upstream.events(worker, response):
                    await stream.relay_prefill(events)
                return None

    async def _last(self, worker: Worker) -> Answer | None:
        """Decode's half, or a unified worker's: the answer, or all events."""
        stream = self._job.stream
        with self._lifelines.holding(worker):
            async with self._upstream.posted(worker, self._job.route, self._sent(), self._headers) as response:
                if stream is None or not _is_event_stream(response):
                    answer = await self._upstream.read(worker, response)
                    if stream is not None and stream.started:
                        raise unreachable(worker, "no event stream, though one had begun", began=True)
                    return answer
                async for events in self._upstream.events(worker, response):
                    stream.decode_streams.set()
                    await stream.relay_decode(events)
                if not stream.decode_streams.is_set():
                    raise unreachable(worker, "its stream was empty", began=True)
                return None

    async def _both(self, prefill: asyncio.Task[Answer | None], decode: asyncio.Task[Answer | None]) -> Answer | None:
        await asyncio.wait({prefill, decode}, return_when=asyncio.FIRST_COMPLETED)
        failure = self._failure(prefill, self.workers[0]) if prefill.done() else None
        if failure is None or await self._outlives(failure, decode):
            return await self._end(decode, self.workers[-1])
        raise failure

    def _failure(self, half: asyncio.Task[Answer | None], worker: Worker) -> BaseException | None:
        """Returns why a half that is over failed."""
        # Its lifeline was cut in the moment of its end.
        return unreachable(worker, "it was given up", began=True) if half.cancelled() else half.exception()

    async def _end(self, half: asyncio.Task[Answer | None], worker: Worker) -> Answer | None:
        """Returns what `half` does, once it does."""
        await asyncio.wait({half})
        if (failure := self._failure(half, worker)) is not None:
            raise failure
        return half.result()

    async def _with_logprobs(self, prefill: asyncio.Task[Answer | None], answer: Answer | None) -> Answer | None:
        """Returns a whole answer with the logprobs that prefill knows."""
        if answer is None or not self._job.body.has_logprobs:
            return answer
        await asyncio.wait({prefill}, timeout=_DECODE_VERDICT_S)
        if not prefill.done() or self._failure(prefill, self.workers[0]) is not None:
            raise unreachable(self.workers[0], "its answer has the prompt's logprobs", began=False)
        known = prefill.result()
        body = answer.body if known is None else joined_answer(known.body, answer.body)
        return Answer(answer.status, body, answer.content_type, answer.retry_after)

    async def _outlives(self, failure: BaseException, decode: asyncio.Task[Answer | None]) -> bool:
        """Whether decode decides although prefill failed.

        It does once it streams or has answered. When prefill was lost after its first token had been relayed, it may
        have died with its work done: decode's peer channel knows, and says so soon.
        """
        stream = self._job.stream
        if decode.done():
            refusal = self._failure(decode, self.workers[-1])
            firm = isinstance(refusal, WorkerError) and not refusal.retryable
            return refusal is None or (firm and isinstance(failure, WorkerError) and failure.retryable)
        if stream is None:
            return False
        if stream.started and isinstance(failure, WorkerError) and failure.lost:
            streams = asyncio.create_task(stream.decode_streams.wait())
            try:
                await asyncio.wait({streams, decode}, timeout=_DECODE_VERDICT_S, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await cancel(streams)
            return decode.done() or stream.decode_streams.is_set()
        return stream.decode_streams.is_set()
