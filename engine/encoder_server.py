"""An encoder worker (`--encoder-only`): images in, embeddings out, straight to the worker that asked.

`POST /encode` takes JSON with the images' files and says where their embeddings go; it answers when they were sent.
Beside it: /health, /server_info, /model_info, /metrics. No text model, no KV.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import Enum
from functools import partial
from typing import Any

import numpy as np
import torch
from aiohttp import web
from prometheus_client import CollectorRegistry

from .config import Environment, ServerConfig
from .errors import CapacityError, ConflictError, RequestError
from .gpu.placement import device_of
from .http.answer import body_of, json_response
from .http.app import make_runner, standard_layers
from .http.body import read_object
from .http.guard import AllowedHosts
from .http.values import Reader
from .loading import ProgressLog
from .log import Stopwatch, record
from .metrics import CONTENT_TYPE
from .model.store import ResolvedModel, resolve_model
from .service import Ending, listening
from .transfer.api import TransferSettings
from .vision.embeddings import EmbeddingStore, Rows
from .vision.encoder import load_encoder
from .vision.encoding import Encoding
from .vision.memory_way import MemorySender
from .vision.metrics import EncoderMetrics
from .vision.opening import open_area_endpoint, vision_of
from .vision.request_image import RequestImage
from .vision.shape import VisionShape
from .vision.ways import MEMORY, ZMQ, Sender, resolve_backend
from .vision.zmq_way import ZmqSender

__all__ = ["Encoder", "encoder_app", "serve_encoder"]

MAX_BODY_BYTES = 64 << 20
_MOST_IMAGES = 64
_MOST_SHOWN = 200  # of a value at fault; who asked has the rest
_FIELDS = frozenset({"images", "model_sha", "transfer"})
_SECRETS = frozenset({"api_key", "admin_api_key"})


@dataclass(slots=True)
class Encoder:
    """What an encoder worker has.

    Attributes:
        senders: by the backend that a call asks for.
        open_requests: calls that are not answered.
    """

    config: ServerConfig
    model: ResolvedModel
    shape: VisionShape
    store: EmbeddingStore
    encoding: Encoding
    senders: Mapping[str, Sender]
    metrics: EncoderMetrics
    startup: Mapping[str, float] = field(default_factory=dict)
    draining: bool = False
    open_requests: int = 0

    @property
    def name(self) -> str:
        """Under which the model is served."""
        return self.config.served_model_name or self.model.name

    async def encode(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Encodes the images of a call and sends their embeddings.

        Raises:
            PdpanelError: an image or the call is refused, or the embeddings cannot be sent.
        """
        began = time.perf_counter()
        self.open_requests += 1
        try:
            if self.draining:
                raise CapacityError("The encoder is about to end.")
            sender, target = self._transfer(body)
            images = await self._images(body.get("images"))
            cached = len(images) - len(self.store.missing(image.key for image in images))
            found = await self.encoding.encode(images)
            sent = await sender.send(target, found)
        except BaseException:
            self.metrics.failed()
            raise
        finally:
            self.open_requests -= 1
        seconds = time.perf_counter() - began
        self.metrics.request(seconds, len(images), cached, sent)
        return {"images": len(images), "cached": cached, "bytes": sent, "seconds": round(seconds, 6)}

    def _transfer(self, body: Mapping[str, Any]) -> tuple[Sender, Mapping[str, Any]]:
        if unknown := sorted(set(body) - _FIELDS):
            raise RequestError(unknown[0][:64], body[unknown[0]], "no such field", f"send {', '.join(sorted(_FIELDS))}")
        sha = body.get("model_sha")
        if sha != self.model.model_sha:
            problem = f"the encoder serves another model, {self.name}"
            raise ConflictError("model_sha", sha, problem, "start worker and encoder with the same --model-path")
        target = body.get("transfer")
        if not isinstance(target, Mapping):
            raise RequestError("transfer", target, "no object", 'send {"backend": ..., ...}')
        backend = target.get("backend")
        if not isinstance(backend, str) or backend not in self.senders:
            remedy = f"use {' or '.join(self.senders)}, or start the encoder with --encoder-transfer-backend {MEMORY}"
            raise RequestError("transfer.backend", backend, "the encoder has no such transport open", remedy)
        return self.senders[backend], target

    async def _images(self, given: object) -> list[RequestImage]:
        if not isinstance(given, list) or not 1 <= len(given) <= _MOST_IMAGES:
            raise RequestError("images", given, f"not a list of 1 to {_MOST_IMAGES} images", "send so many")
        return await asyncio.to_thread(lambda: [_image(f"images[{place}]", one) for place, one in enumerate(given)])

    async def stop(self) -> None:
        """Ends; what waits is given up."""
        await self.encoding.stop()
        for sender in self.senders.values():
            await sender.stop()


def _image(path: str, given: object) -> RequestImage:
    if not isinstance(given, Mapping) or not isinstance(given.get("data"), str):
        raise RequestError(path, given, "no image", 'send {"field": NAME, "data": BASE64}')
    try:
        data = base64.b64decode(given["data"], validate=True)
    except (binascii.Error, ValueError):
        raise RequestError(f"{path}.data", given["data"], "not base64", "send the file in base64") from None
    return RequestImage.of(data, Reader(given, path).text("field", "") or path)


async def _encode(encoder: Encoder, request: web.Request) -> web.StreamResponse:
    body = await read_object(request, most=MAX_BODY_BYTES)
    try:
        return json_response(await encoder.encode(body))
    except (ConflictError, CapacityError):
        raise
    except RequestError as error:
        about = "call" if error.field.split(".")[0] in _FIELDS else "image"
        detail = {
            "about": about,
            "field": error.field,
            "value": (error.value if isinstance(error.value, str) else repr(error.value))[:_MOST_SHOWN],
            "problem": error.problem,
            "remedy": error.remedy,
        }
        return json_response({**body_of(error), "detail": detail}, error.http_status)


async def _health(encoder: Encoder, request: web.Request) -> web.StreamResponse:
    if encoder.draining:
        raise CapacityError("The encoder is about to end.")
    return json_response({"status": "ok"})


async def _server_info(encoder: Encoder, request: web.Request) -> web.StreamResponse:
    config = encoder.config
    arguments = {one.name: getattr(config, one.name) for one in fields(config) if one.name not in _SECRETS}
    shape = encoder.shape
    return json_response(
        {
            **{name: value.value if isinstance(value, Enum) else value for name, value in arguments.items()},
            "served_model_name": encoder.name,
            "model_sha": encoder.model.model_sha,
            "role": "encoder",
            "startup": dict(encoder.startup),
            "startup_time": sum(encoder.startup.values()),
            "vision": {
                "tower": shape.tower,
                "image_size": shape.image_size,
                "tokens_per_image": shape.rows,
                "bytes_per_image": shape.image_bytes,
            },
            "transfers": list(encoder.senders),
            "images": {"waiting": encoder.encoding.waiting, "kept": len(encoder.store), "most": encoder.store.capacity},
        }
    )


async def _model_info(encoder: Encoder, request: web.Request) -> web.StreamResponse:
    return json_response(
        {
            "model_path": str(encoder.model.source),
            "served_model_name": encoder.name,
            "is_generation": False,
            "has_image_understanding": True,
        }
    )


async def _metrics(encoder: Encoder, request: web.Request) -> web.StreamResponse:
    body = encoder.metrics.render(encoder.encoding.waiting)
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})


_Route = Callable[[Encoder, web.Request], Awaitable[web.StreamResponse]]
_GETS: dict[str, _Route] = {
    "/health": _health,
    "/ready": _health,
    "/server_info": _server_info,
    "/get_server_info": _server_info,
    "/model_info": _model_info,
    "/get_model_info": _model_info,
    "/metrics": _metrics,
}


def encoder_app(encoder: Encoder) -> web.Application:
    """Returns the application of an encoder worker."""
    config = encoder.config
    hosts = AllowedHosts.of(config.host, config.port, config.allowed_hosts)
    layers = standard_layers(hosts, config.api_key, config.admin_api_key)
    app = web.Application(middlewares=layers, client_max_size=MAX_BODY_BYTES)
    for path, route in _GETS.items():
        app.router.add_get(path, partial(route, encoder))
    app.router.add_post("/encode", partial(_encode, encoder))
    return app


def serve_encoder(config: ServerConfig, environment: Environment, watch: Stopwatch, listener: socket.socket) -> int:
    """Loads the vision part of a model and serves it until SIGTERM or SIGINT; returns the exit code.

    Raises:
        PdpanelError: the encoder cannot start.
    """
    return asyncio.run(_serve(config, environment, watch, listener))


async def _serve(config: ServerConfig, environment: Environment, watch: Stopwatch, listener: socket.socket) -> int:
    encoder = await _open(config, environment, watch)
    ending = Ending()
    async with listening(make_runner(encoder_app(encoder), shutdown_timeout_s=2.0), listener, config):
        watch.lap("http")
        encoder.startup = dict(watch.phases)
        record("ready", address=f"{config.host}:{config.port}", role="encoder", model=encoder.name)
        await ending.drained(encoder, config.shutdown_grace_period_secs)
        await encoder.stop()
    return 0


async def _open(config: ServerConfig, environment: Environment, watch: Stopwatch) -> Encoder:
    model = await asyncio.to_thread(resolve_model, config.model_path, environment, ProgressLog())
    watch.lap("resolve model")
    shape = vision_of(model, "--encoder-only")
    if config.threads:
        torch.set_num_threads(config.threads)
    store = EmbeddingStore(shape, environment.image_cache_bytes)
    senders: dict[str, Sender] = {ZMQ: ZmqSender()}
    own: Callable[[Rows], Rows] = np.copy
    if resolve_backend(config.encoder_transfer_backend) == MEMORY:
        settings = TransferSettings(queues=environment.queue_size, threads=environment.thread_pool_size)
        endpoint = await asyncio.to_thread(open_area_endpoint, config, environment, settings)
        senders[MEMORY] = writer = MemorySender(shape, endpoint, settings, store.capacity)
        own = writer.own
    watch.lap("transport")
    metrics = EncoderMetrics(CollectorRegistry(), config.served_model_name or model.name)
    device = device_of(config)
    loaded = await asyncio.to_thread(load_encoder, model.directory, shape, device)
    encoding = Encoding(shape, lambda: loaded, store, metrics.batch, own)
    watch.lap("weights")
    await asyncio.to_thread(loaded.encode, _blank(shape))
    watch.lap("warm-up")
    record("encoder", tower=shape.tower, tokens=shape.rows, kept=store.capacity, device=str(device))
    return Encoder(config, model, shape, store, encoding, senders, metrics)


def _blank(shape: VisionShape) -> Sequence[np.ndarray[Any, np.dtype[np.float32]]]:
    return [np.zeros((3, shape.image_size, shape.image_size), np.float32)]
