"""Who may have images in the store, and who waits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from pdpanel.engine.errors import CapacityError, PeerError
from pdpanel.engine.statistics import EncoderState
from pdpanel.engine.vision import source as source_module
from pdpanel.engine.vision.embeddings import EmbeddingStore, Rows
from pdpanel.engine.vision.request_image import RequestImage
from pdpanel.engine.vision.shape import VisionShape
from pdpanel.engine.vision.source import ImageSource


class Fake:
    """Gives embeddings of zeros, in calls that are noted; fails where it is told to."""

    def __init__(self, shape: VisionShape) -> None:
        self.shape = shape
        self.calls: list[int] = []
        self.fails = 0

    def open(self) -> None: ...

    async def fetch(self, images: Sequence[RequestImage]) -> list[Rows]:
        self.calls.append(len(images))
        await asyncio.sleep(0)
        if self.fails:
            self.fails -= 1
            raise PeerError("No encoder.")
        return [np.zeros((self.shape.rows, self.shape.text_hidden), np.float32) for _ in images]

    def state(self) -> tuple[EncoderState, ...]:
        return ()

    async def stop(self) -> None: ...


def images_of(*numbers: int) -> list[RequestImage]:
    return [RequestImage.of(bytes([number]), "image") for number in numbers]


def test_who_finds_no_place_waits_for_one(vision: VisionShape) -> None:
    async def run() -> None:
        source = ImageSource(EmbeddingStore(vision, 0, least_images=2), Fake(vision))
        await source.hold(images_of(1, 2))
        waiting = asyncio.create_task(source.hold(images_of(3)))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        source.release(images_of(1, 2))
        await waiting
        assert await source.bring(images_of(3)) == 0
        await source.stop()

    asyncio.run(run())


def test_patience_ends(vision: VisionShape, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "_PATIENCE_S", 0.05)

    async def run() -> None:
        source = ImageSource(EmbeddingStore(vision, 0, least_images=1), Fake(vision))
        await source.hold(images_of(1))
        with pytest.raises(CapacityError, match="try again"):
            await source.hold(images_of(2))
        await source.hold(images_of(1))

    asyncio.run(run())


def test_many_images_go_in_groups(vision: VisionShape) -> None:
    async def run() -> None:
        fake = Fake(vision)
        source = ImageSource(EmbeddingStore(vision, 1 << 30), fake)
        images = images_of(*range(20), 3)
        await source.hold(images)
        assert await source.bring(images) == 0
        assert fake.calls == [8, 8, 4]

    asyncio.run(run())


def test_a_failure_is_told_to_who_asked_and_others_ask_again(vision: VisionShape) -> None:
    async def run() -> None:
        fake = Fake(vision)
        source = ImageSource(EmbeddingStore(vision, 1 << 20), fake)
        fake.fails = 1
        first, second = (asyncio.create_task(source.bring(images_of(1))) for _ in range(2))
        with pytest.raises(PeerError):
            await first
        assert await second == 0
        assert fake.calls == [1, 1]

    asyncio.run(run())
