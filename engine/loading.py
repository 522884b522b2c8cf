"""Everything heavy that a worker holds before it serves: model, tokenizer, weights, KV memory, transport.

Called once by `serve`; imports torch. Each phase is timed by the stopwatch that comes in.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from .config import Environment, Mode, ServerConfig
from .errors import ConfigError
from .execution import AUTO_KV_DTYPE, DTYPES, open_cpu_executor
from .gpu.placement import device_of
from .http.port import ModelCard
from .kv import KVCache
from .log import Stopwatch, record
from .model.executor import Executor, TokenSpan
from .model.progress import Progress
from .model.store import ResolvedModel, resolve_model
from .text.tokenizer import Tokenizer
from .transfer.api import TransferSettings
from .transfer.select import SHARED_MEMORY, Selection, open_endpoint

__all__ = ["Loaded", "load"]


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


class _ProgressLog:
    """Logs the fetching and converting of a model, a line per stage and per 5 % of it."""

    def __init__(self) -> None:
        self._last = ("", -1)

    def __call__(self, progress: Progress) -> None:
        share = progress.done * 20 // progress.total if progress.total else 0
        if (progress.stage, share) != self._last:
            self._last = (progress.stage, share)
            record("progress", stage=progress.stage, done=progress.done, total=progress.total)


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
    """

    config: ServerConfig
    model: ResolvedModel
    card: ModelCard
    tokenizer: Tokenizer
    executor: Executor
    kv: KVCache
    settings: TransferSettings
    selection: Selection | None


def _open_transport(config: ServerConfig, environment: Environment, settings: TransferSettings) -> Selection:
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


def load(config: ServerConfig, environment: Environment, watch: Stopwatch) -> Loaded:
    """Fetches what is missing, loads it and warms it up.

    Raises:
        PdpanelError: the model, the memory or the transport cannot be had.
    """
    mode, device, given = config.disaggregation_mode, device_of(config), config
    model = resolve_model(config.model_path, environment, _ProgressLog())
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
    if device.type != "cpu":
        from .gpu.opening import open_gpu  # only here: it would cost every start on a CPU

        selection = _open_transport(given, environment, settings) if mode is not Mode.UNIFIED else None
        watch.lap("transport")
        parts = open_gpu(given, model.shape, model.directory, device, selection)
        record("executor", **asdict(parts.executor.info))
        watch.lap("weights")
        if selection is not None:
            selection = replace(selection, staged=parts.staged)
        card = _card(parts.config, model)
        return Loaded(parts.config, model, card, tokenizer, parts.executor, parts.kv, settings, selection)
    executor = open_cpu_executor(
        config, model.shape, model.directory, card.context_length, environment.cache_dir, _ProgressLog()
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
    )
    watch.lap("weights")
    selection = None
    if mode is not Mode.UNIFIED:
        selection = _open_transport(config, environment, settings)
        selection.endpoint.register(kv.staging_address, kv.staging_bytes, kv.staging_file)
        watch.lap("transport")
    _warm_up(executor, kv)
    watch.lap("warm-up")
    dtype = executor.info.weights if config.dtype == "auto" else config.dtype
    config = replace(config, dtype=dtype if dtype in DTYPES else "float32")
    return Loaded(config, model, card, tokenizer, executor, kv, settings, selection)
