"""A worker whose prompts may hold images: it has their embeddings before it computes what needs them.

Prefill and unified workers get them before a request goes to the core, and hold them until it ends. A decode worker
computes no prompt, unless a sequence loses its slot: then it asks, and the sequence waits as for a slot.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ..config import Mode
from ..decode_core import DecodeCore
from ..errors import AbortedError, CapacityError, DeadlineError, PdpanelError
from ..parallel.groups import Groups
from ..prefill_core import PrefillCore
from ..request import Finish, FinishKind, GenerateRequest, TokenEvent
from ..sequence import Sequence
from ..statistics import EngineStatistics
from ..unified_core import UnifiedCore
from ..worker import Worker
from .metrics import LanguageMetrics
from .source import ImageSource

__all__ = ["ImageWorker"]

_ENDING = "The worker is shutting down."


@dataclass(slots=True)
class _Waiting:
    """A request whose embeddings are on their way.

    Attributes:
        end: why it ends before they are there; None unless somebody other than its client gave it up.
    """

    rid: str
    end: PdpanelError | None = None


class ImageWorker(Worker):
    """A worker with an image source; the other arguments are `Worker`'s."""

    def __init__(self, source: ImageSource, images: LanguageMetrics, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._source = source
        self._images = images
        self._waiting: dict[asyncio.Task[int], _Waiting] = {}
        # By the identity of the request, which lives as long as `submit` does:
        self._holding: set[int] = set()  # those whose images the store keeps
        self._asked: dict[int, asyncio.Task[None]] = {}  # those that ask, having lost their slot
        for core in self.core.cores if isinstance(self.core, Groups) else (self.core,):
            assert isinstance(core, UnifiedCore | PrefillCore | DecodeCore), "no group holds groups"
            core.schedule.ready = self._ready

    def start(self) -> None:
        """Starts computing, and to look after encoders."""
        self._source.open()
        super().start()

    def statistics(self) -> EngineStatistics:
        """Returns queues, pools, speed and encoders."""
        return replace(super().statistics(), encoders=self._source.state())

    @property
    def open_requests(self) -> int:
        """Requests that have a listener."""
        return super().open_requests + len(self._waiting)

    @property
    def spare(self) -> int:
        """How many more requests it takes now."""
        return super().spare - len(self._waiting)

    async def submit(self, request: GenerateRequest) -> AsyncGenerator[TokenEvent, None]:
        """Yields the request's events, as `Worker.submit` does.

        Raises:
            PdpanelError: as there; or the embeddings of its images cannot be had.
        """
        timed = request
        try:
            if request.images and self.config.disaggregation_mode is not Mode.DECODE:
                timed = await self._with_embeddings(request)
            async with aclosing(super().submit(timed)) as events:
                async for event in events:
                    yield event
        finally:
            if (task := self._asked.pop(id(request), None)) is not None:
                task.cancel()
            if id(request) in self._holding:
                self._holding.remove(id(request))
                self._source.release(request.images)

    async def _with_embeddings(self, request: GenerateRequest) -> GenerateRequest:
        """Returns the request, with what is left of its time, once the store has and holds its images."""
        if self.spare < 1:
            raise CapacityError("The worker has as many requests as it takes; try again soon.")
        began = time.monotonic()
        task = asyncio.create_task(self._bring(request), name="embeddings")
        waiting = self._waiting[task] = _Waiting(request.rid)
        try:
            async with asyncio.timeout(request.deadline_s):
                known = await task
        except TimeoutError:
            raise DeadlineError(f"The request took longer than {request.deadline_s:g} s.") from None
        except asyncio.CancelledError:
            if waiting.end is None:  # our client left
                raise
            raise waiting.end from None
        finally:
            task.cancel()
            del self._waiting[task]
        waited = time.monotonic() - began
        self._images.wanted(len(request.images), known)
        self._images.waited(waited)
        if request.deadline_s is None:
            return request
        return replace(request, deadline_s=max(request.deadline_s - waited, 0.0))

    async def _bring(self, request: GenerateRequest) -> int:
        await self._source.hold(request.images)
        self._holding.add(id(request))
        return await self._source.bring(request.images)

    def abort(self, rid: str) -> bool:
        """Gives up the requests with this id, all of them for an empty one; returns whether there were any."""
        found = self._end_waiting(AbortedError("The request was aborted."), rid)
        return super().abort(rid) or found

    def _end_waiting(self, end: PdpanelError, rid: str = "") -> bool:
        tasks = [task for task, waiting in self._waiting.items() if not rid or waiting.rid == rid]
        for task in tasks:
            self._waiting[task].end = end
            task.cancel()
        return bool(tasks)

    async def stop(self) -> None:
        """Ends every request with an error, then the exchange, the step loop and the image source."""
        self._end_waiting(CapacityError(_ENDING))
        for task in tuple(self._asked.values()):
            task.cancel()
        await super().stop()
        await self._source.stop()

    def _ready(self, sequence: Sequence) -> bool:
        """Returns whether the store has a sequence's images; asks for them if not. On the step loop's thread."""
        images = sequence.request.images
        if not images or not self._source.store.missing(image.key for image in images):
            return True
        self._loop.call_soon_threadsafe(self._ask, sequence)
        return False

    def _ask(self, sequence: Sequence) -> None:
        name = id(sequence.request)
        if name not in self._asked and sequence.key in self._sequences:
            self._images.wanted(len(sequence.request.images), 0)
            self._asked[name] = asyncio.create_task(self._again(sequence), name="images-again")

    async def _again(self, sequence: Sequence) -> None:
        try:
            await self._bring(sequence.request)
            self.post(lambda now: None)  # the loop looks again
        except PdpanelError as error:
            finish = Finish(FinishKind.ABORT, message=str(error), http_status=error.http_status)
            self.post(partial(self.core.abort, sequence, finish))
