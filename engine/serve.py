"""From a configuration to a serving worker: model, memory, transport, warm-up, HTTP.

The heavy half of `launch_server`; imports torch. Runs until SIGTERM or SIGINT.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
from dataclasses import replace
from pathlib import Path

import torch
from aiohttp import web
from prometheus_client import CollectorRegistry

from .config import Environment, Mode, ServerConfig
from .cores import build_core
from .decode_core import DecodeCore
from .errors import ConfigError
from .exchange import DecodeExchange, PrefillExchange
from .http.app import build_app, make_runner
from .http.port import ModelCard
from .kv import KVCache
from .log import Stopwatch, record
from .metrics import EngineMetrics
from .model.llama import Llama, TokenSpan
from .model.progress import Progress
from .model.store import ResolvedModel, resolve_model
from .model.weights import load_weights
from .peer.client import PeerClient
from .peer.messages import Geometry, Hello
from .peer.server import PeerServer, topology
from .prefill_core import PrefillCore
from .text.tokenizer import Tokenizer
from .transfer.api import TransferSettings
from .transfer.select import Selection, open_endpoint
from .worker import Worker

__all__ = ["serve"]

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# On a CPU, fp32 prompts are 1.5 to 4 times as fast as bfloat16 ones without a BF16 instruction set, while KV in
# bfloat16 halves memory and wire at little cost in attention (docs/architecture.md has the measurements).
_AUTO_DTYPE, _AUTO_KV_DTYPE = "float32", "bfloat16"


def _card(config: ServerConfig, model: ResolvedModel) -> ModelCard:
    shape = model.shape
    pool = config.max_total_tokens // config.page_size * config.page_size
    if config.context_length is not None and config.context_length > shape.context_length:
        raise ConfigError(
            "--context-length",
            config.context_length,
            f"the model was made for {shape.context_length} tokens",
            f"use at most {shape.context_length}",
        )
    return ModelCard(
        served_name=config.served_model_name or model.name,
        path=str(model.source),
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


def _warm_up(llama: Llama, kv: KVCache) -> None:
    """Runs a prompt and a token through slot 0: the first pass maps the weights and sets up the kernels."""
    with torch.inference_mode():
        llama.forward([TokenSpan([0] * 8, 0, 0, logits=True)], kv)
        llama.forward([TokenSpan([0], 8, 0, logits=True)], kv)


def serve(
    config: ServerConfig,
    environment: Environment,
    watch: Stopwatch,
    listener: socket.socket,
    bootstrap: socket.socket | None,
) -> int:
    """Loads the model and serves; returns the exit code.

    Args:
        watch: times the phases of the start.
        listener: bound socket of the HTTP API.
        bootstrap: bound socket of the bootstrap port, on a prefill worker.

    Raises:
        PdpanelError: the worker cannot start.
    """
    mode = config.disaggregation_mode
    model = resolve_model(config.model_path, environment, _ProgressLog())
    watch.lap("resolve model")
    dtype = _AUTO_DTYPE if config.dtype == "auto" else config.dtype
    kv_dtype = _AUTO_KV_DTYPE if config.kv_cache_dtype == "auto" else config.kv_cache_dtype
    config = replace(config, dtype=dtype, kv_cache_dtype=kv_dtype)
    card = _card(config, model)
    tokenizer = Tokenizer.load(model.tokenizer_json, _read_template(config, model))
    watch.lap("tokenizer")
    llama = Llama(model.shape, load_weights(model.directory, model.shape, _DTYPES[dtype]), card.context_length)
    pages = config.max_total_tokens // config.page_size
    kv = KVCache(
        model.shape,
        pages=pages,
        page_size=config.page_size,
        dtype=_DTYPES[kv_dtype],
        staging=mode is not Mode.UNIFIED,
    )
    watch.lap("weights")
    settings = TransferSettings()
    selection = None
    if mode is not Mode.UNIFIED:
        selection = open_endpoint(
            config.disaggregation_transfer_backend,
            host=config.host,
            device=config.disaggregation_ib_device,
            settings=settings,
            environ=os.environ,
        )
        selection.endpoint.register(kv.staging_address, kv.staging_bytes)
        record("transport", requested=selection.requested, used=selection.used, notice=selection.notice)
        watch.lap("transport")
    _warm_up(llama, kv)
    watch.lap("warm-up")
    return asyncio.run(
        _serve(
            config,
            environment,
            model,
            card,
            tokenizer,
            llama,
            kv,
            selection,
            settings,
            watch,
            listener,
            bootstrap,
        )
    )


def _hello(config: ServerConfig, model: ResolvedModel, selection: Selection) -> Hello:
    shape = model.shape
    return Hello(
        role=config.disaggregation_mode.role,
        address=f"{config.host}:{config.port}",
        epoch=secrets.randbits(62),
        geometry=Geometry(
            model_sha=model.model_sha,
            dtype=config.kv_cache_dtype,
            page_size=config.page_size,
            layers=shape.layers,
            kv_heads=shape.kv_heads,
            head_dim=shape.head_dim,
        ),
        endpoint=selection.endpoint.describe(),
    )


async def _serve(
    config: ServerConfig,
    environment: Environment,
    model: ResolvedModel,
    card: ModelCard,
    tokenizer: Tokenizer,
    llama: Llama,
    kv: KVCache,
    selection: Selection | None,
    settings: TransferSettings,
    watch: Stopwatch,
    listener: socket.socket,
    bootstrap: socket.socket | None,
) -> int:
    core = build_core(config, environment, settings)
    metrics = EngineMetrics(CollectorRegistry(), card.served_name, config.disaggregation_mode.role)
    worker = Worker(config, card, tokenizer, metrics, core, llama, kv, selection)
    if selection is not None:
        await _open_exchange(worker, kv, selection, settings, _hello(config, model, selection), bootstrap)
    worker.start()
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    runner = make_runner(build_app(worker), shutdown_timeout_s=2.0)
    await runner.setup()
    await web.SockSite(runner, listener, backlog=1024).start()
    watch.lap("http")
    worker.startup = dict(watch.phases)
    record(
        "ready",
        address=f"{config.host}:{config.port}",
        role=config.disaggregation_mode.role,
        model=card.served_name,
    )
    await ending.wait()
    record("stopping", requests=worker.open_requests)
    await worker.stop()
    await runner.cleanup()
    return 1 if worker.dead else 0


async def _open_exchange(
    worker: Worker,
    kv: KVCache,
    selection: Selection,
    settings: TransferSettings,
    hello: Hello,
    bootstrap: socket.socket | None,
) -> None:
    config, core = worker.config, worker.core
    if isinstance(core, PrefillCore):
        assert bootstrap is not None
        exchange = PrefillExchange(
            core, worker.post, kv, selection.endpoint, worker.metrics, settings.max_segment_bytes
        )
        exchange.server = PeerServer(hello, topology(hello, config.port), exchange)
        worker.exchange = exchange
        await exchange.server.start(bootstrap)
    elif isinstance(core, DecodeCore):
        decode = DecodeExchange(core, worker.post, kv, worker.metrics)
        decode.client = PeerClient(hello, decode)
        worker.exchange = decode
        await decode.client.start()
