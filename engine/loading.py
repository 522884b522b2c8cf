"""Everything heavy that a worker holds before it serves: model, tokenizer, weights, KV memory, transport.

Called once by `serve`; imports torch. Each phase is timed by the stopwatch that comes in.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from .config import Environment, Mode, ServerConfig
from .errors import ConfigError
from .execution import AUTO_KV_DTYPE, DTYPES, open_cpu_executor
from .gpu.placement import device_of
from .http.port import ModelCard
from .kv import KVCache, bounce_pages_of
from .log import Stopwatch, record
from .model.executor import Executor, TokenSpan
from .model.store import ResolvedModel, resolve_model
from .progress_log import ProgressLog
from .text.tokenizer import Tokenizer
from .transfer.api import TransferSettings
from .transfer.select import SHARED_MEMORY, Selection, open_endpoint
from .vision.checkpoint import has_vision_part

if TYPE_CHECKING:
    from .parallel.first_rank import FirstRank
    from .parallel.node import NodeRanks
    from .vision.opening import Images

__all__ = ["Loaded", "ProgressLog", "load", "open_transport"]


def _card(config: ServerConfig, model: ResolvedModel) -> ModelCard:
    shape = model.shape
    pool = config.max_total_tokens // config.page_size * config.page_size
    if config.context_length is not None and config.context_length > shape.context_length:
        is_window = shape.context_length == shape.sliding_window
        made = "is served up to its sliding window of" if is_window else "was made for"
        problem = f"the model {made} {shape.context_length} tokens"
        raise ConfigError("--context-length", config.context_length, problem, f"use at most {shape.context_length}")
    return ModelCard(
        served_name=config.served_model_name or model.name,
        # sglang-router takes the tokenizer from here, so it must be a directory with one.
        path=str(model.directory if Path(model.source).is_file() else model.source),
        tokenizer_path=str(model.tokenizer_json.parent),
        architectures=(shape.architecture,),
        model_type=shape.architecture.removesuffix("ForCausalLM").lower(),
        context_length=min(config.context_length or shape.context_length, shape.context_length, pool),
        vocab_size=shape.vocab,
        eos_ids=shape.eos_ids,
    )


def _read_template(config: ServerConfig, model: ResolvedModel) -> str | None:
    if not config.chat_template:
        return model.chat_template
    try:
        return Path(config.chat_template).read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise ConfigError("--chat-template", config.chat_template, f"cannot be read ({error})", "give a file") from None


def _warm_up(executor: Executor, kv: KVCache) -> None:
    """Runs a prompt and a token through slot 0: the first pass maps the weights and sets up the kernels."""
    with torch.inference_mode():
        executor.forward([TokenSpan([0] * 8, 0, 0, logits=True)], kv)
        executor.forward([TokenSpan([0], 8, 0, logits=True)], kv)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A worker's parts, warm and ready to serve.

    Attributes:
        config: as given, with `dtype` and `kv_cache_dtype` resolved.
        selection: the transport; None on a unified worker.
        ranks: the first rank of a worker of several; None where there is but one.
        images: what it has for images; None where the model takes text alone.
    """

    config: ServerConfig
    model: ResolvedModel
    card: ModelCard
    tokenizer: Tokenizer
    executor: Executor
    kv: KVCache
    settings: TransferSettings
    selection: Selection | None
    ranks: FirstRank | None = None
    images: Images | None = None


def open_transport(config: ServerConfig, environment: Environment, settings: TransferSettings) -> Selection:
    """Opens the endpoint of a rank, with nothing registered yet; says which transport it is.

    Raises:
        TransferError: the transport, and plain sockets in its place, cannot be opened.
    """
    selection = open_endpoint(
        config.disaggregation_transfer_backend,
        host=config.host,
        device=config.disaggregation_ib_device,
        settings=settings,
        environ=environment.process,
        mooncake=environment.mooncake,
        port=config.port,
        faults=environment.faulty_transport,
    )
    record("transport", requested=selection.requested, used=selection.used, notice=selection.notice)
    return selection


def load(config: ServerConfig, environment: Environment, watch: Stopwatch, ranks: NodeRanks | None = None) -> Loaded:
    """Fetches what is missing, loads it and warms it up.

    Args:
        ranks: the other ranks of this node; None for a worker of one.

    Raises:
        PdpanelError: the model, the memory or the transport cannot be had.
    """
    mode, device, given = config.disaggregation_mode, device_of(config), config
    model = resolve_model(config.model_path, environment, ProgressLog())
    watch.lap("resolve model")
    kv_dtype = AUTO_KV_DTYPE if config.kv_cache_dtype == "auto" else config.kv_cache_dtype
    config = replace(config, kv_cache_dtype=kv_dtype)
    card = _card(config, model)
    if model.shape.context_length == model.shape.sliding_window:
        notice = "each token looks back over the whole context, which is exact up to the model's sliding window"
        record("context", tokens=card.context_length, sliding_window=model.shape.sliding_window, notice=notice)
    tokenizer = Tokenizer.load(model.tokenizer_json, _read_template(config, model))
    watch.lap("tokenizer")
    settings = TransferSettings(queues=environment.queue_size, threads=environment.thread_pool_size)
    images = None
    if has_vision_part(model.directory) or config.language_only:
        from .vision.opening import open_images  # only here: text models need nothing of it

        images = open_images(config, model, tokenizer, environment, settings, device)
        card = replace(card, images=images.inputs)
        watch.lap("images")
    if ranks is not None:
        from .parallel.first_rank import open_first_rank  # only here: workers of one rank need nothing of it

        first = open_first_rank(
            given,
            environment,
            model,
            card.context_length,
            ranks,
            watch,
            lambda settings: open_transport(given, environment, settings),
            images.store if images is not None else None,
        )
        memory = first.kv, first.settings, first.selection
        return Loaded(first.config, model, card, tokenizer, first.executor, *memory, first, images)
    if device.type != "cpu":
        from .gpu.opening import open_gpu  # only here: it would cost every start on a CPU

        selection = open_transport(given, environment, settings) if mode is not Mode.UNIFIED else None
        watch.lap("transport")
        parts = open_gpu(given, model.shape, model.directory, device, selection)
        record("executor", **asdict(parts.executor.info))
        watch.lap("weights")
        if selection is not None:
            selection = replace(selection, staged=parts.staged)
        card = _card(parts.config, model)
        return Loaded(parts.config, model, card, tokenizer, parts.executor, parts.kv, settings, selection)
    executor = (
        images.open_executor(config, model.shape, card.context_length)
        if images is not None
        else open_cpu_executor(
            config, model.shape, model.directory, card.context_length, environment.cache_dir, ProgressLog()
        )
    )
    record("executor", **asdict(executor.info))
    pages = config.max_total_tokens // config.page_size
    kv = KVCache(
        model.shape,
        pages=pages,
        page_size=config.page_size,
        dtype=DTYPES[kv_dtype],
        staging=mode is not Mode.UNIFIED,
        shared=config.disaggregation_transfer_backend in SHARED_MEMORY,
        bounce_pages=bounce_pages_of(pages) if mode is Mode.PREFILL else 0,
    )
    watch.lap("weights")
    selection = None
    if mode is not Mode.UNIFIED:
        selection = open_transport(config, environment, settings)
        selection.endpoint.register(kv.staging_address, kv.staging_bytes, kv.staging_file)
        watch.lap("transport")
    _warm_up(executor, kv)
    watch.lap("warm-up")
    dtype = executor.info.weights if config.dtype == "auto" else config.dtype
    config = replace(config, dtype=dtype if dtype in DTYPES else "float32")
    return Loaded(config, model, card, tokenizer, executor, kv, settings, selection, images=images)
