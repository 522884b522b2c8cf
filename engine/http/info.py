"""What a worker tells about itself: health, model, arguments, load, metrics. All of it is GET.

Both generations of SGLang's names are served, because its routers and clients call either.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import asdict, fields
from enum import Enum
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from aiohttp import web

from ..config import Mode
from ..errors import CapacityError, NotFoundError
from ..metrics import CONTENT_TYPE
from ..request import GenerateRequest, SamplingParams
from ..statistics import EngineStatistics
from .answer import json_response
from .generation import Generation
from .intake import require_alive
from .port import EnginePort

__all__ = [
    "get_load",
    "health",
    "health_generate",
    "metrics",
    "model_by_name",
    "model_info",
    "models",
    "server_info",
]

_HEALTH_TIMEOUT_S = 20.0
_SECRETS = frozenset({"api_key", "admin_api_key"})


async def health(engine: EnginePort, request: web.Request) -> web.StreamResponse:
    """Answers 200 when the worker can take requests.

    Raises:
        CapacityError: it is starting, or its step loop has died.
    """
    require_alive(engine)
    return json_response({"status": "ok"})


async def health_generate(engine: EnginePort, request: web.Request) -> web.StreamResponse:
    """Generates one token on a unified worker; the halves of a pair cannot alone, and answer like /health.

    Raises:
        CapacityError: there is no token within 20 s.
    """
    require_alive(engine)
    if engine.config.disaggregation_mode is Mode.UNIFIED:
        sampling = SamplingParams(max_new_tokens=1, temperature=0.0)
        probe = GenerateRequest(f"health-{uuid.uuid4().hex}", (0,), sampling)
        try:
            async with asyncio.timeout(_HEALTH_TIMEOUT_S):
                await Generation(engine, probe).outcome()
        except TimeoutError as error:
            raise CapacityError(f"The worker made no token within {_HEALTH_TIMEOUT_S:g} s.") from error
    return json_response({"status": "ok"})


async def models(engine: EnginePort, request: web.Request) -> web.StreamResponse:
    """Answers GET /v1/models."""
    return json_response({"object": "list", "data": [_card(engine)]})


async def model_by_name(engine: EnginePort, request: web.Request) -> web.StreamResponse:
    """Answers GET /v1/models/NAME.

    Raises:
        NotFoundError: the worker serves another model.
    """
    name = request.match_info["name"]
    if name != engine.model.served_name:
        raise NotFoundError("model", name, "this worker does not serve it", f"ask for {engine.model.served_name!r}")
    return json_response(_card(engine))


def _card(engine: EnginePort) -> dict[str, Any]:
    return {
        "id": engine.model.served_name,
        "object": "model",
        "created": int(time.time()),
        "owned_by": "pdpanel",
        "root": engine.model.path,
        "parent": None,
        "max_model_len": engine.model.context_length,
    }


async def model_info(engine: EnginePort, request: web.Request) -> web.StreamResponse:
    """Answers GET /model_info."""
    model = engine.model
    return json_response(
        {
            "model_path": model.path,
            "served_model_name": model.served_name,
            "tokenizer_path": model.tokenizer_path,
            "is_generation": True,
            "preferred_sampling_params": None,
            "weight_version": "default",
            "load_format": "auto",
            "reasoning_parser": None,
            "tool_call_parser": None,
            "disaggregation_mode": engine.config.disaggregation_mode.value,
            "has_image_understanding": model.images is not None,
            "has_audio_understanding": False,
            "model_type": model.model_type,
            "architectures": list(model.architectures),
            "context_length": model.context_length,
            "vocab_size": model.vocab_size,
            "eos_token_ids": list(model.eos_ids),
        }
    )


async def server_info(engine: EnginePort, request: web.Request) -> web.StreamResponse:
    """Answers GET /server_info: SGLang's flat arguments, then pools, queues and the transfer."""
    config, model, now = engine.config, engine.model, engine.statistics()
    groups = now.groups or (now,)
    arguments = {
        field.name: _plain(getattr(config, field.name)) for field in fields(config) if field.name not in _SECRETS
    }
    return json_response(
        {
            **arguments,
            "model_path": model.path,
            "tokenizer_path": model.tokenizer_path,
            "served_model_name": model.served_name,
            "context_length": model.context_length,
            "pp_size": 1,
            "load_balance_method": config.balancing,
            "sizes": {**asdict(config.sizes), "nodes": config.nnodes},
            "ranks": [asdict(rank) for rank in now.ranks],
            "version": _version(),
            "startup": dict(now.startup),
            "startup_time": sum(now.startup.values()),
            "transfer": asdict(now.transfer) if now.transfer else None,
            "encoders": [asdict(encoder) for encoder in now.encoders],
            "executor": asdict(now.executor) if now.executor else None,
            "open": asdict(now.open),
            "pages": {"slot": asdict(now.slot), "staging": asdict(now.staging) if now.staging else None},
            "internal_states": [
                {
                    "num_running_reqs": group.running,
                    "num_queue_reqs": group.queued,
                    "num_prefill_bootstrap_queue_reqs": group.bootstrap_queue,
                    "num_prefill_inflight_queue_reqs": group.inflight_queue,
                    "num_decode_prealloc_queue_reqs": group.prealloc_queue,
                    "num_decode_transfer_queue_reqs": group.transfer_queue,
                    "num_used_tokens": group.used_tokens,
                    "max_total_num_tokens": group.max_total_tokens,
                    "last_gen_throughput": group.gen_throughput,
                    "effective_max_running_requests_per_dp": -(-config.max_running_requests // len(groups)),
                }
                for group in groups
            ],
        }
    )


def _plain(value: object) -> object:
    return value.value if isinstance(value, Enum) else value


def _version() -> str:
    try:
        return version("pdpanel")
    except PackageNotFoundError:
        return "unknown"


async def get_load(engine: EnginePort, request: web.Request) -> web.StreamResponse:
    """Answers GET /get_load, which sglang-router's policy power_of_two reads: an entry for each attention group."""
    now = engine.statistics()
    return json_response([_load(rank, group) for rank, group in enumerate(now.groups or (now,))])


def _load(rank: int, now: EngineStatistics) -> dict[str, int]:
    waiting = now.queued + now.transfer_queue
    return {
        "dp_rank": rank,
        "num_reqs": now.running + now.inflight_queue + waiting,
        "num_waiting_reqs": waiting,
        "num_tokens": now.used_tokens,
    }


async def metrics(engine: EnginePort, request: web.Request) -> web.StreamResponse:
    """Answers GET /metrics in Prometheus' text format."""
    engine.metrics.set_statistics(engine.statistics())
    return web.Response(body=engine.metrics.render(), headers={"Content-Type": CONTENT_TYPE})
