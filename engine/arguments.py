"""Command line of a worker, with SGLang's flag names.

A flag of SGLang's that the bundled engine does not implement is refused by name, never ignored; a few are accepted
when their value asks for nothing special (`--pp-size 1`). Turns argv into a `ServerConfig` and knows nothing else.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .config import Mode, ServerConfig
from .errors import ConfigError
from .flags import FlagParser, choice, host_names, real, refuse_unknown, whole
from .parallel_arguments import add_parallel_arguments, check_parallel
from .vision.arguments import add_image_arguments, check_images

__all__ = ["parse_server_arguments"]

TRANSFER_BACKENDS = ("mooncake", "mooncake_tcp", "nixl", "shm", "tcp")
DEVICES = ("auto", "cpu", "cuda")
DTYPES = ("auto", "float32", "bfloat16", "float16")
QUANTIZATIONS = ("auto", "none", "int8", "int4")
_DTYPE_ALIASES = {
    "float": "float32",
    "fp32": "float32",
    "half": "float16",
    "fp16": "float16",
    "bf16": "bfloat16",
}

# SGLang flags that are accepted with these values alone, because they ask for what the engine does anyway.
_NEUTRAL: dict[str, tuple[str, ...]] = {
    "--pp-size": ("1",),
    "--attention-backend": ("torch_native",),
    "--sampling-backend": ("pytorch",),
    "--schedule-policy": ("fcfs",),
    "--grammar-backend": ("none",),
    "--stream-interval": ("1",),
}
_NEUTRAL_SWITCHES = (
    "--enable-metrics",
    "--skip-server-warmup",
)


def _build_parser() -> FlagParser:
    parser = FlagParser(
        prog="python -m pdpanel.engine.launch_server",
        description="A prefill, decode or unified worker of pdpanel's bundled engine. Flags are SGLang's.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    default = ServerConfig(model_path="")

    def number(flag: str, help_text: str, low: int = 1, high: int | None = None, *names: str) -> None:
        value = getattr(default, flag[2:].replace("-", "_"))
        add(
            flag,
            *names,
            type=whole(flag, low, high),
            default=value,
            metavar="N",
            help=f"{help_text} [{value}]",
        )

    add(
        "--model-path",
        "--model",
        required=True,
        metavar="MODEL",
        help="a directory, a .gguf file, a name or a Hub id",
    )
    add("--served-model-name", default="", metavar="NAME", help="name on the API [from the model]")
    add("--host", default=default.host, help=f"address to listen on [{default.host}]")
    number("--port", "port of the HTTP API", 1, 65535)
    modes = tuple(mode.value for mode in Mode)
    add(
        "--disaggregation-mode",
        type=choice("--disaggregation-mode", modes),
        default="null",
        metavar="MODE",
        help="null (unified), prefill or decode [null]",
    )
    number("--disaggregation-bootstrap-port", "where decode workers reach this prefill worker", 1, 65535)
    add(
        "--disaggregation-transfer-backend",
        type=choice("--disaggregation-transfer-backend", TRANSFER_BACKENDS),
        default=default.disaggregation_transfer_backend,
        metavar="NAME",
        help=f"{', '.join(TRANSFER_BACKENDS)} [mooncake]",
    )
    add("--disaggregation-ib-device", default="", metavar="LIST", help="RDMA devices for Mooncake [automatic]")
    number("--max-running-requests", "requests that compute at once")
    number("--max-queued-requests", "requests that may wait; more are refused with 503", 0)
    add(
        "--max-total-tokens",
        type=whole("--max-total-tokens", 16),
        metavar="N",
        help=f"places in the KV pool, in tokens [{default.max_total_tokens}, on a GPU what its memory holds]",
    )
    number("--chunked-prefill-size", "prompt tokens per step")
    text = "decode pauses between steps while prompts pile up at prefill, for workers on the same cores"
    add("--yield-to-prefill", action="store_true", help=text)
    add("--enable-mixed-chunk", action="store_true", help="one step computes decode tokens and prompt chunks")
    number("--page-size", "tokens per KV page", 1, 1024)
    add("--disable-radix-cache", action="store_true", help="prefill keeps no KV for later prompts [it does]")
    add(
        "--mem-fraction-static",
        type=real("--mem-fraction-static", 0, above=True, high=1),
        default=default.mem_fraction_static,
        metavar="F",
        help="share of a GPU's memory for weights and KV; on a CPU the pool is --max-total-tokens",
    )
    add(
        "--device",
        type=choice("--device", DEVICES),
        default=default.device,
        metavar="NAME",
        help="auto (a GPU where torch finds one), cpu or cuda (NVIDIA's and AMD's) [auto]",
    )
    number("--base-gpu-id", "which of the visible GPUs", 0, 1023)
    add("--disable-overlap-schedule", action="store_true", help="no decode step on a GPU is launched ahead [one is]")
    add("--disable-cuda-graph", action="store_true", help="decode launches kernel by kernel on a GPU [by graphs]")
    add(
        "--cuda-graph-max-bs",
        type=whole("--cuda-graph-max-bs", 1, 4096),
        default=0,
        metavar="N",
        help="sequences up to which a decode step on a GPU is a graph [--max-running-requests]",
    )
    add(
        "--context-length",
        type=whole("--context-length", 2),
        metavar="N",
        help="tokens per request [the model's]",
    )
    for flag, what in (
        ("--dtype", "weights and activations"),
        ("--kv-cache-dtype", "KV, stored and on the wire"),
    ):
        add(
            flag,
            type=choice(flag, DTYPES, _DTYPE_ALIASES),
            default="auto",
            metavar="TYPE",
            help=f"type of {what}: {', '.join(DTYPES)} [auto]",
        )
    flag = "--quantization"
    add(
        flag,
        type=choice(flag, QUANTIZATIONS),
        default="auto",
        metavar="KIND",
        help="weights on a CPU: int4, int8, none, or auto: int4 where the file has four bits, else int8 [auto]",
    )
    number("--threads", "threads of a step; 0 is OMP_NUM_THREADS, or all cores", 0, 256)
    number("--niceness", "of the threads that compute: how far they let other processes go first", 0, 19)
    number("--random-seed", "where the seeds of requests that bring none come from; 0 draws it", 0)
    number("--num-reserved-decode-tokens", "places reserved for the output of each running request", 0)
    add("--chat-template", default="", metavar="FILE", help="Jinja chat template [the model's]")
    add("--api-key", default="", metavar="KEY", help="required as bearer token on the API")
    add("--admin-api-key", default="", metavar="KEY", help="required for flush and abort")
    add(
        "--allowed-hosts",
        type=host_names("--allowed-hosts"),
        default=(),
        metavar="NAMES",
        help="names, with commas, beside its address under which the worker may be addressed, such as a proxy's",
    )
    flag, grace = "--shutdown-grace-period-secs", default.shutdown_grace_period_secs
    add(
        flag,
        type=real(flag, 0),
        default=grace,
        metavar="S",
        help=f"for open requests when the worker ends; keep it below what its supervisor waits for [{grace:g}]",
    )
    add_parallel_arguments(parser)
    add_image_arguments(parser)
    levels = ("debug", "info", "warning", "error")
    add("--log-level", type=choice("--log-level", levels), default="info", metavar="LEVEL", help="[info]")
    for flag, values in _NEUTRAL.items():
        add(flag, type=choice(flag, values), help=argparse.SUPPRESS)
    for flag in _NEUTRAL_SWITCHES:
        add(flag, action="store_true", help=argparse.SUPPRESS)
    return parser


def parse_server_arguments(argv: Sequence[str]) -> ServerConfig:
    """Returns the configuration that `argv` (without the program) asks for.

    Raises:
        ConfigError: a flag is unknown or not implemented, or its value cannot be used.
    """
    parser = _build_parser()
    known, unknown = parser.parse_known_args(list(argv))
    refuse_unknown(unknown, "engine")
    values = vars(known)
    fields = {name: values[name] for name in ServerConfig.__dataclass_fields__ if name in values}
    fields |= check_parallel(known)
    check_images(fields)
    fields["disaggregation_mode"] = Mode(fields["disaggregation_mode"])
    fields["sized_by_memory"] = fields["max_total_tokens"] is None
    if fields["sized_by_memory"]:
        del fields["max_total_tokens"]
    config = ServerConfig(**fields)
    if config.max_total_tokens < config.page_size:
        raise ConfigError(
            "--max-total-tokens",
            config.max_total_tokens,
            f"smaller than one page of {config.page_size} tokens",
            "raise it or lower --page-size",
        )
    if config.chunked_prefill_size % config.page_size:
        raise ConfigError(
            "--chunked-prefill-size",
            config.chunked_prefill_size,
            f"not a multiple of --page-size {config.page_size}",
            f"use {max(1, config.chunked_prefill_size // config.page_size) * config.page_size}",
        )
    if config.enable_mixed_chunk and config.chunked_prefill_size < config.max_running_requests + 2:
        raise ConfigError(
            "--chunked-prefill-size",
            config.chunked_prefill_size,
            f"with --enable-mixed-chunk it leaves no prompt tokens beside {config.max_running_requests} requests that "
            "decode",
            "raise it, or lower --max-running-requests",
        )
    return config
