"""Image files to embeddings on this host: decoding on a few threads, computing in batches on one.

The asyncio side of an `ImageEncoder`: an encoder worker has one for the images of others, a unified worker for its own.
The same image is computed once, whoever asks, and kept by its content.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from ..errors import CapacityError, RequestError
from .embeddings import EmbeddingStore, Rows
from .encoder import ImageEncoder
from .image import Pixels, check_image, process_image
from .request_image import RequestImage
from .shape import VisionShape

__all__ = ["Encoding"]

_MOST_IN_BATCH = 8  # SGLANG_ENCODER_MAX_BATCH_SIZE
_MOST_WAITING = 256
_DECODING_THREADS = 4
_LARGE_PIXELS = 16_000_000  # such an image takes up to 8 bytes for each while it is decoded, so one at a time


class Encoding:
    """Encodes images.

    Args:
        load: returns the encoder, on the computing thread; called with the first image, or by `warm_up`.
        store: where embeddings are kept.
        on_batch: told the images and the seconds of each batch.
        own: returns a copy of an image's embeddings, to be kept; on the computing thread, too.
    """

    def __init__(
        self,
        shape: VisionShape,
        load: Callable[[], ImageEncoder],
        store: EmbeddingStore,
        on_batch: Callable[[int, float], None] = lambda images, seconds: None,
        own: Callable[[Rows], Rows] = np.copy,
    ) -> None:
        self._shape = shape
        self._load = load
        self._store = store
        self._on_batch = on_batch
        self._own = own
        self._encoder: ImageEncoder | None = None
        self._decoding = ThreadPoolExecutor(_DECODING_THREADS, "image-decode")
        self._decoding_large = ThreadPoolExecutor(1, "image-decode-large")
        self._computing = ThreadPoolExecutor(1, "image-encode")
        self._at_work: dict[bytes, asyncio.Task[Rows]] = {}
        self._queue: asyncio.Queue[tuple[Pixels, asyncio.Future[Rows]]] = asyncio.Queue()
        self._pump: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Images that are not done."""
        return len(self._at_work)

    async def warm_up(self, pixels: Pixels) -> None:
        """Loads the encoder and runs an image through it, which nobody asked for."""
        await asyncio.get_running_loop().run_in_executor(self._computing, self._compute, [pixels])

    async def encode(self, images: Sequence[RequestImage]) -> list[Rows]:
        """Returns the embeddings of each image.

        Raises:
            RequestError: an image is broken or too large.
            CapacityError: too many are waiting.
        """
        if len(self._at_work) + len(images) > _MOST_WAITING:
            raise CapacityError(f"{len(self._at_work)} images wait to be encoded; try again soon.")
        asked = [(image, self._store.get(image.key), self._task(image)) for image in images]
        found: list[Rows] = []
        for image, known, task in asked:
            if known is not None:
                found.append(known)
                continue
            assert task is not None
            try:
                found.append(await asyncio.shield(task))
            except RequestError as error:  # another request may have sent the same file under another name
                raise RequestError(image.field, error.value, error.problem, error.remedy) from None
        return found

    def _task(self, image: RequestImage) -> asyncio.Task[Rows] | None:
        if self._store.get(image.key) is not None:
            return None
        if (task := self._at_work.get(image.key)) is None:
            task = self._at_work[image.key] = asyncio.create_task(self._one(image), name="image")
            task.add_done_callback(partial(self._over, image.key))
        return task

    def _over(self, key: bytes, task: asyncio.Task[Rows]) -> None:
        self._at_work.pop(key, None)
        if not task.cancelled():
            task.exception()  # whoever waited has it; perhaps nobody does any more

    async def _one(self, image: RequestImage) -> Rows:
        loop = asyncio.get_running_loop()
        width, height = await loop.run_in_executor(self._decoding, check_image, image.data, image.field)
        threads = self._decoding_large if width * height > _LARGE_PIXELS else self._decoding
        work = partial(process_image, image.data, self._shape.processing, image.field)
        pixels = await loop.run_in_executor(threads, work)
        done: asyncio.Future[Rows] = loop.create_future()
        self._queue.put_nowait((pixels, done))
        if self._pump is None:
            self._pump = asyncio.create_task(self._run(), name="image-batches")
        rows = await done
        self._store.put(image.key, rows)
        return rows

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self._queue.get()]
            while len(batch) < _MOST_IN_BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            try:
                found = await loop.run_in_executor(self._computing, self._compute, [pixels for pixels, _ in batch])
            except Exception as error:
                for _, done in batch:
                    if not done.done():
                        done.set_exception(error)
                continue
            for (_, done), rows in zip(batch, found, strict=True):
                if not done.done():
                    done.set_result(rows)

    def _compute(self, batch: list[Pixels]) -> list[Rows]:
        if self._encoder is None:
            self._encoder = self._load()
        began = time.perf_counter()
        found = [self._own(rows) for rows in self._encoder.encode(batch)]
        self._on_batch(len(batch), time.perf_counter() - began)
        return found

    async def stop(self) -> None:
        """Ends; whoever waits is cancelled."""
        tasks = [*self._at_work.values(), *([self._pump] if self._pump else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(self._computing.shutdown)
        for threads in (self._decoding, self._decoding_large):
            threads.shutdown(wait=False, cancel_futures=True)
