"""Where a worker has the embeddings of its prompts from: its own encoder, or encoder workers.

Joins the store with either of them: what is at hand is not asked for, and two requests with the same image wait for
one answer. Lives on the event loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from ..errors import CapacityError, PdpanelError, RequestError
from ..statistics import EncoderState
from .embeddings import EmbeddingStore, Rows
from .encoding import Encoding
from .pool import EncoderPool
from .request_image import RequestImage

_PATIENCE_S = 5.0
_MOST_TOGETHER = 8  # so many are one transfer; more are shared out among the encoders

__all__ = ["EmbeddingSource", "ImageSource", "OwnEncoder", "PooledEncoders"]


class EmbeddingSource(Protocol):
    """Makes or gets embeddings."""

    def open(self) -> object:
        """Connects to whom it asks; on the event loop's thread, and once at least before anything else."""
        ...

    async def fetch(self, images: Sequence[RequestImage]) -> list[Rows]:
        """Returns the embeddings of each image.

        Raises:
            PdpanelError: an image cannot be encoded, or nobody does.
        """
        ...

    def state(self) -> tuple[EncoderState, ...]:
        """Returns the encoders that are asked; none for an own one."""
        ...

    async def stop(self) -> None:
        """Ends; open calls fail."""
        ...


class OwnEncoder:
    """The worker encodes by itself."""

    def __init__(self, encoding: Encoding) -> None:
        self._encoding = encoding

    def open(self) -> None:
        """See `EmbeddingSource.open`."""

    async def fetch(self, images: Sequence[RequestImage]) -> list[Rows]:
        """See `EmbeddingSource.fetch`."""
        return await self._encoding.encode(images)

    def state(self) -> tuple[EncoderState, ...]:
        """See `EmbeddingSource.state`."""
        return ()

    async def stop(self) -> None:
        """See `EmbeddingSource.stop`."""
        await self._encoding.stop()


class PooledEncoders:
    """Encoder workers do."""

    def __init__(self, make: Callable[[], EncoderPool]) -> None:
        self._make = make
        self._pool: EncoderPool | None = None

    def open(self) -> EncoderPool:
        """Returns the pool, which looks after its encoders from now on."""
        if self._pool is None:
            self._pool = self._make()
        return self._pool

    async def fetch(self, images: Sequence[RequestImage]) -> list[Rows]:
        """See `EmbeddingSource.fetch`."""
        return await self.open().fetch(images)

    def state(self) -> tuple[EncoderState, ...]:
        """See `EmbeddingSource.state`."""
        return self.open().state()

    async def stop(self) -> None:
        """See `EmbeddingSource.stop`."""
        if self._pool is not None:
            await self._pool.stop()


class ImageSource:
    """Has embeddings in the store when they are needed."""

    def __init__(self, store: EmbeddingStore, source: EmbeddingSource) -> None:
        self.store = store
        self._source = source
        self._released = asyncio.Event()
        self._at_work: dict[bytes, asyncio.Future[PdpanelError | None]] = {}  # why nobody gives it
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Connects to the encoders; on the event loop's thread."""
        self._source.open()

    def state(self) -> tuple[EncoderState, ...]:
        """Returns the encoders that are asked."""
        return self._source.state()

    async def hold(self, images: Sequence[RequestImage]) -> None:
        """Keeps the images' place in the store, once there is one for all of them, until they are released.

        Raises:
            CapacityError: there is none for long; perhaps those who have one wait for what this request has elsewhere.
        """
        until = asyncio.get_running_loop().time() + _PATIENCE_S
        while True:
            self._released.clear()
            try:
                self.store.hold([image.key for image in images])
                return
            except CapacityError:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(until):
                        await self._released.wait()
                        continue
                raise

    def release(self, images: Sequence[RequestImage]) -> None:
        """Takes a `hold` back."""
        self.store.release([image.key for image in images])
        self._released.set()

    async def bring(self, images: Sequence[RequestImage]) -> int:
        """Returns once the store has all of the images, which the caller holds there; with how many it had before.

        Raises:
            PdpanelError: an image cannot be encoded, or nobody does.
        """
        missing = set(self.store.missing(image.key for image in images))
        known = sum(image.key not in missing for image in images)
        in_vain = False
        while missing:
            fresh = [image for image in _once(images) if image.key in missing and image.key not in self._at_work]
            if fresh:
                await self._fetch(fresh)
            else:  # somebody else asked for all that is left; if in vain, then we ask, but no long row one by one
                waited = {key: self._at_work[key] for key in missing}
                await asyncio.wait(waited.values())
                failures = [one for key in self.store.missing(waited) if (one := waited[key].result()) is not None]
                if failures and in_vain:
                    raise failures[0]
                in_vain = bool(failures)
            missing = set(self.store.missing(image.key for image in images))
        return known

    async def _fetch(self, images: Sequence[RequestImage]) -> None:
        for image in images:
            self._at_work[image.key] = asyncio.get_running_loop().create_future()
        # A client that leaves must not spoil it for others who wait for the same image.
        task = asyncio.create_task(self._run(images), name="images")
        self._tasks.add(task)
        task.add_done_callback(partial(_over, self._tasks))
        await asyncio.shield(task)

    async def _run(self, images: Sequence[RequestImage]) -> None:
        groups = [images[start : start + _MOST_TOGETHER] for start in range(0, len(images), _MOST_TOGETHER)]
        tasks = [asyncio.create_task(self._put(group), name="images") for group in groups]
        failure: PdpanelError | None = None
        try:
            await asyncio.gather(*tasks)
        except RequestError:  # it names the image of one request: the others ask themselves
            raise
        except PdpanelError as error:
            failure = error
            raise
        finally:
            for task in tasks:
                task.cancel()
            for image in images:
                self._at_work.pop(image.key).set_result(failure)

    async def _put(self, images: Sequence[RequestImage]) -> None:
        """Has a few images in the store as soon as they come; until then they take room where others want to be."""
        for image, rows in zip(images, await self._source.fetch(images), strict=True):
            self.store.put(image.key, rows)

    async def stop(self) -> None:
        """Ends; whoever waits is cancelled."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._source.stop()


def _over(tasks: set[asyncio.Task[None]], task: asyncio.Task[None]) -> None:
    tasks.discard(task)
    if not task.cancelled():
        task.exception()  # whoever waited has it; perhaps nobody does any more


def _once(images: Sequence[RequestImage]) -> list[RequestImage]:
    """Returns the images without those that came before."""
    return list({image.key: image for image in reversed(images)}.values())[::-1]
