"""What one worker is started with: the values behind SGLang's flags, and the environment read once.

The only file of the engine that reads the environment. `engine.arguments` turns argv into a `ServerConfig`.
"""

from __future__ import annotations

import math
import os
from collections.abc import MutableMapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from platformdirs import user_cache_path

from .errors import ConfigError
from .failpoints import NO_FAILPOINTS, Failpoints, parse_failpoints
from .mooncake_config import MooncakeConfig, read_mooncake_config
from .parallel.layout import ParallelSizes
from .transfer.faults import FaultPlan, read_fault_plan

__all__ = ["Environment", "Mode", "ServerConfig", "read_environment"]

_MOST_QUEUES, _MOST_THREADS = 64, 256


class Mode(Enum):
    """`--disaggregation-mode`; `null` is the unified worker."""

    UNIFIED = "null"
    PREFILL = "prefill"
    DECODE = "decode"

    @property
    def role(self) -> str:
        """The role's name in metrics, logs and the panel."""
        return "unified" if self is Mode.UNIFIED else self.value


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """The resolved arguments of a worker; field names are SGLang's.

    Attributes:
        context_length: tokens per request at most; None takes the model's.
        max_total_tokens: places in the KV pool, in tokens.
        chunked_prefill_size: prompt tokens per step.
        yield_to_prefill: decode pauses between steps while prompts pile up at prefill, which has the same cores.
        enable_mixed_chunk: steps hold decode tokens and prompt chunks, `chunked_prefill_size` together.
        shutdown_grace_period_secs: how long open requests may go on when the worker is told to end.
        mem_fraction_static: share of a GPU's memory for weights and KV.
        sized_by_memory: on a GPU `max_total_tokens` follows from its memory, since nobody gave a number.
        device: auto, cpu or cuda, which AMD's GPUs are called, too.
        base_gpu_id: which of the visible GPUs.
        cuda_graph_max_bs: sequences up to which a decode step is a CUDA graph; 0 for `max_running_requests`.
        quantization: what the linear layers read; auto packs the weights unless `dtype` names a type.
        threads: that compute a step; 0 takes what OMP_NUM_THREADS says, or all cores.
        niceness: of the threads that compute, as `nice` has it.
        num_reserved_decode_tokens: places reserved for the output of each running request.
        disable_radix_cache: prefill keeps no pages for later prompts; the other workers keep none anyway.
        allowed_hosts: names beside its address under which the worker may be addressed, such as a proxy's.
        tp_size: ranks of the worker, on all its nodes.
        node_rank: which of `nnodes` this is; node 0 serves.
        dist_init_addr: host:port of node 0 where the ranks of several nodes meet.
        dist_timeout: seconds for ranks to meet, and for a step of all of them.
        attn_dp_size: attention groups, however they were asked for; `dp_size` is what was given.
        ep_size: ranks that share out the experts: 1 or `tp_size`.
        load_balance_method: which attention group gets a request; `balancing` says what auto is.
        encoder_only: the worker encodes images and computes no text.
        language_only: it asks the encoders at `encoder_urls` for embeddings of images.
        encoder_transfer_backend: how these travel; both sides read it.
        allow_remote_images: whether images of http and https addresses are fetched.
        limit_mm_data_per_request: images of a prompt at most.
    """

    model_path: str
    served_model_name: str = ""
    host: str = "127.0.0.1"
    port: int = 30000
    disaggregation_mode: Mode = Mode.UNIFIED
    disaggregation_bootstrap_port: int = 8998
    disaggregation_transfer_backend: str = "mooncake"
    disaggregation_ib_device: str = ""
    max_running_requests: int = 32
    max_queued_requests: int = 256
    max_total_tokens: int = 8192
    chunked_prefill_size: int = 512
    enable_mixed_chunk: bool = False
    yield_to_prefill: bool = False
    page_size: int = 16
    disable_radix_cache: bool = False
    mem_fraction_static: float = 0.9
    sized_by_memory: bool = False
    device: str = "auto"
    base_gpu_id: int = 0
    disable_cuda_graph: bool = False
    disable_overlap_schedule: bool = False
    cuda_graph_max_bs: int = 0
    context_length: int | None = None
    dtype: str = "auto"
    kv_cache_dtype: str = "auto"
    quantization: str = "auto"
    threads: int = 0
    niceness: int = 0
    random_seed: int = 0
    num_reserved_decode_tokens: int = 512
    chat_template: str = ""
    api_key: str = ""
    admin_api_key: str = ""
    allowed_hosts: tuple[str, ...] = ()
    shutdown_grace_period_secs: float = 2.0
    log_level: str = "info"
    tp_size: int = 1
    nnodes: int = 1
    node_rank: int = 0
    dist_init_addr: str = ""
    dist_timeout: float = 60.0
    dp_size: int = 1
    enable_dp_attention: bool = False
    attn_dp_size: int = 1
    ep_size: int = 1
    moe_a2a_backend: str = "none"
    elastic_ep_backend: str = "none"
    load_balance_method: str = "auto"
    encoder_only: bool = False
    language_only: bool = False
    encoder_urls: tuple[str, ...] = ()
    encoder_transfer_backend: str = "auto"
    allow_remote_images: bool = False
    limit_mm_data_per_request: int = 16

    @property
    def sizes(self) -> ParallelSizes:
        """How the worker is spread."""
        return ParallelSizes(tp=self.tp_size, attn_dp=self.attn_dp_size, ep=self.ep_size)

    @property
    def balancing(self) -> str:
        """Which attention group gets a request; auto is what it is in SGLang."""
        if self.load_balance_method != "auto":
            return self.load_balance_method
        by_room = self.attn_dp_size > 1 and self.disaggregation_mode is not Mode.UNIFIED
        return "follow_bootstrap_room" if by_room else "round_robin"


@dataclass(frozen=True, slots=True)
class Environment:
    """What the engine takes from the environment.

    Attributes:
        cache_dir: models and converted weights.
        bootstrap_timeout_s: SGLANG_DISAGGREGATION_BOOTSTRAP_TIMEOUT, how long prefill waits for a grant.
        waiting_timeout_s: SGLANG_DISAGGREGATION_WAITING_TIMEOUT, how long decode waits for the KV after its grant.
        heartbeat_interval_s: SGLANG_DISAGGREGATION_HEARTBEAT_INTERVAL, between two checks of a bootstrap server.
        heartbeat_max_failures: SGLANG_DISAGGREGATION_HEARTBEAT_MAX_FAILURE, failed checks in a row that lose it.
        mooncake: what the file says that MOONCAKE_CONFIG_PATH names.
        queue_size: SGLANG_DISAGGREGATION_QUEUE_SIZE, the queues to which prefill's links to its peers are shared out;
            1 serves all peers first come, first served.
        thread_pool_size: SGLANG_DISAGGREGATION_THREAD_POOL_SIZE, the threads of all queues together.
        faulty_transport: PDPANEL_FAULTY_TRANSPORT, which writes go wrong; for tests.
        failpoints: PDPANEL_FAILPOINTS, where this process is to die, stop, wait or fail; for tests.
        encoder_timeout_s: SGLANG_ENCODER_REQ_TIMEOUT, how long a request's images may take in all.
        image_cache_bytes: SGLANG_VLM_CACHE_SIZE_MB, of embeddings that a worker keeps.
        check_pages: PDPANEL_CHECK_PAGES, whether the bytes of KV pages are checked; for tests.
        process: the variables themselves; transports put there what their libraries read, and nobody else uses it.
    """

    cache_dir: Path
    hf_token: str
    hf_offline: bool
    use_modelscope: bool
    bootstrap_timeout_s: float
    waiting_timeout_s: float
    mooncake: MooncakeConfig
    process: MutableMapping[str, str]
    heartbeat_interval_s: float = 5.0
    heartbeat_max_failures: int = 2
    queue_size: int = 4
    thread_pool_size: int = 4
    faulty_transport: FaultPlan | None = None
    failpoints: Failpoints = NO_FAILPOINTS
    check_pages: bool = False
    encoder_timeout_s: float = 180.0
    image_cache_bytes: int = 512 << 20


def _is_on(value: str) -> bool:
    return value.strip().lower() in {"1", "true", "yes", "on"}


def _seconds(environ: MutableMapping[str, str], name: str, default: float) -> float:
    text = environ.get(name, "").strip()
    try:
        value = float(text) if text else default
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ConfigError(
            name, text, "not a time in seconds", f"set a number above 0, such as {default:g}, or unset it"
        )
    return value


def _whole(environ: MutableMapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, "").strip()
    if text and not (text.isascii() and text.removeprefix("-").isdigit()):
        raise ConfigError(name, text, "not a whole number", f"set one such as {default}, or unset it")
    return int(text) if text else default


def _transfer_threads(environ: MutableMapping[str, str]) -> tuple[int, int]:
    """Returns queues and threads; SGLang's defaults, and its rule that each queue has a thread."""
    queue_name, pool_name = "SGLANG_DISAGGREGATION_QUEUE_SIZE", "SGLANG_DISAGGREGATION_THREAD_POOL_SIZE"
    queues = _whole(environ, queue_name, 4)
    if not 0 < queues <= _MOST_QUEUES:
        remedy = f"set 1 to {_MOST_QUEUES}, or unset it"
        raise ConfigError(queue_name, queues, "not a number of queues", remedy)
    threads = _whole(environ, pool_name, min(max((os.cpu_count() or 1) // 2 // 8, 4), 12))
    if not queues <= threads <= _MOST_THREADS:
        problem = f"gives {queues} queues ({queue_name}) no thread each" if threads < queues else "is too many threads"
        raise ConfigError(pool_name, threads, problem, f"set {queues} to {_MOST_THREADS}, or fewer queues")
    return queues, threads


def read_environment(environ: MutableMapping[str, str] | None = None) -> Environment:
    """Returns the engine's settings from `environ` (the process's own by default).

    Raises:
        ConfigError: a variable has a value that cannot be used.
    """
    env = os.environ if environ is None else environ
    cache = env.get("PDPANEL_CACHE_DIR", "")
    queues, threads = _transfer_threads(env)
    return Environment(
        cache_dir=Path(cache) if cache else user_cache_path("pdpanel"),
        hf_token=env.get("HF_TOKEN", ""),
        hf_offline=_is_on(env.get("HF_HUB_OFFLINE", "")),
        use_modelscope=_is_on(env.get("SGLANG_USE_MODELSCOPE", "")),
        bootstrap_timeout_s=_seconds(env, "SGLANG_DISAGGREGATION_BOOTSTRAP_TIMEOUT", 300.0),
        waiting_timeout_s=_seconds(env, "SGLANG_DISAGGREGATION_WAITING_TIMEOUT", 300.0),
        # SGLang raises smaller values to these floors, too.
        heartbeat_interval_s=max(_seconds(env, "SGLANG_DISAGGREGATION_HEARTBEAT_INTERVAL", 5.0), 2.0),
        heartbeat_max_failures=max(_whole(env, "SGLANG_DISAGGREGATION_HEARTBEAT_MAX_FAILURE", 2), 1),
        queue_size=queues,
        thread_pool_size=threads,
        faulty_transport=read_fault_plan(env.get("PDPANEL_FAULTY_TRANSPORT", "")),
        mooncake=read_mooncake_config(env),
        process=env,
        failpoints=parse_failpoints(env.get("PDPANEL_FAILPOINTS", "")),
        check_pages=_is_on(env.get("PDPANEL_CHECK_PAGES", "")),
        encoder_timeout_s=_seconds(env, "SGLANG_ENCODER_REQ_TIMEOUT", 180.0),
        image_cache_bytes=max(_whole(env, "SGLANG_VLM_CACHE_SIZE_MB", 512), 0) << 20,
    )
