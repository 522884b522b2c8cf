"""One try of a request on one unified worker or on one pair: both halves are asked at once and end together.

The client gets prefill's first token as soon as it comes, and the rest from decode; decode's end is the request's end.
When either half fails before that, the other one is closed and told to give the attempt up. Trying again is the
relay's business.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientResponse

from .body import Body, Room
from .failure import Answer, WorkerError, unreachable
from .stream import ClientStream
from .upstream import Upstream
from .workers import Worker

__all__ = ["ATTEMPT_HEADER", "Attempt", "Background", "Job"]

ATTEMPT_HEADER = "x-pdpanel-attempt"
_PREFILL_END_S = 30.0
_DECODE_VERDICT_S = 5.0


@dataclass(frozen=True, slots=True)
class Job:
    """A client's request as workers need it.

    Attributes:
        request_id: sent as x-request-id.
        rid: the name under which a worker knows the request.
        authorization: the client's own header.
        stream: where events go; None for a whole answer.
    """

    route: str
    body: Body
    request_id: str
    rid: str
    authorization: str
    stream: ClientStream | None


class Background:
    """Ends of prefill that nobody waits for."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def adopt(self, half: asyncio.Task[Any]) -> None:
        """Lets `half` end by itself, within a limit; how it ends no longer matters."""
        task = asyncio.create_task(self._await_end(half))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _await_end(self, half: asyncio.Task[Any]) -> None:
        try:
            await asyncio.wait({half}, timeout=_PREFILL_END_S)
        finally:
            await _cancel(half)

    async def stop(self) -> None:
        """Cancels what is left."""
        await _cancel(*self._tasks)


async def _cancel(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _is_event_stream(response: ClientResponse) -> bool:
    return response.content_type == "text/event-stream"


class Attempt:
    """One try.

    Args:
        workers: prefill and decode, or one unified worker.
        number: from 1 on.
    """

    def __init__(
        self, upstream: Upstream, background: Background, job: Job, workers: tuple[Worker, ...], number: int
    ) -> None:
        self._upstream = upstream
        self._background = background
        self._job = job
        self._workers = workers
        self.id = f"{secrets.token_hex(8)}-{number}"
        self.room: Room | None = job.body.draw_rooms() if len(workers) == 2 else None
        self._headers = {
            "Content-Type": "application/json",
            "x-request-id": job.request_id,
            **upstream.authorization(job.authorization),
        }
        if self.room is not None and job.body.is_single:
            self._headers[ATTEMPT_HEADER] = self.id

    async def run(self) -> Answer | None:
        """Serves the request; returns a whole answer, or None when it was streamed.

        Raises:
            WorkerError: a half failed. What was sent to the client until then, its stream knows.
        """
        first, last = self._workers[0], self._workers[-1]
        # Prefill's half is sent first: the client waits for its token.
        prefill = self._start(first, self._first(first)) if self.room is not None else None
        decode = self._start(last, self._last(last))
        tasks = [decode] if prefill is None else [prefill, decode]
        try:
            answer = await (decode if prefill is None else self._both(prefill, decode))
        except WorkerError:
            await _cancel(*tasks)
            await self._upstream.abort(self._workers, self._job.rid, self._job.authorization)
            raise
        except BaseException:
            await _cancel(*tasks)
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
            fields = self._job.body.bootstrap(self._workers[0].address, self.room)
        if not self._job.body.has_rid and self._job.body.batch is None:
            fields["rid"] = self._job.rid
        return self._job.body.with_fields(fields)

    async def _first(self, worker: Worker) -> None:
        """Prefill's half: its events until its answer ends, which is when its KV has arrived."""
        stream = self._job.stream
        async with self._upstream.posted(worker, self._job.route, self._sent(), self._headers) as response:
            if stream is None or not _is_event_stream(response):
                await self._upstream.read(worker, response)
                return
            async for events in self._upstream.events(worker, response):
                await stream.relay_prefill(events)

    async def _last(self, worker: Worker) -> Answer | None:
        """Decode's half, or a unified worker's: the answer, or all events."""
        stream = self._job.stream
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
        failure = prefill.exception() if prefill.done() else None
        if failure is None or await self._outlives(failure, decode):
            return await decode
        raise failure

    async def _outlives(self, failure: BaseException, decode: asyncio.Task[Answer | None]) -> bool:
        """Whether decode decides although prefill failed.

        It does once it streams or has answered. When prefill was lost after its first token had been relayed, it may
        have died with its work done: decode's peer channel knows, and says so soon.
        """
        stream = self._job.stream
        if decode.done():
            refusal = decode.exception()
            firm = isinstance(refusal, WorkerError) and not refusal.retryable
            return refusal is None or (firm and isinstance(failure, WorkerError) and failure.retryable)
        if stream is None:
            return False
        if stream.started and isinstance(failure, WorkerError) and failure.lost:
            streams = asyncio.create_task(stream.decode_streams.wait())
            try:
                await asyncio.wait({streams, decode}, timeout=_DECODE_VERDICT_S, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await _cancel(streams)
            return decode.done() or stream.decode_streams.is_set()
        return stream.decode_streams.is_set()
