"""How many images are decoded at once, and who learns that nobody encodes one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from pdpanel.engine.errors import PeerError, RequestError
from pdpanel.engine.model.store import ResolvedModel
from pdpanel.engine.statistics import EncoderState
from pdpanel.engine.vision import encoding as encoding_module
from pdpanel.engine.vision.embeddings import EmbeddingStore, Rows
from pdpanel.engine.vision.encoder import load_encoder
from pdpanel.engine.vision.encoding import Encoding
from pdpanel.engine.vision.image import process_image
from pdpanel.engine.vision.request_image import RequestImage
from pdpanel.engine.vision.shape import VisionShape
from pdpanel.engine.vision.source import ImageSource
from tiny_llava import picture, png


def images_of(*seeds: int) -> list[RequestImage]:
    return [RequestImage.of(png(picture(seed)), f"image_data[{place}]") for place, seed in enumerate(seeds)]


class _Nobody:
    """A source that fails for all, and counts how often it is asked."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.calls = 0
        self.go = asyncio.Event()

    def open(self) -> None: ...

    async def fetch(self, images: Sequence[RequestImage]) -> list[Rows]:
        self.calls += 1
        await self.go.wait()
        raise self.error

    def state(self) -> tuple[EncoderState, ...]:
        return ()

    async def stop(self) -> None: ...


@pytest.mark.parametrize(
    ("error", "calls"), [(PeerError("nobody is there"), 2), (RequestError("image", "x", "broken", "send another"), 6)]
)
def test_who_waits_for_an_image_waits_twice_in_vain_at_most(vision: VisionShape, error: Exception, calls: int) -> None:
    """Else the last of many would wait as often as there are others; of a broken image each is told its own name."""

    async def run() -> None:
        nobody = _Nobody(error)
        source = ImageSource(EmbeddingStore(vision, 1 << 20), nobody)
        asked = [asyncio.create_task(source.bring(images_of(1))) for _ in range(6)]
        while not nobody.calls:  # noqa: ASYNC110 (the first one asks at once)
            await asyncio.sleep(0)
        nobody.go.set()
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(one) for one in found] == [type(error)] * 6
        assert nobody.calls == calls
        await source.stop()

    asyncio.run(run())


def test_large_images_are_decoded_one_at_a_time(
    resolved: ResolvedModel, vision: VisionShape, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding_module, "_LARGE_PIXELS", 10_000)
    meet, busy, most = threading.Barrier(2), threading.Lock(), [0]

    def process(data: bytes, *rest: Any) -> Any:
        if len(data) < 20_000:  # two small ones at once, or the barrier breaks
            meet.wait(20)
        else:
            most[0] += busy.locked()
            with busy:
                return process_image(data, *rest)
        return process_image(data, *rest)

    monkeypatch.setattr(encoding_module, "process_image", process)

    async def run() -> None:
        encoder = load_encoder(resolved.directory, vision)
        encoding = Encoding(vision, lambda: encoder, EmbeddingStore(vision, 1 << 20))
        large = [RequestImage.of(png(picture(seed, 300, 300)), "image") for seed in range(4)]
        assert all(len(one.data) >= 20_000 for one in large)
        assert len(await encoding.encode([*large, *images_of(5, 6)])) == 6
        await encoding.stop()

    asyncio.run(run())
    assert most == [0]
