"""A person's own flags of SGLang: which the plan sets itself, which take several values, and what became of them.

Pure. What a field of the deployment says is refused here, since the plan would not know of it; the rest is translated
to the engine's version.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...engine.errors import ConfigError
from ...nic_probe.finding import Finding
from ..deployment_parts import Flag, RoleSpec
from .placement import flag

__all__ = ["check_flags", "flag_arguments", "translated"]

# Flags whose meaning the planner has to know, and the field that says it.
_PLANNED = {
    "tp-size": "tp",
    "tp": "tp",
    "tensor-parallel-size": "tp",
    "pp-size": "pp",
    "pipeline-parallel-size": "pp",
    "dp-size": "dp",
    "dp": "dp",
    "data-parallel-size": "dp",
    "enable-dp-attention": "dp_attention",
    "attn-dp-size": "attn_dp",
    "attention-data-parallel-size": "attn_dp",
    "nnodes": "nodes",
    "node-rank": "nodes",
    "dist-init-addr": "dist_port",
    "nccl-init-addr": "dist_port",
    "base-gpu-id": "base_gpu_id",
    "disaggregation-ib-device": "nics",
    "mooncake-ib-device": "nics",
    "encoder-only": "encoder.count",
    "language-only": "encoder.count",
    "encoder-urls": "encoder.hosts",
}
# Flags that a field says as well: one of the two may.
_FIELDS = {
    "ep-size": "ep",
    "ep": "ep",
    "expert-parallel-size": "ep",
    "moe-a2a-backend": "moe_a2a",
    "elastic-ep-backend": "elastic_ep",
    "mem-fraction-static": "mem_fraction",
    "context-length": "context_length",
    "page-size": "page_size",
    "chunked-prefill-size": "chunked_prefill_size",
    "max-running-requests": "max_running_requests",
    "kv-cache-dtype": "kv_cache_dtype",
    "trust-remote-code": "trust_remote_code",
    "encoder-transfer-backend": "encoder_transfer",
}
# Options of SGLang with nargs "+": their values are words of their own.
_LISTS = frozenset(
    {
        "cuda-graph-bs",
        "cuda-graph-bs-decode",
        "cuda-graph-bs-prefill",
        "encoder-register-urls",
        "lora-paths",
        "lora-target-modules",
        "numa-node",
        "log-requests-target",
        "debug-tensor-dump-layers",
        "custom-weight-loader",
        "bucket-time-to-first-token",
        "bucket-inter-token-latency",
        "bucket-e2e-request-latency",
        "prompt-tokens-buckets",
        "generation-tokens-buckets",
        "tokenizer-metrics-allowed-custom-labels",
        "uvicorn-access-log-exclude-prefixes",
        "flashinfer-autotune-skip-ops",
    }
)


def check_flags(settings: RoleSpec, role: str) -> None:
    """Raises ConfigError for a flag of `role` that the plan sets, or that a field says already."""
    for name, value in settings.flags.items():
        if name in _PLANNED:
            remedy = f"write it in the field {_PLANNED[name]}"
            raise ConfigError(f"{role}.flags.{name}", value, "is a flag that the plan sets itself", remedy)
        field = _FIELDS.get(name)
        if field is not None and getattr(settings, field) is not None:
            problem = f"is also the field {field}, which is set"
            raise ConfigError(f"{role}.flags.{name}", value, problem, "leave one of the two out")


def flag_arguments(flags: Mapping[str, Flag]) -> tuple[str, ...]:
    """Returns the arguments of a person's flags: True gives the bare flag, False nothing, a list its words."""
    arguments: list[str] = []
    for name, value in flags.items():
        if value is True:
            arguments.append(f"--{name}")
        elif value is not False and name in _LISTS:
            arguments += [f"--{name}", *str(value).split()]
        elif value is not False:
            arguments += flag(name, value)
    return tuple(arguments)


def translated(version: str, flags: Mapping[str, Flag]) -> tuple[tuple[str, ...], tuple[Finding, ...]]:
    """Returns a person's flags as arguments for this version of SGLang, and what was changed about them."""
    return flag_arguments(flags), ()
