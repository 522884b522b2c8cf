"""What a worker of a LLaVA model has beside that of its text model: inputs, store, the source of embeddings, executor.

Called by `loading` and `serve`, one line each. Refuses by name what is not served together with images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from prometheus_client import CollectorRegistry

from ..config import Environment, Mode, ServerConfig
from ..errors import ConfigError
from ..execution import DTYPES
from ..http.port import ModelCard
from ..log import record
from ..model.executor import Executor
from ..model.shape import ModelShape
from ..model.store import ResolvedModel
from ..model.weights import load_weights
from ..text.tokenizer import Tokenizer
from ..transfer.api import Endpoint, TransferSettings
from ..transfer.select import open_endpoint
from .checkpoint import open_vision
from .embeddings import MOST_ROWS, EmbeddingStore
from .encoder import ImageEncoder, load_encoder
from .encoding import Encoding
from .executor import ImageLlama
from .inputs import ImageInputs
from .memory_way import MemoryReceiver
from .metrics import LanguageMetrics
from .pool import EncoderPool
from .remote import RemoteImages
from .shape import VisionShape
from .source import EmbeddingSource, ImageSource, OwnEncoder, PooledEncoders
from .ways import MEMORY, Receiver, resolve_backend
from .worker import ImageWorker
from .zmq_way import ZmqReceiver

__all__ = ["Images", "open_area_endpoint", "open_images", "vision_of"]

_WHY_TORCH = "the native kernels take token ids alone, and this model's prompts hold embeddings of images"


def vision_of(model: ResolvedModel, flag: str) -> VisionShape:
    """Returns the vision part of a model that must have one.

    Args:
        flag: what asks for it.

    Raises:
        ConfigError: it takes text alone.
    """
    shape = open_vision(model.directory)
    if shape is None:
        problem, remedy = f"the model takes no images, and {flag} is given", f"give a LLaVA model, or leave {flag} out"
        raise ConfigError("--model-path", str(model.source), problem, remedy)
    return shape


def open_area_endpoint(config: ServerConfig, environment: Environment, settings: TransferSettings) -> Endpoint:
    """Returns the endpoint through which embeddings are written, which carries nothing else.

    Raises:
        TransferError: it cannot be opened.
    """
    selection = open_endpoint(
        config.disaggregation_transfer_backend,
        host=config.host,
        device=config.disaggregation_ib_device,
        settings=settings,
        environ=environment.process,
        mooncake=environment.mooncake,
        port=config.port,
    )
    record("embedding_transport", requested=selection.requested, used=selection.used, notice=selection.notice)
    return selection.endpoint


@dataclass(frozen=True, slots=True)
class Images:
    """What a worker has for images.

    Attributes:
        encoder: the worker's own; None where it is loaded with the first image, or encoders are asked.
        endpoint: for embeddings that encoders write; None for any other way.
    """

    shape: VisionShape
    inputs: ImageInputs
    store: EmbeddingStore
    model: ResolvedModel
    environment: Environment
    settings: TransferSettings
    encoder: ImageEncoder | None
    endpoint: Endpoint | None

    def open_executor(self, config: ServerConfig, shape: ModelShape, context_length: int) -> Executor:
        """Returns what computes the text model: torch, with embeddings in place of images' ids.

        Raises:
            ConfigError: the weights are damaged.
        """
        dtype = DTYPES["float32" if config.dtype == "auto" else config.dtype]
        if config.threads:
            torch.set_num_threads(config.threads)
        executor = ImageLlama(shape, load_weights(self.model.directory, shape, dtype), context_length, self.store)
        executor.info = replace(executor.info, reason=_WHY_TORCH)
        return executor

    def worker(self, config: ServerConfig, card: ModelCard, registry: CollectorRegistry) -> Callable[..., ImageWorker]:
        """Returns what makes the worker, from `Worker`'s arguments; on the event loop's thread."""
        metrics = LanguageMetrics(registry, card.served_name, config.disaggregation_mode.role)
        source: EmbeddingSource
        if config.language_only:
            source = PooledEncoders(partial(self._pool, config, metrics))
        else:
            source = OwnEncoder(Encoding(self.shape, self._load, self.store))
        return partial(ImageWorker, ImageSource(self.store, source), metrics)

    def _load(self) -> ImageEncoder:
        return self.encoder or load_encoder(self.model.directory, self.shape)

    def _pool(self, config: ServerConfig, metrics: LanguageMetrics) -> EncoderPool:
        receiver: Receiver
        if self.endpoint is None:
            receiver = ZmqReceiver(self.shape, config.host)
        else:
            receiver = MemoryReceiver(self.shape, self.endpoint, self.settings, self.store.capacity)
        return EncoderPool(
            config.encoder_urls,
            receiver,
            metrics,
            api_key=config.api_key,
            model_sha=self.model.model_sha,
            timeout_s=self.environment.encoder_timeout_s,
        )


def open_images(
    config: ServerConfig,
    model: ResolvedModel,
    tokenizer: Tokenizer,
    environment: Environment,
    settings: TransferSettings,
    device: torch.device,
) -> Images:
    """Returns what a worker has for images.

    Raises:
        ConfigError: the model takes text alone, something is asked for that is not served together with images, or
            the vision part is damaged.
    """
    shape = vision_of(model, "--language-only")
    _check(config, model.directory, shape, device)
    token = shape.image_token
    text = tokenizer.token_text(token)
    if not text:
        problem = f"its tokenizer has no token {token}, which stands for images"
        raise ConfigError("--model-path", str(model.source), problem, "use a model with its own tokenizer.json")
    store = EmbeddingStore(shape, environment.image_cache_bytes, config.limit_mm_data_per_request)
    inputs = ImageInputs(
        token=token,
        text=text,
        rows=shape.rows,
        most=config.limit_mm_data_per_request,
        ids=store.ids,
        remote=RemoteImages() if config.allow_remote_images else None,
    )
    asks = config.language_only
    # A decode worker encodes only after a sequence has lost its slot.
    own = not asks and config.disaggregation_mode is not Mode.DECODE
    by_memory = asks and resolve_backend(config.encoder_transfer_backend) == MEMORY
    record("images", tower=shape.tower, tokens=shape.rows, kept=store.capacity, encoders=len(config.encoder_urls))
    return Images(
        shape=shape,
        inputs=inputs,
        store=store,
        model=model,
        environment=environment,
        settings=settings,
        encoder=load_encoder(model.directory, shape) if own else None,
        endpoint=open_area_endpoint(config, environment, settings) if by_memory else None,
    )


def _check(config: ServerConfig, directory: Path, shape: VisionShape, device: torch.device) -> None:
    if device.type != "cpu":
        problem = "text models of image models compute on CPUs alone"
        raise ConfigError("--device", config.device, problem, "give --device cpu; encoders may use the GPU")
    if shape.rows > MOST_ROWS:
        problem = f"an image of it has {shape.rows} tokens"
        raise ConfigError("--model-path", str(directory), problem, f"use a model with at most {MOST_ROWS}")
