"""Embeddings written into the asker's memory (`mooncake`): the transports that carry KV carry them, too.

Both sides keep embeddings in a registered area, an image to a page. The asker lends pages to each call; the encoder
writes its own pages there in one go and in as few pieces as it can, so that nobody copies. A page returns when nobody
refers to its rows any more; one whose writer failed stays unused until no write can touch it.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from ..errors import PeerError, RequestError, TransferError
from ..pages import Run, Runs
from ..transfer.api import Endpoint, EndpointInfo, Link, Ticket, TransferSettings
from ..transfer.memory import SharedMemory, address_of
from ..transfer.plan import merge_runs
from .embeddings import Rows
from .shape import VisionShape
from .ways import MEMORY

__all__ = ["MemoryReceiver", "MemorySender"]

_MOST_IMAGES = 16
_LEAST_PAGES = 2 * _MOST_IMAGES


class _Area:
    """A registered area of pages; on an event loop's thread, but for `try_lend`, `rows` and the rows it gives."""

    def __init__(self, shape: VisionShape, endpoint: Endpoint, settings: TransferSettings, pages: int) -> None:
        self.pages = pages
        self.page_bytes = shape.image_bytes
        self.quiet_s = settings.hard_timeout_s
        self._loop = asyncio.get_running_loop()
        self._memory = SharedMemory(pages * shape.image_bytes)
        self._base = address_of(self._memory.map)
        self._rows = np.frombuffer(self._memory.map, np.float32).reshape(pages, shape.rows, shape.text_hidden)
        self._lock = threading.Lock()
        self._free = list(range(pages))  # a heap
        self._freed = asyncio.Event()
        endpoint.register(self._base, self._memory.length, self._memory.file)

    def try_lend(self, count: int) -> list[int] | None:
        """Returns so many pages, low ones first; None when there are too few."""
        with self._lock:
            return [heapq.heappop(self._free) for _ in range(count)] if len(self._free) >= count else None

    async def lend(self, count: int) -> list[int]:
        """Returns so many pages, waiting until there are."""
        while True:
            self._freed.clear()
            if (pages := self.try_lend(count)) is not None:
                return pages
            await self._freed.wait()

    def give_back(self, pages: Sequence[int]) -> None:
        """Takes pages back that nobody can write any more; any thread."""
        with self._lock:
            for page in pages:
                heapq.heappush(self._free, page)
        with contextlib.suppress(RuntimeError):  # the loop has ended, and with it whoever waited
            self._loop.call_soon_threadsafe(self._freed.set)

    def rows(self, page: int) -> Rows:
        """Returns the rows of a page, which comes back when this very array is gone."""
        view = self._rows[page]
        weakref.finalize(view, self.give_back, (page,)).atexit = False
        return view

    def page_of(self, rows: Rows) -> int | None:
        """Returns the page that rows lie in; None when they lie elsewhere."""
        offset = rows.ctypes.data - self._base
        return offset // self.page_bytes if 0 <= offset < self._memory.length else None


def _runs(pages: Sequence[int]) -> Runs:
    return tuple(Run(page, 1) for page in pages)


@dataclass(slots=True)
class _Slip:
    area: _Area
    endpoint: EndpointInfo
    pages: list[int]
    is_open: bool = True

    @property
    def target(self) -> Mapping[str, Any]:
        return {"backend": MEMORY, "endpoint": msgspec.to_builtins(self.endpoint), "pages": self.pages}

    async def take(self) -> list[Rows]:
        """The encoder answers after its write, so that everything is here."""
        self.is_open = False
        return [self.area.rows(page) for page in self.pages]

    def abandon(self) -> None:
        if self.is_open:
            self.is_open = False
            asyncio.get_running_loop().call_later(self.area.quiet_s, self.area.give_back, self.pages)


class MemoryReceiver:
    """Lends memory to encoders.

    Args:
        endpoint: of this worker, for nothing else; closed with this.
        kept: images that the worker keeps, and so does not give back.
    """

    most_images = _MOST_IMAGES

    def __init__(self, shape: VisionShape, endpoint: Endpoint, settings: TransferSettings, kept: int = 0) -> None:
        self._area = _Area(shape, endpoint, settings, kept + _LEAST_PAGES)
        self._endpoint = endpoint
        self._info = endpoint.describe()

    async def expect(self, images: int) -> _Slip:
        """Returns the slip of a transfer, once there is room for it."""
        return _Slip(self._area, self._info, await self._area.lend(images))

    async def stop(self) -> None:
        """Closes the endpoint."""
        await asyncio.to_thread(self._endpoint.close)


class MemorySender:
    """Writes into the memory of those who ask.

    Args:
        endpoint: of this encoder; closed with this.
        kept: images that the encoder keeps, which `own` puts where they can be sent from.
    """

    def __init__(self, shape: VisionShape, endpoint: Endpoint, settings: TransferSettings, kept: int = 0) -> None:
        self._area = _Area(shape, endpoint, settings, kept + _LEAST_PAGES)
        self._endpoint = endpoint
        self._links: dict[EndpointInfo, Link] = {}

    def own(self, rows: Rows) -> Rows:
        """Returns a copy that can be sent as it lies, where there is room for one; any thread."""
        pages = self._area.try_lend(1)
        if pages is None:
            return rows.copy()
        found = self._area.rows(pages[0])
        found[:] = rows
        return found

    async def send(self, target: Mapping[str, Any], images: Sequence[Rows]) -> int:
        """Writes all images in one go.

        Raises:
            RequestError: `target` cannot be used.
            PdpanelError: the write failed.
        """
        info, pages = self._read(target, len(images))
        placed = await self._placed(images)
        own = [page for rows in placed if (page := self._area.page_of(rows)) is not None]
        segments = merge_runs(_runs(own), _runs(pages), self._area.page_bytes)
        ticket = self._link(info).write(segments)
        await self._finished(ticket)
        if not ticket.quiesced:  # what is read still must not be written anew
            asyncio.get_running_loop().call_later(self._area.quiet_s, len, placed)
        if ticket.error:
            self._drop(info)
            raise PeerError(f"The embeddings could not be written: {ticket.error}")
        return len(placed) * self._area.page_bytes

    async def _placed(self, images: Sequence[Rows]) -> list[Rows]:
        """Returns the images where they can be sent from; who waits for pages has none yet."""
        area = self._area
        away = sum(area.page_of(rows) is None for rows in images)
        if away > area.pages:
            raise RequestError("images", len(images), "too many at once", f"ask for at most {area.pages}")
        fresh = iter([area.rows(page) for page in await area.lend(away)])
        placed: list[Rows] = []
        for rows in images:
            placed.append(rows if area.page_of(rows) is not None else next(fresh))
            if placed[-1] is not rows:
                placed[-1][:] = rows
        return placed

    def _read(self, target: Mapping[str, Any], images: int) -> tuple[EndpointInfo, list[int]]:
        try:
            info = msgspec.convert(target.get("endpoint"), EndpointInfo)
            pages = msgspec.convert(target.get("pages"), list[int])
        except msgspec.ValidationError as error:
            problem = f"no pages of an endpoint ({error})"
            raise RequestError("transfer", str(dict(target)), problem, "send what the endpoint describes") from None
        most = info.length // self._area.page_bytes
        if len(pages) != images or not all(0 <= page < most for page in pages):
            problem = f"not the numbers of {images} pages out of {most}"
            raise RequestError("transfer.pages", pages, problem, "send one page for each image")
        if info.kind != self._endpoint.kind:
            problem = f"the worker's transport is {info.kind}, the encoder's {self._endpoint.kind}"
            remedy = "start both with the same --disaggregation-transfer-backend"
            raise RequestError("transfer.endpoint", info.kind, problem, remedy)
        return info, pages

    def _link(self, info: EndpointInfo) -> Link:
        if info not in self._links:
            self._links[info] = self._endpoint.connect(info)
        return self._links[info]

    def _drop(self, info: EndpointInfo) -> None:
        if (link := self._links.pop(info, None)) is not None:
            link.close()

    async def _finished(self, ticket: Ticket) -> None:
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def finished(_: Ticket) -> None:
            loop.call_soon_threadsafe(done.set)

        ticket.add_done_callback(finished)
        try:
            async with asyncio.timeout(self._area.quiet_s):
                await done.wait()
        except TimeoutError:
            raise TransferError("The embeddings could not be written in time.", quiesced=False) from None

    async def stop(self) -> None:
        """Closes the endpoint and its links."""
        await asyncio.to_thread(self._endpoint.close)
