"""What a language worker does when encoders die, stand still, refuse or are not there; each way embeddings travel."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from pdpanel.engine.config import ServerConfig
from pdpanel.engine.encoder_server import Encoder, encoder_app
from pdpanel.engine.errors import PeerError, RequestError
from pdpanel.engine.model.store import ResolvedModel
from pdpanel.engine.transfer.api import TransferSettings
from pdpanel.engine.transfer.select import open_endpoint
from pdpanel.engine.vision import pool as pool_module
from pdpanel.engine.vision.embeddings import EmbeddingStore, Rows
from pdpanel.engine.vision.encoder import load_encoder
from pdpanel.engine.vision.encoding import Encoding
from pdpanel.engine.vision.image import process_image
from pdpanel.engine.vision.memory_way import MemoryReceiver, MemorySender
from pdpanel.engine.vision.metrics import EncoderMetrics, LanguageMetrics
from pdpanel.engine.vision.pool import EncoderPool
from pdpanel.engine.vision.request_image import RequestImage
from pdpanel.engine.vision.shape import VisionShape
from pdpanel.engine.vision.source import ImageSource, OwnEncoder, PooledEncoders
from pdpanel.engine.vision.ways import Receiver, Sender
from pdpanel.engine.vision.zmq_way import ZmqReceiver, ZmqSender
from prometheus_client import CollectorRegistry
from tiny_llava import picture, png

pytestmark = pytest.mark.timeout(60)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Bench:
    """Encoders in this process, and a pool that asks them."""

    def __init__(self, resolved: ResolvedModel, shape: VisionShape) -> None:
        self.resolved = resolved
        self.shape = shape
        self.registry = CollectorRegistry()
        self.metrics = LanguageMetrics(self.registry, "m", "prefill")
        self._model = load_encoder(resolved.directory, shape)
        self._runners: list[web.AppRunner] = []
        self._closing: list[Callable[[], Awaitable[None]]] = []

    async def serve(self, app: web.Application) -> str:
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self._runners.append(runner)
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def stop_server(self, index: int) -> None:
        await self._runners[index].cleanup()

    def encoder(self, name: str, sender: Sender) -> Encoder:
        store = EmbeddingStore(self.shape, 1 << 20)
        config = ServerConfig(model_path="x", encoder_only=True, allowed_hosts=("127.0.0.1",))
        encoding = Encoding(self.shape, lambda: self._model, store)
        metrics = EncoderMetrics(CollectorRegistry(), "m")
        made = Encoder(config, self.resolved, self.shape, store, encoding, {name: sender}, metrics)
        self._closing.append(made.stop)
        return made

    def pool(self, urls: list[str], receiver: Receiver, timeout_s: float = 20.0) -> EncoderPool:
        sha = self.resolved.model_sha
        made = EncoderPool(urls, receiver, self.metrics, api_key="", model_sha=sha, timeout_s=timeout_s)
        self._closing.append(made.stop)
        return made

    def expected(self, images: list[RequestImage]) -> list[Rows]:
        return self._model.encode([process_image(one.data, self.shape.processing, "image") for one in images])

    def count(self, name: str) -> float:
        return (
            self.registry.get_sample_value(f"sglang:{name}_total", {"model_name": "m", "engine_type": "prefill"}) or 0
        )

    async def close(self) -> None:
        for stop in reversed(self._closing):
            await stop()
        for runner in self._runners:
            await runner.cleanup()


@asynccontextmanager
async def bench(resolved: ResolvedModel, shape: VisionShape) -> AsyncIterator[Bench]:
    made = Bench(resolved, shape)
    try:
        yield made
    finally:
        await made.close()


def images_of(*seeds: int) -> list[RequestImage]:
    return [RequestImage.of(png(picture(seed)), f"image_data[{place}]") for place, seed in enumerate(seeds)]


def same(found: list[Rows], expected: list[Rows]) -> bool:
    """Another batch rounds otherwise: by so much of the largest value, whatever the CPU."""
    return len(found) == len(expected) and all(
        np.allclose(one, two, rtol=0, atol=1e-5 * np.abs(two).max()) for one, two in zip(found, expected, strict=True)
    )


def fake(model_sha: str, encode: Handler) -> web.Application:
    """An encoder that looks well and answers /encode as it is told."""

    async def info(request: web.Request) -> web.Response:
        return web.json_response({"encoder_only": True, "model_sha": model_sha})

    app = web.Application(client_max_size=1 << 26)
    app.router.add_get("/server_info", info)
    app.router.add_post("/encode", encode)
    return app


@pytest.mark.parametrize("way", ["zmq_to_scheduler", "tcp", "shm"])
def test_images_arrive_in_one_transfer_and_in_their_order(
    resolved: ResolvedModel, vision: VisionShape, way: str
) -> None:
    async def run() -> None:
        async with bench(resolved, vision) as made:
            receiver, sender = ways(vision, way)
            name = way if way.startswith("zmq") else "mooncake"
            encoder = made.encoder(name, sender)
            pool = made.pool([await made.serve(encoder_app(encoder))], receiver)
            for seeds in ((1, 2, 1, 3), (3, 4)):
                images = images_of(*seeds)
                assert same(await pool.fetch(images), made.expected(images))
            many = [images_of(*range(seed, seed + 6)) for seed in range(10, 22)]  # more than there is room for at once

            async def is_right(images: list[RequestImage]) -> bool:
                return same(await pool.fetch(images), made.expected(images))

            assert all(await asyncio.gather(*(is_right(images) for images in many)))
            assert made.count("mm_encoder_retried_images") == 0

    asyncio.run(run())


def ways(shape: VisionShape, way: str) -> tuple[Receiver, Sender]:
    if way == "zmq_to_scheduler":
        return ZmqReceiver(shape, "127.0.0.1"), ZmqSender()
    settings = TransferSettings()
    ends = [
        open_endpoint(way, host="127.0.0.1", device="", settings=settings, environ=dict(os.environ)).endpoint
        for _ in range(2)
    ]
    return MemoryReceiver(shape, ends[0], settings), MemorySender(shape, ends[1], settings)


def test_what_an_encoder_owes_is_asked_of_another(resolved: ResolvedModel, vision: VisionShape) -> None:
    async def run() -> None:
        async with bench(resolved, vision) as made:
            hangs = asyncio.Event()

            async def stand_still(request: web.Request) -> web.StreamResponse:
                await request.read()
                hangs.set()
                await asyncio.sleep(60)
                return web.Response()

            first = await made.serve(fake(resolved.model_sha, stand_still))
            second = await made.serve(encoder_app(made.encoder("zmq_to_scheduler", ZmqSender())))
            pool = made.pool([first, second], ZmqReceiver(vision, "127.0.0.1"))
            images = images_of(1, 2)
            asked = asyncio.create_task(pool.fetch(images))
            await hangs.wait()
            assert [one.images for one in pool.state()] == [2, 0]
            await made.stop_server(0)  # the connection breaks
            assert same(await asked, made.expected(images))
            assert [one.alive for one in pool.state()] == [False, True]
            assert made.count("mm_encoder_retried_images") == 2

    asyncio.run(run())


def test_an_encoder_that_answers_no_health_check_is_left(
    resolved: ResolvedModel, vision: VisionShape, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "_CHECK_S", 0.02)
    monkeypatch.setattr(pool_module, "_CHECK_TIMEOUT_S", 0.1)

    async def run() -> None:
        async with bench(resolved, vision) as made:
            never = asyncio.Event()

            async def stand_still(request: web.Request) -> web.StreamResponse:
                await never.wait()
                return web.Response()

            app = web.Application()
            app.router.add_route("*", "/{path:.*}", stand_still)
            urls = [await made.serve(app), await made.serve(encoder_app(made.encoder("zmq_to_scheduler", ZmqSender())))]
            pool = made.pool(urls, ZmqReceiver(vision, "127.0.0.1"))
            images = images_of(1)
            assert same(await pool.fetch(images), made.expected(images))
            assert "TimeoutError" in pool.state()[0].problem
            never.set()

    asyncio.run(run())


def test_what_an_encoder_fails_at_is_tried_on_each_and_then_refused(
    resolved: ResolvedModel, vision: VisionShape
) -> None:
    async def run() -> None:
        async with bench(resolved, vision) as made:
            calls = 0

            async def fail(request: web.Request) -> web.StreamResponse:
                nonlocal calls
                calls += 1
                return web.json_response({"error": {"message": "It failed."}}, status=500)

            urls = [await made.serve(fake(resolved.model_sha, fail)) for _ in range(2)]
            pool = made.pool(urls, ZmqReceiver(vision, "127.0.0.1"))
            with pytest.raises(PeerError, match="500: It failed"):
                await pool.fetch(images_of(1))
            assert calls == 2
            assert all(one.alive for one in pool.state())

    asyncio.run(run())


def test_without_an_encoder_the_error_says_why(
    resolved: ResolvedModel, vision: VisionShape, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "_CHECK_S", 0.02)
    monkeypatch.setattr(pool_module, "_NONE_LEFT_S", 0.3)

    async def run() -> None:
        async with bench(resolved, vision) as made:
            other = made.encoder("zmq_to_scheduler", ZmqSender())
            url = await made.serve(encoder_app(other))
            app = fake("another", _never)
            urls = [await made.serve(app), "http://127.0.0.1:9", url + "/nowhere"]
            pool = made.pool(urls, ZmqReceiver(vision, "127.0.0.1"))
            while any(one.alive for one in pool.state()):  # noqa: ASYNC110 (health checks end on their own)
                await asyncio.sleep(0.01)
            with pytest.raises(PeerError) as caught:
                await pool.fetch(images_of(1))
            for words in ("another model", "no answer", "404"):
                assert words in str(caught.value)

    asyncio.run(run())


async def _never(request: web.Request) -> web.StreamResponse:
    raise AssertionError


def test_a_broken_image_is_refused_at_once_by_its_own_name(resolved: ResolvedModel, vision: VisionShape) -> None:
    async def run() -> None:
        async with bench(resolved, vision) as made:
            url = await made.serve(encoder_app(made.encoder("zmq_to_scheduler", ZmqSender())))
            pool = made.pool([url], ZmqReceiver(vision, "127.0.0.1"))
            broken = RequestImage.of(png(picture(1, 300, 300))[:-200], "messages[0].content[1].image_url.url")
            with pytest.raises(RequestError, match=r"^messages\[0\].content\[1\].image_url.url = .*broken"):
                await pool.fetch([*images_of(1), broken])
            assert pool.state()[0].alive

    asyncio.run(run())


def test_an_image_is_encoded_once_for_all_who_wait(resolved: ResolvedModel, vision: VisionShape) -> None:
    async def run() -> None:
        async with bench(resolved, vision) as made:
            batches: list[int] = []
            store = EmbeddingStore(vision, 1 << 20)
            encoder = load_encoder(resolved.directory, vision)
            encoding = Encoding(vision, lambda: encoder, store, lambda images, seconds: batches.append(images))
            source = ImageSource(store, OwnEncoder(encoding))
            images = images_of(1, 2, 1)
            known = await asyncio.gather(*(source.bring(images) for _ in range(4)))
            assert known == [0] * 4
            assert sum(batches) == 2
            assert await source.bring(images) == 3
            assert same([row for one in images if (row := store.get(one.key)) is not None], made.expected(images))
            await source.stop()

    asyncio.run(run())


def test_who_leaves_does_not_spoil_it_for_others(resolved: ResolvedModel, vision: VisionShape) -> None:
    async def run() -> None:
        async with bench(resolved, vision) as made:
            url = await made.serve(encoder_app(made.encoder("zmq_to_scheduler", ZmqSender())))
            store = EmbeddingStore(vision, 1 << 20)
            receiver = ZmqReceiver(vision, "127.0.0.1")
            source = ImageSource(store, PooledEncoders(lambda: made.pool([url], receiver)))
            images = images_of(1)
            first, second = (asyncio.create_task(source.bring(images)) for _ in range(2))
            await asyncio.sleep(0)
            first.cancel()
            assert await second == 0
            assert store.missing([images[0].key]) == []
            assert made.count("mm_encoder_images") == 1

    asyncio.run(run())


def test_an_encode_call_is_checked(resolved: ResolvedModel, vision: VisionShape) -> None:
    async def run() -> None:
        async with bench(resolved, vision) as made:
            encoder = made.encoder("zmq_to_scheduler", ZmqSender())
            good: dict[str, Any] = {
                "model_sha": resolved.model_sha,
                "transfer": {"backend": "zmq_to_scheduler", "endpoint": "tcp://127.0.0.1:9", "name": "0" * 32},
                "images": [{"data": "AAAA"}],
            }
            for changes, field in (
                ({"more": 1}, "more"),
                ({"model_sha": "x"}, "model_sha"),
                ({"transfer": 1}, "transfer"),
                ({"transfer": {"backend": "mooncake"}}, "transfer.backend"),
                ({"images": []}, "images"),
                ({"images": [1]}, "images[0]"),
                ({"images": [{"data": "*"}]}, "images[0].data"),
                ({}, "images[0]"),
            ):
                with pytest.raises(RequestError) as caught:
                    await encoder.encode({**good, **changes})
                assert caught.value.field == field

    asyncio.run(run())


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (404, '{"error": "no such page"}', "404: no such page"),
        (400, '{"detail": "Bad Request"}', "400"),
        (400, '{"detail": {"about": "call"}, "error": {"message": 5}}', "400: 5"),
        (500, "[1]", "500"),
        (501, "<html>", "501"),
        (200, "<html>", "no encoder's answer"),
        (200, "[" * 5000, "no encoder's answer"),
        (200, '{"ok": true}', "no encoder's answer"),
    ],
)
def test_what_answers_and_is_no_encoder_is_said(
    resolved: ResolvedModel, vision: VisionShape, status: int, body: str, says: str
) -> None:
    async def run() -> None:
        async with bench(resolved, vision) as made:

            async def answer(request: web.Request) -> web.Response:
                return web.Response(body=body, status=status)

            url = await made.serve(fake(resolved.model_sha, answer))
            pool = made.pool([url], ZmqReceiver(vision, "127.0.0.1"))
            with pytest.raises(PeerError) as caught:
                await pool.fetch(images_of(1))
            assert says in str(caught.value)
            assert url in str(caught.value)
            assert str(caught.value).endswith("with --encoder-only and this worker's model.")

    asyncio.run(run())


def test_whoever_serves_another_thing_there_is_left(
    resolved: ResolvedModel, vision: VisionShape, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "_CHECK_S", 0.02)

    async def run() -> None:
        async with bench(resolved, vision) as made:

            async def page(request: web.Request) -> web.Response:
                return web.Response(text="<html>", status=int(request.path.split("/")[1]))

            app = web.Application()
            app.router.add_get("/{path:.*}", page)
            url = await made.serve(app)
            pool = made.pool([f"{url}/200", f"{url}/401", f"{url}/404"], ZmqReceiver(vision, "127.0.0.1"))
            while any(one.alive for one in pool.state()):  # noqa: ASYNC110 (health checks end on their own)
                await asyncio.sleep(0.01)
            first, second, third = (one.problem for one in pool.state())
            assert (first, third) == (
                "it is no encoder; start it with --encoder-only",
                "it answers 404 to /server_info",
            )
            assert "--api-key" in second

    asyncio.run(run())
